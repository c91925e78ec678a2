/* An exact BM25 index in memory: idf = ln(1 + (N - n + 0.5) / (n + 0.5)), tf part = tf (k1 + 1) / (tf + k1 (1 - b + b
 * length/avgdl)). Query terms count as often as they occur; N, n and the average length are those of the live entries only. Sums
 * are doubles, in the query's order of terms. Not synchronised: readers share, a writer excludes.
 *
 *      term ──► postings: (slot, tf), slots ascending; dead slots stay until half of a list is dead
 *      slot ──► entry: (term, tf) ascending by term, for exact scoring of one entry and for removal */
#ifndef RETRIEVAL_BM25_BM25_H
#define RETRIEVAL_BM25_BM25_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "retrieval/analysis/term_counts.h"

struct bm25;

struct bm25 *bm25_new(double k1, double b, struct error *err);
void bm25_free(struct bm25 *bm25); /* NULL is fine */

/* Adds an entry under a slot that is higher than all before it. -1 with serving.internal (nothing is added) when memory is out. */
int bm25_add(struct bm25 *bm25, uint32_t slot, const struct term_counts *terms, struct error *err);
void bm25_remove(struct bm25 *bm25, uint32_t slot); /* an unknown slot: nothing */

size_t bm25_live(const struct bm25 *bm25);  /* entries: N */
size_t bm25_terms(const struct bm25 *bm25); /* distinct ones ever seen */
size_t bm25_bytes(const struct bm25 *bm25); /* postings, entries and terms in memory, about */

/* A query resolved against the index as it stands; valid until the next change. Holds only terms that occur. */
struct bm25_query;
struct bm25_query *bm25_query_new(const struct bm25 *bm25, const struct term_counts *terms, struct error *err);
void bm25_query_free(struct bm25_query *query); /* NULL is fine */

/* Adds every live entry's score to scores[slot] (slot < scores_len, zeroed by the caller). Entries that no term hits stay 0. */
void bm25_score_all(const struct bm25_query *query, double *scores, size_t scores_len);
/* One entry's score, bit for bit the one of bm25_score_all; 0 where no term hits or the slot is dead. */
double bm25_score_one(const struct bm25_query *query, uint32_t slot);

#endif
