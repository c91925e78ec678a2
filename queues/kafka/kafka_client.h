/* What the modules of this room share (configuration, errors), and blocking helpers for commands and tests. */
#ifndef QUEUES_KAFKA_KAFKA_CLIENT_H
#define QUEUES_KAFKA_KAFKA_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/settings.h"
#include "queues/kafka/producer.h"
#include "queues/kafka/record.h"

/* Does librdkafka know kafka.options, and take their values? -1: data.schema, naming the first that it does not. Asks nobody. */
int kafka_options_check(const struct settings *settings, struct error *err);

/* Blocking helpers; any thread, one at a time per client. Not for the loop. */
struct kafka_client;

struct kafka_client *kafka_client_new(const struct settings *settings, struct error *err);
void kafka_client_free(struct kafka_client *client); /* NULL is fine */

/* Publishes one record and waits for its acknowledgement. After -1 with dependency.timeout it may have been written all the
 * same. */
int kafka_publish(struct kafka_client *client, const struct outgoing *outgoing, int64_t timeout_ms, struct producer_ack *ret_ack,
                  struct error *err);

/* Publishes what next() gives: fills *outgoing and returns true, or returns false at the end; its spans are copied before the
 * next call. Waits for room when librdkafka's bounded queue is full and for all acknowledgements at the end; stops at the first
 * failure. on_ack (may be NULL) comes from within, in the order of the acknowledgements, with the number of the record (from 0).
 * *ret_count: how many were acknowledged, written on failure too. stall_ms: gives up when nothing was acknowledged for so long. */
int kafka_publish_all(struct kafka_client *client, bool (*next)(void *user, struct outgoing *outgoing),
                      void (*on_ack)(void *user, int64_t number, const struct producer_ack *ack), void *user, int64_t stall_ms,
                      int64_t *ret_count, struct error *err);

/* Shows every record between a partition's beginning (or from[partition], where from is not NULL) and the end it has at the
 * call, in order within each partition; valid during the call. on_record returns false to stop early (no error). partition -1 =
 * all. A topic that does not exist has no records. from: one entry a partition, below the beginning = from the beginning.
 * timeout_ms: gives up when nothing came for so long. */
int kafka_read_topic(struct kafka_client *client, const char *topic, int32_t partition, const int64_t *from,
                     bool (*on_record)(void *user, const struct record *record), void *user, int64_t timeout_ms, struct error *err);

/* One record by its place; ok = found. */
int kafka_read_record(struct kafka_client *client, const char *topic, int32_t partition, int64_t offset,
                      void (*on_record)(void *user, const struct record *record), void *user, int64_t timeout_ms, bool *ret_found,
                      struct error *err);

/* How many partitions the topic has; 0 = there is no such topic; -1 and err: not answered. */
int kafka_partition_count(struct kafka_client *client, const char *topic, int64_t timeout_ms, struct error *err);
/* A text that names this cluster and topic, for files that must not be used with another: NUL-terminated, cut at text_bytes. */
int kafka_cluster_identity(struct kafka_client *client, const char *topic, int64_t timeout_ms, char *ret_text, size_t text_bytes,
                           struct error *err);
/* Beginning and end (behind the last record) of a partition, asked of the broker. */
int kafka_offsets(struct kafka_client *client, const char *topic, int32_t partition, int64_t timeout_ms, int64_t *ret_begin,
                  int64_t *ret_end, struct error *err);

#endif
