/* A growing byte buffer with a mandatory maximum. Overflow is sticky: append freely, check buffer_ok() once.
 * Kept NUL-terminated (the NUL is not counted), so that .data may be used as a C string. Not thread-safe. */
#ifndef CONFIG_BASE_BUFFER_H
#define CONFIG_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/base/own.h"
#include "config/base/span.h"

struct buffer {
        char *data; /* NULL while nothing was added */
        size_t len, cap, bytes_max;
        bool failed, starved; /* starved: for lack of memory, not by bytes_max */
};

void buffer_init(struct buffer *buffer, size_t bytes_max);
void buffer_fini(struct buffer *buffer);
/* Empty again; the memory is kept, the failure forgotten. */
void buffer_reset(struct buffer *buffer);

/* Room for `more` further bytes: where to write them, or NULL on failure. Follow with buffer_advance(). */
char *buffer_reserve(struct buffer *buffer, size_t more);
void buffer_advance(struct buffer *buffer, size_t written);

/* Inline where there is room already: a result is rendered by some sixty of these. */
void buffer_add_slowly(struct buffer *buffer, const void *data, size_t len);
static inline void buffer_add(struct buffer *buffer, const void *data, size_t len)
{
        if (!data || len == 0)
                return;
        if (len >= buffer->cap - buffer->len || buffer->failed) {
                buffer_add_slowly(buffer, data, len);
                return;
        }
        memcpy(buffer->data + buffer->len, data, len);
        buffer->len += len;
        buffer->data[buffer->len] = '\0';
}
static inline void buffer_span(struct buffer *buffer, struct span s)
{
        buffer_add(buffer, s.data, s.len);
}
static inline void buffer_string(struct buffer *buffer, const char *s)
{
        buffer_add(buffer, s, strlen(s));
}
static inline void buffer_char(struct buffer *buffer, char c)
{
        buffer_add(buffer, &c, 1);
}
void buffer_int(struct buffer *buffer, int64_t value);
void buffer_printf(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* JSON text. Strings are given as valid UTF-8 and come out quoted and escaped; numbers must be finite. */
void buffer_json_string(struct buffer *buffer, struct span s);
void buffer_json_double(struct buffer *buffer, double value); /* shortest form that reads back the same */
/* float32 in at most nine significant digits: reads back the same. [a,b,…] */
void buffer_json_floats(struct buffer *buffer, const float *values, size_t count);
/* A quoted base64 string of the values as little-endian float32. */
void buffer_json_base64_floats(struct buffer *buffer, const float *values, size_t count);

bool buffer_ok(const struct buffer *buffer);
/* Why it failed: CODE_TOO_LARGE past bytes_max, CODE_INTERNAL when memory was out (another time it may go well). */
enum error_code buffer_fault(const struct buffer *buffer);
/* It fails for lack of memory: for those who write into it through a library that ran out. */
void buffer_starve(struct buffer *buffer);
static inline struct span buffer_view(const struct buffer *buffer)
{
        return (struct span){buffer->data ? buffer->data : "", buffer->len};
}

/* AUTO_BUFFER text = {0}; : given back on every way out, before buffer_init() too. */
#define AUTO_BUFFER AUTO(buffer_fini) struct buffer

#endif
