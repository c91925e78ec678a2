/* How many repeated calls a provider is sent: about a tenth of its first calls, and a trickle. A budget per provider and process.
 *
 *      first call ─ earn ratio ─┐
 *      time ────── trickle ─────┼─► tokens (0 … 10) ─► a repeat takes one, or waits
 *                               └ full at the start
 *
 * Why these numbers. 10 tokens, full at the start and the most that is saved up: a lone failure is repeated at once, and an
 * hour of good traffic does not save up a storm for the first minute of an outage. The trickle, one token a second, lets the
 * last record of an idle queue through, which no further first call will ever pay for. It grows by one a second with each
 * repeat that goes well, up to 100, and shrinks by a quarter with each that fails: after an outage a backlog of repeats drains
 * within seconds, while a provider that is still ill sees one repeat a second (one that fails three calls of ten: about ten).
 * So extra calls ≤ ratio × first calls + 10 + what has trickled, and the trickle is small wherever repeats fail.
 *
 * What spends: the repeat of a call that failed by the provider's or the network's fault. What does not: the repeat of a
 * rate-limited call. A 429 means that the first call was not served, so its repeat is no amplification, and a provider that
 * lets through half of what we ask would otherwise be asked for a tenth; its own brake (Retry-After, half a second at least,
 * doubling) holds it. Nor a first call after our own crash, hand-over or replay: nothing says that the provider is ill.
 *
 * An empty budget delays, never fails: the record's deadline alone ends the wait. Pure: time and chance are arguments. No
 * allocation; embedded. Loop thread (one at a time). Clocks that go back trickle nothing. */
#ifndef PROVIDERS_RETRY_BUDGET_H
#define PROVIDERS_RETRY_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RETRY_BUDGET_TOKENS_MAX = 10, RETRY_TRICKLE_MIN = 1, RETRY_TRICKLE_MAX = 100 /* tokens a second */ };

struct retry_budget {
        double tokens;
        double trickle; /* tokens a second, now */
        int64_t filled; /* up to when the trickle is counted in */
        size_t waiting; /* who wait for a token in memory */
};

/* Full, trickling slowly. */
void retry_budget_init(struct retry_budget *budget, int64_t now);
/* A record's first call goes out. ratio: retry.budget_ratio, 0 … 1. */
void retry_budget_earn(struct retry_budget *budget, double ratio);
/* A repeat wants to go out: true, and a token is spent; or false, and it waits. */
bool retry_budget_take(struct retry_budget *budget, int64_t now);
/* The taken token was not used after all (the record left before its call). */
void retry_budget_return(struct retry_budget *budget);
/* A repeat that took a token has ended: failed = by the provider's or the network's fault, so that it would be repeated again. */
void retry_budget_ended(struct retry_budget *budget, int64_t now, bool failed);
/* After a first refusal: may this one wait in memory? At most `places` do, so that they do not take the room of first calls,
 * which pay for them: the others belong in a retry topic at once. True: until retry_budget_unqueue(), once it has a token or
 * leaves. */
bool retry_budget_queue(struct retry_budget *budget, size_t places);
void retry_budget_unqueue(struct retry_budget *budget);
/* After a refusal: in how many ms to ask again, 1 … 2,000. Between the time to the next token and twice that by chance (0 ≤
 * chance < 1), so that those who wait do not come all at once. Where many wait, a record should go to a retry topic after a few
 * refusals rather than hold a place. */
int64_t retry_budget_wait_ms(const struct retry_budget *budget, int64_t now, double chance);

#endif
