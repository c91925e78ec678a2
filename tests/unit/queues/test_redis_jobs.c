#include <criterion/criterion.h>

#include "queues/redis/jobs.h"
#include "tests/unit/queues/test_redis_server.h"

TestSuite(job_counts, .init = redis_setup, .fini = redis_teardown);

#define PROGRESS "mr:{job:acme:backfill}:progress"

static struct job_end end_of(int64_t seq, enum job_outcome outcome, enum error_code code)
{
        return (struct job_end){.tenant = SPAN("acme"),
                                .job = SPAN("backfill"),
                                .seq = seq,
                                .outcome = outcome,
                                .code = code,
                                .input_tokens = 7,
                                .cost_usd = 0.00000014};
}

static bool count_end(const struct job_end *end)
{
        struct job_counted counted = {false};
        struct op op;

        op_init(&op, NULL);
        job_count(redis.connection, &op, end, &counted);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE, "%s", op.err.message);
        return counted.counted;
}

static bool count(int64_t seq, enum job_outcome outcome, enum error_code code)
{
        struct job_end end = end_of(seq, outcome, code);

        return count_end(&end);
}

static struct job_progress progress(void)
{
        struct job_progress found = {0};
        struct op op;

        op_init(&op, NULL);
        job_progress_get(redis.connection, &op, SPAN("acme"), SPAN("backfill"), &found);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE, "%s", op.err.message);
        return found;
}

Test(job_counts, a_record_is_counted_once_however_often_it_comes)
{
        struct job_progress p;

        cr_assert(count(1, JOB_ENDED_OK, CODE_NONE));
        cr_assert_not(count(1, JOB_ENDED_OK, CODE_NONE));
        cr_assert(count(2, JOB_ENDED_CANCELLED, CODE_CANCELLED));
        cr_assert_not(count(2, JOB_ENDED_OK, CODE_NONE), "cancelled is final");
        p = progress();
        cr_assert(p.found);
        cr_assert_eq(p.ended[JOB_ENDED_OK], 1);
        cr_assert_eq(p.ended[JOB_ENDED_CANCELLED], 1);
        cr_assert_eq(p.input_tokens, 14);
        cr_assert_float_eq(p.cost_usd, 0.00000028, 1e-12);
        cr_assert_eq(p.reason_count, 0);
        cr_assert_gt(p.updated_ms, 0);
        cr_assert_leq(p.started_ms, p.updated_ms);
}

Test(job_counts, a_replay_betters_a_failure_and_its_reason_goes_back)
{
        struct job_progress p;

        cr_assert(count(5, JOB_ENDED_FAILED, CODE_TIMEOUT));
        cr_assert(count(6, JOB_ENDED_FAILED, CODE_TIMEOUT));
        cr_assert(count(7, JOB_ENDED_EXPIRED, CODE_DEADLINE));
        cr_assert_not(count(5, JOB_ENDED_FAILED, CODE_AUTH), "it failed before");
        cr_assert(count(5, JOB_ENDED_OK, CODE_NONE));
        cr_assert_not(count(5, JOB_ENDED_FAILED, CODE_TIMEOUT), "ok is final");
        p = progress();
        cr_assert_eq(p.ended[JOB_ENDED_OK], 1);
        cr_assert_eq(p.ended[JOB_ENDED_FAILED], 1);
        cr_assert_eq(p.ended[JOB_ENDED_EXPIRED], 1);
        cr_assert_eq(p.reason_count, 2);
        for (size_t i = 0; i < 2; i++) {
                cr_assert_eq(p.reasons[i].count, 1);
                cr_assert(strcmp(p.reasons[i].name, "dependency.timeout") == 0 ||
                                  strcmp(p.reasons[i].name, "serving.deadline") == 0,
                          "%s", p.reasons[i].name);
        }
}

Test(job_counts, without_a_number_each_one_counts)
{
        cr_assert(count(-1, JOB_ENDED_OK, CODE_NONE));
        cr_assert(count(-1, JOB_ENDED_OK, CODE_NONE));
        cr_assert_eq(progress().ended[JOB_ENDED_OK], 2);
        cr_assert_eq(ask_int("EXISTS mr:{job:acme:backfill}:ended:0"), 0);
}

Test(job_counts, marks_lie_in_chunks_of_bounded_size)
{
        cr_assert(count(JOB_CHUNK - 1, JOB_ENDED_OK, CODE_NONE));
        cr_assert(count(JOB_CHUNK, JOB_ENDED_OK, CODE_NONE));
        cr_assert(count(999999999999999999, JOB_ENDED_OK, CODE_NONE), "a hostile number takes no more room than another");
        cr_assert_eq(ask_int("STRLEN mr:{job:acme:backfill}:ended:0"), JOB_CHUNK);
        cr_assert_eq(ask_int("STRLEN mr:{job:acme:backfill}:ended:1"), 1);
        cr_assert_leq(ask_int("STRLEN mr:{job:acme:backfill}:ended:%lld", 999999999999999999 / (long long)JOB_CHUNK), JOB_CHUNK);
        cr_assert_gt(ask_int("TTL mr:{job:acme:backfill}:ended:1"), JOB_TTL_S - 60);
        cr_assert_gt(ask_int("TTL " PROGRESS), JOB_TTL_S - 60);
}

Test(job_counts, no_cost_is_too_large_or_too_strange)
{
        struct job_end end = end_of(1, JOB_ENDED_OK, CODE_NONE);

        end.cost_usd = 1e300;
        cr_assert(count_end(&end));
        end.seq = 2;
        end.cost_usd = -1;
        cr_assert(count_end(&end));
        cr_assert_float_eq(progress().cost_usd, 1e6, 1);
}

Test(job_counts, what_is_published_is_told)
{
        struct job_counted told = {false};
        struct op op;

        cr_assert_not(progress().found);
        op_init(&op, NULL);
        job_published(redis.connection, &op, SPAN("acme"), SPAN("backfill"), 5000, 1000, &told);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE, "%s", op.err.message);
        cr_assert(told.counted && progress().found);
        cr_assert_eq(progress().total, 5000);
        cr_assert_eq(progress().published, 1000);
}
