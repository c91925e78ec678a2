/* The records of the index topic (contract §3): keys and values written, and read back as what they are, bytes that anyone may have
 * put there. Unknown members are let pass: a later version may add some. */
#include <math.h>
#include <stdlib.h>

#include "config/base/digest.h"
#include "config/base/own.h"
#include "config/base/strict_json.h"
#include "config/base/utf8.h"
#include "retrieval/collection_state.h"

enum { TENANT_BYTES_MAX = 64, DOCUMENT_BYTES_MAX = 256, RECORD_FORMAT = 1, CHUNK_N_DIGITS_MAX = 7, RECORD_DEPTH_MAX = 64 /* metadata may be 32 deep */ };

/* ---- Keys */

void collection_document_key(struct buffer *out, struct span tenant, struct span document)
{
        buffer_span(out, tenant);
        buffer_char(out, '/');
        buffer_span(out, document);
}

void collection_chunk_key(struct buffer *out, struct span tenant, struct span document, int64_t n)
{
        collection_document_key(out, tenant, document);
        buffer_char(out, '#');
        buffer_int(out, n);
}

int32_t collection_partition(struct span tenant, struct span document, int32_t partitions)
{
        AUTO_BUFFER key = {0};

        buffer_init(&key, TENANT_BYTES_MAX + DOCUMENT_BYTES_MAX + 2);
        collection_document_key(&key, tenant, document);
        return (int32_t)(digest_murmur2(buffer_view(&key)) % (uint32_t)partitions);
}

void collection_indexed_text(struct buffer *out, struct span title, struct span text)
{
        buffer_span(out, title);
        if (title.len && text.len)
                buffer_char(out, ' ');
        buffer_span(out, text);
}

static bool is_alnum(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool all_of(struct span s, size_t bytes_max, bool (*allowed)(char c))
{
        if (s.len < 1 || s.len > bytes_max)
                return false;
        for (size_t i = 0; i < s.len; i++)
                if (!allowed(s.data[i]))
                        return false;
        return true;
}

static bool in_tenant(char c)
{
        return (is_alnum(c) && !(c >= 'A' && c <= 'Z')) || c == '_' || c == '-';
}

static bool in_document(char c)
{
        return is_alnum(c) || c == '.' || c == '_' || c == ':' || c == '-';
}

static bool in_number(char c)
{
        return c >= '0' && c <= '9';
}

bool record_key_parse(struct span key, struct record_key *ret_key)
{
        const char *slash = key.len ? memchr(key.data, '/', key.len) : NULL, *hash;
        struct record_key result = {.n = -1, .document_key = key};
        struct span number;

        if (!slash)
                return false;
        result.tenant = (struct span){key.data, (size_t)(slash - key.data)};
        result.document = (struct span){slash + 1, key.len - result.tenant.len - 1};
        hash = memchr(result.document.data, '#', result.document.len);
        if (hash) {
                number = (struct span){hash + 1, (size_t)(key.data + key.len - hash) - 1};
                result.document.len = (size_t)(hash - result.document.data);
                result.document_key.len = (size_t)(hash - key.data);
                if (!all_of(number, CHUNK_N_DIGITS_MAX, in_number) || (number.data[0] == '0' && number.len > 1))
                        return false;
                result.n = 0;
                for (size_t i = 0; i < number.len; i++)
                        result.n = result.n * 10 + (number.data[i] - '0');
                if (result.n > COLLECTION_CHUNK_N_MAX)
                        return false;
        }
        if (!all_of(result.tenant, TENANT_BYTES_MAX, in_tenant) || !all_of(result.document, DOCUMENT_BYTES_MAX, in_document))
                return false;
        *ret_key = result;
        return true;
}

/* ---- Writing values */

static int finish(struct buffer *out, struct error *err)
{
        if (!buffer_ok(out))
                return error_set(err, buffer_fault(out), "a record of the index topic is larger than %zu bytes", out->bytes_max);
        return 0;
}

static void begin(struct buffer *out, struct span tenant, struct span document)
{
        buffer_printf(out, "{\"v\":%d,\"tenant\":", RECORD_FORMAT);
        buffer_json_string(out, tenant);
        buffer_string(out, ",\"document\":");
        buffer_json_string(out, document);
}

static int append_json(const char *data, size_t len, void *out)
{
        buffer_add(out, data, len);
        return buffer_ok(out) ? 0 : -1;
}

/* The document's metadata with the chunk's own section and page. */
static int write_metadata(struct buffer *out, const struct chunk_record *record, struct error *err)
{
        AUTO(json_decrefp) json_t *own = record->metadata ? json_copy((json_t *)(uintptr_t)record->metadata) : json_object();
        int result = own ? 0 : -1;

        if (result == 0 && record->section_heading.len)
                result = json_object_set_new(own, "section_heading",
                                             json_stringn(record->section_heading.data, record->section_heading.len));
        if (result == 0 && record->page_number > 0)
                result = json_object_set_new(own, "page_number", json_integer(record->page_number));
        if (result < 0)
                return error_set(err, CODE_INTERNAL, "no memory for a chunk's metadata");
        if (json_dump_callback(own, append_json, out, JSON_COMPACT) < 0)
                buffer_starve(out); /* where the buffer is not full, jansson had no memory */
        return 0;
}

int collection_encode_chunk(struct buffer *out, const struct chunk_record *record, struct error *err)
{
        for (size_t i = 0; record->vector && i < record->dimensions; i++)
                if (!isfinite(record->vector[i]))
                        return error_set(err, CODE_NOT_FINITE, "the vector of chunk %lld is not finite", (long long)record->n);
        begin(out, record->tenant, record->document);
        buffer_printf(out, ",\"n\":%lld,\"version\":%lld,\"title\":", (long long)record->n, (long long)record->version);
        buffer_json_string(out, record->title);
        buffer_string(out, ",\"text\":");
        buffer_json_string(out, record->text);
        buffer_printf(out, ",\"span\":[%lld,%lld],\"metadata\":", (long long)record->span_from, (long long)record->span_to);
        if (write_metadata(out, record, err) < 0)
                return -1;
        if (record->vector) {
                buffer_string(out, ",\"vector\":");
                buffer_json_base64_floats(out, record->vector, record->dimensions);
                buffer_string(out, ",\"embedder\":");
                buffer_json_string(out, record->embedder);
        }
        buffer_char(out, '}');
        return finish(out, err);
}

int collection_encode_document(struct buffer *out, struct span tenant, struct span document, int64_t version, int64_t chunks,
                               struct error *err)
{
        begin(out, tenant, document);
        buffer_printf(out, ",\"version\":%lld,\"chunks\":%lld}", (long long)version, (long long)chunks);
        return finish(out, err);
}

/* ---- Stored chunks */

struct stored_chunk *stored_chunk_new(const struct chunk_parts *parts)
{
        size_t vector_bytes = parts->vector ? parts->dimensions * sizeof(float) : 0;
        size_t id_max = parts->document.len + CHUNK_N_DIGITS_MAX + 3; /* '/', '#', NUL */
        size_t bytes = sizeof(struct stored_chunk) + vector_bytes + parts->tenant.len + id_max + parts->title.len + parts->text.len;
        struct stored_chunk *chunk = malloc(bytes);
        char *at;

        if (!chunk) {
                json_decref(parts->metadata);
                return NULL;
        }
        *chunk = (struct stored_chunk){
                .n = parts->n, .version = parts->version, .span_from = parts->span_from, .span_to = parts->span_to, .bytes = bytes};
        atomic_init(&chunk->references, 1);
        chunk->metadata = parts->metadata;
        at = chunk->data;
        if (vector_bytes) { /* first: data is aligned */
                memcpy(at, parts->vector, vector_bytes);
                chunk->vector = (const float *)(const void *)at;
                at += vector_bytes;
        }
#define KEEP(field, value)                                                                                                         \
        do {                                                                                                                       \
                struct span value_ = (value);                                                                                      \
                if (value_.len)                                                                                                    \
                        memcpy(at, value_.data, value_.len);                                                                       \
                chunk->field = (struct span){at, value_.len};                                                                      \
                at += value_.len;                                                                                                  \
        } while (0)
        KEEP(tenant, parts->tenant);
        *at++ = '/'; /* collection_search.c: "<tenant>/<document>" lies there as one run */
        KEEP(document, parts->document);
        chunk->id = (struct span){chunk->document.data, parts->document.len};
        at += snprintf(at, CHUNK_N_DIGITS_MAX + 2, "#%lld", (long long)parts->n);
        chunk->id.len = (size_t)(at - chunk->id.data);
        KEEP(title, parts->title);
        KEEP(text, parts->text);
#undef KEEP
        return chunk;
}

struct stored_chunk *stored_chunk_ref(struct stored_chunk *chunk)
{
        atomic_fetch_add_explicit(&chunk->references, 1, memory_order_relaxed);
        return chunk;
}

void stored_chunk_unref(struct stored_chunk *chunk)
{
        if (!chunk || atomic_fetch_sub_explicit(&chunk->references, 1, memory_order_acq_rel) != 1)
                return;
        json_decref(chunk->metadata);
        free(chunk);
}

/* ---- Reading values */

static bool string_is(const json_t *object, const char *name, struct span expected)
{
        const json_t *value = json_object_get(object, name);

        return json_is_string(value) && span_equal((struct span){json_string_value(value), json_string_length(value)}, expected);
}

/* A string or, where it is absent, an empty one. */
static bool read_string(const json_t *object, const char *name, struct span *ret)
{
        const json_t *value = json_object_get(object, name);

        *ret = json_is_string(value) ? (struct span){json_string_value(value), json_string_length(value)} : SPAN("");
        return !value || json_is_string(value);
}

static bool read_integer(const json_t *object, const char *name, int64_t *ret)
{
        const json_t *value = json_object_get(object, name);

        *ret = json_integer_value(value);
        return json_is_integer(value);
}

/* Well-formed in what all values have in common? */
static bool check_record(const json_t *object, const struct record_key *key)
{
        int64_t format;

        return json_is_object(object) && read_integer(object, "v", &format) && format == RECORD_FORMAT &&
               string_is(object, "tenant", key->tenant) && string_is(object, "document", key->document);
}

/* The record's vector ready for use, in memory from malloc; NULL: none that belongs to the collection. -1: no memory. */
static int read_vector(const struct collection *collection, const json_t *object, float **ret_vector)
{
        struct span text, embedder;
        AUTO_FREE float *vector = NULL;
        double norm;
        size_t bytes = collection->dimensions * sizeof *vector, n;

        if (!read_string(object, "vector", &text) || !read_string(object, "embedder", &embedder) ||
            text.len > digest_base64_bytes(bytes))
                return 0;
        if (collection->embedder && !span_is(embedder, collection->embedder))
                return 0;
        vector = malloc(bytes);
        if (!vector)
                return -1;
        if (!digest_base64_decode(text, vector, bytes, &n) || n != bytes ||
            vector_check(vector, collection->dimensions, collection->dimensions, &norm, NULL) < 0)
                return 0;
        if (collection->metric == METRIC_COSINE)
                vector_normalise(vector, collection->dimensions, norm);
        *ret_vector = TAKE(vector);
        return 0;
}

/* NULL: no JSON, or with *ret_verdict no memory. */
static json_t *load(struct span value, enum record_verdict *ret_verdict)
{
        struct error err;
        json_t *tree;

        error_clear(&err);
        tree = utf8_valid(value) ? strict_parse(value, RECORD_DEPTH_MAX, &err) : NULL;
        *ret_verdict = err.code == CODE_INTERNAL ? RECORD_NO_MEMORY : RECORD_FOREIGN;
        return tree;
}

enum record_verdict record_chunk_parse(const struct collection *collection, const struct record_key *key, struct span value,
                                       struct stored_chunk **ret_chunk, bool *ret_vector_used)
{
        enum record_verdict verdict;
        AUTO(json_decrefp) json_t *object = load(value, &verdict);
        struct chunk_parts parts = {
                .tenant = key->tenant, .document = key->document, .n = key->n, .dimensions = collection->dimensions};
        const json_t *span = json_object_get(object, "span"), *vector = json_object_get(object, "vector");
        json_t *metadata = json_object_get(object, "metadata");
        AUTO_FREE float *values = NULL;
        int64_t n;

        if (!check_record(object, key) || !read_integer(object, "n", &n) || n != key->n ||
            !read_integer(object, "version", &parts.version) || !json_is_string(json_object_get(object, "text")) ||
            !read_string(object, "text", &parts.text) || !read_string(object, "title", &parts.title) ||
            (metadata && !json_is_object(metadata) && !json_is_null(metadata)))
                return verdict;
        parts.span_from = json_integer_value(json_array_get(span, 0));
        parts.span_to = json_integer_value(json_array_get(span, 1));
        if (vector && !json_is_null(vector) && read_vector(collection, object, &values) < 0)
                return RECORD_NO_MEMORY;
        parts.vector = values;
        if (json_is_object(metadata))
                parts.metadata = json_incref(metadata);
        *ret_chunk = stored_chunk_new(&parts);
        if (!*ret_chunk)
                return RECORD_NO_MEMORY;
        *ret_vector_used = values || !vector || json_is_null(vector);
        return RECORD_TAKEN;
}

enum record_verdict record_document_parse(const struct record_key *key, struct span value, int64_t *ret_version,
                                          int64_t *ret_chunks)
{
        enum record_verdict verdict;
        AUTO(json_decrefp) json_t *object = load(value, &verdict);
        int64_t version, chunks;

        if (!check_record(object, key) || !read_integer(object, "version", &version) || !read_integer(object, "chunks", &chunks) ||
            chunks < 0 || chunks > COLLECTION_CHUNK_N_MAX)
                return verdict;
        *ret_version = version;
        *ret_chunks = chunks;
        return RECORD_TAKEN;
}
