/* What only a broker gives, in this process: topics, sources, the producer, index readers. The linker's --wrap puts these in place of
 * queues/kafka's functions; nothing else of the worker knows. All of it on the loop thread, in turns: broker_turn() acknowledges what was
 * sent before, and hands out records. Its own memory never fails.
 *
 * It is also the judge of a record's end: on_end tells how each came back. */
#ifndef TESTS_TORTURE_FAKE_BROKER_H
#define TESTS_TORTURE_FAKE_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/span.h"

enum { MESSAGE_HEADERS_MAX = 64 };

struct message_header {
        char *name;
        struct span value;
};

struct message {
        struct message *next; /* of its topic, by offset */
        const char *topic;
        int32_t partition;
        int64_t offset, timestamp_ms;
        struct span key, value; /* data NULL: null */
        struct message_header headers[MESSAGE_HEADERS_MAX];
        size_t header_count;
        bool acked;  /* to its producer */
        bool shown;  /* is with the worker now */
        bool ended;  /* source_done */
        int dropped; /* source_drop, how often */
};

/* The record came back to its source: done, or dropped. */
void broker_watch(void (*on_end)(void *user, struct message *message, bool done), void *user);

/* Appends to a topic as a producer would; acknowledged at once. headers: name, value, …, NULL; or NULL. Returns it. */
struct message *broker_publish(const char *topic, struct span key, struct span value, const char *const *headers);
/* Call once a loop turn; false: nothing happened. */
bool broker_turn(void);
/* A reader of index topics gets nothing meanwhile. */
void broker_hold_index(bool hold);
/* Have all index readers read all there is? */
bool broker_index_read(void);

/* Iterates over a topic's messages, from NULL on; NULL behind the last. */
struct message *broker_next(const char *topic, struct message *after);
struct span message_header_of(const struct message *message, const char *name); /* data NULL: none */
size_t broker_sent(void);        /* records not acknowledged yet */
size_t broker_outstanding(void); /* records with the worker */

/* Forgets everything. No source, producer or reader may be open. */
void broker_reset(void);

struct producer *broker_producer(void);

#endif
