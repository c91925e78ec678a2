/* A whole worker in the test's process: the mock broker, a private redis-server, the provider stub, and worker_run() on a thread. Tests
 * speak to it as producers and readers do. One rig a process; everything dies with it. */
#ifndef TESTS_FLOW_FLOW_RIG_H
#define TESTS_FLOW_FLOW_RIG_H

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdbool.h>

#include "config/settings.h"
#include "queues/kafka/record.h"

enum { RIG_WAIT_MS = 30000 };

/* For TestSuite's init and fini. RIG_KINDS… of the worker: all. */
void flow_up(void);
void flow_down(void);

/* A second worker's place: ends the worker and starts it again with what change() made of the settings (NULL: the same). */
void flow_restart(void (*change)(struct settings *settings));
void flow_stop(void); /* SIGTERM, until it has drained */
struct settings *flow_settings(void);

/* The stub's options, as its /control takes them: "p5xx=1&delay-ms=20". */
void flow_stub(const char *query);
/* A number of its /stats, by JSON name. */
int64_t flow_stub_count(const char *name);

/* Publishes to enrich.<kind>.<lane>; headers: name, value, …, NULL; NULL for none. value of len bytes. */
void flow_publish(const char *kind, const char *lane, const char *key, const void *value, size_t len, const char *const *headers);
void flow_submit(const char *kind, const char *json); /* to the interactive lane */

/* The result of (tenant, id), waited for; a new reference. Fails the test when none comes. */
json_t *flow_result(const char *tenant, const char *id);
bool flow_has_result(const char *tenant, const char *id);
/* "status" "class" "code" of a result in one string: "ok", "failed data.schema". Static. */
const char *flow_ending(const char *id);
/* A member by dotted path ("result.hits.0.id"); NULL: none. */
const json_t *flow_at(const json_t *tree, const char *path);
const char *flow_text(const json_t *tree, const char *path); /* "" : none */

/* The dead letters of a kind that are there once at least `count` are: how many, and the newest's headers. */
size_t flow_letters(const char *kind, size_t count);
const char *flow_letter_header(const char *name); /* of the newest letter seen; NULL: none */
const char *flow_letter_value(size_t *ret_len);

/* What redis-cli would print. Static. */
const char *flow_redis(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
