/* How long one model's calls took in the last minute, and whether one more fits into what is left of a deadline.
 *
 *      slot:  |  5 s  |  5 s  | … 12 of them: the window is 55…60 s long; each: a histogram of buckets that widen with the value
 *
 * Pure: the time is an argument. Fixed memory (15 KB), no allocation; embedded, a zeroed struct is an empty one. Loop thread
 * (one at a time). Values are true to 1/32 (3.1 %), below 32 ms to the millisecond. */
#ifndef PROVIDERS_LATENCY_H
#define PROVIDERS_LATENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        LATENCY_SLOTS = 12,
        LATENCY_SLOT_MS = 5000,
        LATENCY_BUCKETS = 304,      /* up to 2^22 ms, more than an hour; what is longer counts as that */
        LATENCY_SAMPLES_MIN = 50,   /* in the window, before anything is refused */
        LATENCY_PASS_EVERY = 20,    /* of those that do not fit one passes */
};

struct latency {
        struct latency_slot {
                int64_t turn; /* which 5 s since the clock's zero, plus 1; 0: never used */
                int64_t longest_ms;
                uint32_t samples;
                uint32_t buckets[LATENCY_BUCKETS];
        } slots[LATENCY_SLOTS];
        unsigned misfits; /* since one was let pass */
};

/* One call took took_ms (≥ 0) from sending to its end. Note answers of every kind that took the model's work, and time-outs,
 * for which the time until then is a lower bound; not calls that never reached the model (no connection, rate-limited): those
 * are over soon and say nothing. */
void latency_note(struct latency *latency, int64_t now, int64_t took_ms);

/* The time within which 95 % of the window's calls ended (nearest rank), -1: there are none. ret_samples may be NULL. */
int64_t latency_p95(const struct latency *latency, int64_t now, size_t *ret_samples);

/* May a call that has remaining_ms left be sent? False only when the window holds LATENCY_SAMPLES_MIN samples and their p95 is
 * longer than that; of such calls the 20th passes all the same, and so on: the samples that open the gate again come from
 * those. Counts, so ask once a call. */
bool latency_fits(struct latency *latency, int64_t now, int64_t remaining_ms);

#endif
