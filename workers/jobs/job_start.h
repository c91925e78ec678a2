/* `millrace job start`: publishes a file or a folder as one job, exactly once, however often it is interrupted. */
#ifndef WORKERS_JOBS_JOB_START_H
#define WORKERS_JOBS_JOB_START_H

#include "config/settings.h"
#include "workers/cli/arguments.h"
#include "workers/jobs/job_watch.h"

/* The arguments were read by cli_job.c's table; words[0] is "start". Returns an enum exit_status. */
int job_start(const struct arguments *arguments, struct settings *settings);

/* Shows the job's progress until it is over or interrupted; prints it at the end. In cli_job.c. */
int job_follow(const struct arguments *arguments, struct settings *settings, const char *tenant, const char *name);

/* SIGINT or SIGTERM came; the first call puts the handlers in place. */
bool job_interrupted(void);

#endif
