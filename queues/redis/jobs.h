/* How far a job is (contract §6): what its records came to, each counted once however often it is delivered.
 *
 *      <prefix>:{job:<tenant>:<job>}:progress    hash     ok failed expired cancelled      records by outcome
 *                                                         input_tokens output_tokens cached_tokens cost_pico (1e-12 USD)
 *                                                         code:<class>.<code>             failures by reason
 *                                                         total published                 what `job start` said
 *                                                         started_ms updated_ms           Unix ms by the server's clock
 *                                                         # #<reason> @<mark>             the marks given to reasons
 *      <prefix>:{job:<tenant>:<job>}:ended:<n>   string   a byte for each record JOB_CHUNK·n + i (mr-job-seq): 0 not ended,
 *                                                         1 ok, 2 cancelled, else the mark of the reason it failed for
 *
 * ok and cancelled are final; a failure gives way to them (a replay that betters it), and its reason's count goes back by one. What a
 * replay costs that fails again is not added. A record without a sequence number is counted each time. All keys live JOB_TTL_S
 * after the last change. The functions keep the rules of redis_connection.h. */
#ifndef QUEUES_REDIS_JOBS_H
#define QUEUES_REDIS_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/completion.h"
#include "config/base/error.h"
#include "config/base/span.h"
#include "queues/redis/redis_connection.h"

enum { JOB_CHUNK = 65536, JOB_REASONS_MAX = 40, JOB_REASON_BYTES = 48, JOB_TTL_S = 30 * 86400 };

enum job_outcome { JOB_ENDED_OK, JOB_ENDED_FAILED, JOB_ENDED_EXPIRED, JOB_ENDED_CANCELLED, JOB_ENDED_COUNT };
extern const char *const job_outcome_names[JOB_ENDED_COUNT];

/* One record's end. Spans are borrowed until the op is done. */
struct job_end {
        struct span tenant, job;
        int64_t seq; /* mr-job-seq; −1: it has none */
        enum job_outcome outcome;
        enum error_code code; /* of JOB_ENDED_FAILED and JOB_ENDED_EXPIRED */
        int64_t input_tokens, output_tokens, cached_tokens;
        double cost_usd;
};
struct job_counted {
        bool counted; /* false: it was before */
};
void job_count(struct redis_connection *connection, struct op *op, const struct job_end *end, struct job_counted *counted);

/* total: −1 unknown. */
void job_published(struct redis_connection *connection, struct op *op, struct span tenant, struct span job, int64_t total,
                   int64_t published, struct job_counted *counted);

struct job_progress {
        bool found;
        int64_t ended[JOB_ENDED_COUNT];
        int64_t total, published; /* −1: not said */
        int64_t input_tokens, output_tokens, cached_tokens;
        double cost_usd;
        int64_t started_ms, updated_ms;
        struct {
                char name[JOB_REASON_BYTES]; /* "dependency.timeout" */
                int64_t count;
        } reasons[JOB_REASONS_MAX];
        size_t reason_count;
};
void job_progress_get(struct redis_connection *connection, struct op *op, struct span tenant, struct span job,
                      struct job_progress *progress);

#endif
