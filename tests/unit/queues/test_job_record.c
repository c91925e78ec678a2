#include <criterion/criterion.h>

#include "config/base/own.h"
#include "queues/job_record.h"

static const struct job_position position = {
        .kind = KIND_EMBED,
        .lane = LANE_BULK,
        .source = "a \"file\".jsonl",
        .size = 123456,
        .total = 5000,
        .at = 2100,
        .published = 2000,
        .refused = 7,
        .hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        .complete = false,
        .started_wall_ms = 1763632800000,
        .at_wall_ms = 1763632812345,
};

Test(job_record, keys_name_tenant_and_job)
{
        char key[JOB_KEY_BYTES];
        struct span tenant, name;

        job_key(key, JOB_RECORD_STATE, SPAN("acme"), SPAN("nightly:1"));
        cr_assert_str_eq(key, "job/acme/nightly:1");
        cr_assert_eq(job_key_parse(span_of(key), &tenant, &name), JOB_RECORD_STATE);
        cr_assert(span_is(tenant, "acme") && span_is(name, "nightly:1"));
        job_key(key, JOB_RECORD_POSITION, SPAN("acme"), SPAN("nightly:1"));
        cr_assert_eq(job_key_parse(span_of(key), &tenant, &name), JOB_RECORD_POSITION);
        cr_assert(span_is(tenant, "acme") && span_is(name, "nightly:1"));
}

Test(job_record, other_keys_are_none_of_ours)
{
        static const char *const others[] = {"",        "job",       "job/",     "job/acme",        "job//x",         "job/acme/",
                                             "job/A/x", "job/a/x y", "jobs/a/x", "collection/docs", "job-position/a", "job/a/b/c"};
        struct span tenant, name;

        for (size_t i = 0; i < COUNT_OF(others); i++)
                cr_assert_eq(job_key_parse(span_of(others[i]), &tenant, &name), JOB_RECORD_NONE, "%s", others[i]);
        cr_assert_eq(job_key_parse((struct span){NULL, 0}, &tenant, &name), JOB_RECORD_NONE);
}

Test(job_record, a_state_comes_back)
{
        struct job_state_record said = {.state = JOB_PAUSED, .at_wall_ms = 1763632812345, .by = "anna@host"}, read = {0};
        AUTO_BUFFER text = {0};

        buffer_init(&text, JOB_RECORD_BYTES_MAX);
        job_state_render(&text, &said);
        cr_assert(job_state_parse(buffer_view(&text), &read), "%s", text.data);
        cr_assert_eq(read.state, JOB_PAUSED);
        cr_assert_eq(read.at_wall_ms, said.at_wall_ms);
        cr_assert_str_eq(read.by, "anna@host");
}

Test(job_record, a_position_comes_back)
{
        struct job_position read = {0};
        AUTO_BUFFER text = {0};

        buffer_init(&text, JOB_RECORD_BYTES_MAX);
        job_position_render(&text, &position);
        cr_assert(job_position_parse(buffer_view(&text), &read), "%s", text.data);
        cr_assert_eq(memcmp(&read, &position, sizeof read), 0, "%s", text.data);
}

Test(job_record, what_can_not_be_is_not_read)
{
        static const char *const faulty[] = {
                "",
                "null",
                "{}",
                "{\"v\":2,\"state\":\"paused\",\"at\":\"2026-11-20T10:00:00Z\"}",
                "{\"v\":1,\"state\":\"asleep\",\"at\":\"2026-11-20T10:00:00Z\"}",
                "{\"v\":1,\"state\":\"paused\"}",
                "{\"v\":1,\"state\":\"paused\",\"at\":5}",
                "{\"v\":1,\"kind\":\"embed\",\"lane\":\"bulk\",\"size\":-1}",
        };
        struct job_state_record state;
        struct job_position read;

        for (size_t i = 0; i < COUNT_OF(faulty); i++) {
                cr_assert_not(job_state_parse(span_of(faulty[i]), &state), "%s", faulty[i]);
                cr_assert_not(job_position_parse(span_of(faulty[i]), &read), "%s", faulty[i]);
        }
}

Test(job_record, every_cut_of_a_record_is_refused)
{
        struct job_position read;
        AUTO_BUFFER text = {0};

        buffer_init(&text, JOB_RECORD_BYTES_MAX);
        job_position_render(&text, &position);
        for (size_t len = 0; len < text.len; len++)
                cr_assert_not(job_position_parse((struct span){text.data, len}, &read));
}
