/* Faulty configurations, and exactly what is said about them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/load.h"
#include "config/base/own.h"

static struct faults faults;

/* The faults of a text, each as "line: path: message", joined by line breaks. */
static const char *faults_of(const char *text)
{
        static struct buffer out;
        struct settings *settings = settings_load_text(span_of(text), "m.yaml", &faults);

        cr_assert_eq(settings == NULL, faults_total(&faults) > 0, "settings come without faults only");
        settings_unref(settings);
        buffer_fini(&out);
        buffer_init(&out, 1 << 16);
        faults_print(&faults, &out);
        return out.data ? out.data : "";
}

static void expect(const char *text, const char *wanted)
{
        const char *got = faults_of(text);

        cr_assert_str_eq(got, wanted, "for\n%s\ngot\n%s\nwanted\n%s", text, got, wanted);
}

Test(load, takes_an_empty_text_as_all_defaults)
{
        expect("", "");
        expect("# nothing\n", "");
        expect("---\n", "");
        expect("kafka:\nworker:\nproviders:\n", "");
}

Test(load, names_file_line_and_path)
{
        expect("kafka: {prefix: e}\nworker:\n  inflight_max: 0\n", "m.yaml:3: worker.inflight_max: must be 1…65536\n");
}

Test(load, collects_all_faults_by_line)
{
        expect("redis:\n"
               "  wait_replicas: 99\n"
               "worker:\n"
               "  inflight_max: many\n"
               "  colour: red\n"
               "collections:\n"
               "  - name: docs\n"
               "    model: nope\n"
               "  - name: docs\n"
               "flood: {ratio: 2}\n",
               "m.yaml:2: redis.wait_replicas: must be 0…16\n"
               "m.yaml:4: worker.inflight_max: must be an integer\n"
               "m.yaml:5: worker.colour: unknown key\n"
               "m.yaml:8: collections[0].model: there is no model \"nope\"\n"
               "m.yaml:9: collections[1].name: the name of collections[0] too\n"
               "m.yaml:10: flood.ratio: must be 0.01…1\n");
}

Test(load, suggests_the_key_that_was_meant)
{
        expect("kafka: {borkers: x}\n", "m.yaml:1: kafka.borkers: unknown key; did you mean brokers?\n");
        expect("worker: {inflight_byte_max: 1}\n",
               "m.yaml:1: worker.inflight_byte_max: unknown key; did you mean inflight_bytes_max?\n");
        expect("kafak: {}\n", "m.yaml:1: kafak: unknown key; did you mean kafka?\n");
        expect("<<: {}\n", "m.yaml:1: <<: unknown key\n");
        expect("models: [{name: a, kind: rerank, provider: local, model: local-rerank, prise: {}}]\n",
               "m.yaml:1: models[0].prise: unknown key; did you mean price?\n");
}

Test(load, shows_foreign_keys_printable_and_short)
{
        expect("\"a\\nb\\e[31m\": 1\n", "m.yaml:1: a?b?[31m: unknown key\n");
        expect("? [1, 2]\n: 3\n", "m.yaml:1: a key must be a plain word\n");
}

Test(load, refuses_repeated_keys)
{
        expect("kafka: {prefix: a}\nredis: {}\nkafka: {prefix: b}\n", "m.yaml:3: kafka: given twice, first in line 1\n");
        expect("kafka:\n  prefix: a\n  prefix: a\n", "m.yaml:3: kafka.prefix: given twice, first in line 2\n");
        expect("kafka:\n  options:\n    a.b: 1\n    a.b: 2\n", "m.yaml:4: kafka.options.a.b: given twice, first in line 3\n");
}

Test(load, keeps_types_apart)
{
        expect("kafka: {partitions: \"8\"}\n", "m.yaml:1: kafka.partitions: must be an integer (without quotes)\n");
        expect("kafka: {partitions: 8.0}\n", "m.yaml:1: kafka.partitions: must be an integer\n");
        expect("kafka: {partitions: 0x8}\n", "m.yaml:1: kafka.partitions: must be an integer\n");
        expect("kafka: {partitions: 010}\n", "m.yaml:1: kafka.partitions: must be an integer\n");
        expect("kafka: {partitions: 99999999999999999999}\n", "m.yaml:1: kafka.partitions: must be an integer\n");
        expect("kafka: {partitions: [8]}\n", "m.yaml:1: kafka.partitions: must be an integer\n");
        expect("kafka: {partitions: }\n", "m.yaml:1: kafka.partitions: has no value\n");
        expect("kafka: {partitions: true}\n", "m.yaml:1: kafka.partitions: must be an integer\n");
        expect("kafka: {prefix: 8}\n", "m.yaml:1: kafka.prefix: must be a string (in quotes)\n");
        expect("kafka: {prefix: true}\n", "m.yaml:1: kafka.prefix: must be a string (in quotes)\n");
        expect("kafka: {prefix: ~}\n", "m.yaml:1: kafka.prefix: has no value\n");
        expect("kafka: {prefix: {}}\n", "m.yaml:1: kafka.prefix: must be a string\n");
        expect("redis: {cluster: yes}\n", "m.yaml:1: redis.cluster: must be true or false\n");
        expect("redis: {cluster: \"true\"}\n", "m.yaml:1: redis.cluster: must be true or false\n");
        expect("redis: {cluster: 1}\n", "m.yaml:1: redis.cluster: must be true or false\n");
        expect("flood: {ratio: \"0.5\"}\n", "m.yaml:1: flood.ratio: must be a number (without quotes)\n");
        expect("flood: {ratio: .nan}\n", "m.yaml:1: flood.ratio: must be a number\n");
        expect("flood: {ratio: 1e999}\n", "m.yaml:1: flood.ratio: must be a number\n");
        expect("flood: {ratio: 1}\n", "");
        expect("worker: 5\n", "m.yaml:1: worker: must be a map\n");
        expect("worker: [a]\n", "m.yaml:1: worker: must be a map\n");
        expect("providers: {name: a}\n", "m.yaml:1: providers: must be a list\n");
        expect("providers: [a]\n", "m.yaml:1: providers[0]: must be a map\n");
        expect("- a\n", "m.yaml:1: must be a map of sections: kafka, redis, …\n");
        expect("just text\n", "m.yaml:1: must be a map of sections: kafka, redis, …\n");
}

Test(load, holds_names_to_their_alphabets)
{
        expect("tenants: [{name: Acme}]\n", "m.yaml:1: tenants[0].name: must be 1…64 characters of a-z 0-9 _ -\n");
        expect("tenants: [{name: \"\"}]\n", "m.yaml:1: tenants[0].name: must be 1…64 characters of a-z 0-9 _ -\n");
        expect("collections: [{name: \"a.b\"}]\n", "m.yaml:1: collections[0].name: must be 1…64 characters of A-Z a-z 0-9 _ -\n");
        expect("kafka: {prefix: \"a b\"}\n", "m.yaml:1: kafka.prefix: must be 1…64 characters of A-Z a-z 0-9 . _ -\n");
        expect("kafka: {prefix: \"a\\nb\"}\n", "m.yaml:1: kafka.prefix: holds a control character (a line break?)\n");
        expect("kafka: {prefix: \"a\\0b\"}\n", "m.yaml:1: kafka.prefix: holds a control character (a line break?)\n");
        expect("collections: [{name: a, shared_from: [ok, \"No\"]}]\n",
               "m.yaml:1: collections[0].shared_from[1]: must be 1…64 characters of a-z 0-9 _ -\n");
        expect("worker: {kinds: [embed, imbed, embed]}\n",
               "m.yaml:1: worker.kinds[1]: must be one of ingest, embed, retrieve, rerank, llm; did you mean embed?\n"
               "m.yaml:1: worker.kinds[2]: is named twice\n");
        expect("worker: {lanes: []}\n", "m.yaml:1: worker.lanes: must name one at least\n");
        expect("worker: {lanes: bulk}\n", "m.yaml:1: worker.lanes: must be a list\n");
}

Test(load, names_what_is_required)
{
        expect("providers:\n  - {}\n", "m.yaml:2: providers[0].name: is required\nm.yaml:2: providers[0].type: is required\n");
        expect("providers:\n  - name: a\n    type: openai\n", "m.yaml:3: providers[0].base_url: is required\n");
        expect("models:\n  - name: a\n    kind: embed\n    provider: local\n    model: local-embed\n",
               "m.yaml:3: models[0].dimensions: is required where kind is embed\n");
        expect("tenants:\n  - name: a\n    budgets:\n      - {window: 1d}\n",
               "m.yaml:4: tenants[0].budgets[0].window: a budget needs usd or tokens\n");
        expect("tenants: [{name: a, budgets: [{usd: 1}]}]\n", "m.yaml:1: tenants[0].budgets[0].window: is required\n");
}

Test(load, says_nothing_of_what_follows_from_a_fault)
{
        expect("providers: [{name: \"a b\", type: openai, base_url: \"http://h\"}]\n"
               "models: [{name: m, kind: llm, provider: \"a b\", model: x}]\n",
               "m.yaml:1: providers[0].name: must be 1…64 characters of A-Z a-z 0-9 . _ -\n");
        expect("providers: [{name: a, type: opnai}]\n",
               "m.yaml:1: providers[0].type: must be one of openai, anthropic, cohere, jina, tei, "
               "ollama, local; did you mean openai?\n");
        expect("models: [{name: m, kind: embed, provider: local, model: local-embed, dimensions: none}]\n",
               "m.yaml:1: models[0].dimensions: must be an integer\n");
}

Test(load, refuses_references_to_what_is_not_there)
{
        expect("providers: [{name: tei, type: tei, base_url: \"http://h\"}]\n"
               "models:\n"
               "  - {name: a, kind: llm, provider: tie, model: x}\n"
               "  - {name: b, kind: llm, provider: openai, model: x, fallback: [a, c-c-c]}\n"
               "defaults: {llm: local-anser, rerank: nothing}\n",
               "m.yaml:3: models[0].provider: there is no provider \"tie\"; did you mean tei?\n"
               "m.yaml:4: models[1].provider: there is no provider \"openai\"\n"
               "m.yaml:4: models[1].fallback[1]: there is no model \"c-c-c\"\n"
               "m.yaml:5: defaults.llm: there is no model \"local-anser\"; did you mean local-answer?\n"
               "m.yaml:5: defaults.rerank: there is no model \"nothing\"\n");
}

Test(load, refuses_models_of_the_wrong_kind)
{
        expect("defaults: {embed: local-rerank}\n", "m.yaml:1: defaults.embed: must be a model of kind embed, not rerank\n");
        expect("collections: [{name: a, model: local-answer}]\n",
               "m.yaml:1: collections[0].model: must be a model of kind embed, not llm\n");
        expect("models: [{name: a, kind: rerank, provider: local, model: local-rerank, fallback: [local-embed]}]\n",
               "m.yaml:1: models[0].fallback[0]: must be a model of kind rerank, not embed\n");
        expect("models: [{name: a, kind: llm, provider: local, model: local-rerank}]\n",
               "m.yaml:1: models[0].model: the local provider has local-embed, local-rerank (rerank) and local-answer (llm)\n");
        expect("models: [{name: a, kind: retrieve, provider: local, model: local-rerank}]\n",
               "m.yaml:1: models[0].kind: must be one of embed, rerank, llm\n");
}

Test(load, refuses_fallbacks_that_go_round)
{
        expect("models:\n"
               "  - {name: a, kind: rerank, provider: local, model: local-rerank, fallback: [b]}\n"
               "  - {name: b, kind: rerank, provider: local, model: local-rerank, fallback: [local-rerank, c]}\n"
               "  - {name: c, kind: rerank, provider: local, model: local-rerank, fallback: [a]}\n"
               "  - {name: d, kind: rerank, provider: local, model: local-rerank, fallback: [a]}\n"
               "  - {name: e, kind: rerank, provider: local, model: local-rerank, fallback: [e]}\n",
               "m.yaml:2: models[0].fallback: leads back to the model itself\n"
               "m.yaml:3: models[1].fallback: leads back to the model itself\n"
               "m.yaml:4: models[2].fallback: leads back to the model itself\n"
               "m.yaml:6: models[4].fallback: leads back to the model itself\n");
}

Test(load, refuses_names_given_twice_or_built_in)
{
        expect("providers:\n"
               "  - {name: a, type: tei, base_url: \"http://h\"}\n"
               "  - {name: local, type: local}\n"
               "  - {name: a, type: tei, base_url: \"http://h\"}\n"
               "models: [{name: local-embed, kind: rerank, provider: a, model: x}]\n"
               "tenants: [{name: x}, {name: x}]\n",
               "m.yaml:3: providers[1].name: local is built in: take another name, or leave it out\n"
               "m.yaml:4: providers[2].name: the name of providers[0] too\n"
               "m.yaml:5: models[0].name: local-embed is built in: take another name\n"
               "m.yaml:6: tenants[1].name: the name of tenants[0] too\n");
}

Test(load, checks_addresses)
{
        expect("kafka: {brokers: \"a:1,,b:2\"}\n", "m.yaml:1: kafka.brokers: must be host:port, several separated by commas\n");
        expect("redis: {url: \"http://a\"}\n",
               "m.yaml:1: redis.url: must be redis:// or rediss://[user[:password]@]host[:port][/database]\n");
        expect("redis: {url: \"redis://:pw@a\", password: pw}\n",
               "m.yaml:1: redis.password: the password is in redis.url already: give it once\n");
        expect("redis: {url: \"redis://ann@a\", password: pw}\n", "");
        expect("redis: {url: \"redis://ann:p/w@a/00\", cluster: true}\n", "");
        expect("redis: {url: \"redis://a/3\", cluster: true}\n", "m.yaml:1: redis.url: a cluster has the database 0 only\n");
        expect("redis:\n  sentinel: {}\n",
               "m.yaml:2: redis.sentinel.master: is required\nm.yaml:2: redis.sentinel.nodes: is required\n");
        expect("redis:\n  cluster: true\n  sentinel: {master: mymaster, nodes: [\"a:26379\", b, \"[::1]:7\"]}\n",
               "m.yaml:2: redis.cluster: a cluster has no sentinels: leave out one of the two\n");
        expect("redis:\n  sentinel:\n    master: m\n    nodes: [\"a:b\"]\n    password: \"\"\n",
               "m.yaml:4: redis.sentinel.nodes[0]: must be host:port\n");
        expect("admin: {listen: \"9464\"}\n", "m.yaml:1: admin.listen: must be host:port, or \"\" for none\n");
        expect("admin: {listen: \"\"}\n", "");
        expect("admin: {token: \"\"}\n", "m.yaml:1: admin.token: must not be empty\n");
        expect("providers: [{name: a, type: tei, base_url: \"ftp://h\"}]\n",
               "m.yaml:1: providers[0].base_url: must be an http:// or https:// URL without user, query and fragment\n");
        expect("opensearch: {url: \"h:9200\"}\n",
               "m.yaml:1: opensearch.url: must be an http:// or https:// URL without user, query and fragment\n");
}

Test(load, checks_durations)
{
        expect("retry: {delays: [5s, 5, 3s, soon, 8d, 1m]}\n",
               "m.yaml:1: retry.delays[1]: must be a duration of 100ms…7d, such as 5s or 10m\n"
               "m.yaml:1: retry.delays[2]: must be longer than the one before it\n"
               "m.yaml:1: retry.delays[3]: must be a duration of 100ms…7d, such as 5s or 10m\n"
               "m.yaml:1: retry.delays[4]: must be a duration of 100ms…7d, such as 5s or 10m\n");
        expect("retry: {delays: []}\n", "m.yaml:1: retry.delays: must hold 1…8 entries\n");
        expect("retry: {delays: 5s}\n", "m.yaml:1: retry.delays: must be a list\n");
        expect("tenants: [{name: a, budgets: [{window: 2d, usd: 1}]}]\n",
               "m.yaml:1: tenants[0].budgets[0].window: must be one of 1m, 1h, 1d, 1mo; did you mean 1d?\n");
}

Test(load, checks_what_keys_mean_together)
{
        expect("retry: {base_ms: 500, cap_ms: 100}\n", "m.yaml:1: retry.cap_ms: cap_ms must not be less than base_ms\n");
        expect("retry:\n  base_ms: 60001\n", "m.yaml:2: retry.base_ms: cap_ms must not be less than base_ms\n");
        expect("worker: {payload_bytes_max: 67108864, inflight_bytes_max: 65536}\n",
               "m.yaml:1: worker.inflight_bytes_max: inflight_bytes_max must not be less than "
               "payload_bytes_max: a request must fit\n");
        expect("lanes:\n  interactive: {share: 0.8}\n  bulk: {share: 0.3}\n",
               "m.yaml:3: lanes.bulk.share: the lanes' shares together must not be more than 1\n");
        expect("collections: [{name: a, chunking: {size: 10, overlap: 10}}]\n",
               "m.yaml:1: collections[0].chunking.overlap: must be less than size\n");
        expect("tenants:\n  - {name: a, prefix: own}\n  - {name: b, prefix: own}\n",
               "m.yaml:3: tenants[1].prefix: the prefix of tenants[0] too: there one may speak only as itself\n");
        expect("kafka:\n  options:\n    enable.auto.commit: true\n    bootstrap.servers: h\n"
               "    linger.ms: 5\n    nested: {}\n    sasl.password:\n",
               "m.yaml:3: kafka.options.enable.auto.commit: cannot be set: delivery rests on it\n"
               "m.yaml:4: kafka.options.bootstrap.servers: is given by kafka.brokers\n"
               "m.yaml:6: kafka.options.nested: must be a string\n"
               "m.yaml:7: kafka.options.sasl.password: has no value\n");
}

Test(load, names_syntax_faults_and_those_above_them)
{
        expect("kafka: {prefix: 1}\nproviders: [\n",
               "m.yaml:1: kafka.prefix: must be a string (in quotes)\n"
               "m.yaml:3: not YAML: did not find expected node content\n");
        expect("a: b: c\n", "m.yaml:1: not YAML: mapping values are not allowed in this context\nm.yaml:1: a: unknown key\n");
        expect("kafka:\n  prefix: \"x\n", "m.yaml:3: not YAML: found unexpected end of stream\n");
        expect("kafka:\n\tprefix: x\n", "m.yaml:2: not YAML: found character that cannot start any token\n");
        expect("# ok\n# \xff\n", "m.yaml:2: not YAML: invalid leading UTF-8 octet\n");
        expect("a: 1\n---\nb: 2\n", "m.yaml:1: a: unknown key\nm.yaml:2: only one document (\"---\") may stand in this file\n");
}

Test(load, refuses_aliases_and_tags)
{
        expect("kafka: &k {prefix: a}\nredis: *k\n", "m.yaml:2: aliases (\"*…\") are not read here: write it out\n");
        expect("kafka: {prefix: !!str 5}\n", "m.yaml:1: tags (\"!…\") have no meaning here\n");
        expect("kafka: !x {}\n", "m.yaml:1: tags (\"!…\") have no meaning here\n");
}

Test(load, bounds_depth_size_and_number)
{
        AUTO_FREE char *text = malloc(1100000);
        size_t len = 0;

        cr_assert(text);
        expect("a: [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]\n", "m.yaml:1: nested too deeply\nm.yaml:1: a: unknown key\n");
        memset(text, ' ', 1048577);
        text[1048577] = '\0';
        expect(text, "m.yaml: larger than 1 MiB\n");
        for (int i = 0; i < 5000; i++)
                len += (size_t)snprintf(text + len, 1100000 - len, "k%d: 1\n", i);
        cr_assert(strstr(faults_of(text), "m.yaml:4097: there are too many entries here\n") || faults.dropped > 0);
        cr_assert_eq(faults.count, FAULTS_MAX);
        len = (size_t)snprintf(text, 64, "tenants:\n");
        for (int i = 0; i < 1001; i++)
                len += (size_t)snprintf(text + len, 1100000 - len, "  - {name: t%d}\n", i);
        expect(text, "m.yaml:2: tenants: must hold at most 1000 entries\n");
}

Test(load, refuses_what_cannot_be_filled_in_and_shows_no_secret)
{
        unsetenv("MILLRACE_TEST_NONE");
        setenv("MILLRACE_TEST_SECRET", "hunter two", 1);
        expect("redis: {password: \"${env:MILLRACE_TEST_NONE}\"}\n",
               "m.yaml:1: redis.password: the environment variable MILLRACE_TEST_NONE is not set\n");
        expect("redis: {password: \"${file:/nowhere/x}\"}\n",
               "m.yaml:1: redis.password: the file /nowhere/x cannot be opened: No such file or directory\n");
        expect("redis: {password: \"${vault:x}\"}\n",
               "m.yaml:1: redis.password: only ${env:NAME} and ${file:PATH} can be filled in (\"$${\" for a plain \"${\")\n");
        expect("defaults: {embed: \"${env:MILLRACE_TEST_SECRET}\"}\n", "m.yaml:1: defaults.embed: there is no such model\n");
        expect("kafka: {prefix: \"${env:MILLRACE_TEST_SECRET}\"}\n",
               "m.yaml:1: kafka.prefix: must be 1…64 characters of A-Z a-z 0-9 . _ -\n");
        expect("kafka: {partitions: \"${env:MILLRACE_TEST_SECRET}\"}\n",
               "m.yaml:1: kafka.partitions: must be an integer (without quotes)\n");
        cr_assert_null(strstr(faults_of("collections: [{name: a, language: \"${env:MILLRACE_TEST_SECRET}\"}]\n"
                                        "providers: [{name: b, type: tei, base_url: \"${env:MILLRACE_TEST_SECRET}\"}]\n"
                                        "models: [{name: c, kind: llm, provider: \"${env:MILLRACE_TEST_SECRET}\", model: d}]\n"
                                        "redis: {url: \"${env:MILLRACE_TEST_SECRET}\"}\n"),
                              "hunter"));
        cr_assert_eq(faults.count, 4);
}

Test(load, names_a_file_that_cannot_be_read)
{
        AUTO_BUFFER out = {0};

        buffer_init(&out, 4096);
        cr_assert_null(settings_load("/nowhere/millrace.yaml", &faults));
        faults_print(&faults, &out);
        cr_assert_str_eq(out.data, "/nowhere/millrace.yaml: cannot be read: No such file or directory\n");
        buffer_reset(&out);
        cr_assert_null(settings_load("/", &faults));
        faults_print(&faults, &out);
        cr_assert_str_eq(out.data, "/: cannot be read: Is a directory\n");
}
