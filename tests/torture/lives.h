/* The lives of requests that are gone through with failing memory: one row each. */
#ifndef TESTS_TORTURE_LIVES_H
#define TESTS_TORTURE_LIVES_H

#include <stdbool.h>
#include <stddef.h>

#include "config/settings.h"

struct submission {
        const char *topic; /* enrich.… */
        const char *value; /* $T: the tenant, $I: the id, $U: an id of its own; NULL: a null value */
        const char *const *headers; /* name, value, …, NULL; or NULL; $N: a number of its own */
};

enum { PREPARED_MAX = 4 };

struct life {
        const char *name;
        struct submission before[PREPARED_MAX]; /* gone through first, in peace */
        struct submission it;
        const char *ending;  /* in peace: "ok" "failed model.not_found" "expired serving.deadline" "letter data.invalid_json" "hop" */
        bool index_held;     /* the index is fed only once memory fails */
        bool at_start;       /* memory fails while the worker is built, too */
        bool no_fresh;       /* the same can't be sent under another id */
        enum kind without;   /* this worker does not serve that kind; KIND_COUNT: all */
};

extern const struct life lives[];
extern const size_t life_count;

#endif
