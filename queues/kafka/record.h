/* One Kafka record as this room hands it out: borrowed views into the message that librdkafka keeps. */
#ifndef QUEUES_KAFKA_RECORD_H
#define QUEUES_KAFKA_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/span.h"

struct source;

/* key, value: data NULL = null (a tombstone's value), len 0 with data = empty. All spans and `topic` live as long as the record:
 * from a source until source_done() or source_drop(); elsewhere only during the callback that shows it. */
struct record {
        const char *topic;
        struct span key, value;
        int64_t offset;
        int64_t timestamp_ms; /* the record's own (create or append time), -1 = it has none */
        uint64_t generation;  /* of the partition's assignment; sources only */
        int32_t partition;
        struct source *source; /* NULL where not from a source */
        void *message;         /* this room's */
        void *place;           /* this room's */
        struct record *next;   /* this room's while it is parked; the receiver's while it holds the record */
        struct record *prev;   /* likewise */
};

/* The value of the last header of that name. False: there is none; a null value comes as data NULL. */
bool record_header(const struct record *record, const char *name, struct span *ret_value);

/* Header number `index` (from 0, in the record's order); false past the end. At most RECORD_HEADERS_MAX are shown. */
enum { RECORD_HEADERS_MAX = 256 };
bool record_header_at(const struct record *record, size_t index, const char **ret_name, struct span *ret_value);

#endif
