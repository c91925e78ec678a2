/* A source's inside, shared by source.c (records), source_place.c, source_group.c (the group: assignments, commits), source_map.c (what has
 * ended above the mark), source_watch.c and source_status.c. Not for others. */
#ifndef QUEUES_KAFKA_SOURCE_PRIVATE_H
#define QUEUES_KAFKA_SOURCE_PRIVATE_H

#include <ev.h>
#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/base/metrics.h"
#include "queues/kafka/group_question.h"
#include "queues/kafka/source.h"
#include "queues/kafka/source_watch.h"
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
        int64_t committed;   /* acknowledged in this generation or read at its beginning, -1 none */
        int64_t first;       /* the first offset handed out in this generation, -1 none */
        size_t outstanding;  /* of this generation, handed out */
        int64_t batch_first; /* the first new offset of the newest batch that had any; what repeats from there on is a duplicate */
        uint64_t batch;      /* that batch's number */
        int32_t epoch;       /* leader epoch of the newest record handed out */
        /* Records read but not handed out: behind a parked one, or past the window. */
        struct record *waiting, *waiting_last;
        size_t waiting_count, waiting_bytes;
        bool head_started;   /* the first one was parked: its offset has been started */
        int64_t due_ms; /* when the first one may come, clock_now_ms(); 0 = as soon as there is room */
        bool paused;         /* too much is waiting: fetching stands still */
        bool broken;         /* a record was lost to lack of memory: nothing behind it is shown in this generation */
        /* What has ended above the mark (source_map.c). */
        int32_t known_epoch; /* leader epoch of the newest record when the map was committed, -1 unknown */
        bool resting;        /* the map is nearly full: no new records */
        unsigned unweighed;  /* records started since the map was weighed */
        uint64_t ended_sent, ended_acked; /* marks.ended, as carried by the newest commit and by the newest acknowledged one */
        /* Progress (source_watch.c). */
        int64_t eof;       /* librdkafka has read up to here, -1 unknown */
        int64_t asked_end; /* the log's end by its leader, -1 unknown */
};

struct source_topic {
        char *name;
        const rd_kafka_topic_t *handle; /* librdkafka's, to tell topics apart without comparing names; NULL until seen */
        struct place **places;          /* [place_count], by partition, NULL where never assigned */
        int32_t place_count;
};

/* What the watchdog remembers; monotonic ms. */
struct source_watch {
        int64_t moved, ended, behind_since, away_since, leaders_at, coordinator_at, asked;
        int64_t waiting, assigned_seen, commits_seen;
        bool broken;
        enum source_verdict verdict;
};

struct source {
        struct ev_loop *loop;
        struct source_config config; /* defaults filled in; strings are not valid after source_new */
        char *group;
        struct source_topic *topics;
        size_t topic_count;
        rd_kafka_t *kafka;
        rd_kafka_queue_t *group_queue, *record_queue, *answers; /* answers: to questions of our own */
        int answers_due;
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
        atomic_bool destroyed;  /* its consumer is gone; set by the thread that saw to it */
        atomic_bool joining;    /* a JoinGroup is under way: set by the library's thread, cleared by the rebalance's outcome */
        bool joined;
        bool awaiting;     /* everything was let go for an eager rebalance */
        bool fenced;       /* failed for good; why in `fatal` */
        struct error fatal;
        bool bare_commits; /* the broker takes no metadata of this length */
        rd_kafka_topic_partition_list_t *assigning; /* proposed; taken when their committed offsets are known */
        struct group_question *question; /* under way; one at a time */
        uint64_t ask_number;             /* of the newest wanted; 0 is the watchdog's */
        bool ask_again;
        int64_t complaints_from, foreign_count;
        int complaints;
        struct source_watch watch;
        size_t outstanding;             /* all generations */
        int here;                       /* places HERE or LEAVING */
        int64_t last_poll, last_record; /* monotonic ms; last_record -1 never */
        int64_t assigned_count, commits_acked, commit_failures, skipped_count;
        struct error last_error;
        struct metric *gauges[5]; /* source_gauges() */
};

/* source_place.c */
struct place *source_place(struct source *source, const char *topic, int32_t partition, bool make);
/* The same for a message, without comparing names as a rule. */
struct place *source_place_of(struct source *source, const rd_kafka_message_t *message);
struct record *source_record_take(struct source *source);              /* NULL: no memory */
void source_record_give(struct source *source, struct record *record); /* with its message */
/* librdkafka has read a partition to its end. */
void source_end_reached(struct source *source, const rd_kafka_message_t *message);
int source_wait_reserve(struct source *source);                        /* before source_wait_push; -1: no memory */
void source_wait_push(struct place *place, struct record *record, bool front);
struct record *source_wait_pop(struct place *place);
void source_forget_waiting(struct place *place); /* frees what waits; gives up the pause */
void source_forget_batch(struct source *source, const struct place *place);

/* source_map.c. A proposed assignment: its offsets are asked for, then source_assign(). source_assign_blind: at once, with no claim to
 * where they stand, because they are let go next. */
void source_assign_begin(struct source *source, const rd_kafka_topic_partition_list_t *list);
void source_assign_blind(struct source *source);
/* What the commit says of the partition into its watermark; frees the entry's metadata. */
void source_map_take(struct place *place, rd_kafka_topic_partition_t *entry);
void source_map_tick(struct source *source);
/* source_may_start: not while the map is too full; source_started: after each start. */
bool source_may_start(const struct place *place, int64_t offset);
void source_started(struct place *place);
void source_weigh(struct place *place);
/* An earlier run has ended this record: not, when it was written under a later leader than the map knew (the log was cut). */
bool source_known(const struct place *place, const struct record *record);
/* Puts the map beside the offset; -1: it can't be carried now, commit nothing. */
int source_map_add(struct place *place, rd_kafka_topic_partition_t *entry);
/* Answers to all questions of our own. */
void source_serve_answers(struct source *source);

/* source_status.c: what /metrics shows of it */
void source_gauges(struct source *source);

/* source_watch.c */
void source_watch_tick(struct source *source);
void source_watch_answer(struct source *source, rd_kafka_event_t *event);
void source_watch_coordinator(struct source *source);

/* source.c: takes the message */
void source_show(struct source *source, rd_kafka_message_t *message);

/* source_group.c */
rd_kafka_resp_err_t source_on_new(rd_kafka_t *kafka, const rd_kafka_conf_t *conf, void *user, char *reason, size_t reason_bytes);
void source_on_rebalance(rd_kafka_t *kafka, rd_kafka_resp_err_t event, rd_kafka_topic_partition_list_t *partitions, void *user);
void source_on_error(rd_kafka_t *kafka, int code, const char *reason, void *user);
/* Serves rebalances, commits' answers and errors, bounded; true = there may be more. */
bool source_serve_group(struct source *source);
/* Takes source->assigning. */
void source_assign(struct source *source);
bool source_cooperative(const struct source *source);
/* Lets go of what is revoked as soon as its records have ended or the drain's time is over. */
void source_leave(struct source *source);
/* Has anything ended that no acknowledged commit covers? */
bool source_needs_commit(const struct place *place);
/* Calls visit for each place HERE or LEAVING until it returns false. */
void source_each_place(const struct source *source, bool (*visit)(struct place *place, void *user), void *user);

#endif
