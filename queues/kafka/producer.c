/* The producer. A record is copied into librdkafka's queue; its delivery report comes through the main queue, which wakes the loop.
 *
 * Failure modes: the queue is full (refused at once, retriable); a record too large for us (refused) or for the broker (its
 * report says so); no acknowledgement within MESSAGE_TIMEOUT_MS (it may have been written); a fatal error of the idempotent
 * producer (every later send is refused; health says so; the process is to be restarted).
 *
 * Health is that of the last answer. A producer with nothing to send gets none, and would remember an outage for ever: so after a
 * fault it asks the controller who the brokers are, and whatever that answers is a good sign (the mock broker has none: there only a
 * record's acknowledgement counts). One broker of several that is lost is no fault. */
#include "queues/kafka/producer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/base/log.h"
#include "config/base/own.h"
#include "queues/kafka/kafka_conf.h"

enum {
        QUEUE_RECORDS_MAX = 10000,
        QUEUE_KBYTES_MIN = 16384,
        HEADROOM_BYTES = 262144,
        POOL_MAX = 1024,
        PURGE_WAIT_MS = 1000,
        FREE_WAITS_MAX = 10,
        QUIET_TICKS = 3,    /* of a second without anything to send, before the brokers are asked */
        PROBE_WAIT_MS = 300 /* short: while the controller can't be reached, librdkafka's wait for it takes most of a core */
};
#define MESSAGE_TIMEOUT_MS "30000"

/* A record under way that somebody waits for. */
struct delivery {
        struct op *op;            /* NULL: given up */
        struct producer_ack *ack; /* may be NULL */
        struct delivery *next;    /* in the pool */
};

struct producer {
        struct ev_loop *loop;
        rd_kafka_t *kafka;
        rd_kafka_queue_t *queue;
        int wakeup_fd;
        ev_io wakeup;
        ev_timer tick;
        struct delivery *pool;
        size_t pool_count, pending;
        bool fatal;
        struct error last_error; /* code CODE_NONE: the last answer was good */
        rd_kafka_queue_t *probes; /* answers to the question who the brokers are */
        bool probing;
        int quiet_ticks;
};

static struct delivery *delivery_take(struct producer *producer)
{
        struct delivery *delivery = producer->pool;

        if (!delivery)
                return malloc(sizeof *delivery);
        producer->pool = delivery->next;
        producer->pool_count--;
        return delivery;
}

static void delivery_give(struct producer *producer, struct delivery *delivery)
{
        if (producer->pool_count >= POOL_MAX) {
                free(delivery);
                return;
        }
        delivery->next = producer->pool;
        producer->pool = delivery;
        producer->pool_count++;
}

static void on_abort(struct op *op)
{
        struct delivery *delivery = op->work;

        delivery->op = NULL;
        delivery->ack = NULL;
}

static void on_delivery(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *user)
{
        struct producer *producer = user;
        struct delivery *delivery = message->_private;
        struct error err;

        (void)kafka;
        producer->pending--;
        error_clear(&err);
        if (message->err) {
                kafka_error(&err, message->err, "produce");
                if (err.code != CODE_TOO_LARGE) {
                        producer->last_error = err;
                        log_warn("record not delivered", "error=%s topic=%s", rd_kafka_err2name(message->err),
                                 rd_kafka_topic_name(message->rkt));
                }
        } else if (!producer->fatal) {
                error_clear(&producer->last_error);
        }
        if (!delivery)
                return;
        if (!message->err && delivery->ack)
                *delivery->ack = (struct producer_ack){message->offset, message->partition};
        if (delivery->op)
                op_done(delivery->op, &err);
        delivery_give(producer, delivery);
}

static void on_error(rd_kafka_t *kafka, int code, const char *reason, void *user)
{
        struct producer *producer = user;
        char text[200];

        if (code == RD_KAFKA_RESP_ERR__FATAL) {
                rd_kafka_resp_err_t cause = rd_kafka_fatal_error(kafka, text, sizeof text);

                producer->fatal = true;
                kafka_error(&producer->last_error, cause, "the producer can't go on, restart the process");
                log_error("producer is dead", "error=%s reason=%s", rd_kafka_err2name(cause), text);
                return;
        }
        (void)reason; /* librdkafka's log has it */
        if (code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__TIMED_OUT)
                return; /* of one connection: _ALL_BROKERS_DOWN follows where it was the last one */
        if (!producer->fatal)
                kafka_error(&producer->last_error, (rd_kafka_resp_err_t)code, "produce");
}

static void on_wakeup(struct ev_loop *loop, ev_io *watcher, int events)
{
        struct producer *producer = watcher->data;

        (void)loop;
        (void)events;
        kafka_wakeup_clear(producer->wakeup_fd);
        rd_kafka_poll(producer->kafka, 0);
}

static void send_probe(struct producer *producer)
{
        rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(producer->kafka, RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER);
        char text[64];

        if (!options)
                return;
        rd_kafka_AdminOptions_set_request_timeout(options, PROBE_WAIT_MS, text, sizeof text);
        rd_kafka_DescribeCluster(producer->kafka, options, producer->probes);
        rd_kafka_AdminOptions_destroy(options);
        producer->probing = true;
}

/* Whether a broker has answered, be it with a refusal. */
static bool take_probe(struct producer *producer)
{
        rd_kafka_event_t *event = rd_kafka_queue_poll(producer->probes, 0);
        rd_kafka_resp_err_t code = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;

        if (event)
                producer->probing = false;
        rd_kafka_event_destroy(event);
        return code != RD_KAFKA_RESP_ERR__TIMED_OUT && code != RD_KAFKA_RESP_ERR__TRANSPORT && code != RD_KAFKA_RESP_ERR__RESOLVE &&
               code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && code != RD_KAFKA_RESP_ERR__AUTHENTICATION;
}

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
        struct producer *producer = watcher->data;
        bool answered = producer->probing && take_probe(producer);

        (void)loop;
        (void)events;
        rd_kafka_poll(producer->kafka, 0);
        if (producer->pending > 0 || producer->fatal || producer->last_error.code == CODE_NONE) {
                producer->quiet_ticks = 0; /* the records' own answers count */
                return;
        }
        if (answered) {
                log_info("producer is well again", "was=%s", producer->last_error.message);
                error_clear(&producer->last_error);
        } else if (!producer->probing && ++producer->quiet_ticks >= QUIET_TICKS) {
                producer->quiet_ticks = 0;
                send_probe(producer);
        }
}

static rd_kafka_conf_t *configure(const struct settings *settings, struct error *err)
{
        int64_t message_bytes = settings->worker.payload_bytes_max + HEADROOM_BYTES;
        int64_t queue_kbytes = message_bytes / 1024 * 4;
        char message_max[24], queue_max[24], records_max[24];
        const struct kafka_default defaults[] = {
                {"enable.idempotence", "true"},
                {"acks", "all"},
                {"partitioner", "murmur2_random"}, /* as Java's: murmur2 of the key, any partition without one */
                {"linger.ms", "5"},
                {"compression.codec", "lz4"},
                {"message.timeout.ms", MESSAGE_TIMEOUT_MS},
                {"message.max.bytes", message_max},
                {"queue.buffering.max.messages", records_max},
                {"queue.buffering.max.kbytes", queue_max},
        };

        snprintf(message_max, sizeof message_max, "%lld", (long long)(message_bytes < 1000000000 ? message_bytes : 1000000000));
        snprintf(queue_max, sizeof queue_max, "%lld",
                 (long long)(queue_kbytes > QUEUE_KBYTES_MIN ? queue_kbytes : QUEUE_KBYTES_MIN));
        snprintf(records_max, sizeof records_max, "%d", QUEUE_RECORDS_MAX);
        return kafka_conf(settings, "producer", defaults, COUNT_OF(defaults), err);
}

struct producer *producer_new(struct ev_loop *loop, const struct settings *settings, struct error *err)
{
        struct producer *producer = calloc(1, sizeof *producer);
        rd_kafka_conf_t *conf = NULL;

        if (!producer) {
                error_set(err, CODE_INTERNAL, "no memory for a producer");
                return NULL;
        }
        producer->loop = loop;
        error_clear(&producer->last_error);
        producer->wakeup_fd = kafka_wakeup_new(err);
        if (producer->wakeup_fd >= 0)
                conf = configure(settings, err);
        if (conf) {
                rd_kafka_conf_set_opaque(conf, producer);
                rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
                rd_kafka_conf_set_error_cb(conf, on_error);
                producer->kafka = kafka_open(RD_KAFKA_PRODUCER, conf, err);
        }
        if (!producer->kafka) {
                if (producer->wakeup_fd >= 0)
                        close(producer->wakeup_fd);
                free(producer);
                return NULL;
        }
        producer->queue = rd_kafka_queue_get_main(producer->kafka);
        producer->probes = rd_kafka_queue_new(producer->kafka);
        kafka_wakeup_attach(producer->wakeup_fd, producer->queue);
        ev_io_init(&producer->wakeup, on_wakeup, producer->wakeup_fd, EV_READ);
        ev_timer_init(&producer->tick, on_tick, 1.0, 1.0);
        producer->wakeup.data = producer->tick.data = producer;
        ev_io_start(loop, &producer->wakeup);
        ev_timer_start(loop, &producer->tick);
        return producer;
}

void producer_free(struct producer *producer)
{
        if (!producer)
                return;
        ev_io_stop(producer->loop, &producer->wakeup);
        ev_timer_stop(producer->loop, &producer->tick);
        for (int i = 0; i < FREE_WAITS_MAX && producer->pending > 0; i++) {
                rd_kafka_purge(producer->kafka, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
                rd_kafka_flush(producer->kafka, PURGE_WAIT_MS);
        }
        kafka_wakeup_detach(producer->queue);
        rd_kafka_queue_destroy(producer->queue);
        rd_kafka_queue_destroy(producer->probes);
        rd_kafka_destroy(producer->kafka);
        close(producer->wakeup_fd);
        while (producer->pool) {
                struct delivery *delivery = producer->pool;

                producer->pool = delivery->next;
                free(delivery);
        }
        free(producer);
}

int outgoing_produce(rd_kafka_t *kafka, const struct outgoing *outgoing, void *opaque, struct error *err)
{
        rd_kafka_vu_t parts[8];
        size_t count = 0;
        rd_kafka_headers_t *headers = NULL;
        rd_kafka_error_t *error;

        if (outgoing->header_count > OUTGOING_HEADERS_MAX)
                return error_set(err, CODE_TOO_LARGE, "produce: more than %d headers", OUTGOING_HEADERS_MAX);
        parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = outgoing->topic};
        parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = outgoing->partition};
        parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY};
        parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_KEY,
                                         .u.mem = {(void *)(uintptr_t)outgoing->key.data, outgoing->key.len}};
        parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_VALUE,
                                         .u.mem = {(void *)(uintptr_t)outgoing->value.data, outgoing->value.len}};
        parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = opaque};
        parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = outgoing->timestamp_ms};
        if (outgoing->header_count > 0) {
                headers = rd_kafka_headers_new(outgoing->header_count);
                for (size_t i = 0; i < outgoing->header_count; i++) {
                        const struct outgoing_header *header = &outgoing->headers[i];

                        rd_kafka_header_add(headers, header->name, -1, header->value.data, (ssize_t)header->value.len);
                }
                parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers};
        }
        error = rd_kafka_produceva(kafka, parts, count);
        if (error && headers)
                rd_kafka_headers_destroy(headers);
        return kafka_error_object(err, error, "produce");
}

void producer_send(struct producer *producer, struct op *op, const struct outgoing *outgoing, struct producer_ack *ret_ack)
{
        struct delivery *delivery = NULL;
        struct error err;

        if (op) {
                delivery = delivery_take(producer);
                op_begin(op, delivery ? on_abort : NULL, delivery);
                if (!delivery) {
                        error_set(&err, CODE_INTERNAL, "no memory to send a record");
                        op_done(op, &err);
                        return;
                }
                *delivery = (struct delivery){.op = op, .ack = ret_ack};
        }
        producer->pending++;
        producer->quiet_ticks = 0;
        if (outgoing_produce(producer->kafka, outgoing, delivery, &err) == 0)
                return;
        producer->pending--;
        if (op) {
                delivery_give(producer, delivery);
                op_done(op, &err);
        }
}

int producer_flush(struct producer *producer, int64_t timeout_ms)
{
        rd_kafka_flush(producer->kafka, (int)(timeout_ms < INT32_MAX ? timeout_ms : INT32_MAX));
        return (int)producer->pending;
}

size_t producer_pending(const struct producer *producer)
{
        return producer->pending;
}

int producer_health(const struct producer *producer, struct error *err)
{
        if (producer->last_error.code == CODE_NONE)
                return 0;
        if (err)
                *err = producer->last_error;
        return -1;
}
