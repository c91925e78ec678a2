#include "workers/jobs/job_records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "config/base/utf8.h"
#include "queues/kafka/topics.h"
#include "workers/dlq/dlq_act.h"

enum { READ_TIMEOUT_MS = 15000, WRITE_TIMEOUT_MS = 15000, FIRST_ROOM = 64 };

struct listing {
        struct span tenant, name; /* the only one wanted; len 0: all */
        struct job_records *list;
        size_t count, room, last; /* last: the one of the record before, as a job's records come in runs */
        bool more, failed;
};

static bool same(const char *text, size_t size, struct span as)
{
        return as.len < size && strncmp(text, as.data, as.len) == 0 && text[as.len] == '\0';
}

static bool is_of(const struct job_records *job, struct span tenant, struct span name)
{
        return same(job->tenant, sizeof job->tenant, tenant) && same(job->name, sizeof job->name, name);
}

static struct job_records *find(struct listing *listing, struct span tenant, struct span name)
{
        if (listing->last < listing->count && is_of(&listing->list[listing->last], tenant, name))
                return &listing->list[listing->last];
        for (size_t i = 0; i < listing->count; i++)
                if (is_of(&listing->list[i], tenant, name)) {
                        listing->last = i;
                        return &listing->list[i];
                }
        return NULL;
}

static struct job_records *add(struct listing *listing, struct span tenant, struct span name)
{
        struct job_records *grown, *job;

        if (listing->count == JOB_RECORDS_MAX) {
                listing->more = true;
                return NULL;
        }
        if (listing->count == listing->room) {
                const size_t room = listing->room ? 2 * listing->room : FIRST_ROOM;

                grown = realloc(listing->list, room * sizeof *grown);
                listing->failed |= !grown;
                if (!grown)
                        return NULL;
                listing->list = grown;
                listing->room = room;
        }
        listing->last = listing->count;
        job = &listing->list[listing->count++];
        *job = (struct job_records){0};
        memcpy(job->tenant, tenant.data, tenant.len);
        memcpy(job->name, name.data, name.len);
        return job;
}

static bool on_record(void *user, const struct record *record)
{
        struct listing *listing = user;
        struct span tenant, name;
        const enum job_record_type type = job_key_parse(record->key, &tenant, &name);
        struct job_records *job;

        if (type == JOB_RECORD_NONE || (listing->tenant.len && !span_equal(listing->tenant, tenant)) ||
            (listing->name.len && !span_equal(listing->name, name)))
                return true;
        job = find(listing, tenant, name);
        if (!job && !(job = add(listing, tenant, name)))
                return !listing->failed;
        if (type == JOB_RECORD_STATE)
                job->has_state = record->value.data && job_state_parse(record->value, &job->state);
        else
                job->has_position = record->value.data && job_position_parse(record->value, &job->position);
        return true;
}

static int read_all(struct kafka_client *kafka, const struct settings *settings, struct listing *listing, struct error *err)
{
        char topic[TOPIC_NAME_BYTES];

        if (topic_control(topic, settings->kafka.prefix) < 0)
                return error_set(err, CODE_SCHEMA, "the topic's name is too long; shorten kafka.prefix");
        if (kafka_read_topic(kafka, topic, 0, NULL, on_record, listing, READ_TIMEOUT_MS, err) < 0)
                return -1;
        return listing->failed ? error_set(err, CODE_INTERNAL, "out of memory") : 0;
}

int job_records_read(struct kafka_client *kafka, const struct settings *settings, const char *tenant, const char *name,
                     struct job_records *ret, struct error *err)
{
        struct listing listing = {.tenant = span_of(tenant), .name = span_of(name)};
        const int rc = read_all(kafka, settings, &listing, err);

        if (rc == 0 && listing.count > 0) {
                *ret = listing.list[0];
        } else if (rc == 0) {
                *ret = (struct job_records){0};
                snprintf(ret->tenant, sizeof ret->tenant, "%s", tenant);
                snprintf(ret->name, sizeof ret->name, "%s", name);
        }
        free(listing.list);
        return rc;
}

static int64_t begun(const struct job_records *job)
{
        return job->has_position ? job->position.started_wall_ms : job->has_state ? job->state.at_wall_ms : 0;
}

static int by_age(const void *a, const void *b)
{
        const int64_t x = begun(a), y = begun(b);

        return (x > y) - (x < y);
}

int job_records_list(struct kafka_client *kafka, const struct settings *settings, const char *tenant, struct job_records **ret_list,
                     size_t *ret_count, bool *ret_more, struct error *err)
{
        struct listing listing = {.tenant = span_of(tenant)};

        if (read_all(kafka, settings, &listing, err) < 0) {
                free(listing.list);
                return -1;
        }
        if (listing.count)
                qsort(listing.list, listing.count, sizeof *listing.list, by_age);
        *ret_list = listing.list;
        *ret_count = listing.count;
        *ret_more = listing.more;
        return 0;
}

int job_records_write(struct kafka_client *kafka, const struct settings *settings, const char *tenant, const char *name,
                      const struct job_state_record *state, struct error *err)
{
        char topic[TOPIC_NAME_BYTES], key[JOB_KEY_BYTES];
        struct outgoing outgoing = {.topic = topic, .partition = 0};
        struct producer_ack ack;
        AUTO_BUFFER value = {0};

        buffer_init(&value, JOB_RECORD_BYTES_MAX);
        if (topic_control(topic, settings->kafka.prefix) < 0)
                return error_set(err, CODE_SCHEMA, "the topic's name is too long; shorten kafka.prefix");
        job_key(key, JOB_RECORD_STATE, span_of(tenant), span_of(name));
        job_state_render(&value, state);
        outgoing.key = span_of(key);
        outgoing.value = buffer_view(&value);
        return kafka_publish(kafka, &outgoing, WRITE_TIMEOUT_MS, &ack, err);
}

void job_records_whoami(char ret_by[JOB_BY_BYTES])
{
        char by[ACT_BY_BYTES];

        dlq_act_caller(by);
        snprintf(ret_by, JOB_BY_BYTES, "%.*s", JOB_BY_BYTES - 1, utf8_valid((struct span){by, strnlen(by, JOB_BY_BYTES - 1)}) ? by : "unknown");
}
