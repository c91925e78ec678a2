/* One writer a document: ingest of a document is serialised over the fleet, and an older version never follows a newer one
 * (contract §3).
 *
 *      <prefix>:{<tenant>:doc:<collection>:<document>}:document   hash   version  the last applied
 *                                                                        order    version and tie in sortable digits
 *                                                                        chunks   numbers that may exist: 0…chunks − 1
 *                                                                        holder   who has it; "" when free
 *                                                                        lease    Unix ms by the server's clock
 *      TTL redis.dedupe_ttl_s from the last change: past it neither version nor chunks are known here.
 *
 * All functions keep the rules of redis_connection.h. */
#ifndef QUEUES_REDIS_DOCUMENTS_H
#define QUEUES_REDIS_DOCUMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/base/completion.h"
#include "config/base/span.h"
#include "queues/redis/redis_connection.h"

enum { DOCUMENT_COLLECTION_MAX = 128, DOCUMENT_ID_MAX = 256 };

struct document_claim {
        struct span tenant, collection, document;
        struct span holder;    /* as a claim's: one a record; ≤ CLAIM_HOLDER_MAX */
        int64_t version;       /* any int64_t */
        int32_t tie_partition; /* of the origin; ≥ 0; decide between equal versions */
        int64_t tie_offset;    /* ≥ 0 */
};

enum document_verdict { DOCUMENT_LOCKED, DOCUMENT_BUSY, DOCUMENT_SUPERSEDED };
struct document_answer {
        enum document_verdict verdict;
        int64_t chunks;       /* LOCKED: chunk numbers below this may exist; −1: not known here */
        int64_t remaining_ms; /* BUSY; > 0 */
        int64_t version;      /* SUPERSEDED: the last applied */
};
/* chunks: how many this version will have (0 = not known yet): remembered in case its writer dies half-way. The same version and
 * tie once more (a redelivery) is LOCKED. */
void document_lock(struct redis_connection *connection, struct op *op, const struct document_claim *claim, int64_t lease_ms,
                   int64_t chunks, struct document_answer *answer);

struct document_change {
        bool lost; /* another holds it by now; nothing was changed */
};
void document_renew(struct redis_connection *connection, struct op *op, const struct document_claim *claim, int64_t lease_ms,
                    struct document_change *change);
/* The version is applied, with so many chunks (0: deleted); frees the document. */
void document_applied(struct redis_connection *connection, struct op *op, const struct document_claim *claim, int64_t chunks,
                      struct document_change *change);
void document_unlock(struct redis_connection *connection, struct op *op, const struct document_claim *claim,
                     struct document_change *change);

#endif
