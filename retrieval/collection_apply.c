/* Records become documents. A chunk record is staged; a document record says which version is wanted and of how many chunks;
 * once all of them are there the document switches. Either may come last: on a compacted topic a rewritten chunk can lie behind
 * its document record. A wanted chunk is the staged one of its version or, where that was not written again, the live one: what
 * the topic holds under that key. Versions below the live one are ignored; the same version again is a new writing, and the
 * later offset holds. */
#include <stdlib.h>

#include "config/base/log.h"
#include "retrieval/collection_state.h"

/* ---- Documents */

static struct tenant_count *tenant_get(struct collection *collection, struct span name)
{
        struct tenant_count *tenant;

        HASH_FIND(hh, collection->tenants, name.data, (unsigned)name.len, tenant);
        if (tenant)
                return tenant;
        tenant = calloc(1, sizeof *tenant + name.len);
        if (!tenant)
                return NULL;
        memcpy(tenant->name, name.data, name.len);
        tenant->name_len = name.len;
        pthread_rwlock_wrlock(&collection->state_lock);
        HASH_ADD_KEYPTR(hh, collection->tenants, tenant->name, (unsigned)name.len, tenant);
        pthread_rwlock_unlock(&collection->state_lock);
        if (tenant->hh.tbl)
                return tenant;
        free(tenant);
        return NULL;
}

static struct document *find_document(const struct collection *collection, struct span key)
{
        struct document *document;

        HASH_FIND(hh, collection->documents, key.data, (unsigned)key.len, document);
        return document;
}

struct document *document_get(struct collection *collection, const struct record_key *key)
{
        struct span name = key->document_key;
        struct document *document = find_document(collection, name);

        if (document)
                return document;
        document = calloc(1, sizeof *document + name.len);
        if (!document)
                return NULL;
        memcpy(document->key, name.data, name.len);
        document->key_len = name.len;
        document->tenant = tenant_get(collection, key->tenant);
        if (document->tenant) {
                HASH_ADD_KEYPTR(hh, collection->documents, document->key, (unsigned)name.len, document);
                if (document->hh.tbl)
                        return document;
        }
        free(document);
        return NULL;
}

static void free_staged_chunk(struct collection *collection, struct staged_chunk *staged)
{
        collection->staged_count--;
        collection->staged_bytes -= staged->chunk->bytes;
        stored_chunk_unref(staged->chunk);
        free(staged);
}

static void free_version(struct collection *collection, struct staged_version *version)
{
        struct staged_chunk *staged = version->chunks;

        HASH_CLEAR(hh, version->chunks);
        while (staged) {
                struct staged_chunk *next = staged->hh.next;

                free_staged_chunk(collection, staged);
                staged = next;
        }
        free(version);
}

/* Forgets what is staged up to a version. */
static void drop_staged(struct collection *collection, struct document *document, int64_t version_max)
{
        struct staged_version **at = &document->staged;

        while (*at) {
                struct staged_version *version = *at;

                if (version->version > version_max) {
                        at = &version->next;
                        continue;
                }
                *at = version->next;
                free_version(collection, version);
        }
}

void document_free(struct collection *collection, struct document *document)
{
        drop_staged(collection, document, INT64_MAX);
        HASH_DEL(collection->documents, document);
        free(document->slots);
        free(document);
}

static void free_if_idle(struct collection *collection, struct document *document)
{
        if (!document->live && !document->wanted && !document->staged)
                document_free(collection, document);
}

/* ---- Staging */

static struct staged_version *find_version(const struct document *document, int64_t version)
{
        struct staged_version *staged = document->staged;

        while (staged && staged->version != version)
                staged = staged->next;
        return staged;
}

/* Room for one more version: the lowest goes where there are too many. False: the new one itself is the lowest. */
static bool make_room(struct collection *collection, struct document *document, int64_t version)
{
        int64_t lowest = INT64_MAX;
        int count = 0;

        for (const struct staged_version *staged = document->staged; staged; staged = staged->next, count++)
                lowest = staged->version < lowest ? staged->version : lowest;
        if (count < STAGED_VERSIONS_MAX)
                return true;
        if (version < lowest)
                return false;
        drop_staged(collection, document, lowest);
        return true;
}

int document_stage(struct collection *collection, struct document *document, struct stored_chunk *chunk, struct error *err)
{
        struct staged_version *version = find_version(document, chunk->version);
        struct staged_chunk *staged = NULL;

        if (!version) {
                if (!make_room(collection, document, chunk->version)) {
                        stored_chunk_unref(chunk);
                        return 0;
                }
                version = calloc(1, sizeof *version);
                if (!version)
                        goto no_memory;
                version->version = chunk->version;
                version->next = document->staged;
                document->staged = version;
        }
        HASH_FIND(hh, version->chunks, &chunk->n, sizeof chunk->n, staged);
        if (staged) {
                collection->staged_bytes += chunk->bytes - staged->chunk->bytes;
                stored_chunk_unref(staged->chunk);
                staged->chunk = chunk;
                return 0;
        }
        staged = calloc(1, sizeof *staged);
        if (!staged)
                goto no_memory;
        staged->n = chunk->n;
        staged->chunk = chunk;
        HASH_ADD(hh, version->chunks, n, sizeof staged->n, staged);
        if (!staged->hh.tbl) {
                free(staged);
                goto no_memory;
        }
        collection->staged_count++;
        collection->staged_bytes += chunk->bytes;
        return 0;
no_memory:
        stored_chunk_unref(chunk);
        return error_set(err, CODE_INTERNAL, "no memory for a staged chunk");
}

static void unstage(struct collection *collection, struct document *document, int64_t n)
{
        for (struct staged_version *version = document->staged; version; version = version->next) {
                struct staged_chunk *staged;

                HASH_FIND(hh, version->chunks, &n, sizeof n, staged);
                if (!staged)
                        continue;
                HASH_DEL(version->chunks, staged);
                free_staged_chunk(collection, staged);
        }
}

/* ---- Switching */

/* What the topic holds as chunk n of the wanted version; NULL: nothing yet. */
static struct stored_chunk *wanted_chunk(const struct collection *collection, const struct document *document,
                                         const struct staged_version *version, int64_t n)
{
        struct staged_chunk *staged = NULL;

        if (version)
                HASH_FIND(hh, version->chunks, &n, sizeof n, staged);
        if (staged)
                return staged->chunk;
        if (document->live && document->live_version == document->wanted_version && (size_t)n < document->slot_count)
                return collection->chunks[document->slots[n]];
        return NULL;
}

/* Makes the wanted version live where it is complete. partition, offset: the position that goes with it. */
static int try_switch(struct collection *collection, struct document *document, int32_t partition, int64_t offset,
                      struct error *err)
{
        const struct staged_version *version = find_version(document, document->wanted_version);
        size_t count = (size_t)document->wanted_chunks;
        size_t at_hand = (version ? HASH_COUNT(version->chunks) : 0) + document->slot_count;
        AUTO_FREE struct stored_chunk **chunks = NULL;

        if (!document->wanted || at_hand < count)
                return 0;
        chunks = calloc(count + 1, sizeof(struct stored_chunk *));
        if (!chunks)
                return error_set(err, CODE_INTERNAL, "no memory for a document's %zu chunks", count);
        for (size_t n = 0; n < count; n++) {
                chunks[n] = wanted_chunk(collection, document, version, (int64_t)n);
                if (!chunks[n])
                        return 0;
        }
        if (live_switch(collection, document, chunks, count, document->wanted_version, partition, offset, err) < 0)
                return -1;
        document->wanted = false;
        drop_staged(collection, document, document->live_version);
        return 0;
}

/* ---- Records */

static void skip(struct collection *collection, const char *why)
{
        uint64_t count = atomic_fetch_add(&collection->skipped, 1) + 1;

        if ((count & (count - 1)) == 0) /* the first, second, fourth …: a flood must not flood the log */
                log_warn("index record skipped", "collection=%s version=%d skipped=%llu why=%s", collection->name,
                         collection->version, (unsigned long long)count, why);
}

static int apply_chunk(struct collection *collection, const struct record_key *key, struct span value, int32_t partition,
                       int64_t offset, struct error *err)
{
        struct stored_chunk *chunk;
        struct document *document = find_document(collection, key->document_key);
        bool vector_used;
        int result;

        if (!value.data) {
                if (document) {
                        unstage(collection, document, key->n);
                        free_if_idle(collection, document);
                }
                return 0;
        }
        switch (record_chunk_parse(collection, key, value, &chunk, &vector_used)) {
        case RECORD_FOREIGN:
                skip(collection, "not a chunk record");
                return 0;
        case RECORD_NO_MEMORY:
                return error_set(err, CODE_INTERNAL, "no memory for a chunk");
        case RECORD_TAKEN:
                break;
        }
        if ((document && document->live && chunk->version < document->live_version) ||
            collection->staged_bytes + chunk->bytes > STAGED_BYTES_MAX) {
                if (collection->staged_bytes + chunk->bytes > STAGED_BYTES_MAX)
                        skip(collection, "too many chunks wait for their document record");
                stored_chunk_unref(chunk);
                return 0;
        }
        if (!vector_used)
                atomic_fetch_add(&collection->foreign_vectors, 1);
        if (!document)
                document = document_get(collection, key);
        if (!document) {
                stored_chunk_unref(chunk);
                return error_set(err, CODE_INTERNAL, "no memory for a document");
        }
        result = document_stage(collection, document, chunk, err);
        if (result == 0)
                result = try_switch(collection, document, partition, offset, err);
        free_if_idle(collection, document);
        return result;
}

static int apply_document(struct collection *collection, const struct record_key *key, struct span value, int32_t partition,
                          int64_t offset, struct error *err)
{
        struct document *document = find_document(collection, key->document_key);
        int64_t version, chunks;
        int result;

        if (!value.data) {
                if (document) {
                        live_remove(collection, document, partition, offset);
                        document_free(collection, document);
                }
                return 0;
        }
        switch (record_document_parse(key, value, &version, &chunks)) {
        case RECORD_FOREIGN:
                skip(collection, "not a document record");
                return 0;
        case RECORD_NO_MEMORY:
                return error_set(err, CODE_INTERNAL, "no memory for a document record");
        case RECORD_TAKEN:
                break;
        }
        if (document && document->live && version < document->live_version)
                return 0;
        if (!document)
                document = document_get(collection, key);
        if (!document)
                return error_set(err, CODE_INTERNAL, "no memory for a document");
        document->wanted = true;
        document->wanted_version = version;
        document->wanted_chunks = chunks;
        result = try_switch(collection, document, partition, offset, err);
        free_if_idle(collection, document);
        return result;
}

static bool applied_before(struct collection *collection, int32_t partition, int64_t offset)
{
        bool before;

        pthread_mutex_lock(&collection->positions_lock);
        before = offset < collection->offsets[partition];
        pthread_mutex_unlock(&collection->positions_lock);
        return before;
}

int collection_apply(struct collection *collection, int32_t partition, int64_t offset, int64_t timestamp_ms, struct span key,
                     struct span value, struct error *err)
{
        struct record_key parsed;
        int result = 0;

        if (partition < 0 || partition >= COLLECTION_PARTITIONS_MAX || offset < 0)
                return error_set(err, CODE_INTERNAL, "partition %d offset %lld can't be", (int)partition, (long long)offset);
        pthread_mutex_lock(&collection->apply_lock);
        if (!applied_before(collection, partition, offset)) {
                if (!record_key_parse(key, &parsed))
                        skip(collection, "not a key of this topic");
                else if (parsed.n >= 0)
                        result = apply_chunk(collection, &parsed, value, partition, offset + 1, err);
                else
                        result = apply_document(collection, &parsed, value, partition, offset + 1, err);
                if (result == 0) {
                        atomic_fetch_add(&collection->applied, 1);
                        collection_move_position(collection, partition, offset + 1);
                        pthread_mutex_lock(&collection->positions_lock);
                        if (timestamp_ms > collection->indexed_at_ms)
                                collection->indexed_at_ms = timestamp_ms;
                        pthread_mutex_unlock(&collection->positions_lock);
                        live_compact(collection);
                }
        }
        pthread_mutex_unlock(&collection->apply_lock);
        return result;
}
