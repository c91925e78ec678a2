#include "providers/citations.h"

#include <string.h>

#include "config/base/own.h"

enum { MARKER_BYTES_MAX = 1024, PAGE_MAX = 1000000000 };

static const char opening[] = "[Source:";

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct span trim(struct span s)
{
        while (s.len && is_blank(*s.data)) {
                s.data++;
                s.len--;
        }
        while (s.len && is_blank(s.data[s.len - 1]))
                s.len--;
        return s;
}

/* The marker at `at`, to its closing bracket; brackets within a document's name may nest. False: it doesn't close. */
static bool marker_at(struct span text, size_t at, struct span *ret_marker)
{
        int depth = 0;

        for (size_t i = at; i < text.len && i - at < MARKER_BYTES_MAX; i++) {
                depth += text.data[i] == '[';
                depth -= text.data[i] == ']';
                if (depth == 0) {
                        *ret_marker = (struct span){text.data + at, i + 1 - at};
                        return true;
                }
        }
        return false;
}

/* "page 12" behind the last comma; also "p. 12", "pages 12-13" (the first counts). 0: something else. */
static int64_t page_of(struct span s)
{
        static const char *const words[] = {"pages", "page", "pp.", "p."};
        int64_t page = 0;

        s = trim(s);
        for (size_t i = 0; i < COUNT_OF(words); i++) {
                size_t len = strlen(words[i]);
                struct span rest;

                if (s.len <= len || strncasecmp(s.data, words[i], len) != 0)
                        continue;
                rest = trim((struct span){s.data + len, s.len - len});
                for (size_t j = 0; j < rest.len && rest.data[j] >= '0' && rest.data[j] <= '9' && page < PAGE_MAX; j++)
                        page = page * 10 + (rest.data[j] - '0');
                return page;
        }
        return 0;
}

/* Takes the inside of a marker apart: name, and page where there is one. */
static void split(struct span inside, struct span *ret_name, int64_t *ret_page)
{
        const char *comma = inside.len ? memrchr(inside.data, ',', inside.len) : NULL;

        *ret_name = trim(inside);
        *ret_page = 0;
        if (!comma)
                return;
        *ret_page = page_of((struct span){comma + 1, inside.len - (size_t)(comma + 1 - inside.data)});
        if (*ret_page)
                *ret_name = trim((struct span){inside.data, (size_t)(comma - inside.data)});
}

static bool is_called(const struct passage *passage, struct span name)
{
        return span_equal(passage->source_document, name) || span_equal(passage->title, name) || span_equal(passage->document, name) ||
               span_equal(passage->chunk, name);
}

/* The first passage of that name and page, else the first of that name; NULL: none. */
static const struct passage *find_passage(const struct passage *passages, size_t count, struct span name, int64_t page)
{
        const struct passage *fallback = NULL;

        if (!name.len)
                return NULL;
        for (size_t i = 0; i < count; i++) {
                if (!is_called(&passages[i], name))
                        continue;
                if (!page || !passages[i].page_number || passages[i].page_number == page)
                        return &passages[i];
                if (!fallback)
                        fallback = &passages[i];
        }
        return fallback;
}

static struct citation resolve(struct span marker, const struct passage *passages, size_t count)
{
        struct span inside = {marker.data + sizeof opening - 1, marker.len - sizeof opening};
        struct citation citation = {.marker = marker};
        const struct passage *passage;

        split(inside, &citation.source_document, &citation.page_number);
        passage = find_passage(passages, count, citation.source_document, citation.page_number);
        if (!passage) { /* perhaps the comma belongs to the name */
                passage = find_passage(passages, count, trim(inside), 0);
                if (!passage)
                        return citation;
                citation.source_document = trim(inside);
                citation.page_number = 0;
        }
        citation.verified = !citation.page_number || !passage->page_number || citation.page_number == passage->page_number;
        if (!citation.verified)
                return citation; /* the document was given, that page of it was not */
        citation.chunk = passage->chunk;
        if (passage->source_document.len)
                citation.source_document = passage->source_document;
        if (!citation.page_number)
                citation.page_number = passage->page_number;
        return citation;
}

static bool is_insufficient(struct span text)
{
        struct span sentence = span_of(prompt_insufficient);
        bool again = true;

        sentence.len--; /* the full stop is optional */
        while (again) {
                text = trim(text);
                again = text.len >= 2 && strchr("\"'`*", *text.data) && text.data[text.len - 1] == *text.data;
                if (again)
                        text = (struct span){text.data + 1, text.len - 2};
        }
        if (text.len && text.data[text.len - 1] == '.')
                text.len--;
        if (text.len == sentence.len + 2) { /* a typographer's apostrophe */
                static const char curly[] = "\xe2\x80\x99";
                size_t at = 5;

                return memcmp(text.data, sentence.data, at) == 0 && memcmp(text.data + at, curly, 3) == 0 &&
                       memcmp(text.data + at + 3, sentence.data + at + 1, sentence.len - at - 1) == 0;
        }
        return span_equal(text, sentence);
}

int citations_find(struct span text, const struct passage *passages, size_t passage_count, struct arena *arena, struct citations *ret)
{
        struct citations found = {.insufficient = is_insufficient(text)};
        size_t at = 0, capacity = 0;

        for (const char *p = text.data; text.len && (p = memmem(p, text.len - (size_t)(p - text.data), opening, sizeof opening - 1)); p++)
                capacity++;
        if (capacity > CITATIONS_MAX)
                capacity = CITATIONS_MAX;
        if (capacity && !(found.list = arena_alloc(arena, capacity * sizeof *found.list)))
                return -1;
        while (found.count < capacity) {
                const char *p = memmem(text.data + at, text.len - at, opening, sizeof opening - 1);
                struct span marker;

                if (!p)
                        break;
                at = (size_t)(p - text.data);
                if (!marker_at(text, at, &marker)) {
                        at++;
                        continue;
                }
                found.list[found.count++] = resolve(marker, passages, passage_count);
                at += marker.len;
        }
        *ret = found;
        return 0;
}
