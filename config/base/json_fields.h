/* Strict reading of JSON objects: a table of rows says which members there are, of which type and within which bounds; unknown
 * members are refused; each fault names the member's path. On jansson's values; never on text. */
#ifndef CONFIG_BASE_JSON_FIELDS_H
#define CONFIG_BASE_JSON_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/buffer.h"
#include "config/base/error.h"
#include "config/base/span.h"

enum field_type {
        FIELD_STRING,  /* struct span, borrowed from the value; min/max in bytes */
        FIELD_INTEGER, /* int64_t; min/max */
        FIELD_NUMBER,  /* double; min/max */
        FIELD_BOOL,    /* bool */
        FIELD_OBJECT,  /* json_t *, borrowed */
        FIELD_ARRAY,   /* json_t *, borrowed; min/max elements */
        FIELD_ANY,     /* json_t *, borrowed */
        FIELD_CHOICE,  /* int: the index in the row's choices, a list of names separated by blanks */
};

struct field_row {
        const char *name;
        enum field_type type;
        size_t offset; /* of the variable in the struct given to fields_read */
        bool required;
        double min, max; /* both 0: unbounded */
        const char *choices;
};

/* Fills *into by the rows; members that are absent (or null, where not required) leave their variable as it is.
 * path: the object's own path for messages, "" for the top. Any fault: -1 with the code given in `code` (CODE_SCHEMA as a rule). */
int fields_read(const json_t *object, const struct field_row *rows, size_t count, const char *path, enum error_code code, void *into,
                struct error *err);

/* Appends value as compact JSON with keys sorted by their bytes; of the outermost object without the members named in skip (skip_count of
 * them). False when memory is out or the buffer is full. */
bool fields_write_sorted(struct buffer *out, const json_t *value, const char *const *skip, size_t skip_count);

#endif
