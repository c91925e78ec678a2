/* A document's text as a list of blocks, the formats' common result: paragraphs, headings, list items, code. Blocks are in text
 * order, do not overlap, and begin and end with visible characters; only white space lies between them. Private to
 * retrieval/chunking. */
#ifndef RETRIEVAL_CHUNKING_BLOCKS_H
#define RETRIEVAL_CHUNKING_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>

#include "config/base/buffer.h"
#include "config/base/error.h"
#include "config/base/own.h"
#include "config/base/span.h"

struct block {
        size_t from, to; /* bytes of the text */
        bool heading;
        bool lines;                  /* each line stands for itself (code, tables) */
        size_t title_from, title_to; /* a heading's text without its marks */
};

struct block_list {
        struct block *blocks;
        size_t count, cap;
        bool failed; /* memory was out: the list is not complete */
};

void block_list_fini(struct block_list *list);
/* Adds [from, to) of text without the white space around it; nothing where nothing is left. Returns it, or NULL. */
struct block *block_list_add(struct block_list *list, struct span text, size_t from, size_t to);

bool block_is_space(char c); /* blank, tab, line ends, vertical tab, form feed */
void block_trim(struct span text, size_t *from, size_t *to);

/* Paragraphs between blank lines. */
void blocks_of_text(struct span text, struct block_list *list);
/* CommonMark's block structure as far as headings, code fences, list items and tables go. */
void blocks_of_markdown(struct span text, struct block_list *list);

/* html's text with where each byte came from. */
struct html_piece {
        size_t at;       /* first byte in the text; the piece reaches to the next one's */
        size_t from, to; /* in the source: [from, to); verbatim: byte at + i came from from + i */
        bool verbatim;
};

struct html_text {
        struct buffer text;
        struct html_piece *pieces;
        size_t count, cap;
        bool failed;
};

/* text.bytes_max is set to what source can become; blocks refer to html->text. Linear in source.len. */
void blocks_of_html(struct span source, struct html_text *html, struct block_list *list);
void html_text_fini(struct html_text *html);
/* Source bytes behind the text's [from, to), from < to. */
void html_text_source(const struct html_text *html, size_t from, size_t to, size_t *ret_from, size_t *ret_to);

#endif
