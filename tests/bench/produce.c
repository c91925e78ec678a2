/* produce: fills a topic for the benchmarks, forgets a group's offsets so that the same records can be read again, and times a
 * steady load.
 *
 *      produce fill BROKERS TOPIC N float|base64            N embed requests of a 500-byte text each, ids b0000000 upwards
 *      produce topic BROKERS TOPIC PARTITIONS               makes a topic (no error where it exists)
 *      produce forget BROKERS GROUP…                        deletes groups; retries for ten seconds while members leave
 *      produce steady BROKERS TOPIC N float|base64 RATE REDIS_PORT PREFIX
 *                                                           N requests at RATE a second, ids PREFIX0000000 upwards; subscribes to
 *                                                           mr:done:bench and prints {"n":…,"p50_ms":…,"p99_ms":…,"max_ms":…}:
 *                                                           from the record's timestamp to the announcement of its result
 *
 * The texts differ in their first bytes, so that neither cache nor deduplication can help. The tenant is bench. One thread.
 * Exit 0 done, 1 failed, 2 wrong usage. */
#include <hiredis/hiredis.h>
#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_BYTES = 500, N_MAX = 10000000, FORGET_TRIES = 50, LATE_S = 30, GROUPS_MAX = 16 };

static long undelivered;

static int complain(const char *what)
{
        fprintf(stderr, "produce: %s\n", what);
        return 1;
}

static double now_s(void)
{
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now); /* the records' clock */
        return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *user)
{
        (void)producer;
        (void)user;
        undelivered += message->err != 0;
}

static rd_kafka_t *producer_new(const char *brokers, const char *linger_ms)
{
        const char *const options[][2] = {{"bootstrap.servers", brokers},
                                          {"linger.ms", linger_ms},
                                          {"partitioner", "murmur2_random"},
                                          {"queue.buffering.max.messages", "100000"},
                                          {"acks", "1"}};
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        rd_kafka_t *producer;
        char reason[512];

        for (size_t i = 0; i < sizeof options / sizeof *options; i++)
                if (rd_kafka_conf_set(conf, options[i][0], options[i][1], reason, sizeof reason) != RD_KAFKA_CONF_OK) {
                        complain(reason);
                        return NULL;
                }
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
        producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
        if (!producer)
                complain(reason);
        return producer;
}

/* Publishes request `number`; the value is about 600 bytes. */
static int publish(rd_kafka_t *producer, const char *topic, const char *prefix, long number, const char *encoding)
{
        char value[TEXT_BYTES + 200], id[48], text[TEXT_BYTES + 1];
        int id_len = snprintf(id, sizeof id, "%s%07ld", prefix, number), len;

        memset(text, 'a' + (int)(number % 26), TEXT_BYTES);
        len = snprintf(text, sizeof text, "%s ", id);
        text[len] = 'x';
        for (int i = len + 8; i < TEXT_BYTES; i += 9)
                text[i] = ' ';
        text[TEXT_BYTES] = '\0';
        len = snprintf(value, sizeof value,
                       "{\"id\":\"%s\",\"tenant\":\"bench\",\"model\":\"minilm\",\"encoding\":\"%s\",\"input\":\"%s\"}", id,
                       encoding, text);
        for (;;) {
                rd_kafka_resp_err_t err = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(id, (size_t)id_len),
                                                            RD_KAFKA_V_VALUE(value, (size_t)len),
                                                            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);

                if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
                        return 0;
                if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                        return complain(rd_kafka_err2str(err));
                rd_kafka_poll(producer, 10);
        }
}

static int fill(const char *brokers, const char *topic, long n, const char *encoding)
{
        rd_kafka_t *producer = producer_new(brokers, "20");

        if (!producer)
                return 1;
        for (long i = 0; i < n; i++) {
                if (publish(producer, topic, "b", i, encoding))
                        return 1;
                if (i % 1000 == 0)
                        rd_kafka_poll(producer, 0);
        }
        if (rd_kafka_flush(producer, 60000) || undelivered)
                return complain("not all records were acknowledged");
        rd_kafka_destroy(producer);
        return 0;
}

static int make_topic(const char *brokers, const char *topic, int partitions)
{
        rd_kafka_t *client = producer_new(brokers, "5");
        rd_kafka_queue_t *queue = client ? rd_kafka_queue_new(client) : NULL;
        char reason[512];
        rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(topic, partitions, 1, reason, sizeof reason);
        const rd_kafka_topic_result_t **results;
        rd_kafka_resp_err_t err;
        rd_kafka_event_t *event;
        size_t count;

        if (!client)
                return 1;
        if (!wanted)
                return complain(reason);
        rd_kafka_CreateTopics(client, &wanted, 1, NULL, queue);
        event = rd_kafka_queue_poll(queue, 30000);
        if (!event || rd_kafka_event_error(event))
                return complain(event ? rd_kafka_event_error_string(event) : "no answer from the broker");
        results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
        err = count ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR__FAIL;
        return err && err != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS ? complain(rd_kafka_err2str(err)) : 0;
}

/* Deletes one group. 0 done or unknown, 1 it still has members, -1 failed. */
static int forget_once(rd_kafka_t *client, rd_kafka_queue_t *queue, const char *name)
{
        rd_kafka_DeleteGroup_t *group = rd_kafka_DeleteGroup_new(name);
        const rd_kafka_group_result_t **results;
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__FAIL;
        rd_kafka_event_t *event;
        size_t count = 0;

        rd_kafka_DeleteGroups(client, &group, 1, NULL, queue);
        rd_kafka_DeleteGroup_destroy(group);
        event = rd_kafka_queue_poll(queue, 30000);
        if (event && !rd_kafka_event_error(event)) {
                const rd_kafka_error_t *error;

                results = rd_kafka_DeleteGroups_result_groups(rd_kafka_event_DeleteGroups_result(event), &count);
                error = count ? rd_kafka_group_result_error(results[0]) : NULL;
                err = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
        } else if (event) {
                err = rd_kafka_event_error(event);
        }
        if (event)
                rd_kafka_event_destroy(event);
        if (!err || err == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND)
                return 0;
        if (err == RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP || err == RD_KAFKA_RESP_ERR_NOT_COORDINATOR ||
            err == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE)
                return 1;
        complain(rd_kafka_err2str(err));
        return -1;
}

static int forget(const char *brokers, char **groups, int count)
{
        rd_kafka_t *client = producer_new(brokers, "5");
        rd_kafka_queue_t *queue = client ? rd_kafka_queue_new(client) : NULL;

        if (!client)
                return 1;
        for (int i = 0; i < count && i < GROUPS_MAX; i++) {
                const struct timespec pause = {.tv_nsec = 200000000};
                int tries = 0, said;

                while ((said = forget_once(client, queue, groups[i])) == 1 && tries++ < FORGET_TRIES)
                        nanosleep(&pause, NULL);
                if (said)
                        return said < 0 ? 1 : complain("a group still has members");
        }
        return 0;
}

static int by_size(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

/* Takes the announcements that have come; sets ms[number] of each. */
static int take_announcements(redisContext *redis, const char *prefix, const double *sent_s, double *ms, long n, long *came)
{
        redisReply *reply;
        void *next;

        if (redisBufferRead(redis) != REDIS_OK)
                return complain(redis->errstr);
        while (redisGetReplyFromReader(redis, &next) == REDIS_OK && (reply = next)) {
                if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && reply->element[2]->type == REDIS_REPLY_STRING &&
                    !strncmp(reply->element[2]->str, prefix, strlen(prefix))) {
                        long number = strtol(reply->element[2]->str + strlen(prefix), NULL, 10);

                        if (number >= 0 && number < n && ms[number] < 0) {
                                ms[number] = (now_s() - sent_s[number]) * 1e3;
                                ++*came;
                        }
                }
                freeReplyObject(reply);
        }
        return 0;
}

static int report(double *ms, long n, long came)
{
        long lost = n - came;

        qsort(ms, (size_t)n, sizeof *ms, by_size); /* those that never came are −1: in front */
        if (came < 1)
                return complain("no result came");
        printf("{\"n\":%ld,\"lost\":%ld,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}\n", came, lost, ms[lost + came / 2],
               ms[lost + came * 99 / 100], ms[n - 1]);
        return lost != 0;
}

static int look_up(rd_kafka_t *producer, const char *topic)
{
        rd_kafka_topic_t *handle = rd_kafka_topic_new(producer, topic, NULL);
        const struct rd_kafka_metadata *metadata;

        if (!handle || rd_kafka_metadata(producer, 0, handle, &metadata, 10000))
                return -1;
        rd_kafka_metadata_destroy(metadata);
        rd_kafka_topic_destroy(handle);
        return 0;
}

static int steady(const char *brokers, const char *topic, long n, const char *encoding, double rate, int port, const char *prefix)
{
        rd_kafka_t *producer = producer_new(brokers, "0");
        redisContext *redis = redisConnect("127.0.0.1", port);
        double *sent_s = calloc((size_t)n, sizeof *sent_s), *ms = calloc((size_t)n, sizeof *ms), from;
        long sent = 0, came = 0;
        redisReply *reply;

        if (!producer || !redis || redis->err || !sent_s || !ms)
                return complain("no Kafka, no Redis or no memory");
        reply = redisCommand(redis, "SUBSCRIBE mr:done:bench");
        if (!reply || reply->type == REDIS_REPLY_ERROR)
                return complain("can't subscribe");
        freeReplyObject(reply);
        for (long i = 0; i < n; i++)
                ms[i] = -1;
        if (look_up(producer, topic)) /* connecting is not part of the load */
                return complain("the broker does not tell of the topic");
        for (from = now_s(); came < n && now_s() < from + (double)n / rate + LATE_S;) {
                double due = sent < n ? from + (double)sent / rate - now_s() : 0.1;
                struct pollfd wait = {.fd = redis->fd, .events = POLLIN};
                struct timespec until = {0};

                if (due <= 0) {
                        sent_s[sent] = now_s();
                        if (publish(producer, topic, prefix, sent++, encoding))
                                return 1;
                        rd_kafka_poll(producer, 0);
                        continue;
                }
                until.tv_nsec = (long)((due < 0.9 ? due : 0.9) * 1e9);
                if (ppoll(&wait, 1, &until, NULL) > 0 && take_announcements(redis, prefix, sent_s, ms, n, &came))
                        return 1;
                rd_kafka_poll(producer, 0);
        }
        return report(ms, n, came);
}

int main(int argc, char **argv)
{
        const char *what = argc > 3 ? argv[1] : "";
        long n = argc > 4 ? strtol(argv[4], NULL, 10) : 0;

        if (!strcmp(what, "forget"))
                return forget(argv[2], argv + 3, argc - 3);
        if (n >= 1 && n <= N_MAX) {
                if (!strcmp(what, "topic") && argc == 5)
                        return make_topic(argv[2], argv[3], (int)n);
                if (!strcmp(what, "fill") && argc == 6)
                        return fill(argv[2], argv[3], n, argv[5]);
                if (!strcmp(what, "steady") && argc == 9 && strtod(argv[6], NULL) > 0)
                        return steady(argv[2], argv[3], n, argv[5], strtod(argv[6], NULL), (int)strtol(argv[7], NULL, 10), argv[8]);
        }
        fprintf(stderr,
                "usage: produce fill BROKERS TOPIC N float|base64 | topic BROKERS TOPIC PARTITIONS | forget BROKERS GROUP…\n"
                "       produce steady BROKERS TOPIC N float|base64 RATE REDIS_PORT PREFIX\n");
        return 2;
}
