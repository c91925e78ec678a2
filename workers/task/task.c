#include "workers/task/task.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "workers/kinds/kinds_table.h"
#include "workers/task/admit.h"
#include "workers/workshop.h"

enum { SPARES_MAX = 512, SPARE_BUFFER_BYTES = 65536, RESULT_BYTES_MAX = 60 << 20 /* one Redis command takes 64 MiB */, ARENA_BYTES_MIN = 32 << 20, ARENA_PER_PAYLOAD = 16, SCRATCH_BYTES_MAX = 1 << 20 };

void task_ready(struct task *task)
{
        if (!task->ready)
                ready_add(&task->shop->ready, task);
}

static void on_op_done(struct op *op)
{
        task_ready(CONTAINER_OF(op, struct task, op));
}

static void on_call_done(struct op *op)
{
        task_ready(CONTAINER_OF(op, struct task, call.op));
}

static void on_renew_done(struct op *op)
{
        struct task *task = CONTAINER_OF(op, struct task, renew_op);

        /* A claim that is merely gone (Redis lost it) is nobody's: the call under way is paid for, and its answer claims anew. */
        if (op->err.code == CODE_NONE && task->renew_answer.lost && task->renew_answer.status != CLAIM_NONE)
                task->claim_lost = true;
        else if (op->err.code == CODE_NONE)
                task->renewed_ms = clock_now_ms();
        op_reset(op);
        if (task->claim_lost || task->leaving)
                task_ready(task);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
        struct task *task = timer->data;

        (void)loop;
        (void)events;
        task->timed = true;
        task_ready(task);
}

static void free_whole(struct task *task)
{
        arena_free(task->arena);
        arena_free(task->scratch);
        buffer_fini(&task->out);
        free(task);
}

/* A spare one with its arena and buffer emptied, or a new one. */
static struct task *take_spare(struct workshop *shop)
{
        struct task *task = shop->spares;
        struct arena *arena, *scratch;
        struct buffer out;

        if (!task) {
                task = calloc(1, sizeof *task);
                if (!task)
                        return NULL;
                task->arena = arena_new((size_t)shop->settings->worker.payload_bytes_max * ARENA_PER_PAYLOAD + ARENA_BYTES_MIN);
                task->scratch = arena_new(SCRATCH_BYTES_MAX);
                buffer_init(&task->out, RESULT_BYTES_MAX);
                if (!task->arena || !task->scratch) {
                        free_whole(task);
                        return NULL;
                }
                return task;
        }
        shop->spares = task->next;
        shop->spare_count--;
        arena = task->arena;
        scratch = task->scratch;
        out = task->out;
        memset(task, 0, sizeof *task);
        arena_reset(arena);
        arena_reset(scratch);
        buffer_reset(&out);
        task->arena = arena;
        task->scratch = scratch;
        task->out = out;
        return task;
}

void task_spares_free(struct workshop *shop)
{
        while (shop->spares) {
                struct task *next = shop->spares->next;

                free_whole(shop->spares);
                shop->spares = next;
        }
        shop->spare_count = 0;
}

static bool view_record(struct task *task, const struct record *record)
{
        struct header *headers;
        struct span value;
        const char *name;
        size_t count = 0;

        task->bytes = record->key.len + record->value.len;
        while (count < RECORD_HEADERS_MAX && record_header_at(record, count, &name, &value)) {
                task->bytes += value.len;
                count++;
        }
        headers = arena_alloc_raw(task->arena, (count + 1) * sizeof *headers);
        if (!headers)
                return false;
        for (size_t i = 0; i < count; i++) {
                record_header_at(record, i, &name, &value);
                headers[i] = (struct header){name, value};
        }
        task->delivery = (struct delivery){.topic = record->topic,
                                           .partition = record->partition,
                                           .offset = record->offset,
                                           .timestamp_ms = record->timestamp_ms > 0 ? record->timestamp_ms : clock_wall_ms(),
                                           .key = record->key,
                                           .value = record->value,
                                           .headers = headers,
                                           .header_count = count};
        return true;
}

struct task *task_new(struct workshop *shop, struct record *record)
{
        struct task *task = take_spare(shop);

        if (!task)
                return NULL;
        task->shop = shop;
        if (!view_record(task, record)) {
                free_whole(task);
                return NULL;
        }
        task->record = record;
        task->settings = settings_ref(shop->settings);
        task->started_ms = clock_now_ms();
        op_init(&task->op, on_op_done);
        op_init(&task->call.op, on_call_done);
        op_init(&task->renew_op, on_renew_done);
        ev_timer_init(&task->timer, on_timer, 0, 0);
        task->timer.data = task;
        error_clear(&task->last);
        return task;
}

static void give_up_work(struct task *task)
{
        const struct kind_row *kind = &kinds_table[task->request.steps[task->step].kind];

        if (task->state == TASK_CALL && kind->abort)
                kind->abort(task);
        op_abort(&task->op);
        op_abort(&task->call.op);
        task_unwait(task);
        admit_left(task);
}

void task_free(struct task *task)
{
        struct workshop *shop = task->shop;

        give_up_work(task);
        op_abort(&task->renew_op);
        if (task->admitted)
                shop->weight -= task->weight;
        if (task->ready)
                ready_remove(&shop->ready, task);
        envelope_release(&task->request);
        if (task->record)
                source_drop(task->record);
        settings_unref(task->settings);
        if (shop->spare_count >= SPARES_MAX || task->out.cap > SPARE_BUFFER_BYTES) {
                free_whole(task);
                return;
        }
        task->next = shop->spares;
        shop->spares = task;
        shop->spare_count++;
}

void task_wait(struct task *task, int64_t delay_ms)
{
        ev_timer_stop(task->shop->loop, &task->timer);
        task->timed = false;
        ev_timer_set(&task->timer, delay_ms > 0 ? (double)delay_ms / 1000.0 : 0.0, 0.0);
        ev_timer_start(task->shop->loop, &task->timer);
}

void task_unwait(struct task *task)
{
        ev_timer_stop(task->shop->loop, &task->timer);
        task->timed = false;
}

int64_t task_remaining_ms(const struct task *task)
{
        return task->deadline - clock_now_ms();
}

void task_renew(struct task *task)
{
        int64_t lease_ms = task->settings->worker.claim_lease_ms;

        if (!task->claimed || task->claim_lost || task->renew_op.state != OP_IDLE || task->state == TASK_RELEASE || task->state == TASK_STORE ||
            clock_now_ms() - task->renewed_ms < lease_ms / 3)
                return;
        claim_renew(task->shop->redis, &task->renew_op, &task->claim, lease_ms, &task->renew_answer);
}

void task_let_go(struct task *task)
{
        int64_t unused = task->counted && (task->state == TASK_ADMIT || task->state == TASK_BACKOFF); /* an attempt counted and not made */

        give_up_work(task);
        op_abort(&task->renew_op);
        if (!task->claimed)
                return;
        task->claimed = false;
        claim_release(task->shop->redis, &task->renew_op, &task->claim, unused, &task->renew_answer);
}

void task_leave(struct task *task)
{
        task->leaving = true;
        task_ready(task);
}

void task_claim_lost(struct task *task)
{
        give_up_work(task);
        task->claimed = task->claim_lost = false;
        task->phase = 0;
        task->paid.phase = PAID_BEGIN;
        task_move(task, TASK_CLAIM);
}
