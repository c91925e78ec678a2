/* JSON arrays of numbers, and base64, straight into an array of float: the hot path of embeddings. Pure; any thread.
 * Every value equals (float)strtod(its text) in the C locale. */
#ifndef PROVIDERS_FLOAT_SCAN_H
#define PROVIDERS_FLOAT_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "config/base/span.h"

enum float_scan {
        FLOAT_SCAN_OK,
        FLOAT_SCAN_SYNTAX,     /* not a JSON array of numbers; not base64 of whole floats */
        FLOAT_SCAN_NOT_FINITE, /* NaN, Infinity, null (what some servers print for NaN), or beyond float's range */
        FLOAT_SCAN_TOO_MANY,   /* more than max */
};

/* text.data[*at] is '['. Writes at most max values to out. On OK *at is moved behind the ']'; otherwise it and *ret_count stay.
 * text.data[text.len] must be readable and NUL (a struct buffer's contents are). */
enum float_scan float_scan_array(struct span text, size_t *at, float *out, size_t max, size_t *ret_count);

/* How many numbers the array at text.data[at] holds, by its commas alone: a guess that float_scan_array() confirms or refutes. */
size_t float_scan_guess(struct span text, size_t at);

/* base64 of little-endian float32; checks that all are finite. */
enum float_scan float_scan_base64(struct span base64, float *out, size_t max, size_t *ret_count);

bool float_scan_finite(const float *values, size_t count);

#endif
