#include <criterion/criterion.h>
#include <stdio.h>

#include "config/base/buffer.h"
#include "config/base/own.h"
#include "retrieval/filter/filter.h"

static struct arena *arena;

static void setup(void)
{
        arena = arena_new(1 << 20);
}

static void teardown(void)
{
        arena_free(arena);
}

TestSuite(filter, .init = setup, .fini = teardown);

static bool matches(const char *filter_text, const char *metadata_text)
{
        AUTO(json_decrefp) json_t *value = json_loads(filter_text, JSON_DECODE_ANY, NULL);
        AUTO(json_decrefp) json_t *metadata = json_loads(metadata_text, JSON_DECODE_ANY, NULL);
        const struct filter *filter = NULL;
        struct error err = {0};

        cr_assert(value && metadata, "test data: %s %s", filter_text, metadata_text);
        cr_assert_eq(filter_parse(value, arena, &filter, &err), 0, "%s", err.message);
        return filter_matches(filter, metadata);
}

/* One comparison of the field f. */
static bool leaf(const char *operator, const char * value, const char *metadata)
{
        char text[512];

        snprintf(text, sizeof text, "{\"field\":\"f\",\"operator\":\"%s\",\"value\":%s}", operator, value);
        return matches(text, metadata);
}

static const char *fault(const char *filter_text)
{
        static struct error err;
        AUTO(json_decrefp) json_t *value = json_loads(filter_text, JSON_DECODE_ANY, NULL);
        const struct filter *filter = NULL;

        cr_assert(value, "test data: %s", filter_text);
        cr_assert_eq(filter_parse(value, arena, &filter, &err), -1, "%s", filter_text);
        cr_assert_eq(err.code, CODE_SCHEMA);
        return err.message;
}

Test(filter, compares_numbers_by_value)
{
        cr_assert(leaf("==", "3", "{\"f\":3.0}"));
        cr_assert(leaf(">", "2.5", "{\"f\":3}"));
        cr_assert(leaf("<=", "3", "{\"f\":3}"));
        cr_assert_not(leaf("<", "3", "{\"f\":3}"));
        cr_assert(leaf("<", "9007199254740993", "{\"f\":9007199254740992.0}"), "beyond a double's integers");
        cr_assert_not(leaf("==", "9007199254740993", "{\"f\":9007199254740992.0}"));
        cr_assert(leaf("<", "1e300", "{\"f\":9223372036854775807}"));
        cr_assert(leaf(">", "-1e300", "{\"f\":-9223372036854775807}"));
        cr_assert(leaf(">", "-2", "{\"f\":-1.5}"));
        cr_assert(leaf("<", "-1", "{\"f\":-1.5}"));
}

Test(filter, compares_strings_by_bytes)
{
        cr_assert(leaf("==", "\"abc\"", "{\"f\":\"abc\"}"));
        cr_assert(leaf(">", "\"Z\"", "{\"f\":\"a\"}"));
        cr_assert(leaf(">", "\"ab\"", "{\"f\":\"abc\"}"));
        cr_assert(leaf(">", "\"z\"", "{\"f\":\"é\"}"));
        cr_assert_not(leaf("==", "\"abc\"", "{\"f\":\"ABC\"}"));
}

Test(filter, compares_dates_as_instants)
{
        cr_assert(leaf("==", "\"2026-11-20\"", "{\"f\":\"2026-11-20T00:00:00Z\"}"));
        cr_assert(leaf("==", "\"2026-11-20T10:00:00Z\"", "{\"f\":\"2026-11-20T12:00:00+02:00\"}"));
        cr_assert(leaf("<", "\"2026-11-20T10:00:00Z\"", "{\"f\":\"2026-11-20T11:00:00+02:00\"}"), "though its bytes are greater");
        cr_assert(leaf(">", "\"2026-11-20T10:00:00.1231Z\"", "{\"f\":\"2026-11-20T10:00:00.1239Z\"}"), "finer than ms");
        cr_assert(leaf("==", "\"2026-11-20T10:00:00.5Z\"", "{\"f\":\"2026-11-20T10:00:00.500Z\"}"));
        cr_assert(leaf("in", "[\"2026-11-20\"]", "{\"f\":\"2026-11-20T00:00:00.000Z\"}"));
        cr_assert(leaf(">", "\"2026-11-20\"", "{\"f\":\"not a date\"}"), "by bytes then");
        cr_assert_not(leaf("==", "\"2026-02-30\"", "{\"f\":\"2026-03-02\"}"), "no such day: a string");
}

Test(filter, other_types_and_missing_fields_are_false_but_for_negations)
{
        static const char *const others[] = {"{}",         "{\"f\":\"3\"}", "{\"f\":true}", "{\"f\":null}",
                                             "{\"f\":{}}", "{\"f\":[]}",    "{\"f\":[[3]]}"};
        static const char *const falses[] = {"==", ">", ">=", "<", "<="};

        for (size_t i = 0; i < COUNT_OF(others); i++) {
                for (size_t o = 0; o < COUNT_OF(falses); o++)
                        cr_assert_not(leaf(falses[o], "3", others[i]), "%s %s", falses[o], others[i]);
                cr_assert(leaf("!=", "3", others[i]), "%s", others[i]);
                cr_assert_not(leaf("in", "[3]", others[i]));
                cr_assert(leaf("not in", "[3]", others[i]));
        }
        cr_assert_not(leaf(">", "3", "\"not an object\""));
}

Test(filter, booleans_and_null_are_equal_or_not)
{
        cr_assert(leaf("==", "true", "{\"f\":true}"));
        cr_assert(leaf("!=", "true", "{\"f\":false}"));
        cr_assert(leaf("==", "null", "{\"f\":null}"));
        cr_assert_not(leaf("==", "null", "{}"));
        cr_assert_not(leaf("==", "1", "{\"f\":true}"));
}

Test(filter, arrays_match_by_any_element)
{
        cr_assert(leaf("==", "\"b\"", "{\"f\":[\"a\",\"b\"]}"));
        cr_assert(leaf(">", "5", "{\"f\":[1,9,\"x\"]}"));
        cr_assert_not(leaf("!=", "\"b\"", "{\"f\":[\"a\",\"b\"]}"));
        cr_assert(leaf("in", "[\"x\",\"b\"]", "{\"f\":[\"a\",\"b\"]}"));
        cr_assert_not(leaf("not in", "[\"x\",\"b\"]", "{\"f\":[\"a\",\"b\"]}"));
}

Test(filter, in_takes_mixed_and_empty_lists)
{
        cr_assert(leaf("in", "[1,\"a\",true,null]", "{\"f\":true}"));
        cr_assert_not(leaf("in", "[]", "{\"f\":1}"));
        cr_assert(leaf("not in", "[]", "{\"f\":1}"));
}

Test(filter, dots_descend)
{
        cr_assert(matches("{\"field\":\"a.b.c\",\"operator\":\"==\",\"value\":1}", "{\"a\":{\"b\":{\"c\":1}}}"));
        cr_assert_not(matches("{\"field\":\"a.b\",\"operator\":\"==\",\"value\":1}", "{\"a.b\":1}"));
        cr_assert_not(matches("{\"field\":\"a.b\",\"operator\":\"==\",\"value\":1}", "{\"a\":3}"));
}

#define TRUE_LEAF "{\"field\":\"t\",\"operator\":\"==\",\"value\":1}"
#define FALSE_LEAF "{\"field\":\"t\",\"operator\":\"==\",\"value\":2}"

Test(filter, groups_combine)
{
        static const char *const metadata = "{\"t\":1}";

        cr_assert(matches("{\"operator\":\"AND\",\"conditions\":[]}", metadata));
        cr_assert_not(matches("{\"operator\":\"OR\",\"conditions\":[]}", metadata));
        cr_assert(matches("{\"operator\":\"AND\",\"conditions\":[" TRUE_LEAF "," TRUE_LEAF "]}", metadata));
        cr_assert_not(matches("{\"operator\":\"AND\",\"conditions\":[" TRUE_LEAF "," FALSE_LEAF "]}", metadata));
        cr_assert(matches("{\"operator\":\"OR\",\"conditions\":[" FALSE_LEAF "," TRUE_LEAF "]}", metadata));
        cr_assert(matches("{\"operator\":\"NOT\",\"conditions\":[" FALSE_LEAF "]}", metadata));
        cr_assert(filter_matches(NULL, NULL), "no filter");
}

Test(filter, faults_name_the_place)
{
        cr_assert_str_eq(fault("3"), "filter: must be an object");
        cr_assert(strstr(fault("{}"), "filter.operator: must be one of"));
        cr_assert(strstr(fault("{\"operator\":\"and\",\"conditions\":[]}"), "filter.operator"));
        cr_assert(strstr(fault("{\"operator\":\"AND\",\"conditions\":[" TRUE_LEAF ",7]}"),
                         "filter.conditions[1]: must be an object"));
        cr_assert(strstr(fault("{\"operator\":\"OR\",\"conditions\":[{\"operator\":\"NOT\",\"conditions\":[]}]}"),
                         "filter.conditions[0].conditions: NOT takes exactly one"));
        cr_assert(strstr(fault("{\"operator\":\"AND\",\"conditions\":[],\"more\":1}"), "nothing else"));
        cr_assert(strstr(fault("{\"field\":\"a\",\"operator\":\"==\"}"), "nothing else"));
        cr_assert(strstr(fault("{\"field\":\"a\",\"operator\":\"==\",\"value\":1,\"x\":1}"), "nothing else"));
        cr_assert(strstr(fault("{\"field\":\"a\",\"operator\":\"==\",\"value\":{}}"), "filter.value: must be a string"));
        cr_assert(strstr(fault("{\"field\":\"a\",\"operator\":\"in\",\"value\":3}"), "filter.value: must be an array"));
        cr_assert(strstr(fault("{\"field\":\"a\",\"operator\":\"in\",\"value\":[[]]}"), "filter.value"));
        cr_assert(strstr(fault("{\"field\":\"a\",\"operator\":\">\",\"value\":true}"), "to be ordered by"));
        cr_assert(strstr(fault("{\"field\":\"\",\"operator\":\"==\",\"value\":1}"), "filter.field"));
        cr_assert(strstr(fault("{\"field\":\"a..b\",\"operator\":\"==\",\"value\":1}"), "filter.field"));
        cr_assert(strstr(fault("{\"field\":3,\"operator\":\"==\",\"value\":1}"), "filter.field"));
}

/* A filter that nests `depth` deep. */
static const char *nested(struct buffer *out, int depth)
{
        for (int i = 1; i < depth; i++)
                buffer_string(out, "{\"operator\":\"NOT\",\"conditions\":[");
        buffer_string(out, TRUE_LEAF);
        for (int i = 1; i < depth; i++)
                buffer_string(out, "]}");
        return buffer_view(out).data;
}

Test(filter, depth_is_bounded)
{
        AUTO_BUFFER deepest, deeper, deep;

        buffer_init(&deepest, 1 << 16);
        buffer_init(&deeper, 1 << 16);
        buffer_init(&deep, 1 << 16);
        cr_assert_not(matches(nested(&deepest, 16), "{\"t\":1}"), "15 times not");
        cr_assert(strstr(fault(nested(&deeper, 17)), "nests more than 16 deep"));
        cr_assert(strstr(fault(nested(&deep, 500)), "nests more than 16 deep"));
}

static const char *wide(struct buffer *out, int leaves)
{
        buffer_string(out, "{\"operator\":\"AND\",\"conditions\":[");
        for (int i = 0; i < leaves; i++)
                buffer_printf(out, "%s%s", i ? "," : "", TRUE_LEAF);
        buffer_string(out, "]}");
        return buffer_view(out).data;
}

Test(filter, leaves_are_bounded)
{
        AUTO_BUFFER most, more;

        buffer_init(&most, 1 << 16);
        buffer_init(&more, 1 << 16);
        cr_assert(matches(wide(&most, 256), "{\"t\":1}"));
        cr_assert(strstr(fault(wide(&more, 257)), "filter.conditions[256]: more than 256"));
}

Test(filter, a_full_arena_is_an_error)
{
        AUTO(json_decrefp) json_t *value = json_loads(TRUE_LEAF, 0, NULL);
        AUTO_ARENA *small = arena_new(64);
        const struct filter *filter;
        struct error err;

        cr_assert_eq(filter_parse(value, small, &filter, &err), -1);
        cr_assert_eq(err.code, CODE_TOO_LARGE);
}
