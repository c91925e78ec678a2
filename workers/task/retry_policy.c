#include "workers/task/retry_policy.h"


enum { DOUBLINGS_MAX = 30, RATE_LIMITED_MIN_MS = 500 };

bool retry_at(const struct retry_policy *policy, const struct error *e, int attempts, int limited, int64_t now, int64_t deadline, double chance,
              int64_t *ret_at_ms)
{
        bool free_of_charge = e->code == CODE_RATE_LIMITED;
        int tries = attempts + limited, doublings = tries < 1 ? 0 : tries - 1 > DOUBLINGS_MAX ? DOUBLINGS_MAX : tries - 1;
        int64_t ceiling = policy->base_ms << doublings, wait;

        if (!e->retriable || (!free_of_charge && attempts >= policy->attempts_max) || (e->code == CODE_BAD_OUTPUT && attempts >= 2))
                return false;
        if (ceiling > policy->cap_ms)
                ceiling = policy->cap_ms;
        wait = (int64_t)((double)ceiling * chance);
        if (free_of_charge && wait < RATE_LIMITED_MIN_MS)
                wait = RATE_LIMITED_MIN_MS;
        if (wait < e->retry_after_ms)
                wait = e->retry_after_ms;
        if (now + wait >= deadline)
                return false;
        *ret_at_ms = now + wait;
        return true;
}

size_t retry_tier(const int64_t *delays_ms, size_t count, int64_t wait_ms)
{
        for (size_t i = 0; i < count; i++)
                if (delays_ms[i] >= wait_ms)
                        return i;
        return count - 1;
}
