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

/* After `attempts` counted attempts (≥ 1), and `limited` rate-limited calls in a row, the last of which failed with *e: true
 * and the point in time of the next one, or false when there is none: the error won't go away, attempts are used up, or the
 * least wait passes the deadline.
 *
 *      now ├─── least wait ───┤├──────── spread ────────┤                deadline
 *
 * The least wait is what the other side asks for (retry_after_ms), else half a second for a rate-limited call, else 0. On top
 * comes full jitter: uniform in 0 … min(cap, base · 2^(attempts + limited − 1)) by chance (0 ≤ chance < 1). Also where the
 * other side named a time: all who were told the same would come back at once; but no further than that time once more (or half
 * a second). The spread never takes more than half of what is left to the deadline, so that time for the call remains. A
 * rate-limited call is no attempt, so it is bounded by the deadline alone. bad_output is tried once more at most. now,
 * deadline: the same clock, ms. base_ms ≥ 0, cap_ms ≤ a day. */
bool retry_at(const struct retry_policy *policy, const struct error *e, int attempts, int limited, int64_t now, int64_t deadline, double chance,
              int64_t *ret_at_ms);

/* A retry topic's tier for a wait: the first whose delay is at least the wait, else the longest. delays_ms ascending, count ≥ 1. */
size_t retry_tier(const int64_t *delays_ms, size_t count, int64_t wait_ms);

#endif
