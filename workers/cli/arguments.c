/* Options come in three steps: getopt_long splits the words, the row's type reads the value, the bounds are checked.
 * Failure modes: each ends in one message that names the option and, where one is near, the option that was meant. */
#include "workers/cli/arguments.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "config/base/span.h"
#include "workers/cli/terminal.h"

enum { NAME_MAX_BYTES = 48, HELP_COLUMN = 28, HELP_WIDTH = 100, ROW_BASE = 1000, MESSAGE_BYTES = 2048 };

static const struct argument_row common_rows[] = {
        {.name = "config",
         .type = ARGUMENT_STRING,
         .value = "FILE",
         .help = "configuration (default ./millrace.yaml where it exists)"},
        {.name = "data-dir",
         .type = ARGUMENT_STRING,
         .value = "DIR",
         .help = "where local state lies, instead of the configuration's data_dir"},
        {.name = "json", .type = ARGUMENT_FLAG, .help = "print JSON instead of text for people"},
        {.name = "help", .type = ARGUMENT_FLAG, .help = "this text"},
};

static size_t smallest(size_t a, size_t b, size_t c)
{
        size_t m = a < b ? a : b;

        return m < c ? m : c;
}

static size_t edit_distance(const char *a, const char *b)
{
        size_t row[NAME_MAX_BYTES + 1], diagonal, above;
        const size_t a_len = strnlen(a, NAME_MAX_BYTES), b_len = strnlen(b, NAME_MAX_BYTES);

        for (size_t j = 0; j <= b_len; j++)
                row[j] = j;
        for (size_t i = 1; i <= a_len; i++) {
                diagonal = row[0];
                row[0] = i;
                for (size_t j = 1; j <= b_len; j++) {
                        above = row[j];
                        row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
                        diagonal = above;
                }
        }
        return row[b_len];
}

const char *argument_nearest(const char *word, const char *const *names, size_t count)
{
        const char *best = NULL;
        size_t best_distance = strlen(word) / 2 < 3 ? strlen(word) / 2 + 1 : 4, distance;

        for (size_t i = 0; i < count; i++) {
                distance = edit_distance(word, names[i]);
                if (strlen(word) >= 3 && strncmp(names[i], word, strlen(word)) == 0)
                        distance = 0;
                if (distance < best_distance) {
                        best_distance = distance;
                        best = names[i];
                }
        }
        return best;
}

static int complain_about(const struct arguments *arguments, FILE *complain, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* "millrace submit: …"; what the message quotes of files, headers and other hostile places is made harmless. */
static void print_message(const struct arguments *arguments, FILE *out, const char *format, va_list args)
        __attribute__((format(printf, 3, 0)));

static void print_message(const struct arguments *arguments, FILE *out, const char *format, va_list args)
{
        char message[MESSAGE_BYTES];
        AUTO_BUFFER shown = {0};

        vsnprintf(message, sizeof message, format, args);
        buffer_init(&shown, 5 * sizeof message);
        terminal_line(&shown, span_of(message), 0);
        fprintf(out, "%s %s: %s\n", arguments->program, arguments->command->name, shown.data ? shown.data : "");
}

static int complain_about(const struct arguments *arguments, FILE *complain, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        print_message(arguments, complain, format, args);
        va_end(args);
        fprintf(complain, "See %s %s --help\n", arguments->program, arguments->command->name);
        return -1;
}

int argument_fail(const struct arguments *arguments, enum exit_status status, const char *format, ...)
{
        va_list args;

        fflush(stdout);
        va_start(args, format);
        print_message(arguments, stderr, format, args);
        va_end(args);
        return status;
}

/* The place of text[0…len) in a list of names separated by blanks; -1: not there. */
static int choice_of(const char *choices, const char *text, size_t len)
{
        const char *at = choices;
        size_t n;

        for (int i = 0; *at; i++) {
                n = strcspn(at, " ");
                if (n == len && strncmp(at, text, len) == 0)
                        return i;
                at += n + strspn(at + n, " ");
        }
        return -1;
}

static bool read_list(const struct argument_row *row, const char *text, int64_t *ret)
{
        int64_t mask = 0;
        int choice;
        size_t len;

        for (const char *at = text;; at += len + 1) {
                len = strcspn(at, ",");
                choice = choice_of(row->choices, at, len);
                if (choice < 0 || choice > 62)
                        return false;
                mask |= INT64_C(1) << choice;
                if (!at[len])
                        break;
        }
        *ret = mask;
        return true;
}

static bool read_time(const char *text, int64_t *ret)
{
        int64_t back;

        if (clock_parse_rfc3339(span_of(text), true, ret))
                return true;
        if (!clock_parse_duration(span_of(text), &back))
                return false;
        *ret = clock_wall_ms() - back;
        return true;
}

static bool read_by_type(struct argument_value *value)
{
        const struct argument_row *row = value->row;
        char *end;

        errno = 0;
        switch (row->type) {
        case ARGUMENT_INTEGER:
                value->integer = strtoll(value->text, &end, 10);
                value->number = (double)value->integer;
                return end != value->text && !*end && errno == 0;
        case ARGUMENT_NUMBER:
                value->number = strtod(value->text, &end);
                return end != value->text && !*end && isfinite(value->number);
        case ARGUMENT_DURATION:
        case ARGUMENT_WAIT:
                if (!clock_parse_duration(span_of(value->text), &value->integer))
                        return false;
                value->number = (double)value->integer;
                return true;
        case ARGUMENT_TIME:
                return read_time(value->text, &value->integer);
        case ARGUMENT_CHOICE:
                value->integer = choice_of(row->choices, value->text, strlen(value->text));
                return value->integer >= 0;
        case ARGUMENT_LIST:
                return read_list(row, value->text, &value->integer);
        case ARGUMENT_STRING:
                value->number = (double)strlen(value->text);
                return true;
        case ARGUMENT_JSON:
        case ARGUMENT_FLAG:
                return true;
        }
        return false;
}

static const char *type_wants(const struct argument_row *row)
{
        switch (row->type) {
        case ARGUMENT_INTEGER:
                return "a whole number";
        case ARGUMENT_NUMBER:
                return "a number";
        case ARGUMENT_DURATION:
        case ARGUMENT_WAIT:
                return "a duration such as 500ms, 10s, 5m, 1h";
        case ARGUMENT_TIME:
                return "a time: 2026-11-20T10:00:00Z, 2026-11-20, or how long ago, such as 2h";
        case ARGUMENT_CHOICE:
                return "one of: ";
        case ARGUMENT_LIST:
                return "a comma-separated list of: ";
        case ARGUMENT_FLAG:
        case ARGUMENT_STRING:
        case ARGUMENT_JSON:
                break;
        }
        return "text";
}

static int take_value(struct arguments *arguments, const struct argument_row *row, const char *text, FILE *complain)
{
        struct argument_value *value;

        if (arguments->value_count == ARGUMENT_VALUES_MAX)
                return complain_about(arguments, complain, "more than %d options", ARGUMENT_VALUES_MAX);
        if (!row->repeat && argument_given(arguments, row->name))
                return complain_about(arguments, complain, "--%s is given twice", row->name);
        value = &arguments->values[arguments->value_count];
        *value = (struct argument_value){.row = row, .text = text};
        if (text && !read_by_type(value))
                return complain_about(arguments, complain, "--%s wants %s%s", row->name, type_wants(row),
                                      row->choices ? row->choices : "");
        if (text && (row->min != 0 || row->max != 0) && (value->number < row->min || value->number > row->max))
                return complain_about(arguments, complain,
                                      row->type == ARGUMENT_STRING ? "--%s: must have %.10g to %.10g bytes"
                                                                   : "--%s: must be from %.10g to %.10g",
                                      row->name, row->min, row->max);
        arguments->value_count++;
        return 0;
}

static int refuse_option(const struct arguments *arguments, const char *word, FILE *complain)
{
        const char *names[ARGUMENT_OPTIONS_MAX], *near;
        char name[NAME_MAX_BYTES];
        const size_t len = strcspn(word + (word[1] == '-' ? 2 : 1), "=");

        snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), word + (word[1] == '-' ? 2 : 1));
        for (size_t i = 0; i < arguments->row_count; i++)
                names[i] = arguments->rows[i]->name;
        near = argument_nearest(name, names, arguments->row_count);
        if (near && strcmp(near, name) == 0 && word[1] == '-')
                return complain_about(arguments, complain, "--%s takes no value", name);
        if (near)
                return complain_about(arguments, complain, "unknown option %s%s; did you mean --%s?", word[1] == '-' ? "--" : "-",
                                      name, near);
        return complain_about(arguments, complain, "unknown option %s%s", word[1] == '-' ? "--" : "-", name);
}

static void gather_rows(struct arguments *arguments, struct option *options)
{
        const struct command *command = arguments->command;

        assert(command->row_count + COUNT_OF(common_rows) <= ARGUMENT_OPTIONS_MAX);
        for (size_t i = 0; i < command->row_count; i++)
                arguments->rows[arguments->row_count++] = &command->rows[i];
        for (size_t i = 0; i < COUNT_OF(common_rows); i++)
                arguments->rows[arguments->row_count++] = &common_rows[i];
        for (size_t i = 0; i < arguments->row_count; i++) {
                const enum argument_type type = arguments->rows[i]->type;

                options[i] = (struct option){.name = arguments->rows[i]->name, .val = ROW_BASE + (int)i};
                options[i].has_arg = type == ARGUMENT_FLAG ? no_argument
                                   : type == ARGUMENT_WAIT ? optional_argument
                                                           : required_argument;
        }
        options[arguments->row_count] = (struct option){0};
}

static int take_words(struct arguments *arguments, int argc, char **argv, FILE *complain)
{
        const struct command *command = arguments->command;

        for (int i = optind; i < argc; i++) {
                if (arguments->word_count == command->words_max || arguments->word_count == ARGUMENT_WORDS_MAX)
                        return complain_about(arguments, complain, "one word too many; usage: %s %s %s", arguments->program,
                                              command->name, command->usage);
                arguments->words[arguments->word_count++] = argv[i];
        }
        if (arguments->word_count < command->words_min)
                return complain_about(arguments, complain, "something is missing; usage: %s %s %s", arguments->program,
                                      command->name, command->usage);
        return 0;
}

int arguments_read(struct arguments *ret, const char *program, const struct command *command, int argc, char **argv, FILE *complain)
{
        struct option options[ARGUMENT_OPTIONS_MAX + 1];
        const struct argument_row *row;
        int64_t ignored;
        int got;

        *ret = (struct arguments){.command = command, .program = program};
        gather_rows(ret, options);
        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
                if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
                        ret->help = true;
                        return 0;
                }
        optind = 0;
        opterr = 0;
        while ((got = getopt_long(argc, argv, ":", options, NULL)) != -1) {
                if (got == ':')
                        return complain_about(ret, complain, "%s wants a value", argv[optind - 1]);
                if (got < ROW_BASE)
                        return refuse_option(ret, argv[optind - 1], complain);
                row = ret->rows[got - ROW_BASE];
                if (optarg && optarg == argv[optind - 1] && strncmp(optarg, "--", 2) == 0 && argument_known(ret, optarg + 2))
                        return complain_about(ret, complain, "--%s wants a value; to give it that one write --%s=%s", row->name,
                                              row->name, optarg);
                if (row->type == ARGUMENT_WAIT && !optarg && optind < argc && clock_parse_duration(span_of(argv[optind]), &ignored))
                        optarg = argv[optind++];
                if (take_value(ret, row, optarg, complain) < 0)
                        return -1;
        }
        return take_words(ret, argc, argv, complain);
}

static const char *value_name(const struct argument_row *row)
{
        static const char *const names[] = {
                [ARGUMENT_FLAG] = "",         [ARGUMENT_STRING] = "TEXT", [ARGUMENT_INTEGER] = "N", [ARGUMENT_NUMBER] = "X",
                [ARGUMENT_DURATION] = "TIME", [ARGUMENT_WAIT] = "TIME",   [ARGUMENT_TIME] = "WHEN", [ARGUMENT_CHOICE] = "NAME",
                [ARGUMENT_LIST] = "A,B",      [ARGUMENT_JSON] = "JSON",
        };

        return row->value ? row->value : names[row->type];
}

/* text, broken between words at HELP_WIDTH, further lines indented. */
static void help_text(const char *text, int column, FILE *out)
{
        int at = column;

        while (*text) {
                const int len = (int)strcspn(text, " ");

                if (at > column && at + 1 + len > HELP_WIDTH) {
                        fprintf(out, "\n%*s", column, "");
                        at = column;
                }
                at += fprintf(out, "%s%.*s", at > column ? " " : "", len, text);
                text += len;
                text += strspn(text, " ");
        }
        fputc('\n', out);
}

static void help_row(const struct argument_row *row, FILE *out)
{
        char left[128];
        int n;

        if (row->type == ARGUMENT_FLAG)
                n = snprintf(left, sizeof left, "  --%s", row->name);
        else if (row->type == ARGUMENT_WAIT)
                n = snprintf(left, sizeof left, "  --%s[=%s]", row->name, value_name(row));
        else
                n = snprintf(left, sizeof left, "  --%s %s", row->name, value_name(row));
        fputs(left, out);
        if (n > HELP_COLUMN - 2)
                fprintf(out, "\n%*s", HELP_COLUMN, "");
        else
                fprintf(out, "%*s", HELP_COLUMN - n, "");
        if (row->choices) {
                char with_choices[512];

                snprintf(with_choices, sizeof with_choices, "%s (%s)", row->help, row->choices);
                help_text(with_choices, HELP_COLUMN, out);
        } else {
                help_text(row->help, HELP_COLUMN, out);
        }
}

void arguments_help(const struct arguments *arguments, FILE *out)
{
        const struct command *command = arguments->command;

        fprintf(out, "usage: %s %s %s\n\n%s\n", arguments->program, command->name, command->usage, command->summary);
        if (command->details && *command->details)
                fprintf(out, "\n%s", command->details);
        fprintf(out, "\nOptions\n");
        for (size_t i = 0; i < arguments->row_count; i++)
                if (!arguments->rows[i]->hidden)
                        help_row(arguments->rows[i], out);
        if (command->example && *command->example)
                fprintf(out, "\nExample\n%s", command->example);
        fprintf(out, "\nExit status: 0 done, 1 failed, 2 wrong usage or faulty configuration, 3 no result yet.\n");
}

bool argument_known(const struct arguments *arguments, const char *name)
{
        for (size_t i = 0; i < arguments->row_count; i++)
                if (strcmp(arguments->rows[i]->name, name) == 0)
                        return true;
        return false;
}

static const struct argument_value *last_value(const struct arguments *arguments, const char *name)
{
        assert(argument_known(arguments, name));
        for (size_t i = arguments->value_count; i > 0; i--)
                if (strcmp(arguments->values[i - 1].row->name, name) == 0)
                        return &arguments->values[i - 1];
        return NULL;
}

bool argument_given(const struct arguments *arguments, const char *name)
{
        return last_value(arguments, name) != NULL;
}

const char *argument_string(const struct arguments *arguments, const char *name)
{
        const struct argument_value *value = last_value(arguments, name);

        return value ? value->text : NULL;
}

int64_t argument_integer(const struct arguments *arguments, const char *name, int64_t otherwise)
{
        const struct argument_value *value = last_value(arguments, name);

        return value && value->text ? value->integer : otherwise;
}

double argument_number(const struct arguments *arguments, const char *name, double otherwise)
{
        const struct argument_value *value = last_value(arguments, name);

        return value && value->text ? value->number : otherwise;
}

const struct argument_value *argument_value_at(const struct arguments *arguments, const char *name, size_t index)
{
        assert(argument_known(arguments, name));
        for (size_t i = 0; i < arguments->value_count; i++)
                if (strcmp(arguments->values[i].row->name, name) == 0 && index-- == 0)
                        return &arguments->values[i];
        return NULL;
}
