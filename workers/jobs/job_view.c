#include "workers/jobs/job_view.h"

#include <stdio.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "workers/cli/terminal.h"

int64_t job_view_ended(const struct job_view *view)
{
        int64_t ended = 0;

        for (size_t i = 0; view->progress && i < JOB_ENDED_COUNT; i++)
                ended += view->progress->ended[i];
        return ended;
}

int64_t job_view_expected(const struct job_view *view)
{
        const struct job_position *position = &view->records->position;

        if (!view->records->has_position)
                return -1;
        return position->complete ? position->published : position->total - position->refused;
}

static bool is_cancelled(const struct job_view *view)
{
        return view->records->has_state && view->records->state.state == JOB_CANCELLED;
}

static bool is_done(const struct job_view *view)
{
        return view->records->has_position && view->records->position.complete && view->progress &&
               job_view_ended(view) >= view->records->position.published;
}

const char *job_view_state(const struct job_view *view)
{
        const struct job_records *records = view->records;

        if (is_cancelled(view))
                return "cancelled";
        if (is_done(view))
                return "done";
        if (records->has_state && records->state.state == JOB_PAUSED)
                return "paused";
        return records->has_position && !records->position.complete ? "publishing" : "running";
}

bool job_view_is_over(const struct job_view *view)
{
        if (is_done(view))
                return true;
        return is_cancelled(view) && view->records->has_position && view->progress &&
               job_view_ended(view) >= view->records->position.published;
}

double job_view_share(const struct job_view *view)
{
        const int64_t expected = job_view_expected(view);
        const double share = expected > 0 ? (double)job_view_ended(view) / (double)expected : expected == 0 ? 1 : -1;

        return share > 1 ? 1 : share;
}

double job_view_rate(const struct job_view *view)
{
        const struct job_progress *p = view->progress;

        if (!p || !p->found || p->updated_ms <= p->started_ms)
                return 0;
        return (double)job_view_ended(view) * 1000 / (double)(p->updated_ms - p->started_ms);
}

int64_t job_view_eta_ms(const struct job_view *view)
{
        const double rate = job_view_rate(view);
        const int64_t left = job_view_expected(view) - job_view_ended(view);
        const char *state = job_view_state(view);

        if (job_view_expected(view) < 0 || rate <= 0 || strcmp(state, "paused") == 0 || strcmp(state, "cancelled") == 0)
                return -1;
        return left > 0 ? (int64_t)((double)left * 1000 / rate) : 0;
}

/* ---- JSON */

static void json_member_time(struct buffer *out, const char *name, int64_t wall_ms)
{
        char text[CLOCK_RFC3339_BYTES];

        if (wall_ms <= 0)
                return;
        clock_format_rfc3339(wall_ms, text);
        buffer_printf(out, ",\"%s\":\"%s\"", name, text);
}

static void json_position(struct buffer *out, const struct job_position *position)
{
        buffer_printf(out, ",\"kind\":\"%s\",\"lane\":\"%s\",\"%s\":", kind_names[position->kind], lane_names[position->lane],
                      position->folder ? "folder" : "file");
        buffer_json_string(out, span_of(position->source));
        buffer_printf(out, ",\"total\":%lld,\"published\":%lld,\"refused\":%lld,\"complete\":%s", (long long)position->total,
                      (long long)position->published, (long long)position->refused, position->complete ? "true" : "false");
}

static void json_progress(struct buffer *out, const struct job_view *view)
{
        const struct job_progress *p = view->progress;
        const double rate = job_view_rate(view);
        const int64_t eta = job_view_eta_ms(view);

        buffer_printf(out, ",\"ended\":%lld", (long long)job_view_ended(view));
        for (size_t i = 0; i < JOB_ENDED_COUNT; i++)
                buffer_printf(out, ",\"%s\":%lld", job_outcome_names[i], (long long)p->ended[i]);
        buffer_printf(out,
                      ",\"usage\":{\"input_tokens\":%lld,\"output_tokens\":%lld,\"cached_tokens\":%lld},\"cost\":{\"currency\":"
                      "\"USD\",\"amount\":",
                      (long long)p->input_tokens, (long long)p->output_tokens, (long long)p->cached_tokens);
        buffer_json_double(out, p->cost_usd);
        buffer_string(out, "},\"failures\":{");
        for (size_t i = 0; i < p->reason_count; i++) {
                buffer_string(out, i ? "," : "");
                buffer_json_string(out, span_of(p->reasons[i].name));
                buffer_printf(out, ":%lld", (long long)p->reasons[i].count);
        }
        buffer_char(out, '}');
        if (rate > 0)
                buffer_printf(out, ",\"rate_per_s\":%.3f", rate);
        if (eta >= 0)
                buffer_printf(out, ",\"eta_ms\":%lld", (long long)eta);
        json_member_time(out, "updated_at", p->updated_ms);
}

void job_view_json(struct buffer *out, const struct job_view *view)
{
        const struct job_records *records = view->records;

        buffer_string(out, "{\"job\":");
        buffer_json_string(out, span_of(records->name));
        buffer_string(out, ",\"tenant\":");
        buffer_json_string(out, span_of(records->tenant));
        buffer_printf(out, ",\"state\":\"%s\"", job_view_state(view));
        if (records->has_state && records->state.state != JOB_RUNNING) {
                json_member_time(out, "state_at", records->state.at_wall_ms);
                buffer_string(out, ",\"state_by\":");
                buffer_json_string(out, span_of(records->state.by));
        }
        if (records->has_position) {
                json_position(out, &records->position);
                json_member_time(out, "started_at", records->position.started_wall_ms);
                json_member_time(out, "published_at", records->position.at_wall_ms);
        }
        if (view->progress)
                json_progress(out, view);
        buffer_char(out, '}');
}

/* ---- for people */

static void count_into(struct buffer *out, int64_t count)
{
        char text[32];

        terminal_count(text, sizeof text, count);
        buffer_string(out, text);
}

static void text_position(struct buffer *out, const struct job_position *position)
{
        char started[CLOCK_RFC3339_BYTES];

        clock_format_rfc3339(position->started_wall_ms, started);
        buffer_printf(out, "source     %s ", position->folder ? "folder" : "file");
        terminal_line(out, span_of(position->source), 100);
        buffer_printf(out, ", as %s requests, begun %s\npublished  ", kind_names[position->kind], started);
        count_into(out, position->published);
        buffer_string(out, " of ");
        count_into(out, position->total);
        if (position->refused) {
                buffer_string(out, ", ");
                count_into(out, position->refused);
                buffer_string(out, " faulty ones left out");
        }
        if (!position->complete)
                buffer_string(out, " so far");
        buffer_char(out, '\n');
}

static void text_progress(struct buffer *out, const struct job_view *view)
{
        const struct job_progress *p = view->progress;
        const int64_t eta = job_view_eta_ms(view), ended = job_view_ended(view);
        bool first = true;
        char text[48];

        buffer_string(out, "ended      ");
        count_into(out, ended);
        if (job_view_share(view) >= 0)
                buffer_printf(out, " (%.1f %%)", job_view_share(view) * 100);
        for (size_t i = 0; i < JOB_ENDED_COUNT; i++)
                if (p->ended[i]) {
                        buffer_string(out, first ? ": " : ", ");
                        first = false;
                        count_into(out, p->ended[i]);
                        buffer_printf(out, " %s", job_outcome_names[i]);
                }
        buffer_char(out, '\n');
        if (job_view_rate(view) > 0) {
                buffer_printf(out, "rate       %.1f/s", job_view_rate(view));
                if (eta > 0) {
                        terminal_duration(text, sizeof text, eta);
                        buffer_printf(out, ", %s to go", text);
                }
                buffer_char(out, '\n');
        }
        buffer_string(out, "tokens     ");
        count_into(out, p->input_tokens);
        buffer_string(out, " in, ");
        count_into(out, p->output_tokens);
        buffer_printf(out, " out\ncost       $%.6f\n", p->cost_usd);
        for (size_t i = 0; i < p->reason_count; i++) {
                buffer_string(out, i ? "           " : "failures   ");
                count_into(out, p->reasons[i].count);
                buffer_char(out, ' ');
                terminal_line(out, span_of(p->reasons[i].name), 0);
                buffer_char(out, '\n');
        }
}

void job_view_text(struct buffer *out, const struct job_view *view)
{
        const struct job_records *records = view->records;
        char at[CLOCK_RFC3339_BYTES];

        buffer_printf(out, "job        %s (tenant %s)\nstate      %s", records->name, records->tenant, job_view_state(view));
        if (records->has_state && records->state.state != JOB_RUNNING) {
                clock_format_rfc3339(records->state.at_wall_ms, at);
                buffer_printf(out, " at %s by ", at);
                terminal_line(out, span_of(records->state.by), 100);
        }
        buffer_char(out, '\n');
        if (records->has_position)
                text_position(out, &records->position);
        if (view->progress)
                text_progress(out, view);
        else
                buffer_string(out, "ended      not known: Redis does not answer\n");
}

void job_view_heading(struct buffer *out)
{
        buffer_printf(out, "%-32s %-12s %-10s %-8s %12s %12s %10s %8s\n", "job", "tenant", "state", "kind", "published", "ended",
                      "not ok", "share");
}

void job_view_line(struct buffer *out, const struct job_view *view)
{
        const struct job_records *records = view->records;
        const struct job_progress *p = view->progress;
        char published[32] = "-", ended[32] = "-", bad[32] = "-", share[16] = "-";

        if (records->has_position)
                terminal_count(published, sizeof published, records->position.published);
        if (p) {
                terminal_count(ended, sizeof ended, job_view_ended(view));
                terminal_count(bad, sizeof bad, job_view_ended(view) - p->ended[JOB_ENDED_OK]);
        }
        if (p && job_view_share(view) >= 0)
                snprintf(share, sizeof share, "%.0f %%", job_view_share(view) * 100);
        buffer_printf(out, "%-32s %-12s %-10s %-8s %12s %12s %10s %8s\n", records->name, records->tenant, job_view_state(view),
                      records->has_position ? kind_names[records->position.kind] : "-", published, ended, bad, share);
}

void job_view_note(char *text, size_t size, const struct job_view *view)
{
        const struct job_progress *p = view->progress;
        const char *state = job_view_state(view);
        const int64_t bad = p ? job_view_ended(view) - p->ended[JOB_ENDED_OK] : 0;
        const bool told = strcmp(state, "paused") == 0 || strcmp(state, "cancelled") == 0;

        text[0] = '\0';
        if (bad > 0)
                snprintf(text, size, "%s%snot ok %lld", told ? state : "", told ? "; " : "", (long long)bad);
        else if (told)
                snprintf(text, size, "%s", state);
}
