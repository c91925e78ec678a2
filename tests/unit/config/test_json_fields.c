#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "config/base/json_fields.h"
#include "config/base/own.h"

struct all {
        struct span name;
        int64_t count;
        double ratio;
        bool flag;
        json_t *object, *array, *any;
        int choice;
};

static const struct field_row rows[] = {
        {.name = "name", .type = FIELD_STRING, .offset = offsetof(struct all, name), .required = true, .min = 1, .max = 4},
        {.name = "count", .type = FIELD_INTEGER, .offset = offsetof(struct all, count), .min = 1, .max = 10},
        {.name = "ratio", .type = FIELD_NUMBER, .offset = offsetof(struct all, ratio), .min = 0, .max = 1.5},
        {.name = "flag", .type = FIELD_BOOL, .offset = offsetof(struct all, flag)},
        {.name = "object", .type = FIELD_OBJECT, .offset = offsetof(struct all, object)},
        {.name = "array", .type = FIELD_ARRAY, .offset = offsetof(struct all, array), .min = 1, .max = 2},
        {.name = "any", .type = FIELD_ANY, .offset = offsetof(struct all, any)},
        {.name = "choice", .type = FIELD_CHOICE, .offset = offsetof(struct all, choice), .choices = "float base64"},
};

static json_t *value;
static struct all all;

static void fini(void)
{
        json_decref(value);
}

TestSuite(fields, .fini = fini);

/* "" or the message. */
static const char *read_at(const char *path, const char *text)
{
        static struct error err;

        json_decref(value);
        value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        cr_assert(value, "%s", text);
        error_clear(&err);
        if (fields_read(value, rows, COUNT_OF(rows), path, CODE_SCHEMA, &all, &err) == 0)
                return "";
        cr_assert_eq(err.code, CODE_SCHEMA);
        cr_assert_eq(err.class, ERR_DATA);
        return err.message;
}

static const char *got(const char *text)
{
        return read_at("", text);
}

Test(fields, reads_every_type)
{
        cr_assert_str_eq(
                got("{\"name\":\"ab\",\"count\":10,\"ratio\":1,\"flag\":true,\"object\":{},"
                "\"array\":[1,2],\"any\":[],\"choice\":\"base64\"}"),
                "");
        cr_assert(span_is(all.name, "ab"));
        cr_assert_eq(all.count, 10);
        cr_assert_eq(all.ratio, 1);
        cr_assert(all.flag);
        cr_assert(json_is_object(all.object));
        cr_assert_eq(json_array_size(all.array), 2);
        cr_assert(json_is_array(all.any));
        cr_assert_eq(all.choice, 1);
}

Test(fields, leaves_what_is_absent_or_null)
{
        all.count = 7;
        all.choice = -1;
        cr_assert_str_eq(got("{\"name\":\"ab\",\"count\":null,\"any\":null}"), "");
        cr_assert_eq(all.count, 7);
        cr_assert_eq(all.choice, -1);
        cr_assert_null(all.any);
}

Test(fields, requires_what_is_required)
{
        cr_assert_str_eq(got("{}"), "name: is required");
        cr_assert_str_eq(read_at("document", "{}"), "document.name: is required");
        cr_assert_str_eq(got("{\"name\":null}"), "name: must not be null");
}

Test(fields, keeps_types_apart)
{
        cr_assert_str_eq(got("[]"), "must be an object");
        cr_assert_str_eq(read_at("document", "5"), "document: must be an object");
        cr_assert_str_eq(got("{\"name\":5}"), "name: must be a string");
        cr_assert_str_eq(got("{\"name\":\"a\",\"count\":5.0}"), "count: must be an integer");
        cr_assert_str_eq(got("{\"name\":\"a\",\"count\":true}"), "count: must be an integer");
        cr_assert_str_eq(got("{\"name\":\"a\",\"count\":\"5\"}"), "count: must be an integer");
        cr_assert_str_eq(got("{\"name\":\"a\",\"ratio\":true}"), "ratio: must be a number");
        cr_assert_str_eq(got("{\"name\":\"a\",\"flag\":1}"), "flag: must be true or false");
        cr_assert_str_eq(read_at("d", "{\"name\":\"a\",\"object\":[]}"), "d.object: must be an object");
        cr_assert_str_eq(got("{\"name\":\"a\",\"array\":{}}"), "array: must be an array");
        cr_assert_str_eq(got("{\"name\":\"a\",\"choice\":0}"), "choice: must be a string");
        cr_assert_str_eq(got("{\"name\":\"a\",\"choice\":\"flo\"}"), "choice: must be one of: float base64");
        cr_assert_str_eq(got("{\"name\":\"a\",\"choice\":\"float base64\"}"), "choice: must be one of: float base64");
        cr_assert_str_eq(got("{\"name\":\"a\",\"choice\":\"\"}"), "choice: must be one of: float base64");
}

Test(fields, holds_bounds)
{
        cr_assert_str_eq(got("{\"name\":\"\"}"), "name: must be 1…4 bytes long");
        cr_assert_str_eq(got("{\"name\":\"abcde\"}"), "name: must be 1…4 bytes long");
        cr_assert_str_eq(got("{\"name\":\"a\\u0000b\"}"), "");
        cr_assert_eq(all.name.len, 3);
        cr_assert_str_eq(got("{\"name\":\"a\",\"count\":0}"), "count: must be 1…10");
        cr_assert_str_eq(got("{\"name\":\"a\",\"count\":11}"), "count: must be 1…10");
        cr_assert_str_eq(got("{\"name\":\"a\",\"ratio\":1.6}"), "ratio: must be 0…1.5");
        cr_assert_str_eq(got("{\"name\":\"a\",\"ratio\":-1}"), "ratio: must be 0…1.5");
        cr_assert_str_eq(got("{\"name\":\"a\",\"array\":[]}"), "array: must hold 1…2 elements");
        cr_assert_str_eq(got("{\"name\":\"a\",\"array\":[1,2,3]}"), "array: must hold 1…2 elements");
}

Test(fields, refuses_unknown_members_and_shows_their_names_tamely)
{
        char text[400], wanted[200];

        cr_assert_str_eq(got("{\"name\":\"a\",\"nmae\":1}"), "nmae: unknown field");
        cr_assert_str_eq(read_at("a.b", "{\"name\":\"a\",\"\":1}"), "a.b.: unknown field");
        cr_assert_str_eq(got("{\"name\":\"a\",\"x\\ny\\u001b\\\"\":1}"), "x?y??: unknown field");
        cr_assert_str_eq(got("{\"name\":\"a\",\"\xc3\xa4\":1}"), "\?\?: unknown field");
        memcpy(text, "{\"name\":\"a\",\"", sizeof "{\"name\":\"a\",\"");
        memset(text + 13, 'x', 300);
        memcpy(text + 313, "\":1}", sizeof "\":1}");
        memset(wanted, 'x', 64);
        memcpy(wanted + 64, ": unknown field", sizeof ": unknown field");
        cr_assert_str_eq(got(text), wanted);
}

Test(fields, takes_null_for_a_required_value_of_any_type)
{
        static const struct field_row any[] = {{.name = "value", .type = FIELD_ANY, .offset = 0, .required = true}};
        json_t *got = NULL;
        struct error err;

        value = json_loads("{\"value\":null}", 0, NULL);
        cr_assert_eq(fields_read(value, any, 1, "", CODE_SCHEMA, &got, &err), 0);
        cr_assert(json_is_null(got));
}

Test(fields, canonical_text_is_sorted_and_compact)
{
        static const char *const skip[] = {"e"};
        AUTO_BUFFER text = {0};

        buffer_init(&text, 1000);
        value = json_loads("{\"e\": 7, \"b\": [1, 2.5, \"\xc3\xa4\"], \"a\": {\"d\": null, \"c\": true}}", 0, NULL);
        cr_assert(fields_write_sorted(&text, value, skip, 1));
        cr_assert_str_eq(text.data, "{\"a\":{\"c\":true,\"d\":null},\"b\":[1,2.5,\"\xc3\xa4\"]}");
        json_decref(value);
        value = json_object();
        for (int i = 99; i >= 10; i--) {
                char name[3] = {(char)('0' + i / 10), (char)('0' + i % 10), '\0'};

                json_object_set_new(value, name, json_integer(i));
        }
        buffer_reset(&text);
        cr_assert(fields_write_sorted(&text, value, NULL, 0));
        cr_assert(strncmp(text.data, "{\"10\":10,\"11\":11,", 17) == 0, "many members are sorted too");
}
