/* What an answer cites: finds `[Source: <document>, page <n>]` (page optional) and says which passage it means. Pure; any thread. */
#ifndef PROVIDERS_CITATIONS_H
#define PROVIDERS_CITATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/arena.h"
#include "config/base/span.h"
#include "providers/prompt.h"

enum { CITATIONS_MAX = 256 };

struct citation {
        struct span marker; /* "[Source: …]" as it stands in the text; borrowed from it */
        struct span chunk;  /* the passage's; data NULL where no passage fits */
        struct span source_document; /* the name as cited, or the passage's source_document where it fits and has one */
        int64_t page_number;         /* as cited, else the passage's; 0: none */
        bool verified; /* a passage of that name was given, and of that page where one is cited and the passage has one */
};

struct citations {
        struct citation *list; /* in the order of the text, repetitions included; at most CITATIONS_MAX */
        size_t count;
        bool insufficient; /* the answer is "I don't have enough information." but for white space, quotes and the full stop */
};

/* passages are borrowed by the result. -1: the arena is full. */
int citations_find(struct span text, const struct passage *passages, size_t passage_count, struct arena *arena, struct citations *ret);

#endif
