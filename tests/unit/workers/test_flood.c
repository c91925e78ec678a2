#include <criterion/criterion.h>
#include <stdio.h>

#include "workers/flood.h"

static struct flood *guard(double ratio, int min, int64_t window_s)
{
        struct settings settings = {.flood = {ratio, min, window_s}};
        struct flood *flood = flood_new();

        cr_assert_not_null(flood);
        flood_configure(flood, &settings);
        return flood;
}

/* True: one of them tripped it. */
static bool note(struct flood *flood, enum flood_end end, int count, int64_t now)
{
        bool tripped = false;

        for (int i = 0; i < count; i++)
                tripped |= flood_note(flood, KIND_EMBED, "tei", end, now);
        return tripped;
}

static enum flood_verdict ask(struct flood *flood, int64_t now, struct flood_pass *ret_pass)
{
        return flood_gate(flood, KIND_EMBED, "tei", now, ret_pass);
}

static bool report(struct flood *flood, const struct flood_pass *pass, enum flood_end end, int64_t now)
{
        return flood_probe_done(flood, KIND_EMBED, "tei", pass->probe, end, now);
}

Test(flood, counts_what_the_contract_says)
{
        static const enum error_code failures[] = {CODE_CONNECT,     CODE_TIMEOUT,      CODE_RATE_LIMITED,
                                                   CODE_UNAVAILABLE, CODE_BAD_RESPONSE, CODE_CIRCUIT_OPEN,
                                                   CODE_AUTH,        CODE_QUOTA,        CODE_INTERNAL};

        cr_assert_eq(flood_end_of(CODE_NONE), FLOOD_OK);
        for (int code = 1; code < CODE_COUNT; code++) {
                enum flood_end want = FLOOD_SILENT;

                for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++)
                        if ((enum error_code)code == failures[i])
                                want = FLOOD_FAILED;
                cr_assert_eq(flood_end_of((enum error_code)code), want, "%s", error_code_name((enum error_code)code));
        }
}

Test(flood, trips_at_min_and_ratio_only)
{
        struct flood *flood = guard(0.5, 20, 60);

        cr_assert_not(note(flood, FLOOD_FAILED, 19, 1000));
        cr_assert_not(flood_tripped(flood, KIND_EMBED, "tei"));
        cr_assert(note(flood, FLOOD_FAILED, 1, 1000));
        cr_assert(flood_tripped(flood, KIND_EMBED, "tei"));
        cr_assert_not(note(flood, FLOOD_FAILED, 5, 1000), "it trips once");
        flood_free(flood);
        flood = guard(0.5, 20, 60);
        note(flood, FLOOD_OK, 100, 1000);
        cr_assert_not(note(flood, FLOOD_FAILED, 99, 1000), "99 of 199 are less than half");
        cr_assert(note(flood, FLOOD_FAILED, 1, 1000));
        flood_free(flood);
        flood = guard(1, 20, 60);
        note(flood, FLOOD_OK, 1, 1000);
        cr_assert_not(note(flood, FLOOD_FAILED, 5000, 1000), "all of them means all");
        flood_free(flood);
}

Test(flood, guards_each_kind_and_provider_alone)
{
        struct flood *flood = guard(0.5, 20, 60);
        struct flood_pass pass;

        cr_assert(note(flood, FLOOD_FAILED, 20, 0));
        cr_assert_eq(ask(flood, 0, &pass), FLOOD_WAIT);
        cr_assert_eq(flood_gate(flood, KIND_LLM, "tei", 0, &pass), FLOOD_PASS);
        cr_assert_eq(flood_gate(flood, KIND_EMBED, "teil", 0, &pass), FLOOD_PASS);
        cr_assert_eq(flood_gate(flood, KIND_EMBED, "", 0, &pass), FLOOD_PASS);
        cr_assert_eq(flood_each(flood, NULL, NULL), 1);
        flood_free(flood);
}

Test(flood, one_producers_bad_records_neither_trip_it_nor_thin_it_out)
{
        struct flood *flood = guard(0.5, 20, 60);

        note(flood, flood_end_of(CODE_SCHEMA), 100000, 0);
        note(flood, flood_end_of(CODE_CONTENT_FILTER), 100000, 0);
        note(flood, flood_end_of(CODE_DEADLINE), 100000, 0);
        cr_assert_not(flood_tripped(flood, KIND_EMBED, "tei"));
        note(flood, FLOOD_OK, 10, 0);
        cr_assert(note(flood, flood_end_of(CODE_UNAVAILABLE), 20, 0), "all others' records die: 20 of 30");
        flood_free(flood);
}

Test(flood, forgets_what_is_older_than_the_window)
{
        struct flood *flood = guard(0.5, 20, 60);

        note(flood, FLOOD_FAILED, 19, 1000);
        cr_assert_not(note(flood, FLOOD_FAILED, 19, 62000));
        cr_assert(note(flood, FLOOD_FAILED, 1, 63000));
        flood_free(flood);
        flood = guard(0.5, 20, 60);
        note(flood, FLOOD_OK, 1000000, 1000);
        cr_assert(note(flood, FLOOD_FAILED, 20, 62000), "a good hour before does not hide an outage");
        flood_free(flood);
        flood = guard(0.5, 20, 60);
        for (int i = 0; i < 1000; i++)
                cr_assert_not(note(flood, FLOOD_FAILED, 1, i * 4000), "a failure now and then is none");
        flood_free(flood);
        flood = guard(0.5, 2, 1);
        note(flood, FLOOD_FAILED, 1, 100);
        cr_assert(note(flood, FLOOD_FAILED, 1, 900), "the shortest window");
        flood_free(flood);
}

Test(flood, probes_one_at_a_time_less_and_less_often)
{
        static const int64_t gaps[] = {1000, 2000, 4000, 8000, 15000, 15000};
        struct flood *flood = guard(0.5, 20, 60);
        struct flood_pass probe, other;
        int64_t now = 5000;

        cr_assert_eq(ask(flood, now, &probe), FLOOD_PASS);
        note(flood, FLOOD_FAILED, 20, now);
        for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++) {
                cr_assert_eq(ask(flood, now, &other), FLOOD_WAIT);
                cr_assert_eq(other.wait_ms, gaps[i]);
                cr_assert_eq(other.probe, 0);
                now += gaps[i];
                cr_assert_eq(ask(flood, now - 1, &other), FLOOD_WAIT);
                cr_assert_gt(other.wait_ms, 0);
                cr_assert_eq(ask(flood, now, &probe), FLOOD_PROBE);
                cr_assert_neq(probe.probe, 0);
                cr_assert_eq(ask(flood, now, &other), FLOOD_WAIT, "one at a time");
                now += 70;
                cr_assert_not(report(flood, &probe, FLOOD_FAILED, now));
        }
        flood_free(flood);
}

Test(flood, opens_when_a_probe_goes_well)
{
        struct flood *flood = guard(0.5, 20, 60);
        struct flood_pass probe, pass;

        note(flood, FLOOD_FAILED, 20, 0);
        cr_assert_not(note(flood, FLOOD_OK, 500, 10));
        cr_assert(flood_tripped(flood, KIND_EMBED, "tei"), "what was under way does not open it");
        cr_assert_eq(ask(flood, 1000, &probe), FLOOD_PROBE);
        cr_assert(report(flood, &probe, FLOOD_OK, 1020));
        cr_assert_not(report(flood, &probe, FLOOD_OK, 1030), "once");
        cr_assert_eq(ask(flood, 1030, &pass), FLOOD_PASS);
        cr_assert_not(note(flood, FLOOD_FAILED, 19, 1040), "the window was emptied");
        cr_assert(note(flood, FLOOD_FAILED, 1, 1040));
        flood_free(flood);
}

Test(flood, a_relapse_goes_on_with_the_interval_where_it_was)
{
        struct flood *flood = guard(0.5, 20, 60);
        struct flood_pass probe, pass;
        int64_t now = 0;

        note(flood, FLOOD_FAILED, 20, now);
        for (int i = 0; i < 3; i++) {
                ask(flood, now, &pass);
                now += pass.wait_ms;
                cr_assert_eq(ask(flood, now, &probe), FLOOD_PROBE);
                report(flood, &probe, i < 2 ? FLOOD_FAILED : FLOOD_OK, now);
        }
        note(flood, FLOOD_FAILED, 20, now + 1000);
        ask(flood, now + 1000, &pass);
        cr_assert_eq(pass.wait_ms, 4000);
        cr_assert_eq(ask(flood, now + 5000, &probe), FLOOD_PROBE);
        report(flood, &probe, FLOOD_OK, now + 5000);
        note(flood, FLOOD_FAILED, 20, now + 100000);
        ask(flood, now + 100000, &pass);
        cr_assert_eq(pass.wait_ms, 1000, "after a good while it begins anew");
        flood_free(flood);
}

Test(flood, a_probe_that_says_nothing_makes_room_at_once)
{
        struct flood *flood = guard(0.5, 20, 60);
        struct flood_pass probe, next;

        note(flood, FLOOD_FAILED, 20, 0);
        cr_assert_eq(ask(flood, 1000, &probe), FLOOD_PROBE);
        cr_assert_not(report(flood, &probe, flood_end_of(CODE_CONTEXT_LENGTH), 1001));
        cr_assert_eq(ask(flood, 1001, &next), FLOOD_PROBE);
        cr_assert_neq(next.probe, probe.probe);
        flood_free(flood);
}

Test(flood, a_probe_that_never_reports_frees_its_slot)
{
        struct flood *flood = guard(0.5, 20, 60);
        struct flood_pass lost, probe, pass;

        note(flood, FLOOD_FAILED, 20, 0);
        cr_assert_eq(ask(flood, 1000, &lost), FLOOD_PROBE);
        cr_assert_eq(ask(flood, 1000 + FLOOD_PROBE_LIMIT_MS - 1, &pass), FLOOD_WAIT);
        cr_assert_eq(ask(flood, 1000 + FLOOD_PROBE_LIMIT_MS, &pass), FLOOD_WAIT, "as if it had failed");
        cr_assert_eq(pass.wait_ms, 2000);
        cr_assert_eq(ask(flood, 3000 + FLOOD_PROBE_LIMIT_MS, &probe), FLOOD_PROBE);
        cr_assert_not(report(flood, &lost, FLOOD_FAILED, 3001 + FLOOD_PROBE_LIMIT_MS));
        cr_assert_eq(ask(flood, 90000, &pass), FLOOD_WAIT, "the late one's failure is not the other's");
        cr_assert(report(flood, &lost, FLOOD_OK, 90000), "but a late ok is one");
        cr_assert_not(report(flood, &probe, FLOOD_FAILED, 90001), "of a guard that is open");
        cr_assert_eq(ask(flood, 90001, &pass), FLOOD_PASS);
        flood_free(flood);
}

static void keep(void *user, const struct flood_view *view)
{
        *(struct flood_view *)user = *view;
}

Test(flood, shows_what_stands_still)
{
        struct flood *flood = guard(0.5, 20, 60);
        struct flood_view view = {0};
        struct flood_pass probe;

        note(flood, FLOOD_OK, 5, 900);
        cr_assert_eq(flood_each(flood, keep, &view), 0);
        note(flood, FLOOD_FAILED, 20, 1000);
        note(flood, FLOOD_FAILED, 3, 1100);
        cr_assert_eq(flood_each(flood, keep, &view), 1);
        cr_assert_eq(view.kind, KIND_EMBED);
        cr_assert_str_eq(view.provider, "tei");
        cr_assert_eq(view.since, 1000);
        cr_assert_eq(view.failures, 23);
        cr_assert_eq(view.ends, 28);
        cr_assert_eq(view.next_probe, 2000);
        cr_assert_not(view.probing);
        cr_assert_eq(ask(flood, 2000, &probe), FLOOD_PROBE);
        flood_each(flood, keep, &view);
        cr_assert(view.probing);
        cr_assert_eq(view.probes, 1);
        flood_free(flood);
}

Test(flood, is_bounded_and_keeps_what_has_tripped)
{
        struct flood *flood = guard(0.5, 20, 60);
        char name[80];

        note(flood, FLOOD_FAILED, 20, 0);
        for (int i = 0; i < 10000; i++) {
                snprintf(name, sizeof name, "provider-%d", i);
                flood_note(flood, KIND_LLM, name, FLOOD_FAILED, i);
        }
        cr_assert(flood_tripped(flood, KIND_EMBED, "tei"), "the oldest, but it has tripped");
        for (int i = 0; i < 20; i++)
                flood_note(flood, KIND_LLM, "provider-9999", FLOOD_FAILED, 10000);
        cr_assert(flood_tripped(flood, KIND_LLM, "provider-9999"));
        memset(name, 'x', sizeof name);
        name[79] = '\0';
        for (int i = 0; i < 20; i++)
                flood_note(flood, KIND_LLM, name, FLOOD_FAILED, 10000);
        cr_assert(flood_tripped(flood, KIND_LLM, name), "a name longer than any that is configured");
        flood_free(flood);
}

Test(flood, takes_other_limits_while_it_works)
{
        struct flood *flood = guard(0.5, 20, 60);
        struct settings settings = {.flood = {0.5, 10, 60}};

        note(flood, FLOOD_FAILED, 15, 0);
        flood_configure(flood, &settings);
        cr_assert(note(flood, FLOOD_FAILED, 1, 0), "what was counted still counts");
        settings.flood.window_s = 30;
        flood_configure(flood, &settings);
        cr_assert(flood_tripped(flood, KIND_EMBED, "tei"));
        flood_free(flood);
}
