/* The rig of the Kafka tests: a mock broker in this process, a loop, settings; a loop that runs until something holds. */
#ifndef TESTS_UNIT_QUEUES_TEST_KAFKA_RIG_H
#define TESTS_UNIT_QUEUES_TEST_KAFKA_RIG_H

#include <criterion/criterion.h>
#include <ev.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/log.h"
#include "config/base/own.h"
#include "config/settings.h"
#include "queues/kafka/kafka_client.h"
#include "queues/kafka/mock_broker.h"
#include "queues/kafka/producer.h"
#include "queues/kafka/source.h"

enum { RIG_GUARD_S = 30, RIG_RECORDS_MAX = 4096 };

struct rig {
        struct ev_loop *loop;
        struct mock_broker *broker;
        struct settings settings;
        char brokers[128];
        struct setting_pair options[4];
        struct kafka_client *client;
};

static inline void rig_up(struct rig *rig)
{
        struct error err = {0};

        log_setup(getenv("TEST_LOG") ? LOG_INFO : LOG_ERROR, LOG_FORMAT_TEXT);
        memset(rig, 0, sizeof *rig);
        rig->loop = ev_loop_new(EVFLAG_AUTO);
        rig->broker = mock_broker_new(&err);
        cr_assert(rig->broker, "%s", err.message);
        snprintf(rig->brokers, sizeof rig->brokers, "%s", mock_broker_address(rig->broker));
        rig->settings.kafka.brokers = rig->brokers;
        rig->settings.kafka.prefix = (char *)(uintptr_t) "enrich";
        rig->settings.kafka.partitions = 8;
        rig->settings.kafka.replication = 1;
        /* The mock broker lets a group that has members wait for almost the session's time-out before it lets others join. */
        rig->options[0] = (struct setting_pair){(char *)(uintptr_t) "session.timeout.ms", (char *)(uintptr_t) "2000"};
        rig->options[1] = (struct setting_pair){(char *)(uintptr_t) "heartbeat.interval.ms", (char *)(uintptr_t) "100"};
        rig->settings.kafka.options = rig->options;
        rig->settings.kafka.option_count = 2;
        rig->settings.worker.name = (char *)(uintptr_t) "t1";
        rig->settings.worker.payload_bytes_max = 1048576;
        rig->client = kafka_client_new(&rig->settings, &err);
        cr_assert(rig->client, "%s", err.message);
}

static inline void rig_option(struct rig *rig, const char *key, const char *value)
{
        cr_assert_lt(rig->settings.kafka.option_count, COUNT_OF(rig->options));
        rig->options[rig->settings.kafka.option_count++] = (struct setting_pair){(char *)(uintptr_t)key, (char *)(uintptr_t)value};
}

static inline void rig_down(struct rig *rig)
{
        kafka_client_free(rig->client);
        mock_broker_free(rig->broker);
        ev_loop_destroy(rig->loop);
}

static inline void rig_topic(struct rig *rig, const char *topic, int partitions)
{
        struct error err = {0};

        cr_assert_eq(mock_broker_topic(rig->broker, topic, partitions, &err), 0, "%s", err.message);
}

static inline void rig_guard(struct ev_loop *loop, ev_timer *watcher, int events)
{
        (void)events;
        *(bool *)watcher->data = true;
        ev_break(loop, EVBREAK_ONE);
}

/* Runs the loop until holds(user); false when that takes longer than the guard. */
static inline bool rig_until(struct rig *rig, bool (*holds)(void *user), void *user)
{
        bool late = false;
        ev_timer guard;

        ev_timer_init(&guard, rig_guard, RIG_GUARD_S, 0);
        guard.data = &late;
        ev_timer_start(rig->loop, &guard);
        while (!holds(user) && !late)
                ev_run(rig->loop, EVRUN_ONCE);
        ev_timer_stop(rig->loop, &guard);
        return !late;
}

static inline void rig_publish(struct rig *rig, const char *topic, int partition, const char *key, const char *value)
{
        struct outgoing outgoing = {.topic = topic, .partition = partition, .key = span_of(key), .value = span_of(value)};
        struct error err = {0};

        cr_assert_eq(kafka_publish(rig->client, &outgoing, 10000, NULL, &err), 0, "%s", err.message);
}

/* A receiver that keeps what it is shown. */
struct taker {
        struct source *source;
        struct record *records[RIG_RECORDS_MAX]; /* NULL once ended */
        int64_t offsets[RIG_RECORDS_MAX];
        int32_t partitions[RIG_RECORDS_MAX];
        size_t count, wanted;
        int assigned, revoked, lost;
        bool end_at_once, drop_on_revoke;
        int64_t park_until; /* > 0: the first showing of each record parks it */
        size_t parked;
};

static inline void taker_record(void *user, struct record *record)
{
        struct taker *taker = user;

        if (taker->park_until > 0) {
                int64_t until = taker->park_until;

                taker->park_until = 0;
                taker->parked++;
                source_park(record, until);
                return;
        }
        cr_assert_lt(taker->count, RIG_RECORDS_MAX);
        taker->offsets[taker->count] = record->offset;
        taker->partitions[taker->count] = record->partition;
        taker->records[taker->count++] = taker->end_at_once ? NULL : record;
        if (taker->end_at_once)
                source_done(record);
}

static inline void taker_assign(void *user, struct source *source, const struct source_partition *partitions, size_t count)
{
        struct taker *taker = user;

        (void)source;
        (void)partitions;
        taker->assigned += (int)count;
}

static inline void taker_revoke(void *user, struct source *source, const struct source_partition *partitions, size_t count,
                                bool lost)
{
        struct taker *taker = user;

        (void)source;
        (void)partitions;
        taker->revoked += (int)count;
        taker->lost += lost;
        for (size_t i = 0; taker->drop_on_revoke && i < taker->count; i++)
                for (size_t p = 0; p < count && taker->records[i]; p++)
                        if (taker->partitions[i] == partitions[p].partition) {
                                source_drop(taker->records[i]);
                                taker->records[i] = NULL;
                        }
}

static inline bool taker_full(void *user)
{
        struct taker *taker = user;

        return taker->count >= taker->wanted;
}

static inline void taker_drop_all(struct taker *taker)
{
        for (size_t i = 0; i < taker->count; i++)
                if (taker->records[i])
                        source_drop(taker->records[i]);
        taker->count = 0;
}

static inline void taker_open(struct rig *rig, struct taker *taker, struct source_config config)
{
        struct error err = {0};

        config.user = taker;
        config.on_record = taker_record;
        config.on_assign = taker_assign;
        config.on_revoke = taker_revoke;
        taker->source = source_new(rig->loop, &rig->settings, &config, &err);
        cr_assert(taker->source, "%s", err.message);
}

#endif
