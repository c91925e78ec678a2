#include "workers/intake.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/kafka/topics.h"

enum { LEAVE_MIN_MS = 200, INTERACTIVE_RECENT_MS = 1000, TOPICS_PER_SOURCE_MAX = SOURCE_TOPICS_MAX };

/* ---- Bounds */

static size_t bulk_max(const struct intake *intake)
{
        const struct settings *s = intake->shop->settings;
        bool recent = intake->interactive_seen_ms && clock_now_ms() - intake->interactive_seen_ms < INTERACTIVE_RECENT_MS;
        size_t max = (size_t)s->worker.inflight_max, share = (size_t)((double)max * s->lanes[LANE_BULK].share);

        return !recent ? max : share > 0 ? share : 1;
}

static void balance(struct intake *intake)
{
        const struct settings *s = intake->shop->settings;
        size_t tasks = (size_t)s->worker.inflight_max, bytes = (size_t)s->worker.inflight_bytes_max;
        bool bulk_full = intake->bulk_count >= bulk_max(intake);

        if (intake->task_count >= tasks || intake->bytes >= bytes)
                intake->full = true;
        else if (intake->task_count <= tasks - (tasks + 7) / 8 && intake->bytes <= bytes - bytes / 8)
                intake->full = false;
        for (size_t i = 0; i < intake->source_count; i++) {
                struct intake_source *source = &intake->sources[i];
                bool flooded = intake->shop->flooded[source->kind] >= (tasks + 1) / 2;
                bool hold = intake->full || flooded || (source->lane == LANE_BULK && bulk_full);

                if (source->source && source_held(source->source) != hold)
                        source_hold(source->source, hold);
        }
}

/* ---- Tasks */

static void unlink_task(struct intake *intake, struct task *task)
{
        if (task->prev)
                task->prev->next = task->next;
        else
                intake->tasks = task->next;
        if (task->next)
                task->next->prev = task->prev;
        task->prev = task->next = NULL;
        intake->task_count--;
        intake->bytes -= task->bytes;
        intake->bulk_count -= task->from_bulk;
}

static void drop(struct intake *intake, struct task *task)
{
        unlink_task(intake, task);
        task_free(task);
}

static int64_t header_ms(const struct record *record, const char *name)
{
        struct span value;

        return record_header(record, name, &value) ? envelope_header_int(value, INT64_MAX) : INT64_MAX;
}

/* When a record of a retry topic is looked at: at mr-not-before, but never later than its tier's delay after it was written, so that nothing
 * holds up what stands behind it, nor than its deadline. */
static int64_t retry_due(const struct record *record)
{
        int64_t due = header_ms(record, "mr-not-before"), deadline = header_ms(record, "mr-deadline"), delay = 0;
        const char *tier = strrchr(record->topic, '.');

        if (due == INT64_MAX || !tier || !clock_parse_duration(span_of(tier + 1), &delay))
                return 0;
        if (due > record->timestamp_ms + delay)
                due = record->timestamp_ms + delay;
        return due < deadline ? due : deadline;
}

/* How long a record of a retry topic is to wait yet, ms. One written in the future shows that the wall clock was set back: what it says is
 * read by the clock it was written by, or a topic would stand still for as long as the clock went back. */
static int64_t retry_wait(struct intake_source *from, const struct record *record)
{
        int64_t wall = clock_wall_ms(), ahead = record->timestamp_ms - wall;

        if (ahead <= 0)
                from->ahead_ms = 0;
        else if (ahead > from->ahead_ms)
                from->ahead_ms = ahead;
        return retry_due(record) - wall - from->ahead_ms;
}

static void on_record(void *user, struct record *record)
{
        struct intake_source *from = user;
        struct intake *intake = from->intake;
        struct task *task;
        int64_t wait_ms = from->retry ? retry_wait(from, record) : 0;

        if (wait_ms > 0) {
                source_park(record, clock_wall_ms() + wait_ms);
                return;
        }
        task = task_new(intake->shop, record);
        if (!task) {
                intake->out_of_memory = true;
                source_drop(record);
                return;
        }
        task->from_bulk = from->lane == LANE_BULK;
        task->source_kind = from->kind;
        task->next = intake->tasks;
        if (intake->tasks)
                intake->tasks->prev = task;
        intake->tasks = task;
        intake->task_count++;
        intake->bytes += task->bytes;
        intake->bulk_count += task->from_bulk;
        if (from->lane == LANE_INTERACTIVE)
                intake->interactive_seen_ms = clock_now_ms();
        balance(intake);
        task_ready(task);
}

static void count_end(const struct task *task)
{
        static const char *const outcomes[] = {"ok", "failed", "expired", "duplicate", "cancelled"};
        static struct metric *ended[KIND_COUNT][LANE_COUNT][COUNT_OF(outcomes)], *seconds[KIND_COUNT][LANE_COUNT];
        const struct request *r = &task->request;
        size_t outcome = task->failed ? (task->last.code == CODE_DEADLINE ? 2 : 1) : task->duplicate ? 3 : task->cancelled ? 4 : 0;
        struct metric **counter = &ended[r->kind][r->lane][outcome], **histogram = &seconds[r->kind][r->lane];
        char labels[96];

        if (!*counter) {
                snprintf(labels, sizeof labels, "kind=\"%s\",lane=\"%s\",outcome=\"%s\"", kind_names[r->kind], lane_names[r->lane], outcomes[outcome]);
                *counter = metrics_counter("millrace_records_ended_total", "Records that durably ended, by outcome", labels);
        }
        if (!*histogram) {
                snprintf(labels, sizeof labels, "kind=\"%s\",lane=\"%s\"", kind_names[r->kind], lane_names[r->lane]);
                *histogram = metrics_histogram("millrace_record_seconds", "From taking a record up to its end", labels);
        }
        metrics_add(*counter, 1);
        metrics_observe_ms(*histogram, clock_now_ms() - task->started_ms);
        if (task->failed)
                log_info("request_failed", "id=%.*s kind=%s class=%s code=%s attempts=%d topic=%s partition=%d offset=%lld", (int)r->id.len,
                         r->id.len ? r->id.data : "", kind_names[r->kind], error_class_name(task->last.class), error_code_name(task->last.code),
                         task->attempts, r->origin_topic, r->origin_partition, (long long)r->origin_offset);
}

void intake_run(struct intake *intake, struct task *task)
{
        if (!task_run(task))
                return;
        if (task->leaving) {
                drop(intake, task);
                balance(intake);
                return;
        }
        count_end(task);
        unlink_task(intake, task);
        task_free(task);
        intake->ended++;
        intake->ended_at_ms = clock_now_ms();
        balance(intake);
}

void intake_tick(struct intake *intake)
{
        static struct metric *in_flight, *oldest;

        if (!intake->shop)
                return; /* not opened yet */
        for (struct task *task = intake->tasks; task; task = task->next)
                task_renew(task);
        balance(intake);
        if (!in_flight) {
                in_flight = metrics_gauge("millrace_records_in_flight", "Records under way", NULL);
                oldest = metrics_gauge("millrace_oldest_record_age_seconds", "Age of the oldest record under way", NULL);
        }
        metrics_set(in_flight, (double)intake->task_count);
        metrics_set(oldest, (double)intake_oldest_ms(intake) / 1000.0);
}

int64_t intake_overdue_ms(const struct intake *intake)
{
        int64_t now = clock_now_ms(), worst = 0;

        for (const struct task *task = intake->tasks; task; task = task->next)
                if (task->state != TASK_DECODE && now - task->deadline > worst)
                        worst = now - task->deadline;
        return worst;
}

bool intake_let_go(struct intake *intake, bool first)
{
        for (struct task *task = intake->tasks; task && first; task = task->next)
                task_leave(task);
        return intake->task_count == 0;
}

int64_t intake_oldest_ms(const struct intake *intake)
{
        int64_t now = clock_now_ms(), oldest = 0;

        for (const struct task *task = intake->tasks; task; task = task->next)
                if (now - task->started_ms > oldest)
                        oldest = now - task->started_ms;
        return oldest;
}

/* ---- Sources */

static bool of_partitions(const struct record *record, const struct source_partition *partitions, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (record->partition == partitions[i].partition && strcmp(record->topic, partitions[i].topic) == 0)
                        return true;
        return false;
}

/* What calls no one just now goes back at once, its claim with it; the rest may end within the source's drain, or after it: its claim is
 * renewed meanwhile, and whoever has the record next waits for its result. */
static void on_revoke(void *user, struct source *source, const struct source_partition *partitions, size_t count, bool lost)
{
        struct intake *intake = ((struct intake_source *)user)->intake;

        (void)lost;
        for (struct task *task = intake->tasks; task; task = task->next) {
                if (!task->record || task->record->source != source || !of_partitions(task->record, partitions, count))
                        continue;
                if (!task->answered && (task->state == TASK_DECODE || task->state == TASK_CLAIM || task->state == TASK_ADMIT || task->state == TASK_BACKOFF))
                        task_leave(task);
        }
}

/* The topics of one source: under the common prefix and each tenant's own. */
static size_t name_topics(const struct settings *s, const struct intake_source *from, char (*names)[TOPIC_NAME_BYTES])
{
        size_t n = 0;

        for (size_t i = 0; i <= s->tenant_count; i++) {
                const char *prefix = i == s->tenant_count ? s->kafka.prefix : s->tenants[i].prefix;

                if (!prefix || (i < s->tenant_count && strcmp(prefix, s->kafka.prefix) == 0))
                        continue;
                for (size_t d = 0; from->retry && d < s->retry.delay_count && n < TOPICS_PER_SOURCE_MAX; d++)
                        n += topic_retry(names[n], prefix, from->kind, s->retry.delays[d]) == 0;
                if (!from->retry && n < TOPICS_PER_SOURCE_MAX)
                        n += topic_request(names[n], prefix, from->kind, from->lane) == 0;
        }
        return n;
}

static int open_source(struct intake *intake, enum kind kind, enum lane lane, bool retry, struct error *err)
{
        struct intake_source *from = &intake->sources[intake->source_count];
        char names[TOPICS_PER_SOURCE_MAX][TOPIC_NAME_BYTES], group[GROUP_NAME_BYTES];
        const char *topics[TOPICS_PER_SOURCE_MAX];
        struct source_config config = {.group = group,
                                       .topics = topics,
                                       .profile = retry ? SOURCE_RETRY : lane == LANE_BULK ? SOURCE_BULK : SOURCE_INTERACTIVE,
                                       .fetch_wait_ms = retry ? 0 : intake->shop->settings->lanes[lane].fetch_wait_ms,
                                       .on_record = on_record,
                                       .on_revoke = on_revoke,
                                       .user = from};

        *from = (struct intake_source){.kind = kind, .lane = lane, .retry = retry, .intake = intake};
        if (retry)
                group_retry(group, kind);
        else
                group_request(group, kind, lane);
        config.topic_count = name_topics(intake->shop->settings, from, names);
        for (size_t i = 0; i < config.topic_count; i++)
                topics[i] = names[i];
        from->source = source_new(intake->shop->loop, intake->shop->settings, &config, err);
        if (!from->source)
                return -1;
        intake->source_count++;
        return 0;
}

int intake_open(struct intake *intake, struct workshop *shop, struct error *err)
{
        const struct settings *s = shop->settings;

        intake->shop = shop;
        for (int kind = 0; kind < KIND_COUNT; kind++) {
                if (!s->worker.kinds[kind])
                        continue;
                for (int lane = 0; lane < LANE_COUNT; lane++)
                        if (s->worker.lanes[lane] && open_source(intake, (enum kind)kind, (enum lane)lane, false, err) < 0)
                                return -1;
                if (s->retry.delay_count && open_source(intake, (enum kind)kind, LANE_BULK, true, err) < 0)
                        return -1;
        }
        return 0;
}

void intake_stop(struct intake *intake)
{
        for (size_t i = 0; i < intake->source_count; i++)
                source_stop(intake->sources[i].source);
}

void intake_close(struct intake *intake, int64_t timeout_ms)
{
        int64_t until = clock_now_ms() + timeout_ms; /* of all together: a silent broker is silent to each */

        while (intake->tasks)
                drop(intake, intake->tasks);
        for (size_t i = 0; i < intake->source_count; i++) {
                int64_t left = until - clock_now_ms();

                source_free(intake->sources[i].source, left > LEAVE_MIN_MS ? left : LEAVE_MIN_MS);
        }
        intake->source_count = 0;
}
