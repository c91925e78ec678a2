#include "tests/torture/lives.h"

#include "config/base/own.h"

#define INGEST                                                                                                                   \
        {                                                                                                                       \
                "enrich.ingest.bulk",                                                                                           \
                        "{\"id\":\"$U\",\"tenant\":\"$T\",\"collection\":\"docs\",\"document\":{\"id\":\"wal\",\"title\":\"Logging\",\"text\":"   \
                        "\"Write-ahead logging lets readers and a writer work at the same time.\\n\\nThe porter tokenizer stems English words.\","  \
                        "\"metadata\":{\"source_document\":\"wal.txt\",\"page_number\":3,\"date_created\":\"2026-01-02\"}},"                        \
                        "\"chunking\":{\"strategy\":\"recursive\",\"size\":12,\"overlap\":2}}",                                 \
                        NULL                                                                                                    \
        }
#define EMBED(id) "{\"id\":\"" id "\",\"tenant\":\"$T\",\"model\":\"minilm\",\"input\":[\"hello\",\"world\"],\"reply\":\"list\",\"metadata\":{\"a\":[1,{\"b\":null}]}}"

static const char *const replay_headers[] = {"mr-replays", "1", "mr-attempts", "0", NULL};
static const char *const retry_headers[] = {"mr-origin-topic", "enrich.embed.bulk", "mr-origin-partition", "0", "mr-origin-offset", "$N",
                                            "mr-origin-timestamp", "1790000000000", "mr-attempts", "1", "mr-deadline", "4000000000000",
                                            "mr-step", "0", "mr-not-before", "1790000000000", NULL};

const struct life lives[] = {
        {.name = "embed", .it = {"enrich.embed.interactive", EMBED("$I"), NULL}, .ending = "ok", .without = KIND_COUNT},
        {.name = "embed-floats",
         .it = {"enrich.embed.bulk", "{\"id\":\"$I\",\"tenant\":\"$T\",\"model\":\"floats\",\"input\":\"hello\",\"encoding\":\"base64\"}", NULL},
         .ending = "ok",
         .without = KIND_COUNT},
        {.name = "llm",
         .it = {"enrich.llm.interactive",
                "{\"id\":\"$I\",\"tenant\":\"$T\",\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"say \\u00e9t\\u00e9\"}],"
                "\"max_tokens\":50,\"temperature\":0.5}",
                NULL},
         .ending = "ok",
         .without = KIND_COUNT},
        {.name = "rerank",
         .it = {"enrich.rerank.interactive",
                "{\"id\":\"$I\",\"tenant\":\"$T\",\"query\":\"porter stemming\",\"top_n\":2,\"documents\":[{\"id\":\"a\",\"text\":\"cooking rice\"},"
                "{\"id\":\"b\",\"text\":\"the porter stemming algorithm\"},{\"id\":\"c\",\"text\":\"nothing\"}]}",
                NULL},
         .ending = "ok",
         .without = KIND_COUNT},
        {.name = "ingest",
         .it = {"enrich.ingest.bulk",
                "{\"id\":\"$I\",\"tenant\":\"$T\",\"collection\":\"docs\",\"document\":{\"id\":\"page\",\"title\":\"Page\",\"format\":\"html\",\"text\":"
                "\"<html><body><h1>One</h1><p>First words here.</p><h2>Two</h2><ul><li>more</li></ul><p>and the end</p></body></html>\"}}",
                NULL},
         .ending = "ok",
         .without = KIND_COUNT},
        {.name = "ingest-paid",
         .before = {{"enrich.ingest.bulk",
                     "{\"id\":\"$U\",\"tenant\":\"$T\",\"collection\":\"paid\",\"document\":{\"id\":\"d\",\"text\":\"one two. three four. five six. seven eight\"},"
                     "\"chunking\":{\"strategy\":\"fixed\",\"size\":2,\"overlap\":0}}",
                     NULL}},
         .it = {"enrich.ingest.interactive",
                "{\"id\":\"$I\",\"tenant\":\"$T\",\"collection\":\"paid\",\"document\":{\"id\":\"d\",\"format\":\"markdown\",\"text\":\"# Alpha\\n\\nbeta gamma\"}}",
                NULL},
         .ending = "ok",
         .without = KIND_COUNT},
        {.name = "delete",
         .before = {INGEST},
         .it = {"enrich.ingest.interactive", "{\"id\":\"$I\",\"tenant\":\"$T\",\"collection\":\"docs\",\"delete\":true,\"document\":{\"id\":\"wal\"}}", NULL},
         .ending = "ok",
         .without = KIND_COUNT},
        {.name = "retrieve",
         .before = {INGEST},
         .it = {"enrich.retrieve.interactive",
                "{\"id\":\"$I\",\"tenant\":\"$T\",\"collection\":\"docs\",\"query\":\"porter stemming\",\"top_k\":2,\"explain\":true,\"collapse\":true,"
                "\"filter\":{\"operator\":\"AND\",\"conditions\":[{\"field\":\"page_number\",\"operator\":\">=\",\"value\":2},"
                "{\"field\":\"date_created\",\"operator\":\">\",\"value\":\"2025-01-01\"}]},\"fusion\":{\"method\":\"rrf\"}}",
                NULL},
         .ending = "ok",
         .without = KIND_COUNT},
        {.name = "feed",
         .before = {INGEST},
         .it = {"enrich.retrieve.bulk", "{\"id\":\"$I\",\"tenant\":\"$T\",\"collection\":\"docs\",\"query\":\"readers and a writer\",\"mode\":\"sparse\"}", NULL},
         .ending = "ok",
         .index_held = true,
         .without = KIND_COUNT},
        {.name = "chain",
         .before = {INGEST},
         .it = {"enrich.retrieve.interactive",
                "{\"id\":\"$I\",\"tenant\":\"$T\",\"collection\":\"docs\",\"query\":\"porter stemming\",\"then\":[{\"kind\":\"rerank\",\"top_n\":1},{\"kind\":\"llm\"}]}",
                NULL},
         .ending = "ok",
         .without = KIND_COUNT},
        {.name = "handover",
         .before = {INGEST},
         .it = {"enrich.retrieve.interactive",
                "{\"id\":\"$I\",\"tenant\":\"$T\",\"collection\":\"docs\",\"query\":\"porter stemming\",\"then\":[{\"kind\":\"llm\"}]}", NULL},
         .ending = "hop",
         .without = KIND_LLM},
        {.name = "failing",
         .it = {"enrich.llm.interactive", "{\"id\":\"$I\",\"tenant\":\"$T\",\"model\":\"nosuch\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", NULL},
         .ending = "failed model.not_found",
         .without = KIND_COUNT},
        {.name = "trouble",
         .it = {"enrich.embed.interactive", "{\"id\":\"$I\",\"tenant\":\"$T\",\"model\":\"minilm\",\"input\":\"please fail @@503@@\"}", NULL},
         .ending = "failed dependency.unavailable",
         .without = KIND_COUNT},
        {.name = "retry",
         .it = {"enrich.embed.interactive", "{\"id\":\"$I\",\"tenant\":\"$T\",\"model\":\"minilm\",\"input\":\"too many @@429@@\"}", NULL},
         .ending = "hop",
         .without = KIND_COUNT},
        {.name = "retried", .it = {"enrich.embed.retry.100ms", EMBED("$I"), retry_headers}, .ending = "ok", .without = KIND_COUNT},
        {.name = "replay",
         .before = {{"enrich.llm.bulk", "{\"id\":\"$I\",\"tenant\":\"$T\",\"model\":\"nosuch\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", NULL}},
         .it = {"enrich.llm.bulk", "{\"id\":\"$I\",\"tenant\":\"$T\",\"model\":\"nosuch\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", replay_headers},
         .ending = "failed model.not_found",
         .no_fresh = true,
         .without = KIND_COUNT},
        {.name = "duplicate",
         .before = {{"enrich.embed.bulk", EMBED("$I"), NULL}},
         .it = {"enrich.embed.interactive", EMBED("$I"), NULL},
         .ending = "ok",
         .no_fresh = true,
         .without = KIND_COUNT},
        {.name = "conflict",
         .before = {{"enrich.embed.bulk", EMBED("$I"), NULL}},
         .it = {"enrich.embed.interactive", "{\"id\":\"$I\",\"tenant\":\"$T\",\"model\":\"minilm\",\"input\":\"another\"}", NULL},
         .ending = "letter data.id_conflict",
         .no_fresh = true,
         .without = KIND_COUNT},
        {.name = "bad-json", .it = {"enrich.embed.interactive", "{\"id\":\"$I\",\"input\":", NULL}, .ending = "letter data.invalid_json", .without = KIND_COUNT},
        {.name = "null", .it = {"enrich.ingest.bulk", NULL, NULL}, .ending = "letter data.invalid_json", .without = KIND_COUNT},
        {.name = "unknown-field",
         .it = {"enrich.embed.interactive", "{\"id\":\"$I\",\"tenant\":\"$T\",\"input\":\"x\",\"inputs\":1}", NULL},
         .ending = "failed data.schema",
         .without = KIND_COUNT},
        {.name = "expired",
         .it = {"enrich.embed.interactive", "{\"id\":\"$I\",\"tenant\":\"$T\",\"input\":\"x\",\"deadline\":\"2020-01-01T00:00:00Z\"}", NULL},
         .ending = "expired serving.deadline",
         .without = KIND_COUNT},
        {.name = "start", .it = {"enrich.embed.interactive", EMBED("$I"), NULL}, .ending = "ok", .at_start = true, .without = KIND_COUNT},
};
const size_t life_count = COUNT_OF(lives);
