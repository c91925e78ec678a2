/* A job watched from a command: its counts in Redis, and what an operator says of it meanwhile. One private loop, turned only within
 * these calls; one thread. */
#ifndef WORKERS_JOBS_JOB_WATCH_H
#define WORKERS_JOBS_JOB_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/settings.h"
#include "queues/job_record.h"
#include "queues/redis/jobs.h"

struct job_watch;

/* tenant, name: borrowed. follows: reads the control topic too, which must exist. A Redis that can't be reached is no error here. */
struct job_watch *job_watch_new(struct settings *settings, const char *tenant, const char *name, bool follows, struct error *err);
void job_watch_free(struct job_watch *watch); /* NULL is fine */

/* Another job, for the next job_watch_read(). Borrowed. */
void job_watch_turn_to(struct job_watch *watch, const char *tenant, const char *name);

/* Lets the loop run for ms (0: only what is ready). Every REFRESH_MS the counts are asked for anew. */
void job_watch_run(struct job_watch *watch, int64_t ms);

/* The newest counts; found is false until there are some. */
const struct job_progress *job_watch_progress(const struct job_watch *watch);
/* Waits until what the control topic held at the start is known (it is followed): 0, or -1 when that takes longer than some seconds. */
int job_watch_settle(struct job_watch *watch, struct error *err);
/* What was last said of the job (RUNNING before anything was heard). */
enum job_state job_watch_state(const struct job_watch *watch);
/* How far the publisher is: told to Redis within REFRESH_MS. */
void job_watch_published(struct job_watch *watch, int64_t total, int64_t published);

/* Asks for the counts and waits: 0, or -1 when Redis has not answered within some seconds. */
int job_watch_read(struct job_watch *watch, struct job_progress *ret_progress, struct error *err);
/* Waits until what job_watch_published() said last is told, for some seconds at most. */
void job_watch_flush(struct job_watch *watch);

#endif
