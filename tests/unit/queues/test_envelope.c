/* The request decoder against the contract's §2 and §5. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "config/base/clock.h"
#include "queues/deadletter.h"
#include "queues/envelope.h"

static struct arena *arena;
static struct buffer scratch;
static struct request request;
static struct error err;
static struct header headers[8];
static size_t header_count;

static void setup(void)
{
        arena = arena_new(64 << 20);
        buffer_init(&scratch, 64 << 20);
        header_count = 0;
        error_clear(&err);
}

static void teardown(void)
{
        envelope_release(&request);
        arena_free(arena);
        buffer_fini(&scratch);
}

TestSuite(envelope, .init = setup, .fini = teardown);

static void header(const char *name, const char *value)
{
        headers[header_count++] = (struct header){name, span_of(value)};
}

static int decode_span(enum kind kind, struct span value)
{
        static const struct envelope_limits limits = {1 << 20, {30000, 3600000}, false};
        struct delivery delivery = {.topic = "enrich.embed.bulk",
                                    .partition = 3,
                                    .offset = 17,
                                    .timestamp_ms = 1000000,
                                    .value = value,
                                    .headers = headers,
                                    .header_count = header_count};

        envelope_release(&request);
        error_clear(&err);
        return envelope_decode(&delivery, kind, LANE_BULK, &limits, arena, &scratch, &request, &err);
}

static int decode(enum kind kind, const char *value)
{
        return decode_span(kind, span_of(value));
}

static void refused(enum kind kind, const char *value, enum error_code code)
{
        cr_assert_eq(decode(kind, value), -1, "%s was taken", value);
        cr_assert_eq(err.code, code, "%s: %s %s", value, error_code_name(err.code), err.message);
}

Test(envelope, reads_an_embed_request)
{
        cr_assert_eq(decode(KIND_EMBED, "{\"id\":\"q1\",\"tenant\":\"acme\",\"input\":[\"a\",\"b\"],\"model\":\"m\",\"encoding\":\"base64\","
                                        "\"input_type\":\"query\",\"dimensions\":64,\"reply\":\"list\",\"metadata\":{\"k\":1}}"),
                     0, "%s", err.message);
        cr_assert(span_is(request.id, "q1") && span_is(request.tenant, "acme"));
        cr_assert_eq(request.steps[0].embed.input_count, 2);
        cr_assert(span_is(request.steps[0].embed.inputs[1], "b"));
        cr_assert_eq(request.steps[0].embed.encoding, ENCODING_BASE64);
        cr_assert_eq(request.steps[0].embed.input_role, ROLE_QUERY);
        cr_assert_eq(request.steps[0].embed.dimensions, 64);
        cr_assert(request.reply_list);
        cr_assert(request.metadata);
        cr_assert_eq(request.deadline_wall_ms, 1000000 + 3600000, "the lane's default");
        cr_assert_str_eq(request.origin_topic, "enrich.embed.bulk");
        cr_assert_eq(request.origin_offset, 17);
}

Test(envelope, the_tenant_is_default_where_none_is_given)
{
        cr_assert_eq(decode(KIND_EMBED, "{\"id\":\"q1\",\"input\":\"a\"}"), 0);
        cr_assert(span_is(request.tenant, "default"));
}

Test(envelope, the_earlier_deadline_holds)
{
        cr_assert_eq(decode(KIND_EMBED, "{\"id\":\"q\",\"input\":\"a\",\"timeout_ms\":5000}"), 0);
        cr_assert_eq(request.deadline_wall_ms, 1005000);
        cr_assert_eq(decode(KIND_EMBED, "{\"id\":\"q\",\"input\":\"a\",\"timeout_ms\":5000,\"deadline\":\"1970-01-01T00:16:42Z\"}"), 0);
        cr_assert_eq(request.deadline_wall_ms, 1002000);
        header("mr-deadline", "1001500");
        cr_assert_eq(decode(KIND_EMBED, "{\"id\":\"q\",\"input\":\"a\",\"timeout_ms\":5000}"), 0);
        cr_assert_eq(request.deadline_wall_ms, 1001500, "set once, never extended");
}

Test(envelope, refuses_bad_bytes_in_order)
{
        char deep[80] = "{\"id\":\"a\",\"x\":";

        refused(KIND_EMBED, "", CODE_INVALID_JSON);
        cr_assert_eq(decode_span(KIND_EMBED, (struct span){NULL, 0}), -1);
        cr_assert_eq(err.code, CODE_INVALID_JSON);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":\"\xff\"}", CODE_INVALID_UTF8);
        memset(deep + strlen(deep), '[', 40);
        refused(KIND_EMBED, deep, CODE_TOO_DEEP);
        refused(KIND_EMBED, "\xef\xbb\xbf{\"id\":\"a\",\"input\":\"x\"}", CODE_INVALID_JSON);
        refused(KIND_EMBED, "{\"id\":\"a\",\"id\":\"b\",\"input\":\"x\"}", CODE_INVALID_JSON);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":NaN}", CODE_INVALID_JSON);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":\"\\u0000\"}", CODE_INVALID_JSON);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":\"\\ud800\"}", CODE_INVALID_JSON);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\"", CODE_INVALID_JSON);
        refused(KIND_EMBED, "null", CODE_INVALID_JSON);
        refused(KIND_EMBED, "[]", CODE_SCHEMA);
        cr_assert_eq(decode_span(KIND_EMBED, SPAN("{\"id\":\"a\",\"input\":\"x\0y\"}")), -1);
        cr_assert_eq(err.code, CODE_INVALID_JSON);
}

Test(envelope, refuses_what_is_too_large)
{
        size_t len = (1 << 20) + 1;
        char *text = arena_alloc(arena, len);
        int n = snprintf(text, len, "{\"id\":\"big\",\"input\":\"");

        memset(text + n, 'a', len - (size_t)n);
        memcpy(text + len - 2, "\"}", 2);
        cr_assert_eq(decode_span(KIND_EMBED, (struct span){text, len}), -1);
        cr_assert_eq(err.code, CODE_TOO_LARGE);
        cr_assert(span_is(request.id, "big"), "the id is found all the same");
}

Test(envelope, refuses_unknown_and_ill_typed_fields)
{
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\",\"modell\":\"m\"}", CODE_SCHEMA);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":5}", CODE_SCHEMA);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":[]}", CODE_SCHEMA);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":\"\"}", CODE_SCHEMA);
        refused(KIND_EMBED, "{\"id\":\"a\"}", CODE_SCHEMA);
        refused(KIND_EMBED, "{\"input\":\"x\"}", CODE_SCHEMA);
        cr_assert_eq(request.id.len, 0);
        refused(KIND_EMBED, "{\"id\":\"a b\",\"input\":\"x\"}", CODE_SCHEMA);
        refused(KIND_EMBED, "{\"id\":\"a\",\"tenant\":\"A\",\"input\":\"x\"}", CODE_SCHEMA);
        cr_assert_eq(request.id.len, 0, "no result without a tenant");
        refused(KIND_EMBED, "{\"id\":7,\"input\":\"x\"}", CODE_SCHEMA);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\",\"timeout_ms\":\"5\"}", CODE_SCHEMA);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\",\"timeout_ms\":0}", CODE_SCHEMA);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\",\"deadline\":\"tomorrow\"}", CODE_SCHEMA);
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\",\"reply\":\"mail\"}", CODE_SCHEMA);
        refused(KIND_RETRIEVE, "{\"id\":\"a\",\"collection\":\"docs\",\"query\":\"x\",\"top_k\":1001}", CODE_SCHEMA);
        refused(KIND_LLM, "{\"id\":\"a\"}", CODE_SCHEMA);
        refused(KIND_LLM, "{\"id\":\"a\",\"messages\":[{\"role\":\"boss\",\"content\":\"x\"}]}", CODE_SCHEMA);
        refused(KIND_RERANK, "{\"id\":\"a\",\"query\":\"x\",\"documents\":[]}", CODE_SCHEMA);
        refused(KIND_INGEST, "{\"id\":\"a\",\"collection\":\"docs\",\"document\":{\"id\":\"d\"}}", CODE_SCHEMA);
        refused(KIND_INGEST, "{\"id\":\"a\",\"collection\":\"docs\",\"document\":{\"id\":\"d e\",\"text\":\"t\"}}", CODE_SCHEMA);
}

Test(envelope, the_id_of_129_bytes_is_refused)
{
        char text[256], id[130];

        memset(id, 'a', 129);
        id[129] = '\0';
        snprintf(text, sizeof text, "{\"id\":\"%s\",\"input\":\"x\"}", id);
        refused(KIND_EMBED, text, CODE_SCHEMA);
        cr_assert_eq(request.id.len, 0);
        snprintf(text, sizeof text, "{\"id\":\"%s\",\"input\":\"x\"}", id + 1);
        cr_assert_eq(decode(KIND_EMBED, text), 0);
}

Test(envelope, metadata_has_a_bound)
{
        char text[6000];
        int n = snprintf(text, sizeof text, "{\"id\":\"a\",\"input\":\"x\",\"metadata\":{\"k\":\"");

        memset(text + n, 'a', 5000);
        snprintf(text + n + 5000, sizeof text - (size_t)n - 5000, "\"}}");
        refused(KIND_EMBED, text, CODE_TOO_LARGE);
        cr_assert(span_is(request.id, "a"));
}

Test(envelope, reads_chains)
{
        cr_assert_eq(decode(KIND_RETRIEVE, "{\"id\":\"c\",\"collection\":\"docs\",\"query\":\"why\",\"then\":[{\"kind\":\"rerank\",\"top_n\":5},{\"kind\":\"llm\"}]}"),
                     0, "%s", err.message);
        cr_assert_eq(request.step_count, 3);
        cr_assert_eq(request.steps[1].rerank.top_n, 5);
        cr_assert_eq(request.steps[2].kind, KIND_LLM);
        cr_assert_eq(request.steps[0].retrieve.top_k, 10);
        refused(KIND_EMBED, "{\"id\":\"c\",\"input\":\"x\",\"then\":[{\"kind\":\"llm\"}]}", CODE_SCHEMA);
        refused(KIND_RETRIEVE, "{\"id\":\"c\",\"collection\":\"docs\",\"query\":\"w\",\"then\":[{\"kind\":\"embed\"}]}", CODE_SCHEMA);
        refused(KIND_RETRIEVE, "{\"id\":\"c\",\"collection\":\"docs\",\"query\":\"w\",\"then\":[{\"kind\":\"sing\"}]}", CODE_SCHEMA);
        refused(KIND_RETRIEVE, "{\"id\":\"c\",\"collection\":\"docs\",\"query\":\"w\",\"then\":[{\"kind\":\"llm\",\"top_n\":3}]}", CODE_SCHEMA);
}

Test(envelope, a_step_that_is_not_there_is_refused)
{
        header("mr-step", "1");
        refused(KIND_EMBED, "{\"id\":\"c\",\"input\":\"x\"}", CODE_SCHEMA);
}

Test(envelope, the_fingerprint_ignores_what_does_not_change_the_work)
{
        char first[SHA256_HEX_BYTES];

        cr_assert_eq(decode(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\"}"), 0);
        cr_assert(span_is(buffer_view(&scratch), "embed{\"id\":\"a\",\"input\":\"x\"}"));
        memcpy(first, request.fingerprint, sizeof first);
        cr_assert_eq(decode(KIND_EMBED, "{ \"input\" : \"x\", \"id\":\"a\", \"timeout_ms\":9, \"metadata\":{}, \"job\":\"j\", \"result_ttl_s\":5, \"reply\":\"list\" }"), 0);
        cr_assert_str_eq(request.fingerprint, first);
        cr_assert_eq(decode(KIND_EMBED, "{\"id\":\"a\",\"input\":\"y\"}"), 0);
        cr_assert_str_neq(request.fingerprint, first);
}

Test(envelope, cloud_events_headers_fill_what_the_value_lacks)
{
        header("ce_id", "ce-1");
        header("ce_type", "millrace.embed.v1");
        header("ce_expirytime", "1970-01-01T00:20:00Z");
        header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        cr_assert_eq(decode(KIND_EMBED, "{\"input\":\"x\"}"), 0, "%s", err.message);
        cr_assert(span_is(request.id, "ce-1"));
        cr_assert_eq(request.deadline_wall_ms, 1200000);
        cr_assert(request.traceparent.len > 0);
        cr_assert_eq(decode(KIND_EMBED, "{\"id\":\"own\",\"input\":\"x\"}"), 0);
        cr_assert(span_is(request.id, "own"));
        refused(KIND_LLM, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", CODE_SCHEMA);
}

Test(envelope, hops_carry_the_origin)
{
        struct hop hop = {.attempts = 2, .step = 1, .not_before_wall_ms = 99};
        size_t count;
        struct header *out;
        struct delivery seen;

        header("x-own", "kept");
        header("mr-attempts", "1");
        header("mr-origin-topic", "enrich.retrieve.interactive");
        header("mr-origin-partition", "5");
        header("mr-origin-offset", "77");
        header("mr-origin-timestamp", "900000");
        cr_assert_eq(decode(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\"}"), 0);
        cr_assert_eq(request.attempts, 1);
        cr_assert_eq(request.origin_timestamp_ms, 900000);
        seen = (struct delivery){.headers = headers, .header_count = header_count};
        out = envelope_hop_headers(&seen, &request, &hop, arena, &count);
        seen = (struct delivery){.headers = out, .header_count = count};
        cr_assert(span_is(delivery_header(&seen, "x-own"), "kept"));
        cr_assert(span_is(delivery_header(&seen, "mr-attempts"), "2"));
        cr_assert(span_is(delivery_header(&seen, "mr-step"), "1"));
        cr_assert(span_is(delivery_header(&seen, "mr-not-before"), "99"));
        cr_assert(span_is(delivery_header(&seen, "mr-origin-topic"), "enrich.retrieve.interactive"));
        cr_assert(span_is(delivery_header(&seen, "mr-origin-offset"), "77"));
        for (size_t i = 0, attempts = 0; i < count; i++) {
                attempts += strcmp(out[i].name, "mr-attempts") == 0;
                cr_assert(attempts <= 1, "replaced, never appended");
        }
}

Test(envelope, the_number_within_a_job_goes_with_hops_letters_and_replays)
{
        const struct deadletter letter = {.worker = "w1"};
        struct hop hop = {.attempts = 2};
        struct delivery seen;
        size_t count;
        struct header *out;

        header("mr-job-seq", "4711");
        cr_assert_eq(decode(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\",\"job\":\"j\"}"), 0);
        cr_assert_eq(request.job_seq, 4711);
        cr_assert(span_is(request.job, "j"));
        out = envelope_hop_headers(&(struct delivery){0}, &request, &hop, arena, &count);
        seen = (struct delivery){.headers = out, .header_count = count};
        cr_assert(span_is(delivery_header(&seen, "mr-job-seq"), "4711"));
        out = deadletter_headers(&(struct delivery){0}, &request, &letter, arena, &count);
        seen = (struct delivery){.headers = out, .header_count = count};
        cr_assert(span_is(delivery_header(&seen, "mr-job-seq"), "4711"));
        cr_assert(envelope_replayed_header("mr-job-seq") && envelope_replayed_header("x-own") && !envelope_replayed_header("mr-attempts"));
}

Test(envelope, the_job_is_known_even_of_a_request_that_is_refused)
{
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":5,\"job\":\"j\"}", CODE_SCHEMA);
        cr_assert(span_is(request.job, "j"));
        cr_assert_eq(request.job_seq, -1, "without a header there is no number");
        header("mr-job-seq", "-5");
        refused(KIND_EMBED, "{\"id\":\"a\",\"input\":5,\"job\":7}", CODE_SCHEMA);
        cr_assert_eq(request.job.len, 0);
        cr_assert_eq(request.job_seq, -1);
}

static bool peek(const char *text, struct span *id, struct span *tenant)
{
        return envelope_peek(span_of(text), id, tenant);
}

Test(envelope_peek, finds_ids_in_broken_text)
{
        struct span id, tenant;

        cr_assert(peek("{\"id\":\"a\",\"input\":NaN}", &id, &tenant) && span_is(id, "a") && span_is(tenant, "default"));
        cr_assert(peek("{\"x\":[1,{\"id\":\"no\"}],\"tenant\":\"t\",\"id\":\"b\"}", &id, &tenant) && span_is(id, "b") && span_is(tenant, "t"));
        cr_assert(peek("{\"tenant\":\"t\",\"id\":\"b\",\"input\":\"cut", &id, &tenant) && span_is(tenant, "t"));
        cr_assert_not(peek("{\"id\":\"b\",\"input\":\"cut", &id, &tenant), "the tenant could have followed");
        cr_assert_not(peek("{\"id\":\"a\",\"id\":\"b\"}", &id, &tenant), "which one?");
        cr_assert_not(peek("{\"id\":\"a\",\"tenant\":7}", &id, &tenant));
        cr_assert_not(peek("{\"id\":\"a b\"}", &id, &tenant));
        cr_assert_not(peek("", &id, &tenant));
        cr_assert_not(peek("[\"id\"]", &id, &tenant));
        cr_assert_not(peek("{\"i\\u0064\":\"a\"}", &id, &tenant));
}
