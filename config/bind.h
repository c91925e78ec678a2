/* A tree of nodes into the settings, by the table of options: types, bounds, unknown and missing keys, defaults. What one key
 * cannot tell (names that refer to others, cycles, sums) is cross_check's work; for it the places of all values are kept. */
#ifndef CONFIG_BIND_H
#define CONFIG_BIND_H

#include "config/base/arena.h"
#include "config/faults.h"
#include "config/options.h"
#include "config/settings.h"
#include "config/tree.h"

/* Where a variable's value stands in the file. */
struct place {
        struct place *next;   /* in order of binding */
        const void *variable; /* its value may have been refused: then the variable is as it was */
        const struct option *option;
        unsigned line; /* 0: a default */
        const char *path;
        struct span text; /* OPTION_REFERENCE, NAMES, MODELS: the name; data NULL: refused */
        bool filled;      /* holds something from ${…}: must not be shown */
};

struct binder {
        struct settings *settings;
        struct faults *faults;
        struct arena *arena; /* for paths and places */
        struct place *first, *last;
        struct buffer scratch; /* for strings being filled in */
        bool partial;          /* the file could not be read to its end: nothing is said about what is missing */
};

/* root NULL: all defaults. Faults go to binder->faults; the settings are whole in form afterwards, whatever the faults: a pointer
 * is valid or NULL, a choice that was required and refused is -1, an index of a provider or model is SIZE_MAX until cross_check. */
void bind_all(struct binder *binder, const struct node *root);
void bind_init(struct binder *binder, struct settings *settings, struct faults *faults, struct arena *arena);
void bind_fini(struct binder *binder);

/* The defaults of a scope and its sections ("models[]") into a struct that is not in the file. */
void bind_defaults(struct binder *binder, const char *scope, void *into);

/* NULL where the variable's key is absent. */
const struct place *bind_place(const struct binder *binder, const void *variable);

#endif
