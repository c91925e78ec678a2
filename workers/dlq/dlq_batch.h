/* Some letters on their way back, and the transaction that carries them: each as a new request of its lane (its own key, value and
 * foreign headers, mr-replays + 1, attempts 0, a deadline of the lane's length from now) beside the record that says so. Blocks.
 *
 * Invariants: the two records of a letter become visible together or not at all (not on the mock broker, which can't: there the
 * request goes first); at most BATCH_LETTERS or BATCH_BYTES_MAX are in memory. */
#ifndef WORKERS_DLQ_DLQ_BATCH_H
#define WORKERS_DLQ_DLQ_BATCH_H

#include "queues/kafka/kafka_client.h"
#include "queues/kafka/kafka_transaction.h"
#include "workers/dlq/dlq_act.h"
#include "workers/dlq/dlq_states.h"

enum { BATCH_LETTERS = 100, BATCH_BYTES_MAX = 8 << 20 };

struct batch_item {
        const char *dlq; /* where the letter lies */
        int32_t partition;
        int64_t offset, timestamp_ms;
        enum error_class class;
        bool goes; /* false: it is parked */
        struct outgoing request, state;
        struct producer_ack ack; /* goes, and was sent */
};

struct batch {
        struct arena *arena;
        struct batch_item items[BATCH_LETTERS];
        size_t count, bytes;
        bool unknown; /* after a fault: whether it stands is not known */
};

int batch_init(struct batch *batch, struct error *err);
void batch_fini(struct batch *batch); /* a zeroed one is fine */
void batch_reset(struct batch *batch);

/* Copies the letter. topic: where to; NULL: it is parked, for that reason. -1: no memory. */
int batch_add(struct batch *batch, const struct dlq_act *act, const struct letter *letter, const char *topic,
              int64_t deadline_wall_ms, const char *reason, struct error *err);
/* Drops the letters whose state is another by now. */
void batch_recheck(struct batch *batch, const struct dlq_states *states, unsigned allowed);
/* Can the records of a batch that was sent be read by now? */
bool batch_visible(const struct batch *batch, const struct dlq_states *states);
/* Sends all; transactions NULL: without, by the client. The acknowledgements are in the items. */
int batch_send(struct batch *batch, struct kafka_transactions *transactions, struct kafka_client *client, struct error *err);

#endif
