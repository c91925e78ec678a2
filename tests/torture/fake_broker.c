/* See fake_broker.h. Every topic has one partition but for index topics, whose records carry theirs. */
#include "tests/torture/fake_broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/kafka/index_reader.h"
#include "queues/kafka/producer.h"
#include "queues/kafka/source.h"
#include "tests/torture/failing_memory.h"

enum { TOPICS_MAX = 96, SOURCES_MAX = 32, READERS_MAX = 8, PARTITIONS_MAX = 64, BATCH_MAX = 64 };

struct topic {
        char name[128];
        struct message *first, *last;
        int64_t next[PARTITIONS_MAX]; /* each partition's next offset */
};

struct source {
        struct source_config config;
        struct topic *topics[SOURCE_TOPICS_MAX];
        bool open, held, stopped;
        struct record *parked; /* the one that on_record has given back */
};

struct sending {
        struct sending *next;
        struct op *op; /* NULL: detached */
        struct producer_ack *ack;
        struct message *message;
};

struct index_reader {
        struct index_reader_config config;
        struct topic *topic;
        int64_t positions[PARTITIONS_MAX];
        bool open, held, ended;
};

static struct {
        struct topic topics[TOPICS_MAX];
        size_t topic_count;
        struct source sources[SOURCES_MAX];
        struct index_reader readers[READERS_MAX];
        struct sending *first, *last;
        bool index_held;
        size_t outstanding;
        void (*on_end)(void *user, struct message *message, bool done);
        void *user;
} broker;

static void fail(const char *what)
{
        fprintf(stderr, "torture: %s\n", what);
        abort();
}

/* ---- Topics */

static struct topic *topic_of(const char *name)
{
        for (size_t i = 0; i < broker.topic_count; i++)
                if (strcmp(broker.topics[i].name, name) == 0)
                        return &broker.topics[i];
        if (broker.topic_count == TOPICS_MAX)
                fail("too many topics");
        snprintf(broker.topics[broker.topic_count].name, sizeof broker.topics[0].name, "%s", name);
        return &broker.topics[broker.topic_count++];
}

static struct span keep(struct span s)
{
        return s.data ? (struct span){steady_copy(s.data, s.len), s.len} : (struct span){NULL, 0};
}

static struct message *append(const char *name, int32_t partition, struct span key, struct span value)
{
        struct topic *topic = topic_of(name);
        struct message *message = steady_alloc(sizeof *message);

        if (partition < 0)
                partition = 0;
        if (partition >= PARTITIONS_MAX)
                fail("a partition too high");
        *message = (struct message){.topic = topic->name,
                                    .partition = partition,
                                    .offset = topic->next[partition]++,
                                    .timestamp_ms = clock_wall_ms(),
                                    .key = keep(key),
                                    .value = keep(value)};
        if (topic->last)
                topic->last->next = message;
        else
                topic->first = message;
        topic->last = message;
        return message;
}

static void add_header(struct message *message, const char *name, struct span value)
{
        if (message->header_count == MESSAGE_HEADERS_MAX)
                fail("too many headers");
        message->headers[message->header_count++] = (struct message_header){steady_copy(name, strlen(name)), keep(value)};
}

struct message *broker_publish(const char *topic, struct span key, struct span value, const char *const *headers)
{
        struct message *message = append(topic, -1, key, value);

        for (size_t i = 0; headers && headers[i]; i += 2)
                add_header(message, headers[i], span_of(headers[i + 1]));
        message->acked = true;
        return message;
}

struct message *broker_next(const char *topic, struct message *after)
{
        return after ? after->next : topic_of(topic)->first;
}

struct span message_header_of(const struct message *message, const char *name)
{
        for (size_t i = message->header_count; i-- > 0;)
                if (strcmp(message->headers[i].name, name) == 0)
                        return message->headers[i].value;
        return (struct span){NULL, 0};
}

static void free_message(struct message *message)
{
        for (size_t i = 0; i < message->header_count; i++) {
                steady_free(message->headers[i].name);
                steady_free((char *)message->headers[i].value.data);
        }
        steady_free((char *)message->key.data);
        steady_free((char *)message->value.data);
        steady_free(message);
}

void broker_reset(void)
{
        for (size_t i = 0; i < broker.topic_count; i++)
                for (struct message *message = broker.topics[i].first, *next; message; message = next) {
                        next = message->next;
                        free_message(message);
                }
        memset(&broker, 0, sizeof broker);
}

void broker_watch(void (*on_end)(void *user, struct message *message, bool done), void *user)
{
        broker.on_end = on_end;
        broker.user = user;
}

size_t broker_outstanding(void)
{
        return broker.outstanding;
}

/* ---- Records, as queues/kafka/record.h has them */

bool __wrap_record_header(const struct record *record, const char *name, struct span *ret_value);
bool __wrap_record_header(const struct record *record, const char *name, struct span *ret_value)
{
        const struct message *message = record->message;

        for (size_t i = message->header_count; i-- > 0;)
                if (strcmp(message->headers[i].name, name) == 0) {
                        *ret_value = message->headers[i].value;
                        return true;
                }
        return false;
}

bool __wrap_record_header_at(const struct record *record, size_t index, const char **ret_name, struct span *ret_value);
bool __wrap_record_header_at(const struct record *record, size_t index, const char **ret_name, struct span *ret_value)
{
        const struct message *message = record->message;

        if (index >= message->header_count)
                return false;
        *ret_name = message->headers[index].name;
        *ret_value = message->headers[index].value;
        return true;
}

/* ---- Sources, as queues/kafka/source.h has them */

struct source *__wrap_source_new(struct ev_loop *loop, const struct settings *settings, const struct source_config *config, struct error *err);
struct source *__wrap_source_new(struct ev_loop *loop, const struct settings *settings, const struct source_config *config, struct error *err)
{
        (void)loop;
        (void)settings;
        (void)err;
        for (size_t i = 0; i < SOURCES_MAX; i++) {
                struct source *source = &broker.sources[i];

                if (source->open)
                        continue;
                *source = (struct source){.config = *config, .open = true};
                for (size_t t = 0; t < config->topic_count; t++)
                        source->topics[t] = topic_of(config->topics[t]);
                return source;
        }
        fail("too many sources");
        return NULL;
}

static void give_back(struct record *record, bool done)
{
        struct message *message = record->message;

        if (!message->shown)
                fail("a record came back twice");
        message->shown = false;
        message->ended = done;
        message->dropped += !done;
        broker.outstanding--;
        steady_free(record);
        if (broker.on_end)
                broker.on_end(broker.user, message, done);
}

void __wrap_source_free(struct source *source, int64_t timeout_ms);
void __wrap_source_free(struct source *source, int64_t timeout_ms)
{
        (void)timeout_ms;
        if (!source)
                return;
        if (source->parked) {
                ((struct message *)source->parked->message)->shown = false;
                broker.outstanding--;
                steady_free(source->parked);
        }
        source->open = false;
}

void __wrap_source_done(struct record *record);
void __wrap_source_done(struct record *record)
{
        give_back(record, true);
}

void __wrap_source_drop(struct record *record);
void __wrap_source_drop(struct record *record)
{
        give_back(record, false);
}

void __wrap_source_park(struct record *record, int64_t until_wall_ms);
void __wrap_source_park(struct record *record, int64_t until_wall_ms)
{
        (void)until_wall_ms; /* asked again each turn: on_record knows */
        record->source->parked = record;
}

bool __wrap_source_current(const struct record *record);
bool __wrap_source_current(const struct record *record)
{
        (void)record;
        return true;
}

void __wrap_source_hold(struct source *source, bool hold);
void __wrap_source_hold(struct source *source, bool hold)
{
        source->held = hold;
}

bool __wrap_source_held(const struct source *source);
bool __wrap_source_held(const struct source *source)
{
        return source->held;
}

void __wrap_source_stop(struct source *source);
void __wrap_source_stop(struct source *source)
{
        source->stopped = true;
}

static bool show_parked(struct source *source)
{
        struct record *record = TAKE(source->parked);

        source->config.on_record(source->config.user, record);
        return source->parked != record;
}

static bool show_next(struct source *source, struct topic *topic)
{
        for (struct message *message = topic->first; message; message = message->next) {
                struct record *record;

                if (message->shown || message->ended || message->dropped || !message->acked)
                        continue;
                record = steady_alloc(sizeof *record);
                *record = (struct record){.topic = topic->name,
                                          .key = message->key,
                                          .value = message->value,
                                          .offset = message->offset,
                                          .timestamp_ms = message->timestamp_ms,
                                          .partition = message->partition,
                                          .source = source,
                                          .message = message};
                message->shown = true;
                broker.outstanding++;
                source->config.on_record(source->config.user, record);
                return true;
        }
        return false;
}

static bool serve_source(struct source *source)
{
        bool some = false;

        if (!source->open || source->held || source->stopped)
                return false;
        if (source->parked)
                return show_parked(source);
        for (size_t t = 0; t < source->config.topic_count && !source->held && !source->parked; t++)
                some |= show_next(source, source->topics[t]);
        return some;
}

/* ---- The producer, as queues/kafka/producer.h has it */

struct producer *broker_producer(void)
{
        return (struct producer *)(void *)&broker;
}

static void detach(struct op *op)
{
        for (struct sending *sending = broker.first; sending; sending = sending->next)
                if (sending->op == op)
                        sending->op = NULL;
}

void __wrap_producer_send(struct producer *producer, struct op *op, const struct outgoing *outgoing, struct producer_ack *ret_ack);
void __wrap_producer_send(struct producer *producer, struct op *op, const struct outgoing *outgoing, struct producer_ack *ret_ack)
{
        struct message *message = append(outgoing->topic, outgoing->partition, outgoing->key, outgoing->value);
        struct sending *sending = steady_alloc(sizeof *sending);

        (void)producer;
        for (size_t i = 0; i < outgoing->header_count; i++)
                add_header(message, outgoing->headers[i].name, outgoing->headers[i].value);
        *sending = (struct sending){.op = op, .ack = ret_ack, .message = message};
        if (broker.last)
                broker.last->next = sending;
        else
                broker.first = sending;
        broker.last = sending;
        if (op)
                op_begin(op, detach, sending);
}

size_t broker_sent(void)
{
        size_t count = 0;

        for (const struct sending *sending = broker.first; sending; sending = sending->next)
                count++;
        return count;
}

static bool acknowledge(void)
{
        struct sending *list = broker.first;
        bool some = list != NULL;

        broker.first = broker.last = NULL;
        while (list) {
                struct sending *next = list->next;

                list->message->acked = true;
                if (list->op && list->ack)
                        *list->ack = (struct producer_ack){list->message->offset, list->message->partition};
                if (list->op)
                        op_done(list->op, NULL);
                steady_free(list);
                list = next;
        }
        return some;
}

/* ---- Index readers, as queues/kafka/index_reader.h has them */

struct index_reader *__wrap_index_reader_new(struct ev_loop *loop, const struct settings *settings,
                                             const struct index_reader_config *config, struct error *err);
struct index_reader *__wrap_index_reader_new(struct ev_loop *loop, const struct settings *settings,
                                             const struct index_reader_config *config, struct error *err)
{
        (void)loop;
        (void)settings;
        (void)err;
        for (size_t i = 0; i < READERS_MAX; i++) {
                struct index_reader *reader = &broker.readers[i];

                if (reader->open)
                        continue;
                if (config->partition_count > PARTITIONS_MAX)
                        fail("too many partitions");
                *reader = (struct index_reader){.config = *config, .topic = topic_of(config->topic), .open = true};
                memcpy(reader->positions, config->positions, (size_t)config->partition_count * sizeof *config->positions);
                return reader;
        }
        fail("too many readers");
        return NULL;
}

void __wrap_index_reader_free(struct index_reader *reader);
void __wrap_index_reader_free(struct index_reader *reader)
{
        if (reader)
                reader->open = false;
}

void __wrap_index_reader_hold(struct index_reader *reader, bool hold);
void __wrap_index_reader_hold(struct index_reader *reader, bool hold)
{
        reader->held = hold;
}

int64_t __wrap_index_reader_lag(const struct index_reader *reader);
int64_t __wrap_index_reader_lag(const struct index_reader *reader)
{
        int64_t lag = 0;

        for (int p = 0; p < reader->config.partition_count; p++)
                lag += reader->topic->next[p] - reader->positions[p];
        return lag;
}

int __wrap_index_reader_error(const struct index_reader *reader, struct error *err);
int __wrap_index_reader_error(const struct index_reader *reader, struct error *err)
{
        (void)reader;
        (void)err;
        return 0;
}

static bool serve_reader(struct index_reader *reader)
{
        struct record records[BATCH_MAX];
        const struct record *shown[BATCH_MAX];
        size_t count = 0, taken;

        if (!reader->open || reader->held)
                return false;
        for (struct message *m = reader->topic->first; m && count < BATCH_MAX; m = m->next) {
                if (m->offset < reader->positions[m->partition] || !m->acked)
                        continue;
                records[count] = (struct record){.topic = m->topic,
                                                 .key = m->key,
                                                 .value = m->value,
                                                 .offset = m->offset,
                                                 .timestamp_ms = m->timestamp_ms,
                                                 .partition = m->partition,
                                                 .message = m};
                shown[count] = &records[count];
                count++;
        }
        if (!count) {
                bool again = !reader->ended;

                reader->ended = true;
                if (again && reader->config.on_end)
                        reader->config.on_end(reader->config.user);
                return again;
        }
        reader->ended = false;
        taken = reader->config.on_batch(reader->config.user, shown, count);
        for (size_t i = 0; i < taken; i++)
                reader->positions[records[i].partition] = records[i].offset + 1;
        return taken > 0;
}

void broker_hold_index(bool hold)
{
        broker.index_held = hold;
}

bool broker_index_read(void)
{
        for (size_t i = 0; i < READERS_MAX; i++)
                if (broker.readers[i].open && (!broker.readers[i].ended || broker.readers[i].held || __wrap_index_reader_lag(&broker.readers[i]) > 0))
                        return false;
        return true;
}

bool broker_turn(void)
{
        bool some = acknowledge();

        for (size_t i = 0; i < SOURCES_MAX; i++)
                some |= serve_source(&broker.sources[i]);
        for (size_t i = 0; i < READERS_MAX && !broker.index_held; i++)
                some |= serve_reader(&broker.readers[i]);
        return some;
}
