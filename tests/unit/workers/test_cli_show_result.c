#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "config/base/own.h"
#include "workers/cli/show_result.h"

static const struct terminal plain = {.width = 100};

static char *shown(const char *json)
{
        static struct buffer out;
        json_error_t fault;
        json_t *result = json_loads(json, 0, &fault);

        cr_assert(result, "%s", fault.text);
        buffer_fini(&out);
        buffer_init(&out, 1 << 20);
        show_result(&out, &plain, result);
        json_decref(result);
        return out.data;
}

#define CHAIN                                                                                                                      \
        "{\"v\":1,\"id\":\"q1\",\"tenant\":\"acme\",\"kind\":\"retrieve\",\"status\":\"ok\","                                      \
        "\"result\":{\"text\":\"Readers do not block writers. [Source: Write-Ahead Logging, page 1]\",\"finish_reason\":\"stop\"," \
        "\"citations\":[{\"marker\":\"[Source: …]\",\"chunk\":\"wal:1#2\",\"source_document\":\"Write-Ahead Logging\","          \
        "\"page_number\":1,\"verified\":true}],\"insufficient\":false},"                                                           \
        "\"attempts\":1,\"replays\":0,\"model\":\"local/local-answer\",\"served_from\":\"provider\",\"degraded\":[\"dense\"],"     \
        "\"usage\":{\"input_tokens\":120,\"output_tokens\":9,\"cached_tokens\":0},\"cost\":{\"currency\":\"USD\",\"amount\":0."    \
        "00012},"                                                                                                                  \
        "\"timings_ms\":{\"queued\":3,\"provider\":20,\"total\":1240},"                                                            \
        "\"steps\":[{\"kind\":\"retrieve\",\"status\":\"ok\",\"result\":{\"hits\":["                                               \
        "{\"id\":\"wal:1#0\",\"document\":\"wal:1\",\"title\":\"Overview\",\"text\":\"other\",\"score\":0.5,"                      \
        "\"ranks\":{\"dense\":2,\"sparse\":null}},"                                                                                \
        "{\"id\":\"wal:1#2\",\"document\":\"wal:1\",\"title\":\"Write-Ahead Logging\",\"text\":\"Readers do not block writers.\"," \
        "\"score\":0.9,\"metadata\":{\"page_number\":1},\"ranks\":{\"dense\":1,\"sparse\":7}}]}},"                                 \
        "{\"kind\":\"rerank\",\"status\":\"ok\",\"result\":{\"results\":[{\"id\":\"wal:1#2\",\"index\":1,\"score\":0.875,"         \
        "\"text\":\"Readers do not block writers.\"}]}},"                                                                          \
        "{\"kind\":\"llm\",\"status\":\"ok\"}]}"

Test(cli_show_result, shows_answer_sources_passages_bill_and_times)
{
        const char *text = shown(CHAIN);

        cr_assert(strstr(text, "q1 of acme  retrieve → rerank → llm  ok"), "%s", text);
        cr_assert(strstr(text, "  Readers do not block writers. [Source: Write-Ahead Logging, page 1]\n"), "%s", text);
        cr_assert(strstr(text, "Write-Ahead Logging, page 1  wal:1#2  verified"), "%s", text);
        cr_assert(strstr(text, "   1  0.8750  dense   1  sparse   7  wal:1#2  Write-Ahead Logging, page 1"), "%s", text);
        cr_assert_not(strstr(text, "wal:1#0"), "what rerank dropped is not shown: %s", text);
        cr_assert(strstr(text, "cost $0.00012, 120 tokens in, 9 out; local/local-answer"), "%s", text);
        cr_assert(strstr(text, "queued 3 ms, provider 20 ms, total 1.2 s"), "%s", text);
        cr_assert(strstr(text, "degraded: done without dense"), "%s", text);
}

Test(cli_show_result, a_missing_rank_is_a_dash)
{
        const char *text = shown("{\"id\":\"q\",\"kind\":\"retrieve\",\"status\":\"ok\",\"result\":{\"hits\":[{\"id\":\"d#0\","
                                 "\"text\":\"t\",\"score\":1,"
                                 "\"ranks\":{\"dense\":null,\"sparse\":3}}]}}");

        cr_assert(strstr(text, "dense   –  sparse   3"), "%s", text);
}

Test(cli_show_result, shows_what_failed_and_where_to_look)
{
        const char *text = shown(
                "{\"id\":\"q\",\"kind\":\"embed\",\"status\":\"failed\",\"error\":{\"class\":\"dependency\",\"code\":\"timeout\","
                "\"message\":\"no answer\",\"retriable\":true,\"input\":3},\"attempts\":5,\"timings_ms\":{\"total\":9}}");

        cr_assert(strstr(text, "dependency.timeout: no answer (input 3, counted from 0)"), "%s", text);
        cr_assert(strstr(text, "dlq ls"), "%s", text);
        cr_assert(strstr(text, "attempts 5"), "%s", text);
}

Test(cli_show_result, shows_the_other_kinds)
{
        cr_assert(strstr(shown("{\"id\":\"q\",\"kind\":\"embed\",\"status\":\"ok\",\"result\":{\"dimensions\":3,\"embeddings\":[[0."
                               "5,1,2],[1,2,3]]}}"),
                         "2 vectors of 3 numbers; the first begins 0.50000 1.00000 2.00000"));
        cr_assert(strstr(shown("{\"id\":\"q\",\"kind\":\"embed\",\"status\":\"ok\",\"result\":{\"dimensions\":3,\"embeddings\":["
                               "\"AAAA\"]}}"),
                         "base64"));
        cr_assert(strstr(shown("{\"id\":\"q\",\"kind\":\"ingest\",\"status\":\"ok\",\"result\":{\"collection\":\"docs\","
                               "\"document\":\"d1\",\"chunks\":4,"
                               "\"version\":17,\"superseded\":true}}"),
                         "d1 in docs: 4 chunks, version 17 (superseded"));
}

Test(cli_show_result, hostile_members_neither_crash_nor_reach_the_terminal)
{
        static const char *const results[] = {
                "{}",
                "{\"id\":5,\"status\":{},\"result\":[],\"steps\":{},\"error\":7,\"degraded\":{\"a\":1},\"timings_ms\":[1]}",
                "{\"result\":{\"hits\":[1,null,{\"ranks\":5,\"metadata\":[],\"id\":[]}]}}",
                "{\"result\":{\"text\":\"\\u001b[2J\\u009b31m\\u202e\",\"citations\":[null,{\"source_document\":\"\\u001b]0;"
                "x\\u0007\"}]}}",
                "{\"status\":\"\\u001b[31m\",\"degraded\":[\"\\u001b\",1],\"timings_ms\":{\"\\u001b\":1},\"model\":\"\\u001b\"}",
                "{\"steps\":[null,1,{\"kind\":\"retrieve\",\"result\":3},{\"kind\":\"rerank\",\"result\":{\"results\":[{}]}}],"
                "\"result\":{\"text\":\"x\"}}",
        };

        for (size_t i = 0; i < COUNT_OF(results); i++) {
                const char *text = shown(results[i]);

                cr_assert_null(strchr(text, '\033'), "%s", text);
                cr_assert_null(strstr(text, "\xc2\x9b"), "%s", text);
        }
}
