/* local-answer: answers from the passages in the prompt, in their own words.
 *
 * A prompt made by prompt.h (its tags name question and passages): the one to three sentences that cover the question's words best, each
 * followed by `[Source: <document>, page <n>]`; or "I don't have enough information." where they leave too much of the question uncovered.
 * It weighs words and understands none: a good passage that says it in other words is not recognised.
 *
 * Any other chat: the first sentence of the last user message comes back. That is an echo, not an answer. */
#ifndef PROVIDERS_FORMATS_LOCAL_ANSWER_H
#define PROVIDERS_FORMATS_LOCAL_ANSWER_H

#include "providers/call.h"

int local_answer(struct call *call, struct error *err);

#endif
