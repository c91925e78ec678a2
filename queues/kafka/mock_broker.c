/* librdkafka's mock cluster behind a small door. The handle it needs is a producer that never connects anywhere. */
#include "queues/kafka/mock_broker.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdlib.h>

#include "queues/kafka/kafka_conf.h"

enum { BROKER_ID = 1, FIRST_JOIN_WAIT_MS = 50, FAILURES_MAX = 64 };

struct mock_broker {
        rd_kafka_t *kafka;
        rd_kafka_mock_cluster_t *cluster;
};

struct mock_broker *mock_broker_new(struct error *err)
{
        struct mock_broker *broker = calloc(1, sizeof *broker);
        rd_kafka_conf_t *conf;

        if (!broker) {
                error_set(err, CODE_INTERNAL, "no memory for the mock broker");
                return NULL;
        }
        conf = rd_kafka_conf_new();
        rd_kafka_conf_set(conf, "client.id", "millrace-mock", NULL, 0);
        rd_kafka_conf_set(conf, "enable.metrics.push", "false", NULL, 0);
        rd_kafka_conf_set_log_cb(conf, kafka_log);
        broker->kafka = kafka_open(RD_KAFKA_PRODUCER, conf, err);
        if (!broker->kafka) {
                free(broker);
                return NULL;
        }
        broker->cluster = rd_kafka_mock_cluster_new(broker->kafka, 1);
        if (!broker->cluster) {
                error_set(err, CODE_INTERNAL, "the mock broker does not start");
                mock_broker_free(broker);
                return NULL;
        }
        rd_kafka_mock_group_initial_rebalance_delay_ms(broker->cluster, FIRST_JOIN_WAIT_MS);
        return broker;
}

void mock_broker_free(struct mock_broker *broker)
{
        if (!broker)
                return;
        if (broker->cluster)
                rd_kafka_mock_cluster_destroy(broker->cluster);
        rd_kafka_destroy(broker->kafka);
        free(broker);
}

const char *mock_broker_address(const struct mock_broker *broker)
{
        return rd_kafka_mock_cluster_bootstraps(broker->cluster);
}

int mock_broker_topic(struct mock_broker *broker, const char *topic, int partitions, struct error *err)
{
        rd_kafka_resp_err_t code = rd_kafka_mock_topic_create(broker->cluster, topic, partitions, 1);

        return code ? kafka_error(err, code, "mock topic") : 0;
}

void mock_broker_fail(struct mock_broker *broker, int16_t api_key, int16_t error_code, int count)
{
        rd_kafka_resp_err_t codes[FAILURES_MAX];
        size_t n = count < FAILURES_MAX ? (size_t)count : FAILURES_MAX;

        for (size_t i = 0; i < n; i++)
                codes[i] = (rd_kafka_resp_err_t)error_code;
        rd_kafka_mock_push_request_errors_array(broker->cluster, api_key, n, codes);
}

void mock_broker_down(struct mock_broker *broker)
{
        rd_kafka_mock_broker_set_down(broker->cluster, BROKER_ID);
}

void mock_broker_up(struct mock_broker *broker)
{
        rd_kafka_mock_broker_set_up(broker->cluster, BROKER_ID);
}

void mock_broker_delay(struct mock_broker *broker, int delay_ms)
{
        rd_kafka_mock_broker_set_rtt(broker->cluster, BROKER_ID, delay_ms);
}
