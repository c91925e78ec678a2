/* Tells polling from progress: a consumer can serve its group, answer every heartbeat, and yet never hand out another record. Pure.
 *
 * Nobody is judged by what a broker that does not answer leaves undone: each verdict wants a question of ours answered lately. */
#ifndef QUEUES_KAFKA_SOURCE_WATCH_H
#define QUEUES_KAFKA_SOURCE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

enum {
        WATCH_ASK_MS = 20000,     /* how often a source that looks still asks for the ends of its partitions */
        WATCH_STALL_MS = 60000,   /* nothing handed out and nothing ended while records wait for nothing */
        WATCH_COMMIT_MS = 180000, /* records have ended and no commit is acknowledged */
        WATCH_JOIN_MS = 600000,   /* no assignment; another member's slow rebalance takes max.poll.interval.ms (5 min) at most */
        WATCH_FRESH_MS = 45000,   /* an answer of the broker counts that long */
};

enum source_verdict {
        SOURCE_MOVES,
        SOURCE_STALLED,       /* records wait, none is handed out */
        SOURCE_COMMITS_STUCK, /* what has ended is not committed */
        SOURCE_NOT_JOINED,    /* the group gives no assignment */
        SOURCE_BROKEN,        /* a record was lost to lack of memory: its partition stands still until it is assigned anew */
        SOURCE_FENCED,        /* another process has our worker.instance_id, or librdkafka has given up for good */
};

/* Monotonic ms throughout; -1 = never, or not so now. */
struct source_sight {
        int64_t now;
        int64_t moved;          /* a record was handed out or ended, partitions came, a hold was taken back */
        int64_t behind_since;   /* records have ended above the last acknowledged commit */
        int64_t away_since;     /* there is no assignment, or a JoinGroup is under way */
        int64_t leaders_at;     /* the partitions' leaders answered */
        int64_t coordinator_at; /* the group's coordinator answered */
        int64_t waiting;        /* records that wait for nothing that we know of, by the leaders' answer */
        bool excused;           /* held, stopped or letting go: nothing is to be handed out */
        bool broken, fenced;
};

enum source_verdict source_judge(const struct source_sight *sight);
/* "records wait and none is handed out" …; "" for SOURCE_MOVES. */
const char *source_verdict_text(enum source_verdict verdict);

#endif
