/* A source reads the topics of one consumer group on the loop and commits what has durably ended.
 *
 * on_record hands out a record; the receiver owns it until it calls source_done() (durably ended: contract §4) or source_drop()
 * (given up without an end: its offset stays uncommitted and is redelivered after a restart or rebalance). Any order will do;
 * the committed offset is the contiguous watermark below the oldest record not yet ended. Records of an assignment that has gone
 * are told by source_current() and given back the same way: nothing is committed for them.
 *
 * What has ended above the watermark rides in the commit's metadata (offset_codec.h) and is not shown again to the next one that is
 * assigned the partition, after a crash too. When it can't be read, or is not ours, those records are shown again.
 *
 *      librdkafka ─► group queue (rebalances, errors)   ─┐ eventfd ─► loop: at most `turn_max` records a turn,
 *                └─► record queue (all partitions')     ─┘            the rest in the next turn
 *
 * Two queues, so that intake can be held without stopping the group: a held source goes on serving rebalances and stays a member,
 * and what librdkafka has prefetched (a bounded amount) stays where it is. Pausing partitions would throw it away.
 *
 * All functions: on the loop thread. */
#ifndef QUEUES_KAFKA_SOURCE_H
#define QUEUES_KAFKA_SOURCE_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/settings.h"
#include "queues/kafka/record.h"
#include "queues/kafka/source_watch.h"

struct source_partition {
        const char *topic;
        int32_t partition;
};

/* How much a source holds ready: much, little, or few and long-held. */
enum source_profile { SOURCE_BULK, SOURCE_INTERACTIVE, SOURCE_RETRY };

enum { SOURCE_TOPICS_MAX = 64, SOURCE_PARTITIONS_MAX = 4096 };

struct source_config {
        const char *group;
        const char *const *topics; /* [topic_count], 1…SOURCE_TOPICS_MAX; copied */
        size_t topic_count;
        enum source_profile profile;
        int64_t fetch_wait_ms;      /* how long the broker may wait for a fetch to fill; 0 = it answers with the first record. A tenth of
                                     * librdkafka's CPU at some thousand records a second, for that much latency */
        int turn_max;               /* records a loop turn, 0 = 128 */
        size_t window;              /* offsets between the watermark and the newest record of a partition, 0 = 65536 */
        int64_t commit_interval_ms; /* 0 = 1000 */
        int64_t revoke_drain_ms;    /* how long a revoked partition waits for its records under way, 0 = 2000 */
        /* A record that starts. May call any function of this source but source_free(). */
        void (*on_record)(void *user, struct record *record);
        /* May be NULL. These partitions (the array is valid during the call) were given to us; a new generation begins. */
        void (*on_assign)(void *user, struct source *source, const struct source_partition *partitions, size_t count);
        /* May be NULL. These partitions are being taken away; with `lost` they are gone already. No further record of them will
         * come. The receiver hurries what is nearly done and drops what has not begun; the source waits up to revoke_drain_ms
         * until every record of theirs is given back, commits, and only then lets go. The loop goes on meanwhile. With `lost`
         * nothing is awaited or committed. */
        void (*on_revoke)(void *user, struct source *source, const struct source_partition *partitions, size_t count, bool lost);
        void *user;
};

/* Subscribes; returns at once, the group is joined later. The topics must exist (topics.h). NULL: a faulty option (CODE_SCHEMA), or
 * no memory. settings are needed during the call only. */
struct source *source_new(struct ev_loop *loop, const struct settings *settings, const struct source_config *config,
                          struct error *err);

/* Commits the watermarks, leaves the group and frees the source, within about timeout_ms (blocking). Every record must have been
 * given back before. NULL is fine. A consumer whose broker is silent is left to itself then: for processes that end. */
void source_free(struct source *source, int64_t timeout_ms);

/* The record's end; it is gone after the call. source_done moves the watermark. */
void source_done(struct record *record);
void source_drop(struct record *record);

/* Not yet due: the record comes again through on_record, in its turn, at until_wall_ms by the wall clock as it stands now. Until then
 * its partition rests, and the records behind it with it (a retry topic is in due order). Only from within on_record, for the
 * record it shows; it is the source's again after the call. */
void source_park(struct record *record, int64_t until_wall_ms);

/* False: the record's partition has been revoked since (or assigned anew). Its outcome may still be written; the offset won't
 * move. */
bool source_current(const struct record *record);

/* Held: no further record is handed out until the hold is taken back; nothing else changes. For bounds on what is under way:
 * hold at the high mark, release at a lower one. */
void source_hold(struct source *source, bool hold);
bool source_held(const struct source *source);

/* Hands out nothing more and commits what has ended, for a drain before source_free(). Not to be undone. */
void source_stop(struct source *source);

/* Watchdog: false when this source can't go on in this process (fenced: another process has its worker.instance_id); *err says why. */
bool source_usable(const struct source *source, struct error *err);

/* Commits the watermarks now rather than at the next interval (asynchronously). */
void source_commit(struct source *source);

struct source_status {
        const char *group;       /* lives as long as the source */
        int partitions;          /* assigned to this source */
        bool joined;             /* a member with an assignment (which may be empty) */
        bool rebalancing;        /* partitions are being let go */
        size_t outstanding;      /* records handed out and not given back */
        size_t parked;           /* partitions that rest before a record not yet due */
        size_t resting;          /* partitions that rest because what has ended above their oldest record nearly fills the metadata */
        int64_t skipped;         /* records not shown because an earlier run had ended them, so far */
        int64_t foreign;         /* commits found whose metadata was not ours, so far */
        enum source_verdict verdict; /* of the watchdog: SOURCE_MOVES = well */
        int64_t uncommitted;     /* offsets ended above the last acknowledged commit, all partitions */
        int64_t lag;             /* records in the assigned partitions that have not ended, by what was last heard of their ends */
        int64_t poll_age_ms;     /* since the group queue was last served; grows only when the loop stands still */
        int64_t record_age_ms;   /* since a record was last handed out; -1 = never */
        int64_t assigned_count;  /* assignments so far */
        int64_t commit_failures; /* so far */
        struct error last_error; /* the last fault; code CODE_NONE once records have come or a commit succeeded after it */
};
void source_status(const struct source *source, struct source_status *ret_status);

/* Per partition: what is committed, the watermark, what was last started. False past the last assigned partition. */
struct source_offsets {
        const char *topic;
        int32_t partition;
        int64_t committed; /* acknowledged in this generation or found at its beginning, -1 = none yet */
        int64_t mark;      /* the watermark, -1 = no record has come yet */
        int64_t next;      /* behind the newest record handed out, -1 likewise */
        int64_t end;       /* behind the partition's last record as last heard, -1 unknown */
        size_t outstanding;
};
bool source_offsets_at(const struct source *source, size_t index, struct source_offsets *ret_offsets);

#endif
