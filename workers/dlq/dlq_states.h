/* What became of the letters: the compacted topic <prefix>.dlq.state, read whole (contract §1).
 *
 *      key    <dlq topic>:<partition>:<offset>
 *      value  {"v":1, "state":"replayed", "by":"ann@desk", "at":"2026-11-20T10:00:00.123Z", "count":17,   of so many at once
 *              "timestamp":1763632800000,        the letter's own: a topic made anew begins at offset 0 again
 *              "replay":"r-20261120T100000-3f9a01c2", "replays":2, "to":"enrich.embed.bulk",             replays and what they park
 *              "reason":"…"}
 *
 * The latest record of a key counts; a letter without one is open. Foreign or broken records are passed over and counted.
 * Blocks. */
#ifndef WORKERS_DLQ_DLQ_STATES_H
#define WORKERS_DLQ_DLQ_STATES_H

#include "queues/kafka/kafka_client.h"
#include "workers/dlq/dlq_letter.h"
#include "workers/dlq/dlq_places.h"

enum { STATES_MAX = 4000000 }; /* letters that are not open; some 48 bytes each, twice that while the table grows */

struct dlq_states;

struct dlq_states *dlq_states_new(const struct settings *settings, struct error *err);
void dlq_states_free(struct dlq_states *states); /* NULL is fine */

/* Reads on from where the last reading ended to the end that the topic has now. -1: the broker does not answer, or there are more
 * than STATES_MAX. */
int dlq_states_read(struct dlq_states *states, struct kafka_client *kafka, struct error *err);
/* One record of the topic. False: past STATES_MAX. */
bool dlq_states_apply(struct dlq_states *states, const char *key, struct span value);

/* The state of the letter at a place; timestamp_ms: the letter record's. ret_at_ms (may be NULL): since when, 0 = not said. */
enum letter_state dlq_states_of(const struct dlq_states *states, const char *topic, int32_t partition, int64_t offset,
                                int64_t timestamp_ms, int64_t *ret_at_ms);
/* From now on more than STATES_MAX are no fault: the first ones are known, the others' letters count as open. For those who clear
 * up. */
void dlq_states_take_part(struct dlq_states *states);
/* Fills in the letter's. states NULL: every letter is open. */
void dlq_states_tell(const struct dlq_states *states, struct letter *letter);

/* Keeps the whole value of this place's record from now on (before dlq_states_read()), for a person to look at. */
void dlq_states_watch(struct dlq_states *states, const char *place);
struct span dlq_states_watched(const struct dlq_states *states); /* JSON; len 0: there is no record */

/* All places that have a record, for those who clear up; null values have none any more. */
const struct places *dlq_states_places(const struct dlq_states *states);
int64_t dlq_states_strange(const struct dlq_states *states); /* records passed over */

#endif
