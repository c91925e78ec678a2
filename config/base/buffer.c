#include "config/base/buffer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/digest.h"

enum { FIRST_BYTES = 256, FLOAT_TEXT_MAX = 24 };

void buffer_init(struct buffer *buffer, size_t bytes_max)
{
        *buffer = (struct buffer){.bytes_max = bytes_max};
}

void buffer_fini(struct buffer *buffer)
{
        free(buffer->data);
        buffer->data = NULL;
        buffer->len = buffer->cap = 0;
}

void buffer_reset(struct buffer *buffer)
{
        buffer->len = 0;
        buffer->failed = false;
        if (buffer->data)
                buffer->data[0] = '\0';
}

char *buffer_reserve(struct buffer *buffer, size_t more)
{
        size_t needed, cap;
        char *grown;

        if (buffer->failed)
                return NULL;
        if (more > buffer->bytes_max - buffer->len) {
                buffer->failed = true;
                return NULL;
        }
        needed = buffer->len + more + 1;
        if (needed <= buffer->cap)
                return buffer->data + buffer->len;
        cap = buffer->cap ? buffer->cap : FIRST_BYTES;
        while (cap < needed)
                cap *= 2;
        if (cap > buffer->bytes_max + 1)
                cap = buffer->bytes_max + 1;
        grown = realloc(buffer->data, cap);
        if (!grown) {
                buffer->failed = true;
                return NULL;
        }
        buffer->data = grown;
        buffer->cap = cap;
        return buffer->data + buffer->len;
}

void buffer_advance(struct buffer *buffer, size_t written)
{
        buffer->len += written;
        buffer->data[buffer->len] = '\0';
}

void buffer_add(struct buffer *buffer, const void *data, size_t len)
{
        char *room = buffer_reserve(buffer, len);

        if (!room)
                return;
        if (len)
                memcpy(room, data, len);
        buffer_advance(buffer, len);
}

void buffer_span(struct buffer *buffer, struct span s)
{
        buffer_add(buffer, s.data, s.len);
}

void buffer_string(struct buffer *buffer, const char *s)
{
        buffer_add(buffer, s, strlen(s));
}

void buffer_char(struct buffer *buffer, char c)
{
        buffer_add(buffer, &c, 1);
}

/* Writes value in decimal so that it ends before `end`; returns where it begins. */
static char *write_unsigned(char *end, uint64_t value)
{
        do {
                *--end = (char)('0' + value % 10);
                value /= 10;
        } while (value);
        return end;
}

void buffer_int(struct buffer *buffer, int64_t value)
{
        char text[FLOAT_TEXT_MAX], *end = text + sizeof text;
        char *begin = write_unsigned(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);

        if (value < 0)
                *--begin = '-';
        buffer_add(buffer, begin, (size_t)(end - begin));
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
        va_list args, again;
        char *room;
        int len;

        va_start(args, format);
        va_copy(again, args);
        len = vsnprintf(NULL, 0, format, args);
        va_end(args);
        room = len < 0 ? NULL : buffer_reserve(buffer, (size_t)len);
        if (room) {
                vsnprintf(room, (size_t)len + 1, format, again);
                buffer_advance(buffer, (size_t)len);
        }
        va_end(again);
}

/* 0: as it stands; 'u': \u00XX; otherwise the letter behind the backslash. */
static const char escapes[256] = {
        [0] = 'u',  [1] = 'u',  [2] = 'u',  [3] = 'u',  [4] = 'u',  [5] = 'u',  [6] = 'u',  [7] = 'u',  [8] = 'b',    [9] = 't',   [10] = 'n',
        [11] = 'u', [12] = 'f', [13] = 'r', [14] = 'u', [15] = 'u', [16] = 'u', [17] = 'u', [18] = 'u', [19] = 'u',   [20] = 'u',  [21] = 'u',
        [22] = 'u', [23] = 'u', [24] = 'u', [25] = 'u', [26] = 'u', [27] = 'u', [28] = 'u', [29] = 'u', [30] = 'u',   [31] = 'u',  ['"'] = '"',
        ['\\'] = '\\', [127] = 'u',
};

void buffer_json_string(struct buffer *buffer, struct span s)
{
        static const char hex[] = "0123456789abcdef";
        size_t from = 0;

        buffer_char(buffer, '"');
        for (size_t i = 0; i < s.len; i++) {
                unsigned char c = (unsigned char)s.data[i];
                char escape = escapes[c];

                if (!escape)
                        continue;
                buffer_add(buffer, s.data + from, i - from);
                from = i + 1;
                if (escape == 'u') {
                        char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

                        buffer_add(buffer, text, sizeof text);
                } else {
                        char text[2] = {'\\', escape};

                        buffer_add(buffer, text, sizeof text);
                }
        }
        if (s.len)
                buffer_add(buffer, s.data + from, s.len - from);
        buffer_char(buffer, '"');
}

void buffer_json_double(struct buffer *buffer, double value)
{
        char text[40];

        if (value == floor(value) && fabs(value) < 1e15) {
                buffer_int(buffer, (int64_t)value);
                return;
        }
        for (int digits = 15; digits <= 17; digits++) {
                snprintf(text, sizeof text, "%.*g", digits, value);
                if (strtod(text, NULL) == value)
                        break;
        }
        buffer_string(buffer, text);
}

static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9, 1e10,
                                       1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20};

/* A float32 of ordinary size in nine significant digits, trailing zeros dropped: value × 10^k lies in [10^8, 10^9), is exact to a
 * double's rounding, and nine digits tell any two float32 apart. At most FLOAT_TEXT_MAX characters; returns their number. */
static size_t format_float(float value, char *out)
{
        char digits[FLOAT_TEXT_MAX], *end = digits + sizeof digits, *begin;
        double magnitude = fabs((double)value);
        int point = 9, shift = 0; /* digits before the decimal point; power of ten applied */
        size_t n = 0, count;
        uint64_t scaled;

        if (magnitude == 0) {
                out[0] = '0';
                return 1;
        }
        if (magnitude < 1e-5 || magnitude >= 1e8)
                return (size_t)snprintf(out, FLOAT_TEXT_MAX, "%.9g", (double)value);
        while (magnitude * powers_of_ten[shift] < 1e8)
                shift++;
        scaled = (uint64_t)(magnitude * powers_of_ten[shift] + 0.5);
        point -= shift;
        if (scaled >= 1000000000) { /* rounded up to a tenth digit */
                point++;
                scaled /= 10;
        }
        while (scaled % 10 == 0)
                scaled /= 10;
        begin = write_unsigned(end, scaled);
        count = (size_t)(end - begin);
        if (value < 0)
                out[n++] = '-';
        if (point <= 0) {
                out[n++] = '0';
                out[n++] = '.';
                for (int i = point; i < 0; i++)
                        out[n++] = '0';
        } else {
                for (; point > 0; point--) {
                        out[n++] = count ? *begin++ : '0';
                        count -= count ? 1 : 0;
                }
                if (count)
                        out[n++] = '.';
        }
        memcpy(out + n, begin, count);
        return n + count;
}

void buffer_json_floats(struct buffer *buffer, const float *values, size_t count)
{
        char *room = buffer_reserve(buffer, count * FLOAT_TEXT_MAX + 2), *at = room;

        if (!room)
                return;
        *at++ = '[';
        for (size_t i = 0; i < count; i++) {
                if (i)
                        *at++ = ',';
                at += format_float(values[i], at);
        }
        *at++ = ']';
        buffer_advance(buffer, (size_t)(at - room));
}

void buffer_json_base64_floats(struct buffer *buffer, const float *values, size_t count)
{
        size_t bytes = count * sizeof *values, text = digest_base64_bytes(bytes);
        char *room = buffer_reserve(buffer, text + 2);

        if (!room)
                return;
        room[0] = '"';
        digest_base64_encode(values, bytes, room + 1);
        room[text + 1] = '"';
        buffer_advance(buffer, text + 2);
}

bool buffer_ok(const struct buffer *buffer)
{
        return !buffer->failed;
}
