/* Failure modes: the broker is away or answers with a fault that passes (the transaction is opened anew; the position that lies in the
 * topic then tells whether the batch had been committed all the same); another process opens the job (fenced: the end). */
#include "workers/jobs/job_publisher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/own.h"
#include "queues/kafka/kafka_transaction.h"
#include "queues/kafka/topics.h"
#include "workers/cli/client_settings.h"

enum { OPEN_MS = 60000, PUBLISH_MS = 30000, TOPICS_MS = 15000, CONTROL_RECORDS = 2, TRANSACTIONAL_ID_BYTES = 300 };

struct job_publisher {
        struct settings *settings;
        const char *tenant, *name;
        bool mock;
        struct kafka_client *kafka;
        struct kafka_transactions *transactions; /* NULL on the mock broker, and while it could not be opened again */
        char topic[TOPIC_NAME_BYTES], control[TOPIC_NAME_BYTES];
        struct outgoing batch[JOB_BATCH_MAX + CONTROL_RECORDS];
        size_t count, at;
};

static int open_transactions(struct job_publisher *publisher, struct error *err)
{
        char id[TRANSACTIONAL_ID_BYTES];

        snprintf(id, sizeof id, "millrace-job-%.60s-%s-%s", publisher->settings->kafka.prefix, publisher->tenant, publisher->name);
        kafka_transactions_free(publisher->transactions);
        publisher->transactions = kafka_transactions_new(publisher->settings, id, OPEN_MS, err);
        return publisher->transactions ? 0 : -1;
}

static int open_all(struct job_publisher *publisher, enum kind kind, struct job_records *ret_records, struct error *err)
{
        struct settings *s = publisher->settings;
        struct topic_wanted wanted[] = {{.role = TOPIC_REQUEST, .partitions = s->kafka.partitions},
                                        {.role = TOPIC_CONTROL, .partitions = 1}};

        if (topic_request(publisher->topic, client_prefix(s, publisher->tenant), kind, LANE_BULK) < 0 ||
            topic_control(publisher->control, s->kafka.prefix) < 0)
                return error_set(err, CODE_SCHEMA, "the topic's name is too long; shorten kafka.prefix");
        memcpy(wanted[0].name, publisher->topic, sizeof publisher->topic);
        memcpy(wanted[1].name, publisher->control, sizeof publisher->control);
        if (topics_ensure(s, wanted, COUNT_OF(wanted), TOPICS_MS, &publisher->mock, err) < 0)
                return -1;
        publisher->kafka = kafka_client_new(s, err);
        if (!publisher->kafka || (!publisher->mock && open_transactions(publisher, err) < 0))
                return -1;
        return job_records_read(publisher->kafka, s, publisher->tenant, publisher->name, ret_records, err);
}

struct job_publisher *job_publisher_open(struct settings *settings, enum kind kind, const char *tenant, const char *name,
                                         struct job_records *ret_records, struct error *err)
{
        struct job_publisher *publisher = calloc(1, sizeof *publisher);

        if (!publisher) {
                error_set(err, CODE_INTERNAL, "out of memory");
                return NULL;
        }
        publisher->settings = settings;
        publisher->tenant = tenant;
        publisher->name = name;
        if (open_all(publisher, kind, ret_records, err) == 0)
                return publisher;
        job_publisher_close(publisher);
        return NULL;
}

void job_publisher_close(struct job_publisher *publisher)
{
        if (!publisher)
                return;
        kafka_transactions_free(publisher->transactions);
        kafka_client_free(publisher->kafka);
        free(publisher);
}

const char *job_publisher_topic(const struct job_publisher *publisher)
{
        return publisher->topic;
}

bool job_publisher_mock(const struct job_publisher *publisher)
{
        return publisher->mock;
}

bool job_publisher_fenced(const struct job_publisher *publisher)
{
        return publisher->transactions && kafka_transactions_fenced(publisher->transactions);
}

static bool next_of_batch(void *user, struct outgoing *outgoing)
{
        struct job_publisher *publisher = user;

        if (publisher->at == publisher->count)
                return false;
        *outgoing = publisher->batch[publisher->at++];
        return true;
}

/* The requests are acknowledged before the position goes. */
static int publish_on_mock(struct job_publisher *publisher, struct error *err)
{
        int rc;

        publisher->at = 0;
        publisher->count--;
        rc = kafka_publish_all(publisher->kafka, next_of_batch, NULL, publisher, PUBLISH_MS, NULL, err);
        publisher->count++;
        return rc < 0 ? -1 : kafka_publish_all(publisher->kafka, next_of_batch, NULL, publisher, PUBLISH_MS, NULL, err);
}

static int publish_batch(struct job_publisher *publisher, struct error *err)
{
        bool unknown; /* the position in the topic tells it */

        if (publisher->mock)
                return publish_on_mock(publisher, err);
        return kafka_transactions_publish(publisher->transactions, publisher->batch, publisher->count, PUBLISH_MS, NULL, &unknown,
                                          err);
}

/* After a fault: has the batch been committed all the same? 1 yes, 0 no, -1 it can't be found out now. */
static int find_out(struct job_publisher *publisher, const struct job_position *position, struct error *err)
{
        struct job_records now;

        if (open_transactions(publisher, err) < 0 ||
            job_records_read(publisher->kafka, publisher->settings, publisher->tenant, publisher->name, &now, err) < 0)
                return -1;
        return now.has_position && now.position.at == position->at && now.position.complete == position->complete &&
               strcmp(now.position.hash, position->hash) == 0;
}

static void add_control(struct job_publisher *publisher, struct span key, const struct buffer *value)
{
        publisher->batch[publisher->count++] = (struct outgoing){
                .topic = publisher->control, .partition = 0, .key = key, .value = buffer_view(value)};
}

int job_publisher_publish(struct job_publisher *publisher, const struct outgoing *requests, size_t count,
                          const struct job_state_record *state, const struct job_position *position, bool (*go_on)(void *user),
                          void *user, struct error *err)
{
        char state_key[JOB_KEY_BYTES], position_key[JOB_KEY_BYTES];
        AUTO_BUFFER state_text = {0};
        AUTO_BUFFER position_text = {0};
        int rc;

        buffer_init(&state_text, JOB_RECORD_BYTES_MAX);
        buffer_init(&position_text, JOB_RECORD_BYTES_MAX);
        job_key(state_key, JOB_RECORD_STATE, span_of(publisher->tenant), span_of(publisher->name));
        job_key(position_key, JOB_RECORD_POSITION, span_of(publisher->tenant), span_of(publisher->name));
        publisher->count = count < JOB_BATCH_MAX ? count : JOB_BATCH_MAX;
        if (publisher->count)
                memcpy(publisher->batch, requests, publisher->count * sizeof *requests);
        if (state) {
                job_state_render(&state_text, state);
                add_control(publisher, span_of(state_key), &state_text);
        }
        job_position_render(&position_text, position);
        add_control(publisher, span_of(position_key), &position_text); /* the last one: publish_on_mock */
        if (!buffer_ok(&state_text) || !buffer_ok(&position_text))
                return error_set(err, CODE_INTERNAL, "out of memory");
        rc = publish_batch(publisher, err);
        while (rc < 0 && !publisher->mock && !job_publisher_fenced(publisher) && err->retriable && go_on(user)) {
                rc = find_out(publisher, position, err);
                if (rc == 0)
                        rc = publish_batch(publisher, err);
                else if (rc > 0)
                        rc = 0;
        }
        return rc;
}
