/* A search, under the state lock for reading:
 *
 *      allowed ──► sparse candidates (BM25 over everything) ─┐
 *         └──────► dense candidates (FAISS or every vector) ─┴─► union, exact scores, fusion ──► collapse, top_k ──► hits
 *
 * Filter and tenants come before ranking: candidates are the best `depth` of what is allowed. All is exact: FAISS only proposes,
 * and only where it can't miss (no filter, few dead rows, its float scores a safe margin apart at the edge); else every vector
 * is scored. */
#include <math.h>
#include <stdlib.h>

#include "config/base/own.h"
#include "retrieval/collection_state.h"
#include "retrieval/fusion.h"

enum { DEPTH_MAX = 10000, FAISS_SLACK = 8, TENANTS_MAX = 64 };

struct candidate {
        double score;
        uint32_t slot;
};

/* One side's best: a heap with the worst on top while it fills, then sorted, best first. */
struct ranking {
        struct candidate *items;
        size_t count, cap;
};

struct fused {
        uint32_t slot;
        struct fusion_item item;
};

struct search {
        struct collection *collection;
        const struct search_request *request;
        struct arena *arena;
        struct span tenants[TENANTS_MAX];
        size_t tenant_count;
        bool use_dense, use_sparse;
        struct fusion_settings fusion;
        float *vector; /* the query's, as the stored ones are */
        double vector_norm;
        struct bm25_query *query;
        double *scores;   /* BM25 by slot */
        uint8_t *allowed; /* by slot; NULL: every live one */
        struct ranking sides[FUSION_SIDES];
        struct fused *fused;
        size_t fused_count;
};

/* ---- Order */

static int compare_spans(struct span a, struct span b)
{
        size_t common = a.len < b.len ? a.len : b.len;
        int order = common ? memcmp(a.data, b.data, common) : 0;

        return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* < 0: a comes before b. Score descending, id ascending by bytes, tenant. */
static int compare_ranked(const struct collection *collection, double score_a, uint32_t slot_a, double score_b, uint32_t slot_b)
{
        const struct stored_chunk *a = collection->chunks[slot_a], *b = collection->chunks[slot_b];
        int order;

        if (score_a > score_b || score_a < score_b)
                return score_a > score_b ? -1 : 1;
        order = compare_spans(a->id, b->id);
        return order ? order : compare_spans(a->tenant, b->tenant);
}

static int compare_candidates(const void *a, const void *b, void *collection)
{
        const struct candidate *x = a, *y = b;

        return compare_ranked(collection, x->score, x->slot, y->score, y->slot);
}

static int compare_fused(const void *a, const void *b, void *collection)
{
        const struct fused *x = a, *y = b;

        return compare_ranked(collection, x->item.score, x->slot, y->item.score, y->slot);
}

static void sift_down(const struct collection *collection, struct ranking *ranking, size_t at)
{
        for (;;) {
                size_t worst = at;

                for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < ranking->count; child++)
                        if (compare_candidates(&ranking->items[child], &ranking->items[worst], (void *)(uintptr_t)collection) > 0)
                                worst = child;
                if (worst == at)
                        return;
                struct candidate swap = ranking->items[at];

                ranking->items[at] = ranking->items[worst];
                ranking->items[worst] = swap;
                at = worst;
        }
}

static void offer(const struct collection *collection, struct ranking *ranking, double score, uint32_t slot)
{
        struct candidate candidate = {score, slot};
        size_t at = ranking->count;

        if (at == ranking->cap) {
                if (compare_candidates(&candidate, &ranking->items[0], (void *)(uintptr_t)collection) < 0) {
                        ranking->items[0] = candidate;
                        sift_down(collection, ranking, 0);
                }
                return;
        }
        ranking->items[ranking->count++] = candidate;
        while (at > 0 &&
               compare_candidates(&ranking->items[at], &ranking->items[(at - 1) / 2], (void *)(uintptr_t)collection) > 0) {
                struct candidate swap = ranking->items[at];

                ranking->items[at] = ranking->items[(at - 1) / 2];
                ranking->items[(at - 1) / 2] = swap;
                at = (at - 1) / 2;
        }
}

static int start_ranking(struct ranking *ranking, size_t depth, struct error *err)
{
        struct candidate *items = reallocarray(ranking->items, depth, sizeof *items);

        if (!items)
                return error_set(err, CODE_INTERNAL, "no memory for %zu candidates", depth);
        ranking->items = items;
        ranking->count = 0;
        ranking->cap = depth;
        return 0;
}

/* ---- What may be found */

static void add_tenant(struct search *search, struct span tenant)
{
        for (size_t i = 0; i < search->tenant_count; i++)
                if (span_equal(search->tenants[i], tenant))
                        return;
        if (search->tenant_count < TENANTS_MAX)
                search->tenants[search->tenant_count++] = tenant;
}

static bool tenant_allowed(const struct search *search, struct span tenant)
{
        for (size_t i = 0; i < search->tenant_count; i++)
                if (span_equal(search->tenants[i], tenant))
                        return true;
        return false;
}

static size_t chunks_of_tenants(const struct search *search)
{
        size_t chunks = 0;

        for (size_t i = 0; i < search->tenant_count; i++) {
                const struct tenant_count *tenant;

                HASH_FIND(hh, search->collection->tenants, search->tenants[i].data, (unsigned)search->tenants[i].len, tenant);
                chunks += tenant ? tenant->chunks : 0;
        }
        return chunks;
}

static int find_allowed(struct search *search, struct error *err)
{
        const struct collection *collection = search->collection;

        if (!search->request->filter && chunks_of_tenants(search) == collection->live_chunks)
                return 0;
        search->allowed = calloc(collection->slot_count + 1, 1);
        if (!search->allowed)
                return error_set(err, CODE_INTERNAL, "no memory for a filter's chunks");
        for (size_t slot = 0; slot < collection->slot_count; slot++) {
                const struct stored_chunk *chunk = collection->chunks[slot];

                search->allowed[slot] = chunk && tenant_allowed(search, chunk->tenant) &&
                                        filter_matches(search->request->filter, chunk->metadata);
        }
        return 0;
}

static bool is_allowed(const struct search *search, size_t slot)
{
        return search->collection->chunks[slot] && (!search->allowed || search->allowed[slot]);
}

/* ---- Candidates */

static int rank_sparse(struct search *search, size_t depth, struct error *err)
{
        struct collection *collection = search->collection;
        struct ranking *ranking = &search->sides[FUSION_SPARSE];

        if (start_ranking(ranking, depth, err) < 0)
                return -1;
        for (size_t slot = 0; slot < collection->slot_count; slot++)
                if (search->scores[slot] > 0 && is_allowed(search, slot))
                        offer(collection, ranking, search->scores[slot], (uint32_t)slot);
        qsort_r(ranking->items, ranking->count, sizeof *ranking->items, compare_candidates, collection);
        return 0;
}

static double dense_score(const struct search *search, uint32_t slot)
{
        return vector_dot(search->vector, search->collection->chunks[slot]->vector, search->collection->dimensions);
}

static void rank_all_vectors(struct search *search, struct ranking *ranking)
{
        struct collection *collection = search->collection;

        for (size_t slot = 0; slot < collection->slot_count; slot++)
                if (is_allowed(search, slot) && collection->chunks[slot]->vector)
                        offer(collection, ranking, dense_score(search, (uint32_t)slot), (uint32_t)slot);
}

/* The ranking from FAISS's k nearest rows. Returns whether it is certainly what rank_all_vectors would give. */
static bool rank_proposed(struct search *search, struct ranking *ranking, size_t k, int64_t *rows, float *scores)
{
        struct collection *collection = search->collection;
        double margin = 6e-8 * (double)collection->dimensions * search->vector_norm *
                        collection->norm_max; /* floats' rounding, at most */
        size_t count;

        ranking->count = 0;
        if (vector_index_search(collection->vectors, search->vector, k, rows, scores, &count, NULL) < 0)
                return false;
        for (size_t i = 0; i < count; i++) {
                uint32_t slot;

                if (rows[i] < 0)
                        return false;
                slot = collection->row_slots[rows[i]];
                if (collection->chunks[slot])
                        offer(collection, ranking, dense_score(search, slot), slot);
        }
        return ranking->count == ranking->cap && (double)scores[count - 1] + margin < ranking->items[0].score;
}

static int rank_dense(struct search *search, size_t depth, struct error *err)
{
        struct collection *collection = search->collection;
        struct ranking *ranking = &search->sides[FUSION_DENSE];
        size_t rows = vector_index_count(collection->vectors), k = depth + (rows - collection->live_vectors) + FAISS_SLACK;
        bool sure = false;

        if (start_ranking(ranking, depth, err) < 0)
                return -1;
        if (!search->allowed && k < rows / 4) {
                AUTO_FREE int64_t *found = calloc(k, sizeof *found);
                AUTO_FREE float *scores = calloc(k, sizeof *scores);

                sure = found && scores && rank_proposed(search, ranking, k, found, scores);
        }
        if (!sure) {
                ranking->count = 0;
                rank_all_vectors(search, ranking);
        }
        qsort_r(ranking->items, ranking->count, sizeof *ranking->items, compare_candidates, collection);
        return 0;
}

/* ---- Fusion */

static int compare_slots(const void *a, const void *b)
{
        uint32_t x = ((const struct fused *)a)->slot, y = ((const struct fused *)b)->slot;

        return (x > y) - (x < y);
}

/* The union of both sides' candidates; each knows its ranks. */
static int unite(struct search *search, struct error *err)
{
        size_t all = search->sides[FUSION_DENSE].count + search->sides[FUSION_SPARSE].count, count = 0, kept = 0;
        struct fused *fused = reallocarray(search->fused, all + 1, sizeof *fused);

        if (!fused)
                return error_set(err, CODE_INTERNAL, "no memory for %zu candidates", all);
        search->fused = fused;
        for (int side = 0; side < FUSION_SIDES; side++)
                for (size_t i = 0; i < search->sides[side].count; i++) {
                        struct fused *one = &fused[count++];

                        *one = (struct fused){.slot = search->sides[side].items[i].slot};
                        one->item.side[side].score = search->sides[side].items[i].score;
                        one->item.side[side].scored = true;
                        one->item.side[side].rank = (int)i + 1;
                }
        qsort(fused, count, sizeof *fused, compare_slots);
        for (size_t i = 0; i < count; i++) {
                if (kept > 0 && fused[kept - 1].slot == fused[i].slot) {
                        for (int side = 0; side < FUSION_SIDES; side++)
                                if (fused[i].item.side[side].scored)
                                        fused[kept - 1].item.side[side] = fused[i].item.side[side];
                } else {
                        fused[kept++] = fused[i];
                }
        }
        search->fused_count = kept;
        return 0;
}

static void fuse(struct search *search, struct fusion_item *items)
{
        const bool active[FUSION_SIDES] = {search->sides[FUSION_DENSE].count > 0, search->sides[FUSION_SPARSE].count > 0};

        for (size_t i = 0; i < search->fused_count; i++) {
                struct fused *one = &search->fused[i];

                if (active[FUSION_DENSE] && !one->item.side[FUSION_DENSE].scored && search->collection->chunks[one->slot]->vector) {
                        one->item.side[FUSION_DENSE].score = dense_score(search, one->slot);
                        one->item.side[FUSION_DENSE].scored = true;
                }
                if (active[FUSION_SPARSE] && !one->item.side[FUSION_SPARSE].scored) {
                        one->item.side[FUSION_SPARSE].score = bm25_score_one(search->query, one->slot);
                        one->item.side[FUSION_SPARSE].scored = true;
                }
                items[i] = one->item;
        }
        fusion_score(&search->fusion, active, items, search->fused_count);
        for (size_t i = 0; i < search->fused_count; i++)
                search->fused[i].item = items[i];
}

static int rank(struct search *search, size_t depth, struct error *err)
{
        AUTO_FREE struct fusion_item *items = NULL;

        if ((search->use_sparse && rank_sparse(search, depth, err) < 0) ||
            (search->use_dense && rank_dense(search, depth, err) < 0) || unite(search, err) < 0)
                return -1;
        if (search->use_dense && search->use_sparse) {
                items = calloc(search->fused_count + 1, sizeof *items);
                if (!items)
                        return error_set(err, CODE_INTERNAL, "no memory for %zu candidates", search->fused_count);
                fuse(search, items);
        } else {
                enum fusion_side side = search->use_dense ? FUSION_DENSE : FUSION_SPARSE;

                for (size_t i = 0; i < search->fused_count; i++)
                        search->fused[i].item.score = search->fused[i].item.side[side].score;
        }
        qsort_r(search->fused, search->fused_count, sizeof *search->fused, compare_fused, search->collection);
        return 0;
}

/* Keeps each document's best chunk. */
static int collapse(struct search *search, struct error *err)
{
        struct seen {
                UT_hash_handle hh;
        } *table = NULL, *seen, *all = calloc(search->fused_count + 1, sizeof *all);
        size_t kept = 0;
        bool whole = true;

        if (!all)
                return error_set(err, CODE_INTERNAL, "no memory to collapse %zu hits", search->fused_count);
        for (size_t i = 0; i < search->fused_count; i++) {
                const struct stored_chunk *chunk = search->collection->chunks[search->fused[i].slot];
                size_t key_len = chunk->tenant.len + 1 + chunk->document.len; /* "<tenant>/<document>" */

                HASH_FIND(hh, table, chunk->tenant.data, (unsigned)key_len, seen);
                if (seen)
                        continue;
                HASH_ADD_KEYPTR(hh, table, chunk->tenant.data, (unsigned)key_len, &all[i]);
                if (!all[i].hh.tbl) {
                        whole = false;
                        break;
                }
                search->fused[kept++] = search->fused[i];
        }
        HASH_CLEAR(hh, table);
        free(all);
        if (!whole)
                return error_set(err, CODE_INTERNAL, "no memory to collapse %zu hits", search->fused_count);
        search->fused_count = kept;
        return 0;
}

/* Ranks; one hit a document may need to look deeper than one hit a chunk. */
static int rank_and_collapse(struct search *search, struct error *err)
{
        size_t top_k = (size_t)search->request->top_k, depth = (size_t)search->fusion.depth;

        for (;; depth *= 4) {
                bool more = false;

                if (rank(search, depth, err) < 0)
                        return -1;
                for (int side = 0; side < FUSION_SIDES; side++)
                        more |= search->sides[side].count == depth;
                if (!search->request->collapse)
                        break;
                if (collapse(search, err) < 0)
                        return -1;
                if (search->fused_count >= top_k || !more)
                        break;
        }
        if (search->fused_count > top_k)
                search->fused_count = top_k;
        return 0;
}

/* ---- Hits */

static void copy_positions(struct search *search, struct search_result *result)
{
        struct collection *collection = search->collection;
        struct collection_position *positions;
        size_t count;

        pthread_mutex_lock(&collection->positions_lock);
        result->indexed_at_ms = collection->indexed_at_ms;
        count = (size_t)collection->partition_end;
        pthread_mutex_unlock(&collection->positions_lock);
        positions = arena_alloc(search->arena, (count + 1) * sizeof *positions);
        if (!positions)
                return;
        result->position_count = collection_positions(collection, positions, count);
        if (result->position_count > count)
                result->position_count = count; /* a new partition just came; it holds nothing we saw */
        result->positions = positions;
}

static void name_degraded(const struct search *search, struct search_result *result)
{
        bool dense_wanted = search->request->mode != SEARCH_SPARSE, sparse_wanted = search->request->mode == SEARCH_HYBRID;
        bool dense = search->use_dense && search->sides[FUSION_DENSE].count > 0, sparse = search->sides[FUSION_SPARSE].count > 0;

        if (dense_wanted && (!search->use_dense || (!dense && sparse)))
                result->degraded[result->degraded_count++] = "dense";
        if (sparse_wanted && !sparse && dense)
                result->degraded[result->degraded_count++] = "sparse";
}

static int fill_result(struct search *search, struct search_result *ret, struct error *err)
{
        struct search_result result = {
                .count = search->fused_count,
                .mode = !search->use_dense ? SEARCH_SPARSE
                      : search->use_sparse ? SEARCH_HYBRID
                                           : SEARCH_DENSE,
                .fusion = search->fusion,
        };
        struct search_hit *hits = arena_alloc(search->arena, (search->fused_count + 1) * sizeof *hits);

        for (size_t i = 0; hits && i < search->fused_count && arena_ok(search->arena); i++)
                hit_fill(search->arena, search->collection->chunks[search->fused[i].slot], &search->fused[i].item, &hits[i]);
        copy_positions(search, &result);
        if (!arena_ok(search->arena))
                return error_set(err, arena_fault(search->arena), "the hits take more memory than a request may have; ask for a smaller top_k");
        result.hits = hits;
        name_degraded(search, &result);
        *ret = result;
        return 0;
}

/* ---- The whole */

static int check_request(struct search *search, struct error *err)
{
        const struct search_request *request = search->request;

        if (request->top_k < 1 || request->top_k > COLLECTION_TOP_K_MAX)
                return error_set(err, CODE_SCHEMA, "top_k: must be 1 to %d", COLLECTION_TOP_K_MAX);
        if (!(request->fusion.alpha >= 0 && request->fusion.alpha <= 1))
                return error_set(err, CODE_SCHEMA, "fusion.alpha: must be 0 to 1");
        if (request->query.len > INT32_MAX)
                return error_set(err, CODE_SCHEMA, "query: is too long");
        search->fusion = request->fusion;
        if (search->fusion.depth < FUSION_DEPTH_MIN)
                search->fusion.depth = FUSION_DEPTH_MIN;
        if (search->fusion.depth > DEPTH_MAX)
                search->fusion.depth = DEPTH_MAX;
        if (search->fusion.depth < request->top_k)
                search->fusion.depth = request->top_k;
        return 0;
}

static bool all_zero(const float *values, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (values[i] < 0 || values[i] > 0 || isnan(values[i]))
                        return false;
        return true;
}

/* The query's vector as the stored ones are; none where it is missing or has no direction. */
static int take_vector(struct search *search, struct error *err)
{
        const struct search_request *request = search->request;
        size_t dimensions = search->collection->dimensions;

        if (request->mode == SEARCH_SPARSE || !request->query_vector)
                return 0;
        if (request->dimensions == dimensions && all_zero(request->query_vector, dimensions))
                return 0;
        if (vector_check(request->query_vector, request->dimensions, dimensions, &search->vector_norm, err) < 0)
                return -1;
        search->vector = malloc(dimensions * sizeof *search->vector);
        if (!search->vector)
                return error_set(err, CODE_INTERNAL, "no memory for a query's vector");
        memcpy(search->vector, request->query_vector, dimensions * sizeof *search->vector);
        if (search->collection->metric == METRIC_COSINE) {
                vector_normalise(search->vector, dimensions, search->vector_norm);
                search->vector_norm = 1;
        }
        return 0;
}

static int search_locked(struct search *search, const struct term_counts *terms, struct search_result *ret, struct error *err)
{
        struct collection *collection = search->collection;

        if (find_allowed(search, err) < 0)
                return -1;
        if (search->use_sparse) {
                search->query = bm25_query_new(collection->bm25, terms, err);
                if (!search->query)
                        return -1;
                search->scores = calloc(collection->slot_count + 1, sizeof *search->scores);
                if (!search->scores)
                        return error_set(err, CODE_INTERNAL, "no memory for the scores of %zu chunks", collection->slot_count);
                bm25_score_all(search->query, search->scores, collection->slot_count);
        }
        if (rank_and_collapse(search, err) < 0)
                return -1;
        return fill_result(search, ret, err);
}

static int search_analysed(struct search *search, struct search_result *ret, struct error *err)
{
        struct collection *collection = search->collection;
        struct analyzer *analyzer = collection_take_analyzer(collection, err);
        AUTO_TERM_COUNTS terms = {0};
        int result;

        if (!analyzer)
                return -1;
        result = term_counts_init(&terms, analyzer, search->use_sparse ? search->request->query : SPAN(""), QUERY_TERMS_MAX, err);
        collection_give_analyzer(collection, analyzer);
        if (result < 0)
                return -1;
        pthread_rwlock_rdlock(&collection->state_lock);
        result = search_locked(search, &terms, ret, err);
        pthread_rwlock_unlock(&collection->state_lock);
        return result;
}

int collection_search(struct collection *collection, const struct search_request *request, struct arena *arena,
                      struct search_result *ret, struct error *err)
{
        struct search search = {.collection = collection, .request = request, .arena = arena};
        int result;

        add_tenant(&search, request->tenant);
        for (size_t i = 0; i < collection->shared_from_count; i++)
                add_tenant(&search, span_of(collection->shared_from[i]));
        if (check_request(&search, err) < 0 || take_vector(&search, err) < 0)
                return -1;
        search.use_dense = search.vector != NULL;
        search.use_sparse = request->mode != SEARCH_DENSE || !search.use_dense;
        result = search_analysed(&search, ret, err);
        free(search.vector);
        bm25_query_free(search.query);
        free(search.scores);
        free(search.allowed);
        free(search.sides[FUSION_DENSE].items);
        free(search.sides[FUSION_SPARSE].items);
        free(search.fused);
        return result;
}
