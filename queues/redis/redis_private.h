/* What the files of the asynchronous connection share; nobody else includes it.
 *
 *      redis_connection.c   the door: one to all its servers, what the room's modules see
 *      redis_link.c         one server: connect, greet, check, lose
 *      redis_call.c         one command
 *      redis_cluster.c      which server has which slot
 *      redis_sentinel.c     which server is the master
 *
 * A link:
 *      DOWN ──tick──► CONNECTING ──► GREETING ──► UP
 *        ▲                │              │         │        any error, time-out or lost connection: back to DOWN, where the tick
 *        └────────────────┴──────────────┴─────────┘        tries again after the backoff
 *
 * Replies come in the order of the commands, so a link's calls under way form one list, and the first one's deadline is the
 * earliest. A durable call whose reply has come waits in a second list for the reply of the WAIT that follows it on the same wire.
 * In a cluster a call may be sent to a link that is not UP yet: it waits in a third list, which empties when the link is UP or
 * DOWN. */
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
#include "queues/redis/redis_parts.h"

enum {
        CALL_SPANS_MAX = 28,
        CALL_TEXT_MAX = 1536,
        CALLS_OWN_MAX = 48, /* a link */
        SCRIPT_SHA_BYTES = 41,
        REASON_MAX = ERROR_MESSAGE_MAX,
        CLUSTER_LINKS_MAX = 128,
};
_Static_assert(SCRIPT_COUNT + 8 <= CALLS_OWN_MAX, "a greeting must fit");

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct redis_link;

struct redis_call {
        struct redis_connection *connection;
        struct redis_link *link; /* where it goes; NULL: its key will tell */
        struct redis_call *next;
        struct op *op; /* NULL: the link's own, or given up */
        /* A link's own calls end here; err.code CODE_NONE = success. */
        void (*own_done)(struct redis_link *link, struct redis_call *call, const struct error *err);
        enum call_decoded (*decode)(struct redisReply *reply, void *out, struct error *err);
        void *out;
        int64_t deadline;      /* of the answer to what was sent last */
        int64_t resend_before; /* redirections are followed until then */
        enum redis_script script;
        unsigned hops; /* redirections followed */
        bool durable, failed, in_full, asking;
        size_t span_count, text_len;
        struct span spans[CALL_SPANS_MAX];
        char text[CALL_TEXT_MAX];
};

struct call_list {
        struct redis_call *first, **end;
};

struct redis_link {
        struct redis_connection *connection; /* NULL: this place is free */
        char host[ADDRESS_HOST_MAX + 1];
        int port;
        bool sentinel;   /* a sentinel, no store */
        bool leaving;    /* cluster: serves no slot any more; goes when nothing is under way */
        unsigned serves; /* cluster: how many slots */
        struct redis_adapter adapter;
        enum link_state state;
        redisAsyncContext *context; /* NULL: none, or given up */
        struct ssl_st *session;     /* the context's; NULL: none */
        struct error loss;          /* why the calls of the context that is going end */
        int64_t state_deadline;     /* CONNECTING, GREETING: given up then; DOWN: tried again then; UP: looked at again then */
        unsigned failures;          /* in a row */
        bool policy_ok, replica;
        char reason[REASON_MAX]; /* why it is not UP, or not policy_ok */

        struct call_list under_way, awaiting_replicas, awaiting_link;
        size_t own_pending;
        size_t durable_unwaited; /* durable calls sent since the last WAIT */
        int64_t replicas;        /* what the last WAIT said */
};

struct redis_connection {
        struct settings *settings;
        struct redis_address address;
        struct span prefix;
        struct ev_loop *loop;
        ev_timer tick;
        uint64_t chance; /* of the jitter */
        bool open;       /* commands are taken */
        bool ready, ready_told;
        char reason[REASON_MAX]; /* why not ready */
        int64_t refused_until;   /* not ready until then, since commands are refused; 0: they are not */
        char refusal[REASON_MAX];
        void (*on_change)(void *user);
        void *user;

        struct redis_link *links;        /* [0]: the server; with Sentinel the master, [1] a sentinel; of a cluster all */
        size_t link_count;               /* places, free ones included */
        struct redis_cluster *cluster;   /* NULL: none */
        struct redis_sentinel *sentinel; /* NULL: none */

        struct redis_call *calls, *calls_free; /* calls[calls_used…] were never touched */
        size_t calls_used, pending, pending_max;
        struct buffer scratch;
        char script_sha[SCRIPT_COUNT][SCRIPT_SHA_BYTES]; /* "" until loaded anywhere: the same on all servers */
        struct metric *commands, *errors, *reconnects, *gauge, *redirections;
};

/* ---- redis_connection.c */
/* A link's state, policy or role has changed: what it means for the door, and for the cluster's or Sentinel's business. */
void connection_link_changed(struct redis_link *link);
/* A server that is well by its own account did not do what it was told (OOM, NOREPLICAS, BUSY, too few replicas …): not ready,
 * until no command has been refused for a while. */
void connection_refused(struct redis_connection *connection, const struct error *err);
/* 50 to 100 % of min_ms doubled with each failure up to max_ms. */
int64_t connection_backoff_ms(struct redis_connection *connection, unsigned failures);
/* The tick's work is done in this turn of the loop, not within 50 ms. */
void connection_hurry(struct redis_connection *connection);

/* ---- redis_link.c */
void link_init(struct redis_link *link, struct redis_connection *connection, const char *host, int port);
void link_tick(struct redis_link *link, int64_t now);
/* Connects. Only for a link that is DOWN, and never within a callback of hiredis on that link. */
void link_start(struct redis_link *link);
/* Gives the context up; its calls end with err now or as soon as hiredis is out of its callback. */
void link_drop(struct redis_link *link, const struct error *err);
/* Why hiredis is ending the context. */
void link_loss(const struct redis_link *link, struct error *err);
bool link_idle(const struct redis_link *link); /* nothing under way, and no context that is still going */

/* ---- redis_call.c */
int calls_init(struct redis_connection *connection, size_t pending_max, struct error *err);
void calls_fini(struct redis_connection *connection);
void call_list_init(struct call_list *list);
/* NULL: the link's own calls are at their bound. */
struct redis_call *call_own(struct redis_link *link, const char *command,
                            void (*own_done)(struct redis_link *, struct redis_call *, const struct error *));
void call_before_write(void *link);
void calls_fail(struct call_list *list, const struct error *err);
/* The link is UP. */
void calls_release(struct redis_link *link);
/* Sends a call, which no list holds, to call->link, or lets it wait for that to connect for the first time. −1: it can't be sent;
 * it is still the caller's to end. */
int call_dispatch(struct redis_call *call, struct error *err);

/* ---- redis_cluster.c */
int cluster_init(struct redis_connection *connection, struct error *err);
void cluster_fini(struct redis_connection *connection);
/* The link that has the call's key; NULL: none has. */
struct redis_link *cluster_route(const struct redis_call *call, struct error *err);
/* A call that was refused: true when it was sent on to the node that the reply names, false when it ends with *err (set before). */
bool cluster_follow(struct redis_call *call, const struct redisReply *reply, struct error *err);
void cluster_link_changed(struct redis_link *link);
void cluster_tick(struct redis_connection *connection, int64_t now);
bool cluster_open(const struct redis_connection *connection);
bool cluster_ready(const struct redis_connection *connection, char reason[REASON_MAX]);

/* ---- redis_sentinel.c */
int sentinel_init(struct redis_connection *connection, struct error *err);
void sentinel_fini(struct redis_connection *connection);
const struct redis_address *sentinel_login(const struct redis_connection *connection);
/* The master is to be found and connected to. */
void sentinel_find(struct redis_connection *connection);
void sentinel_link_changed(struct redis_link *link);
void sentinel_tick(struct redis_connection *connection, int64_t now);

#endif
