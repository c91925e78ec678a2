/* The first record at or behind a committed offset that has not ended: what keeps the offset from moving on. Blocks. */
#ifndef WORKERS_CLI_OFFSETS_BLOCKER_H
#define WORKERS_CLI_OFFSETS_BLOCKER_H

#include "queues/kafka/kafka_client.h"
#include "queues/kafka/watermark.h"
#include "queues/redis/redis_client.h"

struct blocker {
        bool found;    /* there is such a record: not where only transactions' markers lie there, or compaction took all */
        bool readable; /* it is a request by the contract; else `fault` says why not */
        char fault[240];
        int64_t offset;               /* the record's */
        char id[129], tenant[65];     /* "" where none can be read */
        char provider[65], model[65]; /* by the configuration; "" where the step needs none */
        enum kind kind;               /* of the step that is next */
        int step, step_count;
        int64_t written_wall_ms;                                      /* this record; -1 = unknown */
        int64_t origin_wall_ms, deadline_wall_ms, not_before_wall_ms; /* 0 = unknown, none */
        int attempts, replays;                                        /* as the record carries them; the claim's count is newer */
        bool claimed;
        struct redis_claim claim;
};

/* topic: a request or retry topic of the settings; done: what has ended behind the offset, NULL: nothing that is known.
 * redis NULL: the claim is not looked at. -1 and err: Kafka did not answer. */
int blocker_read(struct kafka_client *kafka, struct redis_client *redis, const struct settings *settings, const char *topic,
                 const char *prefix, int32_t partition, int64_t offset, const struct watermark *done, struct blocker *ret_blocker,
                 struct error *err);

/* Why it has not ended, in words; now by the wall clock. */
const char *blocker_reason(const struct blocker *blocker, int64_t now_wall_ms, bool claims_known);

#endif
