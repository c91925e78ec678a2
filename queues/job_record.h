/* What <prefix>.control says of jobs (contract §1, §6): two records a job, so that an operator's word and the publisher's position never
 * overwrite each other. The newest of a key counts (the topic is compacted). Pure.
 *
 *      job/<tenant>/<job>            its state: what pause, resume and cancel write, and workers and publishers follow
 *      job-position/<tenant>/<job>   how far it is published: written in the very transaction that publishes the records
 */
#ifndef QUEUES_JOB_RECORD_H
#define QUEUES_JOB_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/buffer.h"
#include "config/base/digest.h"
#include "config/base/span.h"
#include "config/settings.h"
#include "queues/envelope.h"

enum {
        JOB_KEY_BYTES = 16 + TENANT_BYTES_MAX + ID_BYTES_MAX,
        JOB_RECORD_BYTES_MAX = 8192,
        JOB_SOURCE_BYTES = 256,
        JOB_BY_BYTES = 128
};

enum job_state { JOB_RUNNING, JOB_PAUSED, JOB_CANCELLED, JOB_STATES };
extern const char *const job_state_names[JOB_STATES]; /* "running" "paused" "cancelled" */

struct job_state_record {
        enum job_state state;
        int64_t at_wall_ms;
        char by[JOB_BY_BYTES]; /* who said so */
};

struct job_position {
        enum kind kind;
        enum lane lane;
        char source[JOB_SOURCE_BYTES]; /* the file's or folder's name, for people */
        bool folder;
        int64_t size;                /* of the file, bytes; of a folder: 0 */
        int64_t total;               /* lines or files there are */
        int64_t at;                  /* lines or files done with: the next one's number is at + 1 */
        int64_t published, refused;  /* of these */
        char hash[SHA256_HEX_BYTES]; /* over the content done with */
        bool complete;
        int64_t started_wall_ms, at_wall_ms;
};

/* The same alphabet and length as an id's. Jobs of other names are neither followed nor counted. */
bool job_valid_name(struct span name);

enum job_record_type { JOB_RECORD_NONE, JOB_RECORD_STATE, JOB_RECORD_POSITION };
/* Into key[JOB_KEY_BYTES], NUL-terminated; tenant and name are valid ones. */
void job_key(char *ret_key, enum job_record_type type, struct span tenant, struct span name);
/* NONE: another key. The spans point into key. */
enum job_record_type job_key_parse(struct span key, struct span *ret_tenant, struct span *ret_name);

void job_state_render(struct buffer *out, const struct job_state_record *record);
void job_position_render(struct buffer *out, const struct job_position *position);
/* False: not such a record, or of a later version; *ret is untouched. */
bool job_state_parse(struct span value, struct job_state_record *ret);
bool job_position_parse(struct span value, struct job_position *ret);

#endif
