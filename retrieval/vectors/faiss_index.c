/* FAISS through its C API, and the arithmetic on raw vectors. FAISS's last error is thread-local text about its own calls. */
#include "retrieval/vectors/faiss_index.h"

#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/error_c.h>
#include <link.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ADD_MAX = 1000, LANES = 8 }; /* an add can't be interrupted: small steps */

struct vector_index {
        FaissIndex *faiss;
        size_t dimensions;
};

int vector_check(const float *values, size_t count, size_t dimensions, double *ret_norm, struct error *err)
{
        double squares = 0;

        if (count != dimensions)
                return error_set(err, CODE_DIMENSION_MISMATCH, "a vector has %zu dimensions, the collection's have %zu", count,
                                 dimensions);
        for (size_t i = 0; i < count; i++) {
                if (!isfinite(values[i]))
                        return error_set(err, CODE_NOT_FINITE, "a vector's number %zu is not finite", i);
                squares += (double)values[i] * values[i];
        }
        if (squares < 1e-30 || squares > 1e36) /* a product of two longer ones could overflow FAISS's floats */
                return error_set(err, CODE_NOT_FINITE, "a vector's length is zero or beyond reason");
        *ret_norm = sqrt(squares);
        return 0;
}

void vector_normalise(float *values, size_t count, double norm)
{
        for (size_t i = 0; i < count; i++)
                values[i] = (float)(values[i] / norm);
}

/* Eight sums side by side, two to a register: what every x86-64 has, so that all machines add in the same order. */
double vector_dot(const float *a, const float *b, size_t count)
{
        typedef float floats __attribute__((vector_size(8)));
        typedef double doubles __attribute__((vector_size(16)));
        doubles sums[LANES / 2] = {0};
        double sum = 0;
        size_t i = 0;

        for (; i + LANES <= count; i += LANES) {
                for (size_t pair = 0; pair < LANES / 2; pair++) {
                        floats x, y;

                        memcpy(&x, a + i + 2 * pair, sizeof x);
                        memcpy(&y, b + i + 2 * pair, sizeof y);
                        sums[pair] += __builtin_convertvector(x, doubles) * __builtin_convertvector(y, doubles);
                }
        }
        for (size_t pair = 0; pair < LANES / 2; pair++)
                sum += sums[pair][0] + sums[pair][1];
        for (; i < count; i++)
                sum += (double)a[i] * b[i];
        return sum;
}

/* Each calling thread would get a pool of OpenMP threads of its own. */
static void one_omp_thread(void)
{
        static _Thread_local bool done;

        if (!done)
                omp_set_num_threads(1);
        done = true;
}

static int fault(struct error *err, const char *what)
{
        const char *why = faiss_get_last_error();

        return error_set(err, CODE_INTERNAL, "FAISS could not %s: %s", what, why ? why : "no reason given");
}

struct vector_index *vector_index_new(size_t dimensions, struct error *err)
{
        struct vector_index *index;
        FaissIndexFlatIP *flat = NULL;

        if (dimensions < 1 || dimensions > VECTOR_DIMENSIONS_MAX) {
                error_set(err, CODE_DIMENSION_MISMATCH, "an index has 1 to %d dimensions", VECTOR_DIMENSIONS_MAX);
                return NULL;
        }
        index = calloc(1, sizeof *index);
        if (!index) {
                error_set(err, CODE_INTERNAL, "no memory for a vector index");
                return NULL;
        }
        if (faiss_IndexFlatIP_new_with(&flat, (idx_t)dimensions) != 0) {
                fault(err, "make an index");
                free(index);
                return NULL;
        }
        index->faiss = (FaissIndex *)flat;
        index->dimensions = dimensions;
        return index;
}

void vector_index_free(struct vector_index *index)
{
        if (!index)
                return;
        faiss_Index_free(index->faiss);
        free(index);
}

int vector_index_add(struct vector_index *index, const float *vectors, size_t count, struct error *err)
{
        one_omp_thread();
        for (size_t at = 0; at < count; at += ADD_MAX) {
                size_t some = count - at < ADD_MAX ? count - at : ADD_MAX;

                if (faiss_Index_add(index->faiss, (idx_t)some, vectors + at * index->dimensions) != 0)
                        return fault(err, "add vectors");
        }
        return 0;
}

size_t vector_index_count(const struct vector_index *index)
{
        return (size_t)faiss_Index_ntotal(index->faiss);
}

int vector_index_search(const struct vector_index *index, const float *query, size_t k, int64_t *ret_rows, float *ret_scores,
                        size_t *ret_count, struct error *err)
{
        size_t count = vector_index_count(index);

        if (k > count)
                k = count;
        one_omp_thread();
        if (k > 0 && faiss_Index_search(index->faiss, 1, query, (idx_t)k, ret_scores, ret_rows) != 0)
                return fault(err, "search");
        *ret_count = k;
        return 0;
}

/* ---- Which library it is */

static const char *build = "generic";
static pthread_once_t build_once = PTHREAD_ONCE_INIT;

static int look_for_faiss(struct dl_phdr_info *info, size_t size, void *user)
{
        (void)size;
        (void)user;
        if (!strstr(info->dlpi_name, "libfaiss"))
                return 0;
        if (strstr(info->dlpi_name, "glibc-hwcaps/x86-64-v3") || strstr(info->dlpi_name, "libfaiss_avx2"))
                build = "avx2";
        return 1;
}

static void find_build(void)
{
        dl_iterate_phdr(look_for_faiss, NULL);
}

const char *vector_index_build(void)
{
        pthread_once(&build_once, find_build);
        return build;
}

const char *vector_index_version(void)
{
        return "1.7.3"; /* its C API can't say; the headers' and the library's are pinned together */
}
