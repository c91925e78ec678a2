#include "config/base/buffer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/digest.h"
#include "config/base/plain.h"

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
        buffer->failed = buffer->starved = false;
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
                buffer->failed = buffer->starved = true;
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

void buffer_add_slowly(struct buffer *buffer, const void *data, size_t len)
{
        char *room = buffer_reserve(buffer, len);

        if (!room)
                return;
        memcpy(room, data, len);
        buffer_advance(buffer, len);
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

/* 'u': \u00XX; otherwise the letter behind the backslash. 0: as it stands. */
static const char escapes[256] = {
        [0] = 'u',  [1] = 'u',  [2] = 'u',  [3] = 'u',  [4] = 'u',  [5] = 'u',  [6] = 'u',  [7] = 'u',  [8] = 'b',    [9] = 't',   [10] = 'n',
        [11] = 'u', [12] = 'f', [13] = 'r', [14] = 'u', [15] = 'u', [16] = 'u', [17] = 'u', [18] = 'u', [19] = 'u',   [20] = 'u',  [21] = 'u',
        [22] = 'u', [23] = 'u', [24] = 'u', [25] = 'u', [26] = 'u', [27] = 'u', [28] = 'u', [29] = 'u', [30] = 'u',   [31] = 'u',  ['"'] = '"',
        ['\\'] = '\\',
};

static void add_escape(struct buffer *buffer, unsigned char c)
{
        static const char hex[] = "0123456789abcdef";
        char text[6] = {'\\', escapes[c], '0', '0', hex[c >> 4], hex[c & 15]};

        buffer_add(buffer, text, escapes[c] == 'u' ? sizeof text : 2);
}

void buffer_json_string(struct buffer *buffer, struct span s)
{
        const char *at = s.data, *end = s.data + s.len;

        buffer_char(buffer, '"');
        while (at < end) {
                const char *stop = plain_end(at, end);

                buffer_add(buffer, at, (size_t)(stop - at));
                if (stop < end)
                        add_escape(buffer, (unsigned char)*stop++);
                at = stop;
        }
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

static const double powers_of_ten[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14};
enum { FLOAT_DIGITS = 9 };

static inline void put_pair(char *to, uint32_t value)
{
        static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354"
                                    "555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

        memcpy(to, pairs + 2 * value, 2);
}

/* 10^8 … 10^9 − 1 as nine digits; returns their number without the zeros at the end. */
static size_t put_digits(char digits[FLOAT_DIGITS], uint32_t value)
{
        uint32_t low = value % 100000000;
        size_t count = FLOAT_DIGITS;

        digits[0] = (char)('0' + value / 100000000);
        put_pair(digits + 1, low / 1000000);
        put_pair(digits + 3, low / 10000 % 100);
        put_pair(digits + 5, low / 100 % 100);
        put_pair(digits + 7, low % 100);
        while (digits[count - 1] == '0')
                count--;
        return count;
}

/* A float32 of ordinary size in nine significant digits, trailing zeros dropped: value × 10^shift lies in [10^8, 10^9), is exact to a
 * double's rounding, and nine digits tell any two float32 apart. At most FLOAT_TEXT_MAX characters; returns their number. */
static size_t format_float(float value, char *out)
{
        char digits[FLOAT_DIGITS];
        double magnitude = fabs((double)value), scaled;
        size_t n, count, before;
        uint32_t bits;
        int shift;

        if (magnitude == 0) {
                out[0] = '0';
                return 1;
        }
        if (magnitude < 1e-5 || magnitude >= 1e8)
                return (size_t)snprintf(out, FLOAT_TEXT_MAX, "%.9g", (double)value);
        memcpy(&bits, &value, sizeof bits);
        shift = FLOAT_DIGITS - 1 - (((int)(bits >> 23 & 255) - 127) * 1233 >> 12); /* 1233 / 4096 ≈ log10(2): at most one too many */
        shift -= magnitude * powers_of_ten[shift] >= 999999999.5; /* no branch: it would be guessed wrong as often as not, like the sign */
        scaled = magnitude * powers_of_ten[shift];
        count = put_digits(digits, (uint32_t)(scaled + 0.5));
        out[0] = '-';
        n = bits >> 31;
        if (shift >= FLOAT_DIGITS) { /* 0.0…0ddd */
                memcpy(out + n, "0.00000", 7);
                n += (size_t)(shift - FLOAT_DIGITS) + 2;
                memcpy(out + n, digits, FLOAT_DIGITS);
                return n + count;
        }
        before = (size_t)(FLOAT_DIGITS - shift);
        if (count <= before) { /* ddd0…0 */
                memcpy(out + n, digits, count);
                memset(out + n + count, '0', before - count);
                return n + before;
        }
        memcpy(out + n, digits, before);
        out[n + before] = '.';
        memcpy(out + n + before + 1, digits + before, count - before);
        return n + count + 1;
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

void buffer_starve(struct buffer *buffer)
{
        if (!buffer->failed)
                buffer->failed = buffer->starved = true;
}

enum error_code buffer_fault(const struct buffer *buffer)
{
        return buffer->starved ? CODE_INTERNAL : CODE_TOO_LARGE;
}
