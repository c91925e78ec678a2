#include "workers/cli/commands.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "config/base/log.h"
#include "config/base/own.h"

static const char program[] = "millrace";

static const struct argument_row dev_rows[] = {
        {.name = "admin",
         .type = ARGUMENT_STRING,
         .value = "HOST:PORT",
         .min = 1,
         .max = 255,
         .help = "where /health, /ready and /metrics listen (default a free port)"},
};

static const struct command command_dev = {
        .name = "dev",
        .summary = "Try things out: an embedded broker, a private Redis and a worker of all kinds, in one go.",
        .usage = "[--admin HOST:PORT]",
        .details = "Runs until Ctrl-C. Nothing outlives it, but the index on disk where --data-dir names a folder (for millrace "
                   "search). Where it\n"
                   "listens is printed when it is ready; with --json the first line is {\"kafka\": …, \"redis\": …, \"admin\": …}. "
                   "Give these\n"
                   "to other commands as --kafka and --redis.\n",
        .example = "  millrace dev\n"
                   "  millrace submit embed --input 'hello' --wait --kafka 127.0.0.1:40001 --redis redis://127.0.0.1:40002/0\n",
        .rows = dev_rows,
        .row_count = COUNT_OF(dev_rows),
        .run = cli_dev,
};

static const struct command *const commands[] = {
        &command_worker, &command_dev, &command_submit,       &command_result,    &command_cancel,
        &command_search, &command_dlq, &command_job, &command_offsets, &command_check_config, &command_reference,
};

static void print_commands(FILE *out)
{
        fprintf(out, "usage: %s COMMAND [options]\n\nLLM enrichment and retrieval over Kafka and Redis.\n\nCommands\n", program);
        for (size_t i = 0; i < COUNT_OF(commands); i++)
                if (!commands[i]->hidden)
                        fprintf(out, "  %-14s %s\n", commands[i]->name, commands[i]->summary);
        fprintf(out,
                "\n%s COMMAND --help tells more, with an example. Every command takes --config FILE (default ./millrace.yaml\n"
                "where it exists), --data-dir DIR and --json. %s --version says what it is built of.\n\nFirst steps\n"
                "  %s dev                                     an embedded fleet to try things on\n"
                "  %s submit embed --input 'hello' --wait     one request (name dev's servers with --kafka and --redis)\n",
                program, program, program, program);
}

static int refuse_command(const char *word)
{
        const char *names[COUNT_OF(commands)], *near;

        for (size_t i = 0; i < COUNT_OF(commands); i++)
                names[i] = commands[i]->name;
        near = argument_nearest(word, names, COUNT_OF(names));
        if (near)
                fprintf(stderr, "%s: there is no such command; did you mean %s?\n", program, near);
        else
                fprintf(stderr, "%s: there is no such command\n", program);
        fprintf(stderr, "See %s --help\n", program);
        return EXIT_USAGE;
}

static int run_command(const struct command *command, int argc, char **argv)
{
        static struct arguments arguments; /* 40 KB */

        if (arguments_read(&arguments, program, command, argc, argv, stderr) < 0)
                return EXIT_USAGE;
        if (arguments.help) {
                arguments_help(&arguments, stdout);
                return EXIT_DONE;
        }
        return command->run(&arguments);
}

static int dispatch(int argc, char **argv)
{
        const char *word = argc > 1 ? argv[1] : "";

        if (argc < 2) {
                print_commands(stderr);
                return EXIT_USAGE;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (strcmp(word, "help") == 0 && argc == 2)) {
                print_commands(stdout);
                return EXIT_DONE;
        }
        if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
                version_print();
                return EXIT_DONE;
        }
        if (strcmp(word, "help") == 0) { /* help COMMAND */
                static char help[] = "--help";

                word = argv[2];
                argv[1] = help;
        }
        for (size_t i = 0; i < COUNT_OF(commands); i++)
                if (strcmp(commands[i]->name, word) == 0)
                        return strcmp(argv[1], "--help") == 0 ? run_command(commands[i], argc, argv) : run_command(commands[i], argc - 1, argv + 1);
        return refuse_command(word);
}

/* A full disk or a closed pipe must not pass for success. */
int cli_main(int argc, char **argv)
{
        int status;

        setlocale(LC_CTYPE, "C.UTF-8");
        status = dispatch(argc, argv);
        if ((fflush(stdout) != 0 || ferror(stdout)) && status == EXIT_DONE) {
                fprintf(stderr, "%s: standard output could not be written\n", program);
                status = EXIT_FAILED;
        }
        return status;
}
