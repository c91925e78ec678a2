/* What the collection's files share; private to retrieval/collection*.c.
 *
 *      key ──► document ─┬─ live: slots[n] ──► slot table ──► stored chunk       what searches see
 *                        ├─ wanted: the document record that still lacks chunks
 *                        └─ staged: version ──► n ──► stored chunk               what only applies see
 *
 * Locks, taken in this order: apply (one applier; guards documents, staged, wanted), state (readers search; a writer switches a
 * document; guards the slot table, BM25, vectors, counts), positions (a leaf; guards positions and the newest timestamp). A
 * document's switch moves its position while it holds state, so that who reads positions under state knows what the state
 * covers. Stored chunks are immutable and counted: a snapshot writes them without any lock. */
#ifndef RETRIEVAL_COLLECTION_STATE_H
#define RETRIEVAL_COLLECTION_STATE_H

#define HASH_NONFATAL_OOM 1

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "retrieval/analysis/analyzer.h"
#include "retrieval/bm25/bm25.h"
#include "retrieval/collection.h"
#include "retrieval/fusion.h"
#include "retrieval/vectors/faiss_index.h"

enum {
        STAGED_VERSIONS_MAX = 8,  /* of a document; the lowest gives way */
        ANALYZERS_MAX = 64,       /* kept for reuse */
        CHUNK_TERMS_MAX = 100000, /* distinct ones of a chunk that are indexed */
        QUERY_TERMS_MAX = 4096,
};
#define STAGED_BYTES_MAX ((size_t)1 << 30) /* past it further chunks are skipped, and their documents stay as they are */

struct stored_chunk {
        atomic_int references;
        int64_t n, version, span_from, span_to;
        struct span tenant, document, id, title, text; /* in data */
        json_t *metadata;                              /* an object, never changed; NULL: an empty one */
        const float *vector;                           /* in data; unit length where the metric is cosine; NULL: none */
        size_t bytes;                                  /* of it all, about */
        char data[];
};

struct staged_chunk {
        UT_hash_handle hh;
        int64_t n;
        struct stored_chunk *chunk;
};

struct staged_version {
        struct staged_version *next;
        int64_t version;
        struct staged_chunk *chunks; /* by n */
};

struct document {
        UT_hash_handle hh;
        bool live, wanted;
        int64_t live_version;
        uint32_t *slots; /* of the live chunks, by n */
        size_t slot_count;
        int64_t wanted_version, wanted_chunks;
        struct staged_version *staged;
        struct tenant_count *tenant;
        size_t key_len;
        char key[]; /* "<tenant>/<document>" */
};

/* How many live chunks a tenant has. Tenants stay once seen. */
struct tenant_count {
        UT_hash_handle hh;
        size_t chunks;
        size_t name_len;
        char name[];
};

struct collection {
        char *name, *embedder, *dir, *language;
        int version;
        size_t dimensions;
        enum vectors_metric metric;
        struct fusion_settings fusion;
        double k1, b;
        char **shared_from;
        size_t shared_from_count;

        pthread_mutex_t apply_lock;
        struct document *documents; /* by key */
        atomic_size_t staged_count; /* read by anyone */
        size_t staged_bytes;
        struct analyzer *applier_analyzer;

        pthread_rwlock_t state_lock;
        struct tenant_count *tenants; /* by name */
        struct stored_chunk **chunks; /* by slot; NULL: dead */
        size_t slot_count, slot_cap, live_chunks, live_documents, live_vectors, live_bytes;
        struct bm25 *bm25; /* by slot */
        struct vector_index *vectors;
        uint32_t *row_slots; /* by row of vectors */
        size_t row_cap;
        double norm_max; /* of all vectors ever added */

        pthread_mutex_t positions_lock;
        int64_t offsets[COLLECTION_PARTITIONS_MAX]; /* the next to read; 0: none read */
        int32_t partition_end;                      /* partitions below it may have an offset */
        int64_t indexed_at_ms;

        atomic_uint_fast64_t applied, skipped, foreign_vectors;

        pthread_mutex_t analyzers_lock;
        struct analyzer *analyzers[ANALYZERS_MAX]; /* idle ones, for searches */
        size_t analyzer_count;
};

/* ---- collection_records.c */

/* "<tenant>/<document>" or "<tenant>/<document>#<n>" with all three well-formed; n -1 for a document's key. */
struct record_key {
        struct span tenant, document, document_key;
        int64_t n;
};
bool record_key_parse(struct span key, struct record_key *ret_key);

/* A chunk as it comes from a record or a snapshot; everything is copied by stored_chunk_new. */
struct chunk_parts {
        struct span tenant, document, title, text;
        int64_t n, version, span_from, span_to;
        json_t *metadata;    /* a reference is taken over (also on failure); NULL: as an empty object */
        const float *vector; /* dimensions of the collection; NULL: none */
        size_t dimensions;
};
/* One reference; NULL: memory is out. */
struct stored_chunk *stored_chunk_new(const struct chunk_parts *parts);
struct stored_chunk *stored_chunk_ref(struct stored_chunk *chunk);
void stored_chunk_unref(struct stored_chunk *chunk); /* NULL is fine */

enum record_verdict { RECORD_TAKEN, RECORD_FOREIGN /* unreadable or not ours */, RECORD_NO_MEMORY };
/* *ret_vector_used false: the record has no vector that belongs to this collection though it has one. */
enum record_verdict record_chunk_parse(const struct collection *collection, const struct record_key *key, struct span value,
                                       struct stored_chunk **ret_chunk, bool *ret_vector_used);
enum record_verdict record_document_parse(const struct record_key *key, struct span value, int64_t *ret_version,
                                          int64_t *ret_chunks);

/* ---- collection_live.c; the caller holds the apply lock */

/* Makes chunks[0 … count) (references are taken) the document's visible chunks in one step, in place of those before; with
 * partition ≥ 0 moves its position to `offset`. -1: nothing changed, memory is out. */
int live_switch(struct collection *collection, struct document *document, struct stored_chunk *const *chunks, size_t count,
                int64_t version, int32_t partition, int64_t offset, struct error *err);
/* The same for a document that goes; can't fail. */
void live_remove(struct collection *collection, struct document *document, int32_t partition, int64_t offset);
/* Renumbers slots and rows when most of them are dead. Nothing but time is lost when it fails. */
void live_compact(struct collection *collection);

/* ---- collection_apply.c; the caller holds the apply lock */

/* The document of that key, made where there is none. NULL: memory is out. */
struct document *document_get(struct collection *collection, const struct record_key *key);
/* Puts a chunk (the reference is taken over) among the document's staged ones, in place of one of the same version and n. */
int document_stage(struct collection *collection, struct document *document, struct stored_chunk *chunk, struct error *err);
void document_free(struct collection *collection, struct document *document); /* takes it out of the table; not live any more */

/* ---- collection_render.c */

/* A hit with everything it shows copied into the arena (whose overflow is sticky). */
void hit_fill(struct arena *arena, const struct stored_chunk *chunk, const struct fusion_item *item, struct search_hit *hit);

/* ---- collection.c */

void collection_clear(struct collection *collection); /* back to empty; takes all locks */
void collection_move_position(struct collection *collection, int32_t partition, int64_t offset);
/* An analyzer of the collection's language for one thread's use, from those kept or new. */
struct analyzer *collection_take_analyzer(struct collection *collection, struct error *err);
void collection_give_analyzer(struct collection *collection, struct analyzer *analyzer);

#endif
