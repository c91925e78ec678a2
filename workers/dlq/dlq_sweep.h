/* `dlq purge --all`: purged letters leave Kafka, as far as it can delete: from a partition's beginning up to the first letter
 * that is not purged. */
#ifndef WORKERS_DLQ_DLQ_SWEEP_H
#define WORKERS_DLQ_DLQ_SWEEP_H

#include "workers/dlq/dlq_walk.h"

struct swept {
        int64_t deleted;   /* letters */
        int64_t hidden;    /* purged ones that stay, behind one that is not */
        int64_t forgotten; /* state records of letters that were gone before */
};

/* Of the kinds that the walk's filter names. walk->states must be up to date; client: not the walk's. A state record outlives its
 * letter until the next sweep, so that who purged it can be read. */
int dlq_sweep(const struct dlq_walk *walk, const char *state_topic, struct kafka_client *client, struct swept *ret_swept,
              struct error *err);

#endif
