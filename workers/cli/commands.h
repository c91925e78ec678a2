/* The commands of the binary: each one's table row and entry. A new command is one file cli_<name>.c and one row in commands.c. */
#ifndef WORKERS_CLI_COMMANDS_H
#define WORKERS_CLI_COMMANDS_H

#include "workers/cli/arguments.h"

/* The whole program: finds the command, reads its arguments, runs it. Returns the exit status. */
int cli_main(int argc, char **argv);

/* `--version`: this program's version and those of the libraries that are loaded, on stdout. */
void version_print(void);

extern const struct command command_worker, command_submit, command_result, command_cancel, command_search, command_dlq, command_job, command_offsets,
        command_check_config, command_reference;

/* cli_dev.c */
int cli_dev(struct arguments *arguments);

#endif
