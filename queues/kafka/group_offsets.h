/* What a consumer group has committed, and the text beside it, without joining the group. */
#ifndef QUEUES_KAFKA_GROUP_OFFSETS_H
#define QUEUES_KAFKA_GROUP_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/base/span.h"
#include "config/settings.h"

/* Blocking; for commands. Any thread, one call at a time a reader. */
struct group_reader;

/* Takes nothing: settings must outlive it. */
struct group_reader *group_reader_new(const struct settings *settings, struct error *err);
void group_reader_free(struct group_reader *reader); /* NULL is fine */

/* Shows each of the topic's partitions 0…count-1 once, in order: its committed offset (-1: none) and metadata, valid during the call.
 * -1 and err: the group's coordinator did not answer within timeout_ms. */
int group_reader_read(struct group_reader *reader, const char *group, const char *topic, int count,
                      void (*on_offset)(void *user, int32_t partition, int64_t committed, struct span metadata), void *user,
                      int64_t timeout_ms, struct error *err);

/* The first offset (or with `latest` the end) of each of the topic's partitions 0…count-1, asked of their leaders at once.
 * ret_offsets: [count]. */
int group_reader_bounds(struct group_reader *reader, const char *topic, int count, bool latest, int64_t *ret_offsets, int64_t timeout_ms,
                        struct error *err);

#endif
