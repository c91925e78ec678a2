#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/retrieval/test_collection_rig.h"

static struct rig rig;

static void setup(void)
{
        rig_init(&rig, NULL, "shared");
}

static void teardown(void)
{
        rig_fini(&rig);
}

TestSuite(collection_search, .init = setup, .fini = teardown);

static const float north[] = {1, 0, 0, 0}, east[] = {0, 1, 0, 0}, north_east[] = {3, 3, 0, 0}, south[] = {-2, 0, 0, 0};

static struct search_request request(enum search_mode mode, const char *query, const float *vector)
{
        return (struct search_request){.tenant = SPAN("t"),
                                       .mode = mode,
                                       .query = span_of(query),
                                       .query_vector = vector,
                                       .dimensions = vector ? RIG_DIMENSIONS : 0,
                                       .fusion = {FUSION_CROSS, 0.5, 50},
                                       .top_k = 10};
}

static const char *search(enum search_mode mode, const char *query, const float *vector)
{
        const struct search_request asked = request(mode, query, vector);

        return rig_search(&rig, &asked);
}

static void near(double got, double expected)
{
        cr_assert_lt(fabs(got - expected), 1e-6, "%.15g, not %.15g", got, expected);
}

static void four_documents(void)
{
        rig_put(&rig, "t", "a", 1, "fox runs", north);
        rig_put(&rig, "t", "b", 1, "fox fox sleeps", east);
        rig_put(&rig, "t", "c", 1, "dog barks", north_east);
        rig_put(&rig, "t", "d", 1, "dog fox", south);
}

Test(collection_search, dense_ranks_by_cosine)
{
        four_documents();
        cr_assert_str_eq(search(SEARCH_DENSE, "", north), "a#0 c#0 b#0 d#0");
        near(rig.result.hits[0].score, 1);
        near(rig.result.hits[1].score, sqrt(0.5));
        near(rig.result.hits[3].score, -1);
        cr_assert_eq(rig.result.hits[1].rank_dense, 2);
        cr_assert_eq(rig.result.hits[1].rank_sparse, 0);
        cr_assert_eq(rig.result.mode, SEARCH_DENSE);
        cr_assert_eq(rig.result.degraded_count, 0);
}

Test(collection_search, sparse_finds_only_matches)
{
        four_documents();
        cr_assert_str_eq(search(SEARCH_SPARSE, "foxes", NULL), "b#0 a#0 d#0");
        cr_assert_str_eq(search(SEARCH_SPARSE, "the", NULL), "");
        cr_assert_str_eq(search(SEARCH_SPARSE, "", NULL), "");
        cr_assert_eq(rig.result.degraded_count, 0);
}

Test(collection_search, hybrid_scores_every_candidate_on_both_sides)
{
        four_documents();
        cr_assert_str_eq(search(SEARCH_HYBRID, "fox", north), "a#0 b#0 c#0 d#0");
        for (size_t i = 0; i < 4; i++) {
                const struct search_hit *hit = &rig.result.hits[i];

                cr_assert(hit->dense.present);
                cr_assert(hit->sparse.present);
                near(hit->score, hit->dense.part + hit->sparse.part);
                cr_assert_gt(hit->rank_dense, 0);
        }
        near(rig.result.hits[1].dense.normalised, 0.5);
        near(rig.result.hits[1].sparse.normalised, 1);
        near(rig.result.hits[2].sparse.score, 0);
        cr_assert_eq(rig.result.hits[2].rank_sparse, 0, "not among the words' candidates");
}

Test(collection_search, rrf_and_alpha_are_heeded)
{
        struct search_request asked;

        four_documents();
        asked = request(SEARCH_HYBRID, "sleeps", south);
        asked.fusion.alpha = 1;
        cr_assert_str_eq(rig_search(&rig, &asked), "d#0 b#0 c#0 a#0");
        asked.fusion.alpha = 0;
        rig_search(&rig, &asked);
        cr_assert(span_is(rig.result.hits[0].id, "b#0"));
        asked.fusion.method = FUSION_RRF;
        rig_search(&rig, &asked);
        near(rig.result.hits[0].score, 1.0 / 62 + 1.0 / 61);
        asked.fusion.method = FUSION_ZSCORE;
        asked.fusion.alpha = 0.5;
        rig_search(&rig, &asked);
        cr_assert_eq(rig.result.count, 4);
}

Test(collection_search, without_a_query_vector_it_degrades_to_words)
{
        const float zeros[RIG_DIMENSIONS] = {0};

        four_documents();
        cr_assert_str_eq(search(SEARCH_HYBRID, "fox", NULL), "b#0 a#0 d#0");
        cr_assert_eq(rig.result.degraded_count, 1);
        cr_assert_str_eq(rig.result.degraded[0], "dense");
        cr_assert_eq(rig.result.mode, SEARCH_SPARSE);
        cr_assert_str_eq(search(SEARCH_DENSE, "fox", NULL), "b#0 a#0 d#0");
        cr_assert_str_eq(rig.result.degraded[0], "dense");
        cr_assert_str_eq(search(SEARCH_HYBRID, "fox", zeros), "b#0 a#0 d#0", "zeros point nowhere");
        cr_assert_eq(rig.result.degraded_count, 1);
}

Test(collection_search, a_side_without_candidates_is_named)
{
        four_documents();
        cr_assert_str_eq(search(SEARCH_HYBRID, "unicorn", north), "a#0 c#0 b#0 d#0");
        cr_assert_eq(rig.result.degraded_count, 1);
        cr_assert_str_eq(rig.result.degraded[0], "sparse");
        near(rig.result.hits[0].score, 0.5);
}

Test(collection_search, an_empty_collection_answers_with_nothing)
{
        cr_assert_str_eq(search(SEARCH_HYBRID, "fox", north), "");
        cr_assert_eq(rig.result.count, 0);
        cr_assert_eq(rig.result.degraded_count, 0);
        cr_assert_eq(rig.result.position_count, 0);
}

Test(collection_search, bad_requests_are_refused)
{
        const float nan_[] = {1, NAN, 0, 0};
        struct search_request asked = request(SEARCH_DENSE, "", nan_);

        cr_assert_str_eq(rig_search(&rig, &asked), "!not_finite");
        asked = request(SEARCH_HYBRID, "", north);
        asked.dimensions = 3;
        cr_assert_str_eq(rig_search(&rig, &asked), "!dimension_mismatch");
        asked = request(SEARCH_SPARSE, "x", NULL);
        asked.top_k = 0;
        cr_assert_str_eq(rig_search(&rig, &asked), "!schema");
        asked.top_k = 1001;
        cr_assert_str_eq(rig_search(&rig, &asked), "!schema");
        asked.top_k = 1000;
        asked.fusion.alpha = NAN;
        cr_assert_str_eq(rig_search(&rig, &asked), "!schema");
}

Test(collection_search, tenants_see_their_own_and_the_shared)
{
        rig_put(&rig, "t", "mine", 1, "fox", north);
        rig_put(&rig, "u", "theirs", 1, "fox", north);
        rig_put(&rig, "shared", "ours", 1, "fox", north);
        cr_assert_str_eq(search(SEARCH_HYBRID, "fox", north), "mine#0 ours#0");
        cr_assert_str_eq(search(SEARCH_DENSE, "fox", north), "mine#0 ours#0");
        cr_assert_str_eq(search(SEARCH_SPARSE, "fox", NULL), "mine#0 ours#0");
        cr_assert(span_is(rig.result.hits[1].tenant, "shared"));
}

Test(collection_search, the_same_id_of_two_tenants_stays_two_hits)
{
        struct search_request asked = request(SEARCH_SPARSE, "fox", NULL);

        rig_put(&rig, "t", "d", 1, "fox", NULL);
        rig_put(&rig, "shared", "d", 1, "fox", NULL);
        cr_assert_str_eq(rig_search(&rig, &asked), "d#0 d#0");
        cr_assert(span_is(rig.result.hits[0].tenant, "shared"), "ties by tenant");
        asked.collapse = true;
        cr_assert_str_eq(rig_search(&rig, &asked), "d#0 d#0");
}

Test(collection_search, ties_go_by_id_bytes)
{
        for (int n = 0; n < 12; n++)
                rig_chunk(&rig, "t", "d", n, 1, "fox", north, NULL);
        rig_document(&rig, "t", "d", 1, 12);
        rig_put(&rig, "t", "c.x", 1, "fox", north);
        cr_assert_str_eq(search(SEARCH_DENSE, "", north), "c.x#0 d#0 d#1 d#10 d#11 d#2 d#3 d#4 d#5 d#6");
        cr_assert_str_eq(search(SEARCH_SPARSE, "fox", NULL), "c.x#0 d#0 d#1 d#10 d#11 d#2 d#3 d#4 d#5 d#6");
        cr_assert_str_eq(search(SEARCH_HYBRID, "fox", north), "c.x#0 d#0 d#1 d#10 d#11 d#2 d#3 d#4 d#5 d#6");
}

Test(collection_search, collapse_keeps_each_documents_best_chunk)
{
        struct search_request asked = request(SEARCH_SPARSE, "fox", NULL);

        for (int n = 0; n < 300; n++)
                rig_chunk(&rig, "t", "big", n, 1, n == 7 ? "fox fox" : "fox fox cat", NULL, NULL);
        rig_document(&rig, "t", "big", 1, 300);
        rig_put(&rig, "t", "small", 1, "fox and a lot of other words here too", NULL);
        asked.collapse = true;
        cr_assert_str_eq(rig_search(&rig, &asked), "big#7 small#0", "though 300 chunks of one document come first");
        asked.mode = SEARCH_HYBRID;
        cr_assert_str_eq(rig_search(&rig, &asked), "big#7 small#0");
}

Test(collection_search, a_filter_comes_before_the_ranking)
{
        AUTO(json_decrefp) json_t *value = json_pack("{s:s,s:s,s:i}", "field", "page", "operator", ">=", "value", 98);
        AUTO_ARENA *arena = arena_new(4096);
        struct search_request asked = request(SEARCH_HYBRID, "fox", north);
        char metadata[128], document[16];

        for (int i = 0; i < 100; i++) {
                snprintf(metadata, sizeof metadata, "{\"page\":%d,\"source_document\":\"s%d\",\"page_number\":%d}", i, i, i);
                snprintf(document, sizeof document, "d%03d", i);
                rig_chunk(&rig, "t", document, 0, 1, "fox", (const float[]){1, (float)i, 0, 0}, metadata);
                rig_document(&rig, "t", document, 1, 1);
        }
        cr_assert_eq(filter_parse(value, arena, &asked.filter, &rig.err), 0);
        cr_assert_str_eq(rig_search(&rig, &asked), "d098#0 d099#0");
        cr_assert(span_is(rig.result.hits[0].source_document, "s98"));
        cr_assert_eq(rig.result.hits[0].page_number, 98);
        cr_assert(span_is(rig.result.hits[0].metadata, "{\"page\":98,\"source_document\":\"s98\",\"page_number\":98}"));
        cr_assert_eq(rig.result.hits[0].rank_dense, 1, "ranks are those of what is allowed");
}

Test(collection_search, a_chunk_without_a_vector_is_found_by_its_words)
{
        rig_put(&rig, "t", "a", 1, "fox", north);
        rig_put(&rig, "t", "b", 1, "fox fox", NULL);
        cr_assert_str_eq(search(SEARCH_DENSE, "", north), "a#0");
        cr_assert_str_eq(search(SEARCH_HYBRID, "fox", north), "b#0 a#0");
        cr_assert_not(rig.result.hits[0].dense.present);
}

Test(collection_search, a_full_arena_is_an_error)
{
        AUTO_ARENA *small = arena_new(256);
        const struct search_request asked = request(SEARCH_HYBRID, "fox", north);

        four_documents();
        cr_assert_eq(collection_search(rig.collection, &asked, small, &rig.result, &rig.err), -1);
        cr_assert_eq(rig.err.code, CODE_TOO_LARGE);
}

Test(collection_search, renders_the_contracts_result)
{
        AUTO_BUFFER out = {0};
        AUTO(json_decrefp) json_t *parsed = NULL;
        const json_t *hit, *freshness;
        char positions[32];

        rig_put(&rig, "t", "a", 1, "a \"fox\"", north);
        search(SEARCH_HYBRID, "fox", east);
        buffer_init(&out, 65536);
        collection_render_result(&out, rig.collection, &rig.result, 3, 1763632800123, true);
        parsed = json_loads(out.data, 0, NULL);
        cr_assert(parsed, "%s", out.data);
        cr_assert_str_eq(json_string_value(json_object_get(parsed, "collection")), "docs");
        cr_assert_eq(json_integer_value(json_object_get(parsed, "index_version")), 3);
        hit = json_array_get(json_object_get(parsed, "hits"), 0);
        cr_assert_str_eq(json_string_value(json_object_get(hit, "id")), "a#0");
        cr_assert_str_eq(json_string_value(json_object_get(hit, "text")), "a \"fox\"");
        cr_assert_eq(json_integer_value(json_object_get(json_object_get(hit, "ranks"), "sparse")), 1);
        cr_assert(json_object_get(json_object_get(hit, "explain"), "dense"));
        freshness = json_object_get(parsed, "freshness");
        cr_assert_eq(json_integer_value(json_object_get(freshness, "lag_records")), 3);
        cr_assert_str_eq(json_string_value(json_object_get(freshness, "indexed_at")), "2025-11-20T10:00:00.123Z");
        snprintf(positions, sizeof positions, "%d", (int)collection_partition(SPAN("t"), SPAN("a"), RIG_PARTITIONS));
        cr_assert_eq(json_integer_value(json_object_get(json_object_get(freshness, "positions"), positions)), 2);
        buffer_reset(&out);
        collection_render_result(&out, rig.collection, &rig.result, -1, 0, false);
        cr_assert(strstr(out.data, "\"lag_records\":null,\"indexed_at\":null"));
        cr_assert_not(strstr(out.data, "explain"));
}

/* ---- Against brute force */

enum { ROWS = 1200 };
static float rows[ROWS][RIG_DIMENSIONS];

static double cosine(const float *a, const float *b)
{
        double dot = 0, aa = 0, bb = 0;

        for (int i = 0; i < RIG_DIMENSIONS; i++) {
                dot += (double)a[i] * b[i];
                aa += (double)a[i] * a[i];
                bb += (double)b[i] * b[i];
        }
        return dot / sqrt(aa * bb);
}

Test(collection_search, dense_agrees_with_brute_force_whichever_way_it_goes)
{
        unsigned random = 11;
        char document[16];
        bool mine[ROWS];
        const struct search_request asked = request(SEARCH_DENSE, "", rows[0]);

        for (int i = 0; i < ROWS; i++) {
                for (int d = 0; d < RIG_DIMENSIONS; d++) {
                        random = random * 1664525u + 1013904223u;
                        rows[i][d] = (float)((int)(random >> 24) % 5 - 2) + (d == 0 ? 0.125f : 0); /* many are equal */
                }
        }
        for (int round = 0; round < 2; round++) { /* first one tenant alone (FAISS proposes), then another beside it (a scan) */
                for (int i = 0; i < ROWS; i++) {
                        mine[i] = round == 0 || i % 3 != 0;
                        snprintf(document, sizeof document, "%05d", i);
                        if (round == 0 || !mine[i])
                                rig_put(&rig, mine[i] ? "t" : "u", document, 1, "x", rows[i]);
                        if (!mine[i])
                                rig_delete(&rig, "t", document);
                }
                for (int q = 0; q < 40; q++) {
                        struct search_request one = asked;

                        one.query_vector = rows[q * 7];
                        rig_search(&rig, &one);
                        cr_assert_eq(rig.result.count, 10);
                        for (size_t h = 0; h < 10; h++) { /* each hit: no better one is missing */
                                int hit = (int)strtol(rig.result.hits[h].document.data, NULL, 10), better = 0;
                                double score = cosine(rows[hit], one.query_vector);

                                cr_assert(mine[hit]);
                                near(rig.result.hits[h].score, score);
                                for (int i = 0; i < ROWS; i++) {
                                        double other = cosine(rows[i], one.query_vector);

                                        better += mine[i] && (other > score + 1e-6 || (fabs(other - score) <= 1e-6 && i < hit));
                                }
                                cr_assert_eq(better, (int)h, "round %d query %d hit %zu", round, q, h);
                        }
                }
        }
}

/* ---- Searches and applies at once */

enum { WRITES = 400 };
static atomic_bool stop;
static atomic_int torn;

static void *keep_searching(void *unused)
{
        struct arena *arena = arena_new(8 << 20);
        const struct search_request asked = request(SEARCH_HYBRID, "fox", north);
        struct search_result result;

        (void)unused;
        while (!atomic_load(&stop)) {
                arena_reset(arena);
                if (collection_search(rig.collection, &asked, arena, &result, NULL) < 0) {
                        atomic_fetch_add(&torn, 1);
                        continue;
                }
                /* every version has two chunks with the same text: never one, never of two versions */
                if (result.count != 0 && (result.count != 2 || !span_equal(result.hits[0].text, result.hits[1].text)))
                        atomic_fetch_add(&torn, 1);
        }
        arena_free(arena);
        return NULL;
}

Test(collection_search, a_search_sees_a_document_whole_while_it_changes)
{
        pthread_t threads[2];
        char text[32];

        for (int i = 0; i < 2; i++)
                pthread_create(&threads[i], NULL, keep_searching, NULL);
        for (int version = 1; version <= WRITES; version++) {
                snprintf(text, sizeof text, "fox number%d", version);
                rig_chunk(&rig, "t", "d", 0, version, text, north, NULL);
                rig_chunk(&rig, "t", "d", 1, version, text, east, NULL);
                rig_document(&rig, "t", "d", version, 2);
                if (version % 50 == 0)
                        rig_delete(&rig, "t", "d");
        }
        atomic_store(&stop, true);
        for (int i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        cr_assert_eq(atomic_load(&torn), 0);
}
