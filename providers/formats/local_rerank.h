/* local-rerank: how well each document answers a query, by its words alone; and the words' weights, which local-answer shares. */
#ifndef PROVIDERS_FORMATS_LOCAL_RERANK_H
#define PROVIDERS_FORMATS_LOCAL_RERANK_H

#include "providers/call.h"
#include "providers/formats/local_words.h"

enum { LOCAL_QUERY_WORDS_MAX = 64 /* distinct ones; later ones don't count */ };

/* A query's distinct words that tell something (all of them where none does), in order. */
struct local_query {
        uint64_t stems[LOCAL_QUERY_WORDS_MAX];
        double weights[LOCAL_QUERY_WORDS_MAX]; /* how rare among the texts it is asked of; local_query_weigh */
        size_t found_in[LOCAL_QUERY_WORDS_MAX]; /* how many of the texts */
        size_t count;
        double weight_sum;
};

void local_query_init(struct local_query *query, const struct local_words *words);
/* The place of a stem in the query, or query->count. */
size_t local_query_find(const struct local_query *query, uint64_t stem);
/* Counts in which of the texts each word stands, and weighs it: ln(1 + (n − found + ½)/(found + ½)), at least a tenth. */
void local_query_weigh(struct local_query *query, const struct local_words *texts, size_t count);

int local_rerank(struct call *call, struct error *err);

#endif
