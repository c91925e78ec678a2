/* control topic ─ index_reader ─► running_jobs_apply ─► the table ◄─ running_jobs_state ─ tasks, `job start`
 *
 * The table is a plain array: a handful of entries as a rule, and a look-up compares hashes first. Failure modes: a record that is not
 * ours or can't be read is passed over; memory is out (a job's state is forgotten, the log says so); the broker is away (the reader
 * tries again for ever, what is known stays). */
#include "workers/jobs/running_jobs.h"

#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/digest.h"
#include "config/base/log.h"
#include "queues/kafka/index_reader.h"
#include "queues/kafka/topics.h"

enum { FIRST_ROOM = 16 };
static const int64_t day_ms = 86400000;

struct stopped_job {
        uint64_t hash;
        enum job_state state;
        int64_t since_wall_ms;
        size_t tenant_len, name_len;
        char tenant[TENANT_BYTES_MAX], name[ID_BYTES_MAX];
};

struct running_jobs {
        struct index_reader *reader;
        void (*on_change)(void *user);
        void *user;
        bool known;
        struct stopped_job *stopped; /* [count] */
        size_t count, room;
};

static uint64_t hash_of(struct span tenant, struct span name)
{
        return digest_fnv1a(tenant) * 31 + digest_fnv1a(name);
}

static struct stopped_job *find(const struct running_jobs *jobs, struct span tenant, struct span name)
{
        const uint64_t hash = jobs->count ? hash_of(tenant, name) : 0;

        for (size_t i = 0; i < jobs->count; i++) {
                struct stopped_job *job = &jobs->stopped[i];

                if (job->hash == hash && span_equal((struct span){job->tenant, job->tenant_len}, tenant) &&
                    span_equal((struct span){job->name, job->name_len}, name))
                        return job;
        }
        return NULL;
}

static void forget(struct running_jobs *jobs, struct stopped_job *job)
{
        *job = jobs->stopped[--jobs->count];
}

/* Room for one more: a cancelled job of long ago has no records left to come. */
static bool make_room(struct running_jobs *jobs)
{
        struct stopped_job *oldest = NULL, *grown;
        size_t room = jobs->room ? 2 * jobs->room : FIRST_ROOM;

        if (jobs->count < jobs->room)
                return true;
        if (jobs->room < RUNNING_JOBS_MAX) {
                grown = realloc(jobs->stopped, room * sizeof *grown);
                if (!grown)
                        return false;
                jobs->stopped = grown;
                jobs->room = room;
                return true;
        }
        for (size_t i = 0; i < jobs->count; i++)
                if (jobs->stopped[i].state == JOB_CANCELLED && (!oldest || jobs->stopped[i].since_wall_ms < oldest->since_wall_ms))
                        oldest = &jobs->stopped[i];
        if (!oldest)
                return false;
        log_warn("job_forgotten", "job=%.*s reason=more than %d jobs are paused or cancelled", (int)oldest->name_len, oldest->name,
                 RUNNING_JOBS_MAX);
        forget(jobs, oldest);
        return true;
}

static void keep(struct running_jobs *jobs, struct span tenant, struct span name, const struct job_state_record *record)
{
        struct stopped_job *job = find(jobs, tenant, name);
        const bool over = record->state == JOB_CANCELLED &&
                          clock_wall_ms() - record->at_wall_ms > RUNNING_JOBS_CANCELLED_DAYS * day_ms;

        if (record->state == JOB_RUNNING || over) {
                if (job)
                        forget(jobs, job);
                return;
        }
        if (!job) {
                if (!make_room(jobs)) {
                        log_error("job_not_followed", "job=%.*s state=%s reason=no room", (int)name.len, name.data,
                                  job_state_names[record->state]);
                        return;
                }
                job = &jobs->stopped[jobs->count++];
                *job = (struct stopped_job){.hash = hash_of(tenant, name), .tenant_len = tenant.len, .name_len = name.len};
                memcpy(job->tenant, tenant.data, tenant.len);
                memcpy(job->name, name.data, name.len);
        }
        job->state = record->state;
        job->since_wall_ms = record->at_wall_ms;
}

void running_jobs_apply(struct running_jobs *jobs, struct span key, struct span value)
{
        struct job_state_record record;
        struct stopped_job *job;
        struct span tenant, name;

        if (job_key_parse(key, &tenant, &name) != JOB_RECORD_STATE)
                return;
        if (!value.data) { /* a tombstone */
                if ((job = find(jobs, tenant, name)))
                        forget(jobs, job);
        } else if (job_state_parse(value, &record)) {
                keep(jobs, tenant, name, &record);
                if (jobs->known)
                        log_info("job_state", "job=%.*s tenant=%.*s state=%s", (int)name.len, name.data, (int)tenant.len,
                                 tenant.data, job_state_names[record.state]);
        } else {
                log_warn("job_record_passed_over", "job=%.*s reason=not a state this version knows", (int)name.len, name.data);
        }
}

static size_t on_batch(void *user, const struct record *const *records, size_t count)
{
        struct running_jobs *jobs = user;

        for (size_t i = 0; i < count; i++)
                running_jobs_apply(jobs, records[i]->key, records[i]->value);
        if (jobs->known && jobs->on_change)
                jobs->on_change(jobs->user);
        return count;
}

static void on_end(void *user)
{
        struct running_jobs *jobs = user;

        if (jobs->known)
                return;
        jobs->known = true;
        if (jobs->on_change)
                jobs->on_change(jobs->user);
}

struct running_jobs *running_jobs_unread(void)
{
        return calloc(1, sizeof(struct running_jobs));
}

struct running_jobs *running_jobs_new(struct ev_loop *loop, struct settings *settings, void (*on_change)(void *user), void *user,
                                      struct error *err)
{
        struct running_jobs *jobs = running_jobs_unread();
        char topic[TOPIC_NAME_BYTES];
        struct index_reader_config config = {
                .topic = topic, .partition_count = 1, .on_batch = on_batch, .on_end = on_end, .user = jobs};

        if (!jobs) {
                error_set(err, CODE_INTERNAL, "out of memory");
                return NULL;
        }
        jobs->on_change = on_change;
        jobs->user = user;
        if (topic_control(topic, settings->kafka.prefix) < 0)
                error_set(err, CODE_SCHEMA, "kafka.prefix is too long");
        else
                jobs->reader = index_reader_new(loop, settings, &config, err);
        if (!jobs->reader) {
                running_jobs_free(jobs);
                return NULL;
        }
        return jobs;
}

void running_jobs_free(struct running_jobs *jobs)
{
        if (!jobs)
                return;
        index_reader_free(jobs->reader);
        free(jobs->stopped);
        free(jobs);
}

bool running_jobs_known(const struct running_jobs *jobs)
{
        return jobs->known;
}

size_t running_jobs_count(const struct running_jobs *jobs)
{
        return jobs->count;
}

enum job_state running_jobs_state(const struct running_jobs *jobs, struct span tenant, struct span name, int64_t *ret_since_wall_ms)
{
        const struct stopped_job *job = jobs && jobs->count && name.len ? find(jobs, tenant, name) : NULL;

        *ret_since_wall_ms = job ? job->since_wall_ms : 0;
        return job ? job->state : JOB_RUNNING;
}

int64_t running_jobs_wait_ms(int64_t paused_ms, int64_t min_ms, int64_t max_ms)
{
        const int64_t wait = paused_ms / 4;

        return wait < min_ms ? min_ms : wait > max_ms ? max_ms : wait;
}
