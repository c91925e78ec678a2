/* The asynchronous door to Redis on the loop: connects, greets (AUTH, SELECT, CLIENT SETNAME, scripts, maxmemory-policy), comes
 * back by itself with a jittered backoff, and ends every command in time. Behind it is one server (redis.url), the master that
 * Sentinel names (redis.sentinel), or the nodes of a cluster (redis.cluster); who asks needn't know which. All functions on the
 * loop thread only.
 *
 * Every asynchronous function of this room (claims, results, ledger, documents) keeps these rules:
 * - op must be IDLE and is BUSY afterwards, or DONE already: while the connection is down or the pending commands are at their
 *   bound, the op ends inside the call (dependency.connect, dependency.unavailable). There is no other way to fail.
 * - Spans and outputs given must stay valid until the op is done or aborted: nothing is copied, a script may have to be sent twice.
 * - Outputs are written before the op is done, and only when it ends without an error.
 * - Errors: dependency.connect (connection lost: the command may or may not have been executed), dependency.timeout (the same),
 *   dependency.unavailable (full, loading, read-only, out of memory, too few replicas, a cluster's slot down or on the move),
 *   dependency.auth, dependency.bad_response, serving.internal (a key too long). Where it is known, retry_after_ms says when the
 *   next connection is tried.
 * - op_abort() detaches: the command may still be executed. */
#ifndef QUEUES_REDIS_REDIS_CONNECTION_H
#define QUEUES_REDIS_REDIS_CONNECTION_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

#include "config/base/error.h"
#include "config/settings.h"

struct redis_connection;

/* Begins to connect at once; a server that can't be reached is no error here. pending_max: commands under way at most, 1…65536.
 * Takes a reference of settings (redis.*, worker.name). NULL: err says why (a faulty URL, TLS set-up, memory). */
struct redis_connection *redis_connection_new(struct ev_loop *loop, struct settings *settings, size_t pending_max,
                                              struct error *err);
/* Commands still under way end with dependency.connect. NULL is fine. */
void redis_connection_free(struct redis_connection *connection);

/* Whether it is connected, greeted, writable and its maxmemory-policy is noeviction (looked at again every few seconds); of a
 * cluster: all slots have a master, and each master is so. Commands for a healthy part of a cluster pass while it is not ready.
 * When not, *ret_reason (may be NULL) is set to a sentence without secrets, valid until the next call into the connection. */
bool redis_connection_ready(const struct redis_connection *connection, const char **ret_reason);
/* on_change(user) is called whenever the answer of redis_connection_ready() changes; it must not free the connection. NULL for
 * none. */
void redis_connection_watch(struct redis_connection *connection, void (*on_change)(void *user), void *user);

const struct settings *redis_connection_settings(const struct redis_connection *connection); /* borrowed */

/* Commands under way, the connection's own (greeting, checks) not counted. */
size_t redis_connection_pending(const struct redis_connection *connection);

#endif
