#include <criterion/criterion.h>
#include <jansson.h>

#include "workers/jobs/job_view.h"

static struct job_records records_of(int64_t total, int64_t published, int64_t refused, bool complete, enum job_state state)
{
        return (struct job_records){.tenant = "acme",
                                    .name = "backfill",
                                    .has_state = true,
                                    .has_position = true,
                                    .state = {.state = state, .at_wall_ms = 1763632812345, .by = "anna@host"},
                                    .position = {.kind = KIND_EMBED,
                                                 .lane = LANE_BULK,
                                                 .source = "f.jsonl",
                                                 .total = total,
                                                 .published = published,
                                                 .refused = refused,
                                                 .complete = complete,
                                                 .started_wall_ms = 1763632800000,
                                                 .at_wall_ms = 1763632812345}};
}

static struct job_progress progress_of(int64_t ok, int64_t failed)
{
        return (struct job_progress){.found = true,
                                     .ended = {ok, failed},
                                     .cost_usd = 0.5,
                                     .started_ms = 1763632800000,
                                     .updated_ms = 1763632810000,
                                     .reasons = {{"dependency.timeout", failed}},
                                     .reason_count = failed > 0};
}

Test(job_view, tells_the_state_from_both_places)
{
        struct job_progress some = progress_of(40, 10), all = progress_of(90, 8);
        struct job_records r = records_of(100, 60, 2, false, JOB_RUNNING);
        struct job_view view = {&r, &some};

        cr_assert_str_eq(job_view_state(&view), "publishing");
        r = records_of(100, 98, 2, true, JOB_RUNNING);
        cr_assert_str_eq(job_view_state(&view), "running");
        view.progress = NULL;
        cr_assert_str_eq(job_view_state(&view), "running", "without Redis nobody knows");
        view.progress = &all;
        cr_assert_str_eq(job_view_state(&view), "done");
        cr_assert(job_view_is_over(&view));
        r.state.state = JOB_PAUSED;
        cr_assert_str_eq(job_view_state(&view), "done", "nothing is left to pause");
        view.progress = &some;
        cr_assert_str_eq(job_view_state(&view), "paused");
        r.state.state = JOB_CANCELLED;
        cr_assert_str_eq(job_view_state(&view), "cancelled");
        cr_assert_not(job_view_is_over(&view), "some have not ended yet");
        view.progress = &all;
        cr_assert(job_view_is_over(&view));
}

Test(job_view, rate_and_time_to_go_come_from_what_has_ended)
{
        struct job_progress p = progress_of(40, 10);
        struct job_records r = records_of(102, 60, 2, false, JOB_RUNNING);
        struct job_view view = {&r, &p};

        cr_assert_float_eq(job_view_rate(&view), 5, 1e-9);
        cr_assert_eq(job_view_expected(&view), 100);
        cr_assert_eq(job_view_eta_ms(&view), 10000);
        cr_assert_float_eq(job_view_share(&view), 0.5, 1e-9);
        r.state.state = JOB_PAUSED;
        cr_assert_eq(job_view_eta_ms(&view), -1);
        p.updated_ms = p.started_ms;
        cr_assert_eq(job_view_rate(&view), 0);
        r.has_position = false;
        cr_assert_eq(job_view_expected(&view), -1);
        cr_assert_lt(job_view_share(&view), 0);
}

Test(job_view, the_json_is_json_with_and_without_each_part)
{
        struct job_progress p = progress_of(40, 10);
        struct job_records r = records_of(102, 60, 2, false, JOB_PAUSED);

        for (int parts = 0; parts < 8; parts++) {
                struct job_view view = {&r, parts & 1 ? &p : NULL};
                AUTO_BUFFER out = {0};
                json_t *tree;

                r.has_position = parts & 2;
                r.has_state = parts & 4;
                buffer_init(&out, 1 << 16);
                job_view_json(&out, &view);
                tree = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
                cr_assert(tree, "%s", out.data);
                cr_assert_str_eq(json_string_value(json_object_get(tree, "job")), "backfill");
                cr_assert_eq(json_integer_value(json_object_get(tree, "failed")), parts & 1 ? 10 : 0);
                cr_assert_eq(json_integer_value(json_object_get(json_object_get(tree, "failures"), "dependency.timeout")),
                             parts & 1 ? 10 : 0);
                cr_assert_eq(json_object_get(tree, "total") != NULL, (parts & 2) != 0);
                json_decref(tree);
                buffer_reset(&out);
                job_view_text(&out, &view);
                job_view_line(&out, &view);
                cr_assert(buffer_ok(&out));
        }
}
