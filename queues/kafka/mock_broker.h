/* librdkafka's mock cluster in this process, for `dev`, the demo and tests. It speaks to other processes too. It keeps 5 MiB and
 * 100,000 batches a partition and drops the oldest silently; no compaction, no transactions, no topic configuration: never for
 * data that matters. */
#ifndef QUEUES_KAFKA_MOCK_BROKER_H
#define QUEUES_KAFKA_MOCK_BROKER_H

#include <stdint.h>

#include "config/base/error.h"

struct mock_broker;

/* One broker on a free port of 127.0.0.1, with threads of its own. */
struct mock_broker *mock_broker_new(struct error *err);
void mock_broker_free(struct mock_broker *broker); /* NULL is fine; clients should be gone */

/* "127.0.0.1:41233" for kafka.brokers; lives as long as the broker. */
const char *mock_broker_address(const struct mock_broker *broker);
int mock_broker_topic(struct mock_broker *broker, const char *topic, int partitions, struct error *err);

/* Tests. The next `count` requests of that API key (Kafka's number: 0 Produce, 1 Fetch, 8 OffsetCommit, 11 JoinGroup …) are
 * answered with this error code (Kafka's number). */
void mock_broker_fail(struct mock_broker *broker, int16_t api_key, int16_t error_code, int count);
/* Stops, restarts answering. */
void mock_broker_down(struct mock_broker *broker);
void mock_broker_up(struct mock_broker *broker);
/* A round trip takes that long; 0 = none. */
void mock_broker_delay(struct mock_broker *broker, int delay_ms);

#endif
