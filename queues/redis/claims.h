/* The claim of a request: who works at it, until when, how often it was tried and how it ended (contract §4).
 *
 *      <prefix>:{<tenant>:<id>}:claim   hash   holder       who has it; "" when released
 *                                              lease        Unix ms by the server's clock; 0 when released or ended
 *                                              fence        +1 with each grant: writes of an earlier holder are refused
 *                                              attempts     provider calls begun, over all deliveries of these replays
 *                                              status       running | waiting | ok | failed | expired | cancelled
 *                                              fingerprint  64 hex; "" where it was never known
 *                                              replays      of the newest record that was granted or ended
 *                                              list         1: the request wants its id pushed
 *                                              take         of the grant, where that was fresh
 *
 * All functions keep the rules of redis_connection.h. Scripts are atomic; the lease is measured by Redis's clock alone. */
#ifndef QUEUES_REDIS_CLAIMS_H
#define QUEUES_REDIS_CLAIMS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/base/completion.h"
#include "config/base/span.h"
#include "queues/redis/redis_connection.h"

enum { CLAIM_HOLDER_MAX = 128, CLAIM_TENANT_MAX = 64, CLAIM_ID_MAX = 128 };

enum claim_status {
        CLAIM_NONE,
        CLAIM_RUNNING,
        CLAIM_WAITING,
        CLAIM_OK,
        CLAIM_FAILED,
        CLAIM_EXPIRED,
        CLAIM_CANCELLED,
        CLAIM_STATUS_COUNT
};
extern const char *const claim_status_names[CLAIM_STATUS_COUNT]; /* "none" "running" … as stored and as in a result */

/* Names one claim; borrowed by every call until its op is done. */
struct claim {
        struct span tenant, id;
        /* Worker, pid and start, and the record's topic, partition and offset: the same holder is granted its claim again at once
         * (a record redelivered after a rebalance), another record under the same id in the same process is HELD. ≤ 64 bytes keep
         * the hash small; CLAIM_HOLDER_MAX at most. */
        struct span holder;
        int64_t fence; /* from the GRANTED answer; claim_take does not read it */
        int64_t ttl_s; /* max(result_ttl_s, redis.dedupe_ttl_s) */
};

struct claim_request {
        int64_t lease_ms;
        struct span fingerprint; /* 64 hex, "" = unknown */
        int64_t replays;         /* of the record */
        int64_t attempts_floor;  /* of the record: attempts are at least that many */
        int64_t result_ttl_s;    /* of the wait list when a finished request pushes again */
        bool list;               /* reply: "list" */
        /* The holder's own number for this claiming, another one after each answer GRANTED: when the answer to a fresh claim was lost,
         * asking again under the same number is granted as fresh. 0: none. */
        int64_t take;
};

enum claim_verdict {
        CLAIM_GRANTED,  /* new, released, lapsed, the holder's own, or a replay of a failed or expired one */
        CLAIM_HELD,     /* another's, for lease_remaining_ms more */
        CLAIM_CONFLICT, /* another payload under this id; nothing was changed */
        CLAIM_FINISHED, /* status says how; the record may be acknowledged. With list the id was pushed again */
};

struct claim_answer {
        enum claim_verdict verdict;
        int64_t fence;              /* GRANTED: for struct claim */
        int64_t attempts;           /* GRANTED: so far */
        bool fresh;                 /* GRANTED: there was no claim before, so nothing can lie in the ledger */
        int64_t lease_remaining_ms; /* HELD; > 0 */
        enum claim_status status;   /* FINISHED: OK, FAILED, EXPIRED or CANCELLED; FAILED too when a newer replay is under way */
};
void claim_take(struct redis_connection *connection, struct op *op, const struct claim *claim, const struct claim_request *request,
                struct claim_answer *answer);

struct claim_renewal {
        bool lost;                /* another has it or it has ended: stop, write nothing */
        enum claim_status status; /* lost: the claim's now; CANCELLED: the request was cancelled; NONE: it is gone */
        int64_t attempts;         /* not lost: so far, the one just counted included */
};
/* Extends the lease to lease_ms from now. */
void claim_renew(struct redis_connection *connection, struct op *op, const struct claim *claim, int64_t lease_ms,
                 struct claim_renewal *renewal);
/* The same, and counts the attempt of that number (one more than were known): before a provider call. May be asked again. */
void claim_attempt(struct redis_connection *connection, struct op *op, const struct claim *claim, int64_t lease_ms,
                   int64_t attempt, struct claim_renewal *renewal);
/* Status waiting, no lease, attempts kept: before the retry record or the hand-over is published. uncount: that many attempts
 * less (a rate-limited call burns none), not below 0. lost as above. */
void claim_release(struct redis_connection *connection, struct op *op, const struct claim *claim, int64_t uncount,
                   struct claim_renewal *renewal);

#endif
