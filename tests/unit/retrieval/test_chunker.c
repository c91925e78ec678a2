#include <criterion/criterion.h>
#include <stdio.h>

#include "config/base/buffer.h"
#include "config/base/own.h"
#include "config/base/text.h"
#include "retrieval/chunking/chunker.h"

static struct arena *arena;
static struct chunker *chunker;
static struct chunk *chunks;
static size_t count;

static void setup(void)
{
        arena = arena_new(64 << 20);
        chunker = chunker_new(NULL);
}

static void teardown(void)
{
        chunker_free(chunker);
        arena_free(arena);
}

TestSuite(chunker, .init = setup, .fini = teardown);

static void run(struct span text, enum chunk_format format, enum chunk_strategy strategy, int size, int overlap)
{
        const struct chunk_source source = {.text = text, .format = format, .chunking = {strategy, size, overlap}};
        struct error err = {0};

        chunks = NULL;
        cr_assert_eq(chunker_run(chunker, &source, arena, &chunks, &count, &err), 0, "%s", err.message);
        for (size_t i = 0; i < count; i++) {
                cr_assert_gt(chunks[i].text.len, 0);
                cr_assert_leq(chunks[i].to, text.len);
                cr_assert_lt(chunks[i].from, chunks[i].to);
                cr_assert_eq(chunks[i].tokens, text_token_count(chunks[i].text), "chunk %zu", i);
                if (strategy != CHUNK_NONE)
                        cr_assert_leq(chunks[i].tokens, (size_t)size);
                if (format != CHUNK_FORMAT_HTML)
                        cr_assert_eq(chunks[i].text.data, text.data + chunks[i].from);
        }
}

#define RUN(literal, format, strategy, size, overlap) run(SPAN(literal), CHUNK_FORMAT_##format, CHUNK_##strategy, size, overlap)

static void expect(size_t i, const char *text)
{
        cr_assert_lt(i, count);
        cr_assert(span_is(chunks[i].text, text), "chunk %zu is \"%.*s\", not \"%s\"", i, (int)chunks[i].text.len,
                  chunks[i].text.data, text);
}

static void expect_heading(size_t i, const char *heading)
{
        cr_assert_lt(i, count);
        cr_assert(span_is(chunks[i].section_heading, heading), "heading of %zu is \"%.*s\", not \"%s\"", i,
                  (int)chunks[i].section_heading.len, chunks[i].section_heading.data, heading);
}

Test(chunker, a_short_text_is_one_chunk)
{
        RUN("  One sentence. Another one.\n\nA paragraph.\n", TEXT, RECURSIVE, 100, 10);
        cr_assert_eq(count, 1);
        expect(0, "One sentence. Another one.\n\nA paragraph.");
        cr_assert_eq(chunks[0].from, 2);
        cr_assert_eq(chunks[0].page_number, 0);
}

Test(chunker, nothing_has_no_chunks)
{
        RUN("", TEXT, RECURSIVE, 10, 0);
        cr_assert_eq(count, 0);
        RUN(" \n\t\f \n\n", MARKDOWN, SENTENCE, 10, 0);
        cr_assert_eq(count, 0);
        RUN("<p> </p><script>x</script>", HTML, FIXED, 10, 0);
        cr_assert_eq(count, 0);
}

Test(chunker, signs_without_words_are_a_chunk_of_their_own_only_alone)
{
        RUN("?!? ***", TEXT, RECURSIVE, 10, 0);
        cr_assert_eq(count, 1);
        RUN("***\n\n# A\n\nWords here.", MARKDOWN, RECURSIVE, 10, 0);
        cr_assert_eq(count, 1);
        expect(0, "# A\n\nWords here.");
}

Test(chunker, recursive_prefers_paragraphs_then_sentences)
{
        RUN("One two three four. Five six.\n\nSeven eight nine. Ten.\n\nEleven twelve thirteen fourteen.", TEXT, RECURSIVE, 8, 0);
        cr_assert_eq(count, 2);
        expect(0, "One two three four. Five six.");
        expect(1, "Seven eight nine. Ten.\n\nEleven twelve thirteen fourteen.");
        RUN("One two three. Four.\n\nFive. Six seven eight nine.", TEXT, RECURSIVE, 6, 0);
        cr_assert_eq(count, 2);
        expect(0, "One two three. Four.");
}

Test(chunker, sentences_are_packed_and_overlap_whole)
{
        RUN("A one two. B one two. C one two. D one two.", TEXT, SENTENCE, 6, 3);
        cr_assert_eq(count, 3);
        expect(0, "A one two. B one two.");
        expect(1, "B one two. C one two.");
        expect(2, "C one two. D one two.");
        RUN("A one two. B one two. C one two. D one two.", TEXT, SENTENCE, 6, 2);
        cr_assert_eq(count, 2, "no room for a whole sentence: no overlap");
}

Test(chunker, wrapped_lines_do_not_end_a_sentence)
{
        RUN("This sentence is\nwrapped over three\nlines. Here is\nanother.", TEXT, SENTENCE, 8, 0);
        cr_assert_eq(count, 2);
        expect(0, "This sentence is\nwrapped over three\nlines.");
        expect(1, "Here is\nanother.");
}

Test(chunker, only_a_too_long_sentence_is_cut_between_words)
{
        RUN("One two three four five six seven, eight nine ten.", TEXT, SENTENCE, 4, 1);
        cr_assert_eq(count, 3);
        expect(0, "One two three four");
        expect(1, "four five six seven,");
        expect(2, "seven, eight nine ten.");
}

Test(chunker, fixed_windows_step_by_size_less_overlap)
{
        RUN("a b. c d e. f g h i j", TEXT, FIXED, 4, 2);
        cr_assert_eq(count, 4);
        expect(0, "a b. c d");
        expect(1, "c d e. f");
        expect(2, "e. f g h");
        expect(3, "g h i j");
}

Test(chunker, none_keeps_the_whole)
{
        RUN("# H\n\nOne. Two.\n\n# I\n\nThree.\n", MARKDOWN, NONE, 0, 0);
        cr_assert_eq(count, 1);
        expect(0, "# H\n\nOne. Two.\n\n# I\n\nThree.");
        expect_heading(0, "H");
}

Test(chunker, markdown_headings_bound_and_name_sections)
{
        RUN("Before.\n\n# First #\n\nText one.\n\n## Second\nText two.\n\nThird\n=====\n\nText three.\n", MARKDOWN, RECURSIVE, 100,
            10);
        cr_assert_eq(count, 4);
        expect_heading(0, "");
        expect_heading(1, "First");
        expect(1, "# First #\n\nText one.");
        expect_heading(2, "Second");
        expect_heading(3, "Third");
        expect(3, "Third\n=====\n\nText three.");
}

Test(chunker, headings_on_top_of_each_other_stay_together)
{
        RUN("# Manual\n\n## Start\n\nText.", MARKDOWN, RECURSIVE, 100, 0);
        cr_assert_eq(count, 1);
        expect_heading(0, "Start");
}

Test(chunker, code_fences_hold_no_headings)
{
        RUN("# A\n\n```sh\n# not a heading\nmake\n```\n\nText.\n\n    # indented code\n\n#hash #tags", MARKDOWN, RECURSIVE, 100, 0);
        cr_assert_eq(count, 1);
        expect_heading(0, "A");
}

Test(chunker, an_open_fence_reaches_to_the_end)
{
        RUN("```\n# x\n\n# y\n", MARKDOWN, RECURSIVE, 100, 0);
        cr_assert_eq(count, 1);
        expect_heading(0, "");
}

Test(chunker, list_items_and_table_rows_are_sentences_of_their_own)
{
        RUN("- one two\n- three four\n- five six\n", MARKDOWN, SENTENCE, 4, 0);
        cr_assert_eq(count, 2);
        expect(0, "- one two\n- three four");
        RUN("| a | b |\n| c | d |\n| e | f |\n", MARKDOWN, SENTENCE, 4, 0);
        cr_assert_eq(count, 2);
        expect(0, "| a | b |\n| c | d |");
}

Test(chunker, form_feeds_count_pages)
{
        RUN("Page one text.\n\fPage two text.\n\f\fPage four text.", TEXT, RECURSIVE, 100, 0);
        cr_assert_eq(count, 3);
        cr_assert_eq(chunks[0].page_number, 1);
        cr_assert_eq(chunks[1].page_number, 2);
        cr_assert_eq(chunks[2].page_number, 4);
}

Test(chunker, a_sentence_over_a_page_break_stays_whole)
{
        RUN("Begins on one\n\fand ends on two. Next one.", TEXT, RECURSIVE, 100, 0);
        expect(0, "Begins on one\n\fand ends on two.");
        expect(1, "Next one.");
        cr_assert_eq(chunks[0].page_number, 1);
        cr_assert_eq(chunks[1].page_number, 2);
}

Test(chunker, pages_and_sections_go_on_from_what_the_caller_knows)
{
        const struct chunk_source source = {.text = SPAN("Some text.\f\nMore text.\n\n# H\n\nLast."),
                                            .format = CHUNK_FORMAT_MARKDOWN,
                                            .chunking = {CHUNK_RECURSIVE, 100, 0},
                                            .page_first = 7,
                                            .section_heading = SPAN("Given")};

        cr_assert_eq(chunker_run(chunker, &source, arena, &chunks, &count, NULL), 0);
        cr_assert_eq(count, 3);
        cr_assert_eq(chunks[0].page_number, 7);
        expect_heading(0, "Given");
        cr_assert_eq(chunks[1].page_number, 8);
        expect_heading(1, "Given");
        expect_heading(2, "H");
}

Test(chunker, html_gives_its_text_with_source_spans)
{
        static const char source[] = "<html><head><title>T</title><style>p{}</style></head><body>\n<h1>The <b>Head</b></h1>"
                                     "<p>Fish &amp; chips &#x41;&nbsp;b.<script>if (a<b) c();</script></p><!-- <p>no</p> -->"
                                     "<ul><li>one<li>two</ul></body></html>";

        run(span_of(source), CHUNK_FORMAT_HTML, CHUNK_RECURSIVE, 100, 0);
        cr_assert_eq(count, 1);
        expect(0, "The Head\n\nFish & chips A b.\n\none\n\ntwo");
        expect_heading(0, "The Head");
        cr_assert_eq(strncmp(source + chunks[0].from, "The <b>", 7), 0);
        cr_assert_eq(strncmp(source + chunks[0].to - 3, "two", 3), 0);
}

Test(chunker, html_headings_bound_sections)
{
        RUN("<h2>A</h2>text a<h2 class='x>y'>B</h2><div>text b</div>", HTML, RECURSIVE, 100, 0);
        cr_assert_eq(count, 2);
        expect(0, "A\n\ntext a");
        expect_heading(0, "A");
        expect(1, "B\n\ntext b");
        expect_heading(1, "B");
}

Test(chunker, html_that_is_broken_still_gives_text)
{
        RUN("a < b && c &bogus; &#0; <p attr=\"x> y\" z>t<br>u</p", HTML, RECURSIVE, 100, 0);
        expect(0, "a < b && c &bogus; \xef\xbf\xbd\n\nt\nu");
        RUN("text <!-- never closed", HTML, RECURSIVE, 100, 0);
        expect(0, "text");
        RUN("text <script> never closed </scrip", HTML, RECURSIVE, 100, 0);
        expect(0, "text");
        RUN("<pre>a  b\n c</pre>", HTML, RECURSIVE, 100, 0);
        expect(0, "a  b\n c");
        RUN("<td>a</td><td>b</td>", HTML, RECURSIVE, 100, 0);
        expect(0, "a b");
}

Test(chunker, hostile_html_takes_linear_time)
{
        static const char *const parts[] = {"<b>", "</i>",     "<a x ",     "<!--", "&#",
                                            "<p",  "<script>", "</script ", "'\"=", "<![CDATA["};
        AUTO_BUFFER text = {0};

        buffer_init(&text, 8 << 20);
        for (size_t p = 0; p < COUNT_OF(parts); p++) {
                buffer_reset(&text);
                while (text.len < 1 << 20)
                        buffer_string(&text, parts[p]);
                buffer_string(&text, "<p>end");
                run(buffer_view(&text), CHUNK_FORMAT_HTML, CHUNK_NONE, 0, 0);
        }
}

Test(chunker, never_within_a_grapheme)
{
        AUTO_BUFFER text = {0};
        struct text_cursor *graphemes = text_cursor_new(TEXT_GRAPHEMES, NULL);
        AUTO_FREE bool *boundary = NULL;
        size_t from, to;

        buffer_init(&text, 1 << 20);
        for (int i = 0; i < 200; i++)
                buffer_string(&text, "e\xcc\x81t\xc3\xa9 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb \xe6\x9d\xb1\xe4\xba\xac "
                                     "na\xc3\xafve\r\n");
        boundary = calloc(text.len + 1, sizeof *boundary);
        text_cursor_set(graphemes, buffer_view(&text));
        while (text_cursor_next(graphemes, &from, &to))
                boundary[from] = boundary[to] = true;
        run(buffer_view(&text), CHUNK_FORMAT_TEXT, CHUNK_FIXED, 3, 1);
        cr_assert_gt(count, 100);
        for (size_t i = 0; i < count; i++)
                cr_assert(boundary[chunks[i].from] && boundary[chunks[i].to]);
        text_cursor_free(graphemes);
}

/* Random texts: chunks cover every word in order, overlap stays in its bound, and the strategy's promises hold. */
Test(chunker, every_word_is_in_a_chunk)
{
        static const char *const parts[] = {
                "word ", "two words ", "end. ",      "next? ", "\n",          "\n\n", "# head\n", "- item ",
                "```\n", "3.14 ",      "e\xcc\x81 ", "\f",     "| a | b |\n", "(x) ", "<p>",      "\xe6\x9d\xb1\xe4\xba\xac"};
        unsigned random = 3;

        for (int round = 0; round < 400; round++) {
                AUTO_BUFFER text = {0};
                size_t words_total = 0, covered = 0;

                buffer_init(&text, 1 << 16);
                for (int i = 0; i < 120; i++) {
                        random = random * 1664525u + 1013904223u;
                        buffer_string(&text, parts[(random >> 16) % COUNT_OF(parts)]);
                }
                random = random * 1664525u + 1013904223u;
                int size = 1 + (int)((random >> 16) % 20), overlap = (int)((random >> 24) % (unsigned)size);

                run(buffer_view(&text), (enum chunk_format)(round % 2), (enum chunk_strategy)(round % 3), size, overlap);
                for (size_t i = 0; i < count; i++) {
                        size_t from = chunks[i].from;

                        if (i > 0) {
                                cr_assert_gt(chunks[i].to, chunks[i - 1].to);
                                cr_assert_gt(chunks[i].from, chunks[i - 1].from, "round %d: %zu and %zu of size %d, %d: %.*s",
                                             round, i - 1, i, size, overlap, (int)text.len, text.data);
                                if (from < covered) {
                                        struct span shared = {text.data + from, covered - from};

                                        cr_assert_leq(text_token_count(shared), (size_t)overlap);
                                        from = covered;
                                }
                        }
                        words_total += text_token_count((struct span){text.data + from, chunks[i].to - from});
                        covered = chunks[i].to;
                }
                cr_assert_eq(words_total, text_token_count(buffer_view(&text)), "round %d", round);
        }
}

Test(chunker, too_many_chunks_are_refused)
{
        AUTO_BUFFER text = {0};
        struct chunk_source source = {.format = CHUNK_FORMAT_TEXT, .chunking = {CHUNK_FIXED, 1, 0}};
        struct error err;

        buffer_init(&text, 1 << 20);
        for (int i = 0; i <= CHUNKER_CHUNKS_MAX; i++)
                buffer_string(&text, "w ");
        source.text = buffer_view(&text);
        cr_assert_eq(chunker_run(chunker, &source, arena, &chunks, &count, &err), -1);
        cr_assert_eq(err.code, CODE_TOO_LARGE);
        source.chunking.size = 2;
        cr_assert_eq(chunker_run(chunker, &source, arena, &chunks, &count, &err), 0);
}

Test(chunker, odd_settings_are_refused)
{
        struct chunk_source source = {.text = SPAN("x"), .chunking = {CHUNK_RECURSIVE, 0, 0}};
        struct error err;

        cr_assert_eq(chunker_run(chunker, &source, arena, &chunks, &count, &err), -1);
        cr_assert_eq(err.code, CODE_SCHEMA);
        source.chunking = (struct chunking){CHUNK_FIXED, 5, 5};
        cr_assert_eq(chunker_run(chunker, &source, arena, &chunks, &count, &err), -1);
        source.chunking = (struct chunking){CHUNK_FIXED, 5, -1};
        cr_assert_eq(chunker_run(chunker, &source, arena, &chunks, &count, &err), -1);
}

Test(chunker, a_full_arena_is_an_error)
{
        const struct chunk_source source = {.text = SPAN("a b c d"), .chunking = {CHUNK_FIXED, 1, 0}};
        AUTO_ARENA *small = arena_new(128);
        struct error err;

        cr_assert_eq(chunker_run(chunker, &source, small, &chunks, &count, &err), -1);
        cr_assert_eq(err.code, CODE_TOO_LARGE);
}
