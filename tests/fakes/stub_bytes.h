/* The stub's byte buffer. Unlike the program's own it ends the process when memory is out: it is a test tool, and what it holds is
 * bounded by connections times (largest request + largest answer). Single-threaded. */
#ifndef TESTS_FAKES_STUB_BYTES_H
#define TESTS_FAKES_STUB_BYTES_H

#include <stddef.h>

struct stub_bytes {
        char *at; /* NULL while nothing was added */
        size_t len, cap;
};

/* Room for `more` further bytes; returns where they go. Whoever writes there raises len. */
char *bytes_room(struct stub_bytes *bytes, size_t more);
void bytes_add(struct stub_bytes *bytes, const char *from, size_t len);
void bytes_text(struct stub_bytes *bytes, const char *text);
/* At most 1,000 bytes of output. */
void bytes_format(struct stub_bytes *bytes, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A quoted JSON string; invalid UTF-8 goes through as it came. */
void bytes_quoted(struct stub_bytes *bytes, const char *from, size_t len);
/* Empty again; memory beyond 256 KiB is given back. */
void bytes_clear(struct stub_bytes *bytes);

#endif
