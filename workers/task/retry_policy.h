/* When, and whether, to try again: pure; time and chance are arguments. */
#ifndef WORKERS_TASK_RETRY_POLICY_H
#define WORKERS_TASK_RETRY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"

struct retry_policy {
        int attempts_max;
        int64_t base_ms, cap_ms;
};

/* After `attempts` counted attempts (≥ 1), and `limited` rate-limited calls in a row, the last of which failed with *e: true and the point in time of the next one, or false when there
 * is none: the error won't go away, attempts are used up, or the deadline would pass before it. Full jitter: uniform in 0 … min(cap, base ·
 * 2^(attempts + limited − 1)) by chance (0 ≤ chance < 1); the other side's retry_after is a minimum. A rate-limited call is no attempt, so it is
 * bounded by the deadline alone. bad_output is tried once more at most. now, deadline: the same clock, ms. */
bool retry_at(const struct retry_policy *policy, const struct error *e, int attempts, int limited, int64_t now, int64_t deadline, double chance,
              int64_t *ret_at_ms);

/* A retry topic's tier for a wait: the first whose delay is at least the wait, else the longest. delays_ms ascending, count ≥ 1. */
size_t retry_tier(const int64_t *delays_ms, size_t count, int64_t wait_ms);

#endif
