#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/digest.h"
#include "providers/float_scan.h"

enum { MANY = 200000, LONG_TEXT = 1 << 16 };

static uint64_t seed = 20261120;

static uint64_t chance(void)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return seed;
}

static enum float_scan scan(const char *text, float *out, size_t max, size_t *count)
{
        size_t at = 0;

        return float_scan_array(span_of(text), &at, out, max, count);
}

static void check_number(const char *number)
{
        char text[LONG_TEXT + 16];
        float value = -1, wanted = (float)strtod(number, NULL);
        size_t count = 0;
        enum float_scan result;

        snprintf(text, sizeof text, "[%s]", number);
        result = scan(text, &value, 1, &count);
        if (isinf(wanted)) {
                cr_assert_eq(result, FLOAT_SCAN_NOT_FINITE, "%s", number);
                return;
        }
        cr_assert_eq(result, FLOAT_SCAN_OK, "%s", number);
        cr_assert_eq(memcmp(&value, &wanted, sizeof value), 0, "%s gave %a, strtod %a", number, (double)value, (double)wanted);
}

Test(float_scan, agrees_with_strtod_on_random_floats_in_all_widths)
{
        char text[64];

        for (int i = 0; i < MANY; i++) {
                uint32_t bits = (uint32_t)chance();
                float value;

                memcpy(&value, &bits, sizeof value);
                if (!isfinite(value))
                        continue;
                snprintf(text, sizeof text, "%.*g", (int)(chance() % 21 + 1), (double)value);
                check_number(text);
        }
}

Test(float_scan, agrees_with_strtod_on_numbers_like_those_of_embeddings)
{
        char text[64];

        for (int i = 0; i < MANY; i++) {
                double value = ((double)(chance() >> 11) * 0x1p-53 - 0.5) / (double)(chance() % 1000 + 1);

                snprintf(text, sizeof text, "%.*f", (int)(chance() % 22 + 1), value);
                check_number(text);
                snprintf(text, sizeof text, "%.*g", 17, value);
                check_number(text);
        }
}

Test(float_scan, agrees_with_strtod_on_random_digits_and_exponents)
{
        char text[96];

        for (int i = 0; i < MANY; i++) {
                size_t len = 0, whole = chance() % 12 + 1, fraction = chance() % 24;

                if (chance() & 1)
                        text[len++] = '-';
                text[len++] = (char)('1' + chance() % 9);
                for (size_t d = 1; d < whole; d++)
                        text[len++] = (char)('0' + chance() % 10);
                if (fraction)
                        text[len++] = '.';
                for (size_t d = 0; d < fraction; d++)
                        text[len++] = (char)('0' + chance() % 10);
                snprintf(text + len, sizeof text - len, "e%d", (int)(chance() % 100) - 50);
                check_number(text);
        }
}

/* The middle between two floats, and what lies a hair beside it: where rounding twice goes wrong. */
Test(float_scan, rounds_like_strtod_around_the_middle_between_floats)
{
        char text[128];

        for (int i = 0; i < MANY / 4; i++) {
                float low = (float)(chance() >> 40) * 0x1p-26f + 0x1p-3f, high = nextafterf(low, FLT_MAX);
                double middle = ((double)low + (double)high) / 2;
                long double near = (long double)middle * (1.0L + ((long double)(int64_t)(chance() % 9) - 4) * 0x1p-60L);

                snprintf(text, sizeof text, "%.25Lf", near);
                check_number(text);
                snprintf(text, sizeof text, "%.18Lf", near);
                check_number(text);
        }
}

Test(float_scan, reads_edges)
{
        static const char *const numbers[] = {"0", "-0", "0.0", "-0.0e9", "1", "10", "1e0", "1E+2", "1e-2", "0.1e1", "3.4028235e38", "3.4028236e38", "3.5e38",
                                              "-3.4028235677973366e38", "1.17549435e-38", "1e-45", "7e-46", "1e-400", "1e400", "1e999999999999999999", "1e-999999999999999999",
                                              "0e999999999999999999", "123456789012345678901234567890", "0.00000000000000000000000000000000000012345678901234567890",
                                              "9007199254740993", "9007199254740992", "18446744073709551615", "9999999999999999999", "99999999999999999999",
                                              "0.000000000000000000000000000000000000000000000000000000001e57", "1.0000000596046447753906250", "1.00000005960464477539062501"};

        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
                check_number(numbers[i]);
}

Test(float_scan, reads_a_number_as_long_as_it_likes)
{
        static char text[LONG_TEXT + 1];

        memset(text, '7', LONG_TEXT);
        text[1] = '.';
        check_number(text);
        memset(text, '0', LONG_TEXT);
        text[1] = '.';
        text[LONG_TEXT - 1] = '1';
        check_number(text);
}

Test(float_scan, reads_an_array_and_stops_behind_it)
{
        const char *text = "xx [ 1 ,\n-2.5,3e1 ] , 4";
        float out[4] = {0};
        size_t at = 3, count = 0;

        cr_assert_eq(float_scan_array(span_of(text), &at, out, 4, &count), FLOAT_SCAN_OK);
        cr_assert_eq(count, 3);
        cr_assert_float_eq(out[0], 1, 0);
        cr_assert_float_eq(out[1], -2.5, 0);
        cr_assert_float_eq(out[2], 30, 0);
        cr_assert_str_eq(text + at, " , 4");
}

Test(float_scan, reads_the_empty_array)
{
        size_t count = 9;

        cr_assert_eq(scan("[ ]", NULL, 0, &count), FLOAT_SCAN_OK);
        cr_assert_eq(count, 0);
}

Test(float_scan, refuses_what_json_refuses)
{
        static const char *const texts[] = {"", "1", "[", "[1", "[1,", "[1,]", "[,1]", "[01]", "[+1]", "[.5]", "[5.]", "[1e]", "[1e+]", "[-]", "[--1]", "[0x10]",
                                            "[1 2]", "[\"1\"]", "[[1]]", "[1}", "[true]", "[1.5.2]", "[1e5e5]", "[{}]", "[1;2]"};
        float out[4];
        size_t count;

        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
                count = 77;
                cr_assert_eq(scan(texts[i], out, 4, &count), FLOAT_SCAN_SYNTAX, "%s", texts[i]);
                cr_assert_eq(count, 77, "untouched on refusal");
        }
}

Test(float_scan, tells_what_is_not_finite_from_what_is_no_number)
{
        static const char *const texts[] = {"[NaN]", "[1,NaN]", "[-Infinity]", "[Infinity]", "[null]", "[1e999]", "[-1e39]", "[nan]", "[-inf]"};
        float out[4];
        size_t count;

        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
                cr_assert_eq(scan(texts[i], out, 4, &count), FLOAT_SCAN_NOT_FINITE, "%s", texts[i]);
}

Test(float_scan, writes_no_more_than_it_may)
{
        float out[3] = {9, 9, 9};
        size_t count = 0;

        cr_assert_eq(scan("[1,2,3]", out, 2, &count), FLOAT_SCAN_TOO_MANY);
        cr_assert_float_eq(out[2], 9, 0);
}

/* Each prefix in memory of exactly its size and the NUL: a sanitizer sees any step beyond. */
Test(float_scan, never_reads_past_a_truncated_text)
{
        const char *whole = "[0.12345678,-0.00123456789e-2,12345678901234567890,NaN]";

        for (size_t len = 0; len <= strlen(whole); len++) {
                char *text = strndup(whole, len);
                float out[8];
                size_t count, at = 0;

                cr_assert_neq(float_scan_array((struct span){text, len}, &at, out, 8, &count), FLOAT_SCAN_OK);
                free(text);
        }
}

Test(float_scan, guesses_the_length_by_commas)
{
        cr_assert_eq(float_scan_guess(SPAN("[1,2,3]"), 0), 3);
        cr_assert_eq(float_scan_guess(SPAN("x[1]"), 1), 1);
        cr_assert_eq(float_scan_guess(SPAN("[1,2"), 0), 0);
}

Test(float_scan, reads_base64_of_floats)
{
        const float values[5] = {1, -2.5f, 0x1p-140f, FLT_MAX, 0};
        float out[5];
        char text[64];
        size_t len = digest_base64_bytes(sizeof values), count = 0;

        digest_base64_encode(values, sizeof values, text);
        cr_assert_eq(float_scan_base64((struct span){text, len}, out, 5, &count), FLOAT_SCAN_OK);
        cr_assert_eq(count, 5);
        cr_assert_eq(memcmp(out, values, sizeof values), 0);
        cr_assert_eq(float_scan_base64((struct span){text, len}, out, 4, &count), FLOAT_SCAN_TOO_MANY);
        cr_assert_eq(float_scan_base64((struct span){text, len - 4}, out, 5, &count), FLOAT_SCAN_SYNTAX, "not whole floats");
        text[3] = '!';
        cr_assert_eq(float_scan_base64((struct span){text, len}, out, 5, &count), FLOAT_SCAN_SYNTAX);
}

Test(float_scan, finds_nan_and_infinity_in_base64)
{
        const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};

        for (size_t i = 0; i < 4; i++) {
                float values[3] = {1, 2, 3}, out[3];
                char text[16];
                size_t count;

                values[i % 3] = bad[i];
                digest_base64_encode(values, sizeof values, text);
                cr_assert_eq(float_scan_base64((struct span){text, 16}, out, 3, &count), FLOAT_SCAN_NOT_FINITE);
        }
}
