#include "workers/cli/show_result.h"

#include <inttypes.h>
#include <string.h>

#include "config/base/own.h"

enum { PASSAGES_MAX = 20, CITATIONS_SHOWN_MAX = 50, NUMBERS_SHOWN = 4, SHOWN_BYTES_MAX = 16 << 20 };

static struct span text_of(const json_t *object, const char *name)
{
        const json_t *value = json_object_get(object, name);

        return json_is_string(value) ? (struct span){json_string_value(value), json_string_length(value)} : (struct span){"", 0};
}

static void heading(struct buffer *out, const struct terminal *terminal, const char *text)
{
        buffer_char(out, '\n');
        terminal_tone(out, terminal, TONE_BOLD);
        buffer_string(out, text);
        terminal_tone(out, terminal, TONE_PLAIN);
        buffer_char(out, '\n');
}

static const json_t *hit_by_id(const json_t *hits, struct span id)
{
        const json_t *hit;
        size_t i;

        json_array_foreach (hits, i, hit)
                if (span_equal(text_of(hit, "id"), id))
                        return hit;
        return NULL;
}

static void show_rank(struct buffer *out, const char *name, const json_t *rank)
{
        if (json_is_integer(rank))
                buffer_printf(out, "  %s %3" JSON_INTEGER_FORMAT, name, json_integer_value(rank));
        else
                buffer_printf(out, "  %s   –", name);
}

static void show_part(struct buffer *out, const char *name, const json_t *part)
{
        if (!json_is_object(part))
                return;
        buffer_printf(out, "  %s: score %.4f, normalised %.4f, adds %.4f", name, json_number_value(json_object_get(part, "score")),
                      json_number_value(json_object_get(part, "normalised")), json_number_value(json_object_get(part, "part")));
}

/* score: of the last step that ranked it; hit: what retrieval knew of it, NULL if nothing. */
static void show_passage(struct buffer *out, const struct terminal *terminal, size_t place, double score, struct span id,
                         struct span text, const json_t *hit)
{
        const json_t *ranks = json_object_get(hit, "ranks"), *metadata = json_object_get(hit, "metadata");
        const json_t *page = json_object_get(metadata, "page_number"), *explain = json_object_get(hit, "explain");
        const struct span title = text_of(hit, "title");

        buffer_printf(out, "  %2zu  %.4f", place, score);
        if (hit) {
                show_rank(out, "dense", json_object_get(ranks, "dense"));
                show_rank(out, "sparse", json_object_get(ranks, "sparse"));
        }
        buffer_string(out, "  ");
        terminal_line(out, id, 48);
        if (title.len > 0) {
                buffer_string(out, "  ");
                terminal_tone(out, terminal, TONE_BOLD);
                terminal_line(out, title, 60);
                terminal_tone(out, terminal, TONE_PLAIN);
        }
        if (json_is_integer(page))
                buffer_printf(out, ", page %" JSON_INTEGER_FORMAT, json_integer_value(page));
        buffer_string(out, "\n      ");
        terminal_tone(out, terminal, TONE_DIM);
        terminal_line(out, text, terminal->width - 7);
        terminal_tone(out, terminal, TONE_PLAIN);
        buffer_char(out, '\n');
        if (json_is_object(explain)) {
                buffer_string(out, "    ");
                show_part(out, "dense", json_object_get(explain, "dense"));
                show_part(out, "sparse", json_object_get(explain, "sparse"));
                buffer_char(out, '\n');
        }
}

void show_hits(struct buffer *out, const struct terminal *terminal, const json_t *retrieved)
{
        const json_t *hits = json_object_get(retrieved, "hits"), *hit;
        size_t i;

        heading(out, terminal, "Passages");
        if (json_array_size(hits) == 0)
                buffer_string(out, "  none\n");
        json_array_foreach (hits, i, hit) {
                if (i == PASSAGES_MAX) {
                        buffer_printf(out, "  … and %zu more (--json shows all)\n", json_array_size(hits) - i);
                        break;
                }
                show_passage(out, terminal, i + 1, json_number_value(json_object_get(hit, "score")), text_of(hit, "id"),
                             text_of(hit, "text"), hit);
        }
}

/* A rerank's results; ranks and titles from the retrieve step before it, where there was one. */
static void show_ranked(struct buffer *out, const struct terminal *terminal, const json_t *ranked, const json_t *retrieved)
{
        const json_t *hits = json_object_get(retrieved, "hits"), *row, *hit;
        const json_t *rows = json_object_get(ranked, "results");
        struct span text;
        size_t i;

        heading(out, terminal, "Passages, reranked");
        json_array_foreach (rows, i, row) {
                if (i == PASSAGES_MAX) {
                        buffer_printf(out, "  … and %zu more (--json shows all)\n", json_array_size(rows) - i);
                        break;
                }
                hit = hit_by_id(hits, text_of(row, "id"));
                text = text_of(row, "text").len > 0 ? text_of(row, "text") : text_of(hit, "text");
                show_passage(out, terminal, i + 1, json_number_value(json_object_get(row, "score")), text_of(row, "id"), text, hit);
        }
}

static void show_answer(struct buffer *out, const struct terminal *terminal, const json_t *answer)
{
        const json_t *citations = json_object_get(answer, "citations"), *citation, *page;
        const struct span text = text_of(answer, "text"), finish = text_of(answer, "finish_reason");
        size_t i;

        buffer_char(out, '\n');
        terminal_paragraph(out, terminal, text, 2);
        if (finish.len > 0 && !span_is(finish, "stop")) {
                buffer_string(out, "  (the model stopped: ");
                terminal_line(out, finish, 40);
                buffer_string(out, ")\n");
        }
        if (json_array_size(citations) == 0)
                return;
        heading(out, terminal, "Sources");
        json_array_foreach (citations, i, citation) {
                if (i == CITATIONS_SHOWN_MAX)
                        break;
                page = json_object_get(citation, "page_number");
                buffer_string(out, "  ");
                terminal_line(out, text_of(citation, "source_document"), 60);
                if (json_is_integer(page))
                        buffer_printf(out, ", page %" JSON_INTEGER_FORMAT, json_integer_value(page));
                if (text_of(citation, "chunk").len > 0) {
                        buffer_string(out, "  ");
                        terminal_line(out, text_of(citation, "chunk"), 60);
                }
                terminal_tone(out, terminal, json_is_true(json_object_get(citation, "verified")) ? TONE_GOOD : TONE_BAD);
                buffer_string(out, json_is_true(json_object_get(citation, "verified")) ? "  verified" : "  not among the passages");
                terminal_tone(out, terminal, TONE_PLAIN);
                buffer_char(out, '\n');
        }
}

static void show_vectors(struct buffer *out, const json_t *result)
{
        const json_t *vectors = json_object_get(result, "embeddings"), *first = json_array_get(vectors, 0), *number;
        size_t i;

        buffer_printf(out, "\n  %zu vector%s of %" JSON_INTEGER_FORMAT " numbers", json_array_size(vectors),
                      json_array_size(vectors) == 1 ? "" : "s", json_integer_value(json_object_get(result, "dimensions")));
        if (json_is_array(first)) {
                buffer_string(out, "; the first begins");
                json_array_foreach (first, i, number) {
                        if (i == NUMBERS_SHOWN)
                                break;
                        buffer_printf(out, " %.5f", json_number_value(number));
                }
        } else if (json_is_string(first)) {
                buffer_string(out, ", in base64 (little-endian float32)");
        }
        buffer_char(out, '\n');
}

static void show_ingested(struct buffer *out, const json_t *result)
{
        buffer_string(out, "\n  ");
        terminal_line(out, text_of(result, "document"), 60);
        buffer_string(out, " in ");
        terminal_line(out, text_of(result, "collection"), 60);
        buffer_printf(out, ": %" JSON_INTEGER_FORMAT " chunks, version %" JSON_INTEGER_FORMAT "%s\n",
                      json_integer_value(json_object_get(result, "chunks")), json_integer_value(json_object_get(result, "version")),
                      json_is_true(json_object_get(result, "superseded")) ? " (superseded: a later version was there already)"
                                                                          : "");
}

/* The last finished step of that kind; NULL: none. */
static const json_t *step_result(const json_t *result, const char *kind)
{
        const json_t *steps = json_object_get(result, "steps"), *step, *found = NULL;
        size_t i;

        json_array_foreach (steps, i, step)
                if (span_is(text_of(step, "kind"), kind))
                        found = json_object_get(step, "result");
        return found;
}

static void show_outcome(struct buffer *out, const struct terminal *terminal, const json_t *result)
{
        const json_t *last = json_object_get(result, "result");
        const json_t *retrieved = step_result(result, "retrieve"), *ranked = step_result(result, "rerank");

        if (json_is_string(json_object_get(last, "text"))) {
                show_answer(out, terminal, last);
                if (ranked)
                        show_ranked(out, terminal, ranked, retrieved);
                else if (retrieved)
                        show_hits(out, terminal, retrieved);
        } else if (json_is_array(json_object_get(last, "results"))) {
                show_ranked(out, terminal, last, retrieved);
        } else if (json_is_array(json_object_get(last, "hits"))) {
                show_hits(out, terminal, last);
        } else if (json_is_array(json_object_get(last, "embeddings"))) {
                show_vectors(out, last);
        } else if (json_object_get(last, "chunks")) {
                show_ingested(out, last);
        }
}

static void show_error(struct buffer *out, const struct terminal *terminal, const json_t *result)
{
        const json_t *error = json_object_get(result, "error");
        const json_t *input = json_object_get(error, "input");

        if (!json_is_object(error))
                return;
        buffer_string(out, "\n  ");
        terminal_tone(out, terminal, TONE_BAD);
        terminal_line(out, text_of(error, "class"), 40);
        buffer_char(out, '.');
        terminal_line(out, text_of(error, "code"), 40);
        terminal_tone(out, terminal, TONE_PLAIN);
        buffer_string(out, ": ");
        terminal_line(out, text_of(error, "message"), 400);
        if (json_is_integer(input))
                buffer_printf(out, " (input %" JSON_INTEGER_FORMAT ", counted from 0)", json_integer_value(input));
        buffer_char(out, '\n');
        if (!span_is(text_of(result, "status"), "cancelled"))
                buffer_printf(out, "  %s its dead letter: millrace dlq ls\n",
                              json_is_true(json_object_get(error, "retriable")) ? "Another try could help; replay" : "See");
}

static void show_timings(struct buffer *out, const json_t *timings)
{
        const char *name;
        json_t *value;
        char text[32];
        size_t n = 0;

        json_object_foreach ((json_t *)(uintptr_t)timings, name, value) {
                if (!json_is_number(value) || n++ > 16)
                        continue;
                terminal_duration(text, sizeof text, (int64_t)json_number_value(value));
                buffer_string(out, n > 1 ? ", " : " ");
                terminal_line(out, span_of(name), 30);
                buffer_printf(out, " %s", text);
        }
}

static void show_bill(struct buffer *out, const json_t *of)
{
        const json_t *usage = json_object_get(of, "usage"), *cost = json_object_get(of, "cost");

        if (json_is_object(cost))
                buffer_printf(out, " $%.8g", json_number_value(json_object_get(cost, "amount")));
        if (json_is_object(usage))
                buffer_printf(out, ", %" JSON_INTEGER_FORMAT " tokens in, %" JSON_INTEGER_FORMAT " out",
                              json_integer_value(json_object_get(usage, "input_tokens")),
                              json_integer_value(json_object_get(usage, "output_tokens")));
        if (json_integer_value(json_object_get(usage, "cached_tokens")) > 0)
                buffer_printf(out, " (%" JSON_INTEGER_FORMAT " cached)",
                              json_integer_value(json_object_get(usage, "cached_tokens")));
}

static void show_steps(struct buffer *out, const json_t *result)
{
        const json_t *steps = json_object_get(result, "steps"), *step;
        size_t i;

        json_array_foreach (steps, i, step) {
                buffer_string(out, "  - ");
                terminal_line(out, text_of(step, "kind"), 20);
                buffer_char(out, ' ');
                terminal_line(out, text_of(step, "status"), 20);
                buffer_char(out, ':');
                show_bill(out, step);
                if (json_is_object(json_object_get(step, "timings_ms"))) {
                        buffer_char(out, ';');
                        show_timings(out, json_object_get(step, "timings_ms"));
                }
                buffer_char(out, '\n');
        }
}

/* Which model answered, and from where. */
static void show_server(struct buffer *out, const json_t *result)
{
        const struct span model = text_of(result, "model"), from = text_of(result, "served_from");

        if (model.len > 0) {
                buffer_string(out, "; ");
                terminal_line(out, model, 60);
        }
        if (from.len > 0 && !span_is(from, "provider")) {
                buffer_string(out, " from the ");
                terminal_line(out, from, 20);
        }
}

static void show_circumstances(struct buffer *out, const struct terminal *terminal, const json_t *result)
{
        const json_t *degraded = json_object_get(result, "degraded"), *name;
        size_t i;

        if (json_is_object(json_object_get(result, "cost"))) {
                buffer_string(out, "\n  cost");
                show_bill(out, result);
                show_server(out, result);
        }
        if (json_is_object(json_object_get(result, "timings_ms"))) {
                buffer_string(out, "\n  time");
                show_timings(out, json_object_get(result, "timings_ms"));
                buffer_printf(out, "; attempts %" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(result, "attempts")));
                if (json_integer_value(json_object_get(result, "replays")) > 0)
                        buffer_printf(out, ", replays %" JSON_INTEGER_FORMAT,
                                      json_integer_value(json_object_get(result, "replays")));
                buffer_char(out, '\n');
        }
        show_steps(out, result);
        if (json_array_size(degraded) == 0)
                return;
        terminal_tone(out, terminal, TONE_BAD);
        buffer_string(out, "  degraded: done without");
        json_array_foreach (degraded, i, name) {
                buffer_char(out, ' ');
                if (json_is_string(name))
                        terminal_line(out, (struct span){json_string_value(name), json_string_length(name)}, 40);
        }
        terminal_tone(out, terminal, TONE_PLAIN);
        buffer_char(out, '\n');
}

void show_result(struct buffer *out, const struct terminal *terminal, const json_t *result)
{
        const struct span status = text_of(result, "status"), tenant = text_of(result, "tenant");
        const json_t *steps = json_object_get(result, "steps"), *step;
        size_t i;

        terminal_tone(out, terminal, TONE_BOLD);
        terminal_line(out, text_of(result, "id"), 0);
        terminal_tone(out, terminal, TONE_PLAIN);
        if (tenant.len > 0 && !span_is(tenant, "default")) {
                buffer_string(out, " of ");
                terminal_line(out, tenant, 0);
        }
        buffer_string(out, "  ");
        if (json_array_size(steps) > 0)
                json_array_foreach (steps, i, step) {
                        buffer_string(out, i > 0 ? " → " : "");
                        terminal_line(out, text_of(step, "kind"), 20);
                }
        else
                terminal_line(out, text_of(result, "kind"), 20);
        buffer_string(out, "  ");
        terminal_tone(out, terminal, span_is(status, "ok") ? TONE_GOOD : TONE_BAD);
        terminal_line(out, status, 20);
        terminal_tone(out, terminal, TONE_PLAIN);
        buffer_char(out, '\n');
        show_error(out, terminal, result);
        if (json_is_object(json_object_get(result, "result")))
                show_outcome(out, terminal, result);
        show_circumstances(out, terminal, result);
}

int show_stored(const struct arguments *arguments, struct span json)
{
        const struct terminal terminal = terminal_of(stdout);
        json_error_t fault;
        json_t *result = json_loadb(json.data, json.len, 0, &fault);
        bool ok;
        AUTO_BUFFER out = {0};

        buffer_init(&out, SHOWN_BYTES_MAX);
        if (!json_is_object(result)) {
                json_decref(result);
                return argument_fail(arguments, EXIT_FAILED, "what is stored as the result is not JSON");
        }
        if (argument_given(arguments, "json")) {
                terminal_json(stdout, json);
        } else {
                show_result(&out, &terminal, result);
                fwrite(out.data ? out.data : "", 1, out.len, stdout);
        }
        ok = span_is(text_of(result, "status"), "ok");
        json_decref(result);
        return ok ? EXIT_DONE : EXIT_FAILED;
}
