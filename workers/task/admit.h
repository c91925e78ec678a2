/* Admission: may a task's provider be called now? Asked before every attempt and every step of a chain, before anything is paid.
 *
 *      flood guard (kind, provider) ─► p95 (model) ─► retry budget (provider) ─► go
 *
 * - The guard has tripped: the task waits, unless it is the probe (workers/flood.h). The more that wait, the sooner intake of their kind stops.
 * - What is left of the deadline is less than the model's observed p95: refused, serving.deadline (providers/latency.h).
 * - It is a repeat and the provider's budget is empty: it waits (providers/retry_budget.h), in memory at first, then in a retry topic.
 * The local provider is always admitted. All functions on the loop thread. */
#ifndef WORKERS_TASK_ADMIT_H
#define WORKERS_TASK_ADMIT_H

#include <stddef.h>
#include <stdint.h>

#include "config/base/buffer.h"
#include "config/base/error.h"
#include "config/settings.h"

struct task;
struct gates;

/* The state of all gates of this process; takes a reference of settings. NULL: no memory. */
struct gates *gates_new(struct settings *settings);
void gates_free(struct gates *gates); /* NULL is fine */
/* After a reload: what was observed stays, by name. -1: no memory, nothing has changed. */
int gates_configure(struct gates *gates, struct settings *settings);
/* Appends a sentence a kind and provider whose guard has tripped; how many. For /ready. */
size_t gates_tripped(const struct gates *gates, struct buffer *out);

enum admission { ADMIT_GO, ADMIT_WAIT, ADMIT_LATER, ADMIT_REFUSE };
/* WAIT: ask again in *ret_wait_ms. LATER: the same, but the wait is too long for memory. REFUSE: *err says why. */
enum admission admit_call(struct task *task, int64_t *ret_wait_ms, struct error *err);
/* The provider has answered task->call, or failed: what its time tells. */
void admit_called(struct task *task);
/* The attempt has ended; err->code CODE_NONE: well. True: it failed in an outage that the flood guard knows of, so that it burns no attempt and
 * ends nothing: the task should ask to be admitted again, and wait for a probe to go well. */
bool admit_attempt_ended(struct task *task, const struct error *err);
/* The task goes without having ended its attempt: the places it held are free. Idempotent. */
void admit_left(struct task *task);
/* The record ends: with an answer (CODE_NONE), or the failure that its letter will name. */
void admit_ended(struct task *task, enum error_code code);

#endif
