/* Parsed into a tree of nodes from the request's arena. Dates among the values are parsed once; those in the metadata when
 * asked. */
#include "retrieval/filter/filter.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "config/base/span.h"

enum filter_operator { OP_EQ, OP_NE, OP_GT, OP_GE, OP_LT, OP_LE, OP_IN, OP_NOT_IN, OP_AND, OP_OR, OP_NOT };
static const char *const operator_names[] = {"==", "!=", ">", ">=", "<", "<=", "in", "not in", "AND", "OR", "NOT"};

enum { PATH_BYTES_MAX = 160, FIELD_PARTS_MAX = 16 };

/* An instant: milliseconds and the digits of the second's fraction, compared to any precision. */
struct instant {
        int64_t ms;
        struct span fraction;
};

struct operand {
        const json_t *value;
        bool is_date;
        struct instant date;
};

struct filter {
        enum filter_operator operator;
        size_t count; /* of conditions, operands */
        /* groups */
        const struct filter **conditions;
        /* leaves */
        struct span parts[FIELD_PARTS_MAX]; /* the field, at its dots */
        size_t part_count;
        struct operand *operands; /* one, or the elements of an `in` */
};

struct parse {
        struct arena *arena;
        char path[PATH_BYTES_MAX]; /* where we are, for messages */
        size_t path_len;
        int leaves, nodes, values;
        struct error *err;
};

static int fault(struct parse *parse, const char *what)
{
        return error_set(parse->err, CODE_SCHEMA, "%s%s", parse->path, what);
}

static int memory_fault(struct parse *parse)
{
        return error_set(parse->err, arena_fault(parse->arena), "%s: takes more memory than a request may have", parse->path);
}

/* ---- Values */

static struct instant instant_of(struct span text, int64_t ms)
{
        const char *dot = memchr(text.data, '.', text.len);
        struct instant instant = {ms, {"", 0}};

        if (!dot)
                return instant;
        instant.fraction.data = dot + 1;
        while (dot + 1 + instant.fraction.len < text.data + text.len && dot[1 + instant.fraction.len] >= '0' &&
               dot[1 + instant.fraction.len] <= '9')
                instant.fraction.len++;
        while (instant.fraction.len && instant.fraction.data[instant.fraction.len - 1] == '0')
                instant.fraction.len--;
        return instant;
}

static bool read_date(const json_t *value, struct instant *ret_date)
{
        struct span text;
        int64_t ms;

        if (!json_is_string(value))
                return false;
        text = (struct span){json_string_value(value), json_string_length(value)};
        if (text.len < 10 || text.data[4] != '-' || !clock_parse_rfc3339(text, true, &ms)) /* the first two: most aren't dates */
                return false;
        *ret_date = instant_of(text, ms);
        return true;
}

static int compare_bytes(struct span a, struct span b)
{
        size_t common = a.len < b.len ? a.len : b.len;
        int order = common ? memcmp(a.data, b.data, common) : 0;

        return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_instants(const struct instant *a, const struct instant *b)
{
        if (a->ms != b->ms)
                return a->ms < b->ms ? -1 : 1;
        return compare_bytes(a->fraction, b->fraction);
}

/* An integer and a real, exactly. */
static int compare_mixed(json_int_t integer, double real)
{
        double whole = floor(real);

        if (whole >= 9223372036854775808.0)
                return -1;
        if (whole < -9223372036854775808.0)
                return 1;
        if (integer != (json_int_t)whole)
                return integer < (json_int_t)whole ? -1 : 1;
        return real > whole ? -1 : 0;
}

static int compare_numbers(const json_t *a, const json_t *b)
{
        if (json_is_integer(a) && json_is_integer(b)) {
                json_int_t x = json_integer_value(a), y = json_integer_value(b);

                return (x > y) - (x < y);
        }
        if (json_is_integer(a))
                return compare_mixed(json_integer_value(a), json_real_value(b));
        if (json_is_integer(b))
                return -compare_mixed(json_integer_value(b), json_real_value(a));
        return (json_real_value(a) > json_real_value(b)) - (json_real_value(a) < json_real_value(b));
}

/* Are the two of a type that has an order (or equality, for booleans and null)? Then how they compare. */
static bool compare(const json_t *value, const struct operand *operand, int *ret_order)
{
        const json_t *other = operand->value;
        struct instant date;

        if (json_is_number(value) && json_is_number(other)) {
                *ret_order = compare_numbers(value, other);
                return true;
        }
        if (json_is_string(value) && json_is_string(other)) {
                if (operand->is_date && read_date(value, &date))
                        *ret_order = compare_instants(&date, &operand->date);
                else
                        *ret_order = compare_bytes((struct span){json_string_value(value), json_string_length(value)},
                                                   (struct span){json_string_value(other), json_string_length(other)});
                return true;
        }
        if ((json_is_boolean(value) && json_is_boolean(other)) || (json_is_null(value) && json_is_null(other))) {
                *ret_order = json_is_true(value) - json_is_true(other);
                return true;
        }
        return false;
}

/* ---- Parsing */

static int parse_operand(struct parse *parse, const json_t *value, bool ordered, struct operand *ret)
{
        if (json_is_object(value) || json_is_array(value))
                return fault(parse, ": must be a string, number, boolean or null");
        if (ordered && !json_is_string(value) && !json_is_number(value))
                return fault(parse, ": must be a string or number to be ordered by");
        if (++parse->values > FILTER_VALUES_MAX)
                return fault(parse, ": too many values");
        ret->value = value;
        ret->is_date = read_date(value, &ret->date);
        return 0;
}

static int parse_field(struct parse *parse, struct filter *leaf, const json_t *field)
{
        const char *text = json_string_value(field), *dot;
        size_t len = json_string_length(field), part;

        if (!text || len == 0 || len > 256)
                return fault(parse, ".field: must be a string of 1 to 256 bytes");
        for (;; text += part + 1, len -= part + 1) {
                dot = memchr(text, '.', len);
                part = dot ? (size_t)(dot - text) : len;
                if (part == 0 || leaf->part_count == FIELD_PARTS_MAX)
                        return fault(parse, ".field: must be 1 to 16 names with single dots between");
                leaf->parts[leaf->part_count++] = (struct span){text, part};
                if (!dot)
                        return 0;
        }
}

static int parse_leaf(struct parse *parse, struct filter *leaf, const json_t *object)
{
        const json_t *value = json_object_get(object, "value");
        bool list = leaf->operator== OP_IN || leaf->operator== OP_NOT_IN;
        bool ordered = leaf->operator>= OP_GT && leaf->operator<= OP_LE;
        size_t path_len = parse->path_len;

        if (++parse->leaves > FILTER_LEAVES_MAX)
                return fault(parse, ": more than 256 comparisons");
        if (json_object_size(object) != 3 || !value)
                return fault(parse, ": a comparison has field, operator and value, and nothing else");
        if (parse_field(parse, leaf, json_object_get(object, "field")) < 0)
                return -1;
        snprintf(parse->path + path_len, sizeof parse->path - path_len, ".value");
        if (list && !json_is_array(value))
                return fault(parse, ": must be an array");
        leaf->count = list ? json_array_size(value) : 1;
        if (leaf->count > FILTER_VALUES_MAX)
                return fault(parse, ": too many values");
        leaf->operands = arena_alloc(parse->arena, (leaf->count + 1) * sizeof *leaf->operands);
        if (!leaf->operands)
                return memory_fault(parse);
        for (size_t i = 0; i < leaf->count; i++)
                if (parse_operand(parse, list ? json_array_get(value, i) : value, ordered, &leaf->operands[i]) < 0)
                        return -1;
        parse->path[path_len] = '\0';
        return 0;
}

static const struct filter *parse_node(struct parse *parse, const json_t *object, int depth);

static int parse_group(struct parse *parse, struct filter *group, const json_t *object, int depth)
{
        const json_t *conditions = json_object_get(object, "conditions");
        size_t path_len = parse->path_len;

        if (json_object_size(object) != 2 || !json_is_array(conditions))
                return fault(parse, ": a group has operator and conditions (an array), and nothing else");
        group->count = json_array_size(conditions);
        if (group->operator== OP_NOT && group->count != 1)
                return fault(parse, ".conditions: NOT takes exactly one");
        if (group->count > FILTER_NODES_MAX)
                return fault(parse, ".conditions: too many");
        group->conditions = arena_alloc(parse->arena, (group->count + 1) * sizeof *group->conditions);
        if (!group->conditions)
                return memory_fault(parse);
        for (size_t i = 0; i < group->count; i++) {
                int len = snprintf(parse->path + path_len, sizeof parse->path - path_len, ".conditions[%zu]", i);

                if (len < 0 || (size_t)len >= sizeof parse->path - path_len) { /* deep down: no more detail */
                        parse->path[path_len] = '\0';
                        len = 0;
                }
                parse->path_len = path_len + (size_t)len;
                group->conditions[i] = parse_node(parse, json_array_get(conditions, i), depth + 1);
                if (!group->conditions[i])
                        return -1;
                parse->path_len = path_len;
                parse->path[path_len] = '\0';
        }
        return 0;
}

static const struct filter *parse_node(struct parse *parse, const json_t *object, int depth)
{
        struct filter *filter;
        const char *name;
        size_t op = 0;

        if (depth > FILTER_DEPTH_MAX)
                return fault(parse, ": nests more than 16 deep"), NULL;
        if (++parse->nodes > FILTER_NODES_MAX)
                return fault(parse, ": too many conditions"), NULL;
        if (!json_is_object(object))
                return fault(parse, ": must be an object"), NULL;
        name = json_string_value(json_object_get(object, "operator"));
        while (name && op < COUNT_OF(operator_names) && strcmp(operator_names[op], name) != 0)
                op++;
        if (!name || op == COUNT_OF(operator_names))
                return fault(parse, ".operator: must be one of == != > >= < <= in, not in, AND OR NOT"), NULL;
        filter = arena_alloc(parse->arena, sizeof *filter);
        if (!filter)
                return memory_fault(parse), NULL;
        filter->operator=(enum filter_operator) op;
        if ((op >= OP_AND ? parse_group(parse, filter, object, depth) : parse_leaf(parse, filter, object)) < 0)
                return NULL;
        return filter;
}

int filter_parse(const json_t *value, struct arena *arena, const struct filter **ret_filter, struct error *err)
{
        struct parse parse = {.arena = arena, .path = "filter", .path_len = 6, .err = err};
        const struct filter *filter = parse_node(&parse, value, 1);

        if (!filter)
                return -1;
        *ret_filter = filter;
        return 0;
}

/* ---- Asking */

static bool element_matches(const struct filter *leaf, const json_t *value)
{
        int order;

        for (size_t i = 0; i < leaf->count; i++) {
                if (!compare(value, &leaf->operands[i], &order))
                        continue;
                switch (leaf->operator) {
                case OP_GT:
                        return order > 0;
                case OP_GE:
                        return order >= 0;
                case OP_LT:
                        return order < 0;
                case OP_LE:
                        return order <= 0;
                default: /* == and in, and their negations */
                        if (order == 0)
                                return true;
                }
        }
        return false;
}

static bool leaf_matches(const struct filter *leaf, const json_t *metadata)
{
        const json_t *value = metadata;
        bool found = false;

        for (size_t i = 0; value && i < leaf->part_count; i++)
                value = json_object_getn(value, leaf->parts[i].data, leaf->parts[i].len);
        if (json_is_array(value)) {
                for (size_t i = 0; !found && i < json_array_size(value); i++)
                        found = element_matches(leaf, json_array_get(value, i));
        } else if (value) {
                found = element_matches(leaf, value);
        }
        return leaf->operator== OP_NE || leaf->operator== OP_NOT_IN ? !found : found;
}

bool filter_matches(const struct filter *filter, const json_t *metadata)
{
        if (!filter)
                return true;
        switch (filter->operator) {
        case OP_AND:
                for (size_t i = 0; i < filter->count; i++)
                        if (!filter_matches(filter->conditions[i], metadata))
                                return false;
                return true;
        case OP_OR:
                for (size_t i = 0; i < filter->count; i++)
                        if (filter_matches(filter->conditions[i], metadata))
                                return true;
                return false;
        case OP_NOT:
                return !filter_matches(filter->conditions[0], metadata);
        default:
                return leaf_matches(filter, metadata);
        }
}
