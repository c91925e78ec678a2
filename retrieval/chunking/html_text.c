/* The text of an html document, with the source bytes each part came from. Tokenised by HTML's own rules as far as text goes
 * (comments, tags with quoted attributes, raw-text elements, character references); no tree is built: a tree parser knows no exact
 * positions, and libxml2's takes quadratic time on hostile tags. Here every byte is looked at a bounded number of times, whatever
 * the input.
 *
 * Failure modes: none but memory. What never ends (a comment, a quoted attribute, a script) reaches to the end of the document. */
#include <libxml/HTMLparser.h>
#include <stdint.h>
#include <stdlib.h>

#include "retrieval/chunking/blocks.h"

enum { NAME_BYTES_MAX = 16, ENTITY_BYTES_MAX = 16 };

enum element_kind {
        ELEMENT_INLINE,
        ELEMENT_BLOCK,
        ELEMENT_HEADING,
        ELEMENT_BREAK, /* ends a line, not a block */
        ELEMENT_CELL,  /* parted by a blank from the one before */
        ELEMENT_PRE,   /* white space counts */
        ELEMENT_RAW,   /* holds no markup, and no text worth reading */
};

static const struct {
        const char *name;
        enum element_kind kind;
} elements[] = {
        {"address", ELEMENT_BLOCK}, {"article", ELEMENT_BLOCK}, {"aside", ELEMENT_BLOCK},    {"blockquote", ELEMENT_BLOCK},
        {"body", ELEMENT_BLOCK},    {"br", ELEMENT_BREAK},      {"caption", ELEMENT_BLOCK},  {"center", ELEMENT_BLOCK},
        {"dd", ELEMENT_BLOCK},      {"details", ELEMENT_BLOCK}, {"dir", ELEMENT_BLOCK},      {"div", ELEMENT_BLOCK},
        {"dl", ELEMENT_BLOCK},      {"dt", ELEMENT_BLOCK},      {"fieldset", ELEMENT_BLOCK}, {"figcaption", ELEMENT_BLOCK},
        {"figure", ELEMENT_BLOCK},  {"footer", ELEMENT_BLOCK},  {"form", ELEMENT_BLOCK},     {"h1", ELEMENT_HEADING},
        {"h2", ELEMENT_HEADING},    {"h3", ELEMENT_HEADING},    {"h4", ELEMENT_HEADING},     {"h5", ELEMENT_HEADING},
        {"h6", ELEMENT_HEADING},    {"head", ELEMENT_BLOCK},    {"header", ELEMENT_BLOCK},   {"hr", ELEMENT_BLOCK},
        {"html", ELEMENT_BLOCK},    {"iframe", ELEMENT_RAW},    {"legend", ELEMENT_BLOCK},   {"li", ELEMENT_BLOCK},
        {"main", ELEMENT_BLOCK},    {"menu", ELEMENT_BLOCK},    {"nav", ELEMENT_BLOCK},      {"noembed", ELEMENT_RAW},
        {"noframes", ELEMENT_RAW},  {"ol", ELEMENT_BLOCK},      {"option", ELEMENT_BLOCK},   {"p", ELEMENT_BLOCK},
        {"pre", ELEMENT_PRE},       {"script", ELEMENT_RAW},    {"section", ELEMENT_BLOCK},  {"style", ELEMENT_RAW},
        {"summary", ELEMENT_BLOCK}, {"table", ELEMENT_BLOCK},   {"tbody", ELEMENT_BLOCK},    {"td", ELEMENT_CELL},
        {"tfoot", ELEMENT_BLOCK},   {"th", ELEMENT_CELL},       {"thead", ELEMENT_BLOCK},    {"title", ELEMENT_RAW},
        {"tr", ELEMENT_BLOCK},      {"ul", ELEMENT_BLOCK},      {"xmp", ELEMENT_RAW},
};

struct reader {
        struct span source;
        struct html_text *html;
        struct block_list *list;
        size_t block_from; /* of the open block in the text */
        size_t space_at;   /* where the white space that is owed lies in the source */
        bool space;        /* white space is owed before the next character */
        bool newline;      /* … and it is a line end */
        bool heading;      /* the open block is one */
        bool pre;
};

/* ---- Writing the text */

static void add_bytes(struct reader *reader, const char *data, size_t len, size_t from, size_t to, bool verbatim)
{
        struct html_text *html = reader->html;
        struct html_piece *last = html->count ? &html->pieces[html->count - 1] : NULL;
        size_t at = html->text.len;

        if (last && verbatim && last->verbatim && last->to == from) {
                last->to = to;
        } else {
                if (html->count == html->cap) {
                        size_t cap = html->cap ? html->cap * 2 : 256;
                        struct html_piece *pieces = reallocarray(html->pieces, cap, sizeof *pieces);

                        if (!pieces) {
                                html->failed = true;
                                return;
                        }
                        html->pieces = pieces;
                        html->cap = cap;
                }
                html->pieces[html->count++] = (struct html_piece){at, from, to, verbatim};
        }
        buffer_add(&html->text, data, len);
}

static void add_text(struct reader *reader, const char *data, size_t len, size_t from, size_t to, bool verbatim)
{
        if (reader->html->failed)
                return;
        if (reader->space && reader->html->text.len > reader->block_from)
                add_bytes(reader, reader->newline ? "\n" : " ", 1, reader->space_at, reader->space_at + 1, !reader->newline);
        reader->space = false;
        reader->newline = false;
        add_bytes(reader, data, len, from, to, verbatim);
}

static void owe_space(struct reader *reader, size_t at, bool newline)
{
        if (!reader->space)
                reader->space_at = at;
        reader->space = true;
        reader->newline |= newline;
}

static void end_block(struct reader *reader, size_t at)
{
        struct html_text *html = reader->html;
        struct block *block;

        reader->space = false;
        reader->newline = false;
        block = block_list_add(reader->list, buffer_view(&html->text), reader->block_from, html->text.len);
        if (block) {
                block->lines = reader->pre;
                block->heading = reader->heading;
                block->title_from = block->from;
                block->title_to = block->to;
                add_bytes(reader, "\n\n", 2, at, at, false);
        }
        reader->block_from = html->text.len;
        reader->heading = false;
}

/* ---- Reading the source */

static char lower(char c)
{
        return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static bool is_letter(char c)
{
        return lower(c) >= 'a' && lower(c) <= 'z';
}

static enum element_kind element_kind(const char *name)
{
        for (size_t i = 0; i < COUNT_OF(elements); i++)
                if (strcmp(elements[i].name, name) == 0)
                        return elements[i].kind;
        return ELEMENT_INLINE;
}

static size_t after(struct span source, size_t at, const char *end)
{
        const char *found = at < source.len ? memmem(source.data + at, source.len - at, end, strlen(end)) : NULL;

        return found ? (size_t)(found - source.data) + strlen(end) : source.len;
}

/* Behind the '>' of the tag whose attributes begin at `at`. Quotes count only where a value begins. */
static size_t after_tag(struct span source, size_t at)
{
        bool value = false; /* directly behind a '=' */

        while (at < source.len) {
                char c = source.data[at++];

                if (c == '>')
                        return at;
                if (value && (c == '"' || c == '\'')) {
                        const char *end = memchr(source.data + at, c, source.len - at);

                        at = end ? (size_t)(end - source.data) + 1 : source.len;
                        value = false;
                } else if (c == '=') {
                        value = true;
                } else if (!block_is_space(c)) {
                        value = false;
                }
        }
        return at;
}

/* Where "</name" begins, or the end. */
static size_t raw_end(struct span source, size_t at, const char *name)
{
        size_t len = strlen(name);

        while (at + 2 + len <= source.len) {
                const char *open = memchr(source.data + at, '<', source.len - at);
                size_t i = 0;

                if (!open)
                        break;
                at = (size_t)(open - source.data);
                if (at + 2 + len > source.len)
                        break;
                if (source.data[at + 1] == '/')
                        while (i < len && lower(source.data[at + 2 + i]) == name[i])
                                i++;
                if (i == len)
                        return at;
                at++;
        }
        return source.len;
}

/* A start or end tag at `at`; returns where to go on. */
static size_t read_tag(struct reader *reader, size_t at)
{
        struct span source = reader->source;
        bool end = source.data[at + 1] == '/';
        char name[NAME_BYTES_MAX] = "";
        size_t len = 0, next = at + 1 + end;
        enum element_kind kind;

        for (; next < source.len && (is_letter(source.data[next]) || (source.data[next] >= '0' && source.data[next] <= '9'));
             next++)
                if (len + 1 < sizeof name)
                        name[len++] = lower(source.data[next]);
        kind = element_kind(name);
        next = after_tag(source, next);
        if (kind == ELEMENT_BREAK || kind == ELEMENT_CELL) {
                owe_space(reader, at, kind == ELEMENT_BREAK);
        } else if (kind == ELEMENT_RAW && !end) {
                next = raw_end(source, next, name);
        } else if (kind == ELEMENT_BLOCK || kind == ELEMENT_HEADING || kind == ELEMENT_PRE) {
                end_block(reader, at);
                reader->heading = kind == ELEMENT_HEADING && !end;
                reader->pre = kind == ELEMENT_PRE ? !end : reader->pre;
        }
        return next;
}

static size_t utf8_put(uint32_t c, char out[4])
{
        if (c < 0x80) {
                out[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                out[0] = (char)(0xc0 | c >> 6);
                out[1] = (char)(0x80 | (c & 0x3f));
                return 2;
        }
        if (c < 0x10000) {
                out[0] = (char)(0xe0 | c >> 12);
                out[1] = (char)(0x80 | (c >> 6 & 0x3f));
                out[2] = (char)(0x80 | (c & 0x3f));
                return 3;
        }
        out[0] = (char)(0xf0 | c >> 18);
        out[1] = (char)(0x80 | (c >> 12 & 0x3f));
        out[2] = (char)(0x80 | (c >> 6 & 0x3f));
        out[3] = (char)(0x80 | (c & 0x3f));
        return 4;
}

/* The code point of the reference whose name or number is `body` (without & and ;), 0: none. */
static uint32_t reference(struct span body)
{
        char name[ENTITY_BYTES_MAX + 1];
        const htmlEntityDesc *entity;
        const char *digits;
        unsigned long number;
        bool hex;
        char *end;

        memcpy(name, body.data, body.len);
        name[body.len] = '\0';
        if (name[0] != '#') {
                entity = htmlEntityLookup((const xmlChar *)name);
                return entity ? entity->value : 0;
        }
        hex = name[1] == 'x' || name[1] == 'X';
        digits = name + 1 + hex;
        if (digits[0] == '\0' || !strchr(hex ? "0123456789abcdefABCDEF" : "0123456789", digits[0]))
                return 0;
        number = strtoul(digits, &end, hex ? 16 : 10);
        if (*end != '\0')
                return 0;
        if (number == 0 || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff))
                return 0xfffd;
        return (uint32_t)number;
}

/* A '&' at `at`; returns where to go on. */
static size_t read_reference(struct reader *reader, size_t at)
{
        struct span source = reader->source;
        size_t rest = source.len - at - 1, max = rest < ENTITY_BYTES_MAX + 1 ? rest : ENTITY_BYTES_MAX + 1;
        const char *semicolon = memchr(source.data + at + 1, ';', max);
        size_t len = semicolon ? (size_t)(semicolon - source.data) - at - 1 : 0;
        uint32_t c = len ? reference((struct span){source.data + at + 1, len}) : 0;
        char out[4];

        if (c == 0) {
                add_text(reader, "&", 1, at, at + 1, true);
                return at + 1;
        }
        if (c == 0xa0 || (c < 0x80 && block_is_space((char)c)))
                owe_space(reader, at, false);
        else
                add_text(reader, out, utf8_put(c, out), at, at + len + 2, false);
        return at + len + 2;
}

static size_t read_markup(struct reader *reader, size_t at)
{
        struct span source = reader->source;
        char next = at + 1 < source.len ? source.data[at + 1] : 0;

        if (next == '!' && source.len - at >= 4 && memcmp(source.data + at, "<!--", 4) == 0)
                return after(source, at + 4, "-->");
        if (next == '!' || next == '?')
                return after(source, at, ">");
        if (is_letter(next) || (next == '/' && at + 2 < source.len && is_letter(source.data[at + 2])))
                return read_tag(reader, at);
        add_text(reader, "<", 1, at, at + 1, true);
        return at + 1;
}

void blocks_of_html(struct span source, struct html_text *html, struct block_list *list)
{
        struct reader reader = {.source = source, .html = html, .list = list};
        size_t at = 0;

        *html = (struct html_text){0};
        buffer_init(&html->text, 2 * source.len + 64); /* "<p>x": a block's two line ends are paid for by its tag */
        if (source.len >= 3 && memcmp(source.data, "\xef\xbb\xbf", 3) == 0)
                at = 3;
        while (at < source.len) {
                char c = source.data[at];

                if (c == '<') {
                        at = read_markup(&reader, at);
                } else if (c == '&') {
                        at = read_reference(&reader, at);
                } else if (block_is_space(c) && c != '\f' && !reader.pre) {
                        owe_space(&reader, at++, false);
                } else {
                        size_t end = at + 1;

                        while (end < source.len && source.data[end] != '<' && source.data[end] != '&' &&
                               (reader.pre || !block_is_space(source.data[end])))
                                end++;
                        add_text(&reader, source.data + at, end - at, at, end, true);
                        at = end;
                }
        }
        end_block(&reader, source.len);
        html->failed |= !buffer_ok(&html->text);
}

void html_text_fini(struct html_text *html)
{
        buffer_fini(&html->text);
        free(html->pieces);
        *html = (struct html_text){0};
}

static const struct html_piece *piece_of(const struct html_text *html, size_t at)
{
        size_t low = 0, high = html->count;

        while (high - low > 1) {
                size_t mid = low + (high - low) / 2;

                if (html->pieces[mid].at <= at)
                        low = mid;
                else
                        high = mid;
        }
        return &html->pieces[low];
}

void html_text_source(const struct html_text *html, size_t from, size_t to, size_t *ret_from, size_t *ret_to)
{
        const struct html_piece *first = piece_of(html, from), *last = piece_of(html, to - 1);

        *ret_from = first->verbatim ? first->from + (from - first->at) : first->from;
        *ret_to = last->verbatim ? last->from + (to - last->at) : last->to;
}
