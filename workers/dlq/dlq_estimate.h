/* What it will cost to do a letter's work again, by the rule by which budgets reserve: ceil(bytes / 3) + max_tokens, at the
 * configured models' prices. An estimate to decide by, made before anything is sent. Pure. */
#ifndef WORKERS_DLQ_DLQ_ESTIMATE_H
#define WORKERS_DLQ_DLQ_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

#include "workers/dlq/dlq_letter.h"

struct letter_estimate {
        int64_t input_tokens, output_tokens; /* output: the most that may come */
        double usd;
        bool readable;    /* false: the payload is no request, it will fail before any call, and costs nothing */
        bool fails_again; /* data and model faults that are not retriable come again; what depended on others need not */
};

/* lane: of the topic that it will go to. Steps before mr-dlq-step are finished, and free. Passages that an earlier step of a
 * chain will find are taken for as many whole chunks as it may hand on. False: no memory. */
bool letter_estimate(const struct letter *letter, const struct settings *settings, enum lane lane,
                     struct letter_estimate *ret_estimate);

#endif
