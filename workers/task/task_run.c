/* The states of a task, one short function each; the table below says how one may follow another. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/kafka/topics.h"
#include "workers/kinds/kinds_table.h"
#include "workers/task/admit.h"
#include "workers/task/retry_policy.h"
#include "workers/task/task.h"
#include "workers/task/task_steps.h"
#include "workers/workshop.h"

enum {
        STORE_WAIT_MS = 250,       /* before our own stores are asked again */
        MEMORY_WAIT_MAX_MS = 2000, /* longer waits go through a retry topic */
        REFUSALS_MAX = 8,          /* of our own stores, before a record is given up */
};

#define TO(s) (1u << TASK_##s)
/* The transition table is the documentation. */
static const struct {
        const char *name;
        unsigned next;
} states[TASK_STATES] = {
        [TASK_DECODE] = {"decode", TO(CLAIM) | TO(RETRY) | TO(LETTER)},
        [TASK_CLAIM] = {"claim", TO(ADMIT) | TO(RECALL) | TO(LETTER) | TO(STORE) | TO(CANCEL) | TO(COUNT) | TO(COMMIT)},
        [TASK_RECALL] = {"recall", TO(ADMIT) | TO(CLAIM) | TO(LETTER)},
        [TASK_ADMIT] = {"admit", TO(CALL) | TO(ATTEMPT) | TO(CANCEL) | TO(RELEASE) | TO(LETTER) | TO(CLAIM)},
        [TASK_ATTEMPT] = {"attempt", TO(CALL) | TO(LETTER) | TO(CLAIM)},
        [TASK_CALL] = {"call", TO(KEEP) | TO(STORE) | TO(BACKOFF) | TO(RELEASE) | TO(LETTER) | TO(CLAIM)},
        [TASK_KEEP] = {"keep", TO(ADMIT) | TO(CLAIM) | TO(LETTER)},
        [TASK_BACKOFF] = {"backoff", TO(ADMIT) | TO(CLAIM)},
        [TASK_RELEASE] = {"release", TO(RETRY) | TO(HANDOVER) | TO(CLAIM) | TO(LETTER)},
        [TASK_RETRY] = {"retry", TO(COMMIT) | TO(CLAIM)},
        [TASK_HANDOVER] = {"handover", TO(COMMIT) | TO(CLAIM)},
        [TASK_LETTER] = {"letter", TO(STORE) | TO(COUNT) | TO(COMMIT) | TO(CLAIM)},
        [TASK_CANCEL] = {"cancel", TO(COUNT) | TO(COMMIT) | TO(CLAIM) | TO(LETTER)},
        [TASK_STORE] = {"store", TO(COUNT) | TO(COMMIT) | TO(CLAIM) | TO(LETTER)},
        [TASK_COUNT] = {"count", TO(COMMIT)},
        [TASK_COMMIT] = {"commit", TO(DONE)},
        [TASK_DONE] = {"done", 0},
};

const char *task_state_name(enum task_state state)
{
        return states[state].name;
}

enum step task_move(struct task *task, enum task_state next)
{
        assert(states[task->state].next & (1u << next));
        assert(task->op.state != OP_BUSY);
        op_reset(&task->op);
        arena_reset(task->scratch);
        task_unwait(task);
        task->state = next;
        return STEP_MORE;
}

/* Our own store failed: the same state once more, a little later. */
enum step task_try_again(struct task *task)
{
        int64_t after = task->op.err.retry_after_ms;

        op_reset(&task->op);
        arena_reset(task->scratch);
        task_wait(task, after > STORE_WAIT_MS ? after : STORE_WAIT_MS);
        return STEP_WAIT;
}

bool task_store_will_pass(const struct error *failure)
{
        return failure->class == ERR_DEPENDENCY && failure->code != CODE_BAD_RESPONSE;
}

bool task_waits_for_store(struct task *task, const struct error *failure, struct error *err)
{
        if (!task_store_will_pass(failure)) {
                *err = *failure;
                return false;
        }
        if (task_remaining_ms(task) <= 0) {
                error_set(err, CODE_DEADLINE, "the deadline passed while our own stores could not be reached");
                return false;
        }
        task_wait(task, failure->retry_after_ms > STORE_WAIT_MS ? failure->retry_after_ms : STORE_WAIT_MS);
        return true;
}

/* A store refuses this very operation: the record ends, with what can still be written. */
static enum step refused(struct task *task)
{
        struct error err = task->op.err;

        if (err.code != CODE_TOO_LARGE && ++task->refusals < REFUSALS_MAX)
                return task_try_again(task);
        task->refusals = 0;
        log_error("store_refused", "id=%.*s state=%s code=%s reason=%s", (int)task->request.id.len, task->request.id.len ? task->request.id.data : "",
                  states[task->state].name, error_code_name(err.code), err.message);
        op_reset(&task->op);
        if (err.code != CODE_TOO_LARGE)
                error_set(&err, CODE_INTERNAL, "Redis refuses this request's keys in state %s", states[task->state].name);
        switch (task->state) {
        case TASK_RETRY: /* the claim was given back: once more, to fail */
        case TASK_HANDOVER:
                task->doomed = true;
                task->last = err;
                return task_move(task, TASK_CLAIM);
        case TASK_LETTER: /* even the smallest letter: the log has it */
                return task->no_result ? task_end(task) : task_move(task, TASK_STORE);
        case TASK_STORE:
                if (task->failed) /* the letter is out; a result can't be had */
                        return task_end(task);
                task->no_result = err.code != CODE_TOO_LARGE;
                return task_fail(task, &err);
        case TASK_CLAIM:
                task->no_result = true;
                return task_fail(task, &err);
        default:
                return task_fail(task, &err);
        }
}

bool task_op_ended(struct task *task, enum step *ret)
{
        if (task->op.state == OP_BUSY || (task->op.state == OP_IDLE && ev_is_active(&task->timer))) {
                *ret = STEP_WAIT;
                return false;
        }
        if (task->op.state == OP_DONE && task->op.err.code != CODE_NONE) {
                *ret = task_store_will_pass(&task->op.err) ? task_try_again(task) : refused(task);
                return false;
        }
        return true;
}

static void note_failure(struct task *task, const struct error *err)
{
        task->last = *err;
        task->last_failed_wall_ms = clock_wall_ms();
        if (!task->first_failed_wall_ms)
                task->first_failed_wall_ms = task->last_failed_wall_ms;
}

/* The end: a letter, and a result that says so. */
enum step task_fail(struct task *task, const struct error *err)
{
        /* What waited for its next attempt until the deadline died of the last one. */
        enum error_code cause = err->code == CODE_DEADLINE && task->last.class == ERR_DEPENDENCY && task->last.code != CODE_RATE_LIMITED ? task->last.code : err->code;

        note_failure(task, err);
        admit_ended(task, cause);
        task->failed = true;
        task->answered = false;
        return task_move(task, TASK_LETTER);
}

enum step task_expire(struct task *task)
{
        struct error err;

        error_set(&err, CODE_DEADLINE, "the deadline passed in state %s", states[task->state].name);
        return task_fail(task, &err);
}

/* ---- RECALL, ADMIT, ATTEMPT */

/* By step and content: a used id whose claim has lapsed must not recall another payload's steps. */
static char *step_field(struct task *task)
{
        return arena_printf(task->scratch, "step:%zu:%.16s", task->step, task->request.fingerprint);
}

/* A finished step as outcome_render_step() wrote it. False: it is not one; with a fault of task->arena, memory was out. */
static bool recall_step(struct task *task, struct span text)
{
        struct outcome_step *step = &task->steps[task->step];
        json_error_t why = {.text = ""};
        json_t *tree = json_loadb(text.data, text.len, 0, &why), *result = json_object_get(tree, "result");
        const struct kind_row *kind = &kinds_table[task->request.steps[task->step].kind];
        json_int_t input = 0, output = 0, cached = 0, attempts = 0;
        double cost = 0;
        char *copy;
        bool ok;

        ok = tree && result && kind->recall &&
             json_unpack(tree, "{s:{s:I,s:I,s:I},s:{s:F},s:I}", "usage", "input_tokens", &input, "output_tokens", &output, "cached_tokens",
                         &cached, "cost", "amount", &cost, "attempts", &attempts) == 0;
        if (!tree && !why.text[0])
                arena_starve(task->arena); /* jansson says nothing where it had no memory */
        ok = ok && kind->recall(task, result, NULL) == 0;
        if (ok) {
                size_t bytes = json_dumpb(result, NULL, 0, JSON_COMPACT);

                copy = arena_alloc_raw(task->arena, bytes + 1);
                ok = copy && bytes > 0 && json_dumpb(result, copy, bytes, JSON_COMPACT) == bytes;
                if (!ok)
                        arena_starve(task->arena);
                *step = (struct outcome_step){.kind = task->request.steps[task->step].kind,
                                              .status = STATUS_OK,
                                              .result = {copy, ok ? bytes : 0},
                                              .usage = {input, output, cached},
                                              .cost_usd = cost,
                                              .attempts = (int)attempts};
        }
        json_decref(tree);
        return ok;
}

static enum step step_recall(struct task *task)
{
        enum step ret;
        bool found;

        if (!task_op_ended(task, &ret))
                return ret;
        if (task->op.state == OP_DONE) {
                found = task->recall.found && recall_step(task, buffer_view(&task->out));
                if (!found && !arena_ok(task->arena) && arena_fault(task->arena) == CODE_INTERNAL) {
                        arena_forgive(task->arena); /* the step is there: not to be paid for again */
                        return task_try_again(task);
                }
                op_reset(&task->op);
                if (!found)
                        return task_move(task, TASK_ADMIT);
                task->step++;
        }
        if (task->step + 1 >= task->request.step_count)
                return task_move(task, TASK_ADMIT);
        buffer_reset(&task->out);
        task->recall.value = &task->out;
        task->text = span_of(step_field(task));
        if (!task->text.data)
                return task_try_again(task);
        ledger_get(task->shop->redis, &task->op, task->claim.tenant, task->claim.id, task->text, &task->recall);
        return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
}

/* Not past the deadline. */
static enum step wait_here(struct task *task, int64_t wait_ms)
{
        int64_t remaining = task_remaining_ms(task);

        task_wait(task, wait_ms < remaining ? wait_ms : remaining);
        return STEP_WAIT;
}

/* The record waits in a retry topic rather than in memory, unless its deadline would pass there. It has not called: no attempt is burnt. */
static enum step wait_in_topic(struct task *task, int64_t wait_ms)
{
        const struct settings *s = task->settings;
        int64_t delay = s->retry.delay_count ? s->retry.delays_ms[retry_tier(s->retry.delays_ms, s->retry.delay_count, wait_ms)] : 0;

        if (delay < wait_ms || delay >= task_remaining_ms(task))
                return wait_here(task, wait_ms > STORE_WAIT_MS ? wait_ms : STORE_WAIT_MS);
        admit_left(task);
        task->uncount = task->counted;
        task->not_before_wall_ms = clock_wall_ms() + delay;
        return task_move(task, TASK_RELEASE);
}

/* Asks each time that it runs; there is no op. */
static enum step step_admit(struct task *task)
{
        struct error err;
        int64_t wait_ms;

        if (ev_is_active(&task->timer))
                return STEP_WAIT;
        if (task_job_is_cancelled(task))
                return task_cancel(task);
        if (task_remaining_ms(task) <= 0)
                return task_expire(task);
        switch (admit_call(task, &wait_ms, &err)) {
        case ADMIT_WAIT:
                return wait_here(task, wait_ms);
        case ADMIT_REFUSE:
                return task_fail(task, &err);
        case ADMIT_LATER:
                return wait_in_topic(task, wait_ms);
        case ADMIT_GO:
        default:
                return task_move(task, task->counted ? TASK_CALL : TASK_ATTEMPT);
        }
}

static enum step step_attempt(struct task *task)
{
        enum step ret;
        struct error err;

        if (!task_op_ended(task, &ret))
                return ret;
        if (task->op.state == OP_IDLE) {
                claim_attempt(task->shop->redis, &task->op, &task->claim, task->settings->worker.claim_lease_ms, task->attempts + 1, &task->renewal);
                return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
        }
        if (task->renewal.lost) {
                admit_left(task);
                task->claimed = false;
                return task_move(task, TASK_CLAIM);
        }
        task->counted = true;
        task->attempts = (int)task->renewal.attempts;
        task->renewed_ms = clock_now_ms();
        if (task->attempts > task->settings->retry.attempts_max) {
                error_set(&err, CODE_INTERNAL, "given up: %d attempts began and none ended", task->attempts - 1);
                task->attempts--;
                return task_fail(task, &err);
        }
        return task_move(task, TASK_CALL);
}

/* ---- CALL, KEEP, BACKOFF */

static enum step call_failed(struct task *task, const struct error *err)
{
        const struct settings *s = task->settings;
        struct retry_policy policy = {s->retry.attempts_max, s->retry.base_ms, s->retry.cap_ms};
        int64_t now = clock_now_ms(), at, tiered;
        double chance = (double)random() / ((double)RAND_MAX + 1.0);

        note_failure(task, err);
        arena_forgive(task->arena);
        task->paid.phase = PAID_BEGIN;
        task->may_recall = true;
        task->counted = err->code == CODE_RATE_LIMITED; /* which burns none: the one counted serves again */
        task->uncount = err->code == CODE_RATE_LIMITED;
        task->limited = task->uncount ? task->limited + 1 : 0;
        task->phase = 0;
        if (!retry_at(&policy, err, task->attempts, task->limited, now, task->deadline, chance, &at))
                return task_fail(task, err);
        tiered = at - now;
        if (s->retry.delay_count > 0) { /* a topic holds its records in due order: all wait as long as its tier says, or longer than any */
                int64_t delay = s->retry.delays_ms[retry_tier(s->retry.delays_ms, s->retry.delay_count, at - now)];

                tiered = delay > tiered ? delay : tiered;
        }
        if (at - now <= MEMORY_WAIT_MAX_MS || s->retry.delay_count == 0 || now + tiered >= task->deadline) {
                task_move(task, TASK_BACKOFF);
                task_wait(task, at - now);
                return STEP_WAIT;
        }
        task->not_before_wall_ms = clock_wall_ms() + tiered;
        return task_move(task, TASK_RELEASE);
}

/* The provider is out, and the flood guard knows: no attempt is burnt and no letter written; ADMIT lets it wait for a probe that goes well. */
static enum step wait_out(struct task *task, const struct error *err)
{
        note_failure(task, err);
        task->paid.phase = PAID_BEGIN;
        task->may_recall = true;
        task->counted = true;
        task->uncount = 1;
        task->phase = 0;
        task_move(task, TASK_BACKOFF);
        task_wait(task, 0);
        return STEP_WAIT;
}

/* A chain's steps are rendered as they end; a single one goes straight into the result. */
static enum step step_finished(struct task *task, const struct kind_row *kind)
{
        struct outcome_step *step = &task->steps[task->step];
        struct error err;

        step->kind = task->request.steps[task->step].kind;
        step->status = STATUS_OK;
        step->attempts = task->attempts;
        task->limited = 0;
        error_clear(&task->last);
        if (task->request.step_count == 1) {
                task->answered = true;
                admit_ended(task, CODE_NONE);
                return task_move(task, TASK_STORE);
        }
        buffer_reset(&task->out);
        kind->render(task, &task->out);
        step->result = (struct span){arena_copy(task->arena, buffer_view(&task->out)), task->out.len};
        if (!buffer_ok(&task->out) || !step->result.data) {
                step->result.len = 0;
                error_set(&err, buffer_ok(&task->out) ? arena_fault(task->arena) : buffer_fault(&task->out), "a step's result takes more memory than one may");
                return task_fail(task, &err);
        }
        task->answered = task->step + 1 == task->request.step_count;
        admit_ended(task, CODE_NONE);
        return task_move(task, task->answered ? TASK_STORE : TASK_KEEP);
}

static enum step step_call(struct task *task)
{
        const struct kind_row *kind = &kinds_table[task->request.steps[task->step].kind];
        struct error err;
        enum step step;
        bool outage;

        if (task->phase == 0) {
                if (task_remaining_ms(task) <= 0)
                        return task_expire(task);
                if (task->op.state == OP_DONE)
                        op_reset(&task->op);
                if (!task->settings->worker.kinds[task->request.steps[task->step].kind])
                        return task_move(task, TASK_RELEASE); /* not ours: handed over */
        }
        error_clear(&err);
        step = kind->run(task, &err);
        if (step != STEP_DONE)
                return step;
        if (kind->abort)
                kind->abort(task);
        op_reset(&task->op);
        op_reset(&task->call.op);
        task_unwait(task);
        outage = admit_attempt_ended(task, &err);
        if (err.code != CODE_NONE)
                return outage ? wait_out(task, &err) : call_failed(task, &err);
        return step_finished(task, kind);
}

static enum step step_keep(struct task *task)
{
        enum step ret;

        if (!task_op_ended(task, &ret))
                return ret;
        if (task->op.state == OP_IDLE) {
                struct span field = span_of(step_field(task));

                buffer_reset(&task->out);
                outcome_render_step(&task->out, &task->steps[task->step]);
                if (!field.data || !buffer_ok(&task->out))
                        return task_try_again(task);
                task->text = buffer_view(&task->out);
                ledger_put(task->shop->redis, &task->op, &task->claim, field, task->text, &task->kept);
                return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
        }
        if (task->kept.fenced && task->kept.status != CLAIM_NONE) { /* a claim that Redis lost is nobody's: the answer is good, it goes on */
                task->claimed = false;
                return task_move(task, TASK_CLAIM);
        }
        task->step++;
        task->phase = 0;
        task->may_recall = true;
        return task_move(task, TASK_ADMIT);
}

static enum step step_backoff(struct task *task)
{
        if (!task->timed)
                return STEP_WAIT;
        return task_move(task, TASK_ADMIT);
}

static enum step (*const runs[TASK_STATES])(struct task *) = {
        [TASK_DECODE] = task_step_decode,    [TASK_CLAIM] = task_step_claim,   [TASK_RECALL] = step_recall,   [TASK_ADMIT] = step_admit,
        [TASK_ATTEMPT] = step_attempt,  [TASK_CALL] = step_call,     [TASK_KEEP] = step_keep,       [TASK_BACKOFF] = step_backoff,
        [TASK_RELEASE] = task_step_release, [TASK_RETRY] = task_step_retry, [TASK_HANDOVER] = task_step_handover, [TASK_LETTER] = task_step_letter, [TASK_STORE] = task_step_store,
        [TASK_CANCEL] = task_step_cancel, [TASK_COUNT] = task_step_count,
        [TASK_COMMIT] = task_step_commit,
};

/* A claim that is just being asked for is awaited: it may be granted, and then it is given back. */
static bool has_left(struct task *task)
{
        if (task->state == TASK_CLAIM && task->op.state == OP_BUSY)
                return false;
        if (task->state == TASK_CLAIM && task->op.state == OP_DONE && task->op.err.code == CODE_NONE && task->claim_answer.verdict == CLAIM_GRANTED) {
                task->claimed = true;
                task->claim.fence = task->claim_answer.fence;
        }
        if (task->claimed)
                task_let_go(task);
        return task->renew_op.state != OP_BUSY;
}

bool task_run(struct task *task)
{
        if (task->leaving)
                return has_left(task);
        if (task->claim_lost && task->claimed && task->state != TASK_STORE && task->state != TASK_COUNT && task->state != TASK_COMMIT)
                task_claim_lost(task);
        while (task->state != TASK_DONE)
                if (runs[task->state](task) == STEP_WAIT)
                        return false;
        return true;
}
