/* Millrace's own headers: read at the first look at a record, written anew for each next hop. */
#include <stdio.h>
#include <strings.h>

#include "config/base/clock.h"
#include "queues/deadletter.h"
#include "queues/envelope.h"

struct span delivery_header(const struct delivery *delivery, const char *name)
{
        for (size_t i = delivery->header_count; i-- > 0;)
                if (strcmp(delivery->headers[i].name, name) == 0)
                        return delivery->headers[i].value;
        return (struct span){NULL, 0};
}

bool envelope_own_header(const char *name)
{
        return strncasecmp(name, "mr-", 3) == 0;
}

bool envelope_replayed_header(const char *name)
{
        return !envelope_own_header(name) || strcmp(name, "mr-job-seq") == 0;
}

/* A growing list in the arena; allocated once with room for all: millrace's own first, then as many foreign ones as may stand beside them. */
struct list {
        struct arena *arena;
        struct header *headers;
        size_t count;
};

static struct header *begin(struct list *list, struct arena *arena)
{
        *list = (struct list){.arena = arena, .headers = arena_alloc(arena, HEADERS_MAX * sizeof *list->headers)};
        return list->headers;
}

static void put(struct list *list, const char *name, const char *value)
{
        if (value)
                list->headers[list->count++] = (struct header){name, span_of(arena_strdup(list->arena, value))};
}

static void put_int(struct list *list, const char *name, int64_t value)
{
        char text[24];

        snprintf(text, sizeof text, "%lld", (long long)value);
        put(list, name, text);
}

static void put_time(struct list *list, const char *name, int64_t wall_ms)
{
        char text[CLOCK_RFC3339_BYTES];

        if (wall_ms <= 0)
                return;
        clock_format_rfc3339(wall_ms, text);
        put(list, name, text);
}

/* The record's number within its job goes with it wherever it goes: by it each record is counted once. */
static void put_job_seq(struct list *list, const struct request *request)
{
        if (request->job_seq >= 0)
                put_int(list, "mr-job-seq", request->job_seq);
}

static struct header *end(struct list *list, const struct delivery *delivery, size_t *ret_count)
{
        for (size_t i = 0; i < delivery->header_count && list->count < HEADERS_MAX; i++)
                if (!envelope_own_header(delivery->headers[i].name))
                        list->headers[list->count++] = delivery->headers[i];
        if (!arena_ok(list->arena))
                return NULL;
        *ret_count = list->count;
        return list->headers;
}

struct header *envelope_hop_headers(const struct delivery *delivery, const struct request *request, const struct hop *hop,
                                    struct arena *arena, size_t *ret_count)
{
        struct list list;

        if (!begin(&list, arena))
                return NULL;
        put_int(&list, "mr-deadline", request->deadline_wall_ms);
        put_int(&list, "mr-attempts", hop->attempts);
        put_int(&list, "mr-replays", request->replays);
        put_int(&list, "mr-step", (int64_t)hop->step);
        if (hop->not_before_wall_ms)
                put_int(&list, "mr-not-before", hop->not_before_wall_ms);
        put(&list, "mr-origin-topic", request->origin_topic);
        put_int(&list, "mr-origin-partition", request->origin_partition);
        put_int(&list, "mr-origin-offset", request->origin_offset);
        put_int(&list, "mr-origin-timestamp", request->origin_timestamp_ms);
        put_time(&list, "mr-first-failed-at", hop->first_failed_wall_ms);
        put_time(&list, "mr-last-failed-at", hop->last_failed_wall_ms);
        put(&list, "mr-last-error", hop->last_code);
        put_job_seq(&list, request);
        return end(&list, delivery, ret_count);
}

struct header *deadletter_headers(const struct delivery *delivery, const struct request *request, const struct deadletter *letter,
                                  struct arena *arena, size_t *ret_count)
{
        struct list list;

        if (!begin(&list, arena))
                return NULL;
        put(&list, "mr-dlq-error-class", error_class_name(letter->err.class));
        put(&list, "mr-dlq-error-code", error_code_name(letter->err.code));
        put(&list, "mr-dlq-error-message", letter->err.message);
        put_int(&list, "mr-dlq-attempts", letter->attempts);
        put_time(&list, "mr-dlq-first-failed-at", letter->first_failed_wall_ms ? letter->first_failed_wall_ms : letter->failed_wall_ms);
        put_time(&list, "mr-dlq-failed-at", letter->failed_wall_ms);
        put(&list, "mr-dlq-worker", letter->worker);
        put_int(&list, "mr-dlq-replays", request->replays);
        put_int(&list, "mr-dlq-step", (int64_t)letter->step);
        put(&list, "mr-dlq-original-topic", request->origin_topic);
        put_int(&list, "mr-dlq-original-partition", request->origin_partition);
        put_int(&list, "mr-dlq-original-offset", request->origin_offset);
        put_int(&list, "mr-dlq-original-timestamp", request->origin_timestamp_ms);
        put(&list, "mr-dlq-omitted", letter->omitted);
        put_job_seq(&list, request);
        return end(&list, delivery, ret_count);
}
