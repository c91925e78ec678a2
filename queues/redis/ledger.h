/* The ledger of a request: paid provider answers and the intermediates of a chain, so that finished steps are never done or paid
 * twice.
 *
 *      <prefix>:{<tenant>:<id>}:ledger   hash   field → bytes; TTL redis.ledger_ttl_s from the last write
 *
 * All functions keep the rules of redis_connection.h; writes wait for replicas as results do. */
#ifndef QUEUES_REDIS_LEDGER_H
#define QUEUES_REDIS_LEDGER_H

#include "config/base/buffer.h"
#include "queues/redis/claims.h"

enum { LEDGER_FIELD_MAX = 128 };

struct ledger_answer {
        bool fenced;              /* the claim is another's by now, or has ended; nothing was written */
        enum claim_status status; /* fenced: the claim's; CANCELLED, say; NONE: there is none */
};
/* field: 1…LEDGER_FIELD_MAX bytes, by step and content hash; it replaces what was there. */
void ledger_put(struct redis_connection *connection, struct op *op, const struct claim *claim, struct span field, struct span value,
                struct ledger_answer *answer);

struct ledger_read {
        bool found;
        struct buffer *value; /* set by the caller; appended to. A value past its bytes_max: dependency.bad_response */
};
/* Needs no claim. */
void ledger_get(struct redis_connection *connection, struct op *op, struct span tenant, struct span id, struct span field,
                struct ledger_read *read);

#endif
