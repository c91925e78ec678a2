/* How a task leaves: to another worker or a later time (release, then a retry or a hand-over), or for good (letter, result, commit). The order
 * is the promise: a letter before its result, a result before its commit. */
#include <assert.h>

#include "config/base/clock.h"
#include "queues/deadletter.h"
#include "queues/kafka/topics.h"
#include "workers/kinds/kinds_table.h"
#include "workers/task/retry_policy.h"
#include "workers/task/task_steps.h"
#include "workers/workshop.h"

/* ---- RELEASE, RETRY, HANDOVER, LETTER */

enum step task_step_release(struct task *task)
{
        enum step ret;

        if (!task_op_ended(task, &ret))
                return ret;
        if (task->op.state == OP_IDLE) {
                claim_release(task->shop->redis, &task->op, &task->claim, task->not_before_wall_ms ? task->uncount : 1, &task->renewal);
                return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
        }
        task->claimed = false;
        if (task->renewal.lost)
                return task_move(task, TASK_CLAIM);
        return task_move(task, task->not_before_wall_ms ? TASK_RETRY : TASK_HANDOVER);
}

static const struct span nothing;

static bool send_record(struct task *task, const char *topic, const struct header *headers, size_t count, struct span key, struct span value)
{
        struct outgoing_header *to = arena_alloc_raw(task->scratch, (count + 1) * sizeof *to);

        if (!to)
                return false;
        for (size_t i = 0; i < count; i++)
                to[i] = (struct outgoing_header){headers[i].name, headers[i].value};
        producer_send(task->shop->producer, &task->op,
                      &(struct outgoing){.topic = topic,
                                         .partition = -1,
                                         .key = key,
                                         .value = value,
                                         .headers = to,
                                         .header_count = count < OUTGOING_HEADERS_MAX ? count : OUTGOING_HEADERS_MAX},
                      &task->ack);
        return true;
}

static bool send_hop(struct task *task, const char *topic)
{
        struct hop hop = {.attempts = task->attempts - (task->not_before_wall_ms ? task->uncount : 1),
                          .step = task->step,
                          .not_before_wall_ms = task->not_before_wall_ms,
                          .first_failed_wall_ms = task->first_failed_wall_ms,
                          .last_failed_wall_ms = task->last_failed_wall_ms,
                          .last_code = task->last.code != CODE_NONE ? error_code_name(task->last.code) : NULL};
        size_t count;
        struct header *headers = envelope_hop_headers(&task->delivery, &task->request, &hop, task->scratch, &count);

        return headers && send_record(task, topic, headers, count, task->delivery.key, task->delivery.value);
}

enum step task_step_retry(struct task *task)
{
        const struct settings *s = task->settings;
        char topic[TOPIC_NAME_BYTES];
        enum step ret;

        if (!task_op_ended(task, &ret))
                return ret;
        if (task->op.state == OP_DONE)
                return task_move(task, TASK_COMMIT);
        topic_retry(topic, task_prefix(task), task->request.steps[task->step].kind,
                    s->retry.delays[retry_tier(s->retry.delays_ms, s->retry.delay_count, task->not_before_wall_ms - clock_wall_ms())]);
        if (!send_hop(task, topic))
                return task_try_again(task);
        return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
}

enum step task_step_handover(struct task *task)
{
        char topic[TOPIC_NAME_BYTES];
        enum step ret;

        if (!task_op_ended(task, &ret))
                return ret;
        if (task->op.state == OP_DONE)
                return task_move(task, TASK_COMMIT);
        topic_request(topic, task_prefix(task), task->request.steps[task->step].kind, task->request.lane);
        if (!send_hop(task, topic))
                return task_try_again(task);
        return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
}

/* A letter too large for the broker goes with less and less, down to its coordinates, and says so. */
enum omission { OMIT_NOTHING, OMIT_VALUE, OMIT_HEADERS, OMIT_KEY };
static const char *const omissions[] = {[OMIT_VALUE] = "value: larger than the broker takes",
                                        [OMIT_HEADERS] = "value, headers: larger than the broker takes",
                                        [OMIT_KEY] = "value, headers, key: larger than the broker takes"};

static bool send_letter(struct task *task)
{
        struct deadletter letter = {.err = task->last,
                                    .attempts = task->attempts,
                                    .step = task->step,
                                    .first_failed_wall_ms = task->first_failed_wall_ms,
                                    .failed_wall_ms = task->last_failed_wall_ms,
                                    .worker = task->settings->worker.name,
                                    .omitted = omissions[task->omitted]};
        struct delivery told = task->delivery;
        char topic[TOPIC_NAME_BYTES];
        struct header *headers;
        size_t count;

        topic_dlq(topic, task_prefix(task), task->request.kind);
        if (task->omitted >= OMIT_HEADERS)
                told.header_count = 0;
        headers = deadletter_headers(&told, &task->request, &letter, task->scratch, &count);
        if (!headers)
                return false;
        return send_record(task, topic, headers, count, task->omitted >= OMIT_KEY ? nothing : task->delivery.key,
                           task->omitted >= OMIT_VALUE ? nothing : task->delivery.value);
}

enum step task_step_letter(struct task *task)
{
        enum step ret;

        if (task->op.state == OP_DONE && task->op.err.code == CODE_TOO_LARGE && task->omitted < OMIT_KEY) {
                task->omitted++;
                op_reset(&task->op);
                arena_reset(task->scratch);
        }
        if (!task_op_ended(task, &ret))
                return ret;
        if (task->op.state == OP_DONE)
                return task->no_result ? task_end(task) : task_move(task, TASK_STORE);
        if (!send_letter(task))
                return task_try_again(task);
        return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
}

/* ---- STORE, COMMIT */

static void total(struct task *task)
{
        struct outcome *o = &task->outcome;

        o->usage = (struct outcome_usage){0};
        o->cost_usd = 0;
        for (size_t i = 0; i < task->request.step_count; i++) {
                o->usage.input_tokens += task->steps[i].usage.input_tokens;
                o->usage.output_tokens += task->steps[i].usage.output_tokens;
                o->usage.cached_tokens += task->steps[i].usage.cached_tokens;
                o->cost_usd += task->steps[i].cost_usd;
        }
}

static void fill_outcome(struct task *task)
{
        struct outcome *o = &task->outcome;
        o->request = &task->request;
        o->status = task->cancelled ? STATUS_CANCELLED : !task->failed ? STATUS_OK : task->last.code == CODE_DEADLINE ? STATUS_EXPIRED : STATUS_FAILED;
        o->err = task->last;
        o->attempts = task->attempts;
        o->release = task->shop->release;
        o->completed_wall_ms = clock_wall_ms();
        o->queued_ms = task->queued_ms;
        o->total_ms = o->completed_wall_ms > task->request.origin_timestamp_ms ? o->completed_wall_ms - task->request.origin_timestamp_ms : 0;
        total(task);
        o->step_count = 0;
        if (task->request.step_count > 1) {
                o->steps = task->steps;
                o->step_count = task->step + 1;
                if (task->failed) {
                        task->steps[task->step].kind = task->request.steps[task->step].kind;
                        task->steps[task->step].status = o->status;
                        task->steps[task->step].attempts = task->attempts;
                }
        }
}

bool task_render_result(struct task *task)
{
        struct outcome *o = &task->outcome;

        fill_outcome(task);
        buffer_reset(&task->out);
        outcome_open(&task->out, o, o->status == STATUS_OK);
        if (o->status == STATUS_OK && o->step_count)
                buffer_span(&task->out, task->steps[task->step].result);
        else if (o->status == STATUS_OK)
                kinds_table[task->request.kind].render(task, &task->out);
        outcome_close(&task->out, o);
        return buffer_ok(&task->out);
}

/* A document's vectors are in the index topic now and ok is for ever: a backfill's would fill Redis for days. */
static bool ledger_is_spent(const struct task *task)
{
        return !task->failed && task->request.kind == KIND_INGEST && task->may_recall;
}

static enum step start_store(struct task *task)
{
        static const enum claim_status statuses[] = {CLAIM_OK, CLAIM_FAILED, CLAIM_EXPIRED, CLAIM_CANCELLED};
        struct result_write *write = arena_alloc(task->scratch, sizeof *write);
        struct error err;

        if (!write)
                return task_try_again(task);
        if (!task_render_result(task)) {
                if (task->failed || buffer_fault(&task->out) == CODE_INTERNAL) /* once there is memory */
                        return task_try_again(task);
                error_set(&err, CODE_TOO_LARGE, "the result takes more memory than one may");
                return task_fail(task, &err);
        }
        *write = (struct result_write){.status = statuses[task->outcome.status],
                                       .json = buffer_view(&task->out),
                                       .replays = task->request.replays,
                                       .result_ttl_s = task_result_ttl_s(task),
                                       .list = task->request.reply_list,
                                       .drop_ledger = ledger_is_spent(task)};
        result_store(task->shop->redis, &task->op, &task->claim, write, &task->stored);
        return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
}

enum step task_step_store(struct task *task)
{
        enum step ret;

        if (!task_op_ended(task, &ret))
                return ret;
        if (task->op.state == OP_IDLE)
                return start_store(task);
        task->claimed = false;
        if (task->stored.verdict == RESULT_FENCED)
                return task_move(task, TASK_CLAIM);
        return task_end(task);
}

enum step task_step_commit(struct task *task)
{
        source_done(task->record);
        task->record = NULL;
        return task_move(task, TASK_DONE);
}
