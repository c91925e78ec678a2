#define HASH_NONFATAL_OOM 1
#include "retrieval/bm25/bm25.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

enum { POSTINGS_MIN = 4, ENTRIES_MIN = 256, COMPACT_MIN = 32 };

struct posting {
        uint32_t slot, tf;
};

struct term {
        UT_hash_handle hh;
        uint32_t id;         /* in order of first sight */
        uint32_t live;       /* postings of live entries: n */
        uint32_t count, cap; /* postings */
        struct posting *postings;
        char bytes[];
};

struct entry_term {
        uint32_t term, tf;
};

struct entry {
        struct entry_term *terms; /* ascending by term; NULL: dead or never used */
        uint32_t count, length;
};

struct bm25 {
        double k1, b;
        struct term *table;
        struct term **terms; /* by id */
        size_t term_count, term_cap;
        struct entry *entries; /* by slot */
        size_t entry_count, entry_cap;
        size_t live;
        uint64_t length; /* of all live entries */
        size_t bytes;
};

struct query_term {
        const struct term *term;
        double weight; /* idf times the term's count in the query */
};

struct bm25_query {
        const struct bm25 *bm25;
        double average;
        size_t count;
        struct query_term terms[];
};

struct bm25 *bm25_new(double k1, double b, struct error *err)
{
        struct bm25 *bm25 = calloc(1, sizeof *bm25);

        if (!bm25) {
                error_set(err, CODE_INTERNAL, "no memory for a BM25 index");
                return NULL;
        }
        bm25->k1 = k1;
        bm25->b = b;
        return bm25;
}

void bm25_free(struct bm25 *bm25)
{
        if (!bm25)
                return;
        HASH_CLEAR(hh, bm25->table);
        for (size_t i = 0; i < bm25->term_count; i++) {
                free(bm25->terms[i]->postings);
                free(bm25->terms[i]);
        }
        for (size_t i = 0; i < bm25->entry_count; i++)
                free(bm25->entries[i].terms);
        free(bm25->terms);
        free(bm25->entries);
        free(bm25);
}

size_t bm25_live(const struct bm25 *bm25)
{
        return bm25->live;
}

size_t bm25_terms(const struct bm25 *bm25)
{
        return bm25->term_count;
}

size_t bm25_bytes(const struct bm25 *bm25)
{
        return bm25->bytes + bm25->entry_cap * sizeof *bm25->entries + bm25->term_cap * sizeof *bm25->terms;
}

/* ---- Adding and removing */

static struct term *find_term(const struct bm25 *bm25, struct span text)
{
        struct term *term;

        HASH_FIND(hh, bm25->table, text.data, (unsigned)text.len, term);
        return term;
}

/* The term of that text, made where there is none. NULL: memory is out. */
static struct term *intern(struct bm25 *bm25, struct span text)
{
        struct term *term = find_term(bm25, text);

        if (term)
                return term;
        if (bm25->term_count == bm25->term_cap) {
                size_t cap = bm25->term_cap ? bm25->term_cap * 2 : 1024;
                struct term **terms = reallocarray(bm25->terms, cap, sizeof *terms);

                if (!terms)
                        return NULL;
                bm25->terms = terms;
                bm25->term_cap = cap;
        }
        term = calloc(1, sizeof *term + text.len);
        if (!term)
                return NULL;
        memcpy(term->bytes, text.data, text.len);
        term->id = (uint32_t)bm25->term_count;
        HASH_ADD_KEYPTR(hh, bm25->table, term->bytes, (unsigned)text.len, term);
        if (!term->hh.tbl) {
                free(term);
                return NULL;
        }
        bm25->terms[bm25->term_count++] = term;
        bm25->bytes += sizeof *term + text.len;
        return term;
}

static bool reserve_posting(struct bm25 *bm25, struct term *term)
{
        uint32_t cap = term->cap ? term->cap * 2 : POSTINGS_MIN;
        struct posting *postings;

        if (term->count < term->cap)
                return true;
        postings = reallocarray(term->postings, cap, sizeof *postings);
        if (!postings)
                return false;
        bm25->bytes += (cap - term->cap) * sizeof *postings;
        term->postings = postings;
        term->cap = cap;
        return true;
}

static bool reserve_entry(struct bm25 *bm25, uint32_t slot)
{
        size_t cap = bm25->entry_cap ? bm25->entry_cap : ENTRIES_MIN;
        struct entry *entries;

        if (slot < bm25->entry_cap)
                return true;
        while (cap <= slot)
                cap *= 2;
        entries = reallocarray(bm25->entries, cap, sizeof *entries);
        if (!entries)
                return false;
        memset(entries + bm25->entry_cap, 0, (cap - bm25->entry_cap) * sizeof *entries);
        bm25->entries = entries;
        bm25->entry_cap = cap;
        return true;
}

static int compare_entry_terms(const void *a, const void *b)
{
        uint32_t x = ((const struct entry_term *)a)->term, y = ((const struct entry_term *)b)->term;

        return (x > y) - (x < y);
}

int bm25_add(struct bm25 *bm25, uint32_t slot, const struct term_counts *counts, struct error *err)
{
        struct entry_term *terms = malloc((counts->count + 1) * sizeof *terms);

        /* Everything that can fail comes first, so that nothing is half added. */
        if (!terms || !reserve_entry(bm25, slot))
                goto no_memory;
        for (size_t i = 0; i < counts->count; i++) {
                struct term *term = intern(bm25, counts->terms[i].term);

                if (!term || !reserve_posting(bm25, term))
                        goto no_memory;
                terms[i] = (struct entry_term){term->id, counts->terms[i].count};
        }
        for (size_t i = 0; i < counts->count; i++) {
                struct term *term = bm25->terms[terms[i].term];

                term->postings[term->count++] = (struct posting){slot, terms[i].tf};
                term->live++;
        }
        qsort(terms, counts->count, sizeof *terms, compare_entry_terms);
        bm25->entries[slot] = (struct entry){terms, (uint32_t)counts->count, counts->length};
        if (slot >= bm25->entry_count)
                bm25->entry_count = (size_t)slot + 1;
        bm25->bytes += counts->count * sizeof *terms;
        bm25->length += counts->length;
        bm25->live++;
        return 0;
no_memory:
        free(terms);
        return error_set(err, CODE_INTERNAL, "no memory for a chunk's terms");
}

/* Dead postings go once they are more than half. */
static void compact(const struct bm25 *bm25, struct term *term)
{
        uint32_t kept = 0;

        if (term->count < COMPACT_MIN || term->live > term->count / 2)
                return;
        for (uint32_t i = 0; i < term->count; i++)
                if (bm25->entries[term->postings[i].slot].terms)
                        term->postings[kept++] = term->postings[i];
        term->count = kept;
}

void bm25_remove(struct bm25 *bm25, uint32_t slot)
{
        struct entry entry;

        if (slot >= bm25->entry_count || !bm25->entries[slot].terms)
                return;
        entry = bm25->entries[slot];
        bm25->entries[slot] = (struct entry){0};
        for (uint32_t i = 0; i < entry.count; i++) {
                struct term *term = bm25->terms[entry.terms[i].term];

                term->live--;
                compact(bm25, term);
        }
        bm25->bytes -= entry.count * sizeof *entry.terms;
        bm25->length -= entry.length;
        bm25->live--;
        free(entry.terms);
}

/* ---- Scoring */

struct bm25_query *bm25_query_new(const struct bm25 *bm25, const struct term_counts *counts, struct error *err)
{
        struct bm25_query *query = malloc(sizeof *query + counts->count * sizeof query->terms[0]);

        if (!query) {
                error_set(err, CODE_INTERNAL, "no memory for a query's terms");
                return NULL;
        }
        *query = (struct bm25_query){.bm25 = bm25, .average = bm25->live ? (double)bm25->length / (double)bm25->live : 0};
        for (size_t i = 0; i < counts->count; i++) {
                const struct term *term = find_term(bm25, counts->terms[i].term);
                double n, idf;

                if (!term || term->live == 0)
                        continue;
                n = term->live;
                idf = log(1 + ((double)bm25->live - n + 0.5) / (n + 0.5));
                query->terms[query->count++] = (struct query_term){term, idf * counts->terms[i].count};
        }
        return query;
}

void bm25_query_free(struct bm25_query *query)
{
        free(query);
}

static double contribution(const struct bm25_query *query, double weight, uint32_t tf, uint32_t length)
{
        const struct bm25 *bm25 = query->bm25;
        double norm = bm25->k1 * (1 - bm25->b + (query->average > 0 ? bm25->b * length / query->average : 0));

        return weight * (tf * (bm25->k1 + 1) / (tf + norm));
}

void bm25_score_all(const struct bm25_query *query, double *scores, size_t scores_len)
{
        for (size_t i = 0; i < query->count; i++) {
                const struct query_term *q = &query->terms[i];

                for (uint32_t p = 0; p < q->term->count; p++) {
                        const struct posting *posting = &q->term->postings[p];
                        const struct entry *entry = &query->bm25->entries[posting->slot];

                        if (entry->terms && posting->slot < scores_len)
                                scores[posting->slot] += contribution(query, q->weight, posting->tf, entry->length);
                }
        }
}

double bm25_score_one(const struct bm25_query *query, uint32_t slot)
{
        const struct entry *entry = slot < query->bm25->entry_count ? &query->bm25->entries[slot] : NULL;
        double score = 0;

        if (!entry || !entry->terms)
                return 0;
        for (size_t i = 0; i < query->count; i++) {
                struct entry_term key = {query->terms[i].term->id, 0};
                const struct entry_term *found = bsearch(&key, entry->terms, entry->count, sizeof key, compare_entry_terms);

                if (found)
                        score += contribution(query, query->terms[i].weight, found->tf, entry->length);
        }
        return score;
}
