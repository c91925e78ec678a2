#include "tests/unit/retrieval/test_collection_rig.h"

#include <stdio.h>

void rig_init(struct rig *rig, const char *dir, const char *shared_from)
{
        char *shared[] = {(char *)(uintptr_t)shared_from};
        const struct collection_settings settings = {.name = (char *)(uintptr_t) "docs",
                                                     .language = (char *)(uintptr_t) "english",
                                                     .k1 = 1.2,
                                                     .b = 0.75,
                                                     .fusion = {FUSION_CROSS, 0.5, 50},
                                                     .metric = METRIC_COSINE,
                                                     .shared_from = shared,
                                                     .shared_from_count = shared_from ? 1 : 0};

        *rig = (struct rig){0};
        rig->arena = arena_new(64 << 20);
        rig->collection = collection_new("docs", 3, &settings, RIG_DIMENSIONS, "test/four", dir, &rig->err);
        cr_assert(rig->collection, "%s", rig->err.message);
}

void rig_fini(struct rig *rig)
{
        collection_free(rig->collection);
        arena_free(rig->arena);
}

void rig_record(struct rig *rig, const char *tenant, const char *document, const char *key, const char *value)
{
        int32_t partition = collection_partition(span_of(tenant), span_of(document), RIG_PARTITIONS);

        cr_assert_eq(collection_apply(rig->collection, partition, rig->offsets[partition]++, 1000, span_of(key), span_of(value),
                                      &rig->err),
                     0);
}

void rig_chunk(struct rig *rig, const char *tenant, const char *document, int n, int version, const char *text, const float *vector,
               const char *metadata)
{
        AUTO(json_decrefp) json_t *object = metadata ? json_loads(metadata, 0, NULL) : NULL;
        const struct chunk_record record = {.tenant = span_of(tenant),
                                            .document = span_of(document),
                                            .n = n,
                                            .version = version,
                                            .title = SPAN(""),
                                            .text = span_of(text),
                                            .span_to = (int64_t)strlen(text),
                                            .metadata = object,
                                            .vector = vector,
                                            .dimensions = RIG_DIMENSIONS,
                                            .embedder = SPAN("test/four")};
        AUTO_BUFFER key, value;

        buffer_init(&key, 1024);
        buffer_init(&value, 1 << 20);
        collection_chunk_key(&key, record.tenant, record.document, n);
        cr_assert_eq(collection_encode_chunk(&value, &record, &rig->err), 0, "%s", rig->err.message);
        rig_record(rig, tenant, document, key.data, value.data);
}

void rig_document(struct rig *rig, const char *tenant, const char *document, int version, int chunks)
{
        AUTO_BUFFER key, value;

        buffer_init(&key, 1024);
        buffer_init(&value, 1024);
        collection_document_key(&key, span_of(tenant), span_of(document));
        cr_assert_eq(collection_encode_document(&value, span_of(tenant), span_of(document), version, chunks, &rig->err), 0);
        rig_record(rig, tenant, document, key.data, value.data);
}

void rig_delete(struct rig *rig, const char *tenant, const char *document)
{
        AUTO_BUFFER key = {0};

        buffer_init(&key, 1024);
        collection_document_key(&key, span_of(tenant), span_of(document));
        rig_record(rig, tenant, document, key.data, NULL);
}

void rig_put(struct rig *rig, const char *tenant, const char *document, int version, const char *text, const float *vector)
{
        rig_chunk(rig, tenant, document, 0, version, text, vector, NULL);
        rig_document(rig, tenant, document, version, 1);
}

const char *rig_search(struct rig *rig, const struct search_request *request)
{
        static char out[65536];
        size_t len = 0;

        arena_reset(rig->arena);
        if (collection_search(rig->collection, request, rig->arena, &rig->result, &rig->err) < 0) {
                snprintf(out, sizeof out, "!%s", error_code_name(rig->err.code));
                return out;
        }
        out[0] = '\0';
        for (size_t i = 0; i < rig->result.count; i++)
                len += (size_t)snprintf(out + len, sizeof out - len, "%s%.*s", i ? " " : "", (int)rig->result.hits[i].id.len,
                                        rig->result.hits[i].id.data);
        return out;
}

const char *rig_find(struct rig *rig, const char *query)
{
        const struct search_request request = {.tenant = SPAN("t"),
                                               .mode = SEARCH_SPARSE,
                                               .query = span_of(query),
                                               .fusion = {FUSION_CROSS, 0.5, 50},
                                               .top_k = 10};

        return rig_search(rig, &request);
}
