#include "config/base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { ALIGN = 16, BLOCK_BYTES = 8192 };

struct block {
        struct block *next;
        size_t bytes, used;
        _Alignas(ALIGN) char data[];
};

struct arena {
        struct block *blocks; /* newest first; the last of the list is the one that arena_reset keeps */
        size_t bytes_max, used;
        bool failed, starved; /* starved: for lack of memory, not by the cap */
};

struct arena *arena_new(size_t bytes_max)
{
        struct arena *arena = calloc(1, sizeof *arena);

        if (arena)
                arena->bytes_max = bytes_max;
        return arena;
}

static void free_blocks(struct block *block, const struct block *keep)
{
        while (block && block != keep) {
                struct block *next = block->next;

                free(block);
                block = next;
        }
}

void arena_free(struct arena *arena)
{
        if (!arena)
                return;
        free_blocks(arena->blocks, NULL);
        free(arena);
}

void arena_reset(struct arena *arena)
{
        struct block *first = arena->blocks;

        while (first && first->next)
                first = first->next;
        if (first && first->bytes > BLOCK_BYTES)
                first = NULL; /* an unusually large one is not worth keeping */
        free_blocks(arena->blocks, first);
        if (first)
                first->used = 0;
        arena->blocks = first;
        arena->used = 0;
        arena->failed = arena->starved = false;
}

void *arena_alloc_raw(struct arena *arena, size_t bytes)
{
        struct block *block = arena->blocks;
        size_t rounded = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
        void *result;

        if (arena->failed || rounded < bytes || rounded > arena->bytes_max - arena->used) {
                arena->failed = true;
                return NULL;
        }
        if (!block || rounded > block->bytes - block->used) {
                size_t size = rounded > BLOCK_BYTES ? rounded : BLOCK_BYTES;

                block = malloc(sizeof *block + size);
                if (!block) {
                        arena->failed = arena->starved = true;
                        return NULL;
                }
                block->bytes = size;
                block->used = 0;
                block->next = arena->blocks;
                arena->blocks = block;
        }
        result = block->data + block->used;
        block->used += rounded;
        arena->used += rounded;
        return result;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
        void *result = arena_alloc_raw(arena, bytes);

        return result ? memset(result, 0, bytes) : NULL;
}

char *arena_copy(struct arena *arena, struct span s)
{
        char *result = arena_alloc_raw(arena, s.len + 1);

        if (!result)
                return NULL;
        if (s.len)
                memcpy(result, s.data, s.len);
        result[s.len] = '\0';
        return result;
}

char *arena_strdup(struct arena *arena, const char *s)
{
        return arena_copy(arena, span_of(s));
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
        va_list args, again;
        char *result;
        int len;

        va_start(args, format);
        va_copy(again, args);
        len = vsnprintf(NULL, 0, format, args);
        va_end(args);
        result = len < 0 ? NULL : arena_alloc_raw(arena, (size_t)len + 1);
        if (result)
                vsnprintf(result, (size_t)len + 1, format, again);
        va_end(again);
        return result;
}

bool arena_ok(const struct arena *arena)
{
        return !arena->failed;
}

enum error_code arena_fault(const struct arena *arena)
{
        return arena->starved ? CODE_INTERNAL : CODE_TOO_LARGE;
}

void arena_starve(struct arena *arena)
{
        if (!arena->failed)
                arena->failed = arena->starved = true;
}

void arena_forgive(struct arena *arena)
{
        if (arena->starved)
                arena->failed = arena->starved = false;
}

size_t arena_used(const struct arena *arena)
{
        return arena->used;
}
