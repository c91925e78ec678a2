/* Configuration of librdkafka's clients, its errors in our terms, its log in our log.
 *
 * log_cb runs on librdkafka's own threads and does nothing but log_write(), which any thread may call. All other callbacks of this
 * room are served from queues that the loop (or a blocking helper) reads. */
#include "queues/kafka/kafka_conf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "config/base/log.h"
#include "config/base/own.h"
#include "queues/kafka/kafka_client.h"

/* Keys whose change would break a promise of this room, or that have a place of their own in the settings. */
static const char *const reserved[] = {
        "bootstrap.servers",
        "metadata.broker.list",
        "group.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "group.instance.id", /* worker.instance_id */
        "group.protocol",    /* the classic one is what the source knows */
        "enable.partition.eof",
        "enable.idempotence",
        "isolation.level", /* read_committed: a replay is a transaction */
        "transactional.id",
        "acks",
        "request.required.acks",
        "partitioner",
        "log.queue",
        "test.mock.num.brokers",
};

static const struct kafka_default common[] = {
        {"log.queue", "false"},
        {"log.connection.close", "false"},
        {"log.thread.name", "false"},
        {"enable.metrics.push", "false"}, /* no telemetry to the broker; it would hold up each close for a second, too */
        {"socket.keepalive.enable", "true"},
        {"socket.nagle.disable", "true"},
        {"reconnect.backoff.ms", "100"},
        {"reconnect.backoff.max.ms", "5000"},
        {"topic.metadata.refresh.interval.ms", "20000"},
        {"socket.timeout.ms", "10000"}, /* the default minute is how long a half-open connection would stall everything */
};

void kafka_log(const rd_kafka_t *kafka, int level, const char *facility, const char *text)
{
        enum log_level to = level <= 3 ? LOG_ERROR : level <= 4 ? LOG_WARN : level <= 6 ? LOG_INFO : LOG_DEBUG;

        if (strcmp(facility, "CONFWARN") == 0)
                return; /* options pass to every client: a consumer's option on a producer is as intended */
        log_write(to, "kafka client", "client=%s facility=%s text=%s", kafka ? rd_kafka_name(kafka) : "-", facility, text);
}

static int set(rd_kafka_conf_t *conf, const char *key, const char *value, struct error *err)
{
        char reason[256]; /* may hold the value: not for messages */

        switch (rd_kafka_conf_set(conf, key, value, reason, sizeof reason)) {
        case RD_KAFKA_CONF_OK:
                return 0;
        case RD_KAFKA_CONF_UNKNOWN:
                return error_set(err, CODE_SCHEMA, "kafka.options: %.80s: librdkafka knows no such option", key);
        default:
                return error_set(err, CODE_SCHEMA, "kafka.options: %.80s: not a valid value", key);
        }
}

static int set_options(rd_kafka_conf_t *conf, const struct settings *settings, struct error *err)
{
        for (size_t i = 0; i < settings->kafka.option_count; i++) {
                const struct setting_pair *option = &settings->kafka.options[i];

                for (size_t r = 0; r < COUNT_OF(reserved); r++)
                        if (strcmp(option->key, reserved[r]) == 0)
                                return error_set(err, CODE_SCHEMA, "kafka.options: %s: is set by millrace itself", reserved[r]);
                if (set(conf, option->key, option->value, err) < 0)
                        return -1;
        }
        return 0;
}

rd_kafka_conf_t *kafka_conf(const struct settings *settings, const char *role, const struct kafka_default *defaults, size_t count,
                            struct error *err)
{
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        char client_id[160];
        int bad = 0;

        snprintf(client_id, sizeof client_id, "millrace-%.60s-%.60s", settings->worker.name ? settings->worker.name : "0", role);
        rd_kafka_conf_set_log_cb(conf, kafka_log);
        bad |= set(conf, "client.id", client_id, err);
        bad |= set(conf, "bootstrap.servers", settings->kafka.brokers, err);
        for (size_t i = 0; i < COUNT_OF(common) && !bad; i++)
                bad |= set(conf, common[i].key, common[i].value, err);
        for (size_t i = 0; i < count && !bad; i++)
                bad |= set(conf, defaults[i].key, defaults[i].value, err);
        if (bad || set_options(conf, settings, err) < 0) {
                rd_kafka_conf_destroy(conf);
                return NULL;
        }
        return conf;
}

int kafka_options_check(const struct settings *settings, struct error *err)
{
        rd_kafka_conf_t *conf = kafka_conf(settings, "check", NULL, 0, err);

        if (!conf)
                return -1;
        rd_kafka_conf_destroy(conf);
        return 0;
}

static rd_kafka_t *open_client(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct error *err)
{
        char reason[256];
        rd_kafka_t *kafka = rd_kafka_new(type, conf, reason, sizeof reason);

        if (!kafka)
                error_set(err, CODE_SCHEMA, "kafka.options: %.200s", reason);
        return kafka;
}

rd_kafka_t *kafka_open(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct error *err)
{
        rd_kafka_t *kafka = open_client(type, conf, err);

        if (!kafka)
                rd_kafka_conf_destroy(conf);
        return kafka;
}

rd_kafka_t *kafka_open_intercepted(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct error *err)
{
        static rd_kafka_conf_t *volatile spoilt; /* a worker ends with the first; kept, so that no leak is seen in it */
        rd_kafka_t *kafka = open_client(type, conf, err);

        /* When rd_kafka_new() refuses, it has freed the interceptors that the conf still lists: destroying it would free them again. */
        if (!kafka)
                spoilt = conf;
        (void)spoilt;
        return kafka;
}

static enum error_code code_of(rd_kafka_resp_err_t code)
{
        switch (code) {
        case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
                return CODE_TOO_LARGE;
        case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
        case RD_KAFKA_RESP_ERR__TIMED_OUT:
        case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
        case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
                return CODE_TIMEOUT;
        case RD_KAFKA_RESP_ERR__TRANSPORT:
        case RD_KAFKA_RESP_ERR__RESOLVE:
        case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        case RD_KAFKA_RESP_ERR__SSL:
                return CODE_CONNECT;
        case RD_KAFKA_RESP_ERR__AUTHENTICATION:
        case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
                return CODE_AUTH;
        case RD_KAFKA_RESP_ERR__BAD_MSG:
        case RD_KAFKA_RESP_ERR_INVALID_MSG:
        case RD_KAFKA_RESP_ERR_INVALID_RECORD:
        case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
                return CODE_BAD_RESPONSE;
        default:
                return CODE_UNAVAILABLE;
        }
}

int kafka_error(struct error *err, rd_kafka_resp_err_t code, const char *what)
{
        return error_set(err, code_of(code), "%s: %s (%s)", what, rd_kafka_err2str(code), rd_kafka_err2name(code));
}

int kafka_error_object(struct error *err, rd_kafka_error_t *error, const char *what)
{
        if (!error)
                return 0;
        error_set(err, code_of(rd_kafka_error_code(error)), "%s: %.160s (%s)", what, rd_kafka_error_string(error),
                  rd_kafka_error_name(error));
        rd_kafka_error_destroy(error);
        return -1;
}

int kafka_wakeup_new(struct error *err)
{
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

        if (fd < 0)
                error_set(err, CODE_INTERNAL, "eventfd: %s", strerror(errno));
        return fd;
}

void kafka_wakeup_attach(int fd, rd_kafka_queue_t *queue)
{
        const uint64_t one = 1;

        rd_kafka_queue_io_event_enable(queue, fd, &one, sizeof one);
}

void kafka_wakeup_detach(rd_kafka_queue_t *queue)
{
        rd_kafka_queue_io_event_enable(queue, -1, NULL, 0);
}

void kafka_wakeup_clear(int fd)
{
        uint64_t count;

        while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
                ;
}

void kafka_wakeup_raise(int fd)
{
        const uint64_t one = 1;

        while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
                ;
}

void record_view(struct record *record, rd_kafka_message_t *message)
{
        rd_kafka_timestamp_type_t type;
        int64_t timestamp_ms = rd_kafka_message_timestamp(message, &type);

        memset(record, 0, sizeof *record);
        record->topic = message->rkt ? rd_kafka_topic_name(message->rkt) : "";
        record->key = (struct span){message->key, message->key_len};
        record->value = (struct span){message->payload, message->len};
        record->offset = message->offset;
        record->timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : timestamp_ms;
        record->partition = message->partition;
        record->message = message;
}

bool record_header(const struct record *record, const char *name, struct span *ret_value)
{
        rd_kafka_headers_t *headers;
        const void *value;
        size_t len;

        if (rd_kafka_message_headers(record->message, &headers) || rd_kafka_header_get_last(headers, name, &value, &len))
                return false;
        *ret_value = (struct span){value, value ? len : 0};
        return true;
}

bool record_header_at(const struct record *record, size_t index, const char **ret_name, struct span *ret_value)
{
        rd_kafka_headers_t *headers;
        const char *name;
        const void *value;
        size_t len;

        if (index >= RECORD_HEADERS_MAX || !record->message || rd_kafka_message_headers(record->message, &headers) ||
            rd_kafka_header_get_all(headers, index, &name, &value, &len))
                return false;
        *ret_name = name;
        *ret_value = (struct span){value, value ? len : 0};
        return true;
}
