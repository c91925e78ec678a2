/* Jobs as <prefix>.control has them, for commands: read, listed, and their state written. Blocking. */
#ifndef WORKERS_JOBS_JOB_RECORDS_H
#define WORKERS_JOBS_JOB_RECORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "config/base/error.h"
#include "config/settings.h"
#include "queues/job_record.h"
#include "queues/kafka/kafka_client.h"

struct job_records {
        char tenant[TENANT_BYTES_MAX + 1], name[ID_BYTES_MAX + 1];
        bool has_state, has_position;
        struct job_state_record state;
        struct job_position position;
};

/* How many jobs job_records_list() holds at most; further ones are left out. */
enum { JOB_RECORDS_MAX = 10000 };

/* What the topic says of one job now; neither has_… where it says nothing. */
int job_records_read(struct kafka_client *kafka, const struct settings *settings, const char *tenant, const char *name,
                     struct job_records *ret, struct error *err);

/* All jobs, of one tenant where tenant is not NULL, the newest last. *ret_list is malloc'ed; *ret_more: some were left out. */
int job_records_list(struct kafka_client *kafka, const struct settings *settings, const char *tenant, struct job_records **ret_list,
                     size_t *ret_count, bool *ret_more, struct error *err);

/* Writes the job's state, said by state->by now. */
int job_records_write(struct kafka_client *kafka, const struct settings *settings, const char *tenant, const char *name,
                      const struct job_state_record *state, struct error *err);

/* "user@host", for struct job_state_record. */
void job_records_whoami(char ret_by[JOB_BY_BYTES]);

#endif
