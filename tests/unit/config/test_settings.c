/* What a good configuration becomes. */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/own.h"
#include "config/load.h"

static struct faults faults;

static void settings_drop(struct settings **settings)
{
        settings_unref(*settings);
}
#define AUTO_SETTINGS AUTO(settings_drop) struct settings

static struct settings *load(const char *text)
{
        struct settings *settings = settings_load_text(span_of(text), "conf/m.yaml", &faults);

        cr_assert(settings, "%s", faults.count ? faults.list[0].text : "?");
        return settings;
}

Test(settings, defaults_are_the_contracts)
{
        AUTO_SETTINGS *s = settings_default(&faults);

        cr_assert(s);
        cr_assert_eq(faults_total(&faults), 0);
        cr_assert_str_eq(s->kafka.brokers, "127.0.0.1:9092");
        cr_assert_str_eq(s->kafka.prefix, "enrich");
        cr_assert_eq(s->kafka.partitions, 8);
        cr_assert_eq(s->kafka.replication, 1);
        cr_assert_eq(s->kafka.option_count, 0);
        cr_assert_str_eq(s->redis.url, "redis://127.0.0.1:6379/0");
        cr_assert_str_eq(s->redis.prefix, "mr");
        cr_assert_eq(s->redis.result_ttl_s, 86400);
        cr_assert_eq(s->redis.dedupe_ttl_s, 172800);
        cr_assert_eq(s->redis.ledger_ttl_s, 604800);
        cr_assert_eq(s->redis.wait_replicas, 0);
        cr_assert_null(s->redis.password);
        cr_assert_str_eq(s->admin.listen, "127.0.0.1:9464");
        cr_assert_null(s->admin.token);
        cr_assert_str_eq(s->data_dir, "./var");
        cr_assert_str_eq(s->folder, ".");
        cr_assert(*s->worker.name);
        for (int kind = 0; kind < KIND_COUNT; kind++)
                cr_assert(s->worker.kinds[kind]);
        cr_assert(s->worker.lanes[LANE_INTERACTIVE] && s->worker.lanes[LANE_BULK]);
        cr_assert_eq(s->worker.inflight_max, 256);
        cr_assert_eq(s->worker.inflight_bytes_max, 67108864);
        cr_assert_eq(s->worker.drain_ms, 10000);
        cr_assert_eq(s->worker.payload_bytes_max, 1048576);
        cr_assert_eq(s->worker.claim_lease_ms, 15000);
        cr_assert_eq(s->worker.search_threads, 1);
        cr_assert_eq(s->retry.attempts_max, 5);
        cr_assert_eq(s->retry.base_ms, 200);
        cr_assert_eq(s->retry.cap_ms, 60000);
        cr_assert_eq(s->retry.delay_count, 3);
        cr_assert_str_eq(s->retry.delays[1], "1m");
        cr_assert_eq(s->retry.delays_ms[0], 5000);
        cr_assert_eq(s->retry.delays_ms[2], 600000);
        cr_assert_eq(s->retry.budget_ratio, 0.1);
        cr_assert_eq(s->flood.ratio, 0.5);
        cr_assert_eq(s->flood.min, 100);
        cr_assert_eq(s->flood.window_s, 60);
        cr_assert_eq(s->lanes[LANE_INTERACTIVE].share, 0.7);
        cr_assert_eq(s->lanes[LANE_INTERACTIVE].timeout_ms, 30000);
        cr_assert_eq(s->lanes[LANE_BULK].share, 0.3);
        cr_assert_eq(s->lanes[LANE_BULK].timeout_ms, 3600000);
        cr_assert_eq(s->tenant_count, 0);
        cr_assert_str_eq(s->opensearch.url, "http://127.0.0.1:9200");
}

Test(settings, local_provider_models_and_docs_are_built_in)
{
        AUTO_SETTINGS *s = settings_default(&faults);
        const struct model_settings *embed;

        cr_assert(s);
        cr_assert_eq(s->provider_count, 1);
        cr_assert_str_eq(s->providers[0].name, "local");
        cr_assert_eq(s->providers[0].type, PROVIDER_LOCAL);
        cr_assert_str_eq(s->providers[0].base_url, "");
        cr_assert_null(s->providers[0].api_key);
        cr_assert_eq(s->providers[0].concurrency_max, 64);
        cr_assert_eq(s->model_count, 3);
        embed = settings_model(s, "local-embed", 11);
        cr_assert(embed);
        cr_assert_eq(embed->kind, KIND_EMBED);
        cr_assert_eq(embed->dimensions, 384);
        cr_assert_eq(embed->provider, 0);
        cr_assert_eq(embed->price.input_per_mtok, 0);
        cr_assert_lt(embed->price.cached_input_per_mtok, 0);
        cr_assert_eq(s->default_model[KIND_EMBED], (size_t)(embed - s->models));
        cr_assert_str_eq(s->models[s->default_model[KIND_RERANK]].name, "local-rerank");
        cr_assert_str_eq(s->models[s->default_model[KIND_LLM]].name, "local-answer");
        cr_assert_eq(s->default_model[KIND_INGEST], SIZE_MAX);
        cr_assert_null(settings_model(s, "local-embed", 10));
        cr_assert_null(settings_model(s, "", 0));
        cr_assert_eq(s->collection_count, 1);
        cr_assert_eq(settings_collection(s, "docs", 4), &s->collections[0]);
        cr_assert_null(settings_collection(s, "doc", 3));
        cr_assert_eq(s->collections[0].model, s->default_model[KIND_EMBED]);
        cr_assert_str_eq(s->collections[0].language, "english");
        cr_assert_eq(s->collections[0].k1, 1.2);
        cr_assert_eq(s->collections[0].chunking.size, 512);
        cr_assert_eq(s->collections[0].chunking.overlap, 50);
        cr_assert_eq(s->collections[0].fusion.depth, 50);
        cr_assert(s->collections[0].sq8);
}

Test(settings, example_file_is_valid_and_says_what_it_says)
{
        AUTO_SETTINGS *s = settings_load("config/example.yaml", &faults);

        cr_assert(s, "%s", faults.count ? faults.list[0].text : "?");
        cr_assert_str_eq(s->folder, "config");
        cr_assert_eq(s->provider_count, 2);
        cr_assert_str_eq(s->providers[0].base_url, "http://127.0.0.1:8080/v1");
        cr_assert_eq(s->providers[0].rpm, 6000);
        cr_assert_eq(s->providers[0].encoding, ENCODING_BASE64);
        cr_assert_str_eq(s->providers[1].name, "local");
        cr_assert_eq(s->model_count, 5);
        cr_assert_str_eq(s->models[0].fallback[0], "local-embed");
        cr_assert_eq(s->models[1].price.cached_input_per_mtok, 0.075);
        cr_assert_eq(s->models[s->collections[0].model].dimensions, 384);
        cr_assert_str_eq(s->models[s->collections[0].model].name, "minilm");
        cr_assert_eq(s->kafka.option_count, 1);
        cr_assert_str_eq(s->kafka.options[0].key, "security.protocol");
        cr_assert_str_eq(s->kafka.options[0].value, "plaintext");
        cr_assert_null(s->opensearch.password);
        cr_assert_eq(s->tenant_count, 1);
        cr_assert_null(s->tenants[0].prefix, "the common prefix is nothing of its own");
        cr_assert_eq(s->tenants[0].budgets[0].window_ms, 86400000);
        cr_assert_eq(s->tenants[0].budgets[0].usd, 10);
        cr_assert_lt(s->tenants[0].budgets[0].tokens, 0);
        cr_assert_eq(s->tenants[0].budgets[1].tokens, 1000000);
        cr_assert_lt(s->tenants[0].budgets[1].usd, 0);
        cr_assert_eq(s->tenants[0].on_exhausted, EXHAUSTED_PARK);
}

Test(settings, takes_every_type)
{
        AUTO_SETTINGS *s = load(
                "kafka: {options: {linger.ms: 5, ssl.verify: true, x: \"y: z\", f: 1.50}}\n"
                "redis: {cluster: true, username: u, password: \"p#1\"}\n"
                "worker: {kinds: [llm], lanes: [bulk], name: w-1}\n"
                "retry: {delays: [250ms, 1s, 2h, 1d]}\n"
                "collections:\n"
                "  - name: a\n"
                "    fusion: {method: zscore, alpha: 0, depth: 7}\n"
                "    vectors: {type: hnsw, sq8: false, metric: inner_product}\n"
                "    chunking: {strategy: sentence, size: 40}\n"
                "    backend: opensearch\n"
                "    shared_from: [public, x_y]\n"
                "tenants: [{name: t, prefix: own, on_exhausted: fallback, budgets: [{window: 1mo, tokens: 5, rolling: true}]}]\n");

        cr_assert_str_eq(s->folder, "conf");
        cr_assert_eq(s->kafka.option_count, 4);
        cr_assert_str_eq(s->kafka.options[0].value, "5");
        cr_assert_str_eq(s->kafka.options[1].value, "true");
        cr_assert_str_eq(s->kafka.options[2].value, "y: z");
        cr_assert_str_eq(s->kafka.options[3].value, "1.50");
        cr_assert(s->redis.cluster);
        cr_assert_str_eq(s->redis.password, "p#1");
        cr_assert(s->worker.kinds[KIND_LLM] && !s->worker.kinds[KIND_EMBED] && !s->worker.lanes[LANE_INTERACTIVE]);
        cr_assert_str_eq(s->worker.name, "w-1");
        cr_assert_eq(s->retry.delay_count, 4);
        cr_assert_eq(s->retry.delays_ms[0], 250);
        cr_assert_eq(s->retry.delays_ms[3], 86400000);
        cr_assert_eq(s->collections[0].fusion.method, FUSION_ZSCORE);
        cr_assert_eq(s->collections[0].fusion.alpha, 0);
        cr_assert_eq(s->collections[0].vectors_type, VECTORS_HNSW);
        cr_assert(!s->collections[0].sq8);
        cr_assert_eq(s->collections[0].metric, METRIC_INNER_PRODUCT);
        cr_assert_eq(s->collections[0].chunking.strategy, CHUNK_SENTENCE);
        cr_assert_eq(s->collections[0].chunking.overlap, 4, "an overlap that was not asked for gives way");
        cr_assert_eq(s->collections[0].backend, BACKEND_OPENSEARCH);
        cr_assert_eq(s->collections[0].shared_from_count, 2);
        cr_assert_str_eq(s->collections[0].shared_from[1], "x_y");
        cr_assert_str_eq(s->tenants[0].prefix, "own");
        cr_assert_eq(s->tenants[0].on_exhausted, EXHAUSTED_FALLBACK);
        cr_assert_eq(s->tenants[0].budgets[0].window_ms, 0);
        cr_assert(s->tenants[0].budgets[0].rolling);
}

Test(settings, normalises_what_it_can)
{
        AUTO_SETTINGS *s = load("providers: [{name: a, type: tei, base_url: \"http://h:1/v1//\", api_key: \"\"}]\n"
                                "lanes: {interactive: {share: 0.9}}\n"
                                "collections: []\n"
                                "defaults: {rerank: r}\n"
                                "models: [{name: r, kind: rerank, provider: a, model: x}]\n");

        cr_assert_str_eq(s->providers[0].base_url, "http://h:1/v1");
        cr_assert_null(s->providers[0].api_key);
        cr_assert_float_eq(s->lanes[LANE_BULK].share, 0.1, 1e-9);
        cr_assert_eq(s->collection_count, 0);
        cr_assert_eq(s->default_model[KIND_RERANK], 0);
        cr_assert_eq(s->models[1].provider, 1, "built-in models refer to the provider behind the configured ones");
}

Test(settings, fills_in_secrets_within_strings)
{
        struct settings *s;

        setenv("MILLRACE_TEST_USER", "ann", 1);
        setenv("MILLRACE_TEST_PASSWORD", "p:w ${env:HOME}", 1);
        s = load(
                "redis: {url: \"redis://h\", username: \"x-${env:MILLRACE_TEST_USER}-y\", "
                 "password: \"${env:MILLRACE_TEST_PASSWORD}\"}\n"
                "kafka: {options: {sasl.password: \"${env:MILLRACE_TEST_USER}$${x}\"}}\n"
                "worker: {name: \"${env:MILLRACE_TEST_USER}\"}\n");
        cr_assert_str_eq(s->redis.username, "x-ann-y");
        cr_assert_str_eq(s->redis.password, "p:w ${env:HOME}", "what was filled in is not looked at again");
        cr_assert_str_eq(s->kafka.options[0].value, "ann${x}");
        cr_assert_str_eq(s->worker.name, "ann");
        settings_unref(s);
}

Test(settings, lives_as_long_as_its_last_reference)
{
        struct settings *s = settings_default(&faults);

        cr_assert_eq(settings_ref(s), s);
        settings_unref(s);
        cr_assert_str_eq(s->kafka.prefix, "enrich");
        settings_unref(s);
        settings_unref(NULL);
}

Test(settings, knows_kinds_and_lanes_by_name)
{
        cr_assert_eq(kind_of("llm", 3), KIND_LLM);
        cr_assert_eq(kind_of("llmx", 3), KIND_LLM);
        cr_assert_eq(kind_of("ll", 2), -1);
        cr_assert_eq(kind_of("", 0), -1);
        cr_assert_eq(lane_of("bulk", 4), LANE_BULK);
        cr_assert_eq(lane_of("Bulk", 4), -1);
        cr_assert_str_eq(kind_names[KIND_RETRIEVE], "retrieve");
        cr_assert_str_eq(lane_names[LANE_INTERACTIVE], "interactive");
}
