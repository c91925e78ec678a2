/* The contract's topics (§1): their names, and that they exist as they should. */
#ifndef QUEUES_KAFKA_TOPICS_H
#define QUEUES_KAFKA_TOPICS_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/base/span.h"
#include "config/settings.h"

enum { TOPIC_NAME_BYTES = 250, GROUP_NAME_BYTES = 64 };

/* Names, NUL-terminated into name[TOPIC_NAME_BYTES]. prefix: settings.kafka.prefix or a tenant's own. -1 (name untouched) when
 * one would be longer than Kafka's 249 characters. Pure, any thread. */
int topic_request(char *ret_name, const char *prefix, enum kind kind, enum lane lane);
int topic_retry(char *ret_name, const char *prefix, enum kind kind, const char *delay); /* "5s" */
int topic_dlq(char *ret_name, const char *prefix, enum kind kind);
int topic_dlq_state(char *ret_name, const char *prefix);
int topic_index(char *ret_name, const char *prefix, const char *collection, int version);
int topic_control(char *ret_name, const char *prefix);

/* Consumer groups, into name[GROUP_NAME_BYTES]. */
void group_request(char *ret_name, enum kind kind, enum lane lane);
void group_retry(char *ret_name, enum kind kind);

enum topic_role { TOPIC_REQUEST, TOPIC_RETRY, TOPIC_DLQ, TOPIC_DLQ_STATE, TOPIC_INDEX, TOPIC_CONTROL };

/* What a name means under that prefix; spans point into name. */
struct topic_meaning {
        enum topic_role role;
        enum kind kind;         /* REQUEST, RETRY, DLQ */
        enum lane lane;         /* REQUEST */
        struct span delay;      /* RETRY: "5s" */
        struct span collection; /* INDEX */
        int version;            /* INDEX */
};
bool topic_parse(const char *name, const char *prefix, struct topic_meaning *ret_meaning);

/* One topic that must exist. */
struct topic_wanted {
        char name[TOPIC_NAME_BYTES];
        enum topic_role role;
        int partitions; /* at least so many */
};

/* All topics that a worker of these settings needs: for each of its kinds both lanes' requests, the retry tiers and the dlq
 * (under the common prefix and every tenant's own), dlq.state, control, and with ingest or retrieve the version-1 index topic of
 * every collection. *ret_wanted is malloc'ed. Returns the count, -1 and err on a name that is too long or no memory. */
int topics_wanted(const struct settings *settings, struct topic_wanted **ret_wanted, struct error *err);

/* Creates what is missing and checks what exists: at least that many partitions, the role's cleanup policy. Blocks up to about
 * timeout_ms; any thread; makes a client of its own for the time. 0; or -1 with the first fault (dependency.* retriable for an
 * unreachable broker; serving.internal naming the topic and what is wrong with it). *ret_mock (may be NULL): this is
 * librdkafka's mock, which can't create topics or tell their configuration: they were made on first use, unchecked. */
int topics_ensure(const struct settings *settings, const struct topic_wanted *wanted, size_t count, int64_t timeout_ms,
                  bool *ret_mock, struct error *err);

/* The same, again and again, beside the loop on a thread of its own: every few seconds until all is well, then every few
 * minutes. */
struct topics_watch;
/* Copies wanted, takes a reference of settings. on_change(user) comes on the loop thread after each check (the first one
 * included). */
struct topics_watch *topics_watch_new(struct ev_loop *loop, struct settings *settings, const struct topic_wanted *wanted,
                                      size_t count, void (*on_change)(void *user), void *user, struct error *err);
/* Waits for a check under way (a few seconds at most). NULL is fine. */
void topics_watch_free(struct topics_watch *watch);
/* 0 when the last check found all well; else -1 and the reason (dependency.unavailable before the first check). */
int topics_watch_verdict(const struct topics_watch *watch, struct error *err);

#endif
