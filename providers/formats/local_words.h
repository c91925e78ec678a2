/* What the three local models share: words and sentences of a text, stemmed and hashed. Each thread keeps its own tools, made at first use
 * and freed with the thread. */
#ifndef PROVIDERS_FORMATS_LOCAL_WORDS_H
#define PROVIDERS_FORMATS_LOCAL_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/arena.h"
#include "config/base/error.h"
#include "config/base/span.h"
#include "config/base/text.h"

enum { LOCAL_WORDS_MAX = 1 << 20 /* of a text; the rest is not looked at */ };

struct local_tools {
        struct text_cursor *words, *sentences;
        struct text_stemmer *stemmer;
};

/* The calling thread's; NULL with serving.internal: no memory. */
struct local_tools *local_tools_get(struct error *err);

struct local_word {
        uint64_t stem; /* FNV-1a of the stem, possessive stripped; 0 never occurs */
        bool stop;     /* on the stop list: tells nothing */
};

/* The words of a text, in order. */
struct local_words {
        struct local_word *list;
        size_t count;
};

/* In the arena. -1: the arena is full. */
int local_words_of(struct local_tools *tools, struct span text, struct arena *arena, struct local_words *ret, struct error *err);

/* The next word of tools->words, folded and stemmed; false at the end. *ret_folded is valid until the next call. */
bool local_word_next(struct local_tools *tools, struct span text, struct local_word *ret_word, struct span *ret_folded);

#endif
