/* One version of one collection, as a replica in memory: the retrieval room's door. It is fed the records of the index topic
 * (contract §3) and answers searches over the documents they make visible.
 *
 *      index topic ──collection_apply──► staged chunks ──their document record──► live chunks ──collection_search──► hits
 *
 * Threads: every function may be called from any thread; searches run at the same time, an apply excludes them only while a
 * document switches. Applies queue up behind each other; call them in each partition's order. Knows neither Kafka nor the loop. */
#ifndef RETRIEVAL_COLLECTION_H
#define RETRIEVAL_COLLECTION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/arena.h"
#include "config/base/buffer.h"
#include "config/base/error.h"
#include "config/base/span.h"
#include "config/settings.h"
#include "retrieval/filter/filter.h"

enum { COLLECTION_TOP_K_MAX = 1000, COLLECTION_PARTITIONS_MAX = 4096, COLLECTION_CHUNK_N_MAX = 1000000 };

struct collection;

/* dir: the folder for its snapshot, NULL = none is kept. dimensions and embedder ("provider/model", as the chunk records name
 * it): which vectors belong to it; a chunk with others is searchable by its words only. embedder NULL or "": any. Everything is
 * copied. */
struct collection *collection_new(const char *name, int version, const struct collection_settings *settings, size_t dimensions,
                                  const char *embedder, const char *dir, struct error *err);
void collection_free(struct collection *collection); /* NULL is fine */

/* ---- Feeding */

/* One record of the index topic; value.data NULL = tombstone. A record below its partition's position was applied already and is
 * ignored; so is one that can't be read (counted in stats.skipped and logged). The position advances to offset + 1 in each case;
 * only when memory is out -1 (serving.internal) and it stays, for another try. Everything is copied. */
int collection_apply(struct collection *collection, int32_t partition, int64_t offset, int64_t timestamp_ms, struct span key,
                     struct span value, struct error *err);

struct collection_position {
        int32_t partition;
        int64_t offset; /* the next one to read */
};
/* Nothing lies in the partition below offset (the log's end, compaction's gaps): the position moves on, never back. */
int collection_advance(struct collection *collection, int32_t partition, int64_t offset, struct error *err);
/* At most max, ascending by partition; returns how many there are (COLLECTION_PARTITIONS_MAX at most). */
size_t collection_positions(struct collection *collection, struct collection_position *ret_positions, size_t max);
/* Has every one of the positions been reached? (Read your writes: a retrieve's at_least.) */
bool collection_covers(struct collection *collection, const struct collection_position *positions, size_t count);

struct collection_stats {
        size_t documents, chunks; /* live */
        size_t vectors;           /* live chunks with one */
        size_t staged;            /* chunks that wait for their document record */
        size_t bytes_lexical, bytes_vectors, bytes_stored;
        uint64_t applied, skipped; /* records; skipped: unreadable or foreign */
        uint64_t foreign_vectors;  /* chunks whose vector is of another model or unusable */
        int64_t indexed_at_ms;     /* the newest applied record's timestamp; 0: none yet */
};
void collection_stats(struct collection *collection, struct collection_stats *ret_stats);
const char *collection_name(const struct collection *collection);
int collection_version(const struct collection *collection);
size_t collection_dimensions(const struct collection *collection);

/* ---- Searching */

enum search_mode { SEARCH_HYBRID, SEARCH_DENSE, SEARCH_SPARSE };

struct search_request {
        struct span tenant; /* the collection's shared_from tenants are added */
        enum search_mode mode;
        struct span query;             /* text; may be empty in dense mode */
        const float *query_vector;     /* NULL: none; then hybrid and dense fall back to sparse and say so */
        size_t dimensions;             /* of query_vector */
        const struct filter *filter;   /* NULL: none */
        struct fusion_settings fusion; /* start from collection_fusion(); depth is raised to at least 50 and top_k */
        int top_k;                     /* 1 … COLLECTION_TOP_K_MAX */
        bool collapse;                 /* one hit a document: its best chunk */
        bool explain;
};
/* The collection's own settings. */
struct fusion_settings collection_fusion(const struct collection *collection);

struct search_part {
        bool present;                   /* the side took part for this hit */
        double score, normalised, part; /* exact score; as fused; what it added to the hit's score */
};

struct search_hit {
        struct span tenant, id /* "<document>#<n>" */, document, title, text;
        double score;
        struct span metadata; /* a JSON object */
        /* from the metadata, for citations; len 0, 0: none */
        struct span source_document, section_heading;
        int64_t page_number;
        int rank_dense, rank_sparse; /* from 1; 0: not among that side's candidates */
        struct search_part dense, sparse;
};

struct search_result {
        const struct search_hit *hits; /* score descending, then id ascending by bytes, then tenant */
        size_t count;
        enum search_mode mode; /* as carried out */
        struct fusion_settings fusion;
        const char *degraded[2]; /* "dense" "sparse": sides that should have contributed and could not */
        size_t degraded_count;
        const struct collection_position *positions; /* of the state searched */
        size_t position_count;
        int64_t indexed_at_ms;
};

/* Everything in *ret is from the arena. data.schema: a bad top_k, alpha or query; model.dimension_mismatch, model.not_finite:
 * the query vector (one of zeros counts as none); data.too_large: the arena is full. */
int collection_search(struct collection *collection, const struct search_request *request, struct arena *arena,
                      struct search_result *ret, struct error *err);

/* A retrieve's `result` object (contract §4). lag_records < 0: unknown (null). indexed_at_ms 0: null. Parts are shown with
 * explain. */
void collection_render_result(struct buffer *out, const struct collection *collection, const struct search_result *result,
                              int64_t lag_records, int64_t indexed_at_ms, bool explain);

/* ---- Writing the index topic */

/* "<tenant>/<document>#<n>" and "<tenant>/<document>". */
void collection_chunk_key(struct buffer *out, struct span tenant, struct span document, int64_t n);
void collection_document_key(struct buffer *out, struct span tenant, struct span document);
/* All of a document's records lie in murmur2("<tenant>/<document>") mod partitions. */
int32_t collection_partition(struct span tenant, struct span document, int32_t partitions);
/* What is indexed and embedded of a chunk: title + " " + text. */
void collection_indexed_text(struct buffer *out, struct span title, struct span text);

struct chunk_record {
        struct span tenant, document;
        int64_t n, version;
        struct span title, text;
        int64_t span_from, span_to;  /* bytes of the source's text */
        const json_t *metadata;      /* the document's; NULL: none */
        struct span section_heading; /* put into the metadata where len > 0 */
        int page_number;             /* put into the metadata where > 0 */
        const float *vector;         /* NULL: none */
        size_t dimensions;
        struct span embedder;
};
/* The records' values. model.not_finite: the vector has NaN or infinity; serving.internal: memory; data.too_large: past out's
 * maximum. */
int collection_encode_chunk(struct buffer *out, const struct chunk_record *record, struct error *err);
int collection_encode_document(struct buffer *out, struct span tenant, struct span document, int64_t version, int64_t chunks,
                               struct error *err);

/* ---- The snapshot: <dir>/snapshot, everything that was applied with the positions it covers */

/* Written beside and renamed into place; applies and searches go on. identity: cluster and topic, so that positions of another
 * are not trusted. data.schema without dir; serving.internal with the system's reason otherwise. */
int collection_snapshot(struct collection *collection, const char *identity, struct error *err);
/* Loads it into a collection to which nothing was applied. identity NULL: any (read-only use, `millrace search`). ret_loaded
 * false (and 0) when there is none; -1 with serving.index_not_ready when it is corrupt, cut short, of another format,
 * collection, model or identity: the collection is empty then, and the caller reads the topic from the start. */
int collection_open_snapshot(struct collection *collection, const char *identity, bool *ret_loaded, struct error *err);

#endif
