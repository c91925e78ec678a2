/* A result's wire form (contract §4): what applications read from Redis. Pure.
 *
 *      outcome_open   {"v":1,"id":…,"tenant":…,"kind":…,"status":"ok"[,"result":     ◄─ the caller renders the result here
 *      outcome_close  [,"error":{…}],"attempts":…,…,"completed_at":…[,"steps":[…]]}
 */
#ifndef QUEUES_OUTCOME_H
#define QUEUES_OUTCOME_H

#include "config/base/buffer.h"
#include "queues/envelope.h"

enum outcome_status { STATUS_OK, STATUS_FAILED, STATUS_EXPIRED, STATUS_CANCELLED, STATUS_COUNT };
extern const char *const outcome_status_names[STATUS_COUNT];

enum { OUTCOME_DEGRADED_MAX = 4 };

struct outcome_usage {
        int64_t input_tokens, output_tokens, cached_tokens;
};

struct outcome_step {
        enum kind kind;
        enum outcome_status status;
        struct span result; /* JSON; len 0: none */
        struct outcome_usage usage;
        double cost_usd;
        int attempts;
};

struct outcome {
        const struct request *request;
        enum outcome_status status;
        struct error err; /* read unless ok */
        int attempts;
        const char *model, *release, *served_from; /* model NULL: none */
        const char *degraded[OUTCOME_DEGRADED_MAX];
        size_t degraded_count;
        struct outcome_usage usage;
        double cost_usd;
        int64_t queued_ms, provider_ms, total_ms, completed_wall_ms;
        const struct outcome_step *steps; /* of a chain */
        size_t step_count;                /* 0: not a chain */
};

void outcome_open(struct buffer *out, const struct outcome *outcome, bool with_result);
void outcome_close(struct buffer *out, const struct outcome *outcome);

/* One entry of `steps`; also how a finished step lies in the ledger. */
void outcome_render_step(struct buffer *out, const struct outcome_step *step);

#endif
