#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "config/base/own.h"
#include "config/load.h"
#include "workers/cli/commands.h"
#include "workers/cli/request_build.h"

static struct arguments arguments;
static struct faults faults;
static struct settings *settings;
static struct request_text request;
static struct error err;

static void set_up(void)
{
        settings = settings_default(&faults);
        cr_assert(settings);
        request_text_init(&request, 1 << 20);
        error_clear(&err);
}

static void tear_down(void)
{
        request_text_fini(&request);
        settings_unref(settings);
}

TestSuite(cli_request, .init = set_up, .fini = tear_down);

/* Words of a command line, ended by NULL, behind "submit". */
#define SUBMIT(...) submit((const char *[]){"submit", __VA_ARGS__, NULL})
static void submit(const char **words)
{
        static char *argv[64];
        int argc = 0;

        for (; words[argc]; argc++)
                argv[argc] = (char *)(uintptr_t)words[argc];
        cr_assert_eq(arguments_read(&arguments, "millrace", &command_submit, argc, argv, stderr), 0);
}

static void assert_value(const char *json)
{
        json_t *have = json_loadb(request.value.data, request.value.len, JSON_REJECT_DUPLICATES, NULL),
               *want = json_loads(json, 0, NULL);

        cr_assert(want, "the test's own JSON");
        cr_assert(json_equal(have, want), "%.*s", (int)request.value.len, request.value.data);
        json_decref(have);
        json_decref(want);
}

static int from_options(enum kind kind)
{
        return request_from_options(&arguments, kind, LANE_INTERACTIVE, settings, &request, &err);
}

static int from_text(enum kind kind, const char *text)
{
        return request_from_text(&arguments, kind, LANE_INTERACTIVE, settings, span_of(text), &request, &err);
}

static int from_line(enum kind kind, const char *text)
{
        return request_from_line(&arguments, kind, LANE_BULK, settings, span_of(text), &request, &err);
}

Test(cli_request, options_make_a_retrieve_chain)
{
        SUBMIT("retrieve", "--id", "q1", "--tenant", "acme", "--collection", "docs", "--query", "backup?", "--top-k", "5",
               "--fusion", "rrf", "--alpha", "0.25", "--explain", "--filter", "{\"field\":\"a\",\"operator\":\"==\",\"value\":1}",
               "--then", "rerank,llm", "--timeout", "5s", "--result-ttl", "60s", "--metadata", "{\"mine\":1}", "--reply", "list");
        cr_assert_eq(from_options(KIND_RETRIEVE), 0, "%s", err.message);
        assert_value("{\"id\":\"q1\",\"tenant\":\"acme\",\"collection\":\"docs\",\"query\":\"backup?\",\"top_k\":5,\"fusion\":{"
                     "\"method\":\"rrf\","
                     "\"alpha\":0.25},\"explain\":true,\"filter\":{\"field\":\"a\",\"operator\":\"==\",\"value\":1},\"then\":[{"
                     "\"kind\":\"rerank\"},"
                     "{\"kind\":\"llm\"}],\"timeout_ms\":5000,\"result_ttl_s\":60,\"metadata\":{\"mine\":1},\"reply\":\"list\"}");
        cr_assert_str_eq(request.id, "q1");
        cr_assert_str_eq(request.tenant, "acme");
        cr_assert_str_eq(request.key, "q1");
}

Test(cli_request, options_make_the_other_kinds)
{
        SUBMIT("embed", "--id", "e", "--input", "one");
        cr_assert_eq(from_options(KIND_EMBED), 0, "%s", err.message);
        assert_value("{\"id\":\"e\",\"input\":\"one\"}");
        SUBMIT("embed", "--id", "e", "--input", "one", "--input", "2");
        cr_assert_eq(from_options(KIND_EMBED), 0, "%s", err.message);
        assert_value("{\"id\":\"e\",\"input\":[\"one\",\"2\"]}");
        SUBMIT("ingest", "--id", "i", "--collection", "docs", "--document", "d1", "--text", "hello", "--title", "T", "--format",
               "markdown");
        cr_assert_eq(from_options(KIND_INGEST), 0, "%s", err.message);
        assert_value("{\"id\":\"i\",\"collection\":\"docs\",\"document\":{\"id\":\"d1\",\"text\":\"hello\",\"title\":\"T\","
                     "\"format\":\"markdown\"}}");
        cr_assert_str_eq(request.key, "default/d1");
        SUBMIT("rerank", "--id", "r", "--query", "q", "--passage", "a", "--passage", "b");
        cr_assert_eq(from_options(KIND_RERANK), 0, "%s", err.message);
        assert_value("{\"id\":\"r\",\"query\":\"q\",\"documents\":[{\"id\":\"1\",\"text\":\"a\"},{\"id\":\"2\",\"text\":\"b\"}]}");
        SUBMIT("llm", "--id", "l", "--system", "be terse", "--message", "hi");
        cr_assert_eq(from_options(KIND_LLM), 0, "%s", err.message);
        assert_value("{\"id\":\"l\",\"messages\":[{\"role\":\"system\",\"content\":\"be "
                     "terse\"},{\"role\":\"user\",\"content\":\"hi\"}]}");
        SUBMIT("llm", "--id", "l", "--prompt", "x@1", "--variable", "topic=1 = 1", "--field", "max_tokens=7", "--field",
               "model=small");
        cr_assert_eq(from_options(KIND_LLM), 0, "%s", err.message);
        assert_value("{\"id\":\"l\",\"prompt\":\"x@1\",\"variables\":{\"topic\":\"1 = 1\"},\"max_tokens\":7,\"model\":\"small\"}");
}

Test(cli_request, makes_an_id_where_none_is_given)
{
        char first[REQUEST_ID_BYTES];

        SUBMIT("embed", "--input", "one");
        cr_assert_eq(from_options(KIND_EMBED), 0, "%s", err.message);
        cr_assert_eq(strlen(request.id), 36);
        memcpy(first, request.id, sizeof first);
        cr_assert_eq(from_options(KIND_EMBED), 0);
        cr_assert_str_neq(request.id, first);
}

Test(cli_request, json_goes_out_byte_for_byte)
{
        static const char json[] = "{ \"id\" : \"q1\",  \"input\": [\"a\\u0062\"] , \"dimensions\":3}";

        SUBMIT("embed");
        cr_assert_eq(from_text(KIND_EMBED, "\n{ \"id\" : \"q1\",  \"input\": [\"a\\u0062\"] , \"dimensions\":3}\n"), 0, "%s",
                     err.message);
        cr_assert_eq(request.value.len, sizeof json - 1);
        cr_assert_eq(memcmp(request.value.data, json, sizeof json - 1), 0);
}

Test(cli_request, what_options_add_goes_before_the_json)
{
        SUBMIT("embed", "--id", "q7", "--tenant", "acme");
        cr_assert_eq(from_text(KIND_EMBED, "{ \"input\": \"x\" }"), 0, "%s", err.message);
        cr_assert_str_eq(request.value.data, "{\"id\":\"q7\",\"tenant\":\"acme\", \"input\": \"x\" }");
}

Test(cli_request, refuses_what_is_said_twice_or_unfit)
{
        SUBMIT("embed", "--tenant", "acme");
        cr_assert_eq(from_text(KIND_EMBED, "{\"id\":\"a\",\"tenant\":\"b\",\"input\":\"x\"}"), -1);
        cr_assert(strstr(err.message, "\"tenant\" stands in the JSON"), "%s", err.message);
        SUBMIT("embed", "--id", "x");
        cr_assert_eq(from_text(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\"}"), -1);
        cr_assert(strstr(err.message, "--id"), "%s", err.message);
        SUBMIT("embed", "--query", "x");
        cr_assert_eq(from_options(KIND_EMBED), -1);
        cr_assert(strstr(err.message, "embed does not take --query"), "%s", err.message);
        SUBMIT("embed", "--field", "nonsense=1", "--input", "x");
        cr_assert_eq(from_options(KIND_EMBED), -1);
        cr_assert_eq(err.code, CODE_SCHEMA);
        SUBMIT("llm", "--field", "a.b.c.d.e.f.g.h.i=1");
        cr_assert_eq(from_options(KIND_LLM), -1);
        SUBMIT("retrieve", "--collection", "docs", "--query", "q", "--then", "summarise");
        cr_assert_eq(from_options(KIND_RETRIEVE), -1);
        cr_assert(strstr(err.message, "--then wants kinds"), "%s", err.message);
}

Test(cli_request, refuses_text_that_is_no_request)
{
        SUBMIT("embed");
        cr_assert_eq(from_text(KIND_EMBED, "{\"id\":"), -1);
        cr_assert_eq(err.code, CODE_INVALID_JSON);
        cr_assert_eq(from_text(KIND_EMBED, "[1]"), -1);
        cr_assert(strstr(err.message, "not a JSON object"), "%s", err.message);
        cr_assert_eq(from_text(KIND_EMBED, "{\"id\":\"a\",\"id\":\"b\",\"input\":\"x\"}"), -1);
        cr_assert_eq(from_text(KIND_EMBED, "{\"id\":\"a b\",\"input\":\"x\"}"), -1);
        cr_assert_eq(err.code, CODE_SCHEMA);
}

Test(cli_request, a_line_is_a_bare_document_or_a_request)
{
        char id[REQUEST_ID_BYTES];

        SUBMIT("ingest", "--collection", "docs", "--file", "x", "--format", "markdown", "--tenant", "acme");
        cr_assert_eq(from_line(KIND_INGEST, "{\"id\":\"d1\",\"title\":\"T\",\"text\":\"hello\"}"), 0, "%s", err.message);
        cr_assert_eq(strncmp(request.id, "ingest-d1-", 10), 0, "%s", request.id);
        cr_assert_eq(strlen(request.id), 22);
        cr_assert_str_eq(request.key, "acme/d1");
        memcpy(id, request.id, sizeof id);
        cr_assert_eq(from_line(KIND_INGEST, "{\"text\":\"hello\",\"title\":\"T\",\"id\":\"d1\"}"), 0);
        cr_assert_str_eq(request.id, id, "the same content, the same id");
        cr_assert_eq(from_line(KIND_INGEST, "{\"id\":\"d1\",\"title\":\"T\",\"text\":\"hello!\"}"), 0);
        cr_assert_str_neq(request.id, id);
        cr_assert_eq(from_line(KIND_INGEST, "{\"_id\":\"d2\",\"text\":\"beir\",\"format\":\"text\"}"), 0, "%s", err.message);
        cr_assert(strstr(request.value.data, "\"document\":{\"text\":\"beir\",\"format\":\"text\",\"id\":\"d2\"}"), "%s",
                  request.value.data);
        cr_assert_eq(
                from_line(KIND_INGEST, "{\"id\":\"mine\",\"collection\":\"docs\",\"document\":{\"id\":\"d3\",\"text\":\"t\"}}"), 0,
                "%s", err.message);
        cr_assert_str_eq(request.id, "mine");
}

Test(cli_request, options_hold_for_lines_that_lack_the_member)
{
        SUBMIT("embed", "--file", "x", "--tenant", "acme", "--model", "minilm", "--timeout", "1m");
        cr_assert_eq(from_line(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\"}"), 0, "%s", err.message);
        assert_value("{\"id\":\"a\",\"input\":\"x\",\"tenant\":\"acme\",\"model\":\"minilm\",\"timeout_ms\":60000}");
        cr_assert_eq(from_line(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\",\"tenant\":\"b\",\"model\":\"other\"}"), 0, "%s",
                     err.message);
        assert_value("{\"id\":\"a\",\"input\":\"x\",\"tenant\":\"b\",\"model\":\"other\",\"timeout_ms\":60000}");
}

Test(cli_request, a_long_document_id_still_makes_a_valid_request_id)
{
        char line[600];

        snprintf(line, sizeof line, "{\"id\":\"%0256d\",\"text\":\"t\"}", 7);
        SUBMIT("ingest", "--collection", "docs", "--file", "x");
        cr_assert_eq(from_line(KIND_INGEST, line), 0, "%s", err.message);
        cr_assert_leq(strlen(request.id), 128);
}

Test(cli_request, a_value_past_the_limit_is_refused)
{
        request_text_fini(&request);
        request_text_init(&request, 40);
        SUBMIT("embed", "--input", "a text that is longer than forty bytes, surely");
        cr_assert_eq(from_options(KIND_EMBED), -1);
        cr_assert_eq(err.code, CODE_TOO_LARGE);
}

Test(cli_request, lines_of_a_job_get_its_name_an_id_and_a_time_limit)
{
        request.job = "nightly";
        request.otherwise_id = "nightly-7";
        request.otherwise_timeout_ms = 86400000;
        SUBMIT("embed");
        cr_assert_eq(from_line(KIND_EMBED, "{\"input\":\"x\"}"), 0, "%s", err.message);
        assert_value("{\"id\":\"nightly-7\",\"job\":\"nightly\",\"timeout_ms\":86400000,\"input\":\"x\"}");
        cr_assert_str_eq(request.id, "nightly-7");
        cr_assert_eq(from_line(KIND_EMBED, "{\"id\":\"own\",\"input\":\"x\",\"timeout_ms\":5,\"job\":\"nightly\"}"), 0, "%s", err.message);
        assert_value("{\"id\":\"own\",\"input\":\"x\",\"timeout_ms\":5,\"job\":\"nightly\"}");
        cr_assert_eq(from_line(KIND_EMBED, "{\"input\":\"x\",\"deadline\":\"2036-11-20T10:00:00Z\"}"), 0, "%s", err.message);
        assert_value("{\"id\":\"nightly-7\",\"job\":\"nightly\",\"input\":\"x\",\"deadline\":\"2036-11-20T10:00:00Z\"}");
        cr_assert_eq(from_line(KIND_EMBED, "{\"input\":\"x\",\"job\":\"another\"}"), -1);
        SUBMIT("embed", "--timeout", "5s");
        cr_assert_eq(from_line(KIND_EMBED, "{\"input\":\"x\"}"), 0, "%s", err.message);
        assert_value("{\"id\":\"nightly-7\",\"job\":\"nightly\",\"timeout_ms\":5000,\"input\":\"x\"}");
}

Test(cli_request, a_bare_document_of_a_job_keeps_its_own_id_for_the_document)
{
        request.job = "nightly";
        request.otherwise_id = "nightly-7";
        SUBMIT("ingest", "--collection", "docs");
        cr_assert_eq(from_line(KIND_INGEST, "{\"id\":\"d1\",\"text\":\"x\"}"), 0, "%s", err.message);
        assert_value("{\"id\":\"nightly-7\",\"job\":\"nightly\",\"collection\":\"docs\",\"document\":{\"id\":\"d1\",\"text\":\"x\"}}");
        cr_assert_str_eq(request.key, "default/d1");
}
