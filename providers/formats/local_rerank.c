/* score = .75 × coverage + .15 × nearness + .10 × order, each 0…1:
 *
 *      coverage  the weight of the query's words that the document holds, over the weight of all; a word's share grows with its count,
 *                less and less (tf / (tf + 0.3 × length norm))
 *      nearness  of the query's neighbouring words, how many stand within NEAR_WORDS of each other
 *      order     of those, how many stand next to each other and in the query's order, stop words between them aside
 *
 * A word's weight says how rare it is among the documents given: a word that all of them hold tells them not apart. */
#include "providers/formats/local_rerank.h"

#include <math.h>
#include <string.h>

#include "config/base/own.h"

enum { NEAR_WORDS = 8, SCRATCH_BYTES_MAX = 256 << 20, AVERAGE_WORDS_MIN = 20 };

size_t local_query_find(const struct local_query *query, uint64_t stem)
{
        size_t i = 0;

        while (i < query->count && query->stems[i] != stem)
                i++;
        return i;
}

void local_query_init(struct local_query *query, const struct local_words *words)
{
        bool telling = false;

        *query = (struct local_query){0};
        for (size_t i = 0; i < words->count; i++)
                telling |= !words->list[i].stop;
        for (size_t i = 0; i < words->count && query->count < LOCAL_QUERY_WORDS_MAX; i++) {
                if (telling && words->list[i].stop)
                        continue;
                if (local_query_find(query, words->list[i].stem) == query->count)
                        query->stems[query->count++] = words->list[i].stem;
        }
}

void local_query_weigh(struct local_query *query, const struct local_words *texts, size_t count)
{
        bool seen[LOCAL_QUERY_WORDS_MAX];

        memset(query->found_in, 0, sizeof query->found_in);
        for (size_t i = 0; i < count; i++) {
                memset(seen, 0, sizeof seen);
                for (size_t j = 0; j < texts[i].count; j++) {
                        size_t k = local_query_find(query, texts[i].list[j].stem);

                        if (k < query->count && !seen[k]) {
                                seen[k] = true;
                                query->found_in[k]++;
                        }
                }
        }
        query->weight_sum = 0;
        for (size_t k = 0; k < query->count; k++) {
                double found = (double)query->found_in[k];

                query->weights[k] = log(1.0 + ((double)count - found + 0.5) / (found + 0.5));
                if (query->weights[k] < 0.1)
                        query->weights[k] = 0.1;
                query->weight_sum += query->weights[k];
        }
}

/* Nearness and order of query words k and k + 1 for all k: where each word was seen last decides. */
static double pairs_score(const struct local_query *query, const struct local_words *words)
{
        bool near[LOCAL_QUERY_WORDS_MAX] = {false}, ordered[LOCAL_QUERY_WORDS_MAX] = {false};
        size_t last[LOCAL_QUERY_WORDS_MAX], previous_telling = query->count, position = 0;
        double sum = 0;

        for (size_t k = 0; k < query->count; k++)
                last[k] = SIZE_MAX;
        for (size_t i = 0; i < words->count; i++) {
                size_t k = local_query_find(query, words->list[i].stem);

                position++;
                if (k < query->count) {
                        if (k > 0 && last[k - 1] != SIZE_MAX && position - last[k - 1] <= NEAR_WORDS)
                                near[k] = true;
                        if (k + 1 < query->count && last[k + 1] != SIZE_MAX && position - last[k + 1] <= NEAR_WORDS)
                                near[k + 1] = true;
                        if (k > 0 && previous_telling == k - 1)
                                ordered[k] = true;
                        last[k] = position;
                }
                if (!words->list[i].stop || k < query->count)
                        previous_telling = k;
        }
        if (query->count < 2)
                return 0;
        for (size_t k = 1; k < query->count; k++)
                sum += (near[k] ? 0.15 : 0) + (ordered[k] ? 0.10 : 0);
        return sum / (double)(query->count - 1);
}

static double score_of(const struct local_query *query, const struct local_words *words, double average_words)
{
        double covered = 0, norm = 0.75 + 0.25 * (double)words->count / average_words;
        size_t counts[LOCAL_QUERY_WORDS_MAX] = {0};

        for (size_t i = 0; i < words->count; i++) {
                size_t k = local_query_find(query, words->list[i].stem);

                if (k < query->count)
                        counts[k]++;
        }
        for (size_t k = 0; k < query->count; k++)
                covered += query->weights[k] * (double)counts[k] / ((double)counts[k] + 0.3 * norm);
        covered = query->weight_sum > 0 ? covered / query->weight_sum : 0;
        if (query->count < 2)
                return covered;
        return 0.75 * covered + pairs_score(query, words);
}

int local_rerank(struct call *call, struct error *err)
{
        AUTO_ARENA *scratch = arena_new(SCRATCH_BYTES_MAX);
        struct local_tools *tools = local_tools_get(err);
        struct local_words query_words, *documents;
        struct local_query query;
        double *scores = arena_alloc(call->arena, call->rerank.count * sizeof *scores), average;
        size_t words = 0;

        if (!tools)
                return -1;
        documents = scratch ? arena_alloc(scratch, call->rerank.count * sizeof *documents) : NULL;
        if (!scores || !documents)
                return error_set(err, CODE_INTERNAL, "no room for %zu documents", call->rerank.count);
        if (local_words_of(tools, call->rerank.query, scratch, &query_words, err) < 0)
                return -1;
        for (size_t i = 0; i < call->rerank.count; i++) {
                if (local_words_of(tools, call->rerank.documents[i], scratch, &documents[i], err) < 0)
                        return -1;
                words += documents[i].count;
        }
        local_query_init(&query, &query_words);
        local_query_weigh(&query, documents, call->rerank.count);
        average = (double)words / (double)call->rerank.count;
        if (average < AVERAGE_WORDS_MIN)
                average = AVERAGE_WORDS_MIN;
        for (size_t i = 0; i < call->rerank.count; i++)
                scores[i] = score_of(&query, &documents[i], average);
        call->scores = scores;
        call->usage.input_tokens = (int64_t)(words + query_words.count);
        return 0;
}
