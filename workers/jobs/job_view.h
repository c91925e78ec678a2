/* A job as people and programs see it: what <prefix>.control says and what Redis has counted, in one. Pure. */
#ifndef WORKERS_JOBS_JOB_VIEW_H
#define WORKERS_JOBS_JOB_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "config/base/buffer.h"
#include "queues/redis/jobs.h"
#include "workers/jobs/job_records.h"

struct job_view {
        const struct job_records *records;   /* borrowed */
        const struct job_progress *progress; /* borrowed; NULL: Redis could not be asked */
};

/* "cancelled" "done" "paused" "publishing" "running". */
const char *job_view_state(const struct job_view *view);
int64_t job_view_ended(const struct job_view *view);
/* How many will have ended when all is done; -1: not known. */
int64_t job_view_expected(const struct job_view *view);
/* 0…1; < 0: not known. */
double job_view_share(const struct job_view *view);
/* Ends a second since its first; 0: not known. */
double job_view_rate(const struct job_view *view);
/* Until the last one, ms; -1: not known. */
int64_t job_view_eta_ms(const struct job_view *view);
/* Will nothing more end? */
bool job_view_is_over(const struct job_view *view);

/* One JSON object, no line end. */
void job_view_json(struct buffer *out, const struct job_view *view);
/* Several lines. */
void job_view_text(struct buffer *out, const struct job_view *view);
/* One line, under job_view_heading. */
void job_view_line(struct buffer *out, const struct job_view *view);
void job_view_heading(struct buffer *out);
/* For the progress line: "paused; failed 3", "" where there is nothing to say. */
void job_view_note(char *text, size_t size, const struct job_view *view);

#endif
