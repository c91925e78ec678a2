/* The distinct terms of a text with their counts, in order of first occurrence: a chunk's entry for BM25, or a query. */
#ifndef RETRIEVAL_ANALYSIS_TERM_COUNTS_H
#define RETRIEVAL_ANALYSIS_TERM_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "config/base/own.h"
#include "config/base/span.h"
#include "retrieval/analysis/analyzer.h"

struct term_count {
        struct span term; /* into the owner's bytes */
        uint32_t count;
};

struct term_counts {
        struct term_count *terms;
        size_t count, cap;
        uint32_t length; /* counted terms: BM25's document length */
        /* private: */
        char *bytes;
        size_t bytes_len, bytes_cap;
        uint32_t *table; /* open addressing: index + 1 of a term, 0 = free */
        size_t table_size;
        bool failed;
};

/* Analyses a text of at most 2^31 bytes. Terms past terms_max distinct ones are left out (0: no bound). -1 with serving.internal
 * when memory is out. Free with term_counts_fini in any case. */
int term_counts_init(struct term_counts *counts, struct analyzer *analyzer, struct span text, size_t terms_max, struct error *err);
void term_counts_fini(struct term_counts *counts);

#define AUTO_TERM_COUNTS AUTO(term_counts_fini) struct term_counts

#endif
