/* Paid answers are put here before anything else is done with them, fenced by the claim, so that a worker that lost its claim can't
 * replace what its successor paid for. */
#include "queues/redis/ledger.h"

#include <assert.h>

#include "queues/redis/redis_parts.h"

static enum call_decoded decode_put(struct redisReply *reply, void *out, struct error *err)
{
        struct ledger_answer *answer = out;
        enum claim_status status = CLAIM_NONE;
        int64_t written = -1;

        if (reply_int(reply, -1, &written) && written == 0) {
                *answer = (struct ledger_answer){false, CLAIM_RUNNING};
                return CALL_DECODED;
        }
        if (!reply_status(reply, 1, &status))
                return reply_unexpected(err);
        *answer = (struct ledger_answer){true, status};
        return CALL_UNCHANGED;
}

void ledger_put(struct redis_connection *connection, struct op *op, const struct claim *claim, struct span field, struct span value,
                struct ledger_answer *answer)
{
        struct redis_call *call = redis_call_script(connection, op, SCRIPT_LEDGER_PUT, 2);

        assert(field.len > 0 && field.len <= LEDGER_FIELD_MAX);
        if (!call)
                return;
        redis_call_key(call, claim->tenant, claim->id, "claim");
        redis_call_key(call, claim->tenant, claim->id, "ledger");
        redis_call_span(call, claim->holder);
        redis_call_int(call, claim->fence);
        redis_call_span(call, field);
        redis_call_span(call, value);
        redis_call_int(call, redis_connection_settings(connection)->redis.ledger_ttl_s);
        redis_call_send(call, decode_put, answer, true);
}

static enum call_decoded decode_get(struct redisReply *reply, void *out, struct error *err)
{
        struct ledger_read *read = out;

        return reply_append(reply, read->value, &read->found, err);
}

void ledger_get(struct redis_connection *connection, struct op *op, struct span tenant, struct span id, struct span field,
                struct ledger_read *read)
{
        struct redis_call *call = redis_call_command(connection, op, "HGET");

        if (!call)
                return;
        redis_call_key(call, tenant, id, "ledger");
        redis_call_span(call, field);
        redis_call_send(call, decode_get, read, false);
}
