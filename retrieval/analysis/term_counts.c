/* Terms are copied behind one another into one buffer; while it grows they are known by offset, and become spans at the end. */
#include "retrieval/analysis/term_counts.h"

#include <stdlib.h>
#include <string.h>

#include "config/base/digest.h"

enum { TABLE_MIN = 64 };

struct counting {
        struct term_counts *counts;
        size_t terms_max;
};

static size_t slot_of(const struct term_counts *counts, struct span term)
{
        size_t slot = (size_t)digest_fnv1a(term) & (counts->table_size - 1);

        while (counts->table[slot] && !span_equal(counts->terms[counts->table[slot] - 1].term, term))
                slot = (slot + 1) & (counts->table_size - 1);
        return slot;
}

/* Twice the room; the terms' spans follow the bytes when those move. */
static bool grow_table(struct term_counts *counts)
{
        size_t size = counts->table_size ? counts->table_size * 2 : TABLE_MIN;
        uint32_t *table = calloc(size, sizeof *table);
        struct term_count *terms = reallocarray(counts->terms, size / 2, sizeof *terms);

        if (terms)
                counts->terms = terms;
        if (!terms || !table) {
                free(table);
                return false;
        }
        free(counts->table);
        counts->table = table;
        counts->table_size = size;
        counts->cap = size / 2;
        for (size_t i = 0; i < counts->count; i++)
                counts->table[slot_of(counts, counts->terms[i].term)] = (uint32_t)i + 1;
        return true;
}

static bool grow_bytes(struct term_counts *counts, size_t more)
{
        size_t cap = counts->bytes_cap ? counts->bytes_cap : 1024;
        char *bytes, *before = counts->bytes;

        if (counts->bytes_len + more <= counts->bytes_cap)
                return true;
        while (cap < counts->bytes_len + more)
                cap *= 2;
        bytes = malloc(cap);
        if (!bytes)
                return false;
        if (counts->bytes_len)
                memcpy(bytes, before, counts->bytes_len);
        for (size_t i = 0; i < counts->count; i++)
                counts->terms[i].term.data = bytes + (counts->terms[i].term.data - before);
        free(before);
        counts->bytes = bytes;
        counts->bytes_cap = cap;
        return true;
}

static void count_term(void *user, struct span term, bool counted)
{
        struct counting *counting = user;
        struct term_counts *counts = counting->counts;
        size_t slot;

        if (counts->failed)
                return;
        counts->length += counted;
        if (counts->count == counts->cap && !grow_table(counts)) {
                counts->failed = true;
                return;
        }
        slot = slot_of(counts, term);
        if (counts->table[slot]) {
                counts->terms[counts->table[slot] - 1].count++;
                return;
        }
        if (counting->terms_max && counts->count >= counting->terms_max)
                return;
        if (!grow_bytes(counts, term.len)) {
                counts->failed = true;
                return;
        }
        memcpy(counts->bytes + counts->bytes_len, term.data, term.len);
        counts->terms[counts->count++] = (struct term_count){{counts->bytes + counts->bytes_len, term.len}, 1};
        counts->bytes_len += term.len;
        counts->table[slot] = (uint32_t)counts->count;
}

int term_counts_init(struct term_counts *counts, struct analyzer *analyzer, struct span text, size_t terms_max, struct error *err)
{
        struct counting counting = {counts, terms_max};

        memset(counts, 0, sizeof *counts);
        analyzer_run(analyzer, text, count_term, &counting);
        free(counts->table); /* only needed while counting */
        counts->table = NULL;
        counts->table_size = 0;
        if (counts->failed)
                return error_set(err, CODE_INTERNAL, "no memory for the terms of a text");
        return 0;
}

void term_counts_fini(struct term_counts *counts)
{
        free(counts->terms);
        free(counts->bytes);
        free(counts->table);
        memset(counts, 0, sizeof *counts);
}
