#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "workers/cli/arguments.h"

static int nothing(struct arguments *arguments)
{
        (void)arguments;
        return EXIT_DONE;
}

static const struct argument_row rows[] = {
        {.name = "lane", .type = ARGUMENT_CHOICE, .choices = "interactive bulk", .help = "which lane"},
        {.name = "kinds", .type = ARGUMENT_LIST, .choices = "ingest embed retrieve", .help = "which kinds"},
        {.name = "max", .type = ARGUMENT_INTEGER, .min = 1, .max = 100, .help = "how many"},
        {.name = "rate", .type = ARGUMENT_NUMBER, .min = 0.5, .max = 10, .help = "how fast"},
        {.name = "timeout", .type = ARGUMENT_DURATION, .help = "how long"},
        {.name = "wait", .type = ARGUMENT_WAIT, .help = "wait"},
        {.name = "since", .type = ARGUMENT_TIME, .help = "from when"},
        {.name = "tenant", .type = ARGUMENT_STRING, .min = 1, .max = 5, .help = "whose"},
        {.name = "input", .type = ARGUMENT_STRING, .repeat = true, .help = "a text"},
        {.name = "explain", .type = ARGUMENT_FLAG, .help = "show parts"},
        {.name = "secret", .type = ARGUMENT_FLAG, .help = "not shown", .hidden = true},
};
static const struct command command = {
        .name = "try",
        .summary = "Try.",
        .usage = "KIND",
        .details = "More.\n",
        .example = "  millrace try x\n",
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .words_min = 1,
        .words_max = 2,
        .run = nothing,
};

static struct arguments arguments;
static char complaint[4096];

/* Reads a blank-separated command line; the complaint lies in complaint[]. */
static int read_line(const char *line)
{
        static char copy[1024];
        char *argv[64] = {NULL}, *at = copy;
        FILE *out = fmemopen(complaint, sizeof complaint, "w");
        int argc = 0, rc;

        snprintf(copy, sizeof copy, "%s", line);
        while (at && argc < 63) {
                argv[argc++] = at;
                at = strchr(at, ' ');
                if (at)
                        *at++ = '\0';
        }
        memset(complaint, 0, sizeof complaint);
        rc = arguments_read(&arguments, "millrace", &command, argc, argv, out);
        fclose(out);
        return rc;
}

Test(cli_arguments, reads_each_type)
{
        cr_assert_eq(
                read_line("try embed --lane bulk --kinds embed,retrieve --max 7 --rate=0.5 --timeout 5m --tenant acme --explain"),
                0, "%s", complaint);
        cr_assert_eq(argument_integer(&arguments, "lane", -1), 1);
        cr_assert_eq(argument_integer(&arguments, "kinds", 0), 6);
        cr_assert_eq(argument_integer(&arguments, "max", 0), 7);
        cr_assert_eq(argument_number(&arguments, "rate", 0), 0.5);
        cr_assert_eq(argument_integer(&arguments, "timeout", 0), 300000);
        cr_assert_str_eq(argument_string(&arguments, "tenant"), "acme");
        cr_assert(argument_given(&arguments, "explain"));
        cr_assert_not(argument_given(&arguments, "json"));
        cr_assert_eq(argument_integer(&arguments, "wait", 42), 42);
        cr_assert_eq(arguments.word_count, 1);
        cr_assert_str_eq(arguments.words[0], "embed");
}

Test(cli_arguments, takes_a_wait_with_and_without_time)
{
        cr_assert_eq(read_line("try --wait embed"), 0);
        cr_assert(argument_given(&arguments, "wait"));
        cr_assert_null(argument_string(&arguments, "wait"));
        cr_assert_eq(argument_integer(&arguments, "wait", 30000), 30000);
        cr_assert_str_eq(arguments.words[0], "embed");
        cr_assert_eq(read_line("try embed --wait 10s"), 0);
        cr_assert_eq(argument_integer(&arguments, "wait", 0), 10000);
        cr_assert_eq(arguments.word_count, 1);
        cr_assert_eq(read_line("try embed --wait=250ms"), 0);
        cr_assert_eq(argument_integer(&arguments, "wait", 0), 250);
}

Test(cli_arguments, reads_times_and_how_long_ago)
{
        clock_fake(0, 1763632800000);
        cr_assert_eq(read_line("try x --since 2025-11-20T10:00:00Z"), 0);
        cr_assert_eq(argument_integer(&arguments, "since", 0), 1763632800000);
        cr_assert_eq(read_line("try x --since 2h"), 0);
        cr_assert_eq(argument_integer(&arguments, "since", 0), 1763632800000 - 7200000);
        clock_fake(-1, -1);
}

Test(cli_arguments, keeps_all_values_of_a_repeated_option)
{
        cr_assert_eq(read_line("try x --input one --input two"), 0);
        cr_assert_str_eq(argument_value_at(&arguments, "input", 0)->text, "one");
        cr_assert_str_eq(argument_value_at(&arguments, "input", 1)->text, "two");
        cr_assert_null(argument_value_at(&arguments, "input", 2));
}

Test(cli_arguments, says_what_was_probably_meant)
{
        cr_assert_eq(read_line("try x --tennant acme"), -1);
        cr_assert(strstr(complaint, "unknown option --tennant; did you mean --tenant?"), "%s", complaint);
        cr_assert(strstr(complaint, "See millrace try --help"));
        cr_assert_eq(read_line("try x --qqqqqqq"), -1);
        cr_assert_not(strstr(complaint, "did you mean"), "%s", complaint);
}

Test(cli_arguments, refuses_what_is_out_of_bounds_or_no_value)
{
        static const struct {
                const char *line, *says;
        } cases[] = {
                {"try x --max 101", "--max: must be from 1 to 100"},
                {"try x --max seven", "--max wants a whole number"},
                {"try x --max 7x", "--max wants a whole number"},
                {"try x --rate nan", "--rate wants a number"},
                {"try x --timeout soon", "--timeout wants a duration"},
                {"try x --lane fast", "--lane wants one of: interactive bulk"},
                {"try x --kinds embed,", "--kinds wants a comma-separated list"},
                {"try x --tenant toolong", "--tenant: must have 1 to 5 bytes"},
                {"try x --tenant a --tenant b", "--tenant is given twice"},
                {"try x --explain=yes", "--explain takes no value"},
                {"try x --max", "--max wants a value"},
                {"try x --tenant --json", "--tenant wants a value"},
                {"try", "something is missing"},
                {"try a b c", "one word too many"},
                {"try x -v", "unknown option -"},
        };

        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                cr_assert_eq(read_line(cases[i].line), -1, "%s", cases[i].line);
                cr_assert(strstr(complaint, cases[i].says), "%s: %s", cases[i].line, complaint);
        }
}

Test(cli_arguments, a_hostile_word_does_not_reach_the_terminal)
{
        cr_assert_eq(read_line("try x --\033[31mred"), -1);
        cr_assert_null(strchr(complaint, '\033'));
        cr_assert(strstr(complaint, "\\x1b[31mred"), "%s", complaint);
}

Test(cli_arguments, help_lists_every_row_but_hidden_ones)
{
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        cr_assert_eq(read_line("try --help --nonsense"), 0);
        cr_assert(arguments.help);
        arguments_help(&arguments, out);
        fclose(out);
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
                char option[64];

                snprintf(option, sizeof option, "--%s", rows[i].name);
                cr_assert_eq(strstr(text, option) != NULL, !rows[i].hidden, "%s", option);
        }
        cr_assert(strstr(text, "--config FILE"));
        cr_assert(strstr(text, "(interactive bulk)"));
        cr_assert(strstr(text, "Exit status"));
        free(text);
}

Test(cli_arguments, words_behind_two_dashes_are_no_options)
{
        cr_assert_eq(read_line("try -- --explain --help"), 0, "%s", complaint);
        cr_assert_str_eq(arguments.words[0], "--explain");
        cr_assert_str_eq(arguments.words[1], "--help");
}
