/* One DeleteRecords request for all partitions of a topic; librdkafka sends each to its leader. */
#include "queues/kafka/kafka_delete.h"

#include "config/base/clock.h"
#include "queues/kafka/kafka_conf.h"

enum { POLL_MS = 1000 };

static int take_result(rd_kafka_event_t *event, struct error *err)
{
        const rd_kafka_DeleteRecords_result_t *result = rd_kafka_event_DeleteRecords_result(event);
        const rd_kafka_topic_partition_list_t *offsets;

        if (rd_kafka_event_error(event))
                return kafka_error(err, rd_kafka_event_error(event), "delete records");
        offsets = result ? rd_kafka_DeleteRecords_result_offsets(result) : NULL;
        for (int i = 0; offsets && i < offsets->cnt; i++) {
                if (offsets->elems[i].err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
                        return error_set(err, CODE_SCHEMA, "delete records: past the end of partition %d",
                                         (int)offsets->elems[i].partition);
                if (offsets->elems[i].err)
                        return kafka_error(err, offsets->elems[i].err, "delete records");
        }
        return 0;
}

static int request(rd_kafka_t *kafka, rd_kafka_DeleteRecords_t *what, int64_t timeout_ms, struct error *err)
{
        rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
        rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(kafka, RD_KAFKA_ADMIN_OP_DELETERECORDS);
        const int64_t deadline = clock_now_ms() + timeout_ms + POLL_MS; /* the request's own time-out answers first */
        rd_kafka_event_t *event = NULL;
        int result;

        rd_kafka_AdminOptions_set_request_timeout(options, (int)timeout_ms, NULL, 0);
        rd_kafka_DeleteRecords(kafka, &what, 1, options, queue);
        rd_kafka_AdminOptions_destroy(options);
        while (!event && clock_now_ms() < deadline) {
                event = rd_kafka_queue_poll(queue, POLL_MS);
                if (event && rd_kafka_event_type(event) != RD_KAFKA_EVENT_DELETERECORDS_RESULT) {
                        rd_kafka_event_destroy(event);
                        event = NULL;
                }
        }
        result = event ? take_result(event, err) : error_set(err, CODE_TIMEOUT, "delete records: not answered in time");
        if (event)
                rd_kafka_event_destroy(event);
        rd_kafka_queue_destroy(queue);
        return result;
}

int kafka_delete_before(const struct settings *settings, const char *topic, const int64_t *before, int32_t count,
                        int64_t timeout_ms, struct error *err)
{
        rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(count);
        rd_kafka_DeleteRecords_t *what;
        rd_kafka_conf_t *conf;
        rd_kafka_t *kafka = NULL;
        int result = 0;

        for (int32_t p = 0; p < count; p++)
                if (before[p] > 0)
                        rd_kafka_topic_partition_list_add(offsets, topic, p)->offset = before[p];
        if (offsets->cnt > 0) {
                result = -1;
                conf = kafka_conf(settings, "delete", NULL, 0, err);
                if (conf)
                        kafka = kafka_open(RD_KAFKA_PRODUCER, conf, err);
        }
        if (kafka) {
                what = rd_kafka_DeleteRecords_new(offsets);
                result = request(kafka, what, timeout_ms, err);
                rd_kafka_DeleteRecords_destroy(what);
                rd_kafka_destroy(kafka);
        }
        rd_kafka_topic_partition_list_destroy(offsets);
        return result;
}
