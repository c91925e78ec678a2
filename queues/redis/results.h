/* Results: the one visible outcome of a request (contract §4), written by one atomic script that the claim fences.
 *
 *      <prefix>:{<tenant>:<id>}:result   string   the result's JSON, TTL result_ttl_s
 *      <prefix>:{<tenant>:<id>}:wait     list     the id, for reply: "list"; at most 1,024 elements
 *      <prefix>:done:<tenant>            channel  the id, best effort
 *
 * ok and cancelled are final; failed and expired give way to higher replays only. All functions keep the rules of
 * redis_connection.h. With redis.wait_replicas > 0 an op is done only when that many replicas have the write, else it ends with
 * dependency.unavailable; storing again is safe then, as after a lost connection: the writer's own result counts as stored, and
 * nothing is pushed twice. */
#ifndef QUEUES_REDIS_RESULTS_H
#define QUEUES_REDIS_RESULTS_H

#include "config/base/buffer.h"
#include "queues/redis/claims.h"

struct result_write {
        enum claim_status status; /* OK, FAILED, EXPIRED */
        struct span json;
        int64_t replays;
        int64_t result_ttl_s;
        bool list; /* reply: "list": push the id */
        /* Without a claim (claim.holder and fence are not read): for a record that could not be claimed because only its id and
         * tenant are readable. Written where there is no claim at all, or a failed or expired one of lower replays; never over a
         * request under way. */
        bool unclaimed;
        /* Goes into the request's ledger in the same script; no field: nothing. */
        struct span ledger_field, ledger_value;
        int64_t ledger_ttl_s; /* 0: redis.ledger_ttl_s */
        bool drop_ledger;     /* the request will never need its ledger again: it is deleted in the same script */
};

enum result_verdict {
        RESULT_STORED,
        RESULT_FINAL, /* an outcome that stands is there already; nothing was written (unclaimed with list: the id is pushed again) */
        RESULT_FENCED, /* the claim is another's by now, or gone; nothing was written */
};

struct result_answer {
        enum result_verdict verdict;
        enum claim_status status; /* FINAL, FENCED: the claim's; NONE: there is none */
};
void result_store(struct redis_connection *connection, struct op *op, const struct claim *claim, const struct result_write *write,
                  struct result_answer *answer);

/* Stores a cancelled result (claim: tenant, id, ttl_s) unless the request has ended: RESULT_STORED, or RESULT_FINAL with its
 * status. The running worker loses its claim: renewals say CANCELLED, its result is FENCED or FINAL. A request not yet read is
 * cancelled too. */
void result_cancel(struct redis_connection *connection, struct op *op, const struct claim *claim, struct span json,
                   int64_t result_ttl_s, struct result_answer *answer);

struct result_read {
        bool found;
        struct buffer *json; /* set by the caller; appended to. A result past its bytes_max: dependency.bad_response */
};
void result_get(struct redis_connection *connection, struct op *op, struct span tenant, struct span id, struct result_read *read);

#endif
