/* A source's partitions and the records that can't be shown yet.
 *
 * A record that can't be shown now waits in its place's list: behind a parked one, or past the watermark's window. The list is
 * short: past WAITING_MAX records or WAITING_BYTES_MAX the partition is paused, which makes librdkafka discard what it
 * prefetched and read on, once resumed, behind the last record that it gave us. */
#include "queues/kafka/source_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "queues/kafka/kafka_conf.h"

enum { POOL_MAX = 1024, WAITING_MAX = 256, WAITING_BYTES_MAX = 512 * 1024 };

/* ---- places ---- */

static struct place *place_new(struct source *source, struct source_topic *topic, int32_t partition)
{
        struct place *place;

        if (partition < 0 || partition >= SOURCE_PARTITIONS_MAX)
                return NULL;
        if (partition >= topic->place_count) {
                int32_t count = partition + 1;
                struct place **places = realloc(topic->places, (size_t)count * sizeof *places);

                if (!places)
                        return NULL;
                memset(places + topic->place_count, 0, (size_t)(count - topic->place_count) * sizeof *places);
                topic->places = places;
                topic->place_count = count;
        }
        place = calloc(1, sizeof *place);
        if (!place)
                return NULL;
        if (watermark_init(&place->marks, source->config.window) < 0) {
                free(place);
                return NULL;
        }
        place->source = source;
        place->topic = topic->name;
        place->partition = partition;
        topic->places[partition] = place;
        return place;
}

struct place *source_place(struct source *source, const char *name, int32_t partition, bool make)
{
        for (size_t t = 0; t < source->topic_count; t++) {
                struct source_topic *topic = &source->topics[t];

                if (strcmp(topic->name, name) != 0)
                        continue;
                if (partition >= 0 && partition < topic->place_count && topic->places[partition])
                        return topic->places[partition];
                return make ? place_new(source, topic, partition) : NULL;
        }
        return NULL;
}

/* The same for a message, without comparing names as a rule. */
struct place *source_place_of(struct source *source, const rd_kafka_message_t *message)
{
        for (size_t t = 0; t < source->topic_count; t++) {
                struct source_topic *topic = &source->topics[t];

                if (topic->handle == message->rkt)
                        return message->partition < topic->place_count ? topic->places[message->partition] : NULL;
        }
        for (size_t t = 0; t < source->topic_count; t++)
                if (strcmp(source->topics[t].name, rd_kafka_topic_name(message->rkt)) == 0) {
                        source->topics[t].handle = message->rkt;
                        return message->partition < source->topics[t].place_count ? source->topics[t].places[message->partition]
                                                                                  : NULL;
                }
        return NULL;
}

/* ---- records ---- */

struct record *source_record_take(struct source *source)
{
        struct record *record = source->pool;

        if (!record)
                return malloc(sizeof *record);
        source->pool = record->next;
        source->pool_count--;
        return record;
}

void source_record_give(struct source *source, struct record *record)
{
        rd_kafka_message_destroy(record->message);
        if (source->pool_count >= POOL_MAX) {
                free(record);
                return;
        }
        record->next = source->pool;
        source->pool = record;
        source->pool_count++;
}

bool source_current(const struct record *record)
{
        const struct place *place = record->place;

        return place->state != PLACE_AWAY && place->generation == record->generation;
}

static void end_record(struct record *record, bool done)
{
        struct source *source = record->source;
        struct place *place = record->place;

        source->outstanding--;
        if (done)
                source->watch.ended = source->last_poll;
        if (source_current(record)) {
                place->outstanding--;
                if (done && watermark_done(&place->marks, record->offset)) {
                        if (place->resting)
                                source_weigh(place);
                        if (place->waiting && place->due_ms == 0)
                                kafka_wakeup_raise(source->wakeup_fd); /* the window has room again */
                }
                if (place->state == PLACE_LEAVING && place->outstanding == 0)
                        kafka_wakeup_raise(source->wakeup_fd);
        }
        if (source->showing == record)
                source->showing = NULL;
        source_record_give(source, record);
}

void source_done(struct record *record)
{
        end_record(record, true);
}

void source_drop(struct record *record)
{
        end_record(record, false);
}

void source_end_reached(struct source *source, const rd_kafka_message_t *message)
{
        struct place *place = source_place_of(source, message);

        if (place && place->state == PLACE_HERE)
                place->eof = message->offset;
}

/* ---- waiting ---- */

static void set_paused(struct place *place, bool pause)
{
        rd_kafka_topic_partition_list_t *list;

        if (place->paused == pause)
                return;
        list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(list, place->topic, place->partition);
        if (pause)
                rd_kafka_pause_partitions(place->source->kafka, list);
        else
                rd_kafka_resume_partitions(place->source->kafka, list);
        rd_kafka_topic_partition_list_destroy(list);
        place->paused = pause;
}

static void list_place(struct place *place)
{
        struct source *source = place->source;

        assert(source->waiting_count < source->waiting_cap);
        source->waiting[source->waiting_count++] = place;
}

static void unlist_place(struct place *place)
{
        struct source *source = place->source;

        for (size_t i = 0; i < source->waiting_count; i++)
                if (source->waiting[i] == place) {
                        source->waiting[i] = source->waiting[--source->waiting_count];
                        return;
                }
}

/* Room for one more place in the list of those that wait. */
int source_wait_reserve(struct source *source)
{
        size_t cap = source->waiting_cap ? 2 * source->waiting_cap : 32;
        struct place **waiting;

        if (source->waiting_count < source->waiting_cap)
                return 0;
        waiting = realloc(source->waiting, cap * sizeof(struct place *));
        if (!waiting)
                return -1;
        source->waiting = waiting;
        source->waiting_cap = cap;
        return 0;
}

void source_wait_push(struct place *place, struct record *record, bool front)
{
        if (!place->waiting)
                list_place(place);
        if (front) {
                record->next = place->waiting;
                place->waiting = record;
                if (!place->waiting_last)
                        place->waiting_last = record;
        } else {
                record->next = NULL;
                if (place->waiting_last)
                        place->waiting_last->next = record;
                else
                        place->waiting = record;
                place->waiting_last = record;
        }
        place->waiting_count++;
        place->waiting_bytes += record->value.len + record->key.len;
        if (place->waiting_count >= WAITING_MAX || place->waiting_bytes >= WAITING_BYTES_MAX)
                set_paused(place, true);
}

struct record *source_wait_pop(struct place *place)
{
        struct record *record = place->waiting;

        place->waiting = record->next;
        if (!place->waiting) {
                place->waiting_last = NULL;
                unlist_place(place);
        }
        place->waiting_count--;
        place->waiting_bytes -= record->value.len + record->key.len;
        if (place->waiting_count <= WAITING_MAX / 4 && place->waiting_bytes <= WAITING_BYTES_MAX / 4)
                set_paused(place, false);
        return record;
}

void source_forget_waiting(struct place *place)
{
        while (place->waiting)
                source_record_give(place->source, source_wait_pop(place));
        set_paused(place, false);
        place->head_started = false;
        place->due_ms = 0;
}

void source_forget_batch(struct source *source, const struct place *place)
{
        size_t kept = source->batch_at;

        for (size_t i = source->batch_at; i < source->batch_len; i++) {
                rd_kafka_message_t *message = source->batch[i];

                if (!message->err && source_place_of(source, message) == place)
                        rd_kafka_message_destroy(message);
                else
                        source->batch[kept++] = message;
        }
        source->batch_len = kept;
}

void source_park(struct record *record, int64_t until_wall_ms)
{
        struct source *source = record->source;
        struct place *place = record->place;
        int64_t now = clock_now_ms(), wait_ms;

        assert(source->showing == record);
        source->showing = NULL;
        source->outstanding--;
        if (!source_current(record)) { /* the receiver let the group turn within its callback */
                source_record_give(source, record);
                return;
        }
        place->outstanding--;
        if (source_wait_reserve(source) < 0) { /* no memory: it comes again after a restart or rebalance */
                source_record_give(source, record);
                return;
        }
        source_wait_push(place, record, true);
        place->head_started = true;
        wait_ms = until_wall_ms - clock_wall_ms() + (until_wall_ms < INT64_MAX); /* never before */
        place->due_ms = wait_ms < INT64_MAX - now ? now + wait_ms : INT64_MAX; /* a clock set back does not stretch it */
        if (place->due_ms < 1)
                place->due_ms = 1;
}
