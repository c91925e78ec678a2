#include <criterion/criterion.h>
#include <stdlib.h>

#include "queues/redis/claims.h"
#include "queues/redis/results.h"
#include "tests/unit/queues/test_redis_server.h"

TestSuite(claims, .init = redis_setup, .fini = redis_teardown);

#define KEY "mr:{acme:q1}:claim"
#define FINGERPRINT "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define OTHER "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static struct claim_answer take_listed(struct claim *claim, int64_t floor)
{
        const struct claim_request request = {
                .lease_ms = 60000, .fingerprint = SPAN(FINGERPRINT), .attempts_floor = floor, .result_ttl_s = 1000, .list = true};
        struct claim_answer answer = {0};
        struct op op;

        op_init(&op, NULL);
        claim_take(redis.connection, &op, claim, &request, &answer);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE);
        return answer;
}

static struct claim_renewal attempt_number(const struct claim *claim, int64_t number)
{
        struct claim_renewal renewal = {0};
        struct op op;

        op_init(&op, NULL);
        claim_attempt(redis.connection, &op, claim, 30000, number, &renewal);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE);
        return renewal;
}

static struct claim_renewal attempt(const struct claim *claim)
{
        return attempt_number(claim, 1);
}

static struct claim_renewal release(const struct claim *claim, int64_t uncount)
{
        struct claim_renewal renewal = {0};
        struct op op;

        op_init(&op, NULL);
        claim_release(redis.connection, &op, claim, uncount, &renewal);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE);
        return renewal;
}

Test(claims, a_new_one_is_granted_fresh)
{
        struct claim claim = claim_of("q1", "w1");
        struct claim_answer answer = take(&claim, FINGERPRINT, 0);

        cr_assert_eq(answer.verdict, CLAIM_GRANTED);
        cr_assert(answer.fresh);
        cr_assert_eq(answer.fence, 1);
        cr_assert_eq(answer.attempts, 0);
        cr_assert_str_eq(ask("HGET " KEY " holder"), "w1");
        cr_assert_str_eq(ask("HGET " KEY " status"), "running");
        cr_assert_str_eq(ask("HGET " KEY " fingerprint"), FINGERPRINT);
        cr_assert_str_eq(ask("HGET " KEY " replays"), "0");
        cr_assert_gt(ask_int("TTL " KEY), 1990);
        cr_assert_gt(ask_int("HGET " KEY " lease"), 1700000000000, "Unix milliseconds");
        cr_assert_str_eq(ask("OBJECT ENCODING " KEY), "listpack", "small in memory");
}

Test(claims, outlive_their_own_lease)
{
        struct claim claim = claim_of("q1", "w1");

        claim.ttl_s = 1;
        take(&claim, FINGERPRINT, 0);
        cr_assert_gt(ask_int("TTL " KEY), 55);
}

Test(claims, anothers_is_held_until_its_lease_lapses)
{
        struct claim mine = claim_of("q1", "w1"), theirs = claim_of("q1", "w2");
        struct claim_answer answer;

        take(&mine, FINGERPRINT, 0);
        attempt(&mine);
        answer = take(&theirs, FINGERPRINT, 0);
        cr_assert_eq(answer.verdict, CLAIM_HELD);
        cr_assert(answer.lease_remaining_ms > 0 && answer.lease_remaining_ms <= 30000);
        ask("HSET " KEY " lease 1");
        answer = take(&theirs, FINGERPRINT, 0);
        cr_assert_eq(answer.verdict, CLAIM_GRANTED);
        cr_assert_not(answer.fresh);
        cr_assert_eq(answer.fence, 2);
        cr_assert_eq(answer.attempts, 1, "the dead holder's attempt counts");
        cr_assert(attempt(&mine).lost);
        cr_assert_eq(attempt(&mine).status, CLAIM_RUNNING);
}

Test(claims, the_same_holder_is_granted_again_and_fences_its_past)
{
        struct claim past = claim_of("q1", "w1"), now = claim_of("q1", "w1");

        take(&past, FINGERPRINT, 0);
        cr_assert_eq(take(&now, FINGERPRINT, 0).verdict, CLAIM_GRANTED);
        cr_assert_eq(now.fence, 2);
        cr_assert(attempt(&past).lost);
        cr_assert_not(attempt(&now).lost);
}

Test(claims, another_payload_conflicts_unless_the_first_was_never_known)
{
        struct claim mine = claim_of("q1", "w1"), theirs = claim_of("q1", "w2");

        take(&mine, FINGERPRINT, 0);
        cr_assert_eq(take(&theirs, OTHER, 0).verdict, CLAIM_CONFLICT);
        ask("HSET " KEY " status ok");
        cr_assert_eq(take(&theirs, OTHER, 0).verdict, CLAIM_CONFLICT, "finished or not");
        ask("HSET " KEY " status waiting fingerprint %s lease 0", "");
        ask("HDEL " KEY " fingerprint");
        cr_assert_eq(take(&theirs, OTHER, 0).verdict, CLAIM_GRANTED);
        cr_assert_str_eq(ask("HGET " KEY " fingerprint"), OTHER);
}

Test(claims, finished_ones_are_final_for_the_same_replays)
{
        static const char *const names[] = {"ok", "cancelled", "failed", "expired"};
        static const enum claim_status statuses[] = {CLAIM_OK, CLAIM_CANCELLED, CLAIM_FAILED, CLAIM_EXPIRED};
        struct claim claim = claim_of("q1", "w1");
        struct claim_answer answer;

        take(&claim, FINGERPRINT, 0);
        for (size_t i = 0; i < 4; i++) {
                ask("HSET " KEY " status %s", names[i]);
                answer = take(&claim, FINGERPRINT, 0);
                cr_assert_eq(answer.verdict, CLAIM_FINISHED);
                cr_assert_eq(answer.status, statuses[i]);
        }
        ask("HSET " KEY " status ok");
        cr_assert_eq(take(&claim, FINGERPRINT, 9).verdict, CLAIM_FINISHED, "no replay betters ok");
        cr_assert_str_eq(ask("EXISTS mr:{acme:q1}:wait"), "0");
}

Test(claims, a_replay_of_a_failure_starts_anew_and_shuts_out_older_records)
{
        struct claim claim = claim_of("q1", "w1"), old = claim_of("q1", "w2");
        struct claim_answer answer;

        take(&claim, FINGERPRINT, 0);
        attempt(&claim);
        ask("HSET " KEY " status failed");
        answer = take(&claim, FINGERPRINT, 1);
        cr_assert_eq(answer.verdict, CLAIM_GRANTED);
        cr_assert_eq(answer.attempts, 0);
        cr_assert_str_eq(ask("HGET " KEY " replays"), "1");
        answer = take(&old, FINGERPRINT, 0);
        cr_assert_eq(answer.verdict, CLAIM_FINISHED);
        cr_assert_eq(answer.status, CLAIM_FAILED);
}

Test(claims, a_duplicate_of_a_finished_one_pushes_again_within_a_bound)
{
        struct claim claim = claim_of("q1", "w1");

        take_listed(&claim, 0);
        ask("HSET " KEY " status ok");
        cr_assert_eq(take_listed(&claim, 0).verdict, CLAIM_FINISHED);
        cr_assert_eq(take_listed(&claim, 0).verdict, CLAIM_FINISHED);
        cr_assert_str_eq(ask("LLEN mr:{acme:q1}:wait"), "2");
        cr_assert_str_eq(ask("LINDEX mr:{acme:q1}:wait 0"), "q1");
        cr_assert_gt(ask_int("TTL mr:{acme:q1}:wait"), 990);
        for (int i = 0; i < 1100; i++)
                ask("RPUSH mr:{acme:q1}:wait q1");
        ask("LTRIM mr:{acme:q1}:wait -1024 -1");
        take_listed(&claim, 0);
        cr_assert_str_eq(ask("LLEN mr:{acme:q1}:wait"), "1024");
}

Test(claims, attempts_are_at_least_the_records)
{
        struct claim claim = claim_of("q1", "w1");

        cr_assert_eq(take_listed(&claim, 3).attempts, 3);
        cr_assert_eq(take_listed(&claim, 2).attempts, 3);
}

Test(claims, an_attempt_given_back_unused_is_not_counted_again_by_the_next_first_delivery)
{
        struct claim mine = claim_of("q1", "w1"), theirs = claim_of("q1", "w2");

        cr_assert_eq(take_listed(&mine, 1).attempts, 1);
        cr_assert_eq(release(&mine, 1).attempts, 0, "it left before it had called");
        cr_assert_eq(take_listed(&theirs, 1).attempts, 0, "the next attempt is the first");
        release(&theirs, 0);
        cr_assert_eq(take_listed(&mine, 3).attempts, 3, "a retry record knows better");
}

Test(claims, renewal_extends_and_counts_attempts_only_when_asked)
{
        struct claim claim = claim_of("q1", "w1");
        struct claim_renewal renewal = {0};
        int64_t lease;
        struct op op;

        take(&claim, FINGERPRINT, 0);
        lease = ask_int("HGET " KEY " lease");
        op_init(&op, NULL);
        claim_renew(redis.connection, &op, &claim, 90000, &renewal);
        run_until_done(&op, 0);
        cr_assert_not(renewal.lost);
        cr_assert_eq(renewal.attempts, 0);
        cr_assert_geq(ask_int("HGET " KEY " lease"), lease + 30000);
        cr_assert_eq(attempt(&claim).attempts, 1);
        cr_assert_eq(attempt_number(&claim, 2).attempts, 2);
}

Test(claims, release_keeps_attempts_and_lets_anyone_in)
{
        struct claim mine = claim_of("q1", "w1"), theirs = claim_of("q1", "w2");
        struct claim_answer answer;

        take(&mine, FINGERPRINT, 0);
        attempt(&mine);
        attempt_number(&mine, 2);
        cr_assert_eq(release(&mine, 1).attempts, 1, "a rate-limited call burns none");
        cr_assert_str_eq(ask("HGET " KEY " status"), "waiting");
        answer = take(&theirs, FINGERPRINT, 0);
        cr_assert_eq(answer.verdict, CLAIM_GRANTED);
        cr_assert_eq(answer.attempts, 1);
        cr_assert(release(&mine, 0).lost, "no longer ours");
}

Test(claims, a_vanished_one_is_lost)
{
        struct claim claim = claim_of("q1", "w1");

        take(&claim, FINGERPRINT, 0);
        ask("DEL " KEY);
        cr_assert(attempt(&claim).lost);
        cr_assert_eq(attempt(&claim).status, CLAIM_NONE);
}

/* ---- a question that is asked again, because its answer was lost with the connection ---- */

static struct claim_answer take_number(struct claim *claim, int64_t number)
{
        const struct claim_request request = {
                .lease_ms = 60000, .fingerprint = SPAN(FINGERPRINT), .attempts_floor = 1, .take = number};
        struct claim_answer answer = {0};
        struct op op;

        op_init(&op, NULL);
        claim_take(redis.connection, &op, claim, &request, &answer);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE);
        claim->fence = answer.fence;
        return answer;
}

Test(claims, a_fresh_grant_whose_answer_was_lost_is_fresh_when_asked_again)
{
        struct claim claim = claim_of("q1", "w1"), other = claim_of("q1", "w2");
        struct claim_answer answer;

        cr_assert(take_number(&claim, 7).fresh);
        answer = take_number(&claim, 7);
        cr_assert_eq(answer.verdict, CLAIM_GRANTED);
        cr_assert(answer.fresh, "no attempt was made of it");
        cr_assert_eq(answer.attempts, 1);
        cr_assert_eq(take_number(&other, 7).verdict, CLAIM_HELD);
        cr_assert_not(take_number(&claim, 8).fresh, "the record was redelivered: what was begun may be in the ledger");
        cr_assert_not(take_number(&claim, 7).fresh, "the first delivery's, fenced off");
}

Test(claims, an_attempt_counts_once_however_often_it_is_told)
{
        struct claim claim = claim_of("q1", "w1");

        take(&claim, FINGERPRINT, 0);
        cr_assert_eq(attempt_number(&claim, 1).attempts, 1);
        cr_assert_eq(attempt_number(&claim, 1).attempts, 1);
        cr_assert_eq(attempt_number(&claim, 2).attempts, 2);
}

Test(claims, a_release_may_be_told_twice_until_another_takes_the_claim)
{
        struct claim mine = claim_of("q1", "w1"), theirs = claim_of("q1", "w2");

        take(&mine, FINGERPRINT, 0);
        attempt_number(&mine, 1);
        attempt_number(&mine, 2);
        cr_assert_eq(release(&mine, 1).attempts, 1);
        cr_assert_not(release(&mine, 1).lost);
        cr_assert_eq(release(&mine, 1).attempts, 1);
        take(&theirs, FINGERPRINT, 0);
        release(&theirs, 0);
        cr_assert(release(&mine, 1).lost);
}
