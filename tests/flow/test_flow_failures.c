/* What goes wrong: bad input, bad providers, duplicates, deadlines, an interrupted worker. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/own.h"
#include "tests/flow/flow_rig.h"

TestSuite(flow_failures, .init = flow_up, .fini = flow_down, .timeout = 120);

Test(flow_failures, bad_input_gets_a_letter_and_a_result_and_harms_no_neighbour)
{
        static const struct {
                const char *value, *id, *ending;
        } bad[] = {
                {"{\"id\":\"b1\",\"input\":NaN}", "b1", "failed data.invalid_json"},
                {"{\"id\":\"b2\",\"input\":\"\\u0000\"}", "b2", "failed data.invalid_json"},
                {"{\"id\":\"b3\",\"input\":\"x\",\"modell\":\"m\"}", "b3", "failed data.schema"},
                {"{\"id\":\"b4\",\"input\":\"\xff\"}", "b4", "failed data.invalid_utf8"},
                {"{\"id\":\"b5\",\"input\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", "b5", "failed data.too_deep"},
                {"{\"id\":\"b6\",\"input\":\"x\",\"input\":\"y\"}", "b6", "failed data.invalid_json"},
                {"{\"id\":\"b7\",\"input\":\"\"}", "b7", "failed data.schema"},
                {"{\"id\":\"b8\",\"input\":\"x\",\"model\":\"nobody\"}", "b8", "failed model.not_found"},
        };
        static const char good[] = "{\"id\":\"good\",\"input\":\"x\"}";
        static const char *const unreadable[] = {"", "{", "[]", "{\"id\":\"a b\",\"input\":\"x\"}", "{\"input\":\"x\"}"};

        for (size_t i = 0; i < COUNT_OF(bad); i++)
                flow_publish("embed", "bulk", "same", bad[i].value, strlen(bad[i].value), NULL);
        for (size_t i = 0; i < COUNT_OF(unreadable); i++)
                flow_publish("embed", "bulk", "same", unreadable[i], strlen(unreadable[i]), NULL);
        flow_publish("embed", "bulk", "same", good, strlen(good), NULL);
        cr_assert_str_eq(flow_ending("good"), "ok");
        for (size_t i = 0; i < COUNT_OF(bad); i++)
                cr_assert_str_eq(flow_ending(bad[i].id), bad[i].ending);
        cr_assert_eq(flow_letters("embed", COUNT_OF(bad) + COUNT_OF(unreadable)), COUNT_OF(bad) + COUNT_OF(unreadable));
}

Test(flow_failures, a_letter_keeps_the_record_and_says_why)
{
        static const char *const headers[] = {"x-own", "kept", NULL};
        static const char value[] = "{\"id\":\"q\", \"input\":\"x\", \"collection\":\"no field of embed\"}";
        const char *seen;
        size_t len;

        flow_publish("embed", "bulk", "the-key", value, sizeof value - 1, headers);
        cr_assert_eq(flow_letters("embed", 1), 1);
        seen = flow_letter_value(&len);
        cr_assert(len == sizeof value - 1 && memcmp(seen, value, len) == 0, "byte for byte");
        cr_assert_str_eq(flow_letter_header("x-own"), "kept");
        cr_assert_str_eq(flow_letter_header("mr-dlq-error-class"), "data");
        cr_assert_str_eq(flow_letter_header("mr-dlq-error-code"), "schema");
        cr_assert_str_eq(flow_letter_header("mr-dlq-original-topic"), "enrich.embed.bulk");
        cr_assert_str_eq(flow_letter_header("mr-dlq-worker"), "flow");
        cr_assert(flow_letter_header("mr-dlq-error-message"));
        cr_assert_null(strstr(flow_letter_header("mr-dlq-error-message"), "no field of embed"), "no payload in it");
}

Test(flow_failures, what_is_too_large_is_refused_with_its_id)
{
        size_t len = 70000;
        AUTO_FREE char *value = malloc(len);
        int n = snprintf(value, len, "{\"id\":\"big\",\"input\":\"");

        memset(value + n, 'a', len - (size_t)n);
        memcpy(value + len - 2, "\"}", 2);
        flow_publish("embed", "bulk", NULL, value, len, NULL);
        cr_assert_str_eq(flow_ending("big"), "failed data.too_large");
}

Test(flow_failures, a_document_that_needs_too_much_memory_ends_all_the_same)
{
        size_t len = 64000;
        AUTO_FREE char *value = malloc(len);
        AUTO_FREE char *title = malloc(4097);
        int n;

        memset(title, 't', 4096);
        title[4096] = '\0';
        n = snprintf(value, len, "{\"id\":\"fat\",\"collection\":\"docs\",\"chunking\":{\"strategy\":\"fixed\",\"size\":1,\"overlap\":0},"
                                 "\"document\":{\"id\":\"d\",\"title\":\"%s\",\"text\":\"", title);
        for (int words = 0; words < 9500; words++)
                n += snprintf(value + n, len - (size_t)n, "w ");
        n += snprintf(value + n, len - (size_t)n, "\"}}");
        flow_publish("ingest", "bulk", NULL, value, (size_t)n, NULL);
        cr_assert_str_eq(flow_ending("fat"), "failed data.too_large");
        cr_assert_eq(flow_letters("ingest", 1), 1);
}

Test(flow_failures, unknown_collections_and_bad_filters_are_refused)
{
        flow_submit("retrieve", "{\"id\":\"r1\",\"collection\":\"nowhere\",\"query\":\"x\"}");
        cr_assert_str_eq(flow_ending("r1"), "failed data.unknown_collection");
        flow_submit("ingest", "{\"id\":\"i1\",\"collection\":\"nowhere\",\"document\":{\"id\":\"d\",\"text\":\"t\"}}");
        cr_assert_str_eq(flow_ending("i1"), "failed data.unknown_collection");
        flow_submit("retrieve", "{\"id\":\"r2\",\"collection\":\"docs\",\"query\":\"x\",\"filter\":{\"operator\":\"XOR\",\"conditions\":[]}}");
        cr_assert_str_eq(flow_ending("r2"), "failed data.schema");
}

Test(flow_failures, the_same_request_is_done_once)
{
        int64_t calls;

        flow_submit("embed", "{\"id\":\"once\",\"input\":\"hello\",\"model\":\"minilm\"}");
        cr_assert_str_eq(flow_ending("once"), "ok");
        calls = flow_stub_count("embeddings");
        flow_submit("embed", "{\"id\":\"once\",\"input\":\"hello\",\"model\":\"minilm\",\"reply\":\"list\"}");
        while (strcmp(flow_redis("LLEN mr:{default:once}:wait"), "1") != 0)
                ;
        cr_assert_eq(flow_stub_count("embeddings"), calls, "no second call");
        flow_submit("embed", "{\"id\":\"once\",\"input\":\"another\",\"model\":\"minilm\"}");
        cr_assert_eq(flow_letters("embed", 1), 1);
        cr_assert_str_eq(flow_letter_header("mr-dlq-error-code"), "id_conflict");
        cr_assert_str_eq(flow_ending("once"), "ok", "the first result stays");
        cr_assert_eq(flow_stub_count("embeddings"), calls);
}

Test(flow_failures, errors_that_pass_are_tried_again)
{
        json_t *tree;

        flow_stub("p5xx=1");
        flow_submit("embed", "{\"id\":\"try\",\"input\":\"x\",\"model\":\"minilm\"}");
        cr_assert_str_eq(flow_ending("try"), "failed dependency.unavailable");
        tree = flow_result("default", "try");
        cr_assert_eq(json_integer_value(flow_at(tree, "attempts")), 3);
        cr_assert_eq(flow_stub_count("embeddings"), 3);
        json_decref(tree);
}

Test(flow_failures, errors_that_stay_are_not)
{
        flow_submit("embed", "{\"id\":\"auth\",\"input\":\"@@401@@\",\"model\":\"minilm\"}");
        cr_assert_str_eq(flow_ending("auth"), "failed dependency.auth");
        flow_submit("embed", "{\"id\":\"long\",\"input\":\"@@context@@\",\"model\":\"minilm\"}");
        cr_assert_str_eq(flow_ending("long"), "failed data.context_length");
        flow_submit("embed", "{\"id\":\"nan\",\"input\":\"@@nan@@\",\"model\":\"minilm\"}");
        cr_assert_str_eq(flow_ending("nan"), "failed model.not_finite");
        flow_submit("embed", "{\"id\":\"short\",\"input\":\"@@short@@\",\"model\":\"minilm\"}");
        cr_assert_str_eq(flow_ending("short"), "failed model.dimension_mismatch");
        flow_submit("embed", "{\"id\":\"quota\",\"input\":\"@@quota@@\",\"model\":\"minilm\"}");
        cr_assert_str_eq(flow_ending("quota"), "failed dependency.quota");
        cr_assert_eq(flow_stub_count("embeddings"), 5);
}

Test(flow_failures, a_rate_limit_burns_no_attempt)
{
        json_t *tree;

        flow_stub("p429=1&retry-after=0");
        flow_submit("embed", "{\"id\":\"rl\",\"input\":\"x\",\"model\":\"minilm\"}");
        while (flow_stub_count("s429") < 5)
                ;
        flow_stub("p429=0");
        tree = flow_result("default", "rl");
        cr_assert_str_eq(flow_text(tree, "status"), "ok", "more than attempts_max rate limits later");
        cr_assert_eq(json_integer_value(flow_at(tree, "attempts")), 1);
        json_decref(tree);
}

Test(flow_failures, a_wait_past_memory_goes_through_a_retry_topic)
{
        flow_stub("p429=1&retry-after=6");
        flow_submit("embed", "{\"id\":\"wait\",\"input\":\"x\",\"model\":\"minilm\"}");
        while (strcmp(flow_redis("HGET mr:{default:wait}:claim status"), "waiting") != 0)
                ;
        flow_stub("p429=0");
        cr_assert_str_eq(flow_ending("wait"), "ok");
        cr_assert_eq(flow_stub_count("embeddings"), 2);
}

Test(flow_failures, the_deadline_ends_a_request)
{
        flow_submit("embed", "{\"id\":\"late\",\"input\":\"x\",\"deadline\":\"2020-01-01T00:00:00Z\"}");
        cr_assert_str_eq(flow_ending("late"), "expired serving.deadline");
        flow_submit("embed", "{\"id\":\"hang\",\"input\":\"@@hang@@\",\"model\":\"minilm\",\"timeout_ms\":700}");
        cr_assert(strstr("expired serving.deadline failed dependency.timeout", flow_ending("hang")));
        cr_assert_eq(flow_letters("embed", 2), 2);
}

Test(flow_failures, no_offset_is_committed_before_its_record_ended)
{
        static const char slow[] = "{\"id\":\"slow\",\"input\":\"x\",\"model\":\"minilm\"}", fast[] = "{\"id\":\"fast\",\"input\":\"x\"}";
        json_t *tree;

        flow_stub("delay-ms=700");
        flow_publish("embed", "bulk", "k", slow, strlen(slow), NULL);
        flow_publish("embed", "bulk", "k", fast, strlen(fast), NULL);
        cr_assert_str_eq(flow_ending("fast"), "ok");
        cr_assert_not(flow_has_result("default", "slow"));
        flow_restart(NULL); /* drains: slow ends within drain_ms */
        tree = flow_result("default", "slow");
        cr_assert_eq(flow_stub_count("embeddings"), 1, "once");
        json_decref(tree);
}

Test(flow_failures, replays_better_a_failure)
{
        static const char *const replay[] = {"mr-replays", "1", NULL};
        static const char value[] = "{\"id\":\"again\",\"input\":\"x\",\"model\":\"minilm\"}";
        json_t *tree;

        flow_stub("p5xx=1");
        flow_submit("embed", value);
        cr_assert_str_eq(flow_ending("again"), "failed dependency.unavailable");
        flow_stub("p5xx=0");
        flow_publish("embed", "interactive", NULL, value, sizeof value - 1, replay);
        while (strcmp(flow_redis("HGET mr:{default:again}:claim status"), "ok") != 0)
                ;
        tree = flow_result("default", "again");
        cr_assert_str_eq(flow_text(tree, "status"), "ok");
        cr_assert_eq(json_integer_value(flow_at(tree, "replays")), 1);
        cr_assert_eq(json_integer_value(flow_at(tree, "attempts")), 1);
        json_decref(tree);
}

Test(flow_failures, a_claim_that_vanishes_in_mid_call_is_taken_again)
{
        flow_stub("delay-ms=600");
        flow_submit("embed", "{\"id\":\"gone\",\"input\":\"x\",\"model\":\"minilm\"}");
        while (flow_stub_count("embeddings") < 1)
                ;
        flow_redis("DEL mr:{default:gone}:claim");
        cr_assert_str_eq(flow_ending("gone"), "ok", "worked at once more, not waited for");
}

Test(flow_failures, keys_of_another_type_end_the_request_with_a_letter)
{
        flow_redis("SET mr:{default:odd}:claim foo");
        flow_submit("embed", "{\"id\":\"odd\",\"input\":\"x\"}");
        cr_assert_eq(flow_letters("embed", 1), 1);
        cr_assert_str_eq(flow_letter_header("mr-dlq-error-code"), "internal");
        flow_submit("embed", "{\"id\":\"next\",\"input\":\"x\"}");
        cr_assert_str_eq(flow_ending("next"), "ok");
}

Test(flow_failures, many_headers_leave_room_for_the_letters_own)
{
        static char names[250][8];
        const char *headers[2 * 250 + 1] = {NULL};

        for (size_t i = 0; i < 250; i++) {
                snprintf(names[i], sizeof names[i], "h%zu", i);
                headers[2 * i] = names[i];
                headers[2 * i + 1] = "x";
        }
        flow_publish("embed", "bulk", "k", "{", 1, headers);
        cr_assert_eq(flow_letters("embed", 1), 1);
        cr_assert_str_eq(flow_letter_header("mr-dlq-error-code"), "invalid_json");
        cr_assert_str_eq(flow_letter_header("mr-dlq-original-topic"), "enrich.embed.bulk");
        cr_assert_str_eq(flow_letter_header("h0"), "x");
}

Test(flow_failures, a_foreign_origin_is_not_believed)
{
        static const char *const headers[] = {"mr-origin-topic", "enrich.embed.dlq", "mr-origin-offset", "7", NULL};
        static const char value[] = "{\"id\":\"origin\",\"input\":\"x\"}";
        json_t *tree;

        flow_publish("embed", "bulk", NULL, value, sizeof value - 1, headers);
        tree = flow_result("default", "origin");
        cr_assert_str_eq(flow_text(tree, "source.topic"), "enrich.embed.bulk");
        json_decref(tree);
}

Test(flow_failures, a_hostile_wait_holds_nobody_up)
{
        static const char *const headers[] = {"mr-not-before", "999999999999999999", NULL};
        static const char value[] = "{\"id\":\"never\",\"input\":\"x\",\"timeout_ms\":2500}";

        flow_publish("embed", "retry.1s", "k", value, sizeof value - 1, headers);
        flow_publish("embed", "retry.1s", "k", "{\"id\":\"behind\",\"input\":\"x\"}", 27, NULL);
        cr_assert_str_eq(flow_ending("behind"), "ok");
}

static void drop_nothing(struct settings *settings)
{
        settings->worker.drain_ms = 200;
}

Test(flow_failures, a_drain_gives_claims_back)
{
        flow_restart(drop_nothing);
        flow_stub("delay-ms=900");
        flow_submit("embed", "{\"id\":\"left\",\"input\":\"x\",\"model\":\"minilm\"}");
        while (flow_stub_count("embeddings") < 1)
                ;
        flow_stop();
        cr_assert_str_eq(flow_redis("HGET mr:{default:left}:claim status"), "waiting");
        flow_restart(NULL);
        cr_assert_str_eq(flow_ending("left"), "ok", "redelivered");
}
