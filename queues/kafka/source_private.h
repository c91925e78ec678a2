/* A source's inside, shared by source.c (records) and source_group.c (the group: assignments, commits). Not for others. */
#ifndef QUEUES_KAFKA_SOURCE_PRIVATE_H
#define QUEUES_KAFKA_SOURCE_PRIVATE_H

#include <ev.h>
#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "queues/kafka/source.h"
#include "queues/kafka/watermark.h"

/* A partition that was assigned at least once; lives as long as the source.
 *
 *      AWAY ──assign──► HERE ──revoke──► LEAVING ──committed──► AWAY
 *                        └───────lost────────────────────────────▲   */
enum place_state { PLACE_AWAY, PLACE_HERE, PLACE_LEAVING };

struct place {
        struct source *source;
        const char *topic; /* the source's copy */
        int32_t partition;
        enum place_state state;
        uint64_t generation;
        struct watermark marks;
        int64_t committed;   /* acknowledged in this generation, -1 none */
        int64_t first;       /* the first offset handed out in this generation, -1 none */
        size_t outstanding;  /* of this generation, handed out */
        int64_t batch_first; /* the first new offset of the newest batch that had any; what repeats from there on is a duplicate */
        uint64_t batch;      /* that batch's number */
        int32_t epoch;       /* leader epoch of the newest record handed out */
        /* Records read but not handed out: behind a parked one, or past the window. */
        struct record *waiting, *waiting_last;
        size_t waiting_count, waiting_bytes;
        bool head_started;   /* the first one was parked: its offset has been started */
        int64_t due_wall_ms; /* when the first one may come; 0 = as soon as there is room */
        bool paused;         /* too much is waiting: fetching stands still */
        bool broken;         /* a record was lost to lack of memory: nothing behind it is shown in this generation */
};

struct source_topic {
        char *name;
        const rd_kafka_topic_t *handle; /* librdkafka's, to tell topics apart without comparing names; NULL until seen */
        struct place **places;          /* [place_count], by partition, NULL where never assigned */
        int32_t place_count;
};

struct source {
        struct ev_loop *loop;
        struct source_config config; /* defaults filled in; strings are not valid after source_new */
        char *group;
        struct source_topic *topics;
        size_t topic_count;
        rd_kafka_t *kafka;
        rd_kafka_queue_t *group_queue, *record_queue;
        int wakeup_fd;
        ev_io wakeup;
        ev_timer tick;    /* commits; keeps the membership alive when nothing happens */
        ev_timer due;     /* the earliest parked record */
        ev_timer leaving; /* runs while partitions are being let go */
        /* What was read from the record queue and not shown yet, because of a hold. */
        rd_kafka_message_t **batch;
        size_t batch_at, batch_len;
        uint64_t batch_number;
        struct place **waiting; /* places with waiting records */
        size_t waiting_count, waiting_cap;
        struct record *pool; /* free records */
        size_t pool_count;
        struct record *showing; /* the one that on_record is looking at */
        bool held, stopped, closing;
        /* The group. */
        uint64_t generation;
        rd_kafka_topic_partition_list_t *revoked; /* being let go */
        int64_t revoke_deadline;                  /* monotonic ms */
        bool revoke_committed;
        bool committing;        /* a commit is under way; one at a time */
        int64_t commits_resume; /* monotonic ms; no commits before: the group is about to rebalance */
        atomic_bool joining;    /* a JoinGroup is under way: set by the library's thread, cleared by the rebalance's outcome */
        bool joined;
        size_t outstanding;             /* all generations */
        int here;                       /* places HERE or LEAVING */
        int64_t last_poll, last_record; /* monotonic ms; last_record -1 never */
        int64_t assigned_count, commit_failures;
        struct error last_error;
};

/* source_place.c */
struct place *source_place(struct source *source, const char *topic, int32_t partition, bool make);
/* The same for a message, without comparing names as a rule. */
struct place *source_place_of(struct source *source, const rd_kafka_message_t *message);
struct record *source_record_take(struct source *source);              /* NULL: no memory */
void source_record_give(struct source *source, struct record *record); /* with its message */
int source_wait_reserve(struct source *source);                        /* before source_wait_push; -1: no memory */
void source_wait_push(struct place *place, struct record *record, bool front);
struct record *source_wait_pop(struct place *place);
void source_forget_waiting(struct place *place); /* frees what waits; gives up the pause */
void source_forget_batch(struct source *source, const struct place *place);

/* source.c: takes the message */
void source_show(struct source *source, rd_kafka_message_t *message);

/* source_group.c */
rd_kafka_resp_err_t source_on_new(rd_kafka_t *kafka, const rd_kafka_conf_t *conf, void *user, char *reason, size_t reason_bytes);
void source_on_rebalance(rd_kafka_t *kafka, rd_kafka_resp_err_t event, rd_kafka_topic_partition_list_t *partitions, void *user);
void source_on_error(rd_kafka_t *kafka, int code, const char *reason, void *user);
/* Serves rebalances, commits' answers and errors, bounded; true = there may be more. */
bool source_serve_group(struct source *source);
/* Lets go of what is revoked as soon as its records have ended or the drain's time is over. */
void source_leave(struct source *source);
/* Calls visit for each place HERE or LEAVING until it returns false. */
void source_each_place(const struct source *source, bool (*visit)(struct place *place, void *user), void *user);

#endif
