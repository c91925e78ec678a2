/* Records that become visible together or not at all, however the process ends: Kafka's transactions, for commands. Blocking;
 * any thread, one at a time per object. Not on librdkafka's mock broker, which knows no transactions (it shows the records of an
 * aborted one): ask topics_ensure() first. */
#ifndef QUEUES_KAFKA_KAFKA_TRANSACTION_H
#define QUEUES_KAFKA_KAFKA_TRANSACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/settings.h"
#include "queues/kafka/producer.h"

/* How long the broker waits for a process that died in mid-transaction before it aborts for it; readers of the partitions it wrote
 * to stand still so long, unless the same id is opened again. */
enum { KAFKA_TRANSACTION_TIMEOUT_MS = 15000 };

struct kafka_transactions;

/* id: the transactional.id (copied). Opening it ends what another process has under way by the same id: a transaction that was
 * being committed is completed, any other is aborted, and that process writes nothing more. When this returns, all that the
 * others have committed can be read. NULL and err: dependency.*, or data.schema for kafka.options that can't be. */
struct kafka_transactions *kafka_transactions_new(const struct settings *settings, const char *id, int64_t timeout_ms,
                                                  struct error *err);
void kafka_transactions_free(struct kafka_transactions *transactions); /* NULL is fine */

/* Publishes all records in one transaction. ret_acks: NULL or [count], written on success. -1: none of them is visible, unless
 * *ret_unknown: the broker did not say whether the transaction stands. Either way go on with a new object: opening the id again
 * settles it. */
int kafka_transactions_publish(struct kafka_transactions *transactions, const struct outgoing *records, size_t count,
                               int64_t timeout_ms, struct producer_ack *ret_acks, bool *ret_unknown, struct error *err);

/* Another process has opened the id: this one writes nothing more. */
bool kafka_transactions_fenced(const struct kafka_transactions *transactions);

#endif
