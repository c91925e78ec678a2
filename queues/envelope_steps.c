#include "queues/envelope_steps.h"

#include <math.h>
#include <stdlib.h>

#include "config/base/json_fields.h"

enum { TEXT_BYTES_MAX = 1 << 30 }; /* a text is bounded by its payload */

/* One struct takes every field of every kind; rows say which of them a kind knows. */
struct raw {
        struct common_fields common;
        int kind;
        struct span collection, query, model, prompt;
        /* embed */
        json_t *input;
        int input_type, encoding;
        int64_t dimensions;
        /* ingest */
        json_t *document, *chunking;
        bool delete_document;
        /* retrieve */
        int mode;
        int64_t top_k;
        json_t *filter, *fusion, *query_vector, *at_least;
        bool collapse, explain;
        /* rerank */
        json_t *documents;
        int64_t top_n;
        /* llm */
        json_t *messages, *variables, *response_schema;
        int64_t max_tokens;
        double temperature;
};

#define RAW(member) offsetof(struct raw, member)
#define COMMON                                                                                                                   \
        {"id", FIELD_STRING, RAW(common.id), false, 1, ID_BYTES_MAX, NULL},                                                    \
                {"tenant", FIELD_STRING, RAW(common.tenant), false, 1, TENANT_BYTES_MAX, NULL},                                \
                {"deadline", FIELD_STRING, RAW(common.deadline), false, 1, 64, NULL},                                          \
                {"timeout_ms", FIELD_INTEGER, RAW(common.timeout_ms), false, 1, 31536000000.0, NULL},                          \
                {"result_ttl_s", FIELD_INTEGER, RAW(common.result_ttl_s), false, 1, 31536000, NULL},                           \
                {"metadata", FIELD_OBJECT, RAW(common.metadata), false, 0, 0, NULL},                                           \
                {"job", FIELD_STRING, RAW(common.job), false, 1, 128, NULL},                                                   \
                {"reply", FIELD_CHOICE, RAW(common.reply), false, 0, 0, "list"},                                               \
                {"then", FIELD_ARRAY, RAW(common.then), false, 0, STEPS_MAX - 1, NULL},                                        \
                {"traceparent", FIELD_STRING, RAW(common.traceparent), false, 1, 128, NULL}
#define MODEL                                                                                                                    \
        {                                                                                                                       \
                "model", FIELD_STRING, RAW(model), false, 1, 128, NULL                                                         \
        }

#define EMBED                                                                                                                    \
        {"input", FIELD_ANY, RAW(input), true, 0, 0, NULL}, MODEL,                                                             \
                {"input_type", FIELD_CHOICE, RAW(input_type), false, 0, 0, "document query"},                                  \
                {"dimensions", FIELD_INTEGER, RAW(dimensions), false, 1, 4096, NULL},                                          \
                {"encoding", FIELD_CHOICE, RAW(encoding), false, 0, 0, "float base64"}
#define INGEST                                                                                                                   \
        {"collection", FIELD_STRING, RAW(collection), true, 1, 128, NULL}, {"document", FIELD_OBJECT, RAW(document), true, 0, 0, NULL}, \
                {"chunking", FIELD_OBJECT, RAW(chunking), false, 0, 0, NULL},                                                  \
                {"delete", FIELD_BOOL, RAW(delete_document), false, 0, 0, NULL}
#define RETRIEVE                                                                                                                 \
        {"collection", FIELD_STRING, RAW(collection), true, 1, 128, NULL}, {"query", FIELD_STRING, RAW(query), true, 1, 65536, NULL}, \
                {"mode", FIELD_CHOICE, RAW(mode), false, 0, 0, "hybrid dense sparse"},                                         \
                {"top_k", FIELD_INTEGER, RAW(top_k), false, 1, TOP_K_MAX, NULL},                                               \
                {"filter", FIELD_OBJECT, RAW(filter), false, 0, 0, NULL}, {"fusion", FIELD_OBJECT, RAW(fusion), false, 0, 0, NULL}, \
                {"collapse", FIELD_BOOL, RAW(collapse), false, 0, 0, NULL},                                                    \
                {"query_vector", FIELD_ARRAY, RAW(query_vector), false, 1, 4096, NULL},                                        \
                {"explain", FIELD_BOOL, RAW(explain), false, 0, 0, NULL},                                                      \
                {"at_least", FIELD_OBJECT, RAW(at_least), false, 0, 0, NULL}
#define RERANK(required)                                                                                                         \
        {"query", FIELD_STRING, RAW(query), required, 1, 65536, NULL},                                                         \
                {"documents", FIELD_ARRAY, RAW(documents), required, 1, RERANK_DOCUMENTS_MAX, NULL},                           \
                {"top_n", FIELD_INTEGER, RAW(top_n), false, 1, RERANK_DOCUMENTS_MAX, NULL}, MODEL
#define LLM                                                                                                                      \
        {"messages", FIELD_ARRAY, RAW(messages), false, 1, 1024, NULL}, {"prompt", FIELD_STRING, RAW(prompt), false, 1, 128, NULL}, \
                {"variables", FIELD_OBJECT, RAW(variables), false, 0, 0, NULL}, MODEL,                                         \
                {"max_tokens", FIELD_INTEGER, RAW(max_tokens), false, 1, 1000000, NULL},                                       \
                {"temperature", FIELD_NUMBER, RAW(temperature), false, 0, 2, NULL},                                            \
                {"response_schema", FIELD_OBJECT, RAW(response_schema), false, 0, 0, NULL}
#define STEP                                                                                                                     \
        {                                                                                                                       \
                "kind", FIELD_CHOICE, RAW(kind), true, 0, 0, "ingest embed retrieve rerank llm"                                \
        }

static const struct field_row ingest_rows[] = {COMMON, INGEST}, embed_rows[] = {COMMON, EMBED}, retrieve_rows[] = {COMMON, RETRIEVE},
                              rerank_rows[] = {COMMON, RERANK(true)}, llm_rows[] = {COMMON, LLM};
static const struct field_row then_rerank_rows[] = {STEP, RERANK(false)}, then_llm_rows[] = {STEP, LLM};

static const struct {
        const struct field_row *rows;
        size_t count;
} first_rows[KIND_COUNT] = {[KIND_INGEST] = {ingest_rows, COUNT_OF(ingest_rows)},
                            [KIND_EMBED] = {embed_rows, COUNT_OF(embed_rows)},
                            [KIND_RETRIEVE] = {retrieve_rows, COUNT_OF(retrieve_rows)},
                            [KIND_RERANK] = {rerank_rows, COUNT_OF(rerank_rows)},
                            [KIND_LLM] = {llm_rows, COUNT_OF(llm_rows)}},
  then_rows[KIND_COUNT] = {[KIND_RERANK] = {then_rerank_rows, COUNT_OF(then_rerank_rows)},
                           [KIND_LLM] = {then_llm_rows, COUNT_OF(then_llm_rows)}};

static int no_memory(const struct arena *arena, struct error *err)
{
        return error_set(err, arena_fault(arena), "the request needs more memory than one may take");
}

static struct span string_of(const json_t *value)
{
        return (struct span){json_string_value(value), json_string_length(value)};
}

static int read_embed(const struct raw *raw, struct arena *arena, struct embed_fields *to, struct error *err)
{
        size_t count = json_is_array(raw->input) ? json_array_size(raw->input) : 1;

        to->input_is_array = json_is_array(raw->input);
        if (!to->input_is_array && !json_is_string(raw->input))
                return error_set(err, CODE_SCHEMA, "input: must be a string or an array of strings");
        if (count < 1 || count > EMBED_INPUTS_MAX)
                return error_set(err, CODE_SCHEMA, "input: must hold 1 to %d strings", EMBED_INPUTS_MAX);
        to->inputs = arena_alloc(arena, count * sizeof *to->inputs);
        if (!to->inputs)
                return no_memory(arena, err);
        for (size_t i = 0; i < count; i++) {
                const json_t *one = to->input_is_array ? json_array_get(raw->input, i) : raw->input;

                if (!json_is_string(one) || json_string_length(one) == 0) {
                        error_set(err, CODE_SCHEMA, "input: entry %zu must be a string that is not empty", i);
                        err->input = (int)i;
                        return -1;
                }
                to->inputs[i] = string_of(one);
        }
        to->input_count = count;
        to->model = raw->model;
        to->input_role = raw->input_type < 0 ? ROLE_UNSAID : raw->input_type == 0 ? ROLE_DOCUMENT : ROLE_QUERY;
        to->encoding = raw->encoding < 0 ? ENCODING_FLOAT : raw->encoding;
        to->dimensions = raw->dimensions;
        return 0;
}

static int read_chunking(json_t *object, struct ingest_fields *to, struct error *err)
{
        struct {
                int strategy;
                int64_t size, overlap;
        } c = {-1, -1, -1};
        static const struct field_row rows[] = {
                {"strategy", FIELD_CHOICE, 0, false, 0, 0, "recursive fixed sentence none"},
                {"size", FIELD_INTEGER, 8, false, 1, 100000, NULL},
                {"overlap", FIELD_INTEGER, 16, false, 0, 100000, NULL},
        };

        _Static_assert(offsetof(__typeof__(c), size) == 8 && offsetof(__typeof__(c), overlap) == 16, "the rows' offsets");
        if (fields_read(object, rows, COUNT_OF(rows), "chunking", CODE_SCHEMA, &c, err) < 0)
                return -1;
        to->chunking_set = true;
        to->chunking = (struct chunking){.strategy = (enum chunk_strategy)c.strategy, .size = (int)c.size, .overlap = (int)c.overlap};
        if (c.size > 0 && c.overlap >= c.size)
                return error_set(err, CODE_SCHEMA, "chunking.overlap: must be smaller than chunking.size");
        return 0;
}

struct raw_document {
        struct span id, text, title;
        int format;
        int64_t version;
        json_t *metadata;
};

#define DOC(member) offsetof(struct raw_document, member)
static const struct field_row document_rows[] = {
        {"id", FIELD_STRING, DOC(id), true, 1, DOCUMENT_ID_BYTES_MAX, NULL},
        {"text", FIELD_STRING, DOC(text), false, 0, 0, NULL},
        {"title", FIELD_STRING, DOC(title), false, 0, 4096, NULL},
        {"format", FIELD_CHOICE, DOC(format), false, 0, 0, "text markdown html"},
        {"version", FIELD_INTEGER, DOC(version), false, 0, 0, NULL},
        {"metadata", FIELD_OBJECT, DOC(metadata), false, 0, 0, NULL},
};

/* As compact JSON. */
static int check_bytes(const json_t *object, size_t bytes_max, const char *name, struct error *err)
{
        size_t bytes = json_dumpb(object, NULL, 0, JSON_COMPACT);

        if (bytes == 0)
                return error_set(err, CODE_INTERNAL, "no memory to measure %s", name);
        return bytes > bytes_max ? error_set(err, CODE_TOO_LARGE, "%s: at most %zu bytes", name, bytes_max) : 0;
}

static int read_ingest(const struct raw *raw, struct ingest_fields *to, struct error *err)
{
        struct raw_document d = {.version = INT64_MIN};

        if (fields_read(raw->document, document_rows, COUNT_OF(document_rows), "document", CODE_SCHEMA, &d, err) < 0)
                return -1;
        if (!envelope_valid_document_id(d.id))
                return error_set(err, CODE_SCHEMA, "document.id: must be 1 to %d of A-Z a-z 0-9 . _ : -", DOCUMENT_ID_BYTES_MAX);
        if (!raw->delete_document && d.text.len == 0)
                return error_set(err, CODE_SCHEMA, "document.text: must not be empty");
        if (d.metadata && check_bytes(d.metadata, DOCUMENT_METADATA_BYTES_MAX, "document.metadata", err) < 0)
                return -1;
        *to = (struct ingest_fields){.collection = raw->collection,
                                     .document = d.id,
                                     .text = d.text,
                                     .title = d.title,
                                     .format = d.format,
                                     .version_set = d.version != INT64_MIN,
                                     .version = d.version,
                                     .metadata = d.metadata,
                                     .delete_document = raw->delete_document};
        return raw->chunking ? read_chunking(raw->chunking, to, err) : 0;
}

static int read_vector(const json_t *array, struct arena *arena, struct retrieve_fields *to, struct error *err)
{
        to->query_dimensions = json_array_size(array);
        to->query_vector = arena_alloc(arena, to->query_dimensions * sizeof *to->query_vector);
        if (!to->query_vector)
                return no_memory(arena, err);
        for (size_t i = 0; i < to->query_dimensions; i++) {
                const json_t *one = json_array_get(array, i);

                to->query_vector[i] = (float)json_number_value(one);
                if (!json_is_number(one) || !isfinite(to->query_vector[i]))
                        return error_set(err, CODE_SCHEMA, "query_vector: entry %zu must be a finite number", i);
        }
        return 0;
}

static int read_positions(json_t *object, struct arena *arena, struct retrieve_fields *to, struct error *err)
{
        const char *name;
        json_t *value;

        if (json_object_size(object) > 4096)
                return error_set(err, CODE_SCHEMA, "at_least: too many partitions");
        to->at_least = arena_alloc(arena, (json_object_size(object) + 1) * sizeof *to->at_least);
        if (!to->at_least)
                return no_memory(arena, err);
        json_object_foreach(object, name, value)
        {
                char *rest;
                long partition = strtol(name, &rest, 10);

                if (*rest || rest == name || partition < 0 || partition > 1000000 || !json_is_integer(value) ||
                    json_integer_value(value) < 0)
                        return error_set(err, CODE_SCHEMA, "at_least: must be {\"partition\": offset}");
                to->at_least[to->at_least_count++] = (struct position){(int32_t)partition, json_integer_value(value)};
        }
        return 0;
}

static int read_retrieve(const struct raw *raw, struct arena *arena, struct retrieve_fields *to, struct error *err)
{
        struct {
                double alpha;
                int64_t depth;
                int method;
        } f = {-1, 0, -1};
        static const struct field_row rows[] = {
                {"alpha", FIELD_NUMBER, 0, false, 0, 1, NULL},
                {"depth", FIELD_INTEGER, 8, false, 1, 10000, NULL},
                {"method", FIELD_CHOICE, 16, false, 0, 0, "cross rrf zscore"},
        };

        if (raw->fusion && fields_read(raw->fusion, rows, COUNT_OF(rows), "fusion", CODE_SCHEMA, &f, err) < 0)
                return -1;
        *to = (struct retrieve_fields){.collection = raw->collection,
                                       .query = raw->query,
                                       .mode = raw->mode < 0 ? RETRIEVE_HYBRID : raw->mode,
                                       .top_k = raw->top_k,
                                       .filter = raw->filter,
                                       .fusion_method = f.method,
                                       .alpha = f.alpha,
                                       .depth = f.depth,
                                       .collapse = raw->collapse,
                                       .explain = raw->explain};
        if (raw->query_vector && read_vector(raw->query_vector, arena, to, err) < 0)
                return -1;
        return raw->at_least ? read_positions(raw->at_least, arena, to, err) : 0;
}

static int read_rerank(const struct raw *raw, struct arena *arena, struct rerank_fields *to, struct error *err)
{
        static const struct field_row rows[] = {
                {"id", FIELD_STRING, offsetof(struct rerank_document, id), true, 1, 512, NULL},
                {"text", FIELD_STRING, offsetof(struct rerank_document, text), true, 1, TEXT_BYTES_MAX, NULL},
        };
        size_t count = json_array_size(raw->documents);

        *to = (struct rerank_fields){.query = raw->query, .top_n = raw->top_n, .model = raw->model, .document_count = count};
        to->documents = arena_alloc(arena, (count + 1) * sizeof *to->documents);
        if (!to->documents)
                return no_memory(arena, err);
        for (size_t i = 0; i < count; i++) {
                char path[32] = "documents";
                const json_t *one = json_array_get(raw->documents, i);

                if (!json_is_object(one))
                        return error_set(err, CODE_SCHEMA, "documents: entry %zu must be an object", i);
                if (fields_read(one, rows, COUNT_OF(rows), path, CODE_SCHEMA, &to->documents[i], err) < 0)
                        return -1;
        }
        return 0;
}

static int read_messages(const json_t *array, struct arena *arena, struct llm_fields *to, struct error *err)
{
        static const char *const roles[] = {"system", "user", "assistant"};
        struct {
                struct span content;
                int role;
        } m;
        static const struct field_row rows[] = {
                {"content", FIELD_STRING, 0, true, 1, TEXT_BYTES_MAX, NULL},
                {"role", FIELD_CHOICE, sizeof(struct span), true, 0, 0, "system user assistant"},
        };

        to->message_count = json_array_size(array);
        to->messages = arena_alloc(arena, to->message_count * sizeof *to->messages);
        if (!to->messages)
                return no_memory(arena, err);
        for (size_t i = 0; i < to->message_count; i++) {
                const json_t *one = json_array_get(array, i);

                if (!json_is_object(one))
                        return error_set(err, CODE_SCHEMA, "messages: entry %zu must be an object", i);
                if (fields_read(one, rows, COUNT_OF(rows), "messages", CODE_SCHEMA, &m, err) < 0)
                        return -1;
                to->messages[i] = (struct llm_message){span_of(roles[m.role]), m.content};
        }
        return 0;
}

static int read_llm(const struct raw *raw, bool first, struct arena *arena, struct llm_fields *to, struct error *err)
{
        *to = (struct llm_fields){.prompt = raw->prompt,
                                  .variables = raw->variables,
                                  .model = raw->model,
                                  .max_tokens = raw->max_tokens,
                                  .temperature_set = raw->temperature >= 0,
                                  .temperature = raw->temperature,
                                  .response_schema = raw->response_schema};
        if (raw->messages && raw->prompt.len)
                return error_set(err, CODE_SCHEMA, "messages: not together with prompt");
        if (first && !raw->messages && !raw->prompt.len)
                return error_set(err, CODE_SCHEMA, "messages: missing (or give a prompt)");
        if (raw->variables && raw->messages)
                return error_set(err, CODE_SCHEMA, "variables: only together with prompt");
        return raw->messages ? read_messages(raw->messages, arena, to, err) : 0;
}

static void clear(struct raw *raw)
{
        *raw = (struct raw){.common.reply = -1, .input_type = -1, .encoding = -1, .mode = -1, .top_k = 10, .top_n = 3, .temperature = -1};
}

static int fill_step(const struct raw *raw, bool first, struct arena *arena, struct request_step *step, struct error *err)
{
        switch (step->kind) {
        case KIND_INGEST:
                return read_ingest(raw, &step->ingest, err);
        case KIND_EMBED:
                return read_embed(raw, arena, &step->embed, err);
        case KIND_RETRIEVE:
                return read_retrieve(raw, arena, &step->retrieve, err);
        case KIND_RERANK:
                return read_rerank(raw, arena, &step->rerank, err);
        case KIND_LLM:
        default:
                return read_llm(raw, first, arena, &step->llm, err);
        }
}

/* retrieve → rerank → llm, retrieve → llm, rerank → llm, and their beginnings. */
static bool may_follow(enum kind before, enum kind next)
{
        return (before == KIND_RETRIEVE && (next == KIND_RERANK || next == KIND_LLM)) || (before == KIND_RERANK && next == KIND_LLM);
}

static int read_then(const json_t *then, struct arena *arena, struct request *request, struct error *err)
{
        for (size_t i = 0; i < json_array_size(then); i++) {
                const json_t *object = json_array_get(then, i), *kind = json_object_get(object, "kind");
                int next = json_is_string(kind) ? kind_of(json_string_value(kind), json_string_length(kind)) : -1;
                struct request_step *step = &request->steps[request->step_count];
                struct raw raw;

                if (!json_is_object(object))
                        return error_set(err, CODE_SCHEMA, "then: entry %zu must be an object", i);
                if (next < 0)
                        return error_set(err, CODE_SCHEMA, "then: entry %zu has no known kind", i);
                if (!may_follow(step[-1].kind, (enum kind)next))
                        return error_set(err, CODE_SCHEMA, "then: %s can't follow %s", kind_names[next], kind_names[step[-1].kind]);
                clear(&raw);
                if (fields_read(object, then_rows[next].rows, then_rows[next].count, "then", CODE_SCHEMA, &raw, err) < 0)
                        return -1;
                step->kind = (enum kind)next;
                if (fill_step(&raw, false, arena, step, err) < 0)
                        return -1;
                request->step_count++;
        }
        return 0;
}

int envelope_read_steps(const json_t *object, struct arena *arena, struct request *request, struct common_fields *ret_common,
                        struct error *err)
{
        struct raw raw;

        clear(&raw);
        if (fields_read(object, first_rows[request->kind].rows, first_rows[request->kind].count, "", CODE_SCHEMA, &raw, err) < 0)
                return -1;
        if (raw.common.metadata && check_bytes(raw.common.metadata, METADATA_BYTES_MAX, "metadata", err) < 0)
                return -1;
        request->steps[0].kind = request->kind;
        if (fill_step(&raw, true, arena, &request->steps[0], err) < 0)
                return -1;
        request->step_count = 1;
        *ret_common = raw.common;
        return raw.common.then ? read_then(raw.common.then, arena, request, err) : 0;
}
