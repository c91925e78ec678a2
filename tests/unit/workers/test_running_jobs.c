#include <criterion/criterion.h>
#include <stdio.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "workers/jobs/running_jobs.h"

enum { NOW_MS = 1000000 };
static const int64_t wall_ms = 1763632812345;
static struct running_jobs *jobs;

static void up(void)
{
        log_setup((enum log_level)(LOG_ERROR + 1), LOG_FORMAT_TEXT);
        clock_fake(NOW_MS, wall_ms);
        jobs = running_jobs_unread();
        cr_assert(jobs);
}

static void down(void)
{
        running_jobs_free(jobs);
        clock_fake(-1, -1);
}

TestSuite(running_jobs, .init = up, .fini = down);

static void say_at(const char *tenant, const char *name, enum job_state state, int64_t at_wall_ms)
{
        struct job_state_record record = {.state = state, .at_wall_ms = at_wall_ms};
        char key[JOB_KEY_BYTES];
        AUTO_BUFFER value = {0};

        buffer_init(&value, JOB_RECORD_BYTES_MAX);
        job_key(key, JOB_RECORD_STATE, span_of(tenant), span_of(name));
        job_state_render(&value, &record);
        running_jobs_apply(jobs, span_of(key), buffer_view(&value));
}

static void say(const char *tenant, const char *name, enum job_state state)
{
        say_at(tenant, name, state, wall_ms - 1000);
}

static enum job_state state_of(const char *tenant, const char *name)
{
        int64_t since;

        return running_jobs_state(jobs, span_of(tenant), span_of(name), &since);
}

Test(running_jobs, follows_what_is_said_of_a_job)
{
        int64_t since = -1;

        cr_assert_eq(state_of("a", "x"), JOB_RUNNING);
        say("a", "x", JOB_PAUSED);
        cr_assert_eq(running_jobs_state(jobs, SPAN("a"), SPAN("x"), &since), JOB_PAUSED);
        cr_assert_eq(since, wall_ms - 1000);
        cr_assert_eq(state_of("b", "x"), JOB_RUNNING, "another tenant's");
        cr_assert_eq(state_of("a", "y"), JOB_RUNNING);
        say("a", "x", JOB_CANCELLED);
        cr_assert_eq(state_of("a", "x"), JOB_CANCELLED);
        cr_assert_eq(running_jobs_count(jobs), 1);
}

Test(running_jobs, those_that_run_take_no_room)
{
        say("a", "x", JOB_RUNNING);
        cr_assert_eq(running_jobs_count(jobs), 0);
        say("a", "x", JOB_PAUSED);
        say("a", "y", JOB_PAUSED);
        say("a", "x", JOB_RUNNING);
        cr_assert_eq(running_jobs_count(jobs), 1);
        cr_assert_eq(state_of("a", "y"), JOB_PAUSED);
        running_jobs_apply(jobs, SPAN("job/a/y"), (struct span){NULL, 0});
        cr_assert_eq(running_jobs_count(jobs), 0, "a tombstone");
        cr_assert_eq(running_jobs_state(NULL, SPAN("a"), SPAN("y"), &(int64_t){0}), JOB_RUNNING);
}

Test(running_jobs, foreign_and_faulty_records_are_passed_over)
{
        say("a", "x", JOB_PAUSED);
        running_jobs_apply(jobs, SPAN("job/a/x"), SPAN("{\"v\":9}"));
        running_jobs_apply(jobs, SPAN("collection/docs"), SPAN("{}"));
        running_jobs_apply(jobs, (struct span){NULL, 0}, SPAN("{}"));
        running_jobs_apply(jobs, SPAN("job-position/a/x"),
                           SPAN("{\"v\":1,\"state\":\"cancelled\",\"at\":\"2026-11-20T10:00:00Z\"}"));
        cr_assert_eq(state_of("a", "x"), JOB_PAUSED);
        cr_assert_eq(running_jobs_count(jobs), 1);
}

Test(running_jobs, a_job_cancelled_long_ago_is_forgotten)
{
        say_at("a", "x", JOB_CANCELLED, wall_ms - (RUNNING_JOBS_CANCELLED_DAYS + 1) * 86400000LL);
        cr_assert_eq(running_jobs_count(jobs), 0);
        say_at("a", "x", JOB_PAUSED, wall_ms - (RUNNING_JOBS_CANCELLED_DAYS + 1) * 86400000LL);
        cr_assert_eq(state_of("a", "x"), JOB_PAUSED, "a paused one is not");
}

Test(running_jobs, the_table_is_bounded_and_the_oldest_cancelled_goes_first)
{
        char name[32];

        for (int i = 0; i < RUNNING_JOBS_MAX; i++) {
                snprintf(name, sizeof name, "j%d", i);
                say_at("a", name, i % 2 ? JOB_PAUSED : JOB_CANCELLED, wall_ms - 1000000 + i);
        }
        cr_assert_eq(running_jobs_count(jobs), RUNNING_JOBS_MAX);
        say("a", "one-more", JOB_PAUSED);
        cr_assert_eq(running_jobs_count(jobs), RUNNING_JOBS_MAX);
        cr_assert_eq(state_of("a", "one-more"), JOB_PAUSED);
        cr_assert_eq(state_of("a", "j0"), JOB_RUNNING);
        cr_assert_eq(state_of("a", "j1"), JOB_PAUSED);
        cr_assert_eq(state_of("a", "j2"), JOB_CANCELLED);
}

Test(running_jobs, a_record_waits_a_quarter_of_the_pause)
{
        cr_assert_eq(running_jobs_wait_ms(0, 5000, 600000), 5000);
        cr_assert_eq(running_jobs_wait_ms(-100, 5000, 600000), 5000, "clocks differ");
        cr_assert_eq(running_jobs_wait_ms(120000, 5000, 600000), 30000);
        cr_assert_eq(running_jobs_wait_ms(86400000, 5000, 600000), 600000);
}
