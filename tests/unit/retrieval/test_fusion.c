#include <criterion/criterion.h>
#include <math.h>

#include "config/base/own.h"
#include "retrieval/fusion.h"

static struct fusion_item item(double dense, int rank_dense, double sparse, int rank_sparse)
{
        struct fusion_item item = {0};

        item.side[FUSION_DENSE].score = dense;
        item.side[FUSION_DENSE].scored = true;
        item.side[FUSION_DENSE].rank = rank_dense;
        item.side[FUSION_SPARSE].score = sparse;
        item.side[FUSION_SPARSE].scored = true;
        item.side[FUSION_SPARSE].rank = rank_sparse;
        return item;
}

static const bool both[FUSION_SIDES] = {true, true};

static void near(double got, double expected)
{
        cr_assert_lt(fabs(got - expected), 1e-12, "%.15g, not %.15g", got, expected);
}

Test(fusion, cross_is_min_max_over_the_union)
{
        const struct fusion_settings settings = {FUSION_CROSS, 0.25, 50};
        struct fusion_item items[] = {item(0.9, 1, 0, 0), item(0.5, 2, 8, 1), item(0.1, 0, 4, 2)};

        fusion_score(&settings, both, items, COUNT_OF(items));
        near(items[0].score, 0.25 * 1 + 0.75 * 0);
        near(items[1].score, 0.25 * 0.5 + 0.75 * 1);
        near(items[2].score, 0.25 * 0 + 0.75 * 0.5);
        near(items[1].side[FUSION_DENSE].normalised, 0.5);
        near(items[1].side[FUSION_SPARSE].part, 0.75);
}

Test(fusion, equal_scores_normalise_to_zero)
{
        const struct fusion_settings cross = {FUSION_CROSS, 0.5, 50}, zscore = {FUSION_ZSCORE, 0.5, 50};
        struct fusion_item items[] = {item(0.5, 1, 2, 1), item(0.5, 2, 3, 2)};

        fusion_score(&cross, both, items, COUNT_OF(items));
        near(items[0].score, 0);
        near(items[1].score, 0.5);
        fusion_score(&zscore, both, items, COUNT_OF(items));
        near(items[0].score, -0.5);
        near(items[1].score, 0.5);
        fusion_score(&cross, both, items, 1);
        near(items[0].score, 0);
}

Test(fusion, zscore_is_in_standard_deviations)
{
        const struct fusion_settings settings = {FUSION_ZSCORE, 1, 50};
        struct fusion_item items[] = {item(2, 1, 0, 0), item(4, 2, 0, 0), item(4, 3, 0, 0), item(6, 4, 0, 0)};

        fusion_score(&settings, both, items, COUNT_OF(items));
        near(items[0].score, -2 / sqrt(2));
        near(items[1].score, 0);
        near(items[3].score, 2 / sqrt(2));
}

Test(fusion, rrf_sums_reciprocal_ranks)
{
        const struct fusion_settings settings = {FUSION_RRF, 0.1, 50};
        struct fusion_item items[] = {item(0.9, 1, 0, 0), item(0.5, 2, 8, 1), item(0.1, 0, 4, 2)};

        fusion_score(&settings, both, items, COUNT_OF(items));
        near(items[0].score, 1.0 / 61);
        near(items[1].score, 1.0 / 62 + 1.0 / 61);
        near(items[2].score, 1.0 / 62);
        near(items[0].side[FUSION_SPARSE].part, 0);
}

Test(fusion, a_side_that_is_not_active_adds_nothing)
{
        const struct fusion_settings settings = {FUSION_CROSS, 0.5, 50};
        const bool sparse_only[FUSION_SIDES] = {false, true};
        struct fusion_item items[] = {item(9, 1, 1, 2), item(1, 2, 3, 1)};

        fusion_score(&settings, sparse_only, items, COUNT_OF(items));
        near(items[0].score, 0);
        near(items[1].score, 0.5);
        near(items[0].side[FUSION_DENSE].part, 0);
}

Test(fusion, an_item_without_a_score_moves_no_bound)
{
        const struct fusion_settings settings = {FUSION_CROSS, 1, 50};
        struct fusion_item items[] = {item(0.6, 1, 0, 0), item(0.8, 2, 0, 0), item(-5, 0, 1, 1)};

        items[2].side[FUSION_DENSE].scored = false;
        fusion_score(&settings, both, items, COUNT_OF(items));
        near(items[0].score, 0);
        near(items[1].score, 1);
        near(items[2].score, 0);
}

Test(fusion, nothing_to_fuse_is_fine)
{
        const struct fusion_settings settings = {FUSION_CROSS, 0.5, 50};

        fusion_score(&settings, both, NULL, 0);
}
