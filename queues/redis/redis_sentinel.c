/* Redis Sentinel: the master's address is asked of the sentinels of redis.sentinel.nodes, in turn, whenever there is no connection
 * to it: at the start, after a loss, after READONLY, after a time-out. Who is named must say itself that it is the master (ROLE,
 * INFO); else the sentinels are asked again after the backoff: they name the old one until the failover is through.
 *
 * The link to the sentinel that answered stays, and is asked every POLL_MS (POLL_DOWN_MS while there is no master): a master that
 * was cut off from its sentinels still takes writes, which are lost when it comes back as a replica; here it is left within seconds
 * (min-replicas-to-write on the server, and redis.wait_replicas, close the gap).
 *
 * links[0] is the master's, links[1] the sentinel's. A sentinel that is down, doesn't answer in time, doesn't know the name or
 * refuses the log-in makes room for the next one; after a round without an answer there is a pause with backoff. */
#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/redis/redis_private.h"

enum { POLL_MS = 2000, POLL_DOWN_MS = 500, SENTINEL_PORT = 26379 };

struct redis_sentinel {
        struct redis_address login; /* TLS and log-in for the sentinels; its host is not used */
        size_t node;                /* whose turn it is */
        size_t failures;            /* since one answered */
        bool wanted;                /* the master's address, to connect to */
        bool asking;
        int64_t ask_at;
};

static struct redis_link *master_of(const struct redis_connection *connection)
{
        return &connection->links[0];
}

static struct redis_link *sentinel_of(const struct redis_connection *connection)
{
        return &connection->links[1];
}

int sentinel_init(struct redis_connection *connection, struct error *err)
{
        struct redis_sentinel *sentinel = connection->sentinel = calloc(1, sizeof *connection->sentinel);
        struct redis_link *link = sentinel_of(connection);

        if (!sentinel)
                return error_set(err, CODE_INTERNAL, "no memory for redis sentinel");
        if (redis_address_sentinel(&sentinel->login, connection->settings, err) < 0)
                return -1;
        link_init(link, connection, "", SENTINEL_PORT);
        link->sentinel = true;
        *master_of(connection)->host = '\0'; /* the URL's is not asked */
        master_of(connection)->port = 0;
        snprintf(master_of(connection)->reason, REASON_MAX, "asking redis sentinel for the master");
        return 0;
}

void sentinel_fini(struct redis_connection *connection)
{
        if (connection->sentinel)
                redis_address_fini(&connection->sentinel->login);
        free(connection->sentinel);
        connection->sentinel = NULL;
}

const struct redis_address *sentinel_login(const struct redis_connection *connection)
{
        return &connection->sentinel->login;
}

/* The sentinel whose turn it was is of no use. */
static void next_sentinel(struct redis_connection *connection, const char *why)
{
        struct redis_sentinel *sentinel = connection->sentinel;
        size_t count = connection->settings->redis.sentinel.node_count;
        struct redis_link *master = master_of(connection);
        int64_t now = clock_now_ms();

        log_debug("redis sentinel does not tell the master", "node=%s reason=%s",
                  connection->settings->redis.sentinel.nodes[sentinel->node], why);
        sentinel->node = (sentinel->node + 1) % count;
        sentinel->failures++;
        sentinel->ask_at = now;
        if (sentinel->failures % count == 0)
                sentinel->ask_at += connection_backoff_ms(connection, (unsigned)(sentinel->failures / count) - 1);
        if (master->state == LINK_DOWN && sentinel->failures >= count)
                snprintf(master->reason, sizeof master->reason, "no redis sentinel tells the master %.40s: %.140s",
                         connection->settings->redis.sentinel.master, why);
}

/* ---- the question ---- */

/* [host, port]; nil: that name is not known there. */
static enum call_decoded decode_master(struct redisReply *reply, void *out, struct error *err)
{
        struct redis_connection *connection = out;
        struct redis_sentinel *sentinel = connection->sentinel;
        struct redis_link *master = master_of(connection);
        struct span host;
        int64_t port;

        if (reply->type == REDIS_REPLY_NIL) {
                error_set(err, CODE_UNAVAILABLE, "redis sentinel does not know that master's name");
                return CALL_FAILED;
        }
        if (!reply_span(reply, 0, &host) || !reply_int(reply, 1, &port) || host.len == 0 || host.len > ADDRESS_HOST_MAX ||
            port < 1 || port > 65535)
                return reply_unexpected(err);
        if (master->port != port || !span_is(host, master->host)) {
                struct error moved;

                error_set(&moved, CODE_CONNECT, "redis sentinel names another master");
                log_info("redis sentinel names the master", "host=%.*s port=%d", (int)host.len, host.data, (int)port);
                link_drop(master, &moved);
                memcpy(master->host, host.data, host.len);
                master->host[host.len] = '\0';
                master->port = (int)port;
                sentinel->wanted = true;
        }
        return CALL_DECODED;
}

static void on_master(struct redis_link *link, struct redis_call *call, const struct error *err)
{
        struct redis_connection *connection = link->connection;
        struct redis_sentinel *sentinel = connection->sentinel;
        struct redis_link *master = master_of(connection);

        (void)call;
        sentinel->asking = false;
        if (err->code != CODE_NONE) {
                if (link->context) /* else it is the end of the link that ends the call */
                        link_drop(link, err);
                return;
        }
        sentinel->failures = 0;
        sentinel->ask_at = clock_now_ms() + (master->state == LINK_UP ? POLL_MS : POLL_DOWN_MS);
        if (sentinel->wanted && master->state == LINK_DOWN && !master->adapter.context) {
                sentinel->wanted = false;
                link_start(master);
        }
}

static void ask(struct redis_connection *connection)
{
        struct redis_call *call = call_own(sentinel_of(connection), "SENTINEL", on_master);

        if (!call)
                return;
        connection->sentinel->asking = true;
        redis_call_span(call, SPAN("GET-MASTER-ADDR-BY-NAME"));
        redis_call_span(call, span_of(connection->settings->redis.sentinel.master));
        redis_call_send(call, decode_master, connection, false);
}

void sentinel_find(struct redis_connection *connection)
{
        struct redis_sentinel *sentinel = connection->sentinel;
        int64_t now = clock_now_ms();

        if (sentinel->wanted)
                return;
        sentinel->wanted = true;
        if (sentinel->ask_at > now && sentinel->failures == 0)
                sentinel->ask_at = now;
}

void sentinel_link_changed(struct redis_link *link)
{
        if (!link->sentinel) {
                if (link->state == LINK_DOWN)
                        link->connection->sentinel->wanted = false; /* link_tick() says when */
        } else if (link->state == LINK_UP) {
                connection_hurry(link->connection);
        } else if (link->state == LINK_DOWN) {
                next_sentinel(link->connection, link->reason);
        }
}

void sentinel_tick(struct redis_connection *connection, int64_t now)
{
        struct redis_sentinel *sentinel = connection->sentinel;
        struct redis_link *link = sentinel_of(connection);

        if (sentinel->asking || now < sentinel->ask_at)
                return;
        if (link->state == LINK_UP) {
                ask(connection);
        } else if (link->state == LINK_DOWN && !link->adapter.context) {
                const char *node = connection->settings->redis.sentinel.nodes[sentinel->node];

                if (redis_address_place(span_of(node), SENTINEL_PORT, link->host, &link->port) == 0)
                        link_start(link);
                else
                        next_sentinel(connection, "its address is faulty");
        }
}
