#include "config/base/text.h"

#include <criterion/criterion.h>

#include "config/base/buffer.h"

/* The units of text, each in brackets. */
static const char *units(enum text_unit unit, struct span text)
{
        static struct buffer out;
        struct text_cursor *cursor = text_cursor_new(unit, NULL);
        size_t from, to;

        buffer_fini(&out);
        buffer_init(&out, 4096);
        text_cursor_set(cursor, text);
        while (text_cursor_next(cursor, &from, &to)) {
                buffer_char(&out, '[');
                buffer_add(&out, text.data + from, to - from);
                buffer_char(&out, ']');
        }
        text_cursor_free(cursor);
        return out.len ? out.data : "";
}

static const char *folded(const char *word)
{
        static char out[TEXT_WORD_BYTES_MAX + 1];

        cr_assert_eq(text_fold(span_of(word), out), strlen(out));
        return out;
}

Test(text, words_have_a_letter_or_digit)
{
        cr_assert_str_eq(units(TEXT_WORDS, SPAN("Hello, world! -- 3.14 __ don't x_1")), "[Hello][world][3.14][don't][x_1]");
        cr_assert_str_eq(units(TEXT_WORDS, SPAN("Größe naïve café")), "[Größe][naïve][café]");
        cr_assert_str_eq(units(TEXT_WORDS, SPAN("max.poll.interval.ms CVE-2024-3094")), "[max.poll.interval.ms][CVE][2024][3094]");
        cr_assert_str_eq(units(TEXT_WORDS, SPAN(" …!? \t\n")), "");
        cr_assert_str_eq(units(TEXT_WORDS, SPAN("")), "");
}

Test(text, words_are_found_in_scripts_without_blanks)
{
        cr_assert_gt(text_token_count(SPAN("東京都に住んでいます")), 2);
        cr_assert_gt(text_token_count(SPAN("สวัสดีชาวโลก")), 1);
}

Test(text, sentences_keep_the_blanks_behind_them)
{
        cr_assert_str_eq(units(TEXT_SENTENCES, SPAN("One. Two? Three 3.5 four!")), "[One. ][Two? ][Three 3.5 four!]");
}

Test(text, graphemes_hold_combining_marks_and_joined_emoji)
{
        cr_assert_str_eq(units(TEXT_GRAPHEMES, SPAN("e\xcc\x81x")), "[e\xcc\x81][x]");
        cr_assert_str_eq(units(TEXT_GRAPHEMES, SPAN("\r\n")), "[\r\n]");
}

Test(text, a_cursor_can_be_set_again)
{
        struct text_cursor *cursor = text_cursor_new(TEXT_WORDS, NULL);
        size_t from, to;

        for (int i = 0; i < 3; i++) {
                text_cursor_set(cursor, SPAN("a bc"));
                cr_assert(text_cursor_next(cursor, &from, &to));
                cr_assert(text_cursor_next(cursor, &from, &to));
                cr_assert_eq(from, 2);
                cr_assert_eq(to, 4);
                cr_assert_not(text_cursor_next(cursor, &from, &to));
                cr_assert_not(text_cursor_next(cursor, &from, &to), "the end stays the end");
        }
        text_cursor_free(cursor);
}

Test(text, ill_formed_bytes_are_survived)
{
        static const char *const bad[] = {"\xff\xfe", "a\xc3", "\xe2\x82", "\xf0\x9f\x98", "\x80\x80 ok", "\xed\xa0\x80"};

        for (size_t i = 0; i < COUNT_OF(bad); i++) {
                char out[TEXT_WORD_BYTES_MAX + 1];

                units(TEXT_WORDS, span_of(bad[i]));
                units(TEXT_SENTENCES, span_of(bad[i]));
                text_fold(span_of(bad[i]), out);
        }
}

Test(text, token_count_counts_words)
{
        cr_assert_eq(text_token_count(SPAN("The quick (brown) fox can't jump 32.3 feet, right?")), 9);
        cr_assert_eq(text_token_count(SPAN("")), 0);
}

Test(text, folding_is_nfkc_and_case)
{
        cr_assert_str_eq(folded("HeLLo"), "hello");
        cr_assert_str_eq(folded("Straße"), "strasse");
        cr_assert_str_eq(folded("ﬁne"), "fine");
        cr_assert_str_eq(folded("Ａ１"), "a1");
        cr_assert_str_eq(folded("E\xcc\x81t\xc3\x89"), "\xc3\xa9t\xc3\xa9");
        cr_assert_str_eq(folded("don\xe2\x80\x99t"), "don't");
        cr_assert_str_eq(folded("so\xc2\xad"
                                "ft"),
                         "soft", "a soft hyphen goes");
}

Test(text, folding_cuts_long_words_between_code_points)
{
        char word[2000], out[TEXT_WORD_BYTES_MAX + 1];

        for (size_t i = 0; i < sizeof word; i += 2)
                memcpy(word + i, "\xc3\xa9", 2);
        cr_assert_eq(text_fold((struct span){word, sizeof word}, out), 254);
        memset(word, 'x', sizeof word);
        cr_assert_eq(text_fold((struct span){word, sizeof word}, out), 255);
        for (size_t i = 0; i + 3 <= sizeof word; i += 3)
                memcpy(word + i, "\xef\xb7\xba", 3); /* U+FDFA becomes eighteen characters */
        cr_assert_leq(text_fold((struct span){word, 255}, out), TEXT_WORD_BYTES_MAX);
}

Test(text, stems_are_snowballs)
{
        struct text_stemmer *stemmer = text_stemmer_new("english", NULL), *none = text_stemmer_new("none", NULL);

        cr_assert(span_is(text_stem(stemmer, SPAN("running")), "run"));
        cr_assert(span_is(text_stem(stemmer, SPAN("indices")), "indic"));
        cr_assert(span_is(text_stem(stemmer, SPAN("")), ""));
        cr_assert(span_is(text_stem(none, SPAN("running")), "running"));
        text_stemmer_free(stemmer);
        text_stemmer_free(none);
}

Test(text, unknown_languages_are_refused)
{
        struct error err;

        cr_assert(text_language_known("german"));
        cr_assert(text_language_known("none"));
        cr_assert_not(text_language_known("klingon"));
        cr_assert_null(text_stemmer_new("klingon", &err));
        cr_assert_eq(err.code, CODE_SCHEMA);
}

Test(text, stop_words_are_englishs_only)
{
        static const char *const stops[] = {"a", "the", "yourselves", "isn't", "ourselves", "between", "i"};

        for (size_t i = 0; i < COUNT_OF(stops); i++)
                cr_assert(text_is_stop_word("english", span_of(stops[i])), "%s", stops[i]);
        cr_assert_not(text_is_stop_word("english", SPAN("kafka")));
        cr_assert_not(text_is_stop_word("english", SPAN("th")));
        cr_assert_not(text_is_stop_word("english", SPAN("theme")));
        cr_assert_not(text_is_stop_word("english", SPAN("")));
        cr_assert_not(text_is_stop_word("german", SPAN("the")));
}

Test(text, fingerprint_names_the_libraries)
{
        cr_assert(strstr(text_fingerprint(), "icu 7"));
        cr_assert(strstr(text_fingerprint(), "unicode "));
}
