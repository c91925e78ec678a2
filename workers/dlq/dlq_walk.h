/* A walk over the dead letter topics: of each kind asked for, under the common prefix and every tenant's own. Blocks. */
#ifndef WORKERS_DLQ_DLQ_WALK_H
#define WORKERS_DLQ_DLQ_WALK_H

#include "queues/kafka/kafka_client.h"
#include "workers/dlq/dlq_letter.h"
#include "workers/dlq/dlq_states.h"

struct dlq_walk {
        const struct settings *settings;
        struct kafka_client *kafka;
        struct letter_filter filter;
        struct dlq_states *states; /* read; NULL: every letter is open */
};

/* Shows every letter that fits; on_letter returns false to stop. 0, also where a topic does not exist; -1: the broker does not
 * answer. */
int dlq_walk(const struct dlq_walk *walk, bool (*on_letter)(void *user, const struct letter *letter), void *user,
             struct error *err);
/* Shows one letter by its place; the filters are not asked. data.schema: no such place can be. */
int dlq_find(const struct dlq_walk *walk, const char *place, bool (*on_letter)(void *user, const struct letter *letter), void *user,
             bool *ret_found, struct error *err);
/* The letters that the command's further words name, else a walk. Those that do not exist are told
 * and counted, unless ret_missing is NULL. */
int dlq_each(const struct dlq_walk *walk, const struct arguments *arguments,
             bool (*on_letter)(void *user, const struct letter *letter), void *user, int64_t *ret_missing, struct error *err);

/* Says that the broker failed, EXIT_FAILED; or, after data.schema, that the command can't be, EXIT_USAGE. */
int dlq_fail(const struct arguments *arguments, const struct dlq_walk *walk, const struct error *err);

#endif
