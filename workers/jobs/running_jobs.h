/* What this process knows of jobs that an operator has stopped: follows <prefix>.control without a group. Jobs that run as they should,
 * are done or were never heard of take no room and no time. All functions: on the loop thread. */
#ifndef WORKERS_JOBS_RUNNING_JOBS_H
#define WORKERS_JOBS_RUNNING_JOBS_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/settings.h"
#include "queues/job_record.h"

struct running_jobs;

/* At most so many paused and cancelled jobs are kept in mind; past that the oldest cancelled one is forgotten, and the log says so. */
enum { RUNNING_JOBS_MAX = 4096, RUNNING_JOBS_CANCELLED_DAYS = 31 };

/* The control topic must exist. Takes a reference of settings. on_change (may be NULL) comes after news, and once all that the topic
 * held at the start is known. */
struct running_jobs *running_jobs_new(struct ev_loop *loop, struct settings *settings, void (*on_change)(void *user), void *user,
                                      struct error *err);
void running_jobs_free(struct running_jobs *jobs); /* NULL is fine */

/* Has everything been read that the topic held at the start? */
bool running_jobs_known(const struct running_jobs *jobs);

/* The state of a job; *ret_since_wall_ms: since when (RUNNING: 0). jobs may be NULL: all run. */
enum job_state running_jobs_state(const struct running_jobs *jobs, struct span tenant, struct span name,
                                  int64_t *ret_since_wall_ms);

/* How long a record of a job that has been paused for so long waits before it is looked at again: a quarter of that time, so that a job
 * paused for hours does not keep its records turning, and one resumed soon goes on soon. Within min_ms…max_ms. Pure. */
int64_t running_jobs_wait_ms(int64_t paused_ms, int64_t min_ms, int64_t max_ms);

/* One record of the control topic; what running_jobs_new()'s reader hands over. For tests. */
void running_jobs_apply(struct running_jobs *jobs, struct span key, struct span value);
/* Without a reader. For tests. */
struct running_jobs *running_jobs_unread(void);
size_t running_jobs_count(const struct running_jobs *jobs);

#endif
