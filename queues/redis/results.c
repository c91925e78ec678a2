/* The decisions are in the scripts (redis_scripts.c), where they are atomic; here arguments go in and answers come out. */
#include "queues/redis/results.h"

#include <assert.h>
#include <hiredis/hiredis.h>

#include "queues/redis/redis_parts.h"

enum call_decoded reply_append(const struct redisReply *reply, struct buffer *into, bool *found, struct error *err)
{
        struct span text;

        if (reply->type == REDIS_REPLY_NIL) {
                *found = false;
                return CALL_DECODED;
        }
        if (!reply_span(reply, -1, &text))
                return reply_unexpected(err);
        buffer_span(into, text);
        if (!buffer_ok(into)) {
                bool starved = buffer_fault(into) == CODE_INTERNAL; /* which passes; its size does not */

                error_set(err, starved ? CODE_UNAVAILABLE : CODE_BAD_RESPONSE, "no room for a value in redis of %zu bytes", text.len);
                return CALL_FAILED;
        }
        *found = true;
        return CALL_DECODED;
}

/* 0, or {verdict, status}. */
static enum call_decoded decode_verdict(struct redisReply *reply, void *out, struct error *err)
{
        struct result_answer *answer = out;
        enum claim_status status = CLAIM_NONE;
        int64_t verdict = -1;

        if (reply_int(reply, -1, &verdict) && verdict == RESULT_STORED) {
                *answer = (struct result_answer){RESULT_STORED, CLAIM_NONE};
                return CALL_DECODED;
        }
        if (!reply_int(reply, 0, &verdict) || (verdict != RESULT_FINAL && verdict != RESULT_FENCED) ||
            !reply_status(reply, 1, &status))
                return reply_unexpected(err);
        *answer = (struct result_answer){(enum result_verdict)verdict, status};
        return CALL_UNCHANGED;
}

void result_store(struct redis_connection *connection, struct op *op, const struct claim *claim, const struct result_write *write,
                  struct result_answer *answer)
{
        struct redis_call *call = redis_call_script(connection, op, SCRIPT_RESULT_STORE, 4);
        int64_t ledger_ttl_s = 0;

        assert(write->status == CLAIM_OK || write->status == CLAIM_FAILED || write->status == CLAIM_EXPIRED);
        assert(write->unclaimed || claim->holder.len > 0);
        if (!call)
                return;
        redis_call_key(call, claim->tenant, claim->id, "claim");
        redis_call_key(call, claim->tenant, claim->id, "result");
        redis_call_key(call, claim->tenant, claim->id, "wait");
        redis_call_key(call, claim->tenant, claim->id, "ledger");
        redis_call_span(call, write->unclaimed ? SPAN("") : claim->holder);
        redis_call_int(call, write->unclaimed ? 0 : claim->fence);
        redis_call_span(call, span_of(claim_status_names[write->status]));
        redis_call_int(call, write->replays);
        redis_call_int(call, write->result_ttl_s);
        redis_call_int(call, claim->ttl_s);
        redis_call_channel(call, claim->tenant);
        redis_call_span(call, claim->id);
        redis_call_int(call, write->list);
        redis_call_span(call, write->json);
        redis_call_int(call, write->unclaimed);
        if (write->ledger_field.len > 0)
                ledger_ttl_s = write->ledger_ttl_s ? write->ledger_ttl_s
                                                   : redis_connection_settings(connection)->redis.ledger_ttl_s;
        redis_call_int(call, write->drop_ledger && !ledger_ttl_s ? -1 : ledger_ttl_s);
        if (ledger_ttl_s) {
                redis_call_span(call, write->ledger_field);
                redis_call_span(call, write->ledger_value);
        }
        redis_call_send(call, decode_verdict, answer, true);
}

void result_cancel(struct redis_connection *connection, struct op *op, const struct claim *claim, struct span json,
                   int64_t result_ttl_s, struct result_answer *answer)
{
        struct redis_call *call = redis_call_script(connection, op, SCRIPT_RESULT_CANCEL, 3);

        if (!call)
                return;
        redis_call_key(call, claim->tenant, claim->id, "claim");
        redis_call_key(call, claim->tenant, claim->id, "result");
        redis_call_key(call, claim->tenant, claim->id, "wait");
        redis_call_span(call, json);
        redis_call_int(call, result_ttl_s);
        redis_call_int(call, claim->ttl_s);
        redis_call_channel(call, claim->tenant);
        redis_call_span(call, claim->id);
        redis_call_send(call, decode_verdict, answer, true);
}

static enum call_decoded decode_result(struct redisReply *reply, void *out, struct error *err)
{
        struct result_read *read = out;

        return reply_append(reply, read->json, &read->found, err);
}

void result_get(struct redis_connection *connection, struct op *op, struct span tenant, struct span id, struct result_read *read)
{
        struct redis_call *call = redis_call_command(connection, op, "GET");

        if (!call)
                return;
        redis_call_key(call, tenant, id, "result");
        redis_call_send(call, decode_result, read, false);
}
