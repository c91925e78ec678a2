/* The local provider: rules, no learned weights. Deterministic over runs, threads and machines; costs nothing; always there.
 *
 *      local-embed    hashed features of words, word pairs and letter groups, 384 dimensions, unit length (local_embed.c)
 *      local-rerank   how well a document covers the query's words, near each other and in order, 0…1 (local_rerank.c)
 *      local-answer   sentences of the passages that cover the question, cited, or "I don't have enough information." (local_answer.c)
 *
 * Tokens are words with a letter or digit. Any thread: each has its own tools. */
#ifndef PROVIDERS_FORMATS_LOCAL_H
#define PROVIDERS_FORMATS_LOCAL_H

#include <stdbool.h>

#include "config/base/error.h"
#include "providers/call.h"

enum { LOCAL_DIMENSIONS = 384, LOCAL_INLINE_BYTES = 2048 };

/* Answers the call, into its arena. model.not_found for a model that is none of the three, model.dimension_mismatch for more than
 * LOCAL_DIMENSIONS, serving.internal when memory is out. */
int local_run(struct call *call, struct error *err);

/* So little work that a hand-over to another thread would cost as much. */
bool local_is_small(const struct call *call);

#endif
