/* Topics exist as the contract wants them: look (metadata), create what is missing, check what is there.
 *
 * A client of its own for the time of a check: it blocks, on a caller's thread (commands) or the watch's.
 *
 * librdkafka's mock (known by its cluster's id) can't create topics by request: there a metadata request that names a topic
 * creates it (with the mock's own number of partitions), nothing can be checked, and we say so once. No permission to read
 * configurations: told once, not a fault, because the policy may well be right. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "config/base/own.h"
#include "queues/kafka/kafka_conf.h"
#include "queues/kafka/topics.h"

enum {
        MESSAGE_BYTES_DEFAULT = 1048588,
        HEADROOM_BYTES = 131072,
        ADMIN_BATCH = 128,
        AGAIN_MS = 5000,
        AGAIN_WELL_MS = 300000,
        CHECK_MS = 5000,
        ANSWER_MS = 1000
};

struct check {
        rd_kafka_t *kafka;
        rd_kafka_queue_t *queue;
        const struct settings *settings;
        const struct topic_wanted *wanted;
        bool *exists; /* [count] */
        size_t count;
        int64_t deadline; /* monotonic ms */
        bool mock;
};

static int time_left(const struct check *check)
{
        int64_t left = check->deadline - clock_now_ms();

        return left < 1 ? 1 : left > 60000 ? 60000 : (int)left;
}

static bool is_compacted(enum topic_role role)
{
        return role == TOPIC_DLQ_STATE || role == TOPIC_INDEX || role == TOPIC_CONTROL;
}

static bool is_mock(const struct check *check)
{
        static const char mark[] = "mockCluster";
        char *id = rd_kafka_clusterid(check->kafka, time_left(check));
        bool mock = id && strncmp(id, mark, sizeof mark - 1) == 0;

        if (id)
                rd_kafka_mem_free(check->kafka, id);
        return mock;
}

/* Marks what exists; a topic with too few partitions is a fault. */
static int look(struct check *check, struct error *err)
{
        const struct rd_kafka_metadata *metadata;
        rd_kafka_resp_err_t code = rd_kafka_metadata(check->kafka, 1, NULL, &metadata, time_left(check));
        int result = 0;

        if (code)
                return kafka_error(err, code, "topics: metadata");
        check->mock = is_mock(check);
        for (size_t i = 0; i < check->count && result == 0; i++) {
                check->exists[i] = false;
                for (int t = 0; t < metadata->topic_cnt; t++) {
                        const struct rd_kafka_metadata_topic *topic = &metadata->topics[t];

                        if (strcmp(topic->topic, check->wanted[i].name) != 0 || topic->err)
                                continue;
                        check->exists[i] = true;
                        if (topic->partition_cnt < check->wanted[i].partitions && !check->mock)
                                result = error_set(
                                        err, CODE_INTERNAL,
                                        "topic %.120s has %d partitions, kafka.partitions wants %d: add partitions or lower it",
                                        topic->topic, topic->partition_cnt, check->wanted[i].partitions);
                }
        }
        rd_kafka_metadata_destroy(metadata);
        return result;
}

static void config_topic(const struct check *check, const struct topic_wanted *wanted, rd_kafka_NewTopic_t *topic)
{
        int64_t message_bytes = check->settings->worker.payload_bytes_max + HEADROOM_BYTES;
        char number[24];

        if (is_compacted(wanted->role)) {
                rd_kafka_NewTopic_set_config(topic, "cleanup.policy", "compact");
                rd_kafka_NewTopic_set_config(topic, "delete.retention.ms", "604800000");
                if (wanted->role == TOPIC_INDEX)
                        rd_kafka_NewTopic_set_config(topic, "max.compaction.lag.ms", "86400000");
        } else {
                rd_kafka_NewTopic_set_config(topic, "cleanup.policy", "delete");
                if (wanted->role == TOPIC_DLQ)
                        rd_kafka_NewTopic_set_config(topic, "retention.ms", "2592000000");
        }
        if (message_bytes >
            MESSAGE_BYTES_DEFAULT) { /* the largest request must fit its retry and its dead letter, headers and all */
                snprintf(number, sizeof number, "%lld", (long long)message_bytes);
                rd_kafka_NewTopic_set_config(topic, "max.message.bytes", number);
        }
}

/* Waits for the answer of that type; NULL and err when none came. */
static rd_kafka_event_t *await(struct check *check, rd_kafka_event_type_t type, const char *what, struct error *err)
{
        while (clock_now_ms() < check->deadline + ANSWER_MS) { /* the request's own time-out answers first */
                rd_kafka_event_t *event = rd_kafka_queue_poll(check->queue, time_left(check));

                if (event && rd_kafka_event_type(event) == type)
                        return event;
                if (event)
                        rd_kafka_event_destroy(event);
        }
        error_set(err, CODE_TIMEOUT, "%s: not answered in time", what);
        return NULL;
}

static int created_result(rd_kafka_event_t *event, struct error *err)
{
        const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
        const rd_kafka_topic_result_t **topics;
        size_t count;

        if (rd_kafka_event_error(event))
                return kafka_error(err, rd_kafka_event_error(event), "topics: create");
        topics = rd_kafka_CreateTopics_result_topics(result, &count);
        for (size_t i = 0; i < count; i++) {
                rd_kafka_resp_err_t code = rd_kafka_topic_result_error(topics[i]);

                if (code && code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
                        char what[200];

                        snprintf(what, sizeof what, "topic %.120s can't be created", rd_kafka_topic_result_name(topics[i]));
                        return kafka_error(err, code, what);
                }
        }
        return 0;
}

static int create_batch(struct check *check, rd_kafka_NewTopic_t **topics, size_t count, struct error *err)
{
        rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(check->kafka, RD_KAFKA_ADMIN_OP_CREATETOPICS);
        rd_kafka_event_t *event;
        int result;

        rd_kafka_AdminOptions_set_request_timeout(options, time_left(check), NULL, 0);
        rd_kafka_CreateTopics(check->kafka, topics, count, options, check->queue);
        rd_kafka_AdminOptions_destroy(options);
        event = await(check, RD_KAFKA_EVENT_CREATETOPICS_RESULT, "topics: create", err);
        if (!event)
                return -1;
        result = created_result(event, err);
        rd_kafka_event_destroy(event);
        return result;
}

static int create_missing(struct check *check, struct error *err)
{
        rd_kafka_NewTopic_t *topics[ADMIN_BATCH];
        size_t at = 0, count;
        int result = 0;

        while (at < check->count && result == 0) {
                for (count = 0; at < check->count && count < ADMIN_BATCH; at++) {
                        const struct topic_wanted *wanted = &check->wanted[at];
                        char reason[200];
                        rd_kafka_NewTopic_t *topic;

                        if (check->exists[at])
                                continue;
                        topic = rd_kafka_NewTopic_new(wanted->name, wanted->partitions, check->settings->kafka.replication, reason,
                                                      sizeof reason);
                        if (!topic) {
                                result = error_set(err, CODE_INTERNAL, "topic %.120s: %.100s", wanted->name, reason);
                                break;
                        }
                        config_topic(check, wanted, topic);
                        topics[count++] = topic;
                }
                if (count > 0 && result == 0)
                        result = create_batch(check, topics, count, err);
                if (count > 0)
                        rd_kafka_NewTopic_destroy_array(topics, count);
        }
        return result;
}

/* On the mock: naming a topic makes it. */
static int touch_missing(struct check *check, struct error *err)
{
        for (size_t i = 0; i < check->count; i++) {
                const struct rd_kafka_metadata *metadata;
                rd_kafka_topic_t *topic;
                rd_kafka_resp_err_t code;

                if (check->exists[i])
                        continue;
                topic = rd_kafka_topic_new(check->kafka, check->wanted[i].name, NULL);
                if (!topic)
                        return error_set(err, CODE_INTERNAL, "no memory for a topic");
                code = rd_kafka_metadata(check->kafka, 0, topic, &metadata, time_left(check));
                if (!code)
                        rd_kafka_metadata_destroy(metadata);
                rd_kafka_topic_destroy(topic);
                if (code)
                        return kafka_error(err, code, "topics: create on first use");
        }
        return 0;
}

static int check_policy(const struct check *check, const rd_kafka_ConfigResource_t *resource, struct error *err)
{
        const char *topic = rd_kafka_ConfigResource_name(resource);
        const rd_kafka_ConfigEntry_t **entries;
        size_t count;

        if (rd_kafka_ConfigResource_error(resource)) {
                log_warn("topic's configuration can't be read", "error=%s topic=%s",
                         rd_kafka_err2name(rd_kafka_ConfigResource_error(resource)), topic);
                return 0;
        }
        entries = rd_kafka_ConfigResource_configs(resource, &count);
        for (size_t i = 0; i < count; i++) {
                const char *value = rd_kafka_ConfigEntry_value(entries[i]);

                if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), "cleanup.policy") != 0 || !value)
                        continue;
                for (size_t w = 0; w < check->count; w++) {
                        const char *policy = is_compacted(check->wanted[w].role) ? "compact" : "delete";

                        if (strcmp(check->wanted[w].name, topic) == 0 && strcmp(value, policy) != 0)
                                return error_set(err, CODE_INTERNAL, "topic %.120s has cleanup.policy=%.40s, it must be %s", topic,
                                                 value, policy);
                }
        }
        return 0;
}

static int described_result(const struct check *check, rd_kafka_event_t *event, struct error *err)
{
        const rd_kafka_DescribeConfigs_result_t *result = rd_kafka_event_DescribeConfigs_result(event);
        const rd_kafka_ConfigResource_t **resources;
        size_t count;

        if (rd_kafka_event_error(event))
                return kafka_error(err, rd_kafka_event_error(event), "topics: describe");
        resources = rd_kafka_DescribeConfigs_result_resources(result, &count);
        for (size_t i = 0; i < count; i++)
                if (check_policy(check, resources[i], err) < 0)
                        return -1;
        return 0;
}

static int check_policies(struct check *check, struct error *err)
{
        rd_kafka_ConfigResource_t *resources[ADMIN_BATCH];
        int result = 0;

        for (size_t at = 0; at < check->count && result == 0;) {
                rd_kafka_AdminOptions_t *options;
                rd_kafka_event_t *event;
                size_t count = 0;

                for (; at < check->count && count < ADMIN_BATCH; at++) /* those made just now are as we asked */
                        if (check->exists[at])
                                resources[count++] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, check->wanted[at].name);
                if (count == 0)
                        break;
                options = rd_kafka_AdminOptions_new(check->kafka, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
                rd_kafka_AdminOptions_set_request_timeout(options, time_left(check), NULL, 0);
                rd_kafka_DescribeConfigs(check->kafka, resources, count, options, check->queue);
                rd_kafka_AdminOptions_destroy(options);
                rd_kafka_ConfigResource_destroy_array(resources, count);
                event = await(check, RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT, "topics: describe", err);
                result = event ? described_result(check, event, err) : -1;
                if (event)
                        rd_kafka_event_destroy(event);
        }
        return result;
}

static int run_check(struct check *check, struct error *err)
{
        bool missing = false;

        if (look(check, err) < 0)
                return -1;
        for (size_t i = 0; i < check->count; i++)
                missing |= !check->exists[i];
        if (check->mock)
                return touch_missing(check, err);
        if (missing && create_missing(check, err) < 0)
                return -1;
        return check_policies(check, err);
}

int topics_ensure(const struct settings *settings, const struct topic_wanted *wanted, size_t count, int64_t timeout_ms,
                  bool *ret_mock, struct error *err)
{
        struct check check = {.settings = settings, .wanted = wanted, .count = count, .deadline = clock_now_ms() + timeout_ms};
        rd_kafka_conf_t *conf = kafka_conf(settings, "topics", NULL, 0, err);
        int result = -1;

        if (!conf)
                return -1;
        check.kafka = kafka_open(RD_KAFKA_PRODUCER, conf, err);
        if (!check.kafka)
                return -1;
        check.queue = rd_kafka_queue_new(check.kafka);
        check.exists = calloc(count ? count : 1, sizeof *check.exists);
        if (check.exists)
                result = run_check(&check, err);
        else
                error_set(err, CODE_INTERNAL, "no memory to check topics");
        free(check.exists);
        rd_kafka_queue_destroy(check.queue);
        rd_kafka_destroy(check.kafka);
        if (result == 0 && ret_mock)
                *ret_mock = check.mock;
        return result;
}

/* ---- the watch ---- */

struct topics_watch {
        struct ev_loop *loop;
        ev_async changed;
        struct settings *settings;
        struct topic_wanted *wanted;
        size_t count;
        void (*on_change)(void *user);
        void *user;
        pthread_t thread;
        pthread_mutex_t lock; /* of what follows */
        pthread_cond_t stop_wanted;
        bool stop;
        struct error verdict; /* code CODE_NONE: all is well */
};

static void *watch_run(void *argument)
{
        struct topics_watch *watch = argument;
        bool mock_told = false;

        pthread_mutex_lock(&watch->lock);
        while (!watch->stop) {
                struct error err;
                struct timespec until;
                bool mock = false;
                int64_t again_ms;

                pthread_mutex_unlock(&watch->lock);
                error_clear(&err);
                if (topics_ensure(watch->settings, watch->wanted, watch->count, CHECK_MS, &mock, &err) < 0)
                        log_warn("topics are not as they should be", "error=%s", err.message);
                if (mock && !mock_told)
                        log_warn("topics made on first use, unchecked: this broker can't create or describe them", NULL);
                mock_told |= mock;
                again_ms = err.code ? AGAIN_MS : AGAIN_WELL_MS;
                clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_sec += again_ms / 1000;
                pthread_mutex_lock(&watch->lock);
                watch->verdict = err;
                ev_async_send(watch->loop, &watch->changed);
                while (!watch->stop && pthread_cond_timedwait(&watch->stop_wanted, &watch->lock, &until) == 0)
                        ;
        }
        pthread_mutex_unlock(&watch->lock);
        return NULL;
}

static void on_changed(struct ev_loop *loop, ev_async *watcher, int events)
{
        struct topics_watch *watch = watcher->data;

        (void)loop;
        (void)events;
        if (watch->on_change)
                watch->on_change(watch->user);
}

struct topics_watch *topics_watch_new(struct ev_loop *loop, struct settings *settings, const struct topic_wanted *wanted,
                                      size_t count, void (*on_change)(void *user), void *user, struct error *err)
{
        struct topics_watch *watch = calloc(1, sizeof *watch);
        struct topic_wanted *copy = calloc(count ? count : 1, sizeof *copy);
        pthread_condattr_t monotonic;

        if (!watch || !copy) {
                free(watch);
                free(copy);
                error_set(err, CODE_INTERNAL, "no memory to watch topics");
                return NULL;
        }
        memcpy(copy, wanted, count * sizeof *copy);
        *watch = (struct topics_watch){.loop = loop, .wanted = copy, .count = count, .on_change = on_change, .user = user};
        watch->settings = settings_ref(settings);
        error_set(&watch->verdict, CODE_UNAVAILABLE, "topics have not been checked yet");
        pthread_mutex_init(&watch->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&watch->stop_wanted, &monotonic);
        pthread_condattr_destroy(&monotonic);
        ev_async_init(&watch->changed, on_changed);
        watch->changed.data = watch;
        ev_async_start(loop, &watch->changed);
        if (pthread_create(&watch->thread, NULL, watch_run, watch) != 0) {
                error_set(err, CODE_INTERNAL, "no thread to watch topics");
                watch->stop = true;
                ev_async_stop(loop, &watch->changed);
                settings_unref(watch->settings);
                free(copy);
                free(watch);
                return NULL;
        }
        return watch;
}

void topics_watch_free(struct topics_watch *watch)
{
        if (!watch)
                return;
        pthread_mutex_lock(&watch->lock);
        watch->stop = true;
        pthread_cond_signal(&watch->stop_wanted);
        pthread_mutex_unlock(&watch->lock);
        pthread_join(watch->thread, NULL);
        ev_async_stop(watch->loop, &watch->changed);
        pthread_cond_destroy(&watch->stop_wanted);
        pthread_mutex_destroy(&watch->lock);
        settings_unref(watch->settings);
        free(watch->wanted);
        free(watch);
}

int topics_watch_verdict(const struct topics_watch *watch, struct error *err)
{
        struct topics_watch *locked = (struct topics_watch *)(uintptr_t)watch;
        struct error verdict;

        pthread_mutex_lock(&locked->lock);
        verdict = watch->verdict;
        pthread_mutex_unlock(&locked->lock);
        if (verdict.code == CODE_NONE)
                return 0;
        if (err)
                *err = verdict;
        return -1;
}
