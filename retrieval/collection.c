/* The collection as a whole: made and freed, its positions and figures. What it does is in collection_apply.c, _live.c, _search.c,
 * _snapshot.c; what its records look like in collection_records.c. */
#include "retrieval/collection.h"

#include <stdlib.h>
#include <string.h>

#include "retrieval/collection_state.h"

static char *copy_string(const char *s, bool *ok)
{
        char *copy = s ? strdup(s) : NULL;

        *ok &= copy || !s;
        return copy;
}

static bool copy_settings(struct collection *collection, const struct collection_settings *settings)
{
        bool ok = true;

        collection->language = copy_string(settings->language, &ok);
        collection->metric = settings->metric;
        collection->fusion = settings->fusion;
        collection->k1 = settings->k1;
        collection->b = settings->b;
        collection->shared_from = calloc(settings->shared_from_count + 1, sizeof *collection->shared_from);
        if (!collection->shared_from)
                return false;
        for (size_t i = 0; i < settings->shared_from_count; i++)
                collection->shared_from[i] = copy_string(settings->shared_from[i], &ok);
        collection->shared_from_count = settings->shared_from_count;
        return ok;
}

static void init_locks(struct collection *collection)
{
        pthread_rwlockattr_t attributes;

        pthread_rwlockattr_init(&attributes);
        pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP); /* applies must not starve */
        pthread_rwlock_init(&collection->state_lock, &attributes);
        pthread_rwlockattr_destroy(&attributes);
        pthread_mutex_init(&collection->apply_lock, NULL);
        pthread_mutex_init(&collection->positions_lock, NULL);
        pthread_mutex_init(&collection->analyzers_lock, NULL);
}

struct collection *collection_new(const char *name, int version, const struct collection_settings *settings, size_t dimensions,
                                  const char *embedder, const char *dir, struct error *err)
{
        struct collection *collection = calloc(1, sizeof *collection);
        bool ok = true;

        if (!collection) {
                error_set(err, CODE_INTERNAL, "no memory for a collection");
                return NULL;
        }
        init_locks(collection);
        collection->name = copy_string(name, &ok);
        collection->embedder = copy_string(embedder && *embedder ? embedder : NULL, &ok);
        collection->dir = copy_string(dir, &ok);
        collection->version = version;
        collection->dimensions = dimensions;
        if (!copy_settings(collection, settings) || !ok) {
                error_set(err, CODE_INTERNAL, "no memory for a collection");
                collection_free(collection);
                return NULL;
        }
        collection->applier_analyzer = analyzer_new(collection->language, err);
        collection->bm25 = collection->applier_analyzer ? bm25_new(collection->k1, collection->b, err) : NULL;
        collection->vectors = collection->bm25 ? vector_index_new(dimensions, err) : NULL;
        if (!collection->vectors) {
                collection_free(collection);
                return NULL;
        }
        return collection;
}

/* Everything that records put in; the indexes remain, empty of live entries. */
static void drop_contents(struct collection *collection)
{
        struct document *document = collection->documents, *next_document;
        struct tenant_count *tenant, *next_tenant;

        for (; document; document = next_document) {
                next_document = document->hh.next;
                live_remove(collection, document, -1, 0);
                document_free(collection, document);
        }
        pthread_rwlock_wrlock(&collection->state_lock);
        tenant = collection->tenants;
        HASH_CLEAR(hh, collection->tenants);
        for (; tenant; tenant = next_tenant) {
                next_tenant = tenant->hh.next;
                free(tenant);
        }
        pthread_rwlock_unlock(&collection->state_lock);
}

void collection_clear(struct collection *collection)
{
        pthread_mutex_lock(&collection->apply_lock);
        drop_contents(collection);
        pthread_mutex_lock(&collection->positions_lock);
        memset(collection->offsets, 0, sizeof collection->offsets);
        collection->partition_end = 0;
        collection->indexed_at_ms = 0;
        pthread_mutex_unlock(&collection->positions_lock);
        pthread_mutex_unlock(&collection->apply_lock);
}

void collection_free(struct collection *collection)
{
        if (!collection)
                return;
        drop_contents(collection);
        free(collection->chunks);
        free(collection->row_slots);
        bm25_free(collection->bm25);
        vector_index_free(collection->vectors);
        analyzer_free(collection->applier_analyzer);
        for (size_t i = 0; i < collection->analyzer_count; i++)
                analyzer_free(collection->analyzers[i]);
        for (size_t i = 0; i < collection->shared_from_count; i++)
                free(collection->shared_from[i]);
        free(collection->shared_from);
        free(collection->name);
        free(collection->embedder);
        free(collection->dir);
        free(collection->language);
        pthread_rwlock_destroy(&collection->state_lock);
        pthread_mutex_destroy(&collection->apply_lock);
        pthread_mutex_destroy(&collection->positions_lock);
        pthread_mutex_destroy(&collection->analyzers_lock);
        free(collection);
}

/* ---- Analyzers for searches */

struct analyzer *collection_take_analyzer(struct collection *collection, struct error *err)
{
        struct analyzer *analyzer = NULL;

        pthread_mutex_lock(&collection->analyzers_lock);
        if (collection->analyzer_count > 0)
                analyzer = collection->analyzers[--collection->analyzer_count];
        pthread_mutex_unlock(&collection->analyzers_lock);
        return analyzer ? analyzer : analyzer_new(collection->language, err);
}

void collection_give_analyzer(struct collection *collection, struct analyzer *analyzer)
{
        pthread_mutex_lock(&collection->analyzers_lock);
        if (collection->analyzer_count < ANALYZERS_MAX) {
                collection->analyzers[collection->analyzer_count++] = analyzer;
                analyzer = NULL;
        }
        pthread_mutex_unlock(&collection->analyzers_lock);
        analyzer_free(analyzer);
}

/* ---- Positions */

void collection_move_position(struct collection *collection, int32_t partition, int64_t offset)
{
        pthread_mutex_lock(&collection->positions_lock);
        if (offset > collection->offsets[partition])
                collection->offsets[partition] = offset;
        if (partition >= collection->partition_end)
                collection->partition_end = partition + 1;
        pthread_mutex_unlock(&collection->positions_lock);
}

int collection_advance(struct collection *collection, int32_t partition, int64_t offset, struct error *err)
{
        if (partition < 0 || partition >= COLLECTION_PARTITIONS_MAX || offset < 0)
                return error_set(err, CODE_INTERNAL, "partition %d offset %lld can't be", (int)partition, (long long)offset);
        collection_move_position(collection, partition, offset);
        return 0;
}

size_t collection_positions(struct collection *collection, struct collection_position *ret_positions, size_t max)
{
        size_t count = 0;

        pthread_mutex_lock(&collection->positions_lock);
        for (int32_t partition = 0; partition < collection->partition_end; partition++) {
                if (collection->offsets[partition] == 0)
                        continue;
                if (count < max)
                        ret_positions[count] = (struct collection_position){partition, collection->offsets[partition]};
                count++;
        }
        pthread_mutex_unlock(&collection->positions_lock);
        return count;
}

bool collection_covers(struct collection *collection, const struct collection_position *positions, size_t count)
{
        bool covered = true;

        pthread_mutex_lock(&collection->positions_lock);
        for (size_t i = 0; covered && i < count; i++)
                covered = positions[i].partition >= 0 && positions[i].partition < COLLECTION_PARTITIONS_MAX &&
                          collection->offsets[positions[i].partition] >= positions[i].offset;
        pthread_mutex_unlock(&collection->positions_lock);
        return covered;
}

/* ---- Figures */

void collection_stats(struct collection *collection, struct collection_stats *ret_stats)
{
        struct collection_stats stats = {
                .applied = atomic_load(&collection->applied),
                .skipped = atomic_load(&collection->skipped),
                .foreign_vectors = atomic_load(&collection->foreign_vectors),
                .staged = atomic_load(&collection->staged_count),
        };

        pthread_rwlock_rdlock(&collection->state_lock);
        stats.documents = collection->live_documents;
        stats.chunks = collection->live_chunks;
        stats.vectors = collection->live_vectors;
        stats.bytes_lexical = bm25_bytes(collection->bm25);
        stats.bytes_vectors = vector_index_count(collection->vectors) * collection->dimensions * sizeof(float);
        stats.bytes_stored = collection->live_bytes;
        pthread_rwlock_unlock(&collection->state_lock);
        pthread_mutex_lock(&collection->positions_lock);
        stats.indexed_at_ms = collection->indexed_at_ms;
        pthread_mutex_unlock(&collection->positions_lock);
        *ret_stats = stats;
}

const char *collection_name(const struct collection *collection)
{
        return collection->name;
}

int collection_version(const struct collection *collection)
{
        return collection->version;
}

size_t collection_dimensions(const struct collection *collection)
{
        return collection->dimensions;
}

struct fusion_settings collection_fusion(const struct collection *collection)
{
        return collection->fusion;
}
