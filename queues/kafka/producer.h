/* The process's one idempotent producer (acks=all), served on the loop. All functions: on the loop thread. */
#ifndef QUEUES_KAFKA_PRODUCER_H
#define QUEUES_KAFKA_PRODUCER_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/completion.h"
#include "config/base/error.h"
#include "config/base/span.h"
#include "config/settings.h"

struct producer;

struct outgoing_header {
        const char *name;
        struct span value; /* data NULL = null */
};

enum { OUTGOING_HEADERS_MAX = 256 };

struct outgoing {
        const char *topic;
        int32_t partition;                     /* -1 = by the key as Java clients do (murmur2); without a key any */
        struct span key, value;                /* data NULL = null; a null value is a tombstone */
        const struct outgoing_header *headers; /* [header_count], at most OUTGOING_HEADERS_MAX */
        size_t header_count;
        int64_t timestamp_ms; /* 0 = now */
};

/* Where an acknowledged record lies. */
struct producer_ack {
        int64_t offset;
        int32_t partition;
};

struct producer *producer_new(struct ev_loop *loop, const struct settings *settings, struct error *err);
/* What is still under way ends with dependency.unavailable. NULL is fine; producer_flush() first. */
void producer_free(struct producer *producer);

/* Copies everything, then returns. op (IDLE, or NULL for fire and forget) becomes BUSY, and DONE on the broker's answer, or even
 * before this returns when the record is refused outright; on_done comes from within in that case. ret_ack (may be NULL) must
 * live as long as op is BUSY. op_abort() detaches: the record may still be written.
 * Errors: data.too_large (this client's or the broker's bound), dependency.unavailable (the queue is full, a retriable fault),
 * dependency.timeout (not acknowledged within 30 s: may be written all the same), dependency.connect, dependency.auth. */
void producer_send(struct producer *producer, struct op *op, const struct outgoing *outgoing, struct producer_ack *ret_ack);

/* Blocks until nothing is under way, or timeout_ms have passed: how many records are left. */
int producer_flush(struct producer *producer, int64_t timeout_ms);

/* Records not yet answered for. */
size_t producer_pending(const struct producer *producer);
/* 0; or -1 and the fault: after a failure until a record is acknowledged or, while none is sent, until some broker answers a
 * question; for ever after a fatal one (the process must be restarted). */
int producer_health(const struct producer *producer, struct error *err);

#endif
