#include "workers/task/retry_policy.h"

enum { DOUBLINGS_MAX = 30, RATE_LIMITED_MIN_MS = 500 };

static int64_t smaller(int64_t a, int64_t b)
{
        return a < b ? a : b;
}

/* min(cap, base · 2^(tries − 1)) */
static int64_t ceiling_of(const struct retry_policy *policy, int tries)
{
        int doublings = tries < 1 ? 0 : tries - 1 > DOUBLINGS_MAX ? DOUBLINGS_MAX : tries - 1;

        return smaller(policy->base_ms << doublings, policy->cap_ms);
}

bool retry_at(const struct retry_policy *policy, const struct error *e, int attempts, int limited, int64_t now, int64_t deadline,
              double chance, int64_t *ret_at_ms)
{
        bool free_of_charge = e->code == CODE_RATE_LIMITED;
        int64_t least = e->retry_after_ms > 0 ? e->retry_after_ms : free_of_charge ? RATE_LIMITED_MIN_MS : 0;
        int64_t spread = ceiling_of(policy, attempts + limited), left, jitter;

        if (!e->retriable || (!free_of_charge && attempts >= policy->attempts_max) || (e->code == CODE_BAD_OUTPUT && attempts >= 2))
                return false;
        if (deadline <= now || least >= deadline - now)
                return false;
        left = deadline - now - least;
        if (e->retry_after_ms > 0) /* its own word is nearly exact: spread only as far as that goes */
                spread = smaller(spread, least > RATE_LIMITED_MIN_MS ? least : RATE_LIMITED_MIN_MS);
        spread = smaller(spread, left / 2);
        jitter = (int64_t)((double)spread * chance);
        *ret_at_ms = now + least + smaller(jitter, spread);
        return true;
}

size_t retry_tier(const int64_t *delays_ms, size_t count, int64_t wait_ms)
{
        for (size_t i = 0; i < count; i++)
                if (delays_ms[i] >= wait_ms)
                        return i;
        return count - 1;
}
