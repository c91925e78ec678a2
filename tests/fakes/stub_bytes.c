/* See stub_bytes.h. */
#include "tests/fakes/stub_bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_BYTES = 256 * 1024, FORMAT_BYTES = 1000 };

char *bytes_room(struct stub_bytes *bytes, size_t more)
{
        if (bytes->cap - bytes->len < more) {
                size_t cap = bytes->cap ? bytes->cap : 4096;

                while (cap - bytes->len < more)
                        cap *= 2;
                bytes->at = realloc(bytes->at, cap);
                if (!bytes->at) {
                        fprintf(stderr, "provider_stub: out of memory\n");
                        exit(1);
                }
                bytes->cap = cap;
        }
        return bytes->at + bytes->len;
}

void bytes_add(struct stub_bytes *bytes, const char *from, size_t len)
{
        if (!len)
                return;
        memcpy(bytes_room(bytes, len), from, len);
        bytes->len += len;
}

void bytes_text(struct stub_bytes *bytes, const char *text)
{
        bytes_add(bytes, text, strlen(text));
}

void bytes_format(struct stub_bytes *bytes, const char *format, ...)
{
        va_list values;
        int len;

        va_start(values, format);
        len = vsnprintf(bytes_room(bytes, FORMAT_BYTES + 1), FORMAT_BYTES + 1, format, values);
        va_end(values);
        if (len > 0)
                bytes->len += len <= FORMAT_BYTES ? (size_t)len : FORMAT_BYTES;
}

void bytes_quoted(struct stub_bytes *bytes, const char *from, size_t len)
{
        size_t plain = 0; /* start of the run that needs no escape */

        bytes_text(bytes, "\"");
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)from[i];

                if (c >= 0x20 && c != '"' && c != '\\')
                        continue;
                bytes_add(bytes, from + plain, i - plain);
                bytes_format(bytes, c < 0x20 ? "\\u%04x" : "\\%c", c);
                plain = i + 1;
        }
        bytes_add(bytes, from + plain, len - plain);
        bytes_text(bytes, "\"");
}

void bytes_clear(struct stub_bytes *bytes)
{
        bytes->len = 0;
        if (bytes->cap > KEPT_BYTES) {
                free(bytes->at);
                *bytes = (struct stub_bytes){0};
        }
}
