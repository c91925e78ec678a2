/* The room's door: one call of a model, whoever answers it (an HTTP provider, or the local one on the pool).
 *
 *      caller ─ providers_call ─► route ─► wait for a free place ─► render ─► send ─► parse ─► account ─► op_done ─► caller
 *                                   └──────────────► local model, inline or on the pool ────────┘
 *
 * All functions belong to the loop thread. A call's inputs are borrowed until its op is DONE or given up; its outputs lie in its arena.
 * Inputs must be valid UTF-8 without NUL (the request decoder has checked that). Everything is bounded: places by the provider's
 * concurrency_max, the line before it by CALL_WAITING_MAX, answers by response_bytes_max, results by the arena. */
#ifndef PROVIDERS_CALL_H
#define PROVIDERS_CALL_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/arena.h"
#include "config/base/completion.h"
#include "config/base/span.h"
#include "config/settings.h"

enum { CALL_WAITING_MAX = 4096, CALL_INPUTS_MAX = 4096, CALL_MESSAGES_MAX = 1024 };

enum input_type { INPUT_UNSAID, INPUT_DOCUMENT, INPUT_QUERY };
enum served_from { SERVED_PROVIDER, SERVED_CACHE, SERVED_LEDGER, SERVED_FALLBACK };
extern const char *const served_names[]; /* "provider" "cache" "ledger" "fallback" */

struct call_message {
        struct span role, content; /* role: system, user or assistant */
};

struct call_usage {
        int64_t input_tokens, output_tokens, cached_tokens; /* input_tokens includes cached_tokens */
};

struct call {
        /* The question: filled in by the caller. Start from a zeroed struct; only the kind's own part is read. */
        enum kind kind;            /* KIND_EMBED, KIND_RERANK or KIND_LLM */
        struct settings *settings; /* must be one given to providers_new or providers_reload; the call holds a reference while it runs */
        size_t model;              /* index into settings->models; must be of this kind */
        int64_t deadline;          /* absolute, clock_now_ms() */
        struct arena *arena;       /* the answer goes here; leave it alone while op is BUSY (a pool thread may write to it) */
        struct {
                const struct span *texts;
                size_t count; /* 1…CALL_INPUTS_MAX */
                enum input_type input_type;
                int dimensions; /* wanted; 0: the model's own */
        } embed;
        struct {
                struct span query;
                const struct span *documents;
                size_t count; /* 1…CALL_INPUTS_MAX */
        } rerank;
        struct {
                const struct call_message *messages;
                size_t count;                /* 1…CALL_MESSAGES_MAX */
                int max_tokens;              /* 0: the model's max_tokens_default */
                bool temperature_set;
                double temperature;
                struct span response_schema; /* JSON text; len 0: none */
        } llm;
        struct op op; /* op_init'ed by the caller */

        /* The answer: written before op is done, valid when it ended without error. */
        float *vectors; /* embed: count × dimensions, row i for texts[i], all finite */
        int dimensions;
        double *scores;            /* rerank: one for each document, in the order given; greater is better, finite */
        struct span text;          /* llm */
        const char *finish_reason; /* llm: "stop", "length", … as the provider says; at most 32 letters, digits, '_' or '-' */
        struct call_usage usage;
        double cost_usd;
        const char *model_name; /* "provider/model"; belongs to the arena; also set when the call failed, if it came as far as a model */
        enum served_from served_from;
        int64_t provider_ms; /* from sending to the whole answer, without the wait for a place; also set on failure */
};

/* How local models get off the loop thread: pool_run's signature (workers/loop/pool.h) behind a void pointer. run returns -1, with op
 * IDLE, when its queue is full. run NULL: everything is done on the loop thread (tests, small tools). */
struct call_runner {
        void *pool;
        int (*run)(void *pool, struct op *op, int (*work)(void *argument, struct error *err), void *argument);
};

struct providers;

/* Keeps a reference to settings, copies runner, borrows loop. NULL with err: a provider's type is not built yet, or memory is out. */
struct providers *providers_new(struct ev_loop *loop, struct settings *settings, const struct call_runner *runner, struct error *err);
/* Calls still under way must have been given up or be done. NULL is fine. */
void providers_free(struct providers *providers);

/* New calls may come with these settings from now on; calls of the earlier ones go on, and further ones may come as long as somebody
 * holds a reference to those. -1: the new settings ask for what is not built; nothing has changed. */
int providers_reload(struct providers *providers, struct settings *settings, struct error *err);

/* Starts the call; it always ends through call->op, perhaps before this returns (op's on_done only notes it, so that is no trouble).
 * Ends with: dependency.* and model.* from the provider, data.context_length and data.too_large, serving.deadline when the deadline
 * passes first, dependency.rate_limited (no attempt is burnt) when the line of waiting calls is full, model.not_found for a model of
 * another kind, serving.internal when the arena or memory is full.
 * op_abort(&call->op) cancels the transfer at once; a local model that is running on the pool is waited for. */
void providers_call(struct providers *providers, struct call *call);

size_t providers_running(const struct providers *providers); /* calls that were sent or run */
size_t providers_waiting(const struct providers *providers); /* calls that wait for a place */

#endif
