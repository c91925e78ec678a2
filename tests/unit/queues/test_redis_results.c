#include <criterion/criterion.h>
#include <stdlib.h>

#include "queues/redis/ledger.h"
#include "queues/redis/results.h"
#include "tests/unit/queues/test_redis_server.h"

TestSuite(results, .init = redis_setup, .fini = redis_teardown);
TestSuite(ledger, .init = redis_setup, .fini = redis_teardown);

#define CLAIM "mr:{acme:q1}:claim"
#define RESULT "mr:{acme:q1}:result"
#define WAIT "mr:{acme:q1}:wait"

static struct error last;

static struct result_answer write_result(const struct claim *claim, const struct result_write *write)
{
        struct result_answer answer = {.verdict = (enum result_verdict)99};
        struct op op;

        op_init(&op, NULL);
        result_store(redis.connection, &op, claim, write, &answer);
        run_until_done(&op, 0);
        last = op.err;
        return answer;
}

static struct result_answer store(const struct claim *claim, enum claim_status status, const char *json, int64_t replays)
{
        struct result_write write = {.status = status, .json = span_of(json), .replays = replays, .result_ttl_s = 1000};

        return write_result(claim, &write);
}

static struct result_answer store_unclaimed(const char *id, int64_t replays, bool list)
{
        struct result_write write = {.status = CLAIM_FAILED,
                                     .json = SPAN("{\"v\":1}"),
                                     .replays = replays,
                                     .result_ttl_s = 1000,
                                     .list = list,
                                     .unclaimed = true};
        struct claim claim = {.tenant = SPAN("acme"), .id = span_of(id), .ttl_s = 2000};

        return write_result(&claim, &write);
}

static struct result_answer cancel(const char *id)
{
        struct claim claim = {.tenant = SPAN("acme"), .id = span_of(id), .ttl_s = 2000};
        struct result_answer answer = {.verdict = (enum result_verdict)99};
        struct op op;

        op_init(&op, NULL);
        result_cancel(redis.connection, &op, &claim, SPAN("{\"status\":\"cancelled\"}"), 1000, &answer);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE, "%s", op.err.message);
        return answer;
}

Test(results, one_is_stored_claimed_pushed_and_published_at_once)
{
        struct claim claim = claim_of("q1", "w1");
        struct result_write write = {.status = CLAIM_OK,
                                     .json = SPAN("{\"v\":1}"),
                                     .result_ttl_s = 1000,
                                     .list = true,
                                     .ledger_field = SPAN("0:abc"),
                                     .ledger_value = SPAN("paid\0bytes")};
        redisContext *listener = redisConnect("127.0.0.1", redis.server.port);
        redisReply *reply;

        freeReplyObject(redisCommand(listener, "SUBSCRIBE mr:done:acme"));
        take(&claim, "f", 0);
        cr_assert_eq(write_result(&claim, &write).verdict, RESULT_STORED, "%s", last.message);
        cr_assert_str_eq(ask("GET " RESULT), "{\"v\":1}");
        cr_assert_gt(ask_int("TTL " RESULT), 990);
        cr_assert_str_eq(ask("HGET " CLAIM " status"), "ok");
        cr_assert_str_eq(ask("HGET " CLAIM " lease"), "0");
        cr_assert_gt(ask_int("TTL " CLAIM), 1990);
        cr_assert_str_eq(ask("LINDEX " WAIT " 0"), "q1");
        cr_assert_str_eq(ask("LLEN " WAIT), "1");
        cr_assert_gt(ask_int("TTL " WAIT), 990);
        cr_assert_str_eq(ask("HSTRLEN mr:{acme:q1}:ledger 0:abc"), "10");
        cr_assert_gt(ask_int("TTL mr:{acme:q1}:ledger"), 2990);
        cr_assert_eq(redisGetReply(listener, (void **)&reply), REDIS_OK);
        cr_assert_str_eq(reply->element[2]->str, "q1");
        freeReplyObject(reply);
        redisFree(listener);
}

Test(results, storing_again_after_a_lost_reply_changes_nothing)
{
        struct claim claim = claim_of("q1", "w1");
        struct result_write write = {.status = CLAIM_OK, .json = SPAN("{\"v\":1}"), .result_ttl_s = 1000, .list = true};

        take(&claim, "f", 0);
        write_result(&claim, &write);
        write.json = SPAN("{\"v\":2}");
        cr_assert_eq(write_result(&claim, &write).verdict, RESULT_STORED);
        cr_assert_str_eq(ask("GET " RESULT), "{\"v\":1}");
        cr_assert_str_eq(ask("LLEN " WAIT), "1");
        write.status = CLAIM_FAILED;
        cr_assert_eq(write_result(&claim, &write).verdict, RESULT_FINAL);
}

Test(results, who_lost_the_claim_is_fenced)
{
        struct claim mine = claim_of("q1", "w1"), theirs = claim_of("q1", "w2");
        struct result_answer answer;

        cr_assert_eq(store(&mine, CLAIM_OK, "{}", 0).verdict, RESULT_FENCED, "never had it");
        take(&mine, "f", 0);
        ask("HSET " CLAIM " lease 1");
        take(&theirs, "f", 0);
        answer = store(&mine, CLAIM_OK, "{}", 0);
        cr_assert_eq(answer.verdict, RESULT_FENCED);
        cr_assert_eq(answer.status, CLAIM_RUNNING);
        cr_assert_str_eq(ask("EXISTS " RESULT), "0");
        cr_assert_eq(store(&theirs, CLAIM_OK, "{}", 0).verdict, RESULT_STORED);
        answer = store(&mine, CLAIM_FAILED, "{\"late\":1}", 7);
        cr_assert_eq(answer.verdict, RESULT_FINAL);
        cr_assert_eq(answer.status, CLAIM_OK);
        cr_assert_str_eq(ask("GET " RESULT), "{}");
}

Test(results, a_failure_gives_way_to_a_replay_only)
{
        struct claim claim = claim_of("q1", "w1");

        take(&claim, "f", 0);
        cr_assert_eq(store(&claim, CLAIM_FAILED, "{\"n\":0}", 0).verdict, RESULT_STORED);
        cr_assert_eq(take(&claim, "f", 0).verdict, CLAIM_FINISHED);
        cr_assert_eq(take(&claim, "f", 1).verdict, CLAIM_GRANTED);
        cr_assert_str_eq(ask("GET " RESULT), "{\"n\":0}", "stands until it is bettered");
        cr_assert_eq(store(&claim, CLAIM_OK, "{\"n\":1}", 1).verdict, RESULT_STORED);
        cr_assert_str_eq(ask("GET " RESULT), "{\"n\":1}");
        cr_assert_eq(take(&claim, "f", 2).verdict, CLAIM_FINISHED);
}

Test(results, without_a_claim_only_where_nobody_is_harmed)
{
        struct claim claim = claim_of("q1", "w1");
        struct result_answer answer;

        cr_assert_eq(store_unclaimed("q2", 0, true).verdict, RESULT_STORED);
        cr_assert_str_eq(ask("HGET mr:{acme:q2}:claim status"), "failed");
        answer = store_unclaimed("q2", 0, true);
        cr_assert_eq(answer.verdict, RESULT_FINAL);
        cr_assert_eq(answer.status, CLAIM_FAILED);
        cr_assert_str_eq(ask("LLEN mr:{acme:q2}:wait"), "2");
        cr_assert_eq(store_unclaimed("q2", 1, false).verdict, RESULT_STORED, "a replay");
        take(&claim, "f", 0);
        answer = store_unclaimed("q1", 5, true);
        cr_assert_eq(answer.verdict, RESULT_FENCED);
        cr_assert_eq(answer.status, CLAIM_RUNNING);
        cr_assert_eq(store(&claim, CLAIM_OK, "{}", 0).verdict, RESULT_STORED);
        cr_assert_eq(store_unclaimed("q1", 5, false).verdict, RESULT_FINAL);
        cr_assert_str_eq(ask("GET " RESULT), "{}");
}

Test(results, an_unclaimed_failure_finishes_later_duplicates)
{
        struct claim claim = claim_of("q1", "w1");

        store_unclaimed("q1", 0, false);
        cr_assert_eq(take(&claim, "f", 0).verdict, CLAIM_FINISHED);
        cr_assert_eq(take(&claim, "f", 1).verdict, CLAIM_GRANTED);
        cr_assert_eq(store(&claim, CLAIM_OK, "{}", 1).verdict, RESULT_STORED);
}

Test(results, a_cancel_takes_the_claim_from_the_worker)
{
        struct claim claim = claim_of("q1", "w1");
        const struct claim_request request = {.lease_ms = 60000, .fingerprint = SPAN("f"), .result_ttl_s = 1000, .list = true};
        struct claim_answer granted = {0};
        struct claim_renewal renewal = {0};
        struct result_answer answer;
        struct op op;

        op_init(&op, NULL);
        claim_take(redis.connection, &op, &claim, &request, &granted);
        run_until_done(&op, 0);
        claim.fence = granted.fence;
        cr_assert_eq(cancel("q1").verdict, RESULT_STORED);
        cr_assert_str_eq(ask("GET " RESULT), "{\"status\":\"cancelled\"}");
        cr_assert_str_eq(ask("LLEN " WAIT), "1", "who waits is told");
        op_reset(&op);
        claim_renew(redis.connection, &op, &claim, 1000, &renewal);
        run_until_done(&op, 0);
        cr_assert(renewal.lost);
        cr_assert_eq(renewal.status, CLAIM_CANCELLED);
        answer = store(&claim, CLAIM_OK, "{}", 0);
        cr_assert_eq(answer.verdict, RESULT_FINAL);
        cr_assert_eq(answer.status, CLAIM_CANCELLED);
        answer = cancel("q1");
        cr_assert_eq(answer.verdict, RESULT_FINAL);
        cr_assert_eq(answer.status, CLAIM_CANCELLED);
}

Test(results, a_request_not_yet_read_can_be_cancelled_an_ended_one_not)
{
        struct claim claim = claim_of("q1", "w1"), ended = claim_of("q2", "w1");

        cr_assert_eq(cancel("q1").verdict, RESULT_STORED);
        cr_assert_eq(take(&claim, "f", 0).verdict, CLAIM_FINISHED);
        take(&ended, "f", 0);
        store(&ended, CLAIM_OK, "{}", 0);
        cr_assert_eq(cancel("q2").verdict, RESULT_FINAL);
        cr_assert_str_eq(ask("GET mr:{acme:q2}:result"), "{}");
}

Test(results, are_read_back_within_a_bound)
{
        struct claim claim = claim_of("q1", "w1");
        struct buffer json;
        struct result_read read = {.json = &json};
        struct op op;
        char *big = malloc(300000);

        memset(big, 'x', 299999);
        big[299999] = '\0';
        take(&claim, "f", 0);
        buffer_init(&json, 1000000);
        op_init(&op, NULL);
        result_get(redis.connection, &op, claim.tenant, claim.id, &read);
        run_until_done(&op, 0);
        cr_assert(op.err.code == CODE_NONE && !read.found);
        store(&claim, CLAIM_OK, big, 0);
        op_reset(&op);
        result_get(redis.connection, &op, claim.tenant, claim.id, &read);
        run_until_done(&op, 0);
        cr_assert(op.err.code == CODE_NONE && read.found);
        cr_assert(span_is(buffer_view(&json), big));
        buffer_fini(&json);
        buffer_init(&json, 1000);
        op_reset(&op);
        result_get(redis.connection, &op, claim.tenant, claim.id, &read);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_BAD_RESPONSE);
        buffer_fini(&json);
        free(big);
}

Test(results, past_any_bound_are_refused)
{
        struct claim claim = claim_of("q1", "w1");
        struct result_write write = {.status = CLAIM_OK, .result_ttl_s = 1000};
        char *huge = calloc(1, 65 << 20);

        take(&claim, "f", 0);
        write.json = (struct span){huge, 65 << 20};
        write_result(&claim, &write);
        cr_assert_eq(last.code, CODE_TOO_LARGE);
        write.json = SPAN("{}");
        cr_assert_eq(write_result(&claim, &write).verdict, RESULT_STORED, "the connection lives");
        free(huge);
}

/* ---- replicas ---- */

Test(results, too_few_replicas_are_an_error_and_storing_again_is_safe)
{
        struct claim claim = claim_of("q1", "w1");

        redis.settings.redis.timeout_ms = 300;
        redis.settings.redis.wait_replicas = 1;
        take(&claim, "f", 0);
        store(&claim, CLAIM_OK, "{}", 0);
        cr_assert_eq(last.code, CODE_UNAVAILABLE, "%s", last.message);
        redis.settings.redis.wait_replicas = 0;
        cr_assert_eq(store(&claim, CLAIM_OK, "{}", 0).verdict, RESULT_STORED);
}

Test(results, wait_for_their_replicas_with_one_wait_a_turn)
{
        static struct test_server replica;
        struct claim claims[50];
        char ids[50][16], port[16];
        struct op ops[50];
        struct result_answer answers[50];
        struct result_write write = {.status = CLAIM_OK, .json = SPAN("{}"), .result_ttl_s = 1000};
        const char *calls;

        snprintf(port, sizeof port, "%u", (unsigned)redis.server.port);
        replica.options[0] = "--replicaof";
        replica.options[1] = "127.0.0.1";
        replica.options[2] = port;
        server_start(&replica);
        while (strcmp(ask("WAIT 1 1000"), "1") != 0)
                ask("SET x y");
        for (int i = 0; i < 50; i++) {
                snprintf(ids[i], sizeof ids[i], "r%d", i);
                claims[i] = claim_of(ids[i], "w1");
                take(&claims[i], "f", 0);
        }
        ask("CONFIG RESETSTAT");
        redis.settings.redis.wait_replicas = 1;
        for (int i = 0; i < 50; i++) {
                op_init(&ops[i], NULL);
                result_store(redis.connection, &ops[i], &claims[i], &write, &answers[i]);
        }
        for (int i = 0; i < 50; i++) {
                run_until_done(&ops[i], 0);
                cr_assert_eq(ops[i].err.code, CODE_NONE, "%s", ops[i].err.message);
                cr_assert_eq(answers[i].verdict, RESULT_STORED);
        }
        calls = strstr(ask("INFO commandstats"), "cmdstat_wait:");
        cr_assert(calls && strncmp(calls, "cmdstat_wait:calls=1,", 21) == 0);
        server_remove(&replica);
}

/* ---- ledger ---- */

static struct ledger_answer put(const struct claim *claim, const char *field, struct span value)
{
        struct ledger_answer answer = {0};
        struct op op;

        op_init(&op, NULL);
        ledger_put(redis.connection, &op, claim, span_of(field), value, &answer);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE, "%s", op.err.message);
        return answer;
}

Test(ledger, gives_back_the_bytes_it_was_given)
{
        struct claim claim = claim_of("q1", "w1");
        struct buffer value;
        struct ledger_read read = {.value = &value};
        struct op op;

        buffer_init(&value, 100);
        take(&claim, "f", 0);
        cr_assert_not(put(&claim, "1:abc", SPAN("a\0b\r\n")).fenced);
        cr_assert_gt(ask_int("TTL mr:{acme:q1}:ledger"), 2990);
        op_init(&op, NULL);
        ledger_get(redis.connection, &op, claim.tenant, claim.id, SPAN("1:abc"), &read);
        run_until_done(&op, 0);
        cr_assert(read.found);
        cr_assert(span_equal(buffer_view(&value), SPAN("a\0b\r\n")));
        op_reset(&op);
        ledger_get(redis.connection, &op, claim.tenant, claim.id, SPAN("2:abc"), &read);
        run_until_done(&op, 0);
        cr_assert(op.err.code == CODE_NONE && !read.found);
        buffer_fini(&value);
}

Test(ledger, refuses_who_lost_the_claim)
{
        struct claim mine = claim_of("q1", "w1"), theirs = claim_of("q1", "w2");
        struct ledger_answer answer;

        cr_assert(put(&mine, "f", SPAN("x")).fenced);
        take(&mine, "f", 0);
        ask("HSET " CLAIM " lease 1");
        take(&theirs, "f", 0);
        answer = put(&mine, "f", SPAN("x"));
        cr_assert(answer.fenced);
        cr_assert_eq(answer.status, CLAIM_RUNNING);
        cr_assert_str_eq(ask("EXISTS mr:{acme:q1}:ledger"), "0");
}
