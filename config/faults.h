/* The faults of a configuration, collected rather than met one by one. A message names the key and what it must be; never a value
 * that may be a secret. Bounded: past FAULTS_MAX they are only counted. Not thread-safe. */
#ifndef CONFIG_FAULTS_H
#define CONFIG_FAULTS_H

#include <stddef.h>

#include "config/base/buffer.h"
#include "config/base/span.h"

enum { FAULTS_MAX = 100, FAULT_TEXT_BYTES = 400, FAULTS_FILE_BYTES = 512 };

struct fault {
        unsigned line;               /* from 1; 0: of the file as a whole */
        char text[FAULT_TEXT_BYTES]; /* "worker.inflight_max: must be 1…65536" */
};

struct faults {
        char file[FAULTS_FILE_BYTES]; /* as given to the loader; "" without a file */
        size_t count;                 /* of list */
        size_t dropped;               /* further ones that found no room */
        struct fault list[FAULTS_MAX];
};

void faults_init(struct faults *faults, const char *file);
/* path "" for none. */
void faults_add(struct faults *faults, unsigned line, const char *path, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
/* By line; those of one line stay in their order. */
void faults_sort(struct faults *faults);
static inline size_t faults_total(const struct faults *faults)
{
        return faults->count + faults->dropped;
}
/* One line each, "millrace.yaml:12: worker.inflight_max: must be 1…65536", and how many more there are. */
void faults_print(const struct faults *faults, struct buffer *out);

/* Something foreign made fit for a message: at most 64 bytes, printable ASCII, everything else a "?". */
enum { FAULTS_SHOWN_BYTES = 65 };
const char *faults_show(struct span foreign, char shown[FAULTS_SHOWN_BYTES]);

#endif
