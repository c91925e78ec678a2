/* Who does what to how many letters: the part that replay, park and purge have in common, and the state record that says it. */
#ifndef WORKERS_DLQ_DLQ_ACT_H
#define WORKERS_DLQ_DLQ_ACT_H

#include <stdbool.h>
#include <stdint.h>

#include "config/base/arena.h"
#include "config/base/error.h"
#include "config/settings.h"
#include "queues/kafka/producer.h"
#include "queues/kafka/topics.h"
#include "workers/cli/arguments.h"
#include "workers/dlq/dlq_letter.h"

enum { ACT_BY_BYTES = 200, ACT_ID_BYTES = 40 };

struct dlq_act {
        char topic[TOPIC_NAME_BYTES]; /* <prefix>.dlq.state */
        char by[ACT_BY_BYTES];        /* --by, else user@host */
        char id[ACT_ID_BYTES];        /* a replay's; "": none */
        int64_t count;                /* of so many at once */
};

/* "ann@desk": who runs this command; the one who called sudo rather than root. */
void dlq_act_caller(char by[ACT_BY_BYTES]);
/* Reads --by (UTF-8) and names the topic. data.schema: one of them can't be. is_replay: makes an id. */
int dlq_act_begin(struct dlq_act *act, const struct arguments *arguments, const struct settings *settings, bool is_replay,
                  struct error *err);
/* The state topic exists as it should. *ret_mock: this broker has neither compaction nor transactions. */
int dlq_act_ensure(const struct dlq_act *act, const struct settings *settings, bool *ret_mock, struct error *err);

/* The record that says so, all of it in the arena (whose failure shows it isn't whole). to, reason: NULL or their text. */
void dlq_act_record(const struct dlq_act *act, struct arena *arena, const struct letter *letter, enum letter_state state,
                    const char *to, const char *reason, struct outgoing *ret_outgoing);

#endif
