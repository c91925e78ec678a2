#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "providers/latency.h"

static void note(struct latency *latency, int64_t now, int64_t took_ms, int count)
{
        for (int i = 0; i < count; i++)
                latency_note(latency, now, took_ms);
}

static int ascending(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return (x > y) - (x < y);
}

Test(latency, is_empty_at_first)
{
        struct latency l = {0};
        size_t samples = 7;

        cr_assert_eq(latency_p95(&l, 0, &samples), -1);
        cr_assert_eq(samples, 0);
        cr_assert(latency_fits(&l, 0, 0));
        cr_assert(latency_fits(&l, 0, -5));
}

Test(latency, takes_the_nearest_rank)
{
        struct latency l = {0};
        size_t samples;

        for (int i = 1; i <= 20; i++)
                note(&l, 1000, i, 1);
        cr_assert_eq(latency_p95(&l, 1000, &samples), 19);
        cr_assert_eq(samples, 20);
        note(&l, 1000, 20, 1);
        cr_assert_eq(latency_p95(&l, 1000, NULL), 20, "20 of 21");
}

Test(latency, is_true_to_five_percent_at_any_size)
{
        uint64_t seed = 88172645463325252;

        for (int round = 0; round < 400; round++) {
                struct latency l = {0};
                int64_t values[200], longest = ((int64_t)1 << (round % 22)) + 1, exact, found;
                size_t count = 1 + (size_t)(round % 200);

                for (size_t i = 0; i < count; i++) {
                        seed ^= seed << 13;
                        seed ^= seed >> 7;
                        seed ^= seed << 17;
                        values[i] = (int64_t)(seed >> 11) % longest;
                        latency_note(&l, 100000 + (int64_t)i, values[i]);
                }
                qsort(values, count, sizeof values[0], ascending);
                exact = values[(count * 95 + 99) / 100 - 1];
                found = latency_p95(&l, 100300, NULL);
                cr_assert(llabs(found - exact) * 32 <= exact, "%d: %d for %d", round, (int)found, (int)exact);
        }
}

Test(latency, bears_any_value)
{
        struct latency l = {0};

        note(&l, 0, -1, 1);
        cr_assert_eq(latency_p95(&l, 0, NULL), 0);
        note(&l, 0, INT64_MAX, 100);
        cr_assert_gt(latency_p95(&l, 0, NULL), 4000000, "what is longer than an hour counts as that");
        cr_assert_geq(latency_p95(&l, INT64_MAX, NULL), -1);
        cr_assert_geq(latency_p95(&l, -1, NULL), -1);
}

Test(latency, forgets_after_a_minute)
{
        struct latency l = {0};
        size_t samples;

        note(&l, 2500, 900, 50);
        latency_p95(&l, 59999, &samples);
        cr_assert_eq(samples, 50);
        latency_p95(&l, 62500, &samples);
        cr_assert_eq(samples, 0);
        note(&l, 63000, 5, 1); /* the same slot */
        cr_assert_eq(latency_p95(&l, 63000, &samples), 5);
        cr_assert_eq(samples, 1);
        cr_assert_eq(latency_p95(&l, 6300000, NULL), -1, "after a long pause");
        note(&l, 10, 77, 1);
        cr_assert_eq(latency_p95(&l, 10, NULL), 77, "a clock that went back");
}

Test(latency, refuses_only_on_fifty_samples)
{
        struct latency l = {0};

        note(&l, 0, 1000, 49);
        cr_assert(latency_fits(&l, 0, 100));
        note(&l, 0, 1000, 1);
        cr_assert_not(latency_fits(&l, 0, 100));
        cr_assert(latency_fits(&l, 0, 1000));
        cr_assert(latency_fits(&l, 61000, 100), "of the last minute");
}

Test(latency, looks_at_the_p95_not_at_the_longest)
{
        struct latency l = {0};

        note(&l, 0, 10, 95);
        note(&l, 0, 5000, 5);
        cr_assert(latency_fits(&l, 0, 100));
        cr_assert_not(latency_fits(&l, 0, 9));
}

Test(latency, lets_one_in_twenty_pass_so_that_the_gate_opens_again)
{
        struct latency l = {0};
        int passed = 0;

        note(&l, 0, 1000, 1000);
        for (int i = 1; i <= 200; i++) {
                if (!latency_fits(&l, 0, 100))
                        continue;
                passed++;
                cr_assert_eq(i % 20, 0);
        }
        cr_assert_eq(passed, 10);
        /* The model is fast again: those that pass say so, and the old samples leave. */
        for (int64_t now = 0; now < 70000; now += 10)
                if (latency_fits(&l, now, 100))
                        latency_note(&l, now, 20);
        cr_assert_eq(latency_p95(&l, 70000, NULL), 20);
        for (int i = 0; i < 40; i++)
                cr_assert(latency_fits(&l, 70000, 100));
}
