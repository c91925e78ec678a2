#include "providers/latency.h"

#include <string.h>

enum { SUB_BITS = 4, SUB_BUCKETS = 1 << SUB_BITS };

/* Below 32 each value has its bucket; above, each power of two has sixteen:
 *      0 … 31 | 32,33 … 62,63 | 64…67 … 124…127 | … */
static size_t bucket_of(int64_t ms)
{
        int shift;
        size_t bucket;

        if (ms < 0)
                ms = 0;
        if (ms < 2 * SUB_BUCKETS)
                return (size_t)ms;
        shift = 63 - __builtin_clzll((unsigned long long)ms) - SUB_BITS;
        bucket = (size_t)shift * SUB_BUCKETS + (size_t)(ms >> shift);
        return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* The middle of a bucket. */
static int64_t bucket_ms(size_t bucket)
{
        size_t shift;

        if (bucket < 2 * SUB_BUCKETS)
                return (int64_t)bucket;
        shift = bucket / SUB_BUCKETS - 1;
        return (int64_t)((bucket % SUB_BUCKETS + SUB_BUCKETS) << shift) + ((int64_t)1 << shift) / 2;
}

static int64_t turn_of(int64_t now)
{
        return (now > 0 ? now : 0) / LATENCY_SLOT_MS + 1;
}

static bool is_recent(const struct latency_slot *slot, int64_t now)
{
        int64_t turn = turn_of(now);

        return slot->turn && slot->turn <= turn && slot->turn > turn - LATENCY_SLOTS;
}

void latency_note(struct latency *latency, int64_t now, int64_t took_ms)
{
        struct latency_slot *slot = &latency->slots[turn_of(now) % LATENCY_SLOTS];

        if (slot->turn != turn_of(now)) {
                memset(slot, 0, sizeof *slot);
                slot->turn = turn_of(now);
        }
        if (slot->samples == UINT32_MAX)
                return;
        slot->samples++;
        slot->buckets[bucket_of(took_ms)]++;
        if (took_ms > slot->longest_ms)
                slot->longest_ms = took_ms;
}

/* The samples of the window, and the longest of them. */
static uint64_t survey(const struct latency *latency, int64_t now, int64_t *ret_longest_ms)
{
        uint64_t samples = 0;

        *ret_longest_ms = 0;
        for (size_t i = 0; i < LATENCY_SLOTS; i++) {
                const struct latency_slot *slot = &latency->slots[i];

                if (!is_recent(slot, now))
                        continue;
                samples += slot->samples;
                if (slot->longest_ms > *ret_longest_ms)
                        *ret_longest_ms = slot->longest_ms;
        }
        return samples;
}

int64_t latency_p95(const struct latency *latency, int64_t now, size_t *ret_samples)
{
        int64_t longest_ms, ms;
        uint64_t samples = survey(latency, now, &longest_ms), rank = (samples * 95 + 99) / 100, seen = 0;
        size_t bucket;

        if (ret_samples)
                *ret_samples = (size_t)samples;
        if (!samples)
                return -1;
        for (bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
                for (size_t i = 0; i < LATENCY_SLOTS; i++)
                        if (is_recent(&latency->slots[i], now))
                                seen += latency->slots[i].buckets[bucket];
                if (seen >= rank)
                        break;
        }
        ms = bucket_ms(bucket);
        return ms < longest_ms ? ms : longest_ms;
}

bool latency_fits(struct latency *latency, int64_t now, int64_t remaining_ms)
{
        int64_t longest_ms;
        uint64_t samples = survey(latency, now, &longest_ms);

        /* Nearly every call ends here, without a look at the buckets. */
        if (samples < LATENCY_SAMPLES_MIN || longest_ms <= remaining_ms || latency_p95(latency, now, NULL) <= remaining_ms)
                return true;
        if (++latency->misfits < LATENCY_PASS_EVERY)
                return false;
        latency->misfits = 0;
        return true;
}
