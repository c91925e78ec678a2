#include "config/base/json_fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SHOWN_BYTES = 64 };

/* A member's name comes from a stranger: what is shown of it is short and printable. */
static const char *show_name(const char *name, size_t len, char shown[NAME_SHOWN_BYTES + 1])
{
        size_t n = len < NAME_SHOWN_BYTES ? len : NAME_SHOWN_BYTES;

        for (size_t i = 0; i < n; i++)
                shown[i] = name[i] > ' ' && name[i] < 0x7f && name[i] != '"' && name[i] != '\\' ? name[i] : '?';
        shown[n] = '\0';
        return shown;
}

/* Where a fault would be: put into words only when there is one. */
struct place {
        enum error_code code;
        struct error *err;
        const char *path, *name;
};

static void place_set(struct place *place, const char *path, const char *name)
{
        place->path = path;
        place->name = name;
}

static int fault(const struct place *place, const char *what)
{
        return error_set(place->err, place->code, "%s%s%s: %s", place->path, *place->path ? "." : "", place->name, what);
}

/* Bounds hold where not both are 0. */
static int check_bounds(const struct field_row *row, double value, const char *before, const char *after, const struct place *place)
{
        char what[96];

        if ((row->min == 0 && row->max == 0) || (value >= row->min && value <= row->max))
                return 0;
        if (row->min == row->max)
                snprintf(what, sizeof what, "must %s %.15g%s", before, row->min, after);
        else
                snprintf(what, sizeof what, "must %s %.15g…%.15g%s", before, row->min, row->max, after);
        return fault(place, what);
}

static int read_string(const struct field_row *row, const json_t *value, const struct place *place, struct span *into)
{
        struct span s;

        if (!json_is_string(value))
                return fault(place, "must be a string");
        s = (struct span){json_string_value(value), json_string_length(value)};
        if (check_bounds(row, (double)s.len, "be", " bytes long", place) < 0)
                return -1;
        *into = s;
        return 0;
}

static int read_integer(const struct field_row *row, const json_t *value, const struct place *place, int64_t *into)
{
        int64_t number;

        if (!json_is_integer(value))
                return fault(place, "must be an integer");
        number = json_integer_value(value);
        if (check_bounds(row, (double)number, "be", "", place) < 0)
                return -1;
        *into = number;
        return 0;
}

static int read_number(const struct field_row *row, const json_t *value, const struct place *place, double *into)
{
        double number;

        if (!json_is_number(value))
                return fault(place, "must be a number");
        number = json_number_value(value);
        if (check_bounds(row, number, "be", "", place) < 0)
                return -1;
        *into = number;
        return 0;
}

static int read_bool(const json_t *value, const struct place *place, bool *into)
{
        if (!json_is_boolean(value))
                return fault(place, "must be true or false");
        *into = json_is_true(value);
        return 0;
}

static int read_array(const struct field_row *row, const json_t *value, const struct place *place, const json_t **into)
{
        if (!json_is_array(value))
                return fault(place, "must be an array");
        if (check_bounds(row, (double)json_array_size(value), "hold", " elements", place) < 0)
                return -1;
        *into = value;
        return 0;
}

static int read_object(const json_t *value, const struct place *place, const json_t **into)
{
        if (!json_is_object(value))
                return fault(place, "must be an object");
        *into = value;
        return 0;
}

static int read_choice(const struct field_row *row, const json_t *value, const struct place *place, int *into)
{
        struct span given;
        int index = 0;

        if (!json_is_string(value))
                return fault(place, "must be a string");
        given = (struct span){json_string_value(value), json_string_length(value)};
        for (const char *at = row->choices; *at; index++) {
                size_t len = strcspn(at, " ");

                if (span_equal(given, (struct span){at, len})) {
                        *into = index;
                        return 0;
                }
                at += len;
                at += strspn(at, " ");
        }
        return error_set(place->err, place->code, "%s%s%s: must be one of: %s", place->path, *place->path ? "." : "", place->name,
                         row->choices);
}

static int read_value(const struct field_row *row, const json_t *value, const struct place *place, void *into)
{
        switch (row->type) {
        case FIELD_STRING:
                return read_string(row, value, place, into);
        case FIELD_INTEGER:
                return read_integer(row, value, place, into);
        case FIELD_NUMBER:
                return read_number(row, value, place, into);
        case FIELD_BOOL:
                return read_bool(value, place, into);
        case FIELD_OBJECT:
                return read_object(value, place, into);
        case FIELD_ARRAY:
                return read_array(row, value, place, into);
        case FIELD_ANY:
                *(const json_t **)into = value;
                return 0;
        case FIELD_CHOICE:
                return read_choice(row, value, place, into);
        }
        return 0;
}

static bool has_row(const struct field_row *rows, size_t count, const char *name, size_t len)
{
        for (size_t i = 0; i < count; i++)
                if (span_equal(span_of(rows[i].name), (struct span){name, len}))
                        return true;
        return false;
}

static int refuse_unknown(const json_t *object, const struct field_row *rows, size_t count, const char *path, const struct place *at_object)
{
        struct place place = *at_object;

        /* jansson's iterators take a mutable object but change nothing. */
        json_t *walked = (json_t *)(uintptr_t)object;

        for (void *at = json_object_iter(walked); at; at = json_object_iter_next(walked, at)) {
                char shown[NAME_SHOWN_BYTES + 1];

                if (has_row(rows, count, json_object_iter_key(at), json_object_iter_key_len(at)))
                        continue;
                place_set(&place, path, show_name(json_object_iter_key(at), json_object_iter_key_len(at), shown));
                return fault(&place, "unknown field");
        }
        return 0;
}

int fields_read(const json_t *object, const struct field_row *rows, size_t count, const char *path, enum error_code code,
                void *into, struct error *err)
{
        struct place place = {.code = code, .err = err};
        size_t known = 0;

        if (!json_is_object(object))
                return error_set(err, code, "%s%smust be an object", path, *path ? ": " : "");
        for (size_t i = 0; i < count; i++) {
                const json_t *value = json_object_get(object, rows[i].name);

                known += value != NULL;
                if (value && (!json_is_null(value) || (rows[i].required && rows[i].type != FIELD_ANY))) {
                        place_set(&place, path, rows[i].name);
                        if (json_is_null(value))
                                return fault(&place, "must not be null");
                        if (read_value(&rows[i], value, &place, (char *)into + rows[i].offset) < 0)
                                return -1;
                } else if (value && rows[i].required) {
                        *(const json_t **)(void *)((char *)into + rows[i].offset) = value; /* any value, null too */
                } else if (rows[i].required) {
                        place_set(&place, path, rows[i].name);
                        return fault(&place, "is required");
                }
        }
        return known == json_object_size(object) ? 0 : refuse_unknown(object, rows, count, path, &place);
}

enum { MEMBERS_ON_STACK = 32, NUMBER_BYTES = 40 };

struct member {
        const char *name;
        size_t len;
        const json_t *value;
};

static int by_name(const void *left, const void *right)
{
        const struct member *a = left, *b = right;
        int order = memcmp(a->name, b->name, a->len < b->len ? a->len : b->len);

        return order ? order : a->len < b->len ? -1 : a->len > b->len;
}

/* Few members as a rule: put in place one by one; many by qsort. */
static void sort_members(struct member *members, size_t count)
{
        if (count > MEMBERS_ON_STACK) {
                qsort(members, count, sizeof *members, by_name);
                return;
        }
        for (size_t i = 1; i < count; i++) {
                struct member moved = members[i];
                size_t at = i;

                for (; at > 0 && by_name(&members[at - 1], &moved) > 0; at--)
                        members[at] = members[at - 1];
                members[at] = moved;
        }
}

static bool is_skipped(const struct member *member, const char *const *skip, size_t skip_count)
{
        for (size_t i = 0; i < skip_count; i++)
                if (span_is((struct span){member->name, member->len}, skip[i]))
                        return true;
        return false;
}

static bool write_object(struct buffer *out, const json_t *object, const char *const *skip, size_t skip_count)
{
        /* jansson's iterators take a mutable object but change nothing. */
        json_t *walked = (json_t *)(uintptr_t)object;
        struct member few[MEMBERS_ON_STACK], *members = few;
        size_t size = json_object_size(object), count = 0;
        bool ok = true;

        if (size > MEMBERS_ON_STACK && !(members = calloc(size, sizeof *members))) {
                buffer_starve(out);
                return false;
        }
        for (void *at = json_object_iter(walked); at; at = json_object_iter_next(walked, at)) {
                members[count] = (struct member){json_object_iter_key(at), json_object_iter_key_len(at), json_object_iter_value(at)};
                count += !is_skipped(&members[count], skip, skip_count);
        }
        sort_members(members, count);
        buffer_char(out, '{');
        for (size_t i = 0; ok && i < count; i++) {
                if (i)
                        buffer_char(out, ',');
                buffer_json_string(out, (struct span){members[i].name, members[i].len});
                buffer_char(out, ':');
                ok = fields_write_sorted(out, members[i].value, NULL, 0);
        }
        buffer_char(out, '}');
        if (members != few)
                free(members);
        return ok;
}

static bool write_array(struct buffer *out, const json_t *array)
{
        bool ok = true;

        buffer_char(out, '[');
        for (size_t i = 0; ok && i < json_array_size(array); i++) {
                if (i)
                        buffer_char(out, ',');
                ok = fields_write_sorted(out, json_array_get(array, i), NULL, 0);
        }
        buffer_char(out, ']');
        return ok;
}

bool fields_write_sorted(struct buffer *out, const json_t *value, const char *const *skip, size_t skip_count)
{
        char number[NUMBER_BYTES];
        size_t len;

        switch (json_typeof(value)) {
        case JSON_OBJECT:
                return write_object(out, value, skip, skip_count);
        case JSON_ARRAY:
                return write_array(out, value);
        case JSON_STRING:
                buffer_json_string(out, (struct span){json_string_value(value), json_string_length(value)});
                break;
        case JSON_INTEGER:
                buffer_int(out, json_integer_value(value));
                break;
        case JSON_REAL:
                len = json_dumpb(value, number, sizeof number, JSON_ENCODE_ANY);
                if (len == 0 || len > sizeof number) /* even to write a number jansson allocates */
                        buffer_starve(out);
                buffer_add(out, number, len <= sizeof number ? len : 0);
                break;
        case JSON_TRUE:
                buffer_string(out, "true");
                break;
        case JSON_FALSE:
                buffer_string(out, "false");
                break;
        case JSON_NULL:
        default:
                buffer_string(out, "null");
                break;
        }
        return buffer_ok(out);
}
