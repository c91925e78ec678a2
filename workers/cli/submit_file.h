/* Publishing a file of requests, a line each, with bounded memory, and following them until they have ended. */
#ifndef WORKERS_CLI_SUBMIT_FILE_H
#define WORKERS_CLI_SUBMIT_FILE_H

#include "config/settings.h"
#include "workers/cli/arguments.h"

/* path "-": standard input. Returns an enum exit_status. */
int submit_file(const struct arguments *arguments, enum kind kind, enum lane lane, struct settings *settings, const char *path);

#endif
