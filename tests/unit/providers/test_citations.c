#include <criterion/criterion.h>
#include <stdlib.h>

#include "providers/citations.h"

static const struct passage passages[] = {
        {.chunk = SPAN("d1#0"), .document = SPAN("d1"), .title = SPAN("Guide"), .source_document = SPAN("guide.pdf"), .page_number = 3},
        {.chunk = SPAN("d1#1"), .document = SPAN("d1"), .title = SPAN("Guide"), .source_document = SPAN("guide.pdf"), .page_number = 4},
        {.chunk = SPAN("d2#0"), .document = SPAN("d2"), .title = SPAN("Notes, page one [draft]")},
};

static struct arena *arena;

static struct citations find(const char *text)
{
        struct citations found;

        if (!arena)
                arena = arena_new(1 << 20);
        cr_assert_eq(citations_find(span_of(text), passages, 3, arena, &found), 0);
        return found;
}

static void check(const char *text, const char *chunk, const char *document, int64_t page, bool verified)
{
        struct citations found = find(text);

        cr_assert_eq(found.count, 1, "%s", text);
        cr_assert(chunk ? span_is(found.list[0].chunk, chunk) : !found.list[0].chunk.data, "%s: %.*s", text, (int)found.list[0].chunk.len, found.list[0].chunk.data);
        cr_assert(span_is(found.list[0].source_document, document), "%s", text);
        cr_assert_eq(found.list[0].page_number, page, "%s", text);
        cr_assert_eq(found.list[0].verified, verified, "%s", text);
}

Test(citations, finds_the_passage_by_any_of_its_names)
{
        check("It is so. [Source: guide.pdf, page 4]", "d1#1", "guide.pdf", 4, true);
        check("[Source: Guide, page 3]", "d1#0", "guide.pdf", 3, true);
        check("[Source: d1, page 4]", "d1#1", "guide.pdf", 4, true);
        check("[Source: d1#1]", "d1#1", "guide.pdf", 4, true);
        check("[Source: guide.pdf]", "d1#0", "guide.pdf", 3, true);
        check("[Source:   guide.pdf ,  p. 4 ]", "d1#1", "guide.pdf", 4, true);
        check("[Source: guide.pdf, Pages 4-5]", "d1#1", "guide.pdf", 4, true);
        check("[Source: d2]", "d2#0", "d2", 0, true);
        check("[Source: d2, page 9]", "d2#0", "d2", 9, true);
        check("[Source: Notes, page one [draft]]", "d2#0", "Notes, page one [draft]", 0, true);
}

Test(citations, does_not_verify_what_was_not_given)
{
        check("[Source: guide.pdf, page 5]", NULL, "guide.pdf", 5, false);
        check("[Source: other.pdf, page 3]", NULL, "other.pdf", 3, false);
        check("[Source: Guide.PDF]", NULL, "Guide.PDF", 0, false);
        check("[Source: ]", NULL, "", 0, false);
        check("[Source:]", NULL, "", 0, false);
}

Test(citations, lists_them_in_order_with_their_markers)
{
        struct citations found = find("A [Source: d2]. B [Source: guide.pdf, page 3] [Source: d2] and [1] [Source");

        cr_assert_eq(found.count, 3);
        cr_assert(span_is(found.list[0].marker, "[Source: d2]"));
        cr_assert(span_is(found.list[1].marker, "[Source: guide.pdf, page 3]"));
        cr_assert(span_is(found.list[2].chunk, "d2#0"));
        cr_assert_not(found.insufficient);
}

Test(citations, survives_hostile_markers)
{
        char *many = malloc(200001);

        for (size_t i = 0; i < 25000; i++)
                memcpy(many + i * 8, "[Source:", 8);
        many[200000] = '\0';
        cr_assert_eq(find(many).count, 0, "none closes");
        for (size_t i = 0; i < 20000; i++)
                memcpy(many + i * 10, "[Source:a]", 10);
        cr_assert_eq(find(many).count, CITATIONS_MAX);
        free(many);
        cr_assert_eq(find("").count, 0);
        cr_assert_eq(find("[Source: d2").count, 0);
        cr_assert_eq(find("[Source: d2, page 99999999999999999999999]").count, 1);
}

Test(citations, knows_the_sentence_of_no_answer)
{
        static const char *const yes[] = {"I don't have enough information.", "  I don't have enough information.\n", "\"I don't have enough information.\"", "I don't have enough information",
                                          "I don\xe2\x80\x99t have enough information.", "'\"I don't have enough information.\"'", "**I don't have enough information.**"};
        static const char *const no[] = {"", "I don't have enough information. But perhaps.", "I do have enough information.", "No.", "\"", "I don't have enough informatio."};

        for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
                cr_assert(find(yes[i]).insufficient, "%s", yes[i]);
        for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
                cr_assert_not(find(no[i]).insufficient, "%s", no[i]);
}

Test(citations, says_when_the_arena_is_full)
{
        struct arena *small = arena_new(8);
        struct citations found;

        cr_assert_eq(citations_find(SPAN("[Source: d2]"), passages, 3, small, &found), -1);
        arena_free(small);
}
