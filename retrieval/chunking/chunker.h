/* Cuts a document into chunks. A token of size and overlap is a UAX #29 word with a letter or digit. A chunk is one contiguous run
 * of the document's text without the white space around it; none begins or ends within a word or grapheme, and within a sentence
 * only where one sentence alone is longer than size (or with the strategy fixed, which does not look at sentences).
 *
 *      recursive  sections (headings) and page breaks between sentences bound a chunk; inside, paragraphs, then sentences, fill it
 *      sentence   sentences are packed; headings are followed but bound nothing
 *      fixed      windows of size tokens, each overlap tokens into the one before
 *      none       the whole text is one chunk
 *
 * Formats: text; markdown (ATX and setext headings outside code fences; the text keeps its marks); html (scripts and styles
 * dropped, entities resolved, headings and blocks kept apart). A form feed is a page break. A chunker belongs to one thread at a
 * time. */
#ifndef RETRIEVAL_CHUNKING_CHUNKER_H
#define RETRIEVAL_CHUNKING_CHUNKER_H

#include <stddef.h>

#include "config/base/arena.h"
#include "config/base/error.h"
#include "config/base/span.h"
#include "config/settings.h"

enum { CHUNKER_CHUNKS_MAX = 10000 };

enum chunk_format { CHUNK_FORMAT_TEXT, CHUNK_FORMAT_MARKDOWN, CHUNK_FORMAT_HTML };

struct chunk_source {
        struct span text; /* well-formed UTF-8 */
        enum chunk_format format;
        struct chunking chunking;    /* size ≥ 1; 0 ≤ overlap < size */
        int page_first;              /* the page the text begins on; 0: 1 where there are page breaks, else none */
        struct span section_heading; /* of the text before its first heading; may be empty */
};

struct chunk {
        struct span text; /* borrowed from the source's text, or (html) from the arena */
        size_t from, to;  /* bytes of the source's text that it covers */
        size_t tokens;
        struct span section_heading; /* the nearest heading at or before its begin; len 0: none */
        int page_number;             /* where it begins; 0: none */
};

struct chunker;
struct chunker *chunker_new(struct error *err);
void chunker_free(struct chunker *chunker); /* NULL is fine */

/* The chunks in text order, from the arena. A text without anything
 * but white space has none. data.schema: size or overlap out of range; data.too_large: more than CHUNKER_CHUNKS_MAX chunks or the
 * arena is full. */
int chunker_run(struct chunker *chunker, const struct chunk_source *source, struct arena *arena, struct chunk **ret_chunks,
                size_t *ret_count, struct error *err);

#endif
