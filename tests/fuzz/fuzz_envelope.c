/* The request decoder on arbitrary records: it must neither crash nor leak, must say what is wrong when it refuses, and what it hands
 * out must lie within its bounds whether it refuses or not.
 *
 *      byte 0     kind (mod 5), lane (bit 7)
 *      byte 1     which headers the record has, a bit each (headers below); bit 7: the value is null
 *      then       for each of those its value, ended by a newline
 *      the rest   the record's value
 *
 * The input is copied to memory of exactly its size, so that a read past its end is seen. */
#include <math.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/utf8.h"
#include "queues/deadletter.h"
#include "queues/envelope.h"

enum { ARENA_BYTES_MAX = 8 << 20, PAYLOAD_BYTES_MAX = 65536, WALL_MS = 1763632800 };

/* A macro, so that the report names the line that did not hold. */
#define MUST(condition)              \
        do {                         \
                if (!(condition))    \
                        abort();     \
        } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"mr-origin-topic", "mr-deadline", "mr-attempts", "mr-step", "ce_id", "ce_expirytime", "ce_type"};

/* Must be readable from end to end. */
static void touch(struct span s)
{
        volatile unsigned sum = 0;

        for (size_t i = 0; i < s.len; i++)
                sum += (unsigned char)s.data[i];
}

static void check_identity(const struct request *request)
{
        MUST(envelope_valid_id(request->id));
        MUST(envelope_valid_tenant(request->tenant));
}

static void check_embed(const struct embed_fields *f)
{
        MUST(f->input_count >= 1 && f->input_count <= EMBED_INPUTS_MAX);
        MUST(f->encoding == ENCODING_FLOAT || f->encoding == ENCODING_BASE64);
        MUST(f->dimensions >= 0);
        for (size_t i = 0; i < f->input_count; i++) {
                MUST(f->inputs[i].len > 0);
                touch(f->inputs[i]);
        }
        touch(f->model);
}

static void check_ingest(const struct ingest_fields *f)
{
        MUST(f->collection.len > 0 && envelope_valid_document_id(f->document));
        MUST(f->delete_document || f->text.len > 0);
        MUST(f->format >= FORMAT_TEXT && f->format <= FORMAT_HTML);
        touch(f->text);
        touch(f->title);
}

static void check_retrieve(const struct retrieve_fields *f)
{
        MUST(f->collection.len > 0 && f->query.len > 0);
        MUST(f->mode >= RETRIEVE_HYBRID && f->mode <= RETRIEVE_SPARSE);
        MUST(f->top_k >= 1 && f->top_k <= TOP_K_MAX && f->depth >= 0);
        MUST(f->alpha <= 1.0);
        for (size_t i = 0; i < f->query_dimensions; i++)
                MUST(isfinite(f->query_vector[i]));
        for (size_t i = 0; i < f->at_least_count; i++)
                MUST(f->at_least[i].partition >= 0 && f->at_least[i].offset >= 0);
        touch(f->query);
}

static void check_rerank(const struct rerank_fields *f, bool first)
{
        MUST(f->document_count <= RERANK_DOCUMENTS_MAX && f->top_n >= 1 && f->top_n <= RERANK_DOCUMENTS_MAX);
        MUST(!first || (f->query.len > 0 && f->document_count > 0));
        for (size_t i = 0; i < f->document_count; i++) {
                MUST(f->documents[i].text.len > 0);
                touch(f->documents[i].id);
                touch(f->documents[i].text);
        }
}

static void check_llm(const struct llm_fields *f, bool first)
{
        MUST(!first || f->message_count > 0 || f->prompt.len > 0);
        MUST(!f->temperature_set || (f->temperature >= 0 && f->temperature <= 2));
        for (size_t i = 0; i < f->message_count; i++) {
                MUST(f->messages[i].content.len > 0);
                touch(f->messages[i].role);
                touch(f->messages[i].content);
        }
}

static void check_step(const struct request_step *step, bool first)
{
        switch (step->kind) {
        case KIND_INGEST:
                check_ingest(&step->ingest);
                break;
        case KIND_EMBED:
                check_embed(&step->embed);
                break;
        case KIND_RETRIEVE:
                check_retrieve(&step->retrieve);
                break;
        case KIND_RERANK:
                check_rerank(&step->rerank, first);
                break;
        case KIND_LLM:
                check_llm(&step->llm, first);
                break;
        case KIND_COUNT:
        default:
                MUST(!"a kind");
        }
}

static void check_accepted(const struct request *request, const struct delivery *delivery, enum kind kind)
{
        check_identity(request);
        MUST(delivery->value.len > 0 && delivery->value.len <= PAYLOAD_BYTES_MAX && utf8_valid(delivery->value));
        MUST(request->kind == kind && request->steps[0].kind == kind);
        MUST(request->step_count >= 1 && request->step_count <= STEPS_MAX && request->first_step < request->step_count);
        MUST(request->result_ttl_s >= 0 && request->attempts >= 0 && request->replays >= 0);
        MUST(request->tree != NULL && strlen(request->fingerprint) == SHA256_HEX_BYTES - 1);
        for (size_t i = 0; i < request->step_count; i++)
                check_step(&request->steps[i], i == 0);
}

static void check_refused(const struct request *request, const struct error *err)
{
        MUST(err->code != CODE_NONE && err->message[0] != '\0');
        MUST(err->class == ERR_DATA || err->code == CODE_INTERNAL);
        MUST(memchr(err->message, '\0', sizeof err->message) != NULL && utf8_valid(span_of(err->message)));
        if (request->id.len)
                check_identity(request);
        MUST(strlen(request->fingerprint) == SHA256_HEX_BYTES - 1);
}

/* The headers of a next hop and of a letter: every name and value must be readable, each of ours stands once. */
static void check_headers(const struct header *headers, size_t count)
{
        MUST(headers != NULL);
        for (size_t i = 0; i < count; i++) {
                touch(span_of(headers[i].name));
                touch(headers[i].value);
                for (size_t k = 0; envelope_own_header(headers[i].name) && k < i; k++)
                        MUST(strcmp(headers[k].name, headers[i].name) != 0);
        }
}

static void check_hops(const struct delivery *delivery, const struct request *request, const struct error *err, struct arena *arena)
{
        const struct hop hop = {.attempts = 1, .step = 0, .not_before_wall_ms = WALL_MS, .last_code = "timeout"};
        const struct deadletter letter = {.err = *err, .attempts = 1, .failed_wall_ms = WALL_MS, .worker = "fuzz"};
        size_t count = 0;

        check_headers(envelope_hop_headers(delivery, request, &hop, arena, &count), count);
        check_headers(deadletter_headers(delivery, request, &letter, arena, &count), count);
}

static void check_peek(struct span value)
{
        struct span id = {NULL, 0}, tenant = {NULL, 0};

        if (!value.data || !envelope_peek(value, &id, &tenant)) {
                MUST(id.data == NULL && tenant.data == NULL);
                return;
        }
        MUST(envelope_valid_id(id) && envelope_valid_tenant(tenant));
        MUST(id.data >= value.data && id.data + id.len <= value.data + value.len);
}

/* Cuts the next header's value off the input. */
static struct span take_line(struct span *rest)
{
        const char *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
        struct span line = {rest->data, end ? (size_t)(end - rest->data) : rest->len};
        size_t taken = line.len + (end != NULL);

        rest->data += taken;
        rest->len -= taken;
        return line;
}

static void run(unsigned kind_byte, unsigned header_byte, struct span rest)
{
        const struct envelope_limits limits = {.payload_bytes_max = PAYLOAD_BYTES_MAX, .lane_timeout_ms = {30000, 3600000}};
        struct header headers[COUNT_OF(names) + 1] = {{"foreign", SPAN("kept")}};
        struct delivery delivery = {.topic = "enrich.embed.bulk", .partition = 3, .offset = 17, .timestamp_ms = WALL_MS, .headers = headers};
        enum kind kind = (enum kind)((kind_byte & 0x7f) % KIND_COUNT);
        struct arena *arena = arena_new(ARENA_BYTES_MAX);
        struct request request;
        struct buffer scratch;
        struct error err;

        buffer_init(&scratch, ARENA_BYTES_MAX);
        MUST(arena != NULL);
        delivery.header_count = 1;
        for (size_t i = 0; i < COUNT_OF(names); i++)
                if (header_byte & 1u << i)
                        headers[delivery.header_count++] = (struct header){names[i], take_line(&rest)};
        delivery.value = header_byte & 0x80 ? (struct span){NULL, 0} : rest;
        error_clear(&err);
        if (envelope_decode(&delivery, kind, kind_byte & 0x80 ? LANE_BULK : LANE_INTERACTIVE, &limits, arena, &scratch, &request, &err) == 0)
                check_accepted(&request, &delivery, kind);
        else
                check_refused(&request, &err);
        check_hops(&delivery, &request, &err, arena);
        envelope_release(&request);
        check_peek(delivery.value);
        arena_free(arena);
        buffer_fini(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *copy;

        if (size < 2)
                return 0;
        copy = malloc(size - 2 ? size - 2 : 1);
        MUST(copy != NULL);
        memcpy(copy, data + 2, size - 2);
        run(data[0], data[1], (struct span){copy, size - 2});
        free(copy);
        return 0;
}
