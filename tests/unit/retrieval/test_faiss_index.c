#include <criterion/criterion.h>
#include <math.h>

#include "config/base/own.h"
#include "retrieval/vectors/faiss_index.h"

Test(faiss_index, checks_vectors)
{
        float good[] = {3, 4}, zero[] = {0, 0}, nan_[] = {1, NAN}, infinite[] = {INFINITY, 1}, huge[] = {3e38f, 3e38f};
        double norm = 0;
        struct error err;

        cr_assert_eq(vector_check(good, 2, 2, &norm, &err), 0);
        cr_assert_eq(norm, 5);
        cr_assert_eq(vector_check(good, 2, 3, &norm, &err), -1);
        cr_assert_eq(err.code, CODE_DIMENSION_MISMATCH);
        cr_assert_eq(vector_check(zero, 2, 2, &norm, &err), -1);
        cr_assert_eq(err.code, CODE_NOT_FINITE);
        cr_assert_eq(vector_check(nan_, 2, 2, &norm, &err), -1);
        cr_assert_eq(err.code, CODE_NOT_FINITE);
        cr_assert_eq(vector_check(infinite, 2, 2, &norm, &err), -1);
        cr_assert_eq(vector_check(huge, 2, 2, &norm, &err), -1);
}

Test(faiss_index, normalises_and_multiplies)
{
        float a[19], b[19];
        double sum = 0;

        for (int i = 0; i < 19; i++) {
                a[i] = (float)i / 7;
                b[i] = (float)(5 - i);
                sum += (double)a[i] * b[i];
        }
        cr_assert_lt(fabs(vector_dot(a, b, 19) - sum), 1e-9);
        vector_normalise(a, 19, sqrt(vector_dot(a, a, 19)));
        cr_assert_lt(fabs(vector_dot(a, a, 19) - 1), 1e-6);
        cr_assert_eq(vector_dot(a, b, 0), 0);
}

Test(faiss_index, finds_the_nearest_rows)
{
        const float vectors[] = {1, 0, 0, 1, 0.6f, 0.8f}, query[] = {0, 1};
        struct vector_index *index = vector_index_new(2, NULL);
        int64_t rows[8];
        float scores[8];
        size_t count;

        cr_assert_eq(vector_index_search(index, query, 5, rows, scores, &count, NULL), 0);
        cr_assert_eq(count, 0, "of an empty index");
        cr_assert_eq(vector_index_add(index, vectors, 3, NULL), 0);
        cr_assert_eq(vector_index_count(index), 3);
        cr_assert_eq(vector_index_search(index, query, 8, rows, scores, &count, NULL), 0);
        cr_assert_eq(count, 3);
        cr_assert_eq(rows[0], 1);
        cr_assert_eq(rows[1], 2);
        cr_assert_eq(rows[2], 0);
        vector_index_free(index);
}

Test(faiss_index, more_than_one_step_of_vectors_can_be_added)
{
        enum { ROWS = 2500 };
        AUTO_FREE float *vectors = calloc(ROWS * 4, sizeof *vectors);
        struct vector_index *index = vector_index_new(4, NULL);

        for (int i = 0; i < ROWS * 4; i++)
                vectors[i] = (float)(i % 17);
        cr_assert_eq(vector_index_add(index, vectors, ROWS, NULL), 0);
        cr_assert_eq(vector_index_count(index), ROWS);
        vector_index_free(index);
}

Test(faiss_index, refuses_odd_dimensions)
{
        struct error err;

        cr_assert_null(vector_index_new(0, &err));
        cr_assert_eq(err.code, CODE_DIMENSION_MISMATCH);
        cr_assert_null(vector_index_new(VECTOR_DIMENSIONS_MAX + 1, &err));
}

Test(faiss_index, says_which_library_is_loaded)
{
        const char *build = vector_index_build();

        cr_assert(strcmp(build, "avx2") == 0 || strcmp(build, "generic") == 0);
        cr_assert_eq(strcmp(build, "avx2") == 0, __builtin_cpu_supports("avx2") != 0, "where the CPU has AVX2 its build is loaded");
        cr_assert_str_eq(vector_index_version(), "1.7.3");
}
