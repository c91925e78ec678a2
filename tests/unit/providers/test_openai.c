#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/digest.h"
#include "config/base/own.h"
#include "providers/formats/openai.h"
#include "tests/unit/providers/call_rig.h"

static const struct span two[] = {{"one", 3}, {"two \"2\"", 7}};

struct golden {
        struct rig rig;
        struct call call;
        struct error err;
};

static void golden_init(struct golden *golden, size_t model)
{
        rig_init(&golden->rig, 1);
        rig_call_init(&golden->rig, &golden->call, model);
        golden->call.embed.texts = two;
        golden->call.embed.count = 2;
        error_clear(&golden->err);
}

static void golden_fini(struct golden *golden)
{
        rig_fini(&golden->rig);
}

/* The body lies in memory of exactly its size and the NUL. */
static int parse(struct golden *golden, const char *body)
{
        char *exact = strdup(body);
        int result;

        arena_reset(golden->rig.arena);
        golden->call.vectors = NULL;
        error_clear(&golden->err);
        result = format_openai.parse(&golden->call, span_of(exact), &golden->err);
        free(exact);
        return result;
}

static void expect_code(struct golden *golden, const char *body, enum error_code code)
{
        cr_assert_eq(parse(golden, body), -1, "%s", body);
        cr_assert_eq(golden->err.code, code, "%s gave %s: %s", body, error_code_name(golden->err.code), golden->err.message);
}

static void expect_body(struct golden *golden, const char *wanted)
{
        struct buffer body;

        buffer_init(&body, 65536);
        cr_assert_eq(format_openai.render(&golden->call, &body, NULL), 0);
        cr_assert_str_eq(body.data, wanted);
        buffer_fini(&body);
}

/* ---- embeddings ---- */

Test(openai, asks_for_embeddings)
{
        AUTO(golden_fini) struct golden golden = {0};

        golden_init(&golden, RIG_MINILM);
        expect_body(&golden, "{\"model\":\"all-MiniLM\",\"input\":[\"one\",\"two \\\"2\\\"\"],\"encoding_format\":\"base64\"}");
        golden.rig.providers[RIG_HTTP].encoding = ENCODING_FLOAT;
        golden.call.embed.dimensions = 2;
        golden.call.embed.count = 1;
        expect_body(&golden, "{\"model\":\"all-MiniLM\",\"input\":[\"one\"],\"encoding_format\":\"float\",\"dimensions\":2}");
}

static void check_two(struct golden *golden)
{
        static const float wanted[8] = {0.5f, -1, 2, 0.25f, 1, 2, 3, 4};

        cr_assert_eq(golden->call.dimensions, 4);
        cr_assert_eq(memcmp(golden->call.vectors, wanted, sizeof wanted), 0);
        cr_assert_eq(golden->call.usage.input_tokens, 9);
}

Test(openai, reads_floats_in_order)
{
        AUTO(golden_fini) struct golden golden = {0};

        golden_init(&golden, RIG_MINILM);
        cr_assert_eq(parse(&golden, "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.5,-1,2,0.25]},"
                                    "{\"object\":\"embedding\",\"index\":1,\"embedding\":[1,2,3,4]}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9}}"),
                     0);
        check_two(&golden);
}

Test(openai, places_vectors_by_index_whatever_the_members_order)
{
        AUTO(golden_fini) struct golden golden = {0};

        golden_init(&golden, RIG_MINILM);
        cr_assert_eq(parse(&golden, " { \"usage\" : {\"total_tokens\":9,\"prompt_tokens\":9,\"x\":[1]} , \"data\" : [ {\"embedding\":[1,2,3,4],\"index\":1,\"x\":{\"y\":null}} ,"
                                    " {\"index\":0,\"embedding\": [ 0.5 , -1 , 2 , 0.25 ] } ] , \"unknown\":[[{}],\"\\u00e4\\n\",true,false,null,-1.5e3]}\n"),
                     0);
        check_two(&golden);
}

Test(openai, reads_base64_also_with_escaped_slashes)
{
        const float first[4] = {0.5f, -1, 2, 0.25f}, slashy[4] = {1, 2, 3, 4};
        char texts[2][25] = {{0}}, escaped[64], body[512];
        AUTO(golden_fini) struct golden golden = {0};
        size_t len = 0;

        digest_base64_encode(first, sizeof first, texts[0]);
        digest_base64_encode(slashy, sizeof slashy, texts[1]);
        for (const char *p = texts[0]; *p; p++) {
                if (*p == '/')
                        escaped[len++] = '\\';
                escaped[len++] = *p;
        }
        escaped[len] = '\0';
        snprintf(body, sizeof body, "{\"data\":[{\"index\":0,\"embedding\":\"%s\"},{\"embedding\":\"%s\",\"index\":1}],\"usage\":{\"prompt_tokens\":9}}", escaped, texts[1]);
        golden_init(&golden, RIG_MINILM);
        cr_assert_eq(parse(&golden, body), 0, "%s", golden.err.message);
        check_two(&golden);
}

Test(openai, takes_the_dimensions_from_the_first_vector_when_none_are_known)
{
        AUTO(golden_fini) struct golden golden = {0};

        golden_init(&golden, RIG_MINILM);
        golden.rig.models[RIG_MINILM].dimensions = 0;
        cr_assert_eq(parse(&golden, "{\"data\":[{\"index\":1,\"embedding\":[1,2]},{\"index\":0,\"embedding\":[3,4]}]}"), 0);
        cr_assert_eq(golden.call.dimensions, 2);
        cr_assert_float_eq(golden.call.vectors[0], 3, 0);
        expect_code(&golden, "{\"data\":[{\"index\":1,\"embedding\":[1,2]},{\"index\":0,\"embedding\":[3]}]}", CODE_DIMENSION_MISMATCH);
}

Test(openai, wants_each_index_once)
{
        AUTO(golden_fini) struct golden golden = {0};

        golden_init(&golden, RIG_MINILM);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]},{\"index\":0,\"embedding\":[1,2,3,4]}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]},{\"index\":2,\"embedding\":[1,2,3,4]}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"index\":-1,\"embedding\":[1,2,3,4]}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"index\":0.0,\"embedding\":[1,2,3,4]}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"index\":99999999999999999999,\"embedding\":[1,2,3,4]}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"embedding\":[1,2,3,4]},{\"index\":1,\"embedding\":[1,2,3,4]}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"index\":0},{\"index\":1,\"embedding\":[1,2,3,4]}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]},{\"index\":1,\"embedding\":[1,2,3,4]},{\"index\":1,\"embedding\":[1,2,3,4]}]}", CODE_BAD_RESPONSE);
}

Test(openai, names_the_guilty_input)
{
        AUTO(golden_fini) struct golden golden = {0};

        golden_init(&golden, RIG_MINILM);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]},{\"index\":1,\"embedding\":[1,2,3]}]}", CODE_DIMENSION_MISMATCH);
        cr_assert_eq(golden.err.input, 1);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4,5]},{\"index\":1,\"embedding\":[1,2,3,4]}]}", CODE_DIMENSION_MISMATCH);
        cr_assert_eq(golden.err.input, 0);
        expect_code(&golden, "{\"data\":[{\"index\":1,\"embedding\":[1,NaN,3,4]}]}", CODE_NOT_FINITE);
        cr_assert_eq(golden.err.input, 1);
        golden.call.embed.count = 1;
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":[1e999,2,3,4]}]}", CODE_NOT_FINITE);
        cr_assert_eq(golden.err.input, -1, "the only one needs no name");
}

Test(openai, tells_not_finite_from_broken)
{
        AUTO(golden_fini) struct golden golden = {0};

        golden_init(&golden, RIG_MINILM);
        golden.call.embed.count = 1;
        expect_code(&golden, "{\"data\":[{\"embedding\":[NaN,2,3,4],\"index\":0}]}", CODE_NOT_FINITE);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":[null,2,3,4]}]}", CODE_NOT_FINITE);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":\"AADAfwAAAAAAAAAAAAAAAA==\"}]}", CODE_NOT_FINITE);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":\"AADA!wAAAAAAAAAAAAAAAA==\"}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":\"AACAPw==\"}]}", CODE_DIMENSION_MISMATCH);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":{}}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":[[1,2,3,4]]}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"data\":[{\"index\":0,\"embedding\":[]}]}", CODE_DIMENSION_MISMATCH);
}

Test(openai, refuses_what_is_no_json)
{
        static const char *const bodies[] = {"", " ", "x", "[]", "{", "{}x", "{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]}]}x", "{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]},]}",
                                             "{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]}],}", "{\"data\":[{\"index\":0 \"embedding\":[1,2,3,4]}]}", "{'data':[]}",
                                             "{\"a\":\"\x01\",\"data\":[]}", "{\"a\":\"\\x\",\"data\":[]}", "{\"a\":\"\\u12g4\",\"data\":[]}", "{\"a\":tru,\"data\":[]}", "{\"a\":01,\"data\":[]}"};
        AUTO(golden_fini) struct golden golden = {0};

        golden_init(&golden, RIG_MINILM);
        golden.call.embed.count = 1;
        for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
                expect_code(&golden, bodies[i], CODE_BAD_RESPONSE);
}

Test(openai, survives_every_truncation)
{
        const char *whole = "{\"usage\":{\"prompt_tokens\":9},\"data\":[{\"embedding\":[1,2,3,4],\"index\":0,\"x\":\"\\u00e4\\\"\"},{\"index\":1,\"embedding\":\"AACAPwAAAEAAAEBAAACAQA==\"}]}";
        AUTO(golden_fini) struct golden golden = {0};
        char *cut = strdup(whole);

        golden_init(&golden, RIG_MINILM);
        cr_assert_eq(parse(&golden, whole), 0);
        for (size_t len = strlen(whole); len-- > 0;) {
                cut[len] = '\0';
                cr_assert_eq(parse(&golden, cut), -1, "%s", cut);
        }
        free(cut);
}

Test(openai, survives_every_changed_byte)
{
        const char *whole = "{\"usage\":{\"prompt_tokens\":9},\"data\":[{\"embedding\":[1,2,3,4],\"index\":0,\"x\":\"\\u00e4\\\"\"},{\"index\":1,\"embedding\":\"AACAPwAAAEAAAEBAAACAQA==\"}]}";
        static const char bytes[] = "\"{}[],:\\0e-.n\x01\xff ";
        AUTO(golden_fini) struct golden golden = {0};
        char *changed = strdup(whole);

        golden_init(&golden, RIG_MINILM);
        for (size_t i = 0; i < strlen(whole); i++)
                for (size_t j = 0; bytes[j]; j++) {
                        changed[i] = bytes[j];
                        if (parse(&golden, changed) < 0)
                                cr_assert_neq(golden.err.code, CODE_NONE);
                        else
                                cr_assert_not_null(golden.call.vectors);
                        changed[i] = whole[i];
                }
        free(changed);
}

Test(openai, bounds_nesting)
{
        enum { DEEP = 100000 };
        AUTO(golden_fini) struct golden golden = {0};
        char *body = malloc(DEEP + 64);
        size_t len;

        golden_init(&golden, RIG_MINILM);
        len = (size_t)snprintf(body, DEEP, "{\"a\":");
        memset(body + len, '[', DEEP);
        body[len + DEEP] = '\0';
        expect_code(&golden, body, CODE_BAD_RESPONSE);
        free(body);
}

Test(openai, keeps_to_the_arena)
{
        AUTO(golden_fini) struct golden golden = {0};

        golden_init(&golden, RIG_MINILM);
        golden.call.arena = arena_new(8);
        cr_assert_eq(format_openai.parse(&golden.call, SPAN("{}"), &golden.err), -1);
        cr_assert_eq(golden.err.code, CODE_INTERNAL);
        arena_free(golden.call.arena);
}

Test(openai, finds_an_error_inside_a_200)
{
        AUTO(golden_fini) struct golden golden = {0};

        golden_init(&golden, RIG_MINILM);
        expect_code(&golden, "{\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"param\":null,\"code\":null}}", CODE_UNAVAILABLE);
        expect_code(&golden, "{\"error\":{\"message\":\"m\",\"type\":\"x\",\"code\":429}}", CODE_RATE_LIMITED);
        expect_code(&golden, "{\"error\":{\"code\":\"context_length_exceeded\"},\"data\":[]}", CODE_CONTEXT_LENGTH);
        expect_code(&golden, "{\"error\":\"busy\"}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{}", CODE_BAD_RESPONSE);
        golden.call.embed.count = 1;
        cr_assert_eq(parse(&golden, "{\"error\":null,\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]}]}"), 0);
}

/* ---- error bodies ---- */

static enum error_code fault_code(int status, const char *body, struct error *err)
{
        struct http_fault fault = {0};

        format_openai.fault(span_of(body), &fault);
        http_status_error(status, &fault, 0, err);
        return err->code;
}

Test(openai, understands_error_bodies)
{
        struct error err;

        cr_assert_eq(fault_code(429, "{\"error\":{\"message\":\"SECRET\",\"type\":\"insufficient_quota\",\"param\":null,\"code\":\"insufficient_quota\"}}", &err), CODE_QUOTA);
        cr_assert_null(strstr(err.message, "SECRET"));
        cr_assert_not_null(strstr(err.message, "insufficient_quota"));
        cr_assert_eq(fault_code(400, "{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\",\"code\":\"context_length_exceeded\"}}", &err), CODE_CONTEXT_LENGTH);
        cr_assert_eq(fault_code(400, "{\"error\":{\"code\":\"content_filter\"}}", &err), CODE_CONTENT_FILTER);
        cr_assert_eq(fault_code(404, "{\"error\":{\"code\":\"model_not_found\"}}", &err), CODE_NOT_FOUND);
        cr_assert_eq(fault_code(503, "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}", &err), CODE_UNAVAILABLE);
        cr_assert_eq(fault_code(500, "{\"error\":{\"code\":500,\"message\":\"input is too large to process. increase the physical batch size\",\"type\":\"server_error\"}}", &err), CODE_CONTEXT_LENGTH);
        cr_assert_eq(fault_code(422, "{\"message\":\"batch size 65 > maximum allowed batch size 64\",\"code\":422,\"error_type\":\"Validation\"}", &err), CODE_BAD_RESPONSE);
        cr_assert_eq(fault_code(413, "{\"message\":\"Input validation error: `inputs` must have less than 512 tokens. Given: 600\",\"error_type\":\"Validation\"}", &err), CODE_CONTEXT_LENGTH);
        cr_assert_eq(fault_code(500, "{\"error\":\"boom\"}", &err), CODE_UNAVAILABLE);
        cr_assert_eq(fault_code(500, "<html>", &err), CODE_UNAVAILABLE);
        cr_assert_eq(fault_code(500, "", &err), CODE_UNAVAILABLE);
        cr_assert_eq(fault_code(401, "[1,2]", &err), CODE_AUTH);
        cr_assert_eq(fault_code(401, "{\"error\":{\"code\":{\"a\":1},\"type\":[]}}", &err), CODE_AUTH);
}

/* ---- chat ---- */

static const struct call_message messages[] = {{{"system", 6}, {"be \"brief\"", 10}}, {{"user", 4}, {"hi", 2}}};

static void chat_init(struct golden *golden)
{
        golden_init(golden, RIG_CHAT);
        golden->call.llm.messages = messages;
        golden->call.llm.count = 2;
}

Test(openai, asks_for_a_chat)
{
        AUTO(golden_fini) struct golden golden = {0};

        chat_init(&golden);
        expect_body(&golden, "{\"model\":\"chat\",\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"brief\\\"\"},{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":64}");
        golden.call.llm.max_tokens = 5;
        golden.call.llm.temperature_set = true;
        golden.call.llm.temperature = 0.25;
        golden.call.llm.response_schema = SPAN("{\"type\":\"object\"}");
        golden.call.llm.count = 1;
        expect_body(&golden, "{\"model\":\"chat\",\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"brief\\\"\"}],\"max_tokens\":5,\"temperature\":0.25,"
                             "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\",\"schema\":{\"type\":\"object\"}}}}");
}

Test(openai, reads_a_chat_answer)
{
        AUTO(golden_fini) struct golden golden = {0};

        chat_init(&golden);
        cr_assert_eq(parse(&golden, "{\"id\":\"x\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hall\\u00f6chen\",\"refusal\":null},\"finish_reason\":\"length\"}],"
                                    "\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":7,\"total_tokens\":37,\"prompt_tokens_details\":{\"cached_tokens\":16}}}"),
                     0);
        cr_assert(span_is(golden.call.text, "Hallöchen"));
        cr_assert_str_eq(golden.call.finish_reason, "length");
        cr_assert_eq(golden.call.usage.input_tokens, 30);
        cr_assert_eq(golden.call.usage.output_tokens, 7);
        cr_assert_eq(golden.call.usage.cached_tokens, 16);
}

Test(openai, takes_a_chat_answer_without_usage_or_reason)
{
        AUTO(golden_fini) struct golden golden = {0};

        chat_init(&golden);
        cr_assert_eq(parse(&golden, "{\"choices\":[{\"message\":{\"content\":\"\"},\"finish_reason\":null}],\"usage\":{\"prompt_tokens\":-5,\"prompt_tokens_details\":{\"cached_tokens\":3}}}"), 0);
        cr_assert_eq(golden.call.text.len, 0);
        cr_assert_str_eq(golden.call.finish_reason, "stop");
        cr_assert_eq(golden.call.usage.input_tokens, 0);
        cr_assert_eq(golden.call.usage.cached_tokens, 0, "never more than there were");
}

Test(openai, tells_refusals_and_filters_apart)
{
        AUTO(golden_fini) struct golden golden = {0};

        chat_init(&golden);
        expect_code(&golden, "{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"I can't\"},\"finish_reason\":\"stop\"}]}", CODE_REFUSAL);
        expect_code(&golden, "{\"choices\":[{\"message\":{\"content\":\"half\"},\"finish_reason\":\"content_filter\"}]}", CODE_CONTENT_FILTER);
        expect_code(&golden, "{\"choices\":[{\"message\":{\"content\":null},\"finish_reason\":\"stop\"}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"choices\":[{}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"choices\":[]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"choices\":{}}", CODE_BAD_RESPONSE);
        expect_code(&golden, "not json", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"choices\":[{\"message\":{\"content\":\"a\\u0000b\"}}]}", CODE_BAD_RESPONSE);
        expect_code(&golden, "{\"error\":{\"type\":\"server_error\"},\"choices\":[{\"message\":{\"content\":\"x\"}}]}", CODE_UNAVAILABLE);
}

Test(openai, wants_json_where_a_schema_was_given)
{
        AUTO(golden_fini) struct golden golden = {0};

        chat_init(&golden);
        golden.call.llm.response_schema = SPAN("{}");
        cr_assert_eq(parse(&golden, "{\"choices\":[{\"message\":{\"content\":\"{\\\"a\\\":1}\"},\"finish_reason\":\"stop\"}]}"), 0);
        expect_code(&golden, "{\"choices\":[{\"message\":{\"content\":\"{\\\"a\\\":\"},\"finish_reason\":\"length\"}]}", CODE_BAD_OUTPUT);
}
