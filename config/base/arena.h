/* A capped arena: everything that belongs to one request comes from its arena and goes with it.
 * Overflow is sticky: allocate freely, check arena_ok() once at the end. Not thread-safe. */
#ifndef CONFIG_BASE_ARENA_H
#define CONFIG_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "config/base/error.h"
#include "config/base/own.h"
#include "config/base/span.h"

struct arena;

/* bytes_max: what all allocations together may take. NULL when memory is out. */
struct arena *arena_new(size_t bytes_max);
void arena_free(struct arena *arena); /* NULL is fine */
/* Gives back all allocations but keeps the first block for reuse. */
void arena_reset(struct arena *arena);

/* 16-byte aligned, zeroed; NULL (and sticky failure) past the cap or when memory is out. */
void *arena_alloc(struct arena *arena, size_t bytes);
/* The same without zeroing, for buffers that are written whole. */
void *arena_alloc_raw(struct arena *arena, size_t bytes);
char *arena_strdup(struct arena *arena, const char *s);
/* A NUL-terminated copy. */
char *arena_copy(struct arena *arena, struct span s);
char *arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool arena_ok(const struct arena *arena);      /* no allocation has failed so far */
/* Why one has: CODE_TOO_LARGE past the cap (it will be so again), CODE_INTERNAL when memory was out (another time it may go well). */
enum error_code arena_fault(const struct arena *arena);
/* It fails for lack of memory: for those who fill it through a library that ran out. */
void arena_starve(struct arena *arena);
/* Before another try: forgets that memory was out. The cap's failure stays. */
void arena_forgive(struct arena *arena);
size_t arena_used(const struct arena *arena); /* bytes */

static inline void arena_auto_free(struct arena **arena)
{
        arena_free(*arena);
}
#define AUTO_ARENA AUTO(arena_auto_free) struct arena

#endif
