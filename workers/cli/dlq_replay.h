/* `dlq replay`: dead letters go back to the topics they came from. */
#ifndef WORKERS_CLI_DLQ_REPLAY_H
#define WORKERS_CLI_DLQ_REPLAY_H

#include "workers/cli/dlq_walk.h"

/* The letters that the command's further words name, else all that fit the filters. Returns an enum exit_status. */
int dlq_replay(const struct arguments *arguments, const struct dlq_walk *walk);

#endif
