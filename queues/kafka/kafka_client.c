/* Blocking helpers: one producer and one consumer without a group, each opened at first use. All callbacks come from within the
 * calls. */
#include "queues/kafka/kafka_client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/kafka/kafka_conf.h"

enum { POLL_MS = 50, READ_BATCH = 128, PARTITIONS_MAX = 4096, PURGE_WAIT_MS = 500, HEADROOM_BYTES = 262144 };

/* What is being published: one run of kafka_publish_all() at a time. */
struct run {
        int64_t sent, answered, acked;
        int64_t last_progress; /* monotonic ms */
        bool failed;
        struct error err;
        void (*on_ack)(void *user, int64_t number, const struct producer_ack *ack);
        void *user;
};

struct kafka_client {
        const struct settings *settings;
        rd_kafka_t *producer, *consumer;
        struct run *run;
};

struct kafka_client *kafka_client_new(const struct settings *settings, struct error *err)
{
        struct kafka_client *client = calloc(1, sizeof *client);

        if (!client)
                error_set(err, CODE_INTERNAL, "no memory for a Kafka client");
        else
                client->settings = settings;
        return client;
}

void kafka_client_free(struct kafka_client *client)
{
        if (!client)
                return;
        if (client->producer)
                rd_kafka_destroy(client->producer);
        if (client->consumer)
                rd_kafka_destroy(client->consumer);
        free(client);
}

/* ---- publishing ---- */

static void on_delivery(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *user)
{
        struct kafka_client *client = user;
        struct run *run = client->run;
        const struct producer_ack ack = {message->offset, message->partition};

        (void)kafka;
        assert(run); /* a run ends only when every record is answered for */
        run->answered++;
        run->last_progress = clock_now_ms();
        if (message->err) {
                if (!run->failed)
                        kafka_error(&run->err, message->err, "publish");
                run->failed = true;
                return;
        }
        run->acked++;
        if (run->on_ack)
                run->on_ack(run->user, (int64_t)(intptr_t)message->_private, &ack);
}

static int open_producer(struct kafka_client *client, struct error *err)
{
        char message_max[24];
        const struct kafka_default defaults[] = {
                {"enable.idempotence", "true"},
                {"acks", "all"},
                {"partitioner", "murmur2_random"},
                {"linger.ms", "5"},
                {"compression.codec", "lz4"},
                {"message.timeout.ms", "30000"},
                {"message.max.bytes", message_max},
                {"queue.buffering.max.messages", "20000"},
                {"queue.buffering.max.kbytes", "32768"},
        };
        rd_kafka_conf_t *conf;

        if (client->producer)
                return 0;
        snprintf(message_max, sizeof message_max, "%lld", (long long)(client->settings->worker.payload_bytes_max + HEADROOM_BYTES));
        conf = kafka_conf(client->settings, "publish", defaults, COUNT_OF(defaults), err);
        if (!conf)
                return -1;
        rd_kafka_conf_set_opaque(conf, client);
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
        client->producer = kafka_open(RD_KAFKA_PRODUCER, conf, err);
        return client->producer ? 0 : -1;
}

/* Publishes one of a run, waiting while the queue is full. */
static void publish_one(struct kafka_client *client, const struct outgoing *outgoing, int64_t stall_ms)
{
        struct run *run = client->run;

        for (;;) {
                struct error err;

                if (outgoing_produce(client->producer, outgoing, (void *)(intptr_t)run->sent, &err) == 0) {
                        run->sent++;
                        return;
                }
                if (err.code != CODE_UNAVAILABLE || run->sent == run->answered || clock_now_ms() - run->last_progress > stall_ms) {
                        run->err = err;
                        run->failed = true;
                        return;
                }
                rd_kafka_poll(client->producer, POLL_MS);
                if (run->failed)
                        return;
        }
}

int kafka_publish_all(struct kafka_client *client, bool (*next)(void *user, struct outgoing *outgoing),
                      void (*on_ack)(void *user, int64_t number, const struct producer_ack *ack), void *user, int64_t stall_ms,
                      int64_t *ret_count, struct error *err)
{
        struct run run = {.last_progress = clock_now_ms(), .on_ack = on_ack, .user = user};
        struct outgoing outgoing = {.partition = -1};

        if (open_producer(client, err) < 0)
                return -1;
        client->run = &run;
        while (!run.failed && next(user, &outgoing)) {
                publish_one(client, &outgoing, stall_ms);
                outgoing = (struct outgoing){.partition = -1};
                rd_kafka_poll(client->producer, 0);
        }
        while (run.answered < run.sent && clock_now_ms() - run.last_progress <= stall_ms)
                rd_kafka_poll(client->producer, POLL_MS);
        if (!run.failed && run.answered < run.sent) {
                error_set(&run.err, CODE_TIMEOUT, "publish: not acknowledged within %lld ms; is the broker at kafka.brokers up?",
                          (long long)stall_ms);
                run.failed = true;
        }
        while (run.answered < run.sent) { /* given up: nothing of this run may come back later */
                rd_kafka_purge(client->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
                rd_kafka_poll(client->producer, PURGE_WAIT_MS);
        }
        client->run = NULL;
        if (ret_count)
                *ret_count = run.acked;
        if (run.failed && err)
                *err = run.err;
        return run.failed ? -1 : 0;
}

struct single {
        const struct outgoing *outgoing;
        struct producer_ack ack;
};

static bool next_single(void *user, struct outgoing *outgoing)
{
        struct single *single = user;

        if (!single->outgoing)
                return false;
        *outgoing = *single->outgoing;
        single->outgoing = NULL;
        return true;
}

static void keep_ack(void *user, int64_t number, const struct producer_ack *ack)
{
        struct single *single = user;

        (void)number;
        single->ack = *ack;
}

int kafka_publish(struct kafka_client *client, const struct outgoing *outgoing, int64_t timeout_ms, struct producer_ack *ret_ack,
                  struct error *err)
{
        struct single single = {.outgoing = outgoing};

        if (kafka_publish_all(client, next_single, keep_ack, &single, timeout_ms, NULL, err) < 0)
                return -1;
        if (ret_ack)
                *ret_ack = single.ack;
        return 0;
}

/* ---- reading ---- */

static int open_consumer(struct kafka_client *client, struct error *err)
{
        static const struct kafka_default defaults[] = {
                {"enable.partition.eof", "true"}, {"auto.offset.reset", "earliest"},      {"check.crcs", "true"},
                {"fetch.wait.max.ms", "100"},     {"queued.max.messages.kbytes", "8192"}, {"fetch.queue.backoff.ms", "20"},
        };
        rd_kafka_conf_t *conf;

        if (client->consumer)
                return 0;
        conf = kafka_conf(client->settings, "read", defaults, COUNT_OF(defaults), err);
        if (!conf)
                return -1;
        client->consumer = kafka_open(RD_KAFKA_CONSUMER, conf, err);
        return client->consumer ? 0 : -1;
}

int kafka_cluster_identity(struct kafka_client *client, const char *topic, int64_t timeout_ms, char *ret_text, size_t text_bytes,
                           struct error *err)
{
        bool mock;
        char *id;

        if (open_consumer(client, err) < 0)
                return -1;
        id = rd_kafka_clusterid(client->consumer, (int)timeout_ms);
        if (!id)
                return error_set(err, CODE_CONNECT, "the broker does not tell its cluster's id");
        mock = strncmp(id, "mock", 4) == 0; /* every mock cluster has the same: its address tells them apart */
        snprintf(ret_text, text_bytes, "%s/%s%s%s", id, mock ? client->settings->kafka.brokers : "", mock ? "/" : "", topic);
        rd_kafka_mem_free(client->consumer, id);
        return 0;
}

int kafka_partition_count(struct kafka_client *client, const char *topic, int64_t timeout_ms, struct error *err)
{
        const struct rd_kafka_metadata *metadata;
        rd_kafka_resp_err_t code;
        rd_kafka_topic_t *handle;
        int count = 0;

        if (open_consumer(client, err) < 0)
                return -1;
        handle = rd_kafka_topic_new(client->consumer, topic, NULL);
        if (!handle)
                return error_set(err, CODE_INTERNAL, "no memory for a topic");
        code = rd_kafka_metadata(client->consumer, 0, handle, &metadata, (int)timeout_ms);
        rd_kafka_topic_destroy(handle);
        if (code)
                return kafka_error(err, code, "metadata");
        if (metadata->topic_cnt > 0) {
                code = metadata->topics[0].err;
                count = metadata->topics[0].partition_cnt;
        }
        rd_kafka_metadata_destroy(metadata);
        if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
                return 0;
        return code ? kafka_error(err, code, "metadata") : count;
}

int kafka_offsets(struct kafka_client *client, const char *topic, int32_t partition, int64_t timeout_ms, int64_t *ret_begin,
                  int64_t *ret_end, struct error *err)
{
        rd_kafka_resp_err_t code;

        if (open_consumer(client, err) < 0)
                return -1;
        code = rd_kafka_query_watermark_offsets(client->consumer, topic, partition, ret_begin, ret_end, (int)timeout_ms);
        return code ? kafka_error(err, code, "offsets") : 0;
}

/* A reading of some partitions up to their ends. */
struct reading {
        struct kafka_client *client;
        rd_kafka_topic_t *handle;
        rd_kafka_queue_t *queue;
        int64_t *ends; /* [count]; -1: nothing to read there, or read */
        bool *started; /* [count] */
        int count, open;
        bool (*on_record)(void *user, const struct record *record);
        void *user;
};

static int begin_partition(struct reading *reading, const char *topic, int32_t partition, const int64_t *from, int64_t timeout_ms,
                           struct error *err)
{
        int64_t begin, end;

        if (kafka_offsets(reading->client, topic, partition, timeout_ms, &begin, &end, err) < 0)
                return -1;
        if (from && from[partition] > begin)
                begin = from[partition];
        if (begin >= end)
                return 0;
        if (rd_kafka_consume_start_queue(reading->handle, partition, begin, reading->queue) < 0)
                return kafka_error(err, rd_kafka_last_error(), "read");
        reading->started[partition] = true;
        reading->ends[partition] = end;
        reading->open++;
        return 0;
}

static void end_partition(struct reading *reading, int32_t partition)
{
        if (reading->ends[partition] < 0)
                return;
        reading->ends[partition] = -1;
        reading->open--;
}

/* 1: read on; 0: enough; -1: a fault. */
static int read_message(struct reading *reading, rd_kafka_message_t *message, struct error *err)
{
        int32_t partition = message->partition;
        struct record record;

        if (message->err && message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
                return kafka_error(err, message->err, "read");
        if (partition < 0 || partition >= reading->count || reading->ends[partition] < 0)
                return 1;
        if (message->err || message->offset >= reading->ends[partition]) {
                end_partition(reading, partition);
                return 1;
        }
        record_view(&record, message);
        if (!reading->on_record(reading->user, &record))
                return 0;
        if (message->offset + 1 >= reading->ends[partition])
                end_partition(reading, partition);
        return 1;
}

static int read_all(struct reading *reading, int64_t timeout_ms, struct error *err)
{
        int64_t last_progress = clock_now_ms();
        rd_kafka_message_t *messages[READ_BATCH];
        int verdict = 1;

        while (verdict > 0 && reading->open > 0) {
                ssize_t got = rd_kafka_consume_batch_queue(reading->queue, POLL_MS, messages, READ_BATCH);

                if (got <= 0 && clock_now_ms() - last_progress > timeout_ms)
                        verdict = error_set(err, CODE_TIMEOUT, "read: nothing came for %lld ms", (long long)timeout_ms);
                for (ssize_t i = 0; i < got; i++) {
                        if (verdict > 0)
                                verdict = read_message(reading, messages[i], err);
                        rd_kafka_message_destroy(messages[i]);
                }
                if (got > 0) /* on_record may have taken its time */
                        last_progress = clock_now_ms();
        }
        return verdict < 0 ? -1 : 0;
}

static int reading_init(struct reading *reading, const char *topic, int count, struct error *err)
{
        reading->count = count;
        reading->ends = calloc((size_t)count, sizeof *reading->ends);
        reading->started = calloc((size_t)count, sizeof *reading->started);
        reading->handle = rd_kafka_topic_new(reading->client->consumer, topic, NULL);
        reading->queue = rd_kafka_queue_new(reading->client->consumer);
        if (!reading->ends || !reading->started || !reading->handle || !reading->queue)
                return error_set(err, CODE_INTERNAL, "no memory to read a topic");
        for (int p = 0; p < count; p++)
                reading->ends[p] = -1;
        return 0;
}

static void reading_fini(struct reading *reading)
{
        for (int p = 0; reading->started && p < reading->count; p++)
                if (reading->started[p])
                        rd_kafka_consume_stop(reading->handle, p);
        if (reading->queue)
                rd_kafka_queue_destroy(reading->queue);
        if (reading->handle)
                rd_kafka_topic_destroy(reading->handle);
        free(reading->ends);
        free(reading->started);
}

int kafka_read_topic(struct kafka_client *client, const char *topic, int32_t partition, const int64_t *from,
                     bool (*on_record)(void *user, const struct record *record), void *user, int64_t timeout_ms, struct error *err)
{
        struct reading reading = {.client = client, .on_record = on_record, .user = user};
        int count = kafka_partition_count(client, topic, timeout_ms, err);
        int result = 0;

        if (count <= 0)
                return count;
        if (count > PARTITIONS_MAX)
                return error_set(err, CODE_INTERNAL, "read: more than %d partitions", PARTITIONS_MAX);
        result = reading_init(&reading, topic, count, err);
        for (int32_t p = 0; p < count && result == 0; p++)
                if (partition < 0 || p == partition)
                        result = begin_partition(&reading, topic, p, from, timeout_ms, err);
        if (result == 0)
                result = read_all(&reading, timeout_ms, err);
        reading_fini(&reading);
        return result;
}

struct wanted_record {
        int64_t offset;
        void (*on_record)(void *user, const struct record *record);
        void *user;
        bool found;
};

static bool take_wanted(void *user, const struct record *record)
{
        struct wanted_record *wanted = user;

        wanted->found = record->offset == wanted->offset;
        if (wanted->found)
                wanted->on_record(wanted->user, record);
        return false; /* the first record at or behind the offset decides */
}

int kafka_read_record(struct kafka_client *client, const char *topic, int32_t partition, int64_t offset,
                      void (*on_record)(void *user, const struct record *record), void *user, int64_t timeout_ms, bool *ret_found,
                      struct error *err)
{
        struct wanted_record wanted = {.offset = offset, .on_record = on_record, .user = user};
        struct reading reading = {.client = client, .on_record = take_wanted, .user = &wanted};
        int count = kafka_partition_count(client, topic, timeout_ms, err);
        int64_t begin, end;
        int result = 0;

        if (count < 0)
                return -1;
        if (partition < 0 || partition >= count || count > PARTITIONS_MAX) {
                *ret_found = false;
                return 0;
        }
        if (kafka_offsets(client, topic, partition, timeout_ms, &begin, &end, err) < 0)
                return -1;
        if (offset >= begin && offset < end) {
                result = reading_init(&reading, topic, count, err);
                if (result == 0 && rd_kafka_consume_start_queue(reading.handle, partition, offset, reading.queue) < 0)
                        result = kafka_error(err, rd_kafka_last_error(), "read");
                if (result == 0) {
                        reading.started[partition] = true;
                        reading.ends[partition] = end;
                        reading.open = 1;
                        result = read_all(&reading, timeout_ms, err);
                }
                reading_fini(&reading);
        }
        if (result == 0)
                *ret_found = wanted.found;
        return result;
}
