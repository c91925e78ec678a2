#include <criterion/criterion.h>

#include "providers/retry_budget.h"

static int take_all(struct retry_budget *budget, int64_t now)
{
        int taken = 0;

        while (taken < 1000 && retry_budget_take(budget, now))
                taken++;
        return taken;
}

Test(retry_budget, begins_full_and_saves_up_no_more)
{
        struct retry_budget b;

        retry_budget_init(&b, 5000);
        for (int i = 0; i < 100000; i++)
                retry_budget_earn(&b, 0.1);
        cr_assert_eq(take_all(&b, 5000), 10);
        cr_assert_eq(take_all(&b, 500000), 10, "nor by time");
}

Test(retry_budget, ten_first_calls_pay_for_a_repeat)
{
        struct retry_budget b;

        retry_budget_init(&b, 0);
        take_all(&b, 0);
        for (int i = 0; i < 9; i++)
                retry_budget_earn(&b, 0.1);
        cr_assert_not(retry_budget_take(&b, 0));
        retry_budget_earn(&b, 0.1);
        cr_assert(retry_budget_take(&b, 0));
        cr_assert_not(retry_budget_take(&b, 0));
}

Test(retry_budget, the_last_record_of_an_idle_queue_gets_through)
{
        struct retry_budget b;
        int64_t wait;

        retry_budget_init(&b, 0);
        take_all(&b, 0);
        for (int i = 0; i < 100; i++)
                retry_budget_earn(&b, 0); /* a ratio of 0 is allowed */
        wait = retry_budget_wait_ms(&b, 0, 0);
        cr_assert_eq(wait, 1000);
        cr_assert_not(retry_budget_take(&b, wait - 1));
        cr_assert(retry_budget_take(&b, wait));
}

Test(retry_budget, those_who_wait_come_at_different_times)
{
        struct retry_budget b;

        retry_budget_init(&b, 0);
        cr_assert_eq(retry_budget_wait_ms(&b, 0, 0), 1, "there is one");
        take_all(&b, 0);
        cr_assert_eq(retry_budget_wait_ms(&b, 0, 0.5), 1500);
        cr_assert_leq(retry_budget_wait_ms(&b, 0, 0.9999), 2000);
        cr_assert_eq(retry_budget_wait_ms(&b, 400, 0), 600);
        cr_assert_eq(retry_budget_wait_ms(&b, 40000, 0), 1);
}

/* Everything fails: calls at a steady rate for ten minutes, every failure wants to be repeated at once. */
Test(retry_budget, extra_calls_are_a_tenth_and_a_trickle)
{
        struct retry_budget b;
        int first = 0, repeats = 0;

        retry_budget_init(&b, 0);
        for (int64_t now = 0; now < 600000; now += 10) {
                first++;
                retry_budget_earn(&b, 0.1);
                while (retry_budget_take(&b, now)) {
                        repeats++;
                        retry_budget_ended(&b, now, true);
                }
        }
        cr_assert_leq(repeats, first / 10 + 10 + 600);
        cr_assert_geq(repeats, first / 10 + 600 - 10);
}

/* An outage leaves 10,000 records that want a repeat, and no first calls: 1 a second would take hours. */
Test(retry_budget, a_backlog_drains_once_repeats_go_well)
{
        struct retry_budget b;
        int64_t now = 0;
        int left = 10000;

        retry_budget_init(&b, 0);
        for (; now < 60000; now += 10)
                while (retry_budget_take(&b, now))
                        retry_budget_ended(&b, now, true);
        for (; left > 0 && now < 600000; now += 10)
                while (left > 0 && retry_budget_take(&b, now)) {
                        left--;
                        retry_budget_ended(&b, now, false);
                }
        cr_assert_eq(left, 0);
        cr_assert_lt(now - 60000, 120000);
        for (int i = 0; i < 20; i++)
                retry_budget_ended(&b, now, true);
        take_all(&b, now);
        cr_assert_eq(take_all(&b, now + 5000), 5, "and a new outage finds the trickle small");
}

/* A provider that fails at random: what has trickled stays small where repeats fail often. */
Test(retry_budget, the_trickle_follows_how_ill_the_provider_is)
{
        static const struct {
                int fails_of_100, a_second_max;
        } rows[] = {{100, 1}, {70, 4}, {30, 14}, {10, 50}};

        for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
                struct retry_budget b;
                uint64_t seed = 88172645463325252;
                int taken = 0;

                retry_budget_init(&b, 0);
                for (int64_t now = 0; now < 1000000; now += 10)
                        while (retry_budget_take(&b, now)) {
                                taken++;
                                seed ^= seed << 13;
                                seed ^= seed >> 7;
                                seed ^= seed << 17;
                                retry_budget_ended(&b, now, (int)((seed >> 11) % 100) < rows[row].fails_of_100);
                        }
                cr_assert_leq(taken, 10 + rows[row].a_second_max * 1000, "%d %%: %d", rows[row].fails_of_100, taken);
                cr_assert_geq(taken, 1000);
        }
}

Test(retry_budget, an_unused_token_comes_back)
{
        struct retry_budget b;

        retry_budget_init(&b, 0);
        take_all(&b, 0);
        retry_budget_return(&b);
        cr_assert(retry_budget_take(&b, 0));
}

Test(retry_budget, few_wait_in_memory)
{
        struct retry_budget b;

        retry_budget_init(&b, 0);
        cr_assert(retry_budget_queue(&b, 2));
        cr_assert(retry_budget_queue(&b, 2));
        cr_assert_not(retry_budget_queue(&b, 2));
        retry_budget_unqueue(&b);
        cr_assert(retry_budget_queue(&b, 2));
        cr_assert_not(retry_budget_queue(&b, 0));
}

Test(retry_budget, bears_a_clock_that_goes_back)
{
        struct retry_budget b;

        retry_budget_init(&b, 100000);
        take_all(&b, 100000);
        cr_assert_not(retry_budget_take(&b, 1000));
        cr_assert_not(retry_budget_take(&b, 1999));
        cr_assert(retry_budget_take(&b, 2000), "a second from there");
}
