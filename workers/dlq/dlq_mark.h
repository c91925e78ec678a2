/* `dlq park` and `dlq purge`: letters get another state, and with purge --all leave Kafka. */
#ifndef WORKERS_DLQ_DLQ_MARK_H
#define WORKERS_DLQ_DLQ_MARK_H

#include "workers/dlq/dlq_walk.h"

/* The letters that the command's further words name, else all that fit the filters, become parked or purged; with --undo open
 * again. walk->states is read on. Returns an enum exit_status. */
int dlq_mark(const struct arguments *arguments, const struct dlq_walk *walk, enum letter_state to);

#endif
