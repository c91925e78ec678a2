/* The visible part of the collection: a document's chunks appear, change and go in one step under the state lock. What takes
 * time or may fail is done before the lock, or can be taken back under it. */
#include <stdlib.h>

#include "retrieval/collection_state.h"

enum { DEAD_MIN = 1024 }; /* slots; fewer dead ones are not worth a compaction */

/* ---- Slots */

static int reserve_slots(struct collection *collection, size_t more, struct error *err)
{
        size_t cap = collection->slot_cap ? collection->slot_cap : 256;
        struct stored_chunk **chunks;
        uint32_t *rows;

        while (cap < collection->slot_count + more)
                cap *= 2;
        if (cap > UINT32_MAX / 2)
                return error_set(err, CODE_INTERNAL, "the collection is full");
        if (cap > collection->slot_cap) {
                chunks = reallocarray(collection->chunks, cap, sizeof(struct stored_chunk *));
                if (chunks)
                        collection->chunks = chunks;
                rows = reallocarray(collection->row_slots, cap, sizeof *rows); /* never more rows than slots */
                if (rows)
                        collection->row_slots = rows;
                if (!chunks || !rows)
                        return error_set(err, CODE_INTERNAL, "no memory for %zu chunks", cap);
                collection->slot_cap = cap;
        }
        return 0;
}

static void drop_slot(struct collection *collection, uint32_t slot)
{
        struct stored_chunk *chunk = collection->chunks[slot];

        bm25_remove(collection->bm25, slot);
        collection->chunks[slot] = NULL;
        collection->live_chunks--;
        collection->live_vectors -= chunk->vector != NULL;
        collection->live_bytes -= chunk->bytes;
        stored_chunk_unref(chunk);
}

/* A new slot for the chunk, under which its terms and vector are found. */
static int fill_slot(struct collection *collection, struct stored_chunk *chunk, const struct term_counts *terms, struct error *err)
{
        uint32_t slot = (uint32_t)collection->slot_count;
        size_t row = vector_index_count(collection->vectors);
        double norm;

        if (bm25_add(collection->bm25, slot, terms, err) < 0)
                return -1;
        if (chunk->vector && vector_index_add(collection->vectors, chunk->vector, 1, err) < 0) {
                bm25_remove(collection->bm25, slot);
                return -1;
        }
        collection->chunks[slot] = stored_chunk_ref(chunk);
        collection->slot_count++;
        collection->live_chunks++;
        collection->live_bytes += chunk->bytes;
        if (chunk->vector) {
                collection->row_slots[row] = slot;
                collection->live_vectors++;
                if (vector_check(chunk->vector, collection->dimensions, collection->dimensions, &norm, NULL) == 0 &&
                    norm > collection->norm_max)
                        collection->norm_max = norm;
        }
        return 0;
}

/* ---- Documents */

static void move_position(struct collection *collection, int32_t partition, int64_t offset)
{
        if (partition >= 0)
                collection_move_position(collection, partition, offset);
}

static void drop_live(struct collection *collection, struct document *document)
{
        for (size_t i = 0; i < document->slot_count; i++)
                drop_slot(collection, document->slots[i]);
        if (document->live) {
                document->tenant->chunks -= document->slot_count;
                collection->live_documents--;
        }
        free(document->slots);
        document->slots = NULL;
        document->slot_count = 0;
        document->live = false;
}

static int analyse(struct collection *collection, const struct stored_chunk *chunk, struct term_counts *ret_terms,
                   struct error *err)
{
        AUTO_BUFFER text = {0};

        buffer_init(&text, chunk->title.len + chunk->text.len + 16);
        collection_indexed_text(&text, chunk->title, chunk->text);
        if (!buffer_ok(&text)) {
                *ret_terms = (struct term_counts){0};
                return error_set(err, CODE_INTERNAL, "no memory for a chunk's text");
        }
        return term_counts_init(ret_terms, collection->applier_analyzer, buffer_view(&text), CHUNK_TERMS_MAX, err);
}

/* Under the state lock: the new chunks in, then the old ones out. */
static int exchange(struct collection *collection, struct document *document, struct stored_chunk *const *chunks,
                    const struct term_counts *terms, uint32_t *slots, size_t count, struct error *err)
{
        size_t done = 0;

        if (reserve_slots(collection, count, err) < 0)
                return -1;
        for (; done < count; done++) {
                slots[done] = (uint32_t)collection->slot_count;
                if (fill_slot(collection, chunks[done], &terms[done], err) < 0)
                        break;
        }
        if (done < count) {
                while (done > 0)
                        drop_slot(collection, slots[--done]);
                return -1;
        }
        drop_live(collection, document);
        document->slots = slots;
        document->slot_count = count;
        document->live = true;
        document->tenant->chunks += count;
        collection->live_documents++;
        return 0;
}

int live_switch(struct collection *collection, struct document *document, struct stored_chunk *const *chunks, size_t count,
                int64_t version, int32_t partition, int64_t offset, struct error *err)
{
        AUTO_FREE uint32_t *slots = calloc(count + 1, sizeof *slots);
        struct term_counts *terms = calloc(count + 1, sizeof *terms);
        int result = slots && terms ? 0 : error_set(err, CODE_INTERNAL, "no memory for a document's %zu chunks", count);
        size_t analysed = 0;

        while (result == 0 && analysed < count) {
                result = analyse(collection, chunks[analysed], &terms[analysed], err);
                analysed++;
        }
        if (result == 0) {
                pthread_rwlock_wrlock(&collection->state_lock);
                result = exchange(collection, document, chunks, terms, slots, count, err);
                if (result == 0) {
                        (void)TAKE(slots);
                        document->live_version = version;
                        move_position(collection, partition, offset);
                }
                pthread_rwlock_unlock(&collection->state_lock);
        }
        for (size_t i = 0; i < analysed; i++)
                term_counts_fini(&terms[i]);
        free(terms);
        return result;
}

void live_remove(struct collection *collection, struct document *document, int32_t partition, int64_t offset)
{
        pthread_rwlock_wrlock(&collection->state_lock);
        drop_live(collection, document);
        move_position(collection, partition, offset);
        pthread_rwlock_unlock(&collection->state_lock);
}

/* ---- Compaction */

/* The index over again without what is dead, in a collection of its own whose parts then change places with the old ones. */
static int rebuild(struct collection *collection, struct collection *fresh, uint32_t *slot_map, struct error *err)
{
        struct term_counts terms;
        int result = reserve_slots(fresh, collection->live_chunks, err);

        for (size_t slot = 0; result == 0 && slot < collection->slot_count; slot++) {
                if (!collection->chunks[slot])
                        continue;
                slot_map[slot] = (uint32_t)fresh->slot_count;
                result = analyse(collection, collection->chunks[slot], &terms, err);
                if (result == 0)
                        result = fill_slot(fresh, collection->chunks[slot], &terms, err);
                term_counts_fini(&terms);
        }
        return result;
}

static void free_parts(struct collection *collection)
{
        for (size_t slot = 0; slot < collection->slot_count; slot++)
                stored_chunk_unref(collection->chunks[slot]);
        free(collection->chunks);
        free(collection->row_slots);
        bm25_free(collection->bm25);
        vector_index_free(collection->vectors);
}

static void exchange_parts(struct collection *collection, struct collection *fresh, const uint32_t *slot_map)
{
#define EXCHANGE(part)                                                                                                             \
        do {                                                                                                                       \
                __auto_type part_ = collection->part;                                                                              \
                collection->part = fresh->part;                                                                                    \
                fresh->part = part_;                                                                                               \
        } while (0)
        EXCHANGE(chunks);
        EXCHANGE(slot_count);
        EXCHANGE(slot_cap);
        EXCHANGE(bm25);
        EXCHANGE(vectors);
        EXCHANGE(row_slots);
#undef EXCHANGE
        for (struct document *document = collection->documents; document; document = document->hh.next)
                for (size_t i = 0; i < document->slot_count; i++)
                        document->slots[i] = slot_map[document->slots[i]];
}

void live_compact(struct collection *collection)
{
        size_t dead = collection->slot_count - collection->live_chunks;
        AUTO_FREE struct collection *fresh = NULL;
        AUTO_FREE uint32_t *slot_map = NULL;
        struct error err;

        if (dead < DEAD_MIN || dead < collection->live_chunks)
                return;
        fresh = calloc(1, sizeof *fresh);
        slot_map = calloc(collection->slot_count, sizeof *slot_map);
        if (!fresh || !slot_map)
                return;
        fresh->dimensions = collection->dimensions;
        fresh->bm25 = bm25_new(collection->k1, collection->b, &err);
        fresh->vectors = vector_index_new(collection->dimensions, &err);
        /* Only an applier changes the state, and that is this thread: reading it needs no lock. */
        if (fresh->bm25 && fresh->vectors && rebuild(collection, fresh, slot_map, &err) == 0) {
                pthread_rwlock_wrlock(&collection->state_lock);
                exchange_parts(collection, fresh, slot_map);
                pthread_rwlock_unlock(&collection->state_lock);
        }
        free_parts(fresh);
}
