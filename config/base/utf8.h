/* UTF-8 checks on hostile input. Pure. */
#ifndef CONFIG_BASE_UTF8_H
#define CONFIG_BASE_UTF8_H

#include <stdbool.h>
#include <stdint.h>

#include "config/base/span.h"

/* Well-formed by RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF. NUL is well-formed here. */
bool utf8_valid(struct span s);
/* Decodes the code point at *at (well-formed text only) and moves *at behind it. */
uint32_t utf8_next(struct span s, size_t *at);
/* The longest prefix of at most bytes_max bytes that ends on a code point boundary. */
size_t utf8_cut(struct span s, size_t bytes_max);

#endif
