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
