/* Nearest vectors by inner product over a Flat FAISS index: the only file that knows FAISS. It proposes candidates; the scores that
 * count are computed by vector_dot from the raw vectors their owner keeps. Rows number the vectors in order of addition and never
 * move; who deletes keeps book of dead rows and over-fetches, and rebuilds now and then.
 * Searches may run at once; adding excludes them. OpenMP is held to one thread in every calling thread. */
#ifndef RETRIEVAL_VECTORS_FAISS_INDEX_H
#define RETRIEVAL_VECTORS_FAISS_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"

enum { VECTOR_DIMENSIONS_MAX = 8192 };

/* -1 with model.not_finite (NaN, infinity, or a length that is 0 or overflows) where values can't serve as a vector; with
 * model.dimension_mismatch where count differs from dimensions. Else 0 and the length (Euclidean norm). */
int vector_check(const float *values, size_t count, size_t dimensions, double *ret_norm, struct error *err);
/* Scales to unit length. */
void vector_normalise(float *values, size_t count, double norm);
/* Summed in double, in a fixed order: the same everywhere. */
double vector_dot(const float *a, const float *b, size_t count);

struct vector_index;
struct vector_index *vector_index_new(size_t dimensions, struct error *err);
void vector_index_free(struct vector_index *index); /* NULL is fine */

/* Copies count vectors that passed vector_check; they become rows [vector_index_count, … + count). */
int vector_index_add(struct vector_index *index, const float *vectors, size_t count, struct error *err);
size_t vector_index_count(const struct vector_index *index);
/* The k rows nearest to query (k is cut to the count), best first by FAISS's float scores. */
int vector_index_search(const struct vector_index *index, const float *query, size_t k, int64_t *ret_rows, float *ret_scores,
                        size_t *ret_count, struct error *err);

/* Which FAISS is loaded: "avx2" or "generic", as the loader chose it; and its version. Static strings. */
const char *vector_index_build(void);
const char *vector_index_version(void);

#endif
