/* What Redis Cluster's clients must know by heart: which of the 16,384 slots a key lies in, and what a redirection says. Pure. */
#ifndef QUEUES_REDIS_REDIS_SLOTS_H
#define QUEUES_REDIS_REDIS_SLOTS_H

#include <stdbool.h>

#include "config/base/span.h"
#include "queues/redis/redis_address.h"

enum { SLOT_COUNT = 16384 };

/* 0…SLOT_COUNT − 1: CRC16 (XMODEM) of what stands between the key's first { and the next }, if any; else of all. */
unsigned slot_of(struct span key);

struct redirect {
        bool ask; /* this command only, after ASKING; else (MOVED) the slot has a new home */
        unsigned slot;
        char host[ADDRESS_HOST_MAX + 1]; /* "": that of the node which said so */
        int port;
};
/* From an error reply, "MOVED 3999 127.0.0.1:6381". −1: it is no redirection, or a broken one; *ret_redirect is untouched. */
int redirect_parse(struct span error, struct redirect *ret_redirect);

#endif
