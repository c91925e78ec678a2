/* A command line, read by a table: one row an option (name, type, bounds, help). What is wrong is said with what was probably
 * meant, and the help text comes from the same rows. Pure but for what it prints; not thread-safe (getopt_long keeps its state in
 * globals). */
#ifndef WORKERS_CLI_ARGUMENTS_H
#define WORKERS_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum exit_status {
        EXIT_DONE = 0,
        EXIT_FAILED = 1,
        EXIT_USAGE = 2,     /* wrong usage, faulty configuration */
        EXIT_NO_RESULT = 3, /* no result yet */
};

enum {
        ARGUMENT_OPTIONS_MAX = 64,  /* of one command, the common ones included */
        ARGUMENT_VALUES_MAX = 1024, /* all options given together */
        ARGUMENT_WORDS_MAX = 16,
};

enum argument_type {
        ARGUMENT_FLAG,     /* no value */
        ARGUMENT_STRING,   /* min…max bytes where max > 0 */
        ARGUMENT_INTEGER,  /* min…max */
        ARGUMENT_NUMBER,   /* min…max */
        ARGUMENT_DURATION, /* "10s" "5m"; min…max in ms where max > 0 */
        ARGUMENT_WAIT,     /* a duration that may be left out: --wait, --wait=10s, --wait 10s */
        ARGUMENT_TIME,     /* RFC 3339, YYYY-MM-DD, or a duration back from now: "2h" */
        ARGUMENT_CHOICE,   /* one of `choices` */
        ARGUMENT_LIST,     /* comma-separated, each of `choices` */
        ARGUMENT_JSON,     /* JSON text; checked by who uses it */
};

struct argument_row {
        const char *name;
        enum argument_type type;
        const char *value; /* how help calls it; NULL: by type */
        const char *help;
        double min, max;     /* both 0: unbounded */
        const char *choices; /* separated by blanks */
        bool repeat;         /* may be given several times */
        bool hidden;         /* not in help */
};

struct arguments;

struct command {
        const char *name;
        const char *summary; /* one line for the list of commands */
        const char *usage;   /* what follows the name */
        const char *details; /* paragraphs, ready to print; "" for none */
        const char *example; /* lines, ready to print */
        const struct argument_row *rows;
        size_t row_count;
        size_t words_min, words_max;             /* what is not an option */
        int (*run)(struct arguments *arguments); /* returns an enum exit_status */
        bool hidden;
};

struct arguments {
        const struct command *command;
        const char *program; /* "millrace" */
        const struct argument_row *rows[ARGUMENT_OPTIONS_MAX];
        size_t row_count;
        struct argument_value {
                const struct argument_row *row;
                const char *text; /* NULL: a flag, or --wait alone; borrowed from argv */
                int64_t integer;  /* integers; durations in ms; times in Unix ms; the index of a choice; a list's bit mask */
                double number;
        } values[ARGUMENT_VALUES_MAX];
        size_t value_count;
        const char *words[ARGUMENT_WORDS_MAX]; /* borrowed from argv */
        size_t word_count;
        bool help; /* --help was given: nothing else was checked */
};

/* Reads argv[0…argc) for the command (argv[0] is skipped); argv may be permuted, and must outlive *ret. 0, or -1 with the fault
 * explained on `complain`, one or two lines. */
int arguments_read(struct arguments *ret, const char *program, const struct command *command, int argc, char **argv,
                   FILE *complain);

/* The whole help of a command. */
void arguments_help(const struct arguments *arguments, FILE *out);

/* Has the command's table (or the common rows) such an option? */
bool argument_known(const struct arguments *arguments, const char *name);
/* The name must be a row's. Where an option was given several times the last one counts. */
bool argument_given(const struct arguments *arguments, const char *name);
const char *argument_string(const struct arguments *arguments, const char *name); /* NULL: not given (or --wait alone) */
int64_t argument_integer(const struct arguments *arguments, const char *name, int64_t otherwise);
double argument_number(const struct arguments *arguments, const char *name, double otherwise);
/* The index-th value of an option that may be repeated; NULL past the last. */
const struct argument_value *argument_value_at(const struct arguments *arguments, const char *name, size_t index);

/* "millrace submit: …" on stderr, and the status given, so that `return argument_fail(…)` reads well. */
int argument_fail(const struct arguments *arguments, enum exit_status status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* The name nearest to `word` by edit distance, NULL where none is near. */
const char *argument_nearest(const char *word, const char *const *names, size_t count);

#endif
