#include <criterion/criterion.h>
#include <stdio.h>

#include "config/base/buffer.h"
#include "retrieval/analysis/analyzer.h"
#include "retrieval/analysis/term_counts.h"

static void add_term(void *user, struct span term, bool counted)
{
        struct buffer *out = user;

        if (out->len)
                buffer_char(out, ' ');
        buffer_span(out, term);
        if (!counted)
                buffer_char(out, '*');
}

/* The terms with blanks between; those that do not count are starred. */
static const char *terms(const char *language, const char *text)
{
        static struct buffer out;
        struct analyzer *analyzer = analyzer_new(language, NULL);

        buffer_fini(&out);
        buffer_init(&out, 1 << 20);
        analyzer_run(analyzer, span_of(text), add_term, &out);
        analyzer_free(analyzer);
        return out.len ? out.data : "";
}

Test(analyzer, english_folds_stops_and_stems)
{
        cr_assert_str_eq(terms("english", "The Foxes were JUMPING over a dog"), "fox jump dog");
        cr_assert_str_eq(terms("english", "to be or not to be"), "");
        cr_assert_str_eq(terms("english", ""), "");
}

Test(analyzer, possessives_lose_their_s)
{
        cr_assert_str_eq(terms("english", "Bernoulli's equation, that\xe2\x80\x99s it"), "bernoulli equat");
}

Test(analyzer, compounds_give_the_whole_and_uncounted_parts)
{
        cr_assert_str_eq(terms("english", "max.poll.interval.ms"), "max.poll.interval.ms max* poll* interv* ms*");
        cr_assert_str_eq(terms("english", "CVE-2024-3094!"), "cve-2024-3094 cve* 2024* 3094*");
        cr_assert_str_eq(terms("english", "state-of-the-art"), "state-of-the-art state* art*");
        cr_assert_str_eq(terms("english", "read_only file"), "read_only read* file");
}

Test(analyzer, numbers_and_abbreviations_have_no_parts)
{
        cr_assert_str_eq(terms("english", "1,000.5 e.g. 3.14"), "1,000.5 e.g 3.14");
}

Test(analyzer, a_dash_with_blanks_joins_nothing)
{
        cr_assert_str_eq(terms("english", "left - right, up -- down"), "left right");
}

Test(analyzer, endless_compounds_are_taken_in_pieces)
{
        char text[4096] = "";
        size_t len = 0;

        for (int i = 0; i < 1000; i++)
                len += (size_t)snprintf(text + len, sizeof text - len, "ab-");
        cr_assert_gt(strlen(terms("english", text)), 3000);
}

Test(analyzer, other_languages_stem_by_name)
{
        cr_assert_str_eq(terms("german", "die Häuser"), "die haus");
        cr_assert_str_eq(terms("none", "The Foxes"), "the foxes");
        cr_assert_null(analyzer_new("klingon", NULL));
}

Test(analyzer, fingerprint_tells_the_language)
{
        struct analyzer *analyzer = analyzer_new("german", NULL);

        cr_assert(strstr(analyzer_fingerprint(analyzer), "german"));
        cr_assert(strstr(analyzer_fingerprint(analyzer), "icu"));
        analyzer_free(analyzer);
}

Test(term_counts, counts_in_order_of_first_occurrence)
{
        struct analyzer *analyzer = analyzer_new("english", NULL);
        AUTO_TERM_COUNTS counts;

        cr_assert_eq(term_counts_init(&counts, analyzer, SPAN("fox dog fox CVE-2024-1 cve"), 0, NULL), 0);
        cr_assert_eq(counts.count, 6);
        cr_assert(span_is(counts.terms[0].term, "fox"));
        cr_assert_eq(counts.terms[0].count, 2);
        cr_assert(span_is(counts.terms[3].term, "cve"));
        cr_assert_eq(counts.terms[3].count, 2, "a part counts as a term");
        cr_assert_eq(counts.length, 5, "but not in the length");
        analyzer_free(analyzer);
}

Test(term_counts, many_terms_keep_their_text)
{
        struct analyzer *analyzer = analyzer_new("none", NULL);
        AUTO_BUFFER text = {0};
        AUTO_TERM_COUNTS counts, few;
        char expected[16];

        buffer_init(&text, 1 << 20);
        for (int round = 0; round < 2; round++)
                for (int i = 0; i < 5000; i++)
                        buffer_printf(&text, "w%d ", i);
        cr_assert_eq(term_counts_init(&counts, analyzer, buffer_view(&text), 0, NULL), 0);
        cr_assert_eq(counts.count, 5000);
        cr_assert_eq(counts.length, 10000);
        for (int i = 0; i < 5000; i++) {
                snprintf(expected, sizeof expected, "w%d", i);
                cr_assert(span_is(counts.terms[i].term, expected));
                cr_assert_eq(counts.terms[i].count, 2);
        }
        cr_assert_eq(term_counts_init(&few, analyzer, buffer_view(&text), 10, NULL), 0);
        cr_assert_eq(few.count, 10, "bounded");
        analyzer_free(analyzer);
}
