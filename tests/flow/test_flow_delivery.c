/* Nothing paid twice: what a provider has answered is kept, whatever fails behind it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/own.h"
#include "tests/flow/flow_rig.h"

TestSuite(flow_delivery, .init = flow_up, .fini = flow_down, .timeout = 120);

static void one_text_a_call(struct settings *settings)
{
        for (size_t i = 0; i < settings->model_count; i++)
                settings->models[i].batch_max = 1;
}

Test(flow_delivery, a_document_pays_once_for_a_batch_though_a_later_one_fails)
{
        flow_restart(one_text_a_call);
        flow_submit("ingest", "{\"id\":\"half\",\"collection\":\"paid\",\"chunking\":{\"strategy\":\"sentence\",\"size\":4,\"overlap\":0},\"document\":"
                              "{\"id\":\"d\",\"text\":\"One is the first. Two is the second. Three fails @@500@@ always.\"}}");
        cr_assert_str_eq(flow_ending("half"), "failed dependency.unavailable");
        cr_assert_eq(flow_stub_count("embeddings"), 2 + 3, "two that went well, and three attempts at the third");
        cr_assert_str_eq(flow_redis("HLEN mr:{default:half}:ledger"), "2");
        cr_assert_eq(strlen(flow_redis("TTL mr:{default:half}:ledger")), 6, "some of 604,800 s");
}

Test(flow_delivery, an_ingested_document_leaves_no_vectors_in_the_ledger)
{
        json_t *tree;

        flow_submit("ingest", "{\"id\":\"whole\",\"collection\":\"paid\",\"document\":{\"id\":\"e\",\"text\":\"All is well.\"}}");
        tree = flow_result("default", "whole");
        cr_assert_str_eq(flow_text(tree, "status"), "ok");
        cr_assert_eq(json_integer_value(flow_at(tree, "usage.input_tokens")), 3);
        cr_assert_str_eq(flow_redis("EXISTS mr:{default:whole}:ledger"), "0");
        json_decref(tree);
}

Test(flow_delivery, a_paid_answer_outlives_its_claim)
{
        json_t *tree;

        flow_stub("delay-ms=900");
        flow_submit("embed", "{\"id\":\"orphan\",\"input\":\"hello\",\"model\":\"minilm\"}");
        while (strcmp(flow_redis("EXISTS mr:{default:orphan}:claim"), "1") != 0)
                ;
        flow_redis("DEL mr:{default:orphan}:claim");
        tree = flow_result("default", "orphan");
        cr_assert_str_eq(flow_text(tree, "status"), "ok");
        cr_assert_eq(flow_stub_count("embeddings"), 1, "the answer was stored under a new claim, not bought again");
        json_decref(tree);
}

Test(flow_delivery, a_step_paid_for_outlives_its_claim_too)
{
        json_t *tree;

        flow_stub("delay-ms=900");
        flow_submit("retrieve", "{\"id\":\"lost\",\"collection\":\"paid\",\"query\":\"what is well\",\"mode\":\"dense\",\"then\":[{\"kind\":\"rerank\"}]}");
        while (strcmp(flow_redis("EXISTS mr:{default:lost}:claim"), "1") != 0)
                ;
        flow_redis("DEL mr:{default:lost}:claim");
        tree = flow_result("default", "lost");
        cr_assert_str_eq(flow_text(tree, "status"), "ok");
        cr_assert_eq(flow_stub_count("embeddings"), 1, "neither the embedding nor the step was begun again");
        json_decref(tree);
}

Test(flow_delivery, a_search_pays_for_its_query_once)
{
        json_t *tree;

        flow_submit("retrieve", "{\"id\":\"search\",\"collection\":\"paid\",\"query\":\"what is well\",\"mode\":\"dense\"}");
        tree = flow_result("default", "search");
        cr_assert_str_eq(flow_text(tree, "status"), "ok");
        cr_assert_str_eq(flow_text(tree, "served_from"), "provider");
        cr_assert_str_eq(flow_redis("HLEN mr:{default:search}:ledger"), "1");
        json_decref(tree);
        /* The worker dies before the result is stored: what another one finds. */
        flow_redis("DEL mr:{default:search}:result");
        flow_redis("HSET mr:{default:search}:claim status running lease 0 holder gone");
        flow_submit("retrieve", "{\"id\":\"search\",\"collection\":\"paid\",\"query\":\"what is well\",\"mode\":\"dense\"}");
        tree = flow_result("default", "search");
        cr_assert_str_eq(flow_text(tree, "status"), "ok");
        cr_assert_str_eq(flow_text(tree, "served_from"), "ledger");
        cr_assert_eq(json_integer_value(flow_at(tree, "usage.input_tokens")), 3);
        cr_assert_eq(flow_stub_count("embeddings"), 1);
        json_decref(tree);
}
