/* See failing_memory.h. The table of blocks is a fixed array with open addressing; a lock guards it. */
#include "tests/torture/failing_memory.h"

#include <curl/curl.h>
#include <errno.h>
#include <execinfo.h>
#include <jansson.h>
#include <libxml/xmlmemory.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/uclean.h>

enum { SLOTS = 1 << 17, TRACED_MAX = 1 << 15 };

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_reallocarray(void *old, size_t count, size_t bytes);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t max);
void __wrap_free(void *memory);

struct block_slot {
        void *at; /* NULL: never used; GONE: free again */
        size_t bytes;
        void *caller;
        int64_t number; /* 0: not while armed */
        int traced; /* index + 1 into traces, 0: none */
};

static atomic_bool armed;
static atomic_llong counted, failures;
static char gone;
#define GONE ((void *)&gone)

static struct {
        pthread_mutex_t mutex;
        struct block_slot slots[SLOTS];
        void *traces[TRACED_MAX][MEMORY_TRACE_MAX];
        int depths[TRACED_MAX];
        int traced;
        size_t held;
        bool trace_all, tracking;
} table = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int64_t fail_first, fail_run;
static void *first_trace[MEMORY_TRACE_MAX];
static atomic_int first_depth;
static _Thread_local int paused, untracked;

static size_t slot_of(const void *at)
{
        return (size_t)(((uintptr_t)at >> 4) * 0x9e3779b97f4a7c15u >> 40) % SLOTS;
}

static void remember(void *at, size_t bytes, void *caller)
{
        size_t i = slot_of(at);

        if (!table.tracking || paused || untracked)
                return;
        pthread_mutex_lock(&table.mutex);
        if (table.held >= SLOTS / 2) {
                fprintf(stderr, "torture: more than %d blocks are held\n", SLOTS / 2);
                abort();
        }
        while (table.slots[i].at && table.slots[i].at != GONE)
                i = (i + 1) % SLOTS;
        table.slots[i] = (struct block_slot){at, bytes, caller, atomic_load(&armed) ? atomic_load(&counted) : 0, 0};
        table.held++;
        if (table.trace_all && table.traced < TRACED_MAX) {
                paused++;
                table.depths[table.traced] = backtrace(table.traces[table.traced], MEMORY_TRACE_MAX);
                paused--;
                table.slots[i].traced = ++table.traced;
        }
        pthread_mutex_unlock(&table.mutex);
}

static void forget(const void *at)
{
        size_t i = slot_of(at);

        if (!table.tracking || !at)
                return;
        pthread_mutex_lock(&table.mutex);
        for (size_t n = 0; n < SLOTS && table.slots[i].at; n++, i = (i + 1) % SLOTS) {
                if (table.slots[i].at != at)
                        continue;
                table.slots[i].at = table.slots[(i + 1) % SLOTS].at ? GONE : NULL;
                table.held--;
                break;
        }
        pthread_mutex_unlock(&table.mutex);
}

/* Is this one to fail? */
static bool strike(void)
{
        int64_t n;
        int none = 0;

        if (paused || !atomic_load_explicit(&armed, memory_order_relaxed))
                return false;
        n = atomic_fetch_add(&counted, 1) + 1;
        if (!fail_first || n < fail_first || n - fail_first >= fail_run)
                return false;
        if (atomic_fetch_add(&failures, 1) == 0 && atomic_compare_exchange_strong(&first_depth, &none, -1)) {
                paused++;
                atomic_store(&first_depth, backtrace(first_trace, MEMORY_TRACE_MAX));
                paused--;
        }
        errno = ENOMEM;
        return true;
}

static void *allocate(size_t bytes, bool zeroed, void *caller)
{
        void *result = strike() ? NULL : zeroed ? __real_calloc(1, bytes) : __real_malloc(bytes);

        if (result)
                remember(result, bytes, caller);
        return result;
}

static void *grow(void *old, size_t bytes, void *caller)
{
        void *result;

        if (strike())
                return NULL;
        forget(old); /* before another thread may be given the same address */
        result = __real_realloc(old, bytes);
        if (result)
                remember(result, bytes, caller);
        return result;
}

static char *copy(const char *s, size_t len, void *caller)
{
        char *result = allocate(len + 1, false, caller);

        if (result) {
                memcpy(result, s, len);
                result[len] = '\0';
        }
        return result;
}

void *__wrap_malloc(size_t bytes)
{
        return allocate(bytes, false, __builtin_return_address(0));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
        size_t all;

        return __builtin_mul_overflow(count, bytes, &all) ? NULL : allocate(all, true, __builtin_return_address(0));
}

void *__wrap_realloc(void *old, size_t bytes)
{
        return grow(old, bytes, __builtin_return_address(0));
}

void *__wrap_reallocarray(void *old, size_t count, size_t bytes)
{
        size_t all;

        return __builtin_mul_overflow(count, bytes, &all) ? NULL : grow(old, all, __builtin_return_address(0));
}

char *__wrap_strdup(const char *s)
{
        return copy(s, strlen(s), __builtin_return_address(0));
}

char *__wrap_strndup(const char *s, size_t max)
{
        return copy(s, strnlen(s, max), __builtin_return_address(0));
}

void __wrap_free(void *memory)
{
        forget(memory);
        __real_free(memory);
}

/* ---- The libraries' hooks. What ICU and OpenSSL keep for good once something has failed (caches, a thread's error queue) is theirs:
 * numbered and failed, but not in the table. */

static void *take_for_library(void *old, size_t bytes)
{
        void *memory;

        untracked++;
        memory = old ? __wrap_realloc(old, bytes) : __wrap_malloc(bytes);
        untracked--;
        return memory;
}

static void *crypto_alloc(size_t bytes, const char *file, int line)
{
        (void)file;
        (void)line;
        return take_for_library(NULL, bytes);
}

static void *crypto_grow(void *old, size_t bytes, const char *file, int line)
{
        (void)file;
        (void)line;
        return take_for_library(old, bytes);
}

static void crypto_release(void *memory, const char *file, int line)
{
        (void)file;
        (void)line;
        __wrap_free(memory);
}

static void *icu_alloc(const void *context, size_t bytes)
{
        (void)context;
        return take_for_library(NULL, bytes);
}

static void *icu_grow(const void *context, void *old, size_t bytes)
{
        (void)context;
        return take_for_library(old, bytes);
}

static void icu_release(const void *context, void *memory)
{
        (void)context;
        __wrap_free(memory);
}

void memory_hook_libraries(void)
{
        UErrorCode status = U_ZERO_ERROR;
        void *trace[2];

        backtrace(trace, 2); /* its first call loads a library */
        table.tracking = true;
        json_set_alloc_funcs(__wrap_malloc, __wrap_free);
        u_setMemoryFunctions(NULL, icu_alloc, icu_grow, icu_release, &status);
        if (U_FAILURE(status) || !CRYPTO_set_mem_functions(crypto_alloc, crypto_grow, crypto_release) ||
            curl_global_init_mem(CURL_GLOBAL_ALL, __wrap_malloc, __wrap_free, __wrap_realloc, __wrap_strdup, __wrap_calloc) != CURLE_OK ||
            xmlMemSetup(__wrap_free, __wrap_malloc, __wrap_realloc, __wrap_strdup) != 0) {
                fprintf(stderr, "torture: a library does not take the hooks\n");
                abort();
        }
}

/* ---- The plan */

void memory_arm(int64_t first, int64_t run)
{
        fail_first = first;
        fail_run = run;
        atomic_store(&counted, 0);
        atomic_store(&failures, 0);
        atomic_store(&first_depth, 0);
        atomic_store(&armed, true);
}

void memory_disarm(void)
{
        atomic_store(&armed, false);
}

int64_t memory_count(void)
{
        return atomic_load(&counted);
}

int64_t memory_failed(void)
{
        return atomic_load(&failures);
}

void memory_pause(void)
{
        paused++;
}

void memory_resume(void)
{
        paused--;
}

void memory_untrack(bool on)
{
        untracked += on ? 1 : -1;
}

void memory_trace_all(bool on)
{
        table.trace_all = on;
}

int memory_trace(void *trace[MEMORY_TRACE_MAX])
{
        int depth = atomic_load(&first_depth);

        for (int i = 0; i < depth; i++)
                trace[i] = first_trace[i];
        return depth > 0 ? depth : 0;
}

void memory_mark(void)
{
        pthread_mutex_lock(&table.mutex);
        memset(table.slots, 0, sizeof table.slots);
        table.held = 0;
        table.traced = 0;
        pthread_mutex_unlock(&table.mutex);
}

size_t memory_held(struct memory_leak *leaks, size_t leaks_max, size_t *ret_shown)
{
        size_t shown = 0, held;

        pthread_mutex_lock(&table.mutex);
        for (size_t i = 0; i < SLOTS && shown < leaks_max; i++) {
                const struct block_slot *slot = &table.slots[i];

                if (!slot->at || slot->at == GONE || !slot->number)
                        continue;
                leaks[shown] = (struct memory_leak){.bytes = slot->bytes, .trace = {slot->caller}, .depth = 1};
                if (slot->traced) {
                        leaks[shown].depth = table.depths[slot->traced - 1];
                        memcpy(leaks[shown].trace, table.traces[slot->traced - 1], sizeof leaks[shown].trace);
                }
                shown++;
        }
        held = table.held;
        *ret_shown = shown;
        pthread_mutex_unlock(&table.mutex);
        return held;
}

void *steady_alloc(size_t bytes)
{
        void *memory = __real_calloc(1, bytes ? bytes : 1);

        if (!memory)
                abort();
        return memory;
}

void *steady_copy(const void *data, size_t len)
{
        char *memory = steady_alloc(len + 1);

        if (len)
                memcpy(memory, data, len);
        return memory;
}

void steady_free(void *memory)
{
        __real_free(memory);
}
