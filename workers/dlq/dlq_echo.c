/* Each replayed record's place is kept with its number in the replay (`number`), its class (`tag`), and whether it came back
 * (`note`). */
#include "workers/dlq/dlq_echo.h"

#include <stdlib.h>
#include <string.h>

#include "workers/dlq/dlq_places.h"

enum { TOPICS_MAX = 64, TIMEOUT_MS = 15000, PARTITIONS_MAX = 4096 };

struct watched {
        char name[TOPIC_NAME_BYTES];
        int64_t *next; /* [partitions]: where each is read on from */
        int partitions;
};

struct dlq_echo {
        struct kafka_client *kafka;
        struct places *places;
        struct watched topics[TOPICS_MAX];
        size_t topic_count;
        struct watched *reading; /* within dlq_echo_look() */
        int64_t sent, returned, judged;
};

struct dlq_echo *dlq_echo_new(struct kafka_client *kafka, struct error *err)
{
        struct dlq_echo *echo = calloc(1, sizeof *echo);

        if (echo)
                echo->places = places_new(ECHO_SENT_MAX);
        if (!echo || !echo->places) {
                free(echo);
                error_set(err, CODE_INTERNAL, "out of memory");
                return NULL;
        }
        echo->kafka = kafka;
        return echo;
}

void dlq_echo_free(struct dlq_echo *echo)
{
        if (!echo)
                return;
        for (size_t i = 0; i < echo->topic_count; i++)
                free(echo->topics[i].next);
        places_free(echo->places);
        free(echo);
}

int dlq_echo_watch(struct dlq_echo *echo, const char *dlq, struct error *err)
{
        struct watched *topic = &echo->topics[echo->topic_count];
        int64_t begin;
        int count;

        for (size_t i = 0; i < echo->topic_count; i++)
                if (strcmp(echo->topics[i].name, dlq) == 0)
                        return 0;
        if (echo->topic_count == TOPICS_MAX || strlen(dlq) >= sizeof topic->name)
                return 0; /* not watched: more topics than anyone has */
        count = kafka_partition_count(echo->kafka, dlq, TIMEOUT_MS, err);
        if (count < 0)
                return -1;
        if (count > PARTITIONS_MAX)
                count = PARTITIONS_MAX;
        topic->next = calloc((size_t)count + 1, sizeof *topic->next);
        if (!topic->next)
                return error_set(err, CODE_INTERNAL, "out of memory");
        for (int p = 0; p < count; p++)
                if (kafka_offsets(echo->kafka, dlq, p, TIMEOUT_MS, &begin, &topic->next[p], err) < 0) {
                        free(topic->next);
                        return -1;
                }
        memcpy(topic->name, dlq, strlen(dlq) + 1);
        topic->partitions = count;
        echo->topic_count++;
        return 0;
}

void dlq_echo_sent(struct dlq_echo *echo, const char *topic, const struct producer_ack *ack, enum error_class class)
{
        struct place *place = places_put(echo->places, topic, ack->partition, ack->offset);

        if (!place)
                return;
        place->number = ++echo->sent;
        place->tag = (uint8_t) class;
        place->note = 0;
}

enum error_class dlq_echo_class(struct span class)
{
        for (enum error_class known = ERR_DATA; known <= ERR_SERVING; known++)
                if (class.data && span_is(class, error_class_name(known)))
                        return known;
        return ERR_NONE;
}

/* The place that the letter says it came from, where that is one of this replay; else NULL. */
static struct place *origin_of(const struct dlq_echo *echo, const struct record *record)
{
        char text[TOPIC_NAME_BYTES + 64], topic[TOPIC_NAME_BYTES];
        struct span parts[3];
        int32_t partition;
        int64_t offset;
        size_t len = 0;

        if (!record_header(record, "mr-dlq-original-topic", &parts[0]) ||
            !record_header(record, "mr-dlq-original-partition", &parts[1]) ||
            !record_header(record, "mr-dlq-original-offset", &parts[2]))
                return NULL;
        for (size_t i = 0; i < 3; i++) {
                if (!parts[i].data || parts[i].len > (i == 0 ? TOPIC_NAME_BYTES : 20))
                        return NULL;
                if (i > 0)
                        text[len++] = ':';
                memcpy(text + len, parts[i].data, parts[i].len);
                len += parts[i].len;
        }
        text[len] = '\0';
        return letter_parse_place(text, topic, &partition, &offset) ? places_find(echo->places, topic, partition, offset) : NULL;
}

static bool on_record(void *user, const struct record *record)
{
        struct dlq_echo *echo = user;
        struct place *place = origin_of(echo, record);
        struct span class;

        if (record->partition >= 0 && record->partition < echo->reading->partitions)
                echo->reading->next[record->partition] = record->offset + 1;
        if (!place || place->note)
                return true;
        place->note = 1;
        if (place->number > echo->judged)
                echo->judged = place->number;
        if (record_header(record, "mr-dlq-error-class", &class) && dlq_echo_class(class) == place->tag)
                echo->returned++;
        return true;
}

int dlq_echo_look(struct dlq_echo *echo, bool *ret_flood, struct error *err)
{
        for (size_t i = 0; i < echo->topic_count; i++) {
                struct watched *topic = &echo->topics[i];

                echo->reading = topic;
                for (int32_t p = 0; p < topic->partitions; p++)
                        if (kafka_read_topic(echo->kafka, topic->name, p, topic->next, on_record, echo, TIMEOUT_MS, err) < 0)
                                return -1;
        }
        *ret_flood = echo->judged >= ECHO_JUDGED_MIN && 2 * echo->returned >= echo->judged;
        return 0;
}

void dlq_echo_counts(const struct dlq_echo *echo, int64_t *ret_returned, int64_t *ret_judged)
{
        *ret_returned = echo->returned;
        *ret_judged = echo->judged;
}
