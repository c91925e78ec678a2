/* A strict cursor over JSON text that builds nothing: for the large answers of the hot path. Unknown members are checked and skipped.
 * Faults are sticky (bad): read on freely, look once. Pure; any thread.
 * The text must be followed by a readable NUL (a struct buffer's contents are). */
#ifndef PROVIDERS_FORMATS_RESPONSE_SCAN_H
#define PROVIDERS_FORMATS_RESPONSE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/span.h"

enum { SCAN_DEPTH_MAX = 32 };

struct scan {
        struct span text;
        size_t at;
        bool bad;
};

static inline struct scan scan_begin(struct span text)
{
        return (struct scan){text, 0, false};
}

/* The next byte that is no white space, not taken; '\0' at the end. */
char scan_peek(struct scan *scan);
/* Takes it if it is c. */
bool scan_take(struct scan *scan, char c);
/* Nothing but white space is left, and there was no fault. */
bool scan_end(struct scan *scan);

/* Members of an object, elements of an array:
 *      if (scan_open(&scan, '{'))
 *              for (size_t n = 0; scan_member(&scan, n, &key); n++)
 *                      …exactly one value…
 * key is raw: as it stands between the quotes. scan_member and scan_element return false behind the closing bracket and on a fault. */
bool scan_open(struct scan *scan, char bracket); /* false and bad: something else is there */
bool scan_member(struct scan *scan, size_t n, struct span *key);
bool scan_element(struct scan *scan, size_t n);

/* A string's raw contents; *ret_escaped (which may be NULL): there are backslashes in it. */
bool scan_string(struct scan *scan, struct span *ret_raw, bool *ret_escaped);
/* A whole number without fraction and exponent, 0…2^53. */
bool scan_whole(struct scan *scan, int64_t *ret_value);
/* Any value, to a depth of SCAN_DEPTH_MAX. */
bool scan_skip(struct scan *scan);

#endif
