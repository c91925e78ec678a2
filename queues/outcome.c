#include "queues/outcome.h"

#include "config/base/clock.h"

const char *const outcome_status_names[STATUS_COUNT] = {"ok", "failed", "expired", "cancelled"};

static void member(struct buffer *out, const char *name)
{
        buffer_string(out, ",\"");
        buffer_string(out, name);
        buffer_string(out, "\":");
}

static void member_string(struct buffer *out, const char *name, struct span value)
{
        member(out, name);
        buffer_json_string(out, value);
}

static void member_int(struct buffer *out, const char *name, int64_t value)
{
        member(out, name);
        buffer_int(out, value);
}

void outcome_open(struct buffer *out, const struct outcome *outcome, bool with_result)
{
        buffer_string(out, "{\"v\":1,\"id\":");
        buffer_json_string(out, outcome->request->id);
        member_string(out, "tenant", outcome->request->tenant);
        member_string(out, "kind", span_of(kind_names[outcome->request->kind]));
        member_string(out, "status", span_of(outcome_status_names[outcome->status]));
        if (with_result)
                member(out, "result");
}

static void render_error(struct buffer *out, const struct error *err)
{
        buffer_string(out, "{\"class\":\"");
        buffer_string(out, error_class_name(err->class));
        buffer_string(out, "\",\"code\":\"");
        buffer_string(out, error_code_name(err->code));
        buffer_string(out, "\",\"message\":");
        buffer_json_string(out, span_of(err->message));
        member(out, "retriable");
        buffer_string(out, err->retriable ? "true" : "false");
        if (err->input >= 0)
                member_int(out, "input", err->input);
        buffer_char(out, '}');
}

static void render_usage(struct buffer *out, const struct outcome_usage *usage)
{
        buffer_string(out, "{\"input_tokens\":");
        buffer_int(out, usage->input_tokens);
        member_int(out, "output_tokens", usage->output_tokens);
        member_int(out, "cached_tokens", usage->cached_tokens);
        buffer_char(out, '}');
}

static void render_cost(struct buffer *out, double usd)
{
        buffer_string(out, "{\"currency\":\"USD\",\"amount\":");
        buffer_json_double(out, usd);
        buffer_char(out, '}');
}

void outcome_render_step(struct buffer *out, const struct outcome_step *step)
{
        buffer_string(out, "{\"kind\":\"");
        buffer_string(out, kind_names[step->kind]);
        buffer_string(out, "\",\"status\":\"");
        buffer_string(out, outcome_status_names[step->status]);
        buffer_char(out, '"');
        if (step->result.len) {
                member(out, "result");
                buffer_span(out, step->result);
        }
        member(out, "usage");
        render_usage(out, &step->usage);
        member(out, "cost");
        render_cost(out, step->cost_usd);
        member_int(out, "attempts", step->attempts);
        buffer_char(out, '}');
}

static void render_source(struct buffer *out, const struct request *request)
{
        buffer_string(out, "{\"topic\":");
        buffer_json_string(out, span_of(request->origin_topic));
        member_int(out, "partition", request->origin_partition);
        member_int(out, "offset", request->origin_offset);
        buffer_char(out, '}');
}

static void render_metadata(struct buffer *out, const json_t *metadata)
{
        char *room = buffer_reserve(out, METADATA_BYTES_MAX);
        size_t written = room ? json_dumpb(metadata, room, METADATA_BYTES_MAX, JSON_COMPACT) : 0;

        if (room && written > 0 && written <= METADATA_BYTES_MAX)
                buffer_advance(out, written);
        else
                buffer_starve(out); /* jansson had no memory: better no result than half a one */
}

void outcome_close(struct buffer *out, const struct outcome *outcome)
{
        const struct request *request = outcome->request;
        char when[CLOCK_RFC3339_BYTES];

        if (outcome->status != STATUS_OK) {
                member(out, "error");
                render_error(out, &outcome->err);
        }
        member_int(out, "attempts", outcome->attempts);
        member_int(out, "replays", request->replays);
        if (outcome->model)
                member_string(out, "model", span_of(outcome->model));
        member_string(out, "release", span_of(outcome->release));
        member_string(out, "served_from", span_of(outcome->served_from));
        member(out, "degraded");
        buffer_char(out, '[');
        for (size_t i = 0; i < outcome->degraded_count; i++) {
                if (i)
                        buffer_char(out, ',');
                buffer_json_string(out, span_of(outcome->degraded[i]));
        }
        buffer_char(out, ']');
        member(out, "usage");
        render_usage(out, &outcome->usage);
        member(out, "cost");
        render_cost(out, outcome->cost_usd);
        buffer_string(out, ",\"timings_ms\":{\"queued\":");
        buffer_int(out, outcome->queued_ms);
        member_int(out, "provider", outcome->provider_ms);
        member_int(out, "total", outcome->total_ms);
        buffer_string(out, "},\"source\":");
        render_source(out, request);
        if (request->traceparent.len)
                member_string(out, "traceparent", request->traceparent);
        if (request->metadata) {
                member(out, "metadata");
                render_metadata(out, request->metadata);
        }
        clock_format_rfc3339(outcome->completed_wall_ms, when);
        member_string(out, "completed_at", span_of(when));
        if (outcome->step_count) {
                member(out, "steps");
                buffer_char(out, '[');
                for (size_t i = 0; i < outcome->step_count; i++) {
                        if (i)
                                buffer_char(out, ',');
                        outcome_render_step(out, &outcome->steps[i]);
                }
                buffer_char(out, ']');
        }
        buffer_char(out, '}');
}
