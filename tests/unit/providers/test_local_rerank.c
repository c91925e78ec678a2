#include <criterion/criterion.h>

#include "config/base/own.h"
#include "providers/formats/local.h"
#include "tests/unit/providers/call_rig.h"

static struct rig rig;

static const double *rerank(const char *query, const struct span *documents, size_t count)
{
        struct call call;

        if (!rig.arena)
                rig_init(&rig, 1);
        rig_call_init(&rig, &call, RIG_RERANK);
        call.rerank.query = span_of(query);
        call.rerank.documents = documents;
        call.rerank.count = count;
        cr_assert_eq(local_run(&call, NULL), 0);
        for (size_t i = 0; i < count; i++)
                cr_assert(call.scores[i] >= 0 && call.scores[i] <= 1, "%f", call.scores[i]);
        return call.scores;
}

Test(local_rerank, prefers_what_covers_the_query)
{
        const struct span documents[] = {SPAN("Bread and butter."), SPAN("The flange torque is 40 Nm."), SPAN("A flange joins pipes."), SPAN("Torque the flange in two steps.")};
        const double *scores = rerank("flange torque", documents, COUNT_OF(documents));

        cr_assert_float_eq(scores[0], 0, 0);
        cr_assert_gt(scores[1], scores[3], "order counts");
        cr_assert_gt(scores[3], scores[2], "coverage counts more");
        cr_assert_gt(scores[2], scores[0]);
}

Test(local_rerank, weighs_rare_words_more)
{
        const struct span documents[] = {SPAN("pump pump pump"), SPAN("pump"), SPAN("pump again"), SPAN("impeller")};
        const double *scores = rerank("pump impeller", documents, COUNT_OF(documents));

        cr_assert_gt(scores[3], scores[0]);
}

Test(local_rerank, prefers_words_near_each_other)
{
        const struct span documents[] = {
                SPAN("checkpoint one two three four five six seven eight nine ten eleven twelve starvation"),
                SPAN("one two three four five six checkpoint a starvation seven eight nine ten eleven twelve"),
        };
        const double *scores = rerank("checkpoint starvation", documents, COUNT_OF(documents));

        cr_assert_gt(scores[1], scores[0]);
}

Test(local_rerank, knows_forms_of_a_word)
{
        const struct span documents[] = {SPAN("nothing here"), SPAN("Connections were pooled.")};
        const double *scores = rerank("connection pooling", documents, 2);

        cr_assert_gt(scores[1], 0.5);
}

Test(local_rerank, is_deterministic_and_keeps_ties)
{
        const struct span documents[] = {SPAN("same words"), SPAN("same words"), SPAN("same words")};
        const double *first = rerank("same words", documents, 3), *second = rerank("same words", documents, 3);

        for (int i = 0; i < 3; i++) {
                cr_assert_float_eq(first[i], first[0], 0);
                cr_assert_float_eq(first[i], second[i], 0);
        }
}

Test(local_rerank, takes_queries_and_documents_of_nothing)
{
        const struct span documents[] = {SPAN(""), SPAN("..."), SPAN("the")};

        rerank("", documents, 3);
        rerank("?!", documents, 3);
        cr_assert_gt(rerank("the", documents, 3)[2], 0, "where a query has only stop words they count");
}
