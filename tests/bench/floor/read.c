/* read: the Kafka part of an embed worker alone. The first N records of a topic by librdkafka, in batches, in a consumer group of
 * its own; the values are counted and dropped.
 *
 *      read BROKERS TOPIC N
 *
 * Prints one line; exit 1 when the records didn't come within two minutes. */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 512, LIMIT_S = 120 };

static rd_kafka_t *consumer_new(const char *brokers)
{
        char group[64], reason[512];
        const char *const options[][2] = {{"bootstrap.servers", brokers},    {"group.id", group},
                                          {"auto.offset.reset", "earliest"}, {"enable.auto.commit", "false"},
                                          {"fetch.wait.max.ms", "100"},      {"queued.max.messages.kbytes", "16384"}};
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        rd_kafka_t *consumer;

        snprintf(group, sizeof group, "floor-%ld-%d", (long)time(NULL), (int)getpid());
        for (size_t i = 0; i < sizeof options / sizeof *options; i++)
                if (rd_kafka_conf_set(conf, options[i][0], options[i][1], reason, sizeof reason) != RD_KAFKA_CONF_OK) {
                        fprintf(stderr, "read: %s\n", reason);
                        return NULL;
                }
        consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
        if (!consumer)
                fprintf(stderr, "read: %s\n", reason);
        return consumer;
}

int main(int argc, char **argv)
{
        long wanted = argc > 3 ? strtol(argv[3], NULL, 10) : 0, count = 0;
        rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
        rd_kafka_message_t *batch[BATCH];
        rd_kafka_queue_t *queue;
        rd_kafka_t *consumer;
        time_t limit = time(NULL) + LIMIT_S;
        size_t bytes = 0;

        if (wanted < 1) {
                fprintf(stderr, "usage: read BROKERS TOPIC N\n");
                return 2;
        }
        consumer = consumer_new(argv[1]);
        if (!consumer)
                return 1;
        rd_kafka_poll_set_consumer(consumer);
        rd_kafka_topic_partition_list_add(topics, argv[2], RD_KAFKA_PARTITION_UA);
        rd_kafka_subscribe(consumer, topics);
        queue = rd_kafka_queue_get_consumer(consumer);
        while (count < wanted && time(NULL) < limit) {
                ssize_t got = rd_kafka_consume_batch_queue(queue, 200, batch, BATCH);

                for (ssize_t i = 0; i < got; i++) {
                        if (!batch[i]->err) {
                                count++;
                                bytes += batch[i]->len;
                        }
                        rd_kafka_message_destroy(batch[i]);
                }
        }
        printf("read: %ld records, %.1f MB, librdkafka %s\n", count, (double)bytes / 1e6, rd_kafka_version_str());
        rd_kafka_topic_partition_list_destroy(topics);
        rd_kafka_queue_destroy(queue);
        rd_kafka_consumer_close(consumer);
        rd_kafka_destroy(consumer);
        return count < wanted;
}
