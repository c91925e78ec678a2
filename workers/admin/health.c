#include "workers/admin/health.h"

enum { STUCK_MS = 120000 };

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
        bool all, ok;

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
        all &= part(body, "draining", !health->draining, "the worker is ending");
        buffer_string(body, all ? ",\"ready\":true}\n" : ",\"ready\":false}\n");
        return all ? 200 : 503;
}

static int alive(const struct health *health, struct buffer *body)
{
        int64_t oldest = intake_oldest_ms(health->intake);
        bool moves = intake_overdue_ms(health->intake) < STUCK_MS;

        buffer_printf(body, "{\"healthy\":%s,\"in_flight\":%zu,\"oldest_ms\":%lld}\n", moves ? "true" : "false", health->intake->task_count,
                      (long long)oldest);
        return moves ? 200 : 503;
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
