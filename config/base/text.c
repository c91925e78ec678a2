/* ICU's break iterators read UTF-8 in place through a UText. Opening an iterator parses rule data, so cursors are kept and re-set;
 * text_words and text_token_count use one of the thread's own, freed when the thread ends. */
#include "config/base/text.h"

#include <libstemmer.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>
#include <unicode/uversion.h>

#include "config/base/utf8.h"

enum { FOLD_UNITS_MAX = TEXT_WORD_BYTES_MAX * 20 }; /* NFKC lengthens a code point to 18 at most */

struct text_cursor {
        UBreakIterator *breaks;
        UText *utext;
        struct span text;
        int32_t at;
        enum text_unit unit;
};

struct text_stemmer {
        struct sb_stemmer *snowball; /* NULL: none */
};

struct text_cursor *text_cursor_new(enum text_unit unit, struct error *err)
{
        static const UBreakIteratorType types[] = {
                [TEXT_WORDS] = UBRK_WORD, [TEXT_SENTENCES] = UBRK_SENTENCE, [TEXT_GRAPHEMES] = UBRK_CHARACTER};
        UErrorCode status = U_ZERO_ERROR;
        struct text_cursor *cursor = calloc(1, sizeof *cursor);

        if (!cursor) {
                error_set(err, CODE_INTERNAL, "no memory for a text cursor");
                return NULL;
        }
        cursor->unit = unit;
        cursor->breaks = ubrk_open(types[unit], "en", NULL, 0, &status);
        if (U_FAILURE(status)) {
                error_set(err, CODE_INTERNAL, "ICU's break rules can't be opened: %s", u_errorName(status));
                text_cursor_free(cursor);
                return NULL;
        }
        text_cursor_set(cursor, SPAN(""));
        return cursor;
}

void text_cursor_free(struct text_cursor *cursor)
{
        if (!cursor)
                return;
        if (cursor->breaks)
                ubrk_close(cursor->breaks);
        utext_close(cursor->utext);
        free(cursor);
}

void text_cursor_set(struct text_cursor *cursor, struct span text)
{
        UErrorCode status = U_ZERO_ERROR;

        if (text.len > INT32_MAX)
                text.len = INT32_MAX;
        cursor->text = text;
        cursor->utext = utext_openUTF8(cursor->utext, text.len ? text.data : "", (int64_t)text.len, &status);
        ubrk_setUText(cursor->breaks, cursor->utext, &status);
        cursor->at = U_FAILURE(status) ? UBRK_DONE : ubrk_first(cursor->breaks);
}

/* ICU's macros are not written for -Wconversion. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
static UChar32 next_code_point(const uint8_t *data, int32_t *at, int32_t len)
{
        UChar32 c;

        U8_NEXT(data, *at, len, c);
        return c;
}
#pragma GCC diagnostic pop

static bool has_letter_or_digit(struct span s)
{
        int32_t at = 0, len = (int32_t)s.len;

        while (at < len) {
                UChar32 c = next_code_point((const uint8_t *)s.data, &at, len);

                if (c >= 0 && u_isalnum(c))
                        return true;
        }
        return false;
}

bool text_cursor_next(struct text_cursor *cursor, size_t *ret_from, size_t *ret_to)
{
        while (cursor->at != UBRK_DONE) {
                int32_t from = cursor->at, to = ubrk_next(cursor->breaks);

                cursor->at = to;
                if (to == UBRK_DONE || to <= from)
                        break;
                if (cursor->unit == TEXT_WORDS &&
                    !has_letter_or_digit((struct span){cursor->text.data + from, (size_t)(to - from)}))
                        continue;
                *ret_from = (size_t)from;
                *ret_to = (size_t)to;
                return true;
        }
        cursor->at = UBRK_DONE;
        return false;
}

/* ---- The thread's own word cursor */

static pthread_key_t words_key;
static pthread_once_t words_once = PTHREAD_ONCE_INIT;
static int words_key_error;

static void free_words(void *cursor)
{
        text_cursor_free(cursor);
}

static void make_words_key(void)
{
        words_key_error = pthread_key_create(&words_key, free_words);
}

static struct text_cursor *thread_words(struct error *err)
{
        struct text_cursor *cursor;

        pthread_once(&words_once, make_words_key);
        if (words_key_error) {
                error_set(err, CODE_INTERNAL, "no thread-specific key is left");
                return NULL;
        }
        cursor = pthread_getspecific(words_key);
        if (cursor)
                return cursor;
        cursor = text_cursor_new(TEXT_WORDS, err);
        if (cursor && pthread_setspecific(words_key, cursor) != 0) {
                error_set(err, CODE_INTERNAL, "no memory for a thread's text cursor");
                text_cursor_free(cursor);
                return NULL;
        }
        return cursor;
}

int text_words(struct span text, void (*on_word)(void *user, struct span word), void *user, struct error *err)
{
        struct text_cursor *cursor = thread_words(err);
        size_t from, to;

        if (!cursor)
                return -1;
        text_cursor_set(cursor, text);
        while (text_cursor_next(cursor, &from, &to))
                on_word(user, (struct span){text.data + from, to - from});
        text_cursor_set(cursor, SPAN("")); /* lets go of the caller's bytes */
        return 0;
}

static void count_word(void *user, struct span word)
{
        size_t *count = user;

        (void)word;
        (*count)++;
}

size_t text_token_count(struct span text)
{
        size_t count = 0;

        text_words(text, count_word, &count, NULL);
        return count;
}

/* ---- Folding */

static size_t fold_unicode(struct span word, char folded[TEXT_WORD_BYTES_MAX + 1])
{
        UChar units[TEXT_WORD_BYTES_MAX + 1], out[FOLD_UNITS_MAX];
        char bytes[FOLD_UNITS_MAX * 3];
        UErrorCode status = U_ZERO_ERROR;
        const UNormalizer2 *fold = unorm2_getNFKCCasefoldInstance(&status);
        int32_t len = 0, bytes_len = 0;
        size_t kept;

        u_strFromUTF8WithSub(units, COUNT_OF(units), &len, word.data, (int32_t)word.len, 0xfffd, NULL, &status);
        len = unorm2_normalize(fold, units, len, out, COUNT_OF(out), &status);
        if (U_FAILURE(status))
                return 0;
        for (int32_t i = 0; i < len; i++)
                if (out[i] == 0x2019)
                        out[i] = '\'';
        u_strToUTF8WithSub(bytes, (int32_t)sizeof bytes, &bytes_len, out, len, 0xfffd, NULL, &status);
        if (U_FAILURE(status))
                return 0;
        kept = utf8_cut((struct span){bytes, (size_t)bytes_len}, TEXT_WORD_BYTES_MAX);
        memcpy(folded, bytes, kept);
        folded[kept] = '\0';
        return kept;
}

size_t text_fold(struct span word, char folded[TEXT_WORD_BYTES_MAX + 1])
{
        size_t i;

        word.len = utf8_cut(word, TEXT_WORD_BYTES_MAX);
        for (i = 0; i < word.len && (unsigned char)word.data[i] < 0x80; i++) {
                char c = word.data[i];

                folded[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
        }
        if (i < word.len)
                return fold_unicode(word, folded);
        folded[i] = '\0';
        return i;
}

/* ---- Stems and stop words */

bool text_language_known(const char *language)
{
        if (strcmp(language, "none") == 0)
                return true;
        for (const char **names = sb_stemmer_list(); *names; names++)
                if (strcmp(*names, language) == 0)
                        return true;
        return false;
}

struct text_stemmer *text_stemmer_new(const char *language, struct error *err)
{
        struct text_stemmer *stemmer;

        if (!text_language_known(language)) {
                error_set(err, CODE_SCHEMA, "unknown language; known are none, english and Snowball's others");
                return NULL;
        }
        stemmer = calloc(1, sizeof *stemmer);
        if (stemmer && strcmp(language, "none") != 0) {
                stemmer->snowball = sb_stemmer_new(language, "UTF_8");
                if (!stemmer->snowball) {
                        free(stemmer);
                        stemmer = NULL;
                }
        }
        if (!stemmer)
                error_set(err, CODE_INTERNAL, "no memory for a stemmer");
        return stemmer;
}

void text_stemmer_free(struct text_stemmer *stemmer)
{
        if (!stemmer)
                return;
        if (stemmer->snowball)
                sb_stemmer_delete(stemmer->snowball);
        free(stemmer);
}

struct span text_stem(struct text_stemmer *stemmer, struct span folded)
{
        const sb_symbol *stem;

        if (!stemmer->snowball || folded.len == 0 || folded.len > INT32_MAX)
                return folded;
        stem = sb_stemmer_stem(stemmer->snowball, (const sb_symbol *)folded.data, (int)folded.len);
        if (!stem) /* out of memory */
                return folded;
        return (struct span){(const char *)stem, (size_t)sb_stemmer_length(stemmer->snowball)};
}

/* Function words in byte order: pronouns, auxiliaries with their contractions, articles, prepositions, conjunctions, adverbs. */
static const char *const stop_words[] = {
        "a",          "about",   "above",    "after",     "again",    "against", "all",     "am",      "an",        "and",
        "any",        "are",     "aren't",   "as",        "at",       "be",      "because", "been",    "before",    "being",
        "below",      "between", "both",     "but",       "by",       "can't",   "cannot",  "could",   "couldn't",  "did",
        "didn't",     "do",      "does",     "doesn't",   "doing",    "don't",   "down",    "during",  "each",      "few",
        "for",        "from",    "further",  "had",       "hadn't",   "has",     "hasn't",  "have",    "haven't",   "having",
        "he",         "he'd",    "he'll",    "he's",      "her",      "here",    "here's",  "hers",    "herself",   "him",
        "himself",    "his",     "how",      "how's",     "i",        "i'd",     "i'll",    "i'm",     "i've",      "if",
        "in",         "into",    "is",       "isn't",     "it",       "it's",    "its",     "itself",  "let's",     "me",
        "more",       "most",    "mustn't",  "my",        "myself",   "no",      "nor",     "not",     "of",        "off",
        "on",         "once",    "only",     "or",        "other",    "ought",   "our",     "ours",    "ourselves", "out",
        "over",       "own",     "same",     "shan't",    "she",      "she'd",   "she'll",  "she's",   "should",    "shouldn't",
        "so",         "some",    "such",     "than",      "that",     "that's",  "the",     "their",   "theirs",    "them",
        "themselves", "then",    "there",    "there's",   "these",    "they",    "they'd",  "they'll", "they're",   "they've",
        "this",       "those",   "through",  "to",        "too",      "under",   "until",   "up",      "very",      "was",
        "wasn't",     "we",      "we'd",     "we'll",     "we're",    "we've",   "were",    "weren't", "what",      "what's",
        "when",       "when's",  "where",    "where's",   "which",    "while",   "who",     "who's",   "whom",      "why",
        "why's",      "with",    "won't",    "would",     "wouldn't", "you",     "you'd",   "you'll",  "you're",    "you've",
        "your",       "yours",   "yourself", "yourselves"};

static int compare_stop_word(const void *key, const void *row)
{
        const struct span *word = key;
        const char *stop = *(const char *const *)row;
        size_t len = strlen(stop);
        int order = memcmp(word->data, stop, word->len < len ? word->len : len);

        if (order != 0)
                return order;
        return word->len < len ? -1 : word->len > len;
}

bool text_is_stop_word(const char *language, struct span folded)
{
        if (folded.len == 0 || folded.len > 10 || strcmp(language, "english") != 0)
                return false;
        return bsearch(&folded, stop_words, COUNT_OF(stop_words), sizeof stop_words[0], compare_stop_word) != NULL;
}

static char fingerprint[96];
static pthread_once_t fingerprint_once = PTHREAD_ONCE_INIT;

static void make_fingerprint(void)
{
        UVersionInfo icu, unicode;
        char icu_text[U_MAX_VERSION_STRING_LENGTH], unicode_text[U_MAX_VERSION_STRING_LENGTH];

        u_getVersion(icu);
        u_getUnicodeVersion(unicode);
        u_versionToString(icu, icu_text);
        u_versionToString(unicode, unicode_text);
        snprintf(fingerprint, sizeof fingerprint, "icu %s, unicode %s, snowball", icu_text, unicode_text);
}

const char *text_fingerprint(void)
{
        pthread_once(&fingerprint_once, make_fingerprint);
        return fingerprint;
}
