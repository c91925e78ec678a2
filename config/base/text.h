/* Text as all rooms see it: words, sentences and graphemes by UAX #29 (ICU), NFKC case folding, Snowball stems and stop words.
 * Chunker, analysis and the local models share it, so that a token is the same thing everywhere.
 * Text is well-formed UTF-8 (see utf8.h) of less than 2 GiB; ill-formed bytes are treated as U+FFFD, never read past.
 * Every object here belongs to one thread at a time; different objects may be used at once. */
#ifndef CONFIG_BASE_TEXT_H
#define CONFIG_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "config/base/error.h"
#include "config/base/own.h"
#include "config/base/span.h"

enum { TEXT_WORD_BYTES_MAX = 255 }; /* of a folded word; longer ones are cut there, on a code point's boundary */

enum text_unit {
        TEXT_WORDS,     /* only those with a letter or digit: the contract's tokens */
        TEXT_SENTENCES, /* UAX #29: each line end ends a sentence too; white space behind it belongs to it */
        TEXT_GRAPHEMES,
};

/* A cursor over the units of a text. Costly to make (some 100 µs), cheap to set on the next text: keep it. */
struct text_cursor;
/* NULL with serving.internal when memory or ICU's data is missing. */
struct text_cursor *text_cursor_new(enum text_unit unit, struct error *err);
void text_cursor_free(struct text_cursor *cursor); /* NULL is fine */
/* Borrows the bytes until the next set or free. */
void text_cursor_set(struct text_cursor *cursor, struct span text);
/* The next unit as bytes [*ret_from, *ret_to) of the text; false at its end. */
bool text_cursor_next(struct text_cursor *cursor, size_t *ret_from, size_t *ret_to);

static inline void text_cursor_auto_free(struct text_cursor **cursor)
{
        text_cursor_free(*cursor);
}
#define AUTO_TEXT_CURSOR AUTO(text_cursor_auto_free) struct text_cursor

/* The same for callers without a cursor of their own: each thread keeps one. on_word is given the word as a part of text. */
int text_words(struct span text, void (*on_word)(void *user, struct span word), void *user, struct error *err);
/* How many tokens (words with a letter or digit) text has; 0 when there is no memory to count. */
size_t text_token_count(struct span text);

/* word in NFKC case-folded form with U+2019 made an ASCII apostrophe, into folded; cut at TEXT_WORD_BYTES_MAX. Returns its
 * length, 0 for an empty or ill-formed word. Any thread. */
size_t text_fold(struct span word, char folded[TEXT_WORD_BYTES_MAX + 1]);

/* Snowball stems of one language ("english", "german", … as libstemmer names them; "none": words come back as they are). */
struct text_stemmer;
/* NULL with data.schema for an unknown language, serving.internal when memory is out. */
struct text_stemmer *text_stemmer_new(const char *language, struct error *err);
void text_stemmer_free(struct text_stemmer *stemmer); /* NULL is fine */
/* The stem of a folded word, valid until the next call. */
struct span text_stem(struct text_stemmer *stemmer, struct span folded);

bool text_language_known(const char *language);
/* Is the folded word on the language's stop list? Only english has one; the others' words all count. */
bool text_is_stop_word(const char *language, struct span folded);

/* Names and versions of what makes the above: "icu 72.1, unicode 15.0, snowball" (which tells no version). A static string. */
const char *text_fingerprint(void);

#endif
