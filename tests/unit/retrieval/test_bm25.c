#include <criterion/criterion.h>
#include <math.h>

#include "config/base/buffer.h"
#include "retrieval/bm25/bm25.h"

static struct analyzer *analyzer;

static void setup(void)
{
        analyzer = analyzer_new("none", NULL);
}

static void teardown(void)
{
        analyzer_free(analyzer);
}

TestSuite(bm25, .init = setup, .fini = teardown);

static void add(struct bm25 *bm25, uint32_t slot, const char *text)
{
        AUTO_TERM_COUNTS counts;

        cr_assert_eq(term_counts_init(&counts, analyzer, span_of(text), 0, NULL), 0);
        cr_assert_eq(bm25_add(bm25, slot, &counts, NULL), 0);
}

static void score(const struct bm25 *bm25, const char *text, double *scores, size_t count)
{
        AUTO_TERM_COUNTS counts;
        struct bm25_query *query;

        cr_assert_eq(term_counts_init(&counts, analyzer, span_of(text), 0, NULL), 0);
        query = bm25_query_new(bm25, &counts, NULL);
        memset(scores, 0, count * sizeof *scores);
        bm25_score_all(query, scores, count);
        for (size_t slot = 0; slot < count; slot++)
                cr_assert(memcmp(&scores[slot], &(double){bm25_score_one(query, (uint32_t)slot)}, sizeof(double)) == 0,
                          "one by one the same to the last bit");
        bm25_query_free(query);
}

static void near(double got, double expected)
{
        cr_assert_lt(fabs(got - expected), 1e-12, "%.15g, not %.15g", got, expected);
}

Test(bm25, scores_by_hand)
{
        struct bm25 *bm25 = bm25_new(1.2, 0.75, NULL);
        double scores[3], idf = log(1 + (3 - 2 + 0.5) / (2 + 0.5));

        add(bm25, 0, "fox fox dog"); /* lengths 3, 1, 2: average 2 */
        add(bm25, 1, "fox");
        add(bm25, 2, "cat cow");
        score(bm25, "fox", scores, 3);
        near(scores[0], idf * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2)));
        near(scores[1], idf * 1 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 1 / 2)));
        near(scores[2], 0);
        score(bm25, "fox fox", scores, 3);
        near(scores[1], 2 * idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 1 / 2)));
        score(bm25, "unknown", scores, 3);
        near(scores[0], 0);
        bm25_free(bm25);
}

Test(bm25, removal_leaves_the_statistics_of_the_living)
{
        struct bm25 *bm25 = bm25_new(1.2, 0.75, NULL), *fresh = bm25_new(1.2, 0.75, NULL);
        double scores[4], expected[4];

        add(bm25, 0, "fox dog dog dog");
        add(bm25, 1, "fox cat");
        add(bm25, 2, "cat dog");
        bm25_remove(bm25, 0);
        bm25_remove(bm25, 0);
        bm25_remove(bm25, 77);
        add(bm25, 3, "fox");
        add(fresh, 1, "fox cat");
        add(fresh, 2, "cat dog");
        add(fresh, 3, "fox");
        score(bm25, "fox dog", scores, 4);
        score(fresh, "fox dog", expected, 4);
        cr_assert_eq(bm25_live(bm25), 3);
        cr_assert_arr_eq(scores, expected, sizeof scores);
        bm25_free(bm25);
        bm25_free(fresh);
}

Test(bm25, an_empty_index_and_empty_entries_score_nothing)
{
        struct bm25 *bm25 = bm25_new(1.2, 0.75, NULL);
        double scores[1];

        score(bm25, "fox", scores, 1);
        add(bm25, 0, "");
        score(bm25, "fox", scores, 1);
        near(scores[0], 0);
        bm25_remove(bm25, 0);
        cr_assert_eq(bm25_live(bm25), 0);
        bm25_free(bm25);
}

/* ---- Against brute force on random texts */

enum { TEXTS = 400, WORDS = 30, VOCABULARY = 50 };
static int texts[TEXTS][WORDS];
static int lengths[TEXTS]; /* -1: removed */

static unsigned next_random(unsigned *state)
{
        *state = *state * 1664525u + 1013904223u;
        return *state >> 8;
}

static double brute_force(int text, const int *query, int query_len, double k1, double b)
{
        double sum = 0, total = 0, live = 0;

        for (int i = 0; i < TEXTS; i++)
                if (lengths[i] >= 0) {
                        live++;
                        total += lengths[i];
                }
        for (int q = 0; q < query_len; q++) {
                double n = 0, tf = 0;

                for (int i = 0; i < TEXTS; i++) {
                        bool has = false;

                        for (int w = 0; w < lengths[i]; w++)
                                has |= texts[i][w] == query[q];
                        n += has;
                }
                for (int w = 0; w < lengths[text]; w++)
                        tf += texts[text][w] == query[q];
                if (tf > 0)
                        sum += log(1 + (live - n + 0.5) / (n + 0.5)) * tf * (k1 + 1) /
                               (tf + k1 * (1 - b + b * lengths[text] / (total / live)));
        }
        return sum;
}

Test(bm25, agrees_with_brute_force_through_adds_and_removals)
{
        struct bm25 *bm25 = bm25_new(0.9, 0.4, NULL);
        unsigned random = 7;
        double scores[TEXTS];

        for (int i = 0; i < TEXTS; i++) {
                AUTO_BUFFER text = {0};

                buffer_init(&text, 4096);
                lengths[i] = (int)(next_random(&random) % WORDS);
                for (int w = 0; w < lengths[i]; w++) {
                        texts[i][w] = (int)(next_random(&random) % VOCABULARY * (next_random(&random) % VOCABULARY) / VOCABULARY);
                        buffer_printf(&text, "w%d ", texts[i][w]);
                }
                add(bm25, (uint32_t)i, buffer_view(&text).data);
                if (i % 3 == 2) {
                        int gone = (int)(next_random(&random) % (unsigned)i);

                        bm25_remove(bm25, (uint32_t)gone);
                        lengths[gone] = -1;
                }
        }
        for (int round = 0; round < 20; round++) {
                int query[6];
                AUTO_BUFFER text = {0};

                buffer_init(&text, 4096);
                for (int q = 0; q < 6; q++) {
                        query[q] = (int)(next_random(&random) % VOCABULARY);
                        buffer_printf(&text, "w%d ", query[q]);
                }
                score(bm25, buffer_view(&text).data, scores, TEXTS);
                for (int i = 0; i < TEXTS; i++)
                        cr_assert_lt(fabs(scores[i] - (lengths[i] < 0 ? 0 : brute_force(i, query, 6, 0.9, 0.4))), 1e-9);
        }
        bm25_free(bm25);
}
