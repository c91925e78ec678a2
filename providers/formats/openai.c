/* Requests are rendered straight into the body's buffer. Embedding answers are read by a scanner that builds nothing: vectors go from the
 * text into their place in the arena. Chat answers and error bodies are short: jansson reads them.
 *
 *      {"data":[{"index":0,"embedding":"<base64>" or [0.1,…]},…],"usage":{"prompt_tokens":7,…}}
 *
 * An answer is believed only if it is JSON to its end, each index from 0 to count − 1 stands there exactly once, and each vector has the
 * dimensions asked for and only finite numbers. */
#include "providers/formats/openai.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "config/base/own.h"
#include "providers/float_scan.h"
#include "providers/formats/response_scan.h"

enum { FAULT_BODY_BYTES_MAX = 65536, FINISH_REASON_BYTES_MAX = 32, DIMENSIONS_MAX = 65536 };

/* ---- asking ---- */

static void render_embed(const struct call *call, struct buffer *body)
{
        buffer_string(body, "{\"model\":");
        buffer_json_string(body, span_of(format_model(call)->model));
        buffer_string(body, ",\"input\":[");
        for (size_t i = 0; i < call->embed.count; i++) {
                if (i)
                        buffer_char(body, ',');
                buffer_json_string(body, call->embed.texts[i]);
        }
        buffer_string(body, "],\"encoding_format\":");
        buffer_string(body, format_provider(call)->encoding == ENCODING_FLOAT ? "\"float\"" : "\"base64\"");
        if (call->embed.dimensions) {
                buffer_string(body, ",\"dimensions\":");
                buffer_int(body, call->embed.dimensions);
        }
        buffer_char(body, '}');
}

static void render_chat(const struct call *call, struct buffer *body)
{
        int max_tokens = call->llm.max_tokens ? call->llm.max_tokens : format_model(call)->max_tokens_default;

        buffer_string(body, "{\"model\":");
        buffer_json_string(body, span_of(format_model(call)->model));
        buffer_string(body, ",\"messages\":[");
        for (size_t i = 0; i < call->llm.count; i++) {
                buffer_string(body, i ? ",{\"role\":" : "{\"role\":");
                buffer_json_string(body, call->llm.messages[i].role);
                buffer_string(body, ",\"content\":");
                buffer_json_string(body, call->llm.messages[i].content);
                buffer_char(body, '}');
        }
        buffer_char(body, ']');
        if (max_tokens) {
                buffer_string(body, ",\"max_tokens\":");
                buffer_int(body, max_tokens);
        }
        if (call->llm.temperature_set) {
                buffer_string(body, ",\"temperature\":");
                buffer_json_double(body, call->llm.temperature);
        }
        if (call->llm.response_schema.len) {
                buffer_string(body, ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\",\"schema\":");
                buffer_span(body, call->llm.response_schema);
                buffer_string(body, "}}");
        }
        buffer_char(body, '}');
}

static int openai_render(const struct call *call, struct buffer *body, struct error *err)
{
        switch (call->kind) {
        case KIND_EMBED:
                render_embed(call, body);
                return 0;
        case KIND_LLM:
                render_chat(call, body);
                return 0;
        default:
                return error_set(err, CODE_NOT_FOUND, "the OpenAI format has no such call");
        }
}

/* ---- faults ---- */

static struct span string_of(const json_t *value)
{
        return (struct span){json_string_value(value), json_string_length(value)};
}

/* A code is a string, a number or null. */
static void read_word(const json_t *value, char ret_word[HTTP_FAULT_WORD_BYTES + 1], int *ret_status)
{
        if (json_is_string(value))
                http_fault_word(string_of(value), ret_word);
        else if (json_is_integer(value) && json_integer_value(value) >= 100 && json_integer_value(value) < 600)
                *ret_status = (int)json_integer_value(value);
}

/* llama.cpp tells of a prompt past its batch only in words, and by a 500. */
static bool tells_too_long(const char *message)
{
        static const char *const phrases[] = {"too large to process", "maximum context length", "context size", "exceeds the context",
                                              "must have less than"};

        for (size_t i = 0; message && i < COUNT_OF(phrases); i++)
                if (strstr(message, phrases[i]))
                        return true;
        return false;
}

/* {"error":{message,type,code}}, {"error":"…"}, or TEI's {message,code,error_type} without the wrapper. */
static bool read_fault(const json_t *root, struct http_fault *fault)
{
        const json_t *error = json_object_get(root, "error");
        const json_t *body = json_is_object(error) ? error : root;
        const json_t *type = json_object_get(body, "type");

        if (!json_is_object(root) || (!error && !json_object_get(root, "error_type") && !json_object_get(root, "message")) || json_is_null(error))
                return false;
        if (!type)
                type = json_object_get(body, "error_type");
        read_word(json_object_get(body, "code"), fault->code, &fault->status);
        read_word(type, fault->type, &fault->status);
        fault->input_too_long = tells_too_long(json_string_value(json_is_string(error) ? error : json_object_get(body, "message")));
        return true;
}

static bool fault_in(struct span body, struct http_fault *fault)
{
        json_t *root;
        bool found;

        if (body.len > FAULT_BODY_BYTES_MAX)
                return false;
        root = json_loadb(body.data, body.len, 0, NULL);
        found = root && read_fault(root, fault);
        json_decref(root);
        return found;
}

static void openai_fault(struct span body, struct http_fault *ret_fault)
{
        fault_in(body, ret_fault);
}

/* A 2xx that is no answer: perhaps there is a fault inside. */
static int not_an_answer(struct span body, const char *what, struct error *err)
{
        struct http_fault fault = {0};

        if (fault_in(body, &fault))
                return http_status_error(200, &fault, 0, err);
        return error_set(err, CODE_BAD_RESPONSE, "the provider's answer is %s", what);
}

/* ---- embeddings ---- */

/* What is known while an answer is being read. */
struct reading {
        struct call *call;
        struct scan scan;
        size_t dimensions; /* 0: not known before the first vector */
        float *vectors;    /* NULL until dimensions are known */
        bool *seen;
        size_t seen_count;
        bool is_fault;
};

static int not_json(struct error *err)
{
        return error_set(err, CODE_BAD_RESPONSE, "the provider's answer is not the JSON that was expected");
}

/* The guilty input is named where there are several. */
static int vector_fault(struct reading *reading, size_t index, enum float_scan fault, size_t count, struct error *err)
{
        int input = reading->call->embed.count > 1 ? (int)index : -1;

        switch (fault) {
        case FLOAT_SCAN_OK:
        case FLOAT_SCAN_TOO_MANY:
                if (count)
                        error_set(err, CODE_DIMENSION_MISMATCH, "a vector of %zu numbers came where %zu were expected", count, reading->dimensions);
                else
                        error_set(err, CODE_DIMENSION_MISMATCH, "a vector of another length than %zu numbers came", reading->dimensions);
                break;
        case FLOAT_SCAN_NOT_FINITE:
                error_set(err, CODE_NOT_FINITE, "a vector with NaN or an infinite number came");
                break;
        case FLOAT_SCAN_SYNTAX:
                return error_set(err, CODE_BAD_RESPONSE, "a vector is neither an array of numbers nor base64 of floats");
        }
        if (err)
                err->input = input;
        return -1;
}

static int make_room(struct reading *reading, size_t dimensions, struct error *err)
{
        struct call *call = reading->call;

        if (reading->vectors)
                return 0;
        if (dimensions == 0 || dimensions > DIMENSIONS_MAX)
                return error_set(err, CODE_DIMENSION_MISMATCH, "a vector of %zu numbers came", dimensions);
        reading->dimensions = dimensions;
        reading->vectors = arena_alloc_raw(call->arena, call->embed.count * dimensions * sizeof *reading->vectors);
        if (!reading->vectors)
                return error_set(err, CODE_INTERNAL, "no room for %zu vectors of %zu numbers", call->embed.count, dimensions);
        return 0;
}

/* base64 with its slashes escaped ("\/"), as some encoders do, without the backslashes; other escapes make it foreign. */
static struct span unescape_slashes(struct arena *arena, struct span raw)
{
        char *plain = arena_alloc_raw(arena, raw.len + 1);
        size_t len = 0;

        if (!plain)
                return raw;
        for (size_t i = 0; i < raw.len; i++)
                if (raw.data[i] != '\\' || i + 1 == raw.len || raw.data[i + 1] != '/')
                        plain[len++] = raw.data[i];
        return (struct span){plain, len};
}

static int read_base64(struct reading *reading, size_t index, struct error *err)
{
        enum float_scan result;
        struct span raw;
        bool escaped;
        size_t count = 0;

        if (!scan_string(&reading->scan, &raw, &escaped))
                return not_json(err);
        if (escaped)
                raw = unescape_slashes(reading->call->arena, raw);
        if (make_room(reading, reading->dimensions ? reading->dimensions : raw.len * 3 / 4 / sizeof(float), err) < 0)
                return -1;
        result = float_scan_base64(raw, reading->vectors + index * reading->dimensions, reading->dimensions, &count);
        if (result == FLOAT_SCAN_OK && count == reading->dimensions)
                return 0;
        return vector_fault(reading, index, result, count, err);
}

static int read_array(struct reading *reading, size_t index, struct error *err)
{
        struct scan *scan = &reading->scan;
        enum float_scan result;
        size_t count = 0;

        if (make_room(reading, reading->dimensions ? reading->dimensions : float_scan_guess(scan->text, scan->at), err) < 0)
                return -1;
        result = float_scan_array(scan->text, &scan->at, reading->vectors + index * reading->dimensions, reading->dimensions, &count);
        if (result == FLOAT_SCAN_OK && count == reading->dimensions)
                return 0;
        return vector_fault(reading, index, result, count, err);
}

static int read_vector(struct reading *reading, int64_t index, struct error *err)
{
        if (index < 0)
                return error_set(err, CODE_BAD_RESPONSE, "a vector came without its index");
        if ((uint64_t)index >= reading->call->embed.count)
                return error_set(err, CODE_BAD_RESPONSE, "a vector came with an index past the number of inputs");
        if (reading->seen[index])
                return error_set(err, CODE_BAD_RESPONSE, "an index came twice");
        reading->seen[index] = true;
        reading->seen_count++;
        return scan_peek(&reading->scan) == '"' ? read_base64(reading, (size_t)index, err) : read_array(reading, (size_t)index, err);
}

/* Passes over a vector whose index is not known yet. NaN and the like, which are no JSON, must not end the reading here. */
static bool pass_vector(struct scan *scan)
{
        const char *end;

        if (scan_peek(scan) != '[')
                return scan_skip(scan);
        end = memchr(scan->text.data + scan->at, ']', scan->text.len - scan->at);
        if (!end)
                return false;
        scan->at = (size_t)(end + 1 - scan->text.data);
        return true;
}

/* {"index":n,"embedding":…}, in any order. */
static int read_item(struct reading *reading, struct error *err)
{
        struct scan *scan = &reading->scan;
        size_t vector_at = 0, behind;
        int64_t index = -1;
        struct span key;
        bool read = false;

        if (!scan_open(scan, '{'))
                return not_json(err);
        for (size_t n = 0; scan_member(scan, n, &key); n++) {
                if (span_is(key, "index") && index < 0) {
                        if (!scan_whole(scan, &index))
                                return not_json(err);
                } else if (span_is(key, "embedding") && !read && !vector_at) {
                        scan_peek(scan);
                        if (index >= 0) {
                                if (read_vector(reading, index, err) < 0)
                                        return -1;
                                read = true;
                        } else {
                                vector_at = scan->at;
                                if (!pass_vector(scan))
                                        return not_json(err);
                        }
                } else if (!scan_skip(scan)) {
                        return not_json(err);
                }
        }
        if (scan->bad || read)
                return scan->bad ? not_json(err) : 0;
        if (!vector_at)
                return error_set(err, CODE_BAD_RESPONSE, "an item came without its embedding");
        behind = scan->at;
        scan->at = vector_at;
        if (read_vector(reading, index, err) < 0)
                return -1;
        scan->at = behind;
        return 0;
}

static void read_usage(struct reading *reading)
{
        struct scan *scan = &reading->scan;
        struct span key;

        if (scan_peek(scan) != '{') {
                scan_skip(scan);
                return;
        }
        scan_open(scan, '{');
        for (size_t n = 0; scan_member(scan, n, &key); n++) {
                char c = scan_peek(scan);

                if (span_is(key, "prompt_tokens") && c >= '0' && c <= '9')
                        scan_whole(scan, &reading->call->usage.input_tokens);
                else
                        scan_skip(scan);
        }
}

static int read_embeddings(struct reading *reading, struct error *err)
{
        struct scan *scan = &reading->scan;
        struct span key;
        bool data = false;

        if (!scan_open(scan, '{'))
                return not_json(err);
        for (size_t n = 0; scan_member(scan, n, &key); n++) {
                if (span_is(key, "data") && !data && scan_peek(scan) == '[') {
                        data = true;
                        scan_open(scan, '[');
                        for (size_t i = 0; scan_element(scan, i); i++)
                                if (read_item(reading, err) < 0)
                                        return -1;
                } else if (span_is(key, "usage")) {
                        read_usage(reading);
                } else {
                        reading->is_fault |= span_is(key, "error") && scan_peek(scan) != 'n'; /* null */
                        scan_skip(scan);
                }
        }
        if (!scan_end(scan))
                return not_json(err);
        if (!data)
                reading->is_fault = true;
        return 0;
}

static int parse_embed(struct call *call, struct span body, struct error *err)
{
        int dimensions = call->embed.dimensions ? call->embed.dimensions : format_model(call)->dimensions;
        struct reading reading = {.call = call, .scan = scan_begin(body)};

        reading.seen = arena_alloc(call->arena, call->embed.count * sizeof *reading.seen);
        if (!reading.seen)
                return error_set(err, CODE_INTERNAL, "no room for the answer");
        if (dimensions > 0 && make_room(&reading, (size_t)dimensions, err) < 0)
                return -1;
        if (read_embeddings(&reading, err) < 0)
                return -1;
        if (reading.is_fault)
                return not_an_answer(body, "an object without data", err);
        if (reading.seen_count != call->embed.count)
                return error_set(err, CODE_BAD_RESPONSE, "%zu vectors came for %zu inputs", reading.seen_count, call->embed.count);
        call->vectors = reading.vectors;
        call->dimensions = (int)reading.dimensions;
        return 0;
}

/* ---- chat ---- */

static int64_t count_of(const json_t *object, const char *name)
{
        json_int_t value = json_integer_value(json_object_get(object, name));

        return value > 0 ? value : 0;
}

static int copy_answer(struct call *call, const json_t *content, struct error *err)
{
        char *text = arena_copy(call->arena, string_of(content));
        json_error_t why = {.text = ""};
        json_t *parsed;

        if (!text)
                return error_set(err, CODE_INTERNAL, "no room for the answer");
        call->text = (struct span){text, json_string_length(content)};
        if (!call->llm.response_schema.len)
                return 0;
        parsed = json_loadb(text, call->text.len, JSON_DECODE_ANY, &why);
        if (!parsed && !why.text[0]) /* jansson says nothing where memory was out */
                return error_set(err, CODE_INTERNAL, "no memory to read the answer");
        if (!parsed)
                return error_set(err, CODE_BAD_OUTPUT, "the model's answer is not the JSON that response_schema asks for");
        json_decref(parsed);
        return 0;
}

static int read_choice(struct call *call, const json_t *choice, struct error *err)
{
        const json_t *message = json_object_get(choice, "message"), *content = json_object_get(message, "content");
        const json_t *refusal = json_object_get(message, "refusal"), *reason = json_object_get(choice, "finish_reason");
        char word[HTTP_FAULT_WORD_BYTES + 1] = "stop";

        if (json_is_string(reason))
                http_fault_word(string_of(reason), word);
        if (strcmp(word, "content_filter") == 0)
                return error_set(err, CODE_CONTENT_FILTER, "the provider's content filter held the answer back");
        if (json_string_length(refusal) > 0)
                return error_set(err, CODE_REFUSAL, "the model refused to answer");
        if (!json_is_string(content))
                return error_set(err, CODE_BAD_RESPONSE, "the provider's answer has no text");
        word[FINISH_REASON_BYTES_MAX] = '\0';
        call->finish_reason = arena_strdup(call->arena, word);
        if (!call->finish_reason)
                return error_set(err, CODE_INTERNAL, "no room for the answer");
        return copy_answer(call, content, err);
}

static int parse_chat(struct call *call, struct span body, struct error *err)
{
        json_t *root = json_loadb(body.data, body.len, 0, NULL);
        const json_t *choices = json_object_get(root, "choices"), *usage = json_object_get(root, "usage"), *error = json_object_get(root, "error");
        int result;

        if (!root || json_array_size(choices) == 0 || (error && !json_is_null(error))) {
                result = not_an_answer(body, root ? "an object without choices" : "not JSON", err);
        } else {
                call->usage.input_tokens = count_of(usage, "prompt_tokens");
                call->usage.output_tokens = count_of(usage, "completion_tokens");
                call->usage.cached_tokens = count_of(json_object_get(usage, "prompt_tokens_details"), "cached_tokens");
                if (call->usage.cached_tokens > call->usage.input_tokens)
                        call->usage.cached_tokens = call->usage.input_tokens;
                result = read_choice(call, json_array_get(choices, 0), err);
        }
        json_decref(root);
        return result;
}

static int openai_parse(struct call *call, struct span body, struct error *err)
{
        return call->kind == KIND_EMBED ? parse_embed(call, body, err) : parse_chat(call, body, err);
}

const struct format format_openai = {
        .type = PROVIDER_OPENAI,
        .name = "openai",
        .paths = {[KIND_EMBED] = "/embeddings", [KIND_LLM] = "/chat/completions"},
        .key_header = "Authorization: Bearer ",
        .render = openai_render,
        .parse = openai_parse,
        .fault = openai_fault,
};
