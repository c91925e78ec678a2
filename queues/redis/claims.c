/* The decisions are in the scripts (redis_scripts.c), where they are atomic; here arguments go in and answers come out. */
#include "queues/redis/claims.h"

#include <assert.h>

#include "config/base/own.h"
#include "queues/redis/redis_call.h"
#include "queues/redis/redis_parts.h"

const char *const claim_status_names[CLAIM_STATUS_COUNT] = {
        [CLAIM_NONE] = "none",     [CLAIM_RUNNING] = "running", [CLAIM_WAITING] = "waiting",     [CLAIM_OK] = "ok",
        [CLAIM_FAILED] = "failed", [CLAIM_EXPIRED] = "expired", [CLAIM_CANCELLED] = "cancelled",
};

bool reply_status(const struct redisReply *reply, int index, enum claim_status *ret_status)
{
        struct span text;

        if (!reply_span(reply, index, &text))
                return false;
        for (int status = 0; status < CLAIM_STATUS_COUNT; status++) {
                if (span_is(text, claim_status_names[status])) {
                        *ret_status = (enum claim_status)status;
                        return true;
                }
        }
        return false;
}

/* A claim must outlive its own lease, or its result would be refused. */
static int64_t ttl_s_of(const struct claim *claim, int64_t lease_ms)
{
        int64_t lease_s = lease_ms / 1000 + 1;

        return claim->ttl_s > lease_s ? claim->ttl_s : lease_s;
}

static enum call_decoded decode_take(struct redisReply *reply, void *out, struct error *err)
{
        struct claim_answer *ret_answer = out, answer = {0};
        int64_t verdict = -1, fresh = 0;
        bool good = reply_int(reply, 0, &verdict);

        switch (verdict) {
        case CLAIM_GRANTED:
                good = good && reply_int(reply, 1, &answer.fence) && reply_int(reply, 2, &answer.attempts) &&
                       reply_int(reply, 3, &fresh);
                answer.fresh = fresh != 0;
                break;
        case CLAIM_HELD:
                good = good && reply_int(reply, 1, &answer.lease_remaining_ms);
                break;
        case CLAIM_CONFLICT:
                break;
        case CLAIM_FINISHED:
                good = good && reply_status(reply, 1, &answer.status);
                break;
        default:
                good = false;
        }
        if (!good)
                return reply_unexpected(err);
        answer.verdict = (enum claim_verdict)verdict;
        *ret_answer = answer;
        return CALL_DECODED;
}

void claim_take(struct redis_connection *connection, struct op *op, const struct claim *claim, const struct claim_request *request,
                struct claim_answer *answer)
{
        struct redis_call *call = redis_call_script(connection, op, SCRIPT_CLAIM_TAKE, 2);

        assert(claim->holder.len > 0 && claim->holder.len <= CLAIM_HOLDER_MAX);
        if (!call)
                return;
        redis_call_key(call, claim->tenant, claim->id, "claim");
        redis_call_key(call, claim->tenant, claim->id, "wait");
        redis_call_span(call, claim->holder);
        redis_call_int(call, request->lease_ms);
        redis_call_span(call, request->fingerprint);
        redis_call_int(call, request->replays);
        redis_call_int(call, request->attempts_floor);
        redis_call_int(call, ttl_s_of(claim, request->lease_ms));
        redis_call_int(call, request->list);
        redis_call_span(call, claim->id);
        redis_call_int(call, request->result_ttl_s);
        redis_call_int(call, request->take);
        redis_call_send(call, decode_take, answer, false);
}

static enum call_decoded decode_renewal(struct redisReply *reply, void *out, struct error *err)
{
        struct claim_renewal *renewal = out;
        enum claim_status status = CLAIM_RUNNING;
        int64_t lost = 0, attempts = 0;

        if (!reply_int(reply, 0, &lost) || !(lost ? reply_status(reply, 1, &status) : reply_int(reply, 1, &attempts)))
                return reply_unexpected(err);
        *renewal = (struct claim_renewal){lost != 0, status, attempts};
        return CALL_DECODED;
}

static void renew(struct redis_connection *connection, struct op *op, const struct claim *claim, int64_t lease_ms, int64_t attempts,
                  struct claim_renewal *renewal)
{
        struct redis_call *call = redis_call_script(connection, op, SCRIPT_CLAIM_RENEW, 1);

        if (!call)
                return;
        redis_call_key(call, claim->tenant, claim->id, "claim");
        redis_call_span(call, claim->holder);
        redis_call_int(call, claim->fence);
        redis_call_int(call, lease_ms);
        redis_call_int(call, ttl_s_of(claim, lease_ms));
        redis_call_int(call, attempts);
        redis_call_send(call, decode_renewal, renewal, false);
}

void claim_renew(struct redis_connection *connection, struct op *op, const struct claim *claim, int64_t lease_ms,
                 struct claim_renewal *renewal)
{
        renew(connection, op, claim, lease_ms, 0, renewal);
}

void claim_attempt(struct redis_connection *connection, struct op *op, const struct claim *claim, int64_t lease_ms, int64_t attempt,
                   struct claim_renewal *renewal)
{
        renew(connection, op, claim, lease_ms, attempt, renewal);
}

void claim_release(struct redis_connection *connection, struct op *op, const struct claim *claim, int64_t uncount,
                   struct claim_renewal *renewal)
{
        struct redis_call *call = redis_call_script(connection, op, SCRIPT_CLAIM_RELEASE, 1);

        if (!call)
                return;
        redis_call_key(call, claim->tenant, claim->id, "claim");
        redis_call_span(call, claim->holder);
        redis_call_int(call, claim->fence);
        redis_call_int(call, ttl_s_of(claim, 0));
        redis_call_int(call, uncount);
        redis_call_send(call, decode_renewal, renewal, false);
}
