/* `dlq ls` and `dlq stats`. */
#ifndef WORKERS_DLQ_DLQ_LIST_H
#define WORKERS_DLQ_DLQ_LIST_H

#include "workers/dlq/dlq_walk.h"

/* The newest letters that fit, oldest first; at most some thousands are in memory. Returns an enum exit_status. */
int dlq_list(const struct arguments *arguments, const struct dlq_walk *walk);
/* How many fit by kind and error, and how many letters there are in each state. Returns an enum exit_status. */
int dlq_stats(const struct arguments *arguments, const struct dlq_walk *walk);

#endif
