#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/base/own.h"
#include "config/options.h"
#include "config/reference.h"

Test(options, every_row_is_whole)
{
        for (size_t i = 0; i < option_count; i++) {
                const struct option *o = &options[i];
                bool chosen = o->type == OPTION_CHOICE || o->type == OPTION_FLAGS;
                bool bounded = o->type == OPTION_INTEGER || o->type == OPTION_NUMBER || o->type == OPTION_NAME ||
                        o->type == OPTION_LIST || (o->type == OPTION_STRING && !o->choices);

                cr_assert(o->prose && *o->prose, "%s", o->path);
                cr_assert(!chosen || o->choices, "%s", o->path);
                cr_assert(!bounded || o->max > o->min, "%s", o->path);
                cr_assert(o->type != OPTION_NAME || o->alphabet, "%s", o->path);
                cr_assert(o->type != OPTION_INTEGER || o->size == 4 || o->size == 8, "%s", o->path);
                cr_assert(o->type != OPTION_INTEGER || o->size == 8 || o->max <= 2147483647, "%s", o->path);
                cr_assert(o->type == OPTION_SECTION || o->type == OPTION_REFUSED || o->fallback || o->absent || o->required,
                          "%s: what holds when it is absent?", o->path);
                for (size_t j = 0; j < i; j++)
                        cr_assert_str_neq(options[j].path, o->path);
        }
}

Test(options, finds_rows_by_scope)
{
        cr_assert_str_eq(options_find("", SPAN("kafka"))->path, "kafka");
        cr_assert_str_eq(options_find("kafka", SPAN("prefix"))->path, "kafka.prefix");
        cr_assert_str_eq(options_find("models[].price", SPAN("input_per_mtok"))->path, "models[].price.input_per_mtok");
        cr_assert_null(options_find("", SPAN("prefix")));
        cr_assert_null(options_find("", SPAN("kafka.prefix")));
        cr_assert_null(options_find("kafka", SPAN("")));
        cr_assert_null(options_find("models", SPAN("name")));
}

Test(options, measures_distances)
{
        cr_assert_eq(options_distance(SPAN("kitten"), SPAN("sitting")), 3);
        cr_assert_eq(options_distance(SPAN("borkers"), SPAN("brokers")), 1);
        cr_assert_eq(options_distance(SPAN(""), SPAN("abc")), 3);
        cr_assert_eq(options_distance(SPAN("abc"), SPAN("abc")), 0);
        cr_assert_eq(options_distance((struct span){"a", 65}, SPAN("abc")), 255);
}

Test(options, suggests_only_what_is_near)
{
        cr_assert(span_is(options_suggest("worker", SPAN("inflght_max")), "inflight_max"));
        cr_assert_null(options_suggest("worker", SPAN("x")).data);
        cr_assert_null(options_suggest("worker", SPAN("prefix")).data);
}

Test(options, knows_alphabets)
{
        cr_assert(options_spelt("A-Z a-z 0-9 . _ : -", SPAN("aZ09._:-")));
        cr_assert_not(options_spelt("a-z 0-9 _ -", SPAN("a.b")));
        cr_assert_not(options_spelt("a-z 0-9 _ -", SPAN("a b")));
        cr_assert_not(options_spelt("a-z 0-9 _ -", SPAN("A")));
        cr_assert_not(options_spelt("a-z 0-9 _ -", SPAN("\xc3\xa4")));
        cr_assert_not(options_spelt("a-z", SPAN("a\0b")));
        cr_assert(options_spelt("a-z", SPAN("")));
}

/* Where it fails: `build/millrace config-reference > config/REFERENCE.md`. */
Test(reference, committed_file_is_up_to_date)
{
        static char committed[REFERENCE_BYTES_MAX];
        FILE *file = fopen("config/REFERENCE.md", "r");
        AUTO_BUFFER out = {0};
        size_t n;

        cr_assert(file, "run from the repository's root");
        n = fread(committed, 1, sizeof committed, file);
        fclose(file);
        buffer_init(&out, REFERENCE_BYTES_MAX);
        reference_render(&out);
        cr_assert(buffer_ok(&out));
        cr_assert(span_equal(buffer_view(&out), (struct span){committed, n}), "config/REFERENCE.md is out of date");
}

Test(reference, names_every_key)
{
        AUTO_BUFFER out = {0};

        buffer_init(&out, REFERENCE_BYTES_MAX);
        reference_render(&out);
        cr_assert(buffer_ok(&out));
        for (size_t i = 0; i < option_count; i++) {
                char cell[128];

                snprintf(cell, sizeof cell,
                         strpbrk(options[i].path, ".[") || options[i].type != OPTION_SECTION ? "| `%s` |" : "## %s\n",
                         options[i].path);
                cr_assert(strstr(out.data, cell), "%s", options[i].path);
        }
}
