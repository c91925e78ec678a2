/* From text to index terms, the same way for documents and queries: UAX #29 words, possessive 's stripped, NFKC case fold, stop
 * list, Snowball stem. Compounds (max.poll.interval.ms, CVE-2024-3094, read_only) give the whole and, beside it, their parts,
 * which do not count in the text's length. An analyzer belongs to one thread at a time. */
#ifndef RETRIEVAL_ANALYSIS_ANALYZER_H
#define RETRIEVAL_ANALYSIS_ANALYZER_H

#include <stdbool.h>
#include <stddef.h>

#include "config/base/error.h"
#include "config/base/span.h"

struct analyzer;

/* language: "english" or another of libstemmer's; "none" stems nothing. NULL with data.schema when unknown. */
struct analyzer *analyzer_new(const char *language, struct error *err);
void analyzer_free(struct analyzer *analyzer); /* NULL is fine */

/* Calls on_term for every term in text order; the term's bytes (≤ 255) are valid during the call. counted: it adds 1 to the text's
 * length (a compound's part does not). */
void analyzer_run(struct analyzer *analyzer, struct span text, void (*on_term)(void *user, struct span term, bool counted),
                  void *user);

/* What the terms depend on: the analysis' own version, the language, the libraries' versions. */
const char *analyzer_fingerprint(const struct analyzer *analyzer);

#endif
