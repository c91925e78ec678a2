/*
 * Proves a FAISS build: the C API links and answers, and the loader took the AVX2 library where the CPU has AVX2.
 *
 *      faiss_check [generic|v3|any]     which library must be loaded; the default is what this CPU deserves
 *
 * Prints the path of the library that is loaded. Run by deps.sh before a build is moved into place.
 */
#define _GNU_SOURCE
#include <link.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/index_factory_c.h>

enum { DIMENSIONS = 64, VECTORS = 2000, NEAREST = 5 };

static int die(const char *what)
{
        const char *why = faiss_get_last_error();

        fprintf(stderr, "faiss_check: %s: %s\n", what, why ? why : "wrong answer");
        exit(1);
}

static int remember_faiss(struct dl_phdr_info *info, size_t size, void *arg)
{
        const char *slash = strrchr(info->dlpi_name, '/');

        (void)size;
        if (!slash || strncmp(slash + 1, "libfaiss", 8) != 0)
                return 0;
        snprintf(arg, 4096, "%s", info->dlpi_name);
        return 1;
}

/* Every stored vector must find itself (nearly always, where the index is approximate). */
static void check_finds_itself(FaissIndex *index, const char *name, const float *vectors, int hits_min)
{
        static float distances[VECTORS * NEAREST];
        static idx_t labels[VECTORS * NEAREST];
        int hits = 0;

        if (faiss_Index_train(index, VECTORS, vectors) || faiss_Index_add(index, VECTORS, vectors) ||
            faiss_Index_search(index, VECTORS, vectors, NEAREST, distances, labels))
                die(name);
        for (int i = 0; i < VECTORS; i++)
                hits += labels[i * NEAREST] == i;
        if (hits < hits_min) {
                fprintf(stderr, "faiss_check: %s: %d of %d vectors found themselves\n", name, hits, VECTORS);
                exit(1);
        }
        faiss_Index_free(index);
}

int main(int argc, char **argv)
{
        static float vectors[VECTORS * DIMENSIONS];
        char loaded[4096] = "linked statically";
        const char *want = argc > 1 ? argv[1] : "generic";
        FaissIndexFlat *flat = NULL;
        FaissIndex *hnsw = NULL;
        int is_v3;

#ifdef __x86_64__
        if (argc <= 1 && __builtin_cpu_supports("x86-64-v3"))
                want = "v3";
#endif
        omp_set_num_threads(1);
        srandom(1);
        for (int i = 0; i < VECTORS * DIMENSIONS; i++)
                vectors[i] = (float)random() / (float)RAND_MAX - 0.5f;

        if (faiss_IndexFlat_new_with(&flat, DIMENSIONS, METRIC_L2))
                die("IndexFlat");
        check_finds_itself(flat, "IndexFlat", vectors, VECTORS);
        if (faiss_index_factory(&hnsw, DIMENSIONS, "HNSW32,SQ8", METRIC_L2))
                die("HNSW32,SQ8");
        check_finds_itself(hnsw, "HNSW32,SQ8", vectors, VECTORS * 95 / 100);

        dl_iterate_phdr(remember_faiss, loaded);
        is_v3 = strstr(loaded, "/glibc-hwcaps/x86-64-v3/") != NULL;
        puts(loaded);
        if (strcmp(want, "any") != 0 && is_v3 != (strcmp(want, "v3") == 0)) {
                fprintf(stderr, "faiss_check: wanted the %s library, loaded %s\n", want, loaded);
                return 1;
        }
        return 0;
}
