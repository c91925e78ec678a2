/* The results of many requests at once, for commands: ids are put in, results come out. Pipelined GETs over one connection and a
 * private loop. Also cancels. One thread; blocks.
 * Invariant: at most RESULTS_BATCH results lie in memory at a time; ids (≤ 200 bytes each) up to outstanding_max. */
#ifndef WORKERS_CLI_RESULTS_CLIENT_H
#define WORKERS_CLI_RESULTS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/base/span.h"
#include "config/settings.h"

enum { RESULTS_BATCH = 128, RESULT_BYTES_MAX = 64 << 20 };

struct results_client;

/* Takes a reference of settings. The connection is made by the first call that needs it. */
struct results_client *results_client_new(struct settings *settings, size_t outstanding_max, struct error *err);
void results_client_free(struct results_client *client); /* NULL is fine */

/* Watches for this result from now on; copies. -1: outstanding_max is reached, or memory is out. */
int results_client_add(struct results_client *client, const char *tenant, const char *id, struct error *err);
size_t results_client_outstanding(const struct results_client *client);

/* Asks for the next RESULTS_BATCH of the outstanding ones and hands over those there are; they are outstanding no longer.
 * *ret_found: how many. A server that does not answer is tried again for 15 s, then -1 with the reason. */
int results_client_poll(struct results_client *client,
                        void (*on_result)(void *user, const char *tenant, const char *id, struct span json), void *user,
                        size_t *ret_found, struct error *err);
/* Waits, keeping the connection alive. */
void results_client_sleep(struct results_client *client, int64_t ms);

/* Cancels a request unless it has ended. *ret_status: "cancelled", or how it ended before. */
int results_client_cancel(struct results_client *client, const char *tenant, const char *id, struct span json,
                          const char **ret_status, struct error *err);

#endif
