/* What a job publishes: the lines of a file, or the files of a folder, always in the same order, with a running digest over all that was
 * handed out, so that a job that goes on later can tell that it reads the same. One thread; blocks on the disk.
 * Invariant: in memory is one item, and the names of the folders on the way to it. */
#ifndef WORKERS_JOBS_JOB_INPUT_H
#define WORKERS_JOBS_JOB_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/buffer.h"
#include "config/base/digest.h"
#include "config/base/error.h"
#include "config/base/span.h"

struct job_input;

struct job_item {
        int64_t number;      /* of the line, blank ones counted; of the file among the folder's; from 1 */
        const char *name;    /* the file's path below the folder; NULL: a line */
        struct span content; /* until the next call */
        bool too_large;      /* content is its beginning only */
};

enum { JOB_FOLDER_DEPTH_MAX = 32, JOB_FOLDER_ENTRIES_MAX = 1000000, JOB_DOCUMENT_ID_BYTES = 257 };

/* A regular file of lines, or a folder: regular files below it, hidden ones and links passed over, by name. bytes_max: of an item. */
struct job_input *job_input_open(const char *path, bool folder, size_t bytes_max, struct error *err);
void job_input_close(struct job_input *input); /* NULL is fine */

/* 1: an item (blank lines are passed over); 0: the end; -1: a fault of the disk. */
int job_input_next(struct job_input *input, struct job_item *ret_item, struct error *err);
/* How many items a new pass would give; the input itself stays where it is. */
int job_input_count(const struct job_input *input, int64_t *ret_count, struct error *err);

int64_t job_input_bytes(const struct job_input *input); /* the file's size at the opening; 0 for a folder */
/* Over the names and contents of all items handed out so far. */
const char *job_input_digest(const struct job_input *input); /* [SHA256_HEX_BYTES] */

/* A file as a bare document, {"id", "title", "text", "format", "metadata"}: id from its path, format by its ending. Appended. */
void job_document(struct buffer *out, const struct job_item *item);
/* A path in the alphabet of document ids: "/" becomes ":"; where anything else had to change or go, a digest is added, so that no two
 * paths have the same. Pure. */
void job_document_id(const char *path, char ret_id[JOB_DOCUMENT_ID_BYTES]);

#endif
