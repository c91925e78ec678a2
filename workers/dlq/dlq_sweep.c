#include "workers/dlq/dlq_sweep.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queues/kafka/kafka_delete.h"

enum { TOPICS_MAX = 64, PARTITIONS_MAX = 4096, TIMEOUT_MS = 30000, KEY_BYTES = TOPIC_NAME_BYTES + 32 };

struct topic {
        char name[TOPIC_NAME_BYTES];
        int partitions;
        int64_t *begin, *before; /* [partitions]: where it begins; up to where it may go */
        bool *blocked;           /* [partitions] */
};

struct sweep {
        const struct dlq_walk *walk;
        struct kafka_client *client;
        struct topic topics[TOPICS_MAX];
        size_t topic_count, place_at;
        const char *state_topic;
        char key[KEY_BYTES];
        struct swept swept;
        struct error err;
        bool failed;
};

static struct topic *topic_of(struct sweep *sweep, const char *name)
{
        struct topic *topic = &sweep->topics[sweep->topic_count];
        int64_t end;
        int count;

        for (size_t i = 0; i < sweep->topic_count; i++)
                if (strcmp(sweep->topics[i].name, name) == 0)
                        return &sweep->topics[i];
        if (sweep->topic_count == TOPICS_MAX || strlen(name) >= sizeof topic->name) {
                error_set(&sweep->err, CODE_TOO_LARGE, "more than %d dead letter topics", TOPICS_MAX);
                return NULL;
        }
        count = kafka_partition_count(sweep->client, name, TIMEOUT_MS, &sweep->err);
        if (count < 0)
                return NULL;
        memcpy(topic->name, name, strlen(name) + 1);
        topic->partitions = count < PARTITIONS_MAX ? count : PARTITIONS_MAX;
        topic->begin = calloc((size_t)topic->partitions + 1, sizeof *topic->begin);
        topic->before = calloc((size_t)topic->partitions + 1, sizeof *topic->before);
        topic->blocked = calloc((size_t)topic->partitions + 1, sizeof *topic->blocked);
        sweep->topic_count++;
        if (!topic->begin || !topic->before || !topic->blocked) {
                error_set(&sweep->err, CODE_INTERNAL, "out of memory");
                return NULL;
        }
        for (int p = 0; p < topic->partitions; p++)
                if (kafka_offsets(sweep->client, name, p, TIMEOUT_MS, &topic->begin[p], &end, &sweep->err) < 0)
                        return NULL;
        return topic;
}

static bool look_at(void *user, const struct letter *letter)
{
        struct sweep *sweep = user;
        struct topic *topic = topic_of(sweep, letter->record->topic);
        const int32_t p = letter->record->partition;

        sweep->failed = !topic;
        if (!topic)
                return false;
        if (p < 0 || p >= topic->partitions)
                return true;
        if (letter->state != LETTER_PURGED) {
                topic->blocked[p] = true;
        } else if (topic->blocked[p]) {
                sweep->swept.hidden++;
        } else {
                topic->before[p] = letter->record->offset + 1;
                sweep->swept.deleted++;
        }
        return true;
}

/* The next state record whose letter was gone before we came: a null value. */
static bool next_forgotten(void *user, struct outgoing *outgoing)
{
        struct sweep *sweep = user;
        const struct places *places = dlq_states_places(sweep->walk->states);
        const struct place *place;

        while ((place = places_next(places, &sweep->place_at))) {
                const char *name = places_topic(places, place);

                for (size_t i = 0; i < sweep->topic_count && place->tag; i++) {
                        const struct topic *topic = &sweep->topics[i];

                        if (strcmp(topic->name, name) != 0 || place->partition >= topic->partitions ||
                            place->offset >= topic->begin[place->partition])
                                continue;
                        snprintf(sweep->key, sizeof sweep->key, "%s:%d:%" PRId64, name, (int)place->partition, place->offset);
                        *outgoing = (struct outgoing){.topic = sweep->state_topic, .partition = -1, .key = span_of(sweep->key)};
                        return true;
                }
        }
        return false;
}

/* Topics that hold no letter any more have states, too. */
static int add_empty_topics(struct sweep *sweep)
{
        const struct places *places = dlq_states_places(sweep->walk->states);
        const struct settings *settings = sweep->walk->settings;
        const struct place *place;
        struct topic_meaning meaning;

        for (size_t at = 0; (place = places_next(places, &at));) {
                const char *name = places_topic(places, place);

                if (topic_parse(name, settings->kafka.prefix, &meaning) && meaning.role == TOPIC_DLQ &&
                    (!sweep->walk->filter.kinds || sweep->walk->filter.kinds >> meaning.kind & 1) && !topic_of(sweep, name))
                        return -1;
        }
        return 0;
}

static int run_sweep(struct sweep *sweep, struct error *err)
{
        struct dlq_walk all = {.settings = sweep->walk->settings, .kafka = sweep->walk->kafka, .states = sweep->walk->states};

        all.filter.kinds = sweep->walk->filter.kinds;
        if (dlq_walk(&all, look_at, sweep, err) < 0)
                return -1;
        if (sweep->failed || add_empty_topics(sweep) < 0) {
                *err = sweep->err;
                return -1;
        }
        for (size_t i = 0; i < sweep->topic_count; i++)
                if (kafka_delete_before(all.settings, sweep->topics[i].name, sweep->topics[i].before, sweep->topics[i].partitions,
                                        TIMEOUT_MS, err) < 0)
                        return -1;
        return kafka_publish_all(sweep->client, next_forgotten, NULL, sweep, TIMEOUT_MS, &sweep->swept.forgotten, err);
}

int dlq_sweep(const struct dlq_walk *walk, const char *state_topic, struct kafka_client *client, struct swept *ret_swept,
              struct error *err)
{
        struct sweep *sweep = calloc(1, sizeof *sweep);
        int result;

        if (!sweep)
                return error_set(err, CODE_INTERNAL, "out of memory");
        sweep->walk = walk;
        sweep->client = client;
        sweep->state_topic = state_topic;
        result = run_sweep(sweep, err);
        if (result == 0)
                *ret_swept = sweep->swept;
        for (size_t i = 0; i < sweep->topic_count; i++) {
                free(sweep->topics[i].begin);
                free(sweep->topics[i].before);
                free(sweep->topics[i].blocked);
        }
        free(sweep);
        return result;
}
