/* The door to Redis: one server, the master that Sentinel names, or the nodes of a cluster. All waiting is done by one timer: each
 * tick looks at the states' deadlines and at the oldest command's of each link. */
#include "queues/redis/redis_connection.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/redis/redis_private.h"

#define TICK_S 0.05
enum { BACKOFF_MIN_MS = 100, BACKOFF_MAX_MS = 5000, PENDING_MAX = 65536, REFUSED_MS = 2000 };

int64_t connection_backoff_ms(struct redis_connection *connection, unsigned failures)
{
        unsigned doublings = failures < 6 ? failures : 6;
        int64_t full = (int64_t)BACKOFF_MIN_MS << doublings;

        if (full > BACKOFF_MAX_MS)
                full = BACKOFF_MAX_MS;
        connection->chance = connection->chance * 6364136223846793005u + 1442695040888963407u;
        return full / 2 + (int64_t)((connection->chance >> 33) % (uint64_t)(full / 2 + 1));
}

void connection_hurry(struct redis_connection *connection)
{
        if (!ev_is_pending(&connection->tick))
                ev_feed_event(connection->loop, &connection->tick, EV_CUSTOM);
}

/* ready, reason and open from the links. */
static void judge(struct redis_connection *connection)
{
        const struct redis_link *link = connection->links;

        if (connection->cluster) {
                connection->open = cluster_open(connection);
                connection->ready = cluster_ready(connection, connection->reason);
        } else {
                connection->open = link->state == LINK_UP && !link->replica; /* each write would cost a connection */
                connection->ready = connection->open && link->policy_ok;
                if (!connection->ready)
                        memcpy(connection->reason, link->reason, sizeof link->reason);
        }
        if (connection->ready && connection->refused_until) {
                connection->ready = false;
                memcpy(connection->reason, connection->refusal, sizeof connection->reason);
        }
}

static void tell(struct redis_connection *connection, bool first_failure)
{
        const struct redis_link *link = connection->links;
        const char *host = connection->cluster ? connection->address.host : *link->host ? link->host : "of sentinel";
        int port = connection->cluster ? connection->address.port : link->port;

        metrics_set(connection->gauge, connection->ready);
        if (connection->ready == connection->ready_told && !first_failure)
                return;
        if (connection->ready)
                log_info("redis is ready", "host=%s port=%d", host, port);
        else
                log_warn("redis is not ready", "host=%s port=%d reason=%s", host, port, connection->reason);
        if (connection->ready == connection->ready_told)
                return;
        connection->ready_told = connection->ready;
        if (connection->on_change)
                connection->on_change(connection->user);
}

void connection_link_changed(struct redis_link *link)
{
        struct redis_connection *connection = link->connection;

        if (connection->cluster)
                cluster_link_changed(link);
        else if (connection->sentinel)
                sentinel_link_changed(link);
        judge(connection);
        tell(connection, link->state == LINK_DOWN && link->failures == 1 && !connection->ready_told && !connection->ready);
}

void connection_refused(struct redis_connection *connection, const struct error *err)
{
        connection->refused_until = clock_now_ms() + REFUSED_MS;
        snprintf(connection->refusal, sizeof connection->refusal, "%s", err->message);
        if (!connection->ready)
                return;
        judge(connection);
        tell(connection, false);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
        struct redis_connection *connection = CONTAINER_OF(timer, struct redis_connection, tick);
        int64_t now = clock_now_ms();

        (void)loop;
        (void)events;
        for (size_t i = 0; i < connection->link_count; i++)
                if (connection->links[i].connection)
                        link_tick(&connection->links[i], now);
        if (connection->cluster)
                cluster_tick(connection, now);
        else if (connection->sentinel)
                sentinel_tick(connection, now);
        if (connection->refused_until && now >= connection->refused_until) {
                connection->refused_until = 0;
                judge(connection);
                tell(connection, false);
        }
}

static void destroy(struct redis_connection *connection)
{
        cluster_fini(connection);
        sentinel_fini(connection);
        redis_address_fini(&connection->address);
        calls_fini(connection);
        free(connection->links);
        settings_unref(connection->settings);
        free(connection);
}

static int build(struct redis_connection *connection, size_t pending_max, struct error *err)
{
        const struct settings *settings = connection->settings;

        connection->link_count = settings->redis.cluster ? CLUSTER_LINKS_MAX : settings->redis.sentinel.node_count ? 2 : 1;
        connection->links = calloc(connection->link_count, sizeof *connection->links);
        if (!connection->links || calls_init(connection, pending_max, err) < 0)
                return error_set(err, CODE_INTERNAL, "no memory for the connection to redis");
        if (redis_address_init(&connection->address, settings, err) < 0)
                return -1;
        link_init(&connection->links[0], connection, connection->address.host, connection->address.port);
        if (settings->redis.cluster)
                return cluster_init(connection, err);
        return settings->redis.sentinel.node_count ? sentinel_init(connection, err) : 0;
}

struct redis_connection *redis_connection_new(struct ev_loop *loop, struct settings *settings, size_t pending_max,
                                              struct error *err)
{
        struct redis_connection *connection;

        assert(pending_max >= 1 && pending_max <= PENDING_MAX);
        connection = calloc(1, sizeof *connection);
        if (!connection) {
                error_set(err, CODE_INTERNAL, "no memory for the connection to redis");
                return NULL;
        }
        connection->settings = settings_ref(settings);
        connection->prefix = span_of(settings->redis.prefix);
        connection->loop = loop;
        if (getrandom(&connection->chance, sizeof connection->chance, GRND_NONBLOCK) < 0)
                connection->chance = (uint64_t)clock_now_us();
        if (build(connection, pending_max, err) < 0) {
                destroy(connection);
                return NULL;
        }
        connection->commands = metrics_counter("millrace_redis_commands_total", "Commands sent to Redis.", NULL);
        connection->errors = metrics_counter("millrace_redis_errors_total", "Commands to Redis that ended with an error.", NULL);
        connection->reconnects = metrics_counter("millrace_redis_disconnects_total", "Connections to Redis lost or refused.", NULL);
        connection->redirections = metrics_counter("millrace_redis_redirections_total",
                                                   "Commands that a node of a Redis Cluster sent on to another.", NULL);
        connection->gauge = metrics_gauge("millrace_redis_ready", "1 when Redis is connected, writable and set to noeviction.",
                                          NULL);
        judge(connection);
        ev_timer_init(&connection->tick, on_tick, TICK_S, TICK_S);
        ev_timer_start(loop, &connection->tick);
        link_tick(&connection->links[0], clock_now_ms());
        if (connection->sentinel)
                sentinel_tick(connection, clock_now_ms());
        return connection;
}

void redis_connection_free(struct redis_connection *connection)
{
        struct error err;

        if (!connection)
                return;
        connection->on_change = NULL;
        connection->ready_told = connection->ready = false; /* no news of an end that is wanted */
        connection->open = false;
        error_set(&err, CODE_CONNECT, "connection to redis closed");
        for (size_t i = 0; i < connection->link_count; i++) {
                connection->links[i].failures++;
                if (connection->links[i].connection)
                        link_drop(&connection->links[i], &err);
        }
        ev_timer_stop(connection->loop, &connection->tick);
        ev_clear_pending(connection->loop, &connection->tick);
        destroy(connection);
}

bool redis_connection_ready(const struct redis_connection *connection, const char **ret_reason)
{
        if (!connection->ready && ret_reason)
                *ret_reason = connection->reason;
        return connection->ready;
}

void redis_connection_watch(struct redis_connection *connection, void (*on_change)(void *user), void *user)
{
        connection->on_change = on_change;
        connection->user = user;
}

const struct settings *redis_connection_settings(const struct redis_connection *connection)
{
        return connection->settings;
}

size_t redis_connection_pending(const struct redis_connection *connection)
{
        return connection->pending;
}
