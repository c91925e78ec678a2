/* A reader without a group: each partition is started at a given offset and forwarded to one queue, which wakes the loop.
 *
 * Invariants: position = behind the last record taken; what was read and not taken stays in `batch` in order; a partition AT_END
 * has been read to the end that librdkafka last saw (its end-of-partition event), also where the last offsets are gaps.
 *
 * Failure modes: the broker is away (librdkafka tries for ever; error says so until something comes again); a position outside
 * the topic's offsets (that partition stops, its fault stands). */
#include "queues/kafka/index_reader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/base/log.h"
#include "config/base/own.h"
#include "queues/kafka/kafka_conf.h"

enum { BATCH_MAX = 256, BATCH_LIMIT = 4096 };

enum lane_state { READING, AT_END, FAULTY };

struct index_partition {
        int64_t position;
        enum lane_state state;
        bool started;
};

struct index_reader {
        struct ev_loop *loop;
        struct index_reader_config config;
        char *topic;
        rd_kafka_t *kafka;
        rd_kafka_topic_t *handle;
        rd_kafka_queue_t *queue;
        int wakeup_fd;
        ev_io wakeup;
        ev_timer tick;
        struct index_partition *partitions; /* [config.partition_count] */
        rd_kafka_message_t **batch;
        struct record *views;        /* [config.batch_max] */
        const struct record **shown; /* likewise */
        size_t batch_at, batch_len;
        int at_end; /* partitions AT_END */
        bool held, caught_up_once, told_end;
        struct error fault;      /* for good */
        struct error last_error; /* until something comes again */
};

static const struct kafka_default defaults[] = {
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "error"},
        {"check.crcs", "true"},
        {"fetch.min.bytes", "1"},
        {"fetch.wait.max.ms", "100"},
        {"fetch.max.bytes", "4194304"},
        {"fetch.message.max.bytes", "1048576"},
        {"queued.max.messages.kbytes", "8192"},
        {"queued.min.messages", "20000"},
        {"fetch.queue.backoff.ms", "20"},
        {"fetch.error.backoff.ms", "200"},
};

static void on_error(rd_kafka_t *kafka, int code, const char *reason, void *user)
{
        struct index_reader *reader = user;

        (void)kafka;
        (void)reason; /* librdkafka's log has it */
        kafka_error(&reader->last_error, (rd_kafka_resp_err_t)code, "index reader");
}

static void set_state(struct index_reader *reader, struct index_partition *partition, enum lane_state state)
{
        reader->at_end += (state == AT_END) - (partition->state == AT_END);
        partition->state = state;
}

/* An event that is no record. */
static void take_event(struct index_reader *reader, const rd_kafka_message_t *message)
{
        struct index_partition *partition = NULL;

        if (message->rkt && message->partition >= 0 && message->partition < reader->config.partition_count)
                partition = &reader->partitions[message->partition];
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && partition) {
                if (partition->state == FAULTY)
                        return;
                if (message->offset > partition->position)
                        partition->position = message->offset;
                set_state(reader, partition, AT_END);
                error_clear(&reader->last_error);
                return;
        }
        if (partition &&
            (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || message->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)) {
                set_state(reader, partition, FAULTY);
                error_set(&reader->fault, CODE_INDEX_NOT_READY, "position %lld lies outside of %.120s/%d: the replica is to be built anew",
                          (long long)partition->position, reader->topic, (int)message->partition);
                log_error("index position out of range", "partition=%d position=%lld topic=%s", (int)message->partition,
                          (long long)partition->position, reader->topic);
                return;
        }
        kafka_error(&reader->last_error, message->err, "index reader");
        log_warn("index reader fault", "error=%s topic=%s", rd_kafka_err2name(message->err), reader->topic);
}

/* Shows the run of records at the head of the batch; false: not all were taken. */
static bool show_run(struct index_reader *reader)
{
        size_t count = 0, taken;

        while (reader->batch_at + count < reader->batch_len && !reader->batch[reader->batch_at + count]->err) {
                record_view(&reader->views[count], reader->batch[reader->batch_at + count]);
                reader->shown[count] = &reader->views[count];
                count++;
        }
        if (count == 0)
                return true;
        taken = reader->config.on_batch(reader->config.user, reader->shown, count);
        assert(taken <= count);
        for (size_t i = 0; i < taken; i++) {
                rd_kafka_message_t *message = reader->batch[reader->batch_at++];
                struct index_partition *partition = &reader->partitions[message->partition];

                partition->position = message->offset + 1;
                if (partition->state == AT_END)
                        set_state(reader, partition, READING);
                rd_kafka_message_destroy(message);
        }
        if (taken > 0)
                error_clear(&reader->last_error);
        return taken == count;
}

static void show_batch(struct index_reader *reader)
{
        while (reader->batch_at < reader->batch_len && !reader->held) {
                if (!show_run(reader)) {
                        reader->held = true; /* until the receiver has room again */
                        return;
                }
                while (reader->batch_at < reader->batch_len && reader->batch[reader->batch_at]->err) {
                        take_event(reader, reader->batch[reader->batch_at]);
                        rd_kafka_message_destroy(reader->batch[reader->batch_at++]);
                }
        }
}

static void turn(struct index_reader *reader)
{
        size_t batch_max = (size_t)reader->config.batch_max;

        rd_kafka_poll(reader->kafka, 0);
        if (reader->held)
                return;
        if (reader->batch_at == reader->batch_len) {
                ssize_t got = rd_kafka_consume_batch_queue(reader->queue, 0, reader->batch, batch_max);

                reader->batch_at = 0;
                reader->batch_len = got > 0 ? (size_t)got : 0;
                if (reader->batch_len == batch_max)
                        kafka_wakeup_raise(reader->wakeup_fd);
        } else {
                kafka_wakeup_raise(reader->wakeup_fd); /* leftovers first, the queue in the next turn */
        }
        show_batch(reader);
        if (reader->at_end < reader->config.partition_count) {
                reader->told_end = false;
        } else if (!reader->told_end) {
                reader->told_end = reader->caught_up_once = true;
                if (reader->config.on_end)
                        reader->config.on_end(reader->config.user);
        }
}

static void on_wakeup(struct ev_loop *loop, ev_io *watcher, int events)
{
        struct index_reader *reader = watcher->data;

        (void)loop;
        (void)events;
        kafka_wakeup_clear(reader->wakeup_fd);
        turn(reader);
}

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
        (void)loop;
        (void)events;
        turn(watcher->data);
}

static int open_reader(struct index_reader *reader, const struct settings *settings, struct error *err)
{
        rd_kafka_conf_t *conf = kafka_conf(settings, "index", defaults, COUNT_OF(defaults), err);

        if (!conf)
                return -1;
        rd_kafka_conf_set_opaque(conf, reader);
        rd_kafka_conf_set_error_cb(conf, on_error);
        reader->kafka = kafka_open(RD_KAFKA_CONSUMER, conf, err);
        if (!reader->kafka)
                return -1;
        reader->queue = rd_kafka_queue_new(reader->kafka);
        reader->handle = rd_kafka_topic_new(reader->kafka, reader->topic, NULL);
        if (!reader->handle)
                return error_set(err, CODE_INTERNAL, "topic %.120s can't be read", reader->topic);
        kafka_wakeup_attach(reader->wakeup_fd, reader->queue);
        for (int p = 0; p < reader->config.partition_count; p++) {
                int64_t position = reader->partitions[p].position;

                if (rd_kafka_consume_start_queue(reader->handle, p, position > 0 ? position : RD_KAFKA_OFFSET_BEGINNING,
                                                 reader->queue) < 0)
                        return kafka_error(err, rd_kafka_last_error(), "index reader");
                reader->partitions[p].started = true;
        }
        return 0;
}

static int copy_config(struct index_reader *reader, const struct index_reader_config *config)
{
        size_t count = (size_t)config->partition_count, batch_max;

        reader->config = *config;
        if (config->batch_max <= 0)
                reader->config.batch_max = BATCH_MAX;
        if (reader->config.batch_max > BATCH_LIMIT)
                reader->config.batch_max = BATCH_LIMIT;
        batch_max = (size_t)reader->config.batch_max;
        reader->topic = strdup(config->topic);
        reader->partitions = calloc(count, sizeof *reader->partitions);
        reader->batch = calloc(batch_max, sizeof(rd_kafka_message_t *));
        reader->views = calloc(batch_max, sizeof *reader->views);
        reader->shown = calloc(batch_max, sizeof(const struct record *));
        if (!reader->topic || !reader->partitions || !reader->batch || !reader->views || !reader->shown)
                return -1;
        for (size_t p = 0; p < count; p++)
                reader->partitions[p].position = config->positions ? config->positions[p] : 0;
        reader->config.topic = NULL;
        reader->config.positions = NULL;
        return 0;
}

struct index_reader *index_reader_new(struct ev_loop *loop, const struct settings *settings,
                                      const struct index_reader_config *config, struct error *err)
{
        struct index_reader *reader = calloc(1, sizeof *reader);

        assert(config->partition_count > 0 && config->partition_count <= INDEX_PARTITIONS_MAX && config->on_batch);
        if (!reader) {
                error_set(err, CODE_INTERNAL, "no memory for an index reader");
                return NULL;
        }
        reader->loop = loop;
        reader->wakeup_fd = -1;
        error_clear(&reader->fault);
        error_clear(&reader->last_error);
        if (copy_config(reader, config) < 0) {
                error_set(err, CODE_INTERNAL, "no memory for an index reader");
                index_reader_free(reader);
                return NULL;
        }
        reader->wakeup_fd = kafka_wakeup_new(err);
        if (reader->wakeup_fd < 0 || open_reader(reader, settings, err) < 0) {
                index_reader_free(reader);
                return NULL;
        }
        ev_io_init(&reader->wakeup, on_wakeup, reader->wakeup_fd, EV_READ);
        ev_timer_init(&reader->tick, on_tick, 1.0, 1.0);
        reader->wakeup.data = reader->tick.data = reader;
        ev_io_start(loop, &reader->wakeup);
        ev_timer_start(loop, &reader->tick);
        return reader;
}

void index_reader_free(struct index_reader *reader)
{
        if (!reader)
                return;
        ev_io_stop(reader->loop, &reader->wakeup);
        ev_timer_stop(reader->loop, &reader->tick);
        for (size_t i = reader->batch_at; i < reader->batch_len; i++)
                rd_kafka_message_destroy(reader->batch[i]);
        for (int p = 0; reader->handle && p < reader->config.partition_count; p++)
                if (reader->partitions[p].started)
                        rd_kafka_consume_stop(reader->handle, p);
        if (reader->queue) {
                kafka_wakeup_detach(reader->queue);
                rd_kafka_queue_destroy(reader->queue);
        }
        if (reader->handle)
                rd_kafka_topic_destroy(reader->handle);
        if (reader->kafka)
                rd_kafka_destroy(reader->kafka);
        if (reader->wakeup_fd >= 0)
                close(reader->wakeup_fd);
        free(reader->shown);
        free(reader->views);
        free(reader->batch);
        free(reader->partitions);
        free(reader->topic);
        free(reader);
}

void index_reader_hold(struct index_reader *reader, bool hold)
{
        if (reader->held == hold)
                return;
        reader->held = hold;
        if (!hold)
                kafka_wakeup_raise(reader->wakeup_fd);
}

int64_t index_reader_position(const struct index_reader *reader, int partition)
{
        assert(partition >= 0 && partition < reader->config.partition_count);
        return reader->partitions[partition].position;
}

int64_t index_reader_end(const struct index_reader *reader, int partition)
{
        int64_t low, high;

        assert(partition >= 0 && partition < reader->config.partition_count);
        if (rd_kafka_get_watermark_offsets(reader->kafka, reader->topic, partition, &low, &high) || high < 0)
                return reader->partitions[partition].state == AT_END ? reader->partitions[partition].position : -1;
        return high > reader->partitions[partition].position ? high : reader->partitions[partition].position;
}

int64_t index_reader_lag(const struct index_reader *reader)
{
        int64_t lag = 0;

        for (int p = 0; p < reader->config.partition_count; p++) {
                int64_t end = index_reader_end(reader, p);

                if (end < 0)
                        return -1;
                lag += end - reader->partitions[p].position;
        }
        return lag;
}

bool index_reader_caught_up(const struct index_reader *reader)
{
        return reader->caught_up_once && index_reader_lag(reader) == 0;
}

int index_reader_error(const struct index_reader *reader, struct error *err)
{
        const struct error *stands = reader->fault.code ? &reader->fault : &reader->last_error;

        if (stands->code == CODE_NONE)
                return 0;
        if (err)
                *err = *stands;
        return -1;
}
