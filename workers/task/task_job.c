/* What a record's job has to say: a paused one's records wait in the retry topics, a cancelled one's end as cancelled, and how each ended
 * is counted before its offset is.
 *
 * The count comes after the result (or the letter) and before the commit: a crash in between has the record delivered again, found
 * finished, and counted then; mr-job-seq keeps it from being counted twice. A count that Redis refuses for good is given up: it must not
 * hold up the record. */
#include <jansson.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "workers/jobs/running_jobs.h"
#include "workers/task/admit.h"
#include "workers/task/retry_policy.h"
#include "workers/task/task_steps.h"
#include "workers/workshop.h"

/* ---- Paused, cancelled */

bool task_job_is_paused(const struct task *task, int64_t wall_ms, int64_t *ret_not_before_wall_ms)
{
        const struct settings *s = task->settings;
        int64_t since, wait, delay;

        if (!task->request.job.len || s->retry.delay_count == 0 ||
            running_jobs_state(task->shop->jobs, task->request.tenant, task->request.job, &since) != JOB_PAUSED)
                return false;
        wait = running_jobs_wait_ms(wall_ms - since, s->retry.delays_ms[0], s->retry.delays_ms[s->retry.delay_count - 1]);
        delay = s->retry.delays_ms[retry_tier(s->retry.delays_ms, s->retry.delay_count, wait)];
        *ret_not_before_wall_ms = wall_ms + delay; /* a topic holds its records in due order: all wait as long as its tier says */
        return true;
}

bool task_job_is_cancelled(const struct task *task)
{
        int64_t since;

        return task->request.job.len &&
               running_jobs_state(task->shop->jobs, task->request.tenant, task->request.job, &since) == JOB_CANCELLED;
}

enum step task_cancel(struct task *task)
{
        admit_left(task);
        task->cancelled = true;
        task->failed = task->answered = false;
        error_set(&task->last, CODE_CANCELLED, "its job was cancelled");
        return task_move(task, TASK_CANCEL);
}

enum step task_step_cancel(struct task *task)
{
        enum step ret;

        if (!task_op_ended(task, &ret))
                return ret;
        if (task->op.state == OP_IDLE) {
                if (!task_render_result(task))
                        return task_try_again(task);
                result_cancel(task->shop->redis, &task->op, &task->claim, buffer_view(&task->out), task_result_ttl_s(task),
                              &task->stored);
                return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
        }
        task->claimed = false;
        return task_end(task);
}

/* ---- The count */

enum tally_phase { TALLY_BEGIN, TALLY_READ, TALLY_COUNT };

static bool counts(const struct task *task)
{
        return task->request.job.len && task->request.id.len && job_valid_name(task->request.job);
}

enum step task_end(struct task *task)
{
        return task_move(task, counts(task) ? TASK_COUNT : TASK_COMMIT);
}

static enum job_outcome outcome_of(enum claim_status status)
{
        return status == CLAIM_OK        ? JOB_ENDED_OK
             : status == CLAIM_CANCELLED ? JOB_ENDED_CANCELLED
             : status == CLAIM_EXPIRED   ? JOB_ENDED_EXPIRED
                                         : JOB_ENDED_FAILED;
}

/* As this task ended it, or as the claim says that another did. */
static void begin_tally(struct task *task)
{
        const bool other = task->duplicate || (task->stored.verdict == RESULT_FINAL && !task->no_result);
        struct job_end *end = &task->tally.end;

        *end = (struct job_end){.tenant = task->request.tenant, .job = task->request.job, .seq = task->request.job_seq};
        if (other) {
                end->outcome = outcome_of(task->duplicate ? task->claim_answer.status : task->stored.status);
                end->code = end->outcome == JOB_ENDED_EXPIRED ? CODE_DEADLINE : CODE_INTERNAL;
                task->tally.phase = TALLY_READ;
                return;
        }
        end->outcome = task->cancelled                  ? JOB_ENDED_CANCELLED
                     : !task->failed                    ? JOB_ENDED_OK
                     : task->last.code == CODE_DEADLINE ? JOB_ENDED_EXPIRED
                                                        : JOB_ENDED_FAILED;
        end->code = task->last.code;
        end->input_tokens = task->outcome.usage.input_tokens;
        end->output_tokens = task->outcome.usage.output_tokens;
        end->cached_tokens = task->outcome.usage.cached_tokens;
        end->cost_usd = task->outcome.cost_usd;
        task->tally.phase = TALLY_COUNT;
}

/* What the result of another delivery says; it may have gone meanwhile: then the outcome alone counts. */
static void read_tally(struct task *task)
{
        const struct span text = buffer_view(&task->out);
        json_t *tree = task->tally.read.found ? json_loadb(text.data, text.len, 0, NULL) : NULL;
        const json_t *usage = json_object_get(tree, "usage"), *error = json_object_get(tree, "error");
        const char *class = json_string_value(json_object_get(error, "class")),
                   *code = json_string_value(json_object_get(error, "code"));
        struct job_end *end = &task->tally.end;

        end->input_tokens = json_integer_value(json_object_get(usage, "input_tokens"));
        end->output_tokens = json_integer_value(json_object_get(usage, "output_tokens"));
        end->cached_tokens = json_integer_value(json_object_get(usage, "cached_tokens"));
        end->cost_usd = json_number_value(json_object_get(json_object_get(tree, "cost"), "amount"));
        if (class && code && error_code_of(class, code) != CODE_NONE)
                end->code = error_code_of(class, code);
        json_decref(tree);
}

static enum step give_up_count(struct task *task)
{
        log_error("job_not_counted", "id=%.*s job=%.*s reason=%s", (int)task->request.id.len, task->request.id.data,
                  (int)task->request.job.len, task->request.job.data, task->op.err.message);
        return task_move(task, TASK_COMMIT);
}

enum step task_step_count(struct task *task)
{
        if (task->op.state == OP_BUSY || (task->op.state == OP_IDLE && ev_is_active(&task->timer)))
                return STEP_WAIT;
        if (task->op.state == OP_DONE && task->op.err.code != CODE_NONE)
                return task_store_will_pass(&task->op.err) ? task_try_again(task) : give_up_count(task);
        if (task->op.state == OP_DONE && task->tally.phase == TALLY_COUNT)
                return task_move(task, TASK_COMMIT);
        if (task->op.state == OP_DONE) {
                read_tally(task);
                op_reset(&task->op);
                task->tally.phase = TALLY_COUNT;
        } else if (task->tally.phase == TALLY_BEGIN) {
                begin_tally(task);
        }
        if (task->tally.phase == TALLY_READ) {
                buffer_reset(&task->out);
                task->tally.read.json = &task->out;
                result_get(task->shop->redis, &task->op, task->request.tenant, task->request.id, &task->tally.read);
        } else {
                job_count(task->shop->redis, &task->op, &task->tally.end, &task->tally.counted);
        }
        return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
}
