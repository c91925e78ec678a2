/* A bounded pool of threads for CPU work: searches, chunking, local models. One libev loop feeds it.
 * A job's run() is called on a pool thread, then its op is done on the loop thread. */
#ifndef WORKERS_LOOP_POOL_H
#define WORKERS_LOOP_POOL_H

#include <ev.h>
#include <stddef.h>

#include "config/base/completion.h"

struct pool;

struct pool *pool_new(struct ev_loop *loop, int threads, size_t queue_max, struct error *err);
/* Waits for the jobs under way; those still queued end with serving.internal. */
void pool_free(struct pool *pool);

/* Runs run(argument, &err) on a pool thread; run returns 0, or -1 with err filled in. op must be IDLE; it becomes BUSY, and DONE on
 * the loop thread. argument must live until then: a job can't be given up, so that op_abort() on it waits for a running job, and takes
 * a queued one back. -1 (op stays IDLE) when the queue is full. */
int pool_run(struct pool *pool, struct op *op, int (*run)(void *argument, struct error *err), void *argument);
size_t pool_queued(const struct pool *pool);

#endif
