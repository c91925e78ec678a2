/* Numbers of embedding replies look like -0.0412345678: one to nineteen digits and a small exponent. Those are read as an integer m
 * (eight digits at a time) and a power of ten, and m × 10^e is computed by one operation on exact operands:
 *
 *      m ≤ 2^53, |e| ≤ 22   in double: both operands are exact, so that the result is what strtod gives;
 *      m < 10^19, |e| ≤ 27  in x87's 64-bit precision, as long as the result isn't so near the middle between two floats that
 *                           rounding twice could choose the other one;
 *      everything else      strtod itself.
 *
 * The grammar is JSON's, checked before any conversion: no leading zeros or plus signs, no hexadecimal, no lone point. */
#include "providers/float_scan.h"

#include <float.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/digest.h"

_Static_assert(LDBL_MANT_DIG == 64 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "x86-64");

enum { DIGITS_MAX = 19, POWER_DOUBLE_MAX = 22, POWER_LONG_MAX = 27, EXPONENT_CLAMP = 100000 };

static const double powers[POWER_DOUBLE_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
static const long double long_powers[POWER_LONG_MAX + 1] = {1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,
                                                            1e10L, 1e11L, 1e12L, 1e13L, 1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L,
                                                            1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L};

/* A number's text, taken apart. */
struct number {
        const char *text; /* from the sign on */
        uint64_t mantissa;
        int64_t exponent; /* of ten */
        bool negative, long_mantissa;
};

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
        c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* Eight bytes, the first one lowest: are all of them digits, and their value. */
static inline bool eight_digits(uint64_t bytes)
{
        return ((bytes & 0xf0f0f0f0f0f0f0f0u) | ((bytes + 0x0606060606060606u) & 0xf0f0f0f0f0f0f0f0u) >> 4) == 0x3333333333333333u;
}

static inline uint64_t eight_digits_value(uint64_t bytes)
{
        const uint64_t pair_mask = 0x000000ff000000ffu;

        bytes -= 0x3030303030303030u;
        bytes = bytes * 10 + (bytes >> 8); /* two digits in every second byte */
        return ((bytes & pair_mask) * (100 + (1000000ull << 32)) + (bytes >> 16 & pair_mask) * (1 + (10000ull << 32))) >> 32;
}

static inline bool is_digit(char c)
{
        return (unsigned char)(c - '0') < 10;
}

/* All digits from p on, added to *mantissa (modulo 2^64). */
static inline const char *scan_digits(const char *p, const char *end, uint64_t *mantissa)
{
        uint64_t m = *mantissa, bytes;

        while (end - p >= 8) {
                memcpy(&bytes, p, 8);
                if (!eight_digits(bytes))
                        break;
                m = m * 100000000 + eight_digits_value(bytes);
                p += 8;
        }
        while (is_digit(*p))
                m = m * 10 + (uint64_t)(*p++ - '0');
        *mantissa = m;
        return p;
}

static float by_strtod(const struct number *number)
{
        pthread_once(&c_locale_once, make_c_locale);
        return (float)strtod_l(number->text, NULL, c_locale);
}

/* m × 10^e beyond double's exact reach. */
static float convert_long(const struct number *number)
{
        union {
                long double value;
                uint64_t mantissa;
        } wide;
        const uint64_t below_float = (1ull << 40) - 1, middle = 1ull << 39, doubt = 1ull << 13;
        uint64_t rest;

        if (number->long_mantissa || number->exponent < -POWER_LONG_MAX || number->exponent > POWER_LONG_MAX)
                return by_strtod(number);
        wide.value = (long double)number->mantissa;
        if (number->exponent < 0)
                wide.value /= long_powers[-number->exponent];
        else
                wide.value *= long_powers[number->exponent];
        if (wide.value < (long double)FLT_MIN * 2 || wide.value > (long double)FLT_MAX / 2)
                return by_strtod(number);
        rest = wide.mantissa & below_float;
        if (rest + doubt >= middle && rest <= middle + doubt)
                return by_strtod(number);
        return number->negative ? -(float)wide.value : (float)wide.value;
}

static inline float convert(const struct number *number)
{
        double value;

        if (number->long_mantissa || number->mantissa > 1ull << 53 || number->exponent < -POWER_DOUBLE_MAX ||
            number->exponent > POWER_DOUBLE_MAX)
                return convert_long(number);
        value = (double)(int64_t)number->mantissa;
        if (number->exponent < 0)
                value /= powers[-number->exponent];
        else
                value *= powers[number->exponent];
        return (float)(number->negative ? -value : value);
}

/* The exponent behind 'e' or 'E'; NULL: none there. */
static const char *scan_exponent(const char *p, int64_t *exponent)
{
        bool negative = *p == '-';
        int64_t value = 0;

        if (*p == '-' || *p == '+')
                p++;
        if (!is_digit(*p))
                return NULL;
        for (; is_digit(*p); p++)
                if (value < EXPONENT_CLAMP)
                        value = value * 10 + (*p - '0');
        *exponent += negative ? -value : value;
        return p;
}

/* More than DIGITS_MAX digits stand between from and to: do they still fit but for leading zeros? */
static bool digits_fit(const char *from, const char *to)
{
        while (from < to && (*from == '0' || *from == '.' || *from == '-'))
                from++;
        return to - from <= DIGITS_MAX; /* a point among them makes this err on the safe side */
}

/* The number at p; NULL where JSON's grammar has none. */
static inline const char *scan_number(const char *p, const char *end, float *ret)
{
        struct number number = {.text = p, .negative = *p == '-'};
        const char *digits, *point;
        int64_t count;

        p += number.negative;
        digits = p;
        if (*p == '0')
                p++;
        else if (is_digit(*p))
                p = scan_digits(p, end, &number.mantissa);
        else
                return NULL;
        count = p - digits;
        if (*p == '.') {
                point = ++p;
                p = scan_digits(p, end, &number.mantissa);
                if (p == point)
                        return NULL;
                count += p - point;
                number.exponent = point - p;
        }
        if (__builtin_expect(count > DIGITS_MAX, 0))
                number.long_mantissa = !digits_fit(digits, p);
        if ((*p | 0x20) == 'e') {
                p = scan_exponent(p + 1, &number.exponent);
                if (!p)
                        return NULL;
        }
        *ret = convert(&number);
        return p;
}

/* What is no JSON number but meant as one. */
static bool names_not_finite(const char *p, const char *end)
{
        static const char *const names[] = {"null", "NaN", "nan", "Infinity", "inf", "Inf"};
        size_t left;

        p += *p == '-';
        left = (size_t)(end - p);
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                if (left >= strlen(names[i]) && memcmp(p, names[i], strlen(names[i])) == 0)
                        return true;
        return false;
}

static inline const char *skip_blanks(const char *p)
{
        while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')
                p++;
        return p;
}

enum float_scan float_scan_array(struct span text, size_t *at, float *out, size_t max, size_t *ret_count)
{
        const char *end = text.data + text.len, *p = text.data + *at, *next;
        size_t count = 0;
        float value;

        if (*at >= text.len || *p != '[')
                return FLOAT_SCAN_SYNTAX;
        p = skip_blanks(p + 1);
        if (*p == ']' && p < end)
                goto done;
        for (;;) {
                next = scan_number(p, end, &value);
                if (!next)
                        return names_not_finite(p, end) ? FLOAT_SCAN_NOT_FINITE : FLOAT_SCAN_SYNTAX;
                if (__builtin_expect(!isfinite(value), 0))
                        return FLOAT_SCAN_NOT_FINITE;
                if (count == max)
                        return FLOAT_SCAN_TOO_MANY;
                out[count++] = value;
                p = next;
                if (*p != ',')
                        p = skip_blanks(p);
                if (*p != ',')
                        break;
                p = skip_blanks(p + 1);
        }
        if (*p != ']' || p >= end)
                return FLOAT_SCAN_SYNTAX;
done:
        *at = (size_t)(p + 1 - text.data);
        *ret_count = count;
        return FLOAT_SCAN_OK;
}

size_t float_scan_guess(struct span text, size_t at)
{
        const char *p = text.data + at, *end = at < text.len ? memchr(p, ']', text.len - at) : NULL;
        size_t count = 1;

        if (!end)
                return 0;
        while ((p = memchr(p, ',', (size_t)(end - p)))) {
                count++;
                p++;
        }
        return count;
}

bool float_scan_finite(const float *values, size_t count)
{
        uint32_t worst = 0, bits;

        for (size_t i = 0; i < count; i++) {
                memcpy(&bits, values + i, sizeof bits);
                bits &= 0x7fffffff;
                worst = worst > bits ? worst : bits;
        }
        return worst < 0x7f800000;
}

enum float_scan float_scan_base64(struct span base64, float *out, size_t max, size_t *ret_count)
{
        size_t bytes = 0, chars = base64.len;

        while (chars && base64.data[chars - 1] == '=')
                chars--;
        if (chars / 4 * 3 + (chars % 4 ? chars % 4 - 1 : 0) > max * sizeof *out)
                return FLOAT_SCAN_TOO_MANY;
        if (!digest_base64_decode(base64, out, max * sizeof *out, &bytes) || bytes % sizeof *out != 0)
                return FLOAT_SCAN_SYNTAX;
        if (!float_scan_finite(out, bytes / sizeof *out))
                return FLOAT_SCAN_NOT_FINITE;
        *ret_count = bytes / sizeof *out;
        return FLOAT_SCAN_OK;
}
