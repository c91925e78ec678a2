/* From a YAML file to settings. Every fault is collected, with its line; settings come only without any. */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H

#include "config/base/span.h"
#include "config/faults.h"
#include "config/settings.h"

/* path NULL: the built-in defaults. faults is initialised here and sorted by line. Settings with one reference, or NULL with at
 * least one fault. Reads the environment and files for ${env:…} and ${file:…}. Not for several threads at a time. */
struct settings *settings_load(const char *path, struct faults *faults);
static inline struct settings *settings_default(struct faults *faults)
{
        return settings_load(NULL, faults);
}

/* The same of a text in memory, borrowed for the call; file names it in messages, and its folder is the settings'. */
struct settings *settings_load_text(struct span text, const char *file, struct faults *faults);

#endif
