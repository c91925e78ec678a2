/* Where the plain part of a JSON string ends: sixteen bytes at a time where SSE2 is (every x86-64), else eight in an ordinary register. Each
 * record passes here four times: parsed, fingerprinted, sent, and in the answer. */
#ifndef CONFIG_BASE_PLAIN_H
#define CONFIG_BASE_PLAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline bool plain_is(unsigned char c)
{
        return c >= 0x20 && c != '"' && c != '\\';
}

/* The first of at…end that is a quote, a backslash or below 0x20; else end. */
static inline const char *plain_end(const char *at, const char *end)
{
#ifdef __SSE2__
        const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);

        for (; end - at >= 16; at += 16) {
                __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
                __m128i found = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, slash)),
                                             _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes));
                int mask = _mm_movemask_epi8(found);

                if (mask)
                        return at + __builtin_ctz((unsigned)mask);
        }
#else
        /* A byte is zero, or less than n, by Sean Anderson's bit tricks: exact up to the first hit, which is all that is asked. */
        const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;

        for (; end - at >= 8; at += 8) {
                uint64_t eight, quote, slash;

                memcpy(&eight, at, sizeof eight);
                quote = eight ^ ones * '"';
                slash = eight ^ ones * '\\';
                if ((((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((eight - ones * 0x20) & ~eight)) & high)
                        break;
        }
#endif
        while (at < end && plain_is((unsigned char)*at))
                at++;
        return at;
}

#endif
