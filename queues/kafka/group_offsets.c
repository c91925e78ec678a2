/* One request of librdkafka's admin interface (OffsetFetch to the group's coordinator), on a connection of its own: no membership, and
 * nothing that a JoinGroup could hold up. */
#include "queues/kafka/group_offsets.h"

#include <stdlib.h>

#include "queues/kafka/kafka_conf.h"
#include "queues/kafka/source_private.h"

/* Longer than a command lives: a request to a coordinator that times out must not be left behind (group_question.c). */
enum { NEVER_MS = 3600000 };

struct group_reader {
        rd_kafka_t *kafka;
        rd_kafka_queue_t *queue;
};

static int group_offsets_ask(rd_kafka_t *kafka, const char *group, const rd_kafka_topic_partition_list_t *list, rd_kafka_queue_t *queue,
                      void *opaque)
{
        rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(kafka, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
        rd_kafka_ListConsumerGroupOffsets_t *ask = options ? rd_kafka_ListConsumerGroupOffsets_new(group, list) : NULL;
        char reason[128];

        if (!ask) {
                if (options)
                        rd_kafka_AdminOptions_destroy(options);
                return -1;
        }
        rd_kafka_AdminOptions_set_request_timeout(options, NEVER_MS, reason, sizeof reason);
        rd_kafka_AdminOptions_set_opaque(options, opaque);
        rd_kafka_ListConsumerGroupOffsets(kafka, &ask, 1, options, queue);
        rd_kafka_ListConsumerGroupOffsets_destroy(ask);
        rd_kafka_AdminOptions_destroy(options);
        return 0;
}

static const rd_kafka_topic_partition_list_t *group_offsets_answer(rd_kafka_event_t *event, rd_kafka_resp_err_t *ret_code)
{
        const rd_kafka_ListConsumerGroupOffsets_result_t *result = rd_kafka_event_ListConsumerGroupOffsets_result(event);
        const rd_kafka_group_result_t **groups;
        size_t count = 0;

        *ret_code = rd_kafka_event_error(event);
        if (*ret_code || !result)
                return NULL;
        groups = rd_kafka_ListConsumerGroupOffsets_result_groups(result, &count);
        if (count != 1) {
                *ret_code = RD_KAFKA_RESP_ERR__BAD_MSG;
                return NULL;
        }
        *ret_code = rd_kafka_error_code(rd_kafka_group_result_error(groups[0]));
        return *ret_code ? NULL : rd_kafka_group_result_partitions(groups[0]);
}

struct group_reader *group_reader_new(const struct settings *settings, struct error *err)
{
        struct group_reader *reader = calloc(1, sizeof *reader);
        rd_kafka_conf_t *conf = reader ? kafka_conf(settings, "offsets", NULL, 0, err) : NULL;

        if (!reader)
                error_set(err, CODE_INTERNAL, "no memory to read a group's offsets");
        if (conf)
                reader->kafka = kafka_open(RD_KAFKA_PRODUCER, conf, err);
        if (!reader || !reader->kafka) {
                free(reader);
                return NULL;
        }
        reader->queue = rd_kafka_queue_new(reader->kafka);
        return reader;
}

void group_reader_free(struct group_reader *reader)
{
        if (!reader)
                return;
        rd_kafka_queue_destroy(reader->queue);
        rd_kafka_destroy(reader->kafka);
        free(reader);
}

static void show(const rd_kafka_topic_partition_list_t *answer, const char *topic, int count,
                 void (*on_offset)(void *user, int32_t partition, int64_t committed, struct span metadata), void *user)
{
        for (int p = 0; p < count; p++) {
                const rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_find(
                        (rd_kafka_topic_partition_list_t *)(uintptr_t)answer, topic, p);
                bool known = entry && !entry->err && entry->offset >= 0;

                on_offset(user, p, known ? entry->offset : -1,
                          known && entry->metadata ? (struct span){entry->metadata, entry->metadata_size} : (struct span){"", 0});
        }
}

int group_reader_read(struct group_reader *reader, const char *group, const char *topic, int count,
                      void (*on_offset)(void *user, int32_t partition, int64_t committed, struct span metadata), void *user,
                      int64_t timeout_ms, struct error *err)
{
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
        const rd_kafka_topic_partition_list_t *answer;
        rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;
        rd_kafka_event_t *event = NULL;

        for (int p = 0; p < count; p++)
                rd_kafka_topic_partition_list_add(list, topic, p);
        if (group_offsets_ask(reader->kafka, group, list, reader->queue, NULL) == 0)
                event = rd_kafka_queue_poll(reader->queue, (int)timeout_ms);
        answer = event ? group_offsets_answer(event, &code) : NULL;
        if (answer)
                show(answer, topic, count, on_offset, user);
        if (event)
                rd_kafka_event_destroy(event);
        rd_kafka_topic_partition_list_destroy(list);
        return answer ? 0 : kafka_error(err, code, "committed offsets");
}

static rd_kafka_resp_err_t take_bounds(rd_kafka_event_t *event, int count, int64_t *ret_offsets)
{
        const rd_kafka_ListOffsets_result_t *result = event ? rd_kafka_event_ListOffsets_result(event) : NULL;
        const rd_kafka_ListOffsetsResultInfo_t **infos;
        size_t found = 0;
        int taken = 0;

        if (!result)
                return RD_KAFKA_RESP_ERR__TIMED_OUT;
        if (rd_kafka_event_error(event))
                return rd_kafka_event_error(event);
        infos = rd_kafka_ListOffsets_result_infos(result, &found);
        for (size_t i = 0; i < found; i++) {
                const rd_kafka_topic_partition_t *entry = rd_kafka_ListOffsetsResultInfo_topic_partition(infos[i]);

                if (entry->err)
                        return entry->err;
                if (entry->partition < 0 || entry->partition >= count)
                        continue;
                ret_offsets[entry->partition] = entry->offset > 0 ? entry->offset : 0;
                taken++;
        }
        return taken == count ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR__PARTIAL;
}

int group_reader_bounds(struct group_reader *reader, const char *topic, int count, bool latest, int64_t *ret_offsets,
                        int64_t timeout_ms, struct error *err)
{
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
        rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(reader->kafka, RD_KAFKA_ADMIN_OP_LISTOFFSETS);
        rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;
        char reason[128];

        for (int p = 0; p < count; p++)
                rd_kafka_topic_partition_list_add(list, topic, p)->offset = latest ? RD_KAFKA_OFFSET_SPEC_LATEST
                                                                                   : RD_KAFKA_OFFSET_SPEC_EARLIEST;
        if (options) {
                rd_kafka_event_t *event;

                rd_kafka_AdminOptions_set_request_timeout(options, (int)timeout_ms, reason, sizeof reason);
                rd_kafka_ListOffsets(reader->kafka, list, options, reader->queue);
                event = rd_kafka_queue_poll(reader->queue, (int)timeout_ms + 1000);
                code = take_bounds(event, count, ret_offsets);
                if (event)
                        rd_kafka_event_destroy(event);
                rd_kafka_AdminOptions_destroy(options);
        }
        rd_kafka_topic_partition_list_destroy(list);
        return code ? kafka_error(err, code, "offsets") : 0;
}
