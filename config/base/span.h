/* A borrowed run of bytes: not owned, not NUL-terminated. */
#ifndef CONFIG_BASE_SPAN_H
#define CONFIG_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
        const char *data;
        size_t len;
};

#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})

static inline struct span span_of(const char *s)
{
        return (struct span){s, s ? strlen(s) : 0};
}

static inline bool span_equal(struct span a, struct span b)
{
        return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool span_is(struct span a, const char *s)
{
        return span_equal(a, span_of(s));
}

#endif
