/* One life of one request in this process, with memory failing at one place; and what came of it. */
#ifndef TESTS_TORTURE_ONE_LIFE_H
#define TESTS_TORTURE_ONE_LIFE_H

#include "tests/torture/failing_memory.h"
#include "tests/torture/lives.h"

enum { VERDICT_TEXT_MAX = 1024, ENDING_MAX = 64, RESULT_TEXT_MAX = 16384 };

/* In memory shared with the parent. */
struct verdict {
        bool complete;               /* the child came to its end */
        int64_t count, failed;       /* allocations numbered, and failed */
        char ending[ENDING_MAX];     /* the record's first end */
        bool dropped, out_of_memory; /* it was given back undone; the worker would end itself */
        bool not_built;
        char fault[VERDICT_TEXT_MAX]; /* "": none */
        char result[RESULT_TEXT_MAX]; /* in peace: what must come of it, without what is different every time */
        size_t held;                  /* blocks left over at the end */
        size_t leak_count;            /* those shown: of the armed time */
        struct memory_leak leaks[MEMORY_LEAKS_MAX];
        void *trace[MEMORY_TRACE_MAX];
        int depth;
        void *crash[MEMORY_TRACE_MAX]; /* where a signal struck */
        int crash_depth;
        int64_t took_ms;
};

/* Fails allocations [first, first + run) of the life; first 0: none. peace: the verdict of such a run, NULL for that run itself.
 * `number` makes tenant and ids unlike any other's. */
void one_life(const struct life *life, int64_t number, int64_t first, int64_t run, const struct verdict *peace, struct verdict *verdict);

#endif
