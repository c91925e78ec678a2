/* A bounded table of places in Kafka (topic, partition, offset), each with a few words beside it: what became of a letter; what was
 * replayed to there. Exact: no two places are ever taken for one. Not thread-safe. */
#ifndef WORKERS_DLQ_DLQ_PLACES_H
#define WORKERS_DLQ_DLQ_PLACES_H

#include <stddef.h>
#include <stdint.h>

struct places;

struct place {
        int64_t offset;
        int32_t partition;
        uint16_t topic; /* places_topic() */
        uint8_t tag;    /* the user's, from here on; 0 at first */
        uint8_t note;
        int64_t at, number;
};

/* At most count_max places (40 bytes each, doubled while it grows), of at most 1,024 topics. NULL: no memory. */
struct places *places_new(size_t count_max);
void places_free(struct places *places); /* NULL is fine */

/* NULL: not there. Valid until the next places_put(). */
struct place *places_find(const struct places *places, const char *topic, int32_t partition, int64_t offset);
/* Finds or adds; NULL: full, or no memory. */
struct place *places_put(struct places *places, const char *topic, int32_t partition, int64_t offset);

size_t places_count(const struct places *places);
/* The next one in no particular order, *at from 0; NULL past the last. */
struct place *places_next(const struct places *places, size_t *at);
const char *places_topic(const struct places *places, const struct place *place);

#endif
