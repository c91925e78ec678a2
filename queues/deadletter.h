/* A dead letter (contract §5): the original key, value and headers, plus mr-dlq-… headers that say what happened. Pure. */
#ifndef QUEUES_DEADLETTER_H
#define QUEUES_DEADLETTER_H

#include "queues/envelope.h"

struct deadletter {
        struct error err;
        int attempts, replays;
        size_t step;
        int64_t first_failed_wall_ms, failed_wall_ms;
        const char *worker;
        const char *omitted; /* what had to be left out: "value", "headers", "key" and a reason; NULL: nothing */
};

/* The letter's headers: the producer's own, then the letter's. From the arena; NULL when it is full. */
struct header *deadletter_headers(const struct delivery *delivery, const struct request *request, const struct deadletter *letter,
                                  struct arena *arena, size_t *ret_count);

#endif
