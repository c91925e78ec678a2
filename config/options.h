/* THE table of configuration keys. One row a key: its path, type, bounds, default, unit, what it is for, and where its value goes.
 * Defaults, validation and the reference documentation all come from it; a new setting is one field in settings.h and one row here.
 */
#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/span.h"

enum option_type {
        OPTION_STRING,    /* char *; min/max bytes; one of the row's choices, if it has any */
        OPTION_NAME,      /* char *; min/max bytes of the row's alphabet; that of a list's element ("…[].name") is unique */
        OPTION_INTEGER,   /* int or int64_t, by size */
        OPTION_NUMBER,    /* double */
        OPTION_BOOL,      /* bool */
        OPTION_CHOICE,    /* an enum or int64_t, by size: the choice's value */
        OPTION_REFERENCE, /* size_t: the index of the provider or model of that name */
        OPTION_NAMES,     /* list of names: char **, and size_t at count_at; min/max elements; alphabet */
        OPTION_MODELS,    /* the same, of models' names that must exist */
        OPTION_DURATIONS, /* list of "5s": char **, int64_t * (ms) at values_at, size_t at count_at; min/max elements */
        OPTION_FLAGS,     /* list of choices: bool[size] */
        OPTION_PAIRS,     /* map of any scalars: struct setting_pair *, size_t at count_at; max pairs */
        OPTION_SECTION,   /* map: rows "<path>.…", in the same struct */
        OPTION_LIST,      /* list of maps: rows "<path>[].…", in structs of item_bytes; size_t at count_at; max elements */
        OPTION_REFUSED,   /* known, but not to be had in this build; the prose says what instead */
};

struct option_choice {
        const char *name; /* NULL ends the list */
        int64_t value;
};

struct option {
        const char *path; /* "kafka.partitions", "models[].price.input_per_mtok" */
        enum option_type type;
        bool required; /* within its map */
        bool secret;   /* wanted as ${env:…} or ${file:…} */
        double min, max;
        const char *fallback; /* the default as one would write it; NULL: none (a zero value: NULL, 0, false) */
        double unset;         /* INTEGER, NUMBER without a fallback: the variable's value where the key is absent */
        const char *unit;     /* "ms", "s", "bytes", "tokens", …; NULL: none */
        const struct option_choice *choices;
        const char *alphabet; /* as the contract writes it: "a-z 0-9 _ -" */
        const char *absent;   /* for the reference, where there is no fallback: what happens without it */
        const char *prose;
        size_t at, size;   /* of the variable in its struct */
        size_t count_at;   /* of the size_t beside it */
        size_t values_at;  /* OPTION_DURATIONS */
        size_t item_bytes; /* OPTION_LIST */
        size_t spare;      /* OPTION_LIST: built-in elements that will follow */
};

extern const struct option options[];
extern const size_t option_count;

/* scope "" for the top level, else a section's path ("models[].price"), key one word below it. NULL: none. */
const struct option *options_find(const char *scope, struct span key);
/* The row right below scope? On success *ret_key is its last word. */
bool options_below(const struct option *option, const char *scope, struct span *ret_key);
/* The key of the scope that was probably meant, by edit distance; data NULL: none is near. */
struct span options_suggest(const char *scope, struct span key);
/* The choice that was probably meant; NULL: none is near. */
const char *options_suggest_choice(const struct option_choice *choices, struct span given);
/* Insertions, deletions, replacements and swaps of neighbours that turn a into b; for words up to 64 bytes, otherwise 255. */
unsigned options_distance(struct span a, struct span b);
/* Whether all of s is of an alphabet such as "A-Z a-z 0-9 . _ -". */
bool options_spelt(const char *alphabet, struct span s);

#endif
