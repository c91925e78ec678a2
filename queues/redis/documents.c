/* The order of two versions is compared by Redis as text: version (shifted to be unsigned), partition and offset in fixed-width
 * digits. */
#include "queues/redis/documents.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "queues/redis/redis_call.h"

enum { ORDER_DIGITS = 20 + 10 + 19 };

static void add_order(struct redis_call *call, const struct document_claim *claim)
{
        char order[ORDER_DIGITS + 1];
        int len = snprintf(order, sizeof order, "%020" PRIu64 "%010" PRId32 "%019" PRId64,
                           (uint64_t)claim->version ^ (uint64_t)1 << 63, claim->tie_partition, claim->tie_offset);

        assert(len == ORDER_DIGITS);
        redis_call_text(call, &(struct span){order, (size_t)len}, 1);
}

static struct redis_call *begin(struct redis_connection *connection, struct op *op, enum redis_script script,
                                const struct document_claim *claim)
{
        struct redis_call *call = redis_call_script(connection, op, script, 1);

        assert(claim->holder.len > 0 && claim->tie_partition >= 0 && claim->tie_offset >= 0);
        if (!call)
                return NULL;
        redis_call_document(call, claim->tenant, claim->collection, claim->document);
        redis_call_span(call, claim->holder);
        return call;
}

static int64_t ttl_s_of(const struct redis_connection *connection, int64_t lease_ms)
{
        int64_t ttl_s = redis_connection_settings(connection)->redis.dedupe_ttl_s, lease_s = lease_ms / 1000 + 1;

        return ttl_s > lease_s ? ttl_s : lease_s;
}

static enum call_decoded decode_lock(struct redisReply *reply, void *out, struct error *err)
{
        struct document_answer *ret_answer = out, answer = {0};
        int64_t verdict = -1, value = 0;

        if (!reply_int(reply, 0, &verdict) || verdict < DOCUMENT_LOCKED || verdict > DOCUMENT_SUPERSEDED ||
            !reply_int(reply, 1, &value))
                return reply_unexpected(err);
        answer.verdict = (enum document_verdict)verdict;
        if (verdict == DOCUMENT_LOCKED)
                answer.chunks = value;
        else if (verdict == DOCUMENT_BUSY)
                answer.remaining_ms = value;
        else
                answer.version = value;
        *ret_answer = answer;
        return CALL_DECODED;
}

void document_lock(struct redis_connection *connection, struct op *op, const struct document_claim *claim, int64_t lease_ms,
                   int64_t chunks, struct document_answer *answer)
{
        struct redis_call *call = begin(connection, op, SCRIPT_DOCUMENT_LOCK, claim);

        if (!call)
                return;
        redis_call_int(call, lease_ms);
        add_order(call, claim);
        redis_call_int(call, ttl_s_of(connection, lease_ms));
        redis_call_int(call, chunks);
        redis_call_send(call, decode_lock, answer, false);
}

static enum call_decoded decode_change(struct redisReply *reply, void *out, struct error *err)
{
        struct document_change *change = out;
        int64_t lost;

        if (!reply_int(reply, -1, &lost))
                return reply_unexpected(err);
        change->lost = lost != 0;
        return lost ? CALL_UNCHANGED : CALL_DECODED;
}

void document_renew(struct redis_connection *connection, struct op *op, const struct document_claim *claim, int64_t lease_ms,
                    struct document_change *change)
{
        struct redis_call *call = begin(connection, op, SCRIPT_DOCUMENT_RENEW, claim);

        if (!call)
                return;
        redis_call_int(call, lease_ms);
        redis_call_int(call, ttl_s_of(connection, lease_ms));
        redis_call_send(call, decode_change, change, false);
}

void document_applied(struct redis_connection *connection, struct op *op, const struct document_claim *claim, int64_t chunks,
                      struct document_change *change)
{
        struct redis_call *call = begin(connection, op, SCRIPT_DOCUMENT_APPLIED, claim);

        if (!call)
                return;
        add_order(call, claim);
        redis_call_int(call, claim->version);
        redis_call_int(call, chunks);
        redis_call_int(call, ttl_s_of(connection, 0));
        redis_call_send(call, decode_change, change, true);
}

void document_unlock(struct redis_connection *connection, struct op *op, const struct document_claim *claim,
                     struct document_change *change)
{
        struct redis_call *call = begin(connection, op, SCRIPT_DOCUMENT_UNLOCK, claim);

        if (call)
                redis_call_send(call, decode_change, change, false);
}
