/* source ─► blocks (by format) ─► atoms ─► chunks
 *
 * An atom is what is never cut: a sentence; a line or a word where the sentence alone is longer than size; a word for the strategy
 * fixed. Atoms are packed greedily: as many as size allows, not beyond a hard boundary, back to a paragraph's end where that leaves
 * the chunk at least half full. The next chunk begins as many whole atoms earlier as overlap allows.
 *
 * Sentences are found in a copy of the block in which single line ends are blanks, since UAX #29 ends a sentence at each of them
 * and text is often wrapped. The copy has the same length, so that positions agree. */
#include "retrieval/chunking/chunker.h"

#include <stdlib.h>
#include <string.h>

#include "config/base/text.h"
#include "retrieval/chunking/blocks.h"

struct atom {
        size_t from, to;
        size_t tokens;
        size_t title_from, title_to; /* the section's heading in the text; equal: the source's section_heading */
        int page;                    /* form feeds before it */
        bool hard;                   /* a chunk begins here */
        bool paragraph;              /* a chunk would better begin here */
        bool heading;
};

struct chunker {
        struct text_cursor *words, *sentences;
};

/* One call of chunker_run. */
struct work {
        struct chunker *chunker;
        const struct chunk_source *source;
        struct span text; /* what the blocks refer to */
        struct block_list blocks;
        struct html_text html;
        char *copy; /* of a block, line ends made blanks */
        size_t copy_cap;
        struct atom *atoms;
        size_t count, cap;
        size_t page_at; /* form feeds are counted up to here */
        int pages;
        bool paged; /* chunks have page numbers */
        struct chunk *chunks;
        size_t chunk_count, chunk_cap;
};

struct chunker *chunker_new(struct error *err)
{
        struct chunker *chunker = calloc(1, sizeof *chunker);

        if (!chunker) {
                error_set(err, CODE_INTERNAL, "no memory for a chunker");
                return NULL;
        }
        chunker->words = text_cursor_new(TEXT_WORDS, err);
        chunker->sentences = chunker->words ? text_cursor_new(TEXT_SENTENCES, err) : NULL;
        if (!chunker->sentences) {
                chunker_free(chunker);
                return NULL;
        }
        return chunker;
}

void chunker_free(struct chunker *chunker)
{
        if (!chunker)
                return;
        text_cursor_free(chunker->words);
        text_cursor_free(chunker->sentences);
        free(chunker);
}

/* ---- Atoms */

static int page_at(struct work *work, size_t at)
{
        while (work->page_at < at) {
                const char *feed = memchr(work->text.data + work->page_at, '\f', at - work->page_at);

                work->page_at = feed ? (size_t)(feed - work->text.data) + 1 : at;
                work->pages += feed != NULL;
        }
        return work->pages;
}

static int add_atom(struct work *work, const struct atom *like, size_t from, size_t to, size_t tokens, struct error *err)
{
        struct atom *atom, *before = work->count ? &work->atoms[work->count - 1] : NULL;
        size_t seen_from = from, seen_to = to;

        block_trim(work->text, &seen_from, &seen_to);
        if (seen_from == seen_to)
                return 0; /* an empty line of code */
        if (work->count == work->cap) {
                size_t cap = work->cap ? work->cap * 2 : 128;
                struct atom *atoms = reallocarray(work->atoms, cap, sizeof *atoms);

                if (!atoms)
                        return error_set(err, CODE_INTERNAL, "no memory for a document's sentences");
                work->atoms = atoms;
                work->cap = cap;
                before = work->count ? &atoms[work->count - 1] : NULL;
        }
        atom = &work->atoms[work->count++];
        *atom = *like;
        atom->from = from;
        atom->to = to;
        atom->tokens = tokens;
        atom->page = page_at(work, from);
        atom->paragraph = from == like->from;
        if (before && work->source->chunking.strategy == CHUNK_RECURSIVE)
                atom->hard = (atom->heading && atom->paragraph && !before->heading) || atom->page != before->page;
        return 0;
}

/* A word and what follows it up to the next; before the first word too. base: where copy begins in the text. */
static int add_words(struct work *work, const struct atom *like, struct span copy, size_t base, struct error *err)
{
        size_t from, to, begin = 0, tokens = 0;

        text_cursor_set(work->chunker->words, copy);
        while (text_cursor_next(work->chunker->words, &from, &to)) {
                if (tokens && add_atom(work, like, base + begin, base + from, 1, err) < 0)
                        return -1;
                begin = tokens ? from : 0;
                tokens = 1;
        }
        return add_atom(work, like, base + begin, base + copy.len, tokens, err);
}

static size_t count_tokens(struct work *work, struct span copy)
{
        size_t from, to, tokens = 0;

        text_cursor_set(work->chunker->words, copy);
        while (text_cursor_next(work->chunker->words, &from, &to))
                tokens++;
        return tokens;
}

/* A sentence longer than size: by lines, and those too long by words. */
static int add_long_sentence(struct work *work, const struct atom *like, struct span copy, size_t base, struct error *err)
{
        size_t size = (size_t)work->source->chunking.size, begin = 0;

        while (begin < copy.len) {
                const char *end = memchr(work->text.data + base + begin, '\n', copy.len - begin);
                size_t next = end ? (size_t)(end - (work->text.data + base)) + 1 : copy.len;
                struct span line = {copy.data + begin, next - begin};
                size_t tokens = count_tokens(work, line);
                int result = tokens > size ? add_words(work, like, line, base + begin, err)
                                           : add_atom(work, like, base + begin, base + next, tokens, err);

                if (result < 0)
                        return -1;
                begin = next;
        }
        return 0;
}

/* The block with its single line ends (and page breaks) made blanks. */
static int copy_block(struct work *work, const struct block *block, struct error *err)
{
        size_t len = block->to - block->from;

        if (len > work->copy_cap) {
                free(work->copy);
                work->copy = malloc(len);
                work->copy_cap = work->copy ? len : 0;
                if (!work->copy)
                        return error_set(err, CODE_INTERNAL, "no memory for a paragraph");
        }
        memcpy(work->copy, work->text.data + block->from, len);
        for (size_t i = 0; i < len; i++)
                if (block_is_space(work->copy[i]) && !(block->lines && work->copy[i] == '\n'))
                        work->copy[i] = ' ';
        return 0;
}

static int add_block(struct work *work, const struct block *block, const struct atom *like, struct error *err)
{
        struct span copy;
        size_t from, to;

        if (copy_block(work, block, err) < 0)
                return -1;
        copy = (struct span){work->copy, block->to - block->from};
        if (work->source->chunking.strategy == CHUNK_FIXED)
                return add_words(work, like, copy, block->from, err);
        if (work->source->chunking.strategy == CHUNK_NONE)
                return add_atom(work, like, block->from, block->to, count_tokens(work, copy), err);
        text_cursor_set(work->chunker->sentences, copy);
        while (text_cursor_next(work->chunker->sentences, &from, &to)) {
                struct span sentence = {copy.data + from, to - from};
                size_t tokens = count_tokens(work, sentence);
                int result = tokens > (size_t)work->source->chunking.size
                                   ? add_long_sentence(work, like, sentence, block->from + from, err)
                                   : add_atom(work, like, block->from + from, block->from + to, tokens, err);

                if (result < 0)
                        return -1;
        }
        return 0;
}

static int make_atoms(struct work *work, struct error *err)
{
        struct atom like = {0};

        for (size_t i = 0; i < work->blocks.count; i++) {
                const struct block *block = &work->blocks.blocks[i];

                like.from = block->from;
                like.heading = block->heading;
                if (block->heading) {
                        like.title_from = block->title_from;
                        like.title_to = block->title_to;
                }
                if (add_block(work, block, &like, err) < 0)
                        return -1;
        }
        return 0;
}

/* ---- Chunks */

static void describe(struct work *work, struct chunk *chunk, size_t first, size_t last)
{
        const struct atom *atoms = work->atoms, *section;
        size_t from = atoms[first].from, to = atoms[last].to, heading = first;

        block_trim(work->text, &from, &to);
        chunk->text = (struct span){work->text.data + from, to - from};
        chunk->from = from;
        chunk->to = to;
        if (work->source->format == CHUNK_FORMAT_HTML && from < to)
                html_text_source(&work->html, from, to, &chunk->from, &chunk->to);
        while (heading < last && atoms[heading].heading && atoms[heading + 1].heading)
                heading++; /* "# A", "## B", text: the section is B */
        section = &atoms[heading];
        chunk->section_heading = section->title_from < section->title_to ? (struct span){work->text.data + section->title_from,
                                                                                         section->title_to - section->title_from}
                                                                         : work->source->section_heading;
        if (work->paged)
                chunk->page_number = (work->source->page_first > 0 ? work->source->page_first : 1) + atoms[first].page;
}

static int add_chunk(struct work *work, size_t first, size_t end, size_t tokens, struct error *err)
{
        if (work->chunk_count == CHUNKER_CHUNKS_MAX)
                return error_set(err, CODE_TOO_LARGE, "document.text: more than %d chunks", CHUNKER_CHUNKS_MAX);
        if (work->chunk_count == work->chunk_cap) {
                size_t cap = work->chunk_cap ? work->chunk_cap * 2 : 16;
                struct chunk *chunks = reallocarray(work->chunks, cap, sizeof *chunks);

                if (!chunks)
                        return error_set(err, CODE_INTERNAL, "no memory for a document's chunks");
                work->chunks = chunks;
                work->chunk_cap = cap;
        }
        work->chunks[work->chunk_count] = (struct chunk){.tokens = tokens};
        describe(work, &work->chunks[work->chunk_count++], first, end - 1);
        return 0;
}

/* Where the chunk that begins at first ends; done: atoms below it are in chunks already, so it must end behind it. */
static size_t chunk_end(const struct work *work, size_t first, size_t done, size_t *ret_tokens)
{
        const struct atom *atoms = work->atoms;
        size_t size = (size_t)work->source->chunking.size, tokens = 0, end = first, back, back_tokens;

        while (end < work->count && (end == first || (!atoms[end].hard && tokens + atoms[end].tokens <= size)))
                tokens += atoms[end++].tokens;
        *ret_tokens = tokens;
        if (work->source->chunking.strategy != CHUNK_RECURSIVE || end == work->count || atoms[end].hard || atoms[end].paragraph)
                return end;
        for (back = end - 1, back_tokens = tokens - atoms[back].tokens; back > first && back > done && back_tokens * 2 >= size;
             back_tokens -= atoms[--back].tokens)
                if (atoms[back].paragraph) {
                        *ret_tokens = back_tokens;
                        return back;
                }
        return end;
}

/* Where the chunk behind `end` begins: whole atoms of the last one, as far as overlap and the next atom's size allow. */
static size_t next_begin(const struct work *work, size_t first, size_t end)
{
        const struct chunking *chunking = &work->source->chunking;
        size_t begin = end, tokens = 0;

        if (work->atoms[end].hard)
                return end;
        while (begin - 1 > first) {
                size_t more = tokens + work->atoms[begin - 1].tokens;

                if (more > (size_t)chunking->overlap || more + work->atoms[end].tokens > (size_t)chunking->size)
                        break;
                tokens = more;
                begin--;
        }
        return begin;
}

static int pack(struct work *work, struct error *err)
{
        size_t first = 0, done = 0, tokens;
        size_t all = 0;

        for (size_t i = 0; i < work->count; i++)
                all += work->atoms[i].tokens;
        if (work->count && (work->source->chunking.strategy == CHUNK_NONE || all == 0))
                return add_chunk(work, 0, work->count, all, err);
        while (done < work->count) {
                size_t end = chunk_end(work, first, done, &tokens);

                if (tokens > 0 && add_chunk(work, first, end, tokens, err) < 0)
                        return -1;
                done = end;
                if (done < work->count)
                        first = next_begin(work, first, end);
        }
        return 0;
}

/* ---- The whole */

static int run(struct work *work, struct error *err)
{
        const struct chunk_source *source = work->source;

        work->text = source->text;
        if (source->format == CHUNK_FORMAT_TEXT) {
                blocks_of_text(source->text, &work->blocks);
        } else if (source->format == CHUNK_FORMAT_MARKDOWN) {
                blocks_of_markdown(source->text, &work->blocks);
        } else {
                blocks_of_html(source->text, &work->html, &work->blocks);
                work->text = buffer_view(&work->html.text);
        }
        if (work->blocks.failed || work->html.failed)
                return error_set(err, CODE_INTERNAL, "no memory for a document's blocks");
        work->paged = source->page_first > 0 || (work->text.len > 0 && memchr(work->text.data, '\f', work->text.len));
        if (make_atoms(work, err) < 0)
                return -1;
        return pack(work, err);
}

/* What must outlive the work moves to the arena. */
static int hand_over(struct work *work, struct arena *arena, struct chunk **ret_chunks, struct error *err)
{
        struct chunk *chunks = arena_alloc(arena, (work->chunk_count + 1) * sizeof *chunks);
        const char *old = work->text.data, *text = old;

        if (work->source->format == CHUNK_FORMAT_HTML)
                text = arena_copy(arena, work->text);
        if (!chunks || !text)
                return error_set(err, arena_fault(arena), "document.text: its chunks take more memory than a request may have");
        for (size_t i = 0; i < work->chunk_count; i++) {
                chunks[i] = work->chunks[i];
                chunks[i].text.data = text + (chunks[i].text.data - old);
                if (chunks[i].section_heading.data >= old && chunks[i].section_heading.data < old + work->text.len)
                        chunks[i].section_heading.data = text + (chunks[i].section_heading.data - old);
        }
        *ret_chunks = chunks;
        return 0;
}

int chunker_run(struct chunker *chunker, const struct chunk_source *source, struct arena *arena, struct chunk **ret_chunks,
                size_t *ret_count, struct error *err)
{
        struct work work = {.chunker = chunker, .source = source};
        const struct chunking *chunking = &source->chunking;
        int result;

        if (chunking->strategy != CHUNK_NONE &&
            (chunking->size < 1 || chunking->overlap < 0 || chunking->overlap >= chunking->size))
                return error_set(err, CODE_SCHEMA, "chunking: size must be at least 1, overlap at least 0 and below size");
        result = run(&work, err);
        if (result == 0)
                result = hand_over(&work, arena, ret_chunks, err);
        if (result == 0)
                *ret_count = work.chunk_count;
        text_cursor_set(chunker->words, SPAN("")); /* let go of the work's bytes */
        text_cursor_set(chunker->sentences, SPAN(""));
        block_list_fini(&work.blocks);
        html_text_fini(&work.html);
        free(work.copy);
        free(work.atoms);
        free(work.chunks);
        return result;
}
