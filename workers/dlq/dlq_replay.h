/* `dlq replay`: dead letters go back to the topics they came from, each together with its `replayed` state record. */
#ifndef WORKERS_DLQ_DLQ_REPLAY_H
#define WORKERS_DLQ_DLQ_REPLAY_H

#include "workers/dlq/dlq_walk.h"

enum { REPLAY_RATE_OTHERWISE = 100 };

/* The letters that the command's further words name, else all that fit the filters; walk->states is read on. Returns an enum
 * exit_status. */
int dlq_replay(const struct arguments *arguments, const struct dlq_walk *walk);

#endif
