/* Eight bytes at a time, in an ordinary register: where the plain part of a JSON string ends. */
#ifndef CONFIG_BASE_SWAR_H
#define CONFIG_BASE_SWAR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline bool swar_is_plain(unsigned char c)
{
        return c >= 0x20 && c != '"' && c != '\\';
}

/* The first of at…end that is a quote, a backslash or below 0x20; else end. (Sean Anderson's "haszero" and "hasless" tricks: a byte is
 * found exactly up to the first hit, which is all that is asked.) */
static inline const char *swar_plain_end(const char *at, const char *end)
{
        const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;

        while (end - at >= 8) {
                uint64_t eight, quote, slash, found;

                memcpy(&eight, at, sizeof eight);
                quote = eight ^ ones * '"';
                slash = eight ^ ones * '\\';
                found = ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((eight - ones * 0x20) & ~eight);
                if (found & high)
                        break;
                at += 8;
        }
        while (at < end && swar_is_plain((unsigned char)*at))
                at++;
        return at;
}

#endif
