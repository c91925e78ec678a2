/* What redis_connection.c (states) and redis_call.c (commands) share; nobody else includes it.
 *
 *      DOWN ──tick──► CONNECTING ──► GREETING ──► UP
 *        ▲                │              │         │        any error, time-out or lost connection: back to DOWN, where the tick
 *        └────────────────┴──────────────┴─────────┘        tries again after the backoff
 *
 * Replies come in the order of the commands, so the calls under way form one list, and the first one's deadline is the earliest.
 * A durable call whose reply has come waits in a second list for the reply of the WAIT that follows it on the wire. */
#ifndef QUEUES_REDIS_REDIS_PRIVATE_H
#define QUEUES_REDIS_REDIS_PRIVATE_H

#include <ev.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include "config/base/buffer.h"
#include "config/base/metrics.h"
#include "queues/redis/redis_adapter.h"
#include "queues/redis/redis_address.h"
#include "queues/redis/redis_call.h"

enum { CALL_SPANS_MAX = 28, CALL_TEXT_MAX = 1536, CALLS_OWN_MAX = 32, SCRIPT_SHA_BYTES = 41, REASON_MAX = ERROR_MESSAGE_MAX };

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct redis_call {
        struct redis_connection *connection;
        struct redis_call *next;
        struct op *op; /* NULL: the connection's own, or given up */
        /* The connection's own calls end here; err.code CODE_NONE = success. */
        void (*own_done)(struct redis_connection *connection, struct redis_call *call, const struct error *err);
        enum call_decoded (*decode)(struct redisReply *reply, void *out, struct error *err);
        void *out;
        int64_t deadline;
        enum redis_script script;
        bool durable, failed, in_full;
        size_t span_count, text_len;
        struct span spans[CALL_SPANS_MAX];
        char text[CALL_TEXT_MAX];
};

struct call_list {
        struct redis_call *first, **end;
};

struct redis_connection {
        struct settings *settings;
        struct redis_address address;
        struct span prefix;
        struct redis_adapter adapter;
        ev_timer tick;
        enum link_state state;
        redisAsyncContext *context; /* NULL: none, or given up */
        struct ssl_st *session;     /* the context's; NULL: none */
        struct error loss;          /* why the calls of the context that is going end */
        int64_t state_deadline;     /* CONNECTING, GREETING: given up then; DOWN: tried again then; UP: looked at again then */
        unsigned failures;          /* in a row */
        uint64_t chance;            /* of the jitter */
        bool policy_ok, ready_told;
        char reason[REASON_MAX]; /* why not ready */
        void (*on_change)(void *user);
        void *user;

        struct redis_call *calls, *calls_free; /* calls[calls_used…] were never touched */
        size_t calls_used, pending, pending_max, own_pending;
        struct call_list under_way, awaiting_replicas;
        size_t durable_unwaited; /* durable calls sent since the last WAIT */
        int64_t replicas;        /* what the last WAIT said */
        struct buffer scratch;
        char script_sha[SCRIPT_COUNT][SCRIPT_SHA_BYTES]; /* "" until loaded */
        struct metric *commands, *errors, *reconnects, *gauge;
};

/* redis_call.c */
int calls_init(struct redis_connection *connection, size_t pending_max, struct error *err);
void calls_fini(struct redis_connection *connection);
struct redis_call *call_own(struct redis_connection *connection, const char *command,
                            void (*own_done)(struct redis_connection *, struct redis_call *, const struct error *));
void call_before_write(void *connection);
/* Those whose replies came but not their replicas'. */
void calls_fail_awaiting(struct redis_connection *connection, const struct error *err);

/* redis_connection.c: gives the context up; its calls end with err now or as soon as hiredis is out of its callback. */
void connection_drop(struct redis_connection *connection, const struct error *err);
/* Why hiredis is ending the context. */
void connection_reason(const struct redis_connection *connection, struct error *err);

#endif
