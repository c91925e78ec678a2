/* The configuration reference, rendered from the table of options. config/REFERENCE.md is this, committed; a test compares them. */
#ifndef CONFIG_REFERENCE_H
#define CONFIG_REFERENCE_H

#include "config/base/buffer.h"

enum { REFERENCE_BYTES_MAX = 131072 };

/* Appends Markdown. */
void reference_render(struct buffer *out);

#endif
