/* How settings come to be: memory that belongs to them. For config/load and its helpers only. */
#ifndef CONFIG_SETTINGS_BUILD_H
#define CONFIG_SETTINGS_BUILD_H

#include "config/base/span.h"
#include "config/settings.h"

/* Empty, one reference; NULL when memory is out. */
struct settings *settings_new(void);

/* Zeroed memory that is wiped and freed with the settings; NULL when memory is out. Zero bytes give a valid pointer. */
void *settings_alloc(struct settings *settings, size_t bytes);
/* A NUL-terminated copy. */
char *settings_copy(struct settings *settings, struct span s);

#endif
