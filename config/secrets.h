/* ${env:NAME} and ${file:PATH} within a string of the configuration. */
#ifndef CONFIG_SECRETS_H
#define CONFIG_SECRETS_H

#include <stdbool.h>

#include "config/base/buffer.h"
#include "config/base/error.h"
#include "config/base/span.h"

enum { SECRETS_BYTES_MAX = 65536 }; /* of one variable or file */

/* Appends text to out with each ${env:NAME} replaced by the variable's value and each ${file:PATH} by the file's content (a regular
 * file; one newline at its end is dropped; a relative path is relative to the working directory). "$${" stands for "${" as such.
 * What was filled in is not looked at again. *ret_filled: something was. Nothing else in text has a meaning. -1: no such variable
 * or file, too large, a NUL in it, or another word behind "${"; the message names the variable or file, never what they hold. Reads
 * the environment: not while another thread changes it. */
int secrets_fill(struct span text, struct buffer *out, bool *ret_filled, struct error *err);

/* Overwrites what the buffer holds and has held in its present memory. */
void secrets_wipe(struct buffer *buffer);

#endif
