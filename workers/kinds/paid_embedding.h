/* An embedding whose answer is in the request's ledger before anything is built on it: what was paid once is read, not bought again, by a
 * further attempt, another worker or a replay. For kinds that embed on their way (ingest, retrieve); an embed request's result is its own
 * ledger entry. Answers of the local provider cost nothing and are not kept. */
#ifndef WORKERS_KINDS_PAID_EMBEDDING_H
#define WORKERS_KINDS_PAID_EMBEDDING_H

#include "workers/task/task.h"

/* The caller has filled in task->call.embed (and task->call.op is IDLE) before the first of a row of calls; it calls again until STEP_DONE.
 * Then the answer lies in task->call as after a call (served_from says whether it came from the ledger), usage and cost are added to the
 * step, and task->call.op is IDLE; or *err says what failed. Uses task->op, task->timer and task->out. Redis that is down is waited for, until
 * the deadline. A claim that turns out lost ends the step's work as ever (task->claim_lost). */
enum step paid_embedding(struct task *task, size_t model, struct error *err);

#endif
