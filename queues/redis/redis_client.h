/* A small blocking Redis client for the command line: reads results, from one server, a cluster or the master that Sentinel names.
 * Not for the worker: it blocks. One thread at a time. */
#ifndef QUEUES_REDIS_REDIS_CLIENT_H
#define QUEUES_REDIS_REDIS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "config/base/buffer.h"
#include "config/base/error.h"
#include "config/base/span.h"
#include "config/settings.h"

struct redis_client;

/* Connects and greets, waiting settings.redis.timeout_ms at most for each server that is tried: one, or each sentinel and the
 * master, or the URL's node of a cluster. Takes a reference of settings. NULL: dependency.connect, .auth, .timeout, .unavailable
 * (no master); data.schema for a faulty URL. */
struct redis_client *redis_client_new(struct settings *settings, struct error *err);
void redis_client_free(struct redis_client *client); /* NULL is fine */

/* A request's result, appended to json; *ret_found false: none yet. A lost connection is made anew once. */
int redis_client_result(struct redis_client *client, struct span tenant, struct span id, struct buffer *json, bool *ret_found,
                        struct error *err);
/* The same, asking again (every 5…100 ms) until there is one or clock_now_ms() passes deadline. A server that goes away meanwhile
 * is tried again until the deadline too. */
int redis_client_wait(struct redis_client *client, struct span tenant, struct span id, int64_t deadline, struct buffer *json,
                      bool *ret_found, struct error *err);

/* A request's claim (claims.h) as it lies there: read, not taken. Texts are cut to their room; what is missing is "" and 0. */
struct redis_claim {
        char holder[129], status[16];
        int64_t lease_wall_ms; /* Unix ms by the server's clock; 0: nobody holds it */
        int64_t fence, attempts, replays;
};
int redis_client_claim(struct redis_client *client, struct span tenant, struct span id, struct redis_claim *ret_claim,
                       bool *ret_found, struct error *err);

/* The server's (in a cluster: each master's) maxmemory-policy is noeviction and it answers: 0. Else −1 with the reason. */
int redis_client_check(struct redis_client *client, struct error *err);

#endif
