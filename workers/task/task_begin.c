/* How a task begins: the record is read, and claimed. From here it goes on in task_run.c, or to its end in task_end.c. */
#include <inttypes.h>

#include "config/base/clock.h"
#include "queues/kafka/topics.h"
#include "workers/task/task_steps.h"
#include "workers/workshop.h"

enum {
        ADMIT_WAIT_MS = 20, /* before a heavy request looks again whether there is room */
        WEIGHT_PER_INPUT = 8192,
        WEIGHT_PER_BYTE = 16,
        HELD_WAIT_MS = 100, /* before a claim that another holds is asked for again */
};

/* ---- DECODE */

/* The prefix that a request's or retry's topic begins with, the common one or a tenant's own, and what the topic is for; a retry topic has
 * no lane: LANE_COUNT. NULL: it is none of these. */
static const char *prefix_of(const struct settings *settings, const char *topic, enum kind *ret_kind, enum lane *ret_lane)
{
        struct topic_meaning meaning;

        for (size_t i = 0; i <= settings->tenant_count; i++) {
                const char *prefix = i < settings->tenant_count ? settings->tenants[i].prefix : settings->kafka.prefix;

                if (!prefix || !topic_parse(topic, prefix, &meaning) || (meaning.role != TOPIC_REQUEST && meaning.role != TOPIC_RETRY))
                        continue;
                *ret_kind = meaning.kind;
                *ret_lane = meaning.role == TOPIC_REQUEST ? meaning.lane : LANE_COUNT;
                return prefix;
        }
        return NULL;
}

const char *task_prefix(const struct task *task)
{
        enum kind kind;
        enum lane lane;
        const char *prefix = prefix_of(task->settings, task->delivery.topic, &kind, &lane);

        return prefix ? prefix : task->settings->kafka.prefix;
}

/* Kind and lane are those of the first delivery's topic. False: mr-origin-topic is none of the delivery's own family, and not believed. */
static bool read_topic(const struct task *task, enum kind *ret_kind, enum lane *ret_lane)
{
        struct span origin = delivery_header(&task->delivery, "mr-origin-topic");
        const char *prefix = prefix_of(task->settings, task->delivery.topic, ret_kind, ret_lane);
        char name[TOPIC_NAME_BYTES];
        enum kind kind;
        enum lane lane;

        if (!prefix || !origin.len || origin.len >= sizeof name)
                return false;
        memcpy(name, origin.data, origin.len);
        name[origin.len] = '\0';
        if (strlen(name) != origin.len || prefix_of(task->settings, name, &kind, &lane) != prefix || lane == LANE_COUNT)
                return false;
        *ret_kind = kind;
        *ret_lane = lane;
        return true;
}

/* A tenant bound to a prefix speaks only there, and nobody else does. */
static int check_tenant(const struct task *task, struct error *err)
{
        const char *prefix = task_prefix(task);

        for (size_t i = 0; i < task->settings->tenant_count; i++) {
                const struct tenant_settings *tenant = &task->settings->tenants[i];
                bool here = tenant->prefix && strcmp(tenant->prefix, prefix) == 0, common = strcmp(prefix, task->settings->kafka.prefix) == 0;
                bool is = span_is(task->request.tenant, tenant->name);

                if (tenant->prefix && !common && here != is && (here || is))
                        return error_set(err, CODE_SCHEMA, "tenant: not allowed on this topic");
                if (tenant->prefix && common && is && !here)
                        return error_set(err, CODE_SCHEMA, "tenant: must use its own topics");
        }
        return 0;
}

static bool first_delivery(const struct task *task)
{
        return task->request.origin_topic == task->delivery.topic;
}

/* An estimate, bytes: vectors and their text for each input, or for each few words of a document. */
static size_t weigh(const struct request_step *step)
{
        return step->kind == KIND_EMBED    ? step->embed.input_count * WEIGHT_PER_INPUT
               : step->kind == KIND_INGEST ? step->ingest.text.len * WEIGHT_PER_BYTE
                                           : 0;
}

enum step task_step_decode(struct task *task)
{
        const struct settings *settings = task->settings;
        struct envelope_limits limits = {.payload_bytes_max = (size_t)settings->worker.payload_bytes_max};
        int64_t wall_ms = clock_wall_ms();
        struct error err;
        enum kind kind = KIND_EMBED;
        enum lane lane = LANE_BULK;
        int failed;

        if (ev_is_active(&task->timer))
                return STEP_WAIT;
        for (int i = 0; i < LANE_COUNT; i++)
                limits.lane_timeout_ms[i] = settings->lanes[i].timeout_ms;
        error_clear(&err);
        limits.ignore_origin = !read_topic(task, &kind, &lane);
        if (lane == LANE_COUNT)
                lane = LANE_BULK;
        failed = envelope_decode(&task->delivery, kind, lane, &limits, task->arena, &task->out, &task->request, &err);
        if (failed < 0 && err.code == CODE_INTERNAL) { /* no memory: what the record says is not known yet, so nothing may be said of it */
                envelope_release(&task->request);
                arena_forgive(task->arena);
                return task_try_again(task);
        }
        if (task->request.id.len && check_tenant(task, failed < 0 ? NULL : &err) < 0) {
                failed = -1;
                task->request.id.len = 0; /* nothing is written in another tenant's name */
        }
        task->weight = failed < 0 ? 0 : weigh(&task->request.steps[0]);
        task->deadline = clock_now_ms() + (task->request.deadline_wall_ms - wall_ms);
        task->queued_ms = wall_ms > task->request.origin_timestamp_ms ? wall_ms - task->request.origin_timestamp_ms : 0;
        task->outcome.served_from = served_names[SERVED_PROVIDER];
        if (failed < 0) {
                task->no_result = task->request.id.len == 0;
                if (task->no_result)
                        return task_fail(task, &err);
                task->doomed = true;
                task->last = err;
        }
        task->first_failed_wall_ms = task->request.first_failed_wall_ms;
        /* A retry written in the future: the clock was set back, and nobody waits for it to come round. */
        if (!task->doomed && task->request.not_before_wall_ms > wall_ms && task->delivery.timestamp_ms <= wall_ms && !first_delivery(task) &&
            task_remaining_ms(task) > 0) {
                task->attempts = task->request.attempts; /* its tier's delay has passed, its time has not come */
                task->not_before_wall_ms = task->request.not_before_wall_ms;
                task->step = task->request.first_step;
                return task_move(task, TASK_RETRY);
        }
        if (!task->doomed && task_remaining_ms(task) > 0 && task_job_is_paused(task, wall_ms, &task->not_before_wall_ms)) {
                task->attempts = task->request.attempts;
                task->step = task->request.first_step;
                return task_move(task, TASK_RETRY);
        }
        return task_move(task, TASK_CLAIM);
}

/* ---- CLAIM */

int64_t task_result_ttl_s(const struct task *task)
{
        return task->request.result_ttl_s ? task->request.result_ttl_s : task->settings->redis.result_ttl_s;
}

static char *put_number(char *at, uint64_t value, unsigned base)
{
        char digits[24];
        size_t n = 0;

        do
                digits[n++] = "0123456789abcdef"[value % base];
        while (value /= base);
        while (n)
                *at++ = digits[--n];
        return at;
}

/* This process and this delivery: "w1/4711/18c2f…/5be0c2f1:3:17:2". Its partition may go and come back while a task still has it (2: the
 * assignment): the two deliveries must not take the claim from one another. Every record passes here: no printf. */
static void name_holder(struct task *task)
{
        size_t len = strlen(task->shop->holder);
        char *at = task->holder + len;

        _Static_assert(sizeof task->shop->holder + 1 + 16 + 1 + 10 + 1 + 20 + 1 + 6 < sizeof task->holder, "the longest holder fits");
        memcpy(task->holder, task->shop->holder, len);
        *at++ = '/';
        at = put_number(at, digest_fnv1a(span_of(task->delivery.topic)), 16);
        *at++ = ':';
        at = put_number(at, (uint64_t)(uint32_t)task->delivery.partition, 10);
        *at++ = ':';
        at = put_number(at, (uint64_t)task->delivery.offset, 10);
        *at++ = ':';
        at = put_number(at, task->record->generation & 0xffffff, 16);
        task->claim.holder = (struct span){task->holder, (size_t)(at - task->holder)};
}

static void start_claim(struct task *task)
{
        static int64_t takes;
        int64_t ttl = task_result_ttl_s(task), dedupe = task->settings->redis.dedupe_ttl_s;
        struct claim_request request = {.lease_ms = task->settings->worker.claim_lease_ms,
                                        .fingerprint = {task->request.fingerprint, SHA256_HEX_BYTES - 1},
                                        .replays = task->request.replays,
                                        .attempts_floor = first_delivery(task) && !task->request.replays ? 1 : task->request.attempts,
                                        .result_ttl_s = ttl,
                                        .list = task->request.reply_list};
        struct claim_request *kept;

        if (!task->claim.holder.len)
                name_holder(task);
        if (!task->take)
                task->take = ++takes;
        request.take = task->take;
        task->claim.tenant = task->request.tenant;
        task->claim.id = task->request.id;
        task->claim.ttl_s = ttl > dedupe ? ttl : dedupe;
        kept = arena_alloc(task->scratch, sizeof *kept); /* borrowed until the op is done */
        if (!kept) {
                task_try_again(task);
                return;
        }
        *kept = request;
        claim_take(task->shop->redis, &task->op, &task->claim, kept, &task->claim_answer);
}

/* Nothing of an earlier grant is left, but what the claim counts. */
static void begin_anew(struct task *task)
{
        task->step = 0;
        task->phase = 0;
        task->work = NULL;
        task->paid.phase = PAID_BEGIN;
        task->failed = task->counted = false;
        task->not_before_wall_ms = 0;
        task->passages = (struct passages){0};
        memset(task->steps, 0, sizeof task->steps);
        task->outcome = (struct outcome){.served_from = served_names[SERVED_PROVIDER]};
}

static enum step claim_granted(struct task *task)
{
        task->claimed = true;
        task->claim_lost = false; /* whatever a renewal of an earlier grant said */
        task->take = 0;
        task->claim.fence = task->claim_answer.fence;
        task->renewed_ms = clock_now_ms();
        if (task->answered) /* the claim had gone before the answer could be stored: it is paid for, and good */
                return task_move(task, TASK_STORE);
        task->attempts = (int)task->claim_answer.attempts;
        if (task->attempts > task->settings->retry.attempts_max) /* the one too many that a worker counted and died before it could say so */
                task->attempts = task->settings->retry.attempts_max;
        task->may_recall |= !task->claim_answer.fresh || !first_delivery(task) || task->request.replays > 0;
        begin_anew(task);
        if (task_job_is_cancelled(task))
                return task_cancel(task);
        if (task->doomed) {
                struct error err = task->last;

                return task_fail(task, &err);
        }
        if (task_remaining_ms(task) <= 0)
                return task_expire(task);
        task->counted = task->claim_answer.fresh && first_delivery(task) && !task->request.replays;
        return task_move(task, task->counted ? TASK_ADMIT : TASK_RECALL);
}

/* What the answer will take is bounded like what the requests take: a heavy one waits until there is room, or nothing else is under way. */
static bool admit(struct task *task)
{
        struct workshop *shop = task->shop;

        if (task->admitted)
                return true;
        if (shop->weight > 0 && shop->weight + task->weight > (size_t)task->settings->worker.inflight_bytes_max && task_remaining_ms(task) > 0) {
                if (!ev_is_active(&task->timer))
                        task_wait(task, ADMIT_WAIT_MS);
                return false;
        }
        shop->weight += task->weight;
        task->admitted = true;
        return true;
}

enum step task_step_claim(struct task *task)
{
        enum step ret;
        struct error err;

        if (!admit(task))
                return STEP_WAIT;
        if (!task_op_ended(task, &ret))
                return ret;
        if (task->op.state == OP_IDLE) {
                start_claim(task);
                return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
        }
        switch (task->claim_answer.verdict) {
        case CLAIM_GRANTED:
                return claim_granted(task);
        case CLAIM_HELD:
                op_reset(&task->op);
                task_wait(task, task->claim_answer.lease_remaining_ms < HELD_WAIT_MS ? task->claim_answer.lease_remaining_ms + 1 : HELD_WAIT_MS);
                return STEP_WAIT;
        case CLAIM_FINISHED:
                task->duplicate = true;
                return task_end(task);
        case CLAIM_CONFLICT:
        default:
                task->no_result = true;
                err = task->last;
                if (!task->doomed)
                        error_set(&err, CODE_ID_CONFLICT, "another payload was sent under this id");
                return task_fail(task, &err);
        }
}
