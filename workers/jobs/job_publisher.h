/* Publishes a job's records together with the position behind them: both are there or neither is, however the process ends. Blocking.
 *
 *      open ─► whoever else published this job is fenced, what it left is settled ─► the job's records as they stand
 *      publish ─► requests to the kind's bulk topic, position (and state) to <prefix>.control: one transaction
 */
#ifndef WORKERS_JOBS_JOB_PUBLISHER_H
#define WORKERS_JOBS_JOB_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>

#include "config/base/error.h"
#include "config/settings.h"
#include "queues/kafka/producer.h"
#include "workers/jobs/job_records.h"

enum { JOB_BATCH_MAX = 1000 };

struct job_publisher;

/* Makes the topics where they are missing. tenant, name: valid, borrowed; settings too. NULL and err: dependency.*, or data.schema for a
 * topic's name too long. */
struct job_publisher *job_publisher_open(struct settings *settings, enum kind kind, const char *tenant, const char *name,
                                         struct job_records *ret_records, struct error *err);
void job_publisher_close(struct job_publisher *publisher); /* NULL is fine */

const char *job_publisher_topic(const struct job_publisher *publisher); /* of the requests */
/* The embedded broker, which knows no transactions: there the requests go first, then the position, and a kill in between publishes the
 * batch again on the next run. */
bool job_publisher_mock(const struct job_publisher *publisher);
/* Another process has opened the job: this one publishes nothing more. */
bool job_publisher_fenced(const struct job_publisher *publisher);

/* At most JOB_BATCH_MAX requests; state may be NULL. A fault that passes is waited out: go_on(user) is called about once a second and says
 * whether to try on. 0; or -1: nothing of it is published, or another process took over and may have published it. */
int job_publisher_publish(struct job_publisher *publisher, const struct outgoing *requests, size_t count,
                          const struct job_state_record *state, const struct job_position *position, bool (*go_on)(void *user),
                          void *user, struct error *err);

#endif
