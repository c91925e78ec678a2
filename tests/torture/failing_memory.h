/* Memory that runs out when told to. The linker's --wrap sends every allocation of the worker's objects and of the libraries linked in
 * statically here; jansson, curl, libxml2, ICU and OpenSSL are given these functions through their own hooks. libev is left alone (it
 * aborts by design), and so are the C library's and C++'s own allocations.
 *
 * Allocations are numbered from 1 while armed, over all threads. What the harness itself needs comes from steady_*, or between
 * memory_pause() and memory_resume(): neither numbered nor failed. Every block is in a table, so that what is left over is known. */
#ifndef TESTS_TORTURE_FAILING_MEMORY_H
#define TESTS_TORTURE_FAILING_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MEMORY_TRACE_MAX = 24, MEMORY_LEAKS_MAX = 16 };

/* Before any thread and before any of the libraries is used. */
void memory_hook_libraries(void);

/* Numbers allocations from 1 on and fails [first, first + run); first 0: none. */
void memory_arm(int64_t first, int64_t run);
/* Goes on counting nothing and fails nothing. */
void memory_disarm(void);
int64_t memory_count(void);  /* numbered so far */
int64_t memory_failed(void); /* failed so far */

/* This thread's allocations: not ours to fail. They nest. */
void memory_pause(void);
void memory_resume(void);
/* This thread's allocations are numbered and failed, but not held against anyone: they last as long as the process. */
void memory_untrack(bool on);

/* Forgets what is held now; from here on memory_held() counts what is allocated and not freed. */
void memory_mark(void);
struct memory_leak {
        size_t bytes;
        void *trace[MEMORY_TRACE_MAX];
        int depth;
};
/* How many blocks of after the mark are held, and the first of them that came while armed. */
size_t memory_held(struct memory_leak *leaks, size_t leaks_max, size_t *ret_shown);

/* Where the first failure struck: the number of addresses. */
int memory_trace(void *trace[MEMORY_TRACE_MAX]);
/* Keeps a whole trace of every block instead of its caller alone: slow. */
void memory_trace_all(bool on);

void *steady_alloc(size_t bytes); /* zeroed; aborts when there is none */
void *steady_copy(const void *data, size_t len); /* and a NUL */
void steady_free(void *memory);

#endif
