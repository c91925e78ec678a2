/*      BEGIN ─► RECALL ─found──────────────────────┐
 *        │        └─not found─► CALL ─► KEEP ─► ended ◄┘
 *        └──fresh claim, nothing can be kept──► CALL
 *
 * An entry's field is call:<step>:<16 hex of SHA-256 over model, dimensions, role and texts>; its value
 *      1 <dimensions> <count> <input tokens> <output tokens> <cached tokens> <cost, USD> <provider/model>\n
 *      count × dimensions little-endian float32
 * An entry that is not of this form, or not of the wanted shape, counts as absent. */
#include "workers/kinds/paid_embedding.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/digest.h"
#include "workers/kinds/kinds_table.h"
#include "workers/workshop.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "floats are kept as they lie in memory");

enum { DIGEST_DIGITS = 16, HEAD_BYTES_MAX = 512, DIMENSIONS_MAX = 65536 };
enum { HEAD_VERSION, HEAD_DIMENSIONS, HEAD_COUNT, HEAD_INPUT, HEAD_OUTPUT, HEAD_CACHED, HEAD_NUMBERS };

static bool is_paid(const struct task *task, size_t model)
{
        return task->settings->providers[task->settings->models[model].provider].type != PROVIDER_LOCAL;
}

/* What was asked, as a digest: the texts' lengths keep ["ab","c"] and ["a","bc"] apart. */
static int name_field(struct task *task, size_t model, struct error *err)
{
        const struct model_settings *m = &task->settings->models[model];
        char hex[SHA256_HEX_BYTES];

        buffer_reset(&task->out);
        buffer_string(&task->out, task->settings->providers[m->provider].name);
        buffer_char(&task->out, '/');
        buffer_string(&task->out, m->model);
        buffer_char(&task->out, ' ');
        buffer_int(&task->out, task->call.embed.dimensions);
        buffer_char(&task->out, ' ');
        buffer_int(&task->out, task->call.embed.input_type);
        for (size_t i = 0; i < task->call.embed.count; i++) {
                buffer_char(&task->out, ' ');
                buffer_int(&task->out, (int64_t)task->call.embed.texts[i].len);
                buffer_char(&task->out, ' ');
                buffer_span(&task->out, task->call.embed.texts[i]);
        }
        if (!buffer_ok(&task->out))
                return error_set(err, buffer_fault(&task->out), "the request needs more memory than one may take");
        digest_sha256_hex(buffer_view(&task->out), hex);
        snprintf(task->paid.field, sizeof task->paid.field, "call:%zu:%.*s", task->step, DIGEST_DIGITS, hex);
        return 0;
}

static void start_call(struct task *task, size_t model)
{
        task->paid.phase = PAID_CALL;
        kind_call(task, KIND_EMBED, model);
}

/* The head's numbers and name. False: it is not of that form. */
static bool read_head(char *head, int64_t numbers[HEAD_NUMBERS], double *ret_cost, const char **ret_name)
{
        char *at = head;

        for (size_t i = 0; i < HEAD_NUMBERS; i++) {
                char *end;

                numbers[i] = strtoll(at, &end, 10);
                if (end == at || *end != ' ' || numbers[i] < 0)
                        return false;
                at = end + 1;
        }
        *ret_cost = strtod(at, &at);
        if (*at != ' ' || !isfinite(*ret_cost) || *ret_cost < 0 || strlen(at + 1) == 0)
                return false;
        *ret_name = at + 1;
        return true;
}

/* Puts an entry's answer where a call would have put it. False: it is none. */
static bool read_entry(struct task *task, struct span entry)
{
        struct call *call = &task->call;
        const char *end = entry.data ? memchr(entry.data, '\n', entry.len) : NULL, *name;
        size_t head_len = end ? (size_t)(end - entry.data) : 0, floats;
        int64_t n[HEAD_NUMBERS];
        char head[HEAD_BYTES_MAX];
        float *vectors;
        double cost;

        if (!end || head_len >= sizeof head)
                return false;
        memcpy(head, entry.data, head_len);
        head[head_len] = '\0';
        if (!read_head(head, n, &cost, &name) || n[HEAD_VERSION] != 1 || n[HEAD_DIMENSIONS] < 1 || n[HEAD_DIMENSIONS] > DIMENSIONS_MAX ||
            n[HEAD_COUNT] != (int64_t)call->embed.count || (call->embed.dimensions > 0 && n[HEAD_DIMENSIONS] != call->embed.dimensions))
                return false;
        floats = call->embed.count * (size_t)n[HEAD_DIMENSIONS];
        if (entry.len - head_len - 1 != floats * sizeof *vectors || !(vectors = arena_alloc_raw(task->arena, floats * sizeof *vectors)))
                return false;
        memcpy(vectors, end + 1, floats * sizeof *vectors);
        for (size_t i = 0; i < floats; i++)
                if (!isfinite(vectors[i]))
                        return false;
        call->model_name = arena_copy(task->arena, span_of(name));
        if (!call->model_name)
                return false;
        error_clear(&call->op.err);
        call->vectors = vectors;
        call->dimensions = (int)n[HEAD_DIMENSIONS];
        call->usage = (struct call_usage){n[HEAD_INPUT], n[HEAD_OUTPUT], n[HEAD_CACHED]};
        call->cost_usd = cost;
        call->served_from = SERVED_LEDGER;
        call->provider_ms = 0;
        return true;
}

static void write_entry(struct task *task)
{
        const struct call *call = &task->call;

        buffer_reset(&task->out);
        buffer_printf(&task->out, "1 %d %zu %lld %lld %lld %.17g %s\n", call->dimensions, call->embed.count, (long long)call->usage.input_tokens,
                      (long long)call->usage.output_tokens, (long long)call->usage.cached_tokens, call->cost_usd,
                      call->model_name ? call->model_name : "-");
        buffer_add(&task->out, call->vectors, call->embed.count * (size_t)call->dimensions * sizeof(float));
}

/* The part of a phase that waits for our own store: true when it has answered well; else *ret is to be returned. */
static bool answered(struct task *task, enum step *ret, struct error *err)
{
        *ret = STEP_WAIT;
        if (task->op.state == OP_BUSY || ev_is_active(&task->timer))
                return false;
        if (task->op.state == OP_DONE && task->op.err.code != CODE_NONE) {
                struct error failure = task->op.err;

                op_reset(&task->op);
                if (!task_waits_for_store(task, &failure, err))
                        *ret = STEP_DONE;
                return false;
        }
        return true;
}

static enum step begin(struct task *task, size_t model, struct error *err)
{
        if (!is_paid(task, model)) {
                start_call(task, model);
                return STEP_MORE;
        }
        if (name_field(task, model, err) < 0)
                return STEP_DONE;
        if (task->may_recall)
                task->paid.phase = PAID_RECALL;
        else
                start_call(task, model);
        return STEP_MORE;
}

static enum step recall(struct task *task, size_t model, struct error *err)
{
        enum step ret;

        if (!answered(task, &ret, err))
                return ret;
        if (task->op.state == OP_IDLE) {
                buffer_reset(&task->out);
                task->recall.value = &task->out;
                ledger_get(task->shop->redis, &task->op, task->claim.tenant, task->claim.id, span_of(task->paid.field), &task->recall);
                return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
        }
        op_reset(&task->op);
        if (task->recall.found && read_entry(task, buffer_view(&task->out)))
                task->paid.phase = PAID_ENDED;
        else if (!arena_ok(task->arena)) /* it is there, and can't be taken: no reason to pay again */
                return error_set(err, arena_fault(task->arena), "an answer needs more memory than one request may take"), STEP_DONE;
        else
                start_call(task, model);
        return STEP_MORE;
}

static enum step called(struct task *task, size_t model)
{
        if (task->call.op.state != OP_DONE)
                return STEP_WAIT;
        task->paid.phase = task->call.op.err.code == CODE_NONE && is_paid(task, model) ? PAID_KEEP : PAID_ENDED;
        return STEP_MORE;
}

static enum step keep(struct task *task, struct error *err)
{
        enum step ret;

        if (task->op.state == OP_DONE && task->op.err.code != CODE_NONE && !task_store_will_pass(&task->op.err)) {
                op_reset(&task->op); /* Redis refuses this entry: it goes on without */
                task->paid.phase = PAID_ENDED;
                return STEP_MORE;
        }
        if (!answered(task, &ret, err))
                return ret;
        if (task->op.state == OP_IDLE) {
                write_entry(task);
                if (!buffer_ok(&task->out)) { /* as above */
                        task->paid.phase = PAID_ENDED;
                        return STEP_MORE;
                }
                task->text = buffer_view(&task->out);
                ledger_put(task->shop->redis, &task->op, &task->claim, span_of(task->paid.field), task->text, &task->kept);
                return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
        }
        op_reset(&task->op);
        if (task->kept.fenced && task->kept.status != CLAIM_NONE) { /* a claim that Redis lost is nobody's: it goes on */
                task->claim_lost = true;
                task_ready(task);
                return STEP_WAIT;
        }
        task->may_recall = true;
        task->paid.phase = PAID_ENDED;
        return STEP_MORE;
}

enum step paid_embedding(struct task *task, size_t model, struct error *err)
{
        enum step step = STEP_MORE;

        while (step == STEP_MORE) {
                switch (task->paid.phase) {
                case PAID_BEGIN:
                        step = begin(task, model, err);
                        break;
                case PAID_RECALL:
                        step = recall(task, model, err);
                        break;
                case PAID_CALL:
                        step = called(task, model);
                        break;
                case PAID_KEEP:
                        step = keep(task, err);
                        break;
                case PAID_ENDED:
                default:
                        kind_called(task, err);
                        step = STEP_DONE;
                        break;
                }
        }
        if (step == STEP_DONE) {
                task->paid.phase = PAID_BEGIN;
                op_reset(&task->call.op);
        }
        return step;
}
