/* A YAML text as a tree of nodes with their lines: one document, no aliases, no tags, every bound a constant. What a plain scalar
 * means (number, boolean, null) is asked here too, so that there is one opinion on it: YAML's core schema, where only true and
 * false are booleans, numbers are decimal, and a quoted scalar is always a string. */
#ifndef CONFIG_TREE_H
#define CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/own.h"
#include "config/base/span.h"
#include "config/faults.h"

enum { TREE_TEXT_BYTES_MAX = 1048576, TREE_DEPTH_MAX = 16, TREE_NODES_MAX = 32768, TREE_CHILDREN_MAX = 4096 };

enum node_type {
        NODE_SCALAR,
        NODE_MAP,
        NODE_LIST,
        NODE_BAD, /* a fault has been noted for it: to be passed over */
};

struct node {
        enum node_type type;
        unsigned line; /* from 1 */
        bool plain;    /* a scalar without quotes */
        struct span text;
        size_t count;       /* children */
        struct node *first; /* a list's elements; a map's keys, scalars all of them */
        struct node *next;  /* sibling */
        struct node *value; /* of a key */
};

struct tree {
        struct node *root; /* NULL: an empty text */
        struct tree_memory *memory;
};

/* Always leaves a tree to be freed with tree_fini, with what could be read. Faults are added to `faults`; text is borrowed for the
 * call. -1: the text could not be read to its end (a syntax fault, a bound). */
int tree_parse(struct tree *tree, struct span text, struct faults *faults);
/* Wipes all texts first: they may hold secrets. */
void tree_fini(struct tree *tree);
#define AUTO_TREE AUTO(tree_fini) struct tree

/* Of a scalar node. */
bool node_is_null(const struct node *node);
bool node_is_bool(const struct node *node, bool *ret_value);
bool node_is_integer(const struct node *node, int64_t *ret_value); /* false also past int64_t */
bool node_is_number(const struct node *node, double *ret_value);   /* integers too; finite */
bool node_is_string(const struct node *node);                      /* none of the above */

#endif
