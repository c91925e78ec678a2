/* Reads the body of a model request: a small JSON reader that decodes strings in place, for speed. It is lenient where a real
 * server would be strict about things that no test looks at (control characters after an escape, number grammar). */
#ifndef TESTS_FAKES_STUB_REQUEST_H
#define TESTS_FAKES_STUB_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stub_text {
        const char *at; /* within the body, decoded; not NUL-terminated */
        size_t len;
        uint64_t hash; /* stub_hash() of it; only of texts[] */
};

struct stub_request {
        struct stub_text model;
        struct stub_text *texts; /* the inputs, or the messages' contents, in order */
        size_t text_count, text_cap;
        int dimensions; /* 0: the request doesn't say; -1: it says 0 */
        bool base64;
};

/* FNV-1a, 64 bit. */
uint64_t stub_hash(const char *at, size_t len);

/* Overwrites *request but reuses its array. body: changed; must outlive the request. False when it is no JSON object, or not a
 * well-formed one. */
bool stub_request_read(struct stub_request *request, char *body, size_t len);

/* The first fault marker in a text of the request ("@@429@@" → "429") into name, which holds `size` bytes; false when there is
 * none. */
bool stub_request_marker(const struct stub_request *request, char *name, size_t size);

/* What a text calls itself: the NAME of its first "@=NAME=@", within the text, of 1 to 128 printable bytes without blanks and commas.
 * False: it has none. */
bool stub_text_tag(const struct stub_text *text, struct stub_text *ret);

#endif
