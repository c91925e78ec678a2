#include "workers/admin/health.h"

#include "workers/task/admit.h"

enum { STUCK_MS = 120000, STILL_BYTES_MAX = 16384, FLOOD_BYTES_MAX = 4096 };

/* One part's line: "name":"ok" or why not. */
static bool part(struct buffer *body, const char *name, bool ok, const char *reason)
{
        if (body->len > 1)
                buffer_char(body, ',');
        buffer_json_string(body, span_of(name));
        buffer_char(body, ':');
        buffer_json_string(body, span_of(ok ? "ok" : reason));
        return ok;
}

static bool sources_ready(const struct intake *intake, const char **ret_reason)
{
        for (size_t i = 0; i < intake->source_count; i++) {
                struct source_status status;

                source_status(intake->sources[i].source, &status);
                if (!status.joined) {
                        *ret_reason = "a consumer group has not been joined yet";
                        return false;
                }
        }
        return true;
}

static bool shelves_ready(const struct workshop *shop, const char **ret_reason)
{
        for (size_t i = 0; i < shop->shelf_count; i++) {
                if (!shop->shelves[i].collection || shelf_ready(&shop->shelves[i]))
                        continue;
                *ret_reason = "an index has not caught up with its topic yet";
                return false;
        }
        return true;
}

static int ready(struct health *health, struct buffer *body)
{
        struct error topics, producer;
        const char *reason = "";
        AUTO_BUFFER flood = {0};
        bool all, ok;

        buffer_init(&flood, FLOOD_BYTES_MAX);
        error_clear(&topics);
        error_clear(&producer);
        buffer_char(body, '{');
        all = part(body, "topics", topics_watch_verdict(health->topics, &topics) == 0, topics.message);
        ok = redis_connection_ready(health->shop->redis, &reason);
        all &= part(body, "redis", ok, reason);
        all &= part(body, "producer", producer_health(health->shop->producer, &producer) == 0, producer.message);
        reason = "not opened yet";
        ok = health->open && sources_ready(health->intake, &reason);
        all &= part(body, "consumers", ok, reason);
        ok = health->open && shelves_ready(health->shop, &reason);
        all &= part(body, "index", ok, reason);
        ok = !health->shop->gates || gates_tripped(health->shop->gates, &flood) == 0;
        all &= part(body, "flood", ok, buffer_ok(&flood) && flood.data ? flood.data : "the flood guard has stopped the intake of some providers");
        all &= part(body, "draining", !health->draining, "the worker is ending");
        buffer_string(body, all ? ",\"ready\":true}\n" : ",\"ready\":false}\n");
        return all ? 200 : 503;
}

/* The consumer groups that poll and get nowhere, each with the watchdog's reason; how many. */
static size_t still_sources(const struct intake *intake, struct buffer *list)
{
        size_t count = 0;

        for (size_t i = 0; i < intake->source_count; i++) {
                struct source_status status;

                source_status(intake->sources[i].source, &status);
                if (status.verdict == SOURCE_MOVES)
                        continue;
                buffer_string(list, count++ > 0 ? ",{\"group\":" : "{\"group\":");
                buffer_json_string(list, span_of(status.group));
                buffer_string(list, ",\"reason\":");
                buffer_json_string(list, span_of(source_verdict_text(status.verdict)));
                buffer_string(list, ",\"lag\":");
                buffer_int(list, status.lag);
                buffer_char(list, '}');
        }
        return count;
}

static int alive(const struct health *health, struct buffer *body)
{
        int64_t oldest = intake_oldest_ms(health->intake);
        AUTO_BUFFER still = {0};
        bool moves;

        buffer_init(&still, STILL_BYTES_MAX);
        moves = still_sources(health->intake, &still) == 0 && intake_overdue_ms(health->intake) < STUCK_MS;
        buffer_printf(body, "{\"healthy\":%s,\"in_flight\":%zu,\"oldest_ms\":%lld", moves ? "true" : "false", health->intake->task_count,
                      (long long)oldest);
        if (still.len > 0 && buffer_ok(&still)) {
                buffer_string(body, ",\"standing_still\":[");
                buffer_span(body, buffer_view(&still));
                buffer_char(body, ']');
        }
        buffer_string(body, "}\n");
        return moves ? 200 : 503;
}

bool health_failed(const struct health *health, struct error *err)
{
        for (size_t i = 0; health->open && i < health->intake->source_count; i++)
                if (!source_usable(health->intake->sources[i].source, err))
                        return true;
        return false;
}

int health_answer(void *user, const char *path, struct buffer *body, const char **ret_content_type)
{
        struct health *health = user;

        *ret_content_type = "application/json";
        if (strcmp(path, "/health") == 0)
                return alive(health, body);
        if (strcmp(path, "/ready") == 0)
                return ready(health, body);
        *ret_content_type = "text/plain; version=0.0.4; charset=utf-8";
        if (strcmp(path, "/metrics") == 0) {
                metrics_render(body);
                return 200;
        }
        buffer_string(body, "not found: there are /health, /ready and /metrics\n");
        return 404;
}
