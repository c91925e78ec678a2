/* The five kinds and their chains, from a record to a result. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config/base/digest.h"
#include "tests/flow/flow_rig.h"

TestSuite(flow_kinds, .init = flow_up, .fini = flow_down, .timeout = 120);

static void ingest(const char *id, const char *document, const char *text)
{
        char json[2048];

        snprintf(json, sizeof json,
                 "{\"id\":\"%s\",\"collection\":\"docs\",\"document\":{\"id\":\"%s\",\"title\":\"Doc %s\",\"text\":\"%s\",\"metadata\":{\"source_document\":"
                 "\"%s.txt\",\"page_number\":3}}}",
                 id, document, document, text, document);
        flow_submit("ingest", json);
}

/* {"2":17} of an ingest's result, as text for at_least. Static. */
static const char *positions(const char *id)
{
        static char text[256];
        json_t *tree = flow_result("default", id);
        char *dumped;

        cr_assert_str_eq(flow_text(tree, "status"), "ok", "%s", flow_text(tree, "error.message"));
        dumped = json_dumps(flow_at(tree, "result.positions"), JSON_COMPACT);
        snprintf(text, sizeof text, "%s", dumped);
        free(dumped);
        json_decref(tree);
        return text;
}

Test(flow_kinds, embeds_by_the_provider_in_both_encodings)
{
        json_t *floats, *base64;
        float values[384];
        size_t n;

        flow_submit("embed", "{\"id\":\"e1\",\"input\":\"hello\",\"model\":\"minilm\"}");
        flow_submit("embed", "{\"id\":\"e2\",\"input\":[\"hello\",\"world\"],\"model\":\"floats\",\"encoding\":\"base64\"}");
        floats = flow_result("default", "e1");
        base64 = flow_result("default", "e2");
        cr_assert_str_eq(flow_text(floats, "status"), "ok", "%s", flow_text(floats, "error.message"));
        cr_assert_str_eq(flow_text(floats, "model"), "stub/all-MiniLM-L6-v2");
        cr_assert_eq(json_integer_value(flow_at(floats, "result.dimensions")), 384);
        cr_assert_eq(json_array_size(flow_at(base64, "result.embeddings")), 2);
        cr_assert(digest_base64_decode(span_of(flow_text(base64, "result.embeddings.0")), values, sizeof values, &n) && n == sizeof values);
        for (size_t i = 0; i < 384; i++)
                cr_assert_eq((float)json_number_value(json_array_get(flow_at(floats, "result.embeddings.0"), i)), values[i]);
        cr_assert_gt(json_number_value(flow_at(floats, "cost.amount")), 0);
        cr_assert_eq(json_integer_value(flow_at(floats, "attempts")), 1);
        json_decref(floats);
        json_decref(base64);
}

Test(flow_kinds, finds_what_was_ingested)
{
        char json[512];
        json_t *tree;

        ingest("i1", "wal", "Write-ahead logging lets readers and a writer work at the same time.");
        ingest("i2", "fts", "The porter tokenizer stems English words in full-text search.");
        snprintf(json, sizeof json, "{\"id\":\"r1\",\"collection\":\"docs\",\"query\":\"porter stemming\",\"top_k\":2,\"explain\":true,\"at_least\":%s}", positions("i2"));
        positions("i1");
        flow_submit("retrieve", json);
        tree = flow_result("default", "r1");
        cr_assert_str_eq(flow_text(tree, "status"), "ok", "%s", flow_text(tree, "error.message"));
        cr_assert_str_eq(flow_text(tree, "result.hits.0.document"), "fts");
        cr_assert_str_eq(flow_text(tree, "result.hits.0.id"), "fts#0");
        cr_assert_eq(json_integer_value(flow_at(tree, "result.hits.0.ranks.sparse")), 1);
        cr_assert_eq(json_integer_value(flow_at(tree, "result.index_version")), 1);
        json_decref(tree);
}

Test(flow_kinds, another_tenant_sees_nothing)
{
        char json[512];
        json_t *tree;

        ingest("i1", "wal", "Write-ahead logging lets readers and a writer work at the same time.");
        snprintf(json, sizeof json, "{\"id\":\"r1\",\"tenant\":\"other\",\"collection\":\"docs\",\"query\":\"logging\",\"at_least\":%s}", positions("i1"));
        flow_submit("retrieve", json);
        tree = flow_result("other", "r1");
        cr_assert_str_eq(flow_text(tree, "status"), "ok");
        cr_assert_eq(json_array_size(flow_at(tree, "result.hits")), 0);
        json_decref(tree);
}

Test(flow_kinds, replaces_shrinks_and_deletes_documents)
{
        char json[512];
        json_t *tree;

        ingest("i1", "d", "alpha alpha alpha");
        positions("i1");
        ingest("i2", "d", "beta beta beta");
        snprintf(json, sizeof json, "{\"id\":\"r1\",\"collection\":\"docs\",\"query\":\"alpha\",\"mode\":\"sparse\",\"at_least\":%s}", positions("i2"));
        flow_submit("retrieve", json);
        tree = flow_result("default", "r1");
        cr_assert_eq(json_array_size(flow_at(tree, "result.hits")), 0, "the old version is gone");
        json_decref(tree);
        flow_submit("ingest", "{\"id\":\"i3\",\"collection\":\"docs\",\"delete\":true,\"document\":{\"id\":\"d\"}}");
        snprintf(json, sizeof json, "{\"id\":\"r2\",\"collection\":\"docs\",\"query\":\"beta\",\"at_least\":%s}", positions("i3"));
        flow_submit("retrieve", json);
        tree = flow_result("default", "r2");
        cr_assert_eq(json_array_size(flow_at(tree, "result.hits")), 0, "deleted");
        json_decref(tree);
}

Test(flow_kinds, an_older_version_is_superseded)
{
        json_t *tree;

        flow_submit("ingest", "{\"id\":\"v5\",\"collection\":\"docs\",\"document\":{\"id\":\"d\",\"text\":\"new\",\"version\":5}}");
        positions("v5");
        flow_submit("ingest", "{\"id\":\"v4\",\"collection\":\"docs\",\"document\":{\"id\":\"d\",\"text\":\"old\",\"version\":4}}");
        tree = flow_result("default", "v4");
        cr_assert_str_eq(flow_text(tree, "status"), "ok");
        cr_assert(json_is_true(flow_at(tree, "result.superseded")));
        json_decref(tree);
}

Test(flow_kinds, reranks_documents)
{
        json_t *tree;

        flow_submit("rerank", "{\"id\":\"k\",\"query\":\"porter stemming\",\"top_n\":1,\"documents\":[{\"id\":\"a\",\"text\":\"cooking rice\"},"
                              "{\"id\":\"b\",\"text\":\"the porter stemming algorithm\"}]}");
        tree = flow_result("default", "k");
        cr_assert_str_eq(flow_text(tree, "status"), "ok", "%s", flow_text(tree, "error.message"));
        cr_assert_str_eq(flow_text(tree, "result.results.0.id"), "b");
        cr_assert_eq(json_integer_value(flow_at(tree, "result.results.0.index")), 1);
        cr_assert_eq(json_array_size(flow_at(tree, "result.results")), 1);
        json_decref(tree);
}

Test(flow_kinds, asks_the_chat_model)
{
        json_t *tree;

        flow_submit("llm", "{\"id\":\"l\",\"model\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"say this\"}]}");
        tree = flow_result("default", "l");
        cr_assert_str_eq(flow_text(tree, "status"), "ok", "%s", flow_text(tree, "error.message"));
        cr_assert(strstr(flow_text(tree, "result.text"), "say this"));
        cr_assert(json_is_false(flow_at(tree, "result.insufficient")));
        json_decref(tree);
}

static json_t *ask(const char *id, const char *query)
{
        char json[1024];

        snprintf(json, sizeof json,
                 "{\"id\":\"%s\",\"collection\":\"docs\",\"query\":\"%s\",\"at_least\":%s,\"then\":[{\"kind\":\"rerank\",\"top_n\":2},{\"kind\":\"llm\"}]}", id, query,
                 positions("i2"));
        flow_submit("retrieve", json);
        return flow_result("default", id);
}

Test(flow_kinds, a_chain_ends_in_a_cited_answer)
{
        json_t *tree;

        ingest("i1", "wal", "Write-ahead logging lets readers and a writer work at the same time. It is fast.");
        positions("i1");
        ingest("i2", "fts", "The porter tokenizer stems English words in full-text search.");
        tree = ask("c1", "Which tokenizer stems English words?");
        cr_assert_str_eq(flow_text(tree, "status"), "ok", "%s", flow_text(tree, "error.message"));
        cr_assert_str_eq(flow_text(tree, "kind"), "retrieve");
        cr_assert(strstr(flow_text(tree, "result.text"), "porter"), "%s", flow_text(tree, "result.text"));
        cr_assert(json_is_true(flow_at(tree, "result.citations.0.verified")));
        cr_assert_str_eq(flow_text(tree, "result.citations.0.chunk"), "fts#0");
        cr_assert_eq(json_integer_value(flow_at(tree, "result.citations.0.page_number")), 3);
        cr_assert_eq(json_array_size(flow_at(tree, "steps")), 3);
        cr_assert_str_eq(flow_text(tree, "steps.1.kind"), "rerank");
        json_decref(tree);
        tree = ask("c2", "What is the torque of a gearbox bolt?");
        cr_assert_str_eq(flow_text(tree, "result.text"), "I don't have enough information.");
        cr_assert(json_is_true(flow_at(tree, "result.insufficient")));
        json_decref(tree);
}

static void only_retrieve(struct settings *settings)
{
        for (int kind = 0; kind < KIND_COUNT; kind++)
                settings->worker.kinds[kind] = kind == KIND_RETRIEVE;
}

static void all_but_retrieve(struct settings *settings)
{
        for (int kind = 0; kind < KIND_COUNT; kind++)
                settings->worker.kinds[kind] = kind != KIND_RETRIEVE;
}

Test(flow_kinds, a_chain_crosses_workers)
{
        char json[1024];
        json_t *tree;

        ingest("i2", "fts", "The porter tokenizer stems English words in full-text search.");
        snprintf(json, sizeof json, "{\"id\":\"x\",\"collection\":\"docs\",\"query\":\"Which tokenizer stems English words?\",\"at_least\":%s,"
                                    "\"then\":[{\"kind\":\"rerank\"},{\"kind\":\"llm\"}]}", positions("i2"));
        flow_restart(only_retrieve);
        flow_submit("retrieve", json);
        while (strcmp(flow_redis("HGET mr:{default:x}:claim status"), "waiting") != 0)
                ;
        flow_restart(all_but_retrieve);
        tree = flow_result("default", "x");
        cr_assert_str_eq(flow_text(tree, "status"), "ok", "%s", flow_text(tree, "error.message"));
        cr_assert(strstr(flow_text(tree, "result.text"), "porter"));
        cr_assert_str_eq(flow_text(tree, "steps.0.result.hits.0.id"), "fts#0");
        cr_assert_str_eq(flow_text(tree, "source.topic"), "enrich.retrieve.interactive");
        cr_assert_eq(json_integer_value(flow_at(tree, "attempts")), 1);
        json_decref(tree);
}

Test(flow_kinds, a_replica_survives_a_restart)
{
        char path[256], json[512];
        json_t *tree;
        FILE *file;

        ingest("i1", "wal", "Write-ahead logging lets readers and a writer work at the same time.");
        snprintf(json, sizeof json, "{\"id\":\"r1\",\"collection\":\"docs\",\"query\":\"logging\",\"at_least\":%s}", positions("i1"));
        flow_submit("retrieve", json);
        json_decref(flow_result("default", "r1"));
        flow_restart(NULL);
        snprintf(path, sizeof path, "%s/collections/docs.v1/snapshot", flow_settings()->data_dir);
        file = fopen(path, "r");
        cr_assert(file, "%s", path);
        fclose(file);
        flow_submit("retrieve", "{\"id\":\"r2\",\"collection\":\"docs\",\"query\":\"logging\"}");
        tree = flow_result("default", "r2");
        cr_assert_str_eq(flow_text(tree, "result.hits.0.document"), "wal");
        json_decref(tree);
}

static void narrow(struct settings *settings)
{
        settings->worker.inflight_bytes_max = 1 << 20;
}

Test(flow_kinds, heavy_answers_take_their_turn)
{
        char json[16384], id[32];

        flow_restart(narrow);
        for (int i = 0; i < 8; i++) {
                int n = snprintf(json, sizeof json, "{\"id\":\"heavy%d\",\"input\":[", i);

                for (int k = 0; k < 500; k++)
                        n += snprintf(json + n, sizeof json - (size_t)n, "%s\"t%d\"", k ? "," : "", k);
                snprintf(json + n, sizeof json - (size_t)n, "]}");
                flow_submit("embed", json);
        }
        for (int i = 0; i < 8; i++) {
                snprintf(id, sizeof id, "heavy%d", i);
                cr_assert_str_eq(flow_ending(id), "ok", "each is heavier than all that may be under way, and still has its turn");
        }
}

static void short_leases(struct settings *settings)
{
        settings->worker.claim_lease_ms = 1500;
}

Test(flow_kinds, a_slow_writer_keeps_its_document)
{
        static char json[8192];
        int n = snprintf(json, sizeof json, "{\"id\":\"slow\",\"collection\":\"paid\",\"chunking\":{\"strategy\":\"fixed\",\"size\":1,\"overlap\":0},"
                                            "\"document\":{\"id\":\"d\",\"version\":1,\"text\":\"");
        json_t *tree;

        for (int i = 0; i < 320; i++) /* ten batches */
                n += snprintf(json + n, sizeof json - (size_t)n, "w%d ", i);
        snprintf(json + n, sizeof json - (size_t)n, "\"}}");
        flow_restart(short_leases);
        flow_stub("delay-ms=700");
        flow_submit("ingest", json);
        while (flow_stub_count("embeddings") < 10) /* longer than the document's lease of 6 s */
                ;
        flow_submit("ingest", "{\"id\":\"quick\",\"collection\":\"paid\",\"document\":{\"id\":\"d\",\"version\":2,\"text\":\"new\"}}");
        tree = flow_result("default", "slow");
        cr_assert_str_eq(flow_text(tree, "status"), "ok", "%s", flow_text(tree, "error.message"));
        cr_assert(json_is_false(flow_at(tree, "result.superseded")), "it was first, and nobody came between");
        json_decref(tree);
        positions("quick");
        flow_stub("delay-ms=0");
        snprintf(json, sizeof json, "{\"id\":\"r\",\"collection\":\"paid\",\"query\":\"w5 new\",\"at_least\":%s}", positions("quick"));
        flow_submit("retrieve", json);
        tree = flow_result("default", "r");
        cr_assert_eq(json_array_size(flow_at(tree, "result.hits")), 1);
        cr_assert_str_eq(flow_text(tree, "result.hits.0.text"), "new");
        json_decref(tree);
}
