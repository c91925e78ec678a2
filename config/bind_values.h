/* One value of the configuration: from its node to its variable. Used by bind.c only. */
#ifndef CONFIG_BIND_VALUES_H
#define CONFIG_BIND_VALUES_H

#include "config/bind.h"
#include "config/secrets.h"

enum { BIND_SCRATCH_BYTES_MAX = 4 * SECRETS_BYTES_MAX };

/* What is to be bound: its row, its node, where it stands and where it goes. */
struct target {
        const struct option *option;
        const struct node *node;
        const char *where;
        void *into;          /* the struct; the variable is option->at further on */
        struct place *place; /* kept for it; NULL: a default */
};

static inline void *bind_variable(const struct target *target)
{
        return (char *)target->into + target->option->at;
}

static inline size_t *bind_count(const struct target *target)
{
        return (size_t *)(void *)((char *)target->into + target->option->count_at);
}

#define FAULT(binder, target, ...) faults_add((binder)->faults, (target)->node->line, (target)->where, __VA_ARGS__)

/* All types but maps and lists of maps. */
void bind_simple(struct binder *binder, const struct target *target);

/* The string of a node with its secrets filled in, in memory of the settings; NULL with a fault noted. */
char *bind_take_string(struct binder *binder, const struct target *target, bool *ret_filled);
/* NULL where there is none to keep (a default), or memory is out. */
struct place *bind_keep_place(struct binder *binder, const struct target *target, const void *variable);
/* Whether it is a list within the row's bounds; a fault is noted otherwise. */
bool bind_check_list(struct binder *binder, const struct target *target);
/* "where[i]" */
const char *bind_element_path(struct binder *binder, const char *where, size_t i);
void bind_store_integer(const struct option *option, void *variable, int64_t value);
void bind_no_memory(struct binder *binder);

#endif
