/* A compound is a run of UAX #29 words joined by single hyphens, or one such word with a separator inside. Its whole is indexed
 * as it is written (folded, not stemmed), its parts like any other word. Both index and query go through here, so that what one
 * drops the other drops too. */
#include "retrieval/analysis/analyzer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/text.h"

enum {
        COMPOUND_WORDS_MAX = 16, /* words joined by hyphens; longer runs are taken in pieces */
        LANGUAGE_BYTES_MAX = 32,
};

struct analyzer {
        struct text_cursor *words;
        struct text_stemmer *stemmer;
        char language[LANGUAGE_BYTES_MAX];
        char fingerprint[192];
};

/* One call of analyzer_run. */
struct run {
        struct analyzer *analyzer;
        void (*on_term)(void *user, struct span term, bool counted);
        void *user;
};

struct analyzer *analyzer_new(const char *language, struct error *err)
{
        struct analyzer *analyzer = calloc(1, sizeof *analyzer);

        if (!analyzer) {
                error_set(err, CODE_INTERNAL, "no memory for an analyzer");
                return NULL;
        }
        analyzer->stemmer = text_stemmer_new(language, err);
        analyzer->words = analyzer->stemmer ? text_cursor_new(TEXT_WORDS, err) : NULL;
        if (!analyzer->words) {
                analyzer_free(analyzer);
                return NULL;
        }
        snprintf(analyzer->language, sizeof analyzer->language, "%s", language);
        snprintf(analyzer->fingerprint, sizeof analyzer->fingerprint, "words-1 %s; %s", language, text_fingerprint());
        return analyzer;
}

void analyzer_free(struct analyzer *analyzer)
{
        if (!analyzer)
                return;
        text_cursor_free(analyzer->words);
        text_stemmer_free(analyzer->stemmer);
        free(analyzer);
}

const char *analyzer_fingerprint(const struct analyzer *analyzer)
{
        return analyzer->fingerprint;
}

static void emit_word(const struct run *run, struct span word, bool counted)
{
        char folded[TEXT_WORD_BYTES_MAX + 1];
        struct span term = {folded, text_fold(word, folded)};

        if (term.len > 2 && term.data[term.len - 2] == '\'' && term.data[term.len - 1] == 's')
                term.len -= 2;
        if (term.len == 0 || text_is_stop_word(run->analyzer->language, term))
                return;
        term = text_stem(run->analyzer->stemmer, term);
        if (term.len > 0)
                run->on_term(run->user, term, counted);
}

static bool is_separator(char c)
{
        return c == '-' || c == '.' || c == '_' || c == ':' || c == ',' || c == '/';
}

/* Are parts of s worth terms of their own? Not those of numbers (1,000.5) and abbreviations (e.g). */
static bool is_compound(struct span s)
{
        bool separated = false, letters = false, hyphen = false, long_part = false;
        size_t run = 0;

        for (size_t i = 0; i < s.len; i++) {
                char c = s.data[i];

                if (is_separator(c)) {
                        separated = true;
                        hyphen |= c == '-';
                        run = 0;
                        continue;
                }
                letters |= c < '0' || c > '9';
                long_part |= ++run > 1;
        }
        return separated && (hyphen || (letters && long_part));
}

static void emit(const struct run *run, struct span s)
{
        char folded[TEXT_WORD_BYTES_MAX + 1];
        struct span whole;
        size_t from = 0;

        if (!is_compound(s)) {
                emit_word(run, s, true);
                return;
        }
        whole = (struct span){folded, text_fold(s, folded)};
        if (whole.len > 0)
                run->on_term(run->user, whole, true);
        for (size_t i = 0; i <= s.len; i++) {
                if (i < s.len && !is_separator(s.data[i]))
                        continue;
                if (i > from)
                        emit_word(run, (struct span){s.data + from, i - from}, false);
                from = i + 1;
        }
}

void analyzer_run(struct analyzer *analyzer, struct span text, void (*on_term)(void *user, struct span term, bool counted),
                  void *user)
{
        const struct run run = {analyzer, on_term, user};
        size_t from, to, begin = 0, end = 0;
        int words = 0; /* of the compound [begin, end) that is being gathered */

        text_cursor_set(analyzer->words, text);
        while (text_cursor_next(analyzer->words, &from, &to)) {
                bool joined = words > 0 && words < COMPOUND_WORDS_MAX && from == end + 1 && text.data[end] == '-';

                if (words > 0 && !joined) {
                        emit(&run, (struct span){text.data + begin, end - begin});
                        words = 0;
                }
                if (words++ == 0)
                        begin = from;
                end = to;
        }
        if (words > 0)
                emit(&run, (struct span){text.data + begin, end - begin});
        text_cursor_set(analyzer->words, SPAN("")); /* lets go of the caller's bytes */
}
