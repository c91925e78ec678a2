/* Reads one topic without a group, from given positions on, for a replica of one's own: the index topics. Nothing is committed.
 * All functions: on the loop thread. */
#ifndef QUEUES_KAFKA_INDEX_READER_H
#define QUEUES_KAFKA_INDEX_READER_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/settings.h"
#include "queues/kafka/record.h"

struct index_reader;

enum { INDEX_PARTITIONS_MAX = 4096 };

struct index_reader_config {
        const char *topic;
        const int64_t *positions; /* [partition_count]: the offset to read next; 0 = from the beginning; copied */
        int partition_count;      /* of the topic: kafka_partition_count() tells */
        int batch_max;            /* records a call and a loop turn, 0 = 256 */
        /* 1…batch_max records in order of each partition, valid during the call; null values (tombstones) among them. Return how
         * many were taken, from the first on. Less than all holds the reader: the others come again after
         * index_reader_hold(reader, false). */
        size_t (*on_batch)(void *user, const struct record *const *records, size_t count);
        /* May be NULL: every partition has been read up to the end it had; again each time that the reader has caught up. */
        void (*on_end)(void *user);
        void *user;
};

/* A position past the topic's end or below its beginning is a fault (the replica belongs to another topic's life): the reader
 * stops at that partition and index_reader_error() says so; compaction's gaps are no fault. */
struct index_reader *index_reader_new(struct ev_loop *loop, const struct settings *settings,
                                      const struct index_reader_config *config, struct error *err);
void index_reader_free(struct index_reader *reader); /* blocks for some milliseconds; NULL is fine */

/* Held: no batch comes; a bounded amount stays prefetched. */
void index_reader_hold(struct index_reader *reader, bool hold);

/* The offset behind the last record taken (or the offset given at first, or the end where only gaps were left). */
int64_t index_reader_position(const struct index_reader *reader, int partition);
/* Behind the partition's last record as last heard; -1 unknown. */
int64_t index_reader_end(const struct index_reader *reader, int partition);
/* Records between position and end over all partitions; -1 while an end is unknown. Compaction's gaps count. */
int64_t index_reader_lag(const struct index_reader *reader);
/* All partitions have been read to their end at least once since the start, and none is known to be behind now. */
bool index_reader_caught_up(const struct index_reader *reader);
/* 0; or -1 and the last fault that still stands. */
int index_reader_error(const struct index_reader *reader, struct error *err);

#endif
