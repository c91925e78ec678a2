#include <criterion/criterion.h>
#include <stdlib.h>

#include "queues/redis/documents.h"
#include "tests/unit/queues/test_redis_server.h"

TestSuite(documents, .init = redis_setup, .fini = redis_teardown);

#define KEY "mr:{acme:doc:docs:d1}:document"

static struct document_claim document_of(const char *holder, int64_t version, int64_t offset)
{
        return (struct document_claim){.tenant = SPAN("acme"),
                                       .collection = SPAN("docs"),
                                       .document = SPAN("d1"),
                                       .holder = span_of(holder),
                                       .version = version,
                                       .tie_partition = 3,
                                       .tie_offset = offset};
}

static struct document_answer lock(const struct document_claim *claim, int64_t chunks)
{
        struct document_answer answer = {.verdict = (enum document_verdict)99};
        struct op op;

        op_init(&op, NULL);
        document_lock(redis.connection, &op, claim, 30000, chunks, &answer);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE, "%s", op.err.message);
        return answer;
}

static bool apply(const struct document_claim *claim, int64_t chunks)
{
        struct document_change change = {true};
        struct op op;

        op_init(&op, NULL);
        document_applied(redis.connection, &op, claim, chunks, &change);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE);
        return !change.lost;
}

static bool simple(void (*call)(struct redis_connection *, struct op *, const struct document_claim *, struct document_change *),
                   const struct document_claim *claim)
{
        struct document_change change = {true};
        struct op op;

        op_init(&op, NULL);
        call(redis.connection, &op, claim, &change);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE);
        return !change.lost;
}

static void renew(struct redis_connection *connection, struct op *op, const struct document_claim *claim,
                  struct document_change *change)
{
        document_renew(connection, op, claim, 90000, change);
}

Test(documents, a_new_one_is_locked_and_applied)
{
        struct document_claim claim = document_of("w1", 5, 1);
        struct document_answer answer = lock(&claim, 0);

        cr_assert_eq(answer.verdict, DOCUMENT_LOCKED);
        cr_assert_eq(answer.chunks, -1);
        cr_assert(apply(&claim, 7));
        cr_assert(apply(&claim, 7), "once more after a lost reply");
        cr_assert_str_eq(ask("HGET " KEY " version"), "5");
        cr_assert_str_eq(ask("HGET " KEY " chunks"), "7");
        cr_assert_gt(ask_int("TTL " KEY), 1990);
        claim = document_of("w2", 6, 2);
        cr_assert_eq(lock(&claim, 0).chunks, 7);
}

Test(documents, anothers_is_busy_until_freed_or_lapsed)
{
        struct document_claim mine = document_of("w1", 5, 1), theirs = document_of("w2", 6, 2);
        struct document_answer answer;

        lock(&mine, 0);
        answer = lock(&theirs, 0);
        cr_assert_eq(answer.verdict, DOCUMENT_BUSY);
        cr_assert(answer.remaining_ms > 0 && answer.remaining_ms <= 30000);
        cr_assert_eq(lock(&mine, 0).verdict, DOCUMENT_LOCKED, "its own again");
        cr_assert(simple(renew, &mine));
        cr_assert_gt(lock(&theirs, 0).remaining_ms, 30000);
        cr_assert(simple(document_unlock, &mine));
        cr_assert_eq(lock(&theirs, 0).verdict, DOCUMENT_LOCKED);
        ask("HSET " KEY " lease 1");
        cr_assert_eq(lock(&mine, 0).verdict, DOCUMENT_LOCKED, "lapsed");
        cr_assert_not(simple(renew, &theirs));
        cr_assert_not(simple(document_unlock, &theirs));
        cr_assert_not(apply(&theirs, 1));
        cr_assert_str_eq(ask("HEXISTS " KEY " version"), "0");
}

Test(documents, an_older_version_is_superseded_ties_by_partition_and_offset)
{
        struct document_claim claim = document_of("w1", 5, 100), older = document_of("w2", 4, 900), tie = document_of("w3", 5, 99);
        struct document_answer answer;

        lock(&claim, 0);
        apply(&claim, 1);
        answer = lock(&older, 0);
        cr_assert_eq(answer.verdict, DOCUMENT_SUPERSEDED);
        cr_assert_eq(answer.version, 5);
        cr_assert_eq(lock(&tie, 0).verdict, DOCUMENT_SUPERSEDED);
        tie.tie_offset = 1000;
        cr_assert_eq(lock(&tie, 0).verdict, DOCUMENT_LOCKED);
        simple(document_unlock, &tie);
        cr_assert_eq(lock(&claim, 0).verdict, DOCUMENT_LOCKED, "the same record redelivered");
}

Test(documents, versions_of_any_size_and_sign_are_in_order)
{
        static const int64_t versions[] = {INT64_MIN, -5, 0, 9, 10, 9007199254740993, INT64_MAX};

        for (size_t i = 0; i < 7; i++) {
                struct document_claim claim = document_of("w1", versions[i], 1),
                                      older = document_of("w1", i ? versions[i - 1] : 0, 2);

                cr_assert_eq(lock(&claim, 0).verdict, DOCUMENT_LOCKED);
                cr_assert(apply(&claim, 1));
                if (i) {
                        cr_assert_eq(lock(&older, 0).verdict, DOCUMENT_SUPERSEDED);
                        cr_assert_eq(lock(&older, 0).version, versions[i]);
                }
        }
}

Test(documents, chunks_of_a_dead_writer_are_remembered)
{
        struct document_claim claim = document_of("w1", 5, 1), next = document_of("w2", 6, 2);

        lock(&claim, 0);
        apply(&claim, 4);
        cr_assert_eq(lock(&next, 9).chunks, 4);
        simple(document_unlock, &next);
        cr_assert_eq(lock(&next, 2).chunks, 9, "up to nine may lie there");
        apply(&next, 2);
        cr_assert_eq(lock(&next, 0).chunks, 2);
        simple(document_unlock, &next);
}
