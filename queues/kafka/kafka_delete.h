/* Deleting records for good (Kafka's DeleteRecords: from a partition's beginning up to an offset, nothing in between). Blocking;
 * any thread; makes a client of its own for the time. Not on librdkafka's mock broker. */
#ifndef QUEUES_KAFKA_KAFKA_DELETE_H
#define QUEUES_KAFKA_KAFKA_DELETE_H

#include <stdint.h>

#include "config/base/error.h"
#include "config/settings.h"

/* Deletes in each partition p of 0…count−1 what lies below before[p]; 0: nothing there. Past a partition's end is refused
 * (data.schema). -1 with the first partition's fault; others may have been done. */
int kafka_delete_before(const struct settings *settings, const char *topic, const int64_t *before, int32_t count,
                        int64_t timeout_ms, struct error *err);

#endif
