/* A result (contract §4) as a person wants to read it: the answer, what it cites, the passages with their ranks, what it cost, how
 * long it took, and what went wrong. Whatever the JSON holds, the terminal is safe (terminal.h), and a member that is missing or of
 * another type is left out. */
#ifndef WORKERS_CLI_SHOW_RESULT_H
#define WORKERS_CLI_SHOW_RESULT_H

#include <jansson.h>

#include "config/base/buffer.h"
#include "workers/cli/arguments.h"
#include "workers/cli/terminal.h"

void show_result(struct buffer *out, const struct terminal *terminal, const json_t *result);
/* The hits of a retrieve's `result` object. */
void show_hits(struct buffer *out, const struct terminal *terminal, const json_t *retrieved);

/* Prints a stored result on stdout, as JSON with --json, and returns the status of its outcome: EXIT_DONE when ok, else
 * EXIT_FAILED. */
int show_stored(const struct arguments *arguments, struct span json);

#endif
