/* What stands before a provider's call: the p95 gate, Retry-After, the retry budget, the flood guard. Lower bounds of times only: a slow
 * machine changes no verdict. */
#include "tests/flow/flow_rig.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "config/base/buffer.h"
#include "config/base/metrics.h"
#include "config/base/own.h"

TestSuite(flow_gates, .init = flow_up, .fini = flow_down, .timeout = 120);

static double now_s(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Requests <prefix>0 … <prefix>count−1 for minilm at the stub; more: further members, "" or ",…". */
static void publish_many(const char *prefix, int count, const char *more)
{
        char json[256];

        for (int i = 0; i < count; i++) {
                int len = snprintf(json, sizeof json, "{\"id\":\"%s%d\",\"input\":\"x\",\"model\":\"minilm\"%s}", prefix, i, more);

                flow_publish("embed", "bulk", NULL, json, (size_t)len, NULL);
        }
}

/* How many of them ended so. All are waited for. */
static int count_endings(const char *prefix, int count, const char *ending)
{
        int n = 0;
        char id[64];

        for (int i = 0; i < count; i++) {
                snprintf(id, sizeof id, "%s%d", prefix, i);
                n += strcmp(flow_ending(id), ending) == 0;
        }
        return n;
}

Test(flow_gates, what_cannot_end_in_time_is_refused_before_it_costs)
{
        int64_t calls;

        flow_stub("delay-ms=400");
        publish_many("slow", 60, "");
        cr_assert_eq(count_endings("slow", 60, "ok"), 60);
        calls = flow_stub_count("embeddings");
        publish_many("hurry", 40, ",\"timeout_ms\":300");
        cr_assert_eq(count_endings("hurry", 40, "expired serving.deadline"), 40);
        cr_assert_leq(flow_stub_count("embeddings") - calls, 2, "one in twenty passes");
        cr_assert_eq(flow_letters("embed", 40), 40);
}

Test(flow_gates, calls_that_deadlines_cut_short_count_too)
{
        int64_t calls;

        flow_submit("embed", "{\"id\":\"first\",\"input\":\"x\",\"model\":\"minilm\"}"); /* the worker is up now */
        cr_assert_str_eq(flow_ending("first"), "ok");
        flow_stub("delay-ms=600");
        for (int round = 0; round < 3; round++) {
                char prefix[16];

                snprintf(prefix, sizeof prefix, "cut%d-", round);
                calls = flow_stub_count("embeddings");
                publish_many(prefix, 60, ",\"timeout_ms\":500");
                cr_assert_eq(count_endings(prefix, 60, "expired serving.deadline"), 60);
        }
        cr_assert_leq(flow_stub_count("embeddings") - calls, 30, "of 60, once the model is known to be slow");
}

/* The wait that the stub asks for is held, in whatever form; at_least_ms: a date has whole seconds. */
static void hold_wait(const char *id, const char *form, int64_t at_least_ms)
{
        char query[64], json[128];
        json_t *tree;
        int64_t before = flow_stub_count("s429");

        snprintf(query, sizeof query, "p429=1&retry-after=2&retry-after-form=%s", form);
        flow_stub(query);
        snprintf(json, sizeof json, "{\"id\":\"%s\",\"input\":\"x\",\"model\":\"minilm\"}", id);
        flow_submit("embed", json);
        while (flow_stub_count("s429") == before)
                ;
        flow_stub("p429=0");
        tree = flow_result("default", id);
        cr_assert_str_eq(flow_text(tree, "status"), "ok");
        cr_assert_eq(json_integer_value(flow_at(tree, "attempts")), 1, "no attempt is burnt");
        cr_assert_geq(json_integer_value(flow_at(tree, "timings_ms.total")), at_least_ms, "%s", form);
        json_decref(tree);
}

Test(flow_gates, the_providers_wait_is_a_minimum_in_every_form)
{
        hold_wait("seconds", "s", 2000);
        hold_wait("milliseconds", "ms", 2000);
        hold_wait("date", "date", 1000);
        cr_assert_eq(flow_stub_count("embeddings"), 6, "each was asked once more");
}

/* Does /metrics have that line? */
static bool shows_metric(const char *line)
{
        AUTO_BUFFER text = {0};

        buffer_init(&text, 1 << 20);
        metrics_render(&text);
        buffer_char(&text, '\0');
        return buffer_ok(&text) && strstr(text.data, line);
}

static void many_attempts(struct settings *settings)
{
        settings->retry.attempts_max = 100;
}

Test(flow_gates, an_empty_retry_budget_delays_and_never_fails)
{
        double began;

        flow_restart(many_attempts);
        flow_stub("p5xx=1");
        began = now_s();
        publish_many("again", 20, "");
        while (flow_stub_count("s5xx") < 30)
                cr_assert_lt(now_s() - began, 60, "%d calls", (int)flow_stub_count("s5xx"));
        /* 20 first calls pay for 2 repeats, 10 were saved up, and one a second trickles. */
        cr_assert_leq((double)flow_stub_count("s5xx"), 20 + 2 + 10 + (now_s() - began) + 1);
        flow_stub("p5xx=0");
        cr_assert_eq(count_endings("again", 20, "ok"), 20);
}

Test(flow_gates, repeats_that_wait_leave_the_places_to_first_calls)
{
        static const char bad[] = "{\"id\":\"bad%d\",\"input\":\"@@503@@\",\"model\":\"minilm\"}";
        char json[128];

        flow_restart(many_attempts);
        for (int i = 0; i < 200; i++) {
                int len = snprintf(json, sizeof json, bad, i);

                flow_publish("embed", "bulk", NULL, json, (size_t)len, NULL);
        }
        while (flow_stub_count("s5xx") < 64)
                ;
        publish_many("good", 200, "");
        cr_assert_eq(count_endings("good", 200, "ok"), 200);
        cr_assert_lt(flow_stub_count("s5xx"), 280, "and the bad ones were not asked for more and more");
}

static void nervous(struct settings *settings)
{
        settings->retry.attempts_max = 1;
        settings->flood.min = 20;
}

Test(flow_gates, an_outage_stops_intake_until_a_probe_goes_well)
{
        int failed, ok;

        flow_restart(nervous);
        flow_stub("p5xx=1");
        publish_many("flood", 400, "");
        flow_letters("embed", 20);
        flow_submit("rerank", "{\"id\":\"other\",\"query\":\"x\",\"documents\":[{\"id\":\"a\",\"text\":\"x\"}]}");
        cr_assert_str_eq(flow_ending("other"), "ok", "another kind goes on");
        flow_stub("p5xx=0");
        failed = count_endings("flood", 400, "failed dependency.unavailable");
        ok = count_endings("flood", 400, "ok");
        cr_assert_eq(ok + failed, 400);
        cr_assert_eq(failed, 20, "%d: once the guard has tripped nothing more dies of the outage", failed);
        cr_assert(shows_metric("\nmillrace_flood_guard_trips_total 1\n"));
}

static void hasty(struct settings *settings)
{
        settings->retry.attempts_max = 1;
        settings->flood.min = 2;
}

Test(flow_gates, an_outage_leaves_places_to_other_kinds)
{
        flow_restart(hasty);
        flow_submit("embed", "{\"id\":\"first\",\"input\":\"x\",\"model\":\"minilm\"}"); /* the worker is up now */
        cr_assert_str_eq(flow_ending("first"), "ok");
        flow_stub("p5xx=1&delay-ms=500"); /* all places are calling when the first one fails */
        publish_many("flood", 200, "");
        flow_letters("embed", 2);
        for (int i = 0; i < 100; i++) {
                char json[128];

                snprintf(json, sizeof json, "{\"id\":\"other%d\",\"query\":\"x\",\"documents\":[{\"id\":\"a\",\"text\":\"x\"}]}",
                         i);
                flow_submit("rerank", json);
        }
        cr_assert_eq(count_endings("other", 100, "ok"), 100);
        flow_stub("p5xx=0&delay-ms=0");
        cr_assert_eq(count_endings("flood", 200, "ok"), 198);
}

Test(flow_gates, bad_records_stop_nobody)
{
        char json[128];

        flow_restart(nervous);
        for (int i = 0; i < 100; i++) {
                snprintf(json, sizeof json, "{\"id\":\"bad%d\",\"input\":\"%s\",\"model\":\"minilm\"}", i,
                         i % 2 ? "@@context@@" : "@@nan@@");
                flow_publish("embed", "bulk", NULL, json, strlen(json), NULL);
        }
        cr_assert_eq(count_endings("bad", 100, "failed data.context_length"), 50);
        publish_many("good", 20, "");
        cr_assert_eq(count_endings("good", 20, "ok"), 20);
        cr_assert_not(shows_metric("\nmillrace_flood_guard_trips_total 1\n"));
}
