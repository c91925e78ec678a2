#include <criterion/criterion.h>

#include "workers/task/retry_policy.h"

static const struct retry_policy policy = {.attempts_max = 5, .base_ms = 100, .cap_ms = 2000};

static struct error failure(enum error_code code, int64_t retry_after_ms)
{
        struct error e;

        error_set(&e, code, "x");
        e.retry_after_ms = retry_after_ms;
        return e;
}

Test(retry, gives_up_when_retry_after_passes_deadline)
{
        const struct error e = failure(CODE_RATE_LIMITED, 900);
        int64_t at_ms = -1;

        cr_assert_not(retry_at(&policy, &e, 1, 0, 0, 800, 0, &at_ms));
        cr_assert_eq(at_ms, -1, "output untouched on refusal");
        cr_assert(retry_at(&policy, &e, 1, 0, 0, 1000, 0, &at_ms));
        cr_assert_eq(at_ms, 900);
}

Test(retry, doubles_up_to_the_cap_under_full_jitter)
{
        const struct error e = failure(CODE_UNAVAILABLE, 0);
        int64_t at_ms;

        cr_assert(retry_at(&policy, &e, 1, 0, 1000, 99999, 0.5, &at_ms));
        cr_assert_eq(at_ms, 1050);
        cr_assert(retry_at(&policy, &e, 3, 0, 1000, 99999, 0.5, &at_ms));
        cr_assert_eq(at_ms, 1200);
        cr_assert(retry_at(&(struct retry_policy){100, 100, 2000}, &e, 60, 0, 1000, 99999, 0.999, &at_ms));
        cr_assert_leq(at_ms, 3000);
}

Test(retry, attempts_are_bounded_but_for_rate_limits)
{
        const struct error e = failure(CODE_TIMEOUT, 0), limited = failure(CODE_RATE_LIMITED, 0), odd = failure(CODE_BAD_OUTPUT, 0);
        int64_t at_ms;

        cr_assert(retry_at(&policy, &e, 4, 0, 0, 99999, 0, &at_ms));
        cr_assert_not(retry_at(&policy, &e, 5, 0, 0, 99999, 0, &at_ms));
        cr_assert(retry_at(&policy, &limited, 50, 0, 0, 99999, 0, &at_ms));
        cr_assert_gt(at_ms, 0, "never at once");
        cr_assert(retry_at(&policy, &limited, 1, 4, 0, 99999, 0.99, &at_ms));
        cr_assert_gt(at_ms, 1000, "a provider that keeps saying no is asked less and less often");
        cr_assert(retry_at(&policy, &odd, 1, 0, 0, 99999, 0, &at_ms));
        cr_assert_not(retry_at(&policy, &odd, 2, 0, 0, 99999, 0, &at_ms), "bad output is tried once more only");
}

Test(retry, those_told_the_same_time_do_not_come_at_once)
{
        const struct error e = failure(CODE_RATE_LIMITED, 1000), short_wait = failure(CODE_RATE_LIMITED, 10);
        int64_t first, last;

        cr_assert(retry_at(&policy, &e, 1, 6, 0, 99999, 0, &first));
        cr_assert(retry_at(&policy, &e, 1, 6, 0, 99999, 0.999, &last));
        cr_assert_eq(first, 1000);
        cr_assert(last > 1500 && last < 2000, "%d: no further than the time they were told once more", (int)last);
        cr_assert(retry_at(&policy, &short_wait, 1, 6, 0, 99999, 0.999, &last));
        cr_assert(last > 300 && last < 510, "%d: who keeps saying soon is still asked less and less often", (int)last);
}

Test(retry, leaves_time_for_the_call)
{
        const struct error e = failure(CODE_UNAVAILABLE, 0);
        int64_t at_ms;

        cr_assert(retry_at(&(struct retry_policy){9, 60000, 60000}, &e, 1, 0, 0, 1000, 0.999, &at_ms));
        cr_assert_leq(at_ms, 500, "chance alone never makes a request expire");
        cr_assert(retry_at(&policy, &e, 1, 0, 0, 1, 0.999, &at_ms));
        cr_assert_eq(at_ms, 0);
        cr_assert_not(retry_at(&policy, &e, 1, 0, 5, 5, 0, &at_ms));
        cr_assert_not(retry_at(&policy, &e, 1, 0, 6, 5, 0, &at_ms));
}

/* What must hold whatever the numbers are. */
Test(retry, holds_its_promises_over_many_numbers)
{
        uint64_t seed = 88172645463325252;

        for (int round = 0; round < 200000; round++) {
                uint64_t r[8];
                struct retry_policy p;
                struct error e;
                int64_t now, deadline, at = -1, ceiling;
                int attempts, limited;

                for (size_t i = 0; i < 8; i++) {
                        seed ^= seed << 13;
                        seed ^= seed >> 7;
                        seed ^= seed << 17;
                        r[i] = seed >> 11;
                }
                p = (struct retry_policy){1 + (int)(r[0] % 100), 1 + (int64_t)(r[1] % 3600000), 1 + (int64_t)(r[2] % 86400000)};
                e = failure((enum error_code)(1 + r[3] % (CODE_COUNT - 1)), r[3] & 1024 ? (int64_t)(r[4] % 86400001) : 0);
                attempts = 1 + (int)(r[4] % 120);
                limited = (int)(r[5] % 1000);
                now = (int64_t)(r[6] % 1000000000);
                deadline = now + (int64_t)(r[7] % 200000000) - 1000000;
                ceiling = attempts + limited - 1 > 24 ? p.cap_ms : p.base_ms << (attempts + limited - 1);
                if (!retry_at(&p, &e, attempts, limited, now, deadline, (double)(r[5] >> 20) / 8589934592.0, &at)) {
                        cr_assert_eq(at, -1);
                        continue;
                }
                cr_assert(e.retriable);
                cr_assert_geq(at, now + e.retry_after_ms, "never before the other side's time");
                cr_assert_lt(at, deadline);
                cr_assert(e.code == CODE_RATE_LIMITED || attempts < p.attempts_max);
                cr_assert(e.code != CODE_RATE_LIMITED || e.retry_after_ms || at >= now + 500);
                cr_assert(e.code != CODE_BAD_OUTPUT || attempts == 1);
                cr_assert_leq(at, now + (e.retry_after_ms ? e.retry_after_ms : e.code == CODE_RATE_LIMITED ? 500 : 0) +
                                          (ceiling < p.cap_ms ? ceiling : p.cap_ms));
                cr_assert(at <= now + 500 || at - now <= e.retry_after_ms + (deadline - now - e.retry_after_ms) / 2 + 500);
        }
}

Test(retry, what_will_not_pass_is_not_tried_again)
{
        const struct error e = failure(CODE_SCHEMA, 0);
        int64_t at_ms;

        cr_assert_not(retry_at(&policy, &e, 1, 0, 0, 99999, 0, &at_ms));
}

Test(retry, tiers_hold_the_wait)
{
        const int64_t delays[] = {5000, 60000, 600000};

        cr_assert_eq(retry_tier(delays, 3, 1), 0);
        cr_assert_eq(retry_tier(delays, 3, 5001), 1);
        cr_assert_eq(retry_tier(delays, 3, 9999999), 2);
}
