/* What the modules of this room share; the only header here that knows librdkafka's types. Not for other rooms. */
#ifndef QUEUES_KAFKA_KAFKA_CONF_H
#define QUEUES_KAFKA_KAFKA_CONF_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>

#include "config/base/error.h"
#include "config/settings.h"
#include "queues/kafka/producer.h"
#include "queues/kafka/record.h"

struct kafka_default {
        const char *key, *value;
};

/* A client's configuration: brokers, the role's defaults, then kafka.options over them (an option that would break what this
 * room promises is refused, as is an unknown one: CODE_SCHEMA, naming the key and never the value). The client logs through log.h.
 * role: "source embed.bulk" and the like, for client.id and messages. The caller's, until rd_kafka_new() took it. */
rd_kafka_conf_t *kafka_conf(const struct settings *settings, const char *role, const struct kafka_default *defaults, size_t count,
                            struct error *err);

/* rd_kafka_new() with that conf (which it takes in any case). */
rd_kafka_t *kafka_open(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct error *err);
/* The same for a conf with interceptors. */
rd_kafka_t *kafka_open_intercepted(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct error *err);

/* A log_cb; on any thread. */
void kafka_log(const rd_kafka_t *kafka, int level, const char *facility, const char *text);

/* Fills *err from librdkafka's code; always -1. what: "commit", … */
int kafka_error(struct error *err, rd_kafka_resp_err_t code, const char *what);
/* The same from an error object, which is destroyed; 0 when it is NULL. */
int kafka_error_object(struct error *err, rd_kafka_error_t *error, const char *what);

/* A non-blocking eventfd that becomes readable whenever one of the queues it was given to gets its first entry. */
int kafka_wakeup_new(struct error *err);
void kafka_wakeup_attach(int fd, rd_kafka_queue_t *queue);
void kafka_wakeup_detach(rd_kafka_queue_t *queue);
void kafka_wakeup_clear(int fd);
void kafka_wakeup_raise(int fd); /* "once more in the next turn" */

/* The view of a message; the caller sees to the message's life. */
void record_view(struct record *record, rd_kafka_message_t *message);

/* Hands a copy to librdkafka's queue; opaque comes back as the delivery report's _private. -1: refused (producer.h's errors). In
 * producer.c. */
int outgoing_produce(rd_kafka_t *kafka, const struct outgoing *outgoing, void *opaque, struct error *err);

#endif
