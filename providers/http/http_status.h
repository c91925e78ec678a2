/* What a failed exchange means in the contract's words (§5). Pure; any thread. Messages never hold what the provider wrote, but
 * for its error code, cut down to HTTP_FAULT_WORD_BYTES harmless characters. */
#ifndef PROVIDERS_HTTP_HTTP_STATUS_H
#define PROVIDERS_HTTP_HTTP_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/base/span.h"
#include "providers/http/http_client.h"

enum { HTTP_FAULT_WORD_BYTES = 64 };

/* What a format found in an error body; "" and 0 where there is nothing. */
struct http_fault {
        char code[HTTP_FAULT_WORD_BYTES + 1], type[HTTP_FAULT_WORD_BYTES + 1];
        int status;          /* a number in the place of the code, as some servers write: 100…599 */
        bool input_too_long; /* the message says that the input is past what the model takes */
};

/* Letters, digits, '_', '-', '.' and '/' are kept, others become '_'. */
void http_fault_word(struct span text, char ret_word[HTTP_FAULT_WORD_BYTES + 1]);

/* An answer with a status other than 2xx, or a 2xx with a fault inside. The code's words go before the status: a 429 with
 * insufficient_quota is dependency.quota. Always returns -1. */
int http_status_error(int status, const struct http_fault *fault, int64_t retry_after_ms, struct error *err);

/* An exchange without a whole answer. Always returns -1. */
int http_outcome_error(const struct http_exchange *exchange, struct error *err);

/* The wait that the headers ask for: retry-after-ms, else Retry-After in seconds or as an HTTP date (all three forms of RFC
 * 9110). A date is taken against the answer's own Date header, so that neither clock need be right; against wall_ms where that
 * one is missing or no date. At most a day; 0: none, or a date that has passed. Empty spans: the header is not there. */
int64_t http_retry_after(struct span retry_after_ms, struct span retry_after, struct span date, int64_t wall_ms);

/* An HTTP date: "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT" or "Sun Nov  6 08:49:37 1994", years
 * 1970…9999; a year of two digits is the one nearest to wall_ms, at most 50 years ahead. Blanks at the ends are skipped. False:
 * it is none. */
bool http_date(struct span text, int64_t wall_ms, int64_t *ret_wall_ms);

#endif
