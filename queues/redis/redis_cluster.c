/* Redis Cluster: which master has which slot, learnt from the nodes themselves by CLUSTER SLOTS, and a link to each of them.
 *
 * Learnt anew: when the first link is up; while a slot has no master or a master's link is not up (every 0.1…0.5 s, of the nodes
 * that do answer, in turn); when a node redirects or calls itself the wrong one; and now and then (10 s). A redirection's own slot
 * is put right at once. A node that no longer serves anything keeps its link until nothing is under way there.
 *
 * A command is sent on by MOVED and ASK at most HOPS_MAX times and within redis.timeout_ms of its first sending. For a link that is
 * made for the first time it waits; on one that was lost it fails at once. TRYAGAIN (a slot on the move, with some of a script's
 * keys on either side), CLUSTERDOWN and LOADING end it with dependency.unavailable: whoever asked asks again.
 *
 * When no link is up at all, the host of redis.url is asked again, beside the nodes known: its name may stand for others by now. */
#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/redis/redis_private.h"
#include "queues/redis/redis_slots.h"

enum { HOPS_MAX = 5, LEARN_SOON_MS = 100, LEARN_UNWELL_MS = 500, LEARN_MS = 10000, NO_LINK = CLUSTER_LINKS_MAX };
_Static_assert(NO_LINK <= UINT8_MAX, "a link's number is a byte");

struct redis_cluster {
        uint8_t slot_links[SLOT_COUNT]; /* index into links, or NO_LINK */
        unsigned unserved;              /* slots without a link */
        bool learnt, learning, full_told;
        int64_t learn_at, learnt_last_at;
        size_t teacher; /* who is asked next */
};

int cluster_init(struct redis_connection *connection, struct error *err)
{
        struct redis_cluster *cluster = connection->cluster = calloc(1, sizeof *connection->cluster);

        if (!cluster)
                return error_set(err, CODE_INTERNAL, "no memory for a redis cluster's slots");
        memset(cluster->slot_links, NO_LINK, sizeof cluster->slot_links);
        cluster->unserved = SLOT_COUNT;
        return 0;
}

void cluster_fini(struct redis_connection *connection)
{
        free(connection->cluster);
        connection->cluster = NULL;
}

bool cluster_open(const struct redis_connection *connection)
{
        return connection->cluster->learnt;
}

bool cluster_ready(const struct redis_connection *connection, char reason[REASON_MAX])
{
        const struct redis_cluster *cluster = connection->cluster;

        for (size_t i = 0; i < connection->link_count; i++) {
                const struct redis_link *link = &connection->links[i];

                if (link->connection && (link->serves || !cluster->learnt) && (link->state != LINK_UP || !link->policy_ok)) {
                        snprintf(reason, REASON_MAX, "redis cluster, node %.60s:%d: %.140s", link->host, link->port, link->reason);
                        return false;
                }
        }
        if (!cluster->learnt)
                snprintf(reason, REASON_MAX, "redis cluster: its nodes are not known yet");
        else if (cluster->unserved)
                snprintf(reason, REASON_MAX, "redis cluster: %u slots have no master", cluster->unserved);
        return cluster->learnt && cluster->unserved == 0;
}

/* Not before LEARN_SOON_MS after the last time, so that many redirections are one question. */
static void learn_soon(struct redis_connection *connection)
{
        struct redis_cluster *cluster = connection->cluster;
        int64_t at = cluster->learnt_last_at + LEARN_SOON_MS;

        if (at < cluster->learn_at)
                cluster->learn_at = at;
}

/* The node's link, made where there is none: it connects with the next tick. NULL: no place. */
static struct redis_link *node_link(struct redis_connection *connection, const char *host, int port)
{
        struct redis_link *place = NULL;

        for (size_t i = 0; i < connection->link_count; i++) {
                struct redis_link *link = &connection->links[i];

                if (link->connection && link->port == port && strcmp(link->host, host) == 0) {
                        link->leaving = false;
                        return link;
                }
                if (!link->connection && !place)
                        place = link;
        }
        if (place) {
                link_init(place, connection, host, port);
                connection_hurry(connection);
        } else if (!connection->cluster->full_told) {
                connection->cluster->full_told = true;
                log_warn("redis cluster has too many masters", "max=%d", CLUSTER_LINKS_MAX);
        }
        return place;
}

static size_t index_of(const struct redis_link *link)
{
        return (size_t)(link - link->connection->links);
}

/* ---- learning ---- */

static void set_slot(struct redis_connection *connection, unsigned slot, struct redis_link *link)
{
        struct redis_cluster *cluster = connection->cluster;
        uint8_t before = cluster->slot_links[slot];

        if (before != NO_LINK)
                connection->links[before].serves--;
        else
                cluster->unserved--;
        if (link)
                link->serves++;
        else
                cluster->unserved++;
        cluster->slot_links[slot] = link ? (uint8_t)index_of(link) : NO_LINK;
}

/* [from, to, [host, port, …], replicas…]. False where it isn't that. */
static bool read_range(const redisReply *row, const struct redis_link *teacher, unsigned *ret_from, unsigned *ret_to,
                       struct redis_link **ret_link)
{
        int64_t from, to, port;
        char host[ADDRESS_HOST_MAX + 1];
        struct span name;

        if (!reply_int(row, 0, &from) || !reply_int(row, 1, &to) || from < 0 || to < from || to >= SLOT_COUNT ||
            row->elements < 3 || !reply_int(row->element[2], 1, &port) || port < 1 || port > 65535)
                return false;
        if (!reply_span(row->element[2], 0, &name) || name.len == 0 || span_is(name, "?"))
                name = span_of(teacher->host); /* it doesn't know its own name */
        if (name.len > ADDRESS_HOST_MAX)
                return false;
        memcpy(host, name.data, name.len);
        host[name.len] = '\0';
        *ret_from = (unsigned)from;
        *ret_to = (unsigned)to;
        *ret_link = node_link(teacher->connection, host, (int)port);
        return true;
}

static enum call_decoded decode_slots(struct redisReply *reply, void *out, struct error *err)
{
        struct redis_link *teacher = out;
        struct redis_connection *connection = teacher->connection;
        uint8_t covered[SLOT_COUNT];

        if (reply->type != REDIS_REPLY_ARRAY || reply->elements > SLOT_COUNT)
                return reply_unexpected(err);
        memset(covered, 0, sizeof covered);
        for (size_t i = 0; i < reply->elements; i++) {
                struct redis_link *link;
                unsigned from, to;

                if (!read_range(reply->element[i], teacher, &from, &to, &link))
                        return reply_unexpected(err);
                for (unsigned slot = from; slot <= to; slot++) {
                        set_slot(connection, slot, link);
                        covered[slot] = 1;
                }
        }
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
                if (!covered[slot])
                        set_slot(connection, slot, NULL);
        return CALL_DECODED;
}

static bool well(const struct redis_connection *connection)
{
        if (!connection->cluster->learnt || connection->cluster->unserved)
                return false;
        for (size_t i = 0; i < connection->link_count; i++) {
                const struct redis_link *link = &connection->links[i];

                if (link->connection && link->serves && (link->state != LINK_UP || link->replica))
                        return false;
        }
        return true;
}

static void on_slots(struct redis_link *teacher, struct redis_call *call, const struct error *err)
{
        struct redis_connection *connection = teacher->connection;
        struct redis_cluster *cluster = connection->cluster;

        (void)call;
        cluster->learning = false;
        cluster->learnt_last_at = clock_now_ms();
        if (err->code != CODE_NONE) {
                cluster->learn_at = cluster->learnt_last_at + LEARN_UNWELL_MS;
                if (err->code == CODE_BAD_RESPONSE && !cluster->learnt) /* "This instance has cluster support disabled" */
                        snprintf(teacher->reason, sizeof teacher->reason,
                                 "redis is no node of a cluster: CLUSTER SLOTS fails there");
                if (err->code == CODE_AUTH && !cluster->learnt)
                        snprintf(teacher->reason, sizeof teacher->reason, "redis's ACL must allow CLUSTER SLOTS");
                teacher->policy_ok = teacher->policy_ok && cluster->learnt;
                connection_link_changed(teacher);
                return;
        }
        cluster->learnt = true;
        for (size_t i = 0; i < connection->link_count; i++)
                if (connection->links[i].connection && !connection->links[i].serves)
                        connection->links[i].leaving = true;
        cluster->learn_at = cluster->learnt_last_at + (well(connection) ? LEARN_MS : LEARN_UNWELL_MS);
        connection_link_changed(teacher);
        connection_hurry(connection);
}

static bool ask_for_slots(struct redis_link *link)
{
        struct redis_call *call;

        if (!link->connection || link->state != LINK_UP)
                return false;
        call = call_own(link, "CLUSTER", on_slots);
        if (!call)
                return false;
        link->connection->cluster->learning = true;
        redis_call_span(call, SPAN("SLOTS"));
        redis_call_send(call, decode_slots, link, false);
        return true;
}

static void learn(struct redis_connection *connection)
{
        struct redis_cluster *cluster = connection->cluster;

        for (size_t i = 0; i < connection->link_count; i++) {
                cluster->teacher = (cluster->teacher + 1) % connection->link_count;
                if (ask_for_slots(&connection->links[cluster->teacher]))
                        return;
        }
        /* Nobody is up. The URL's host may be another by now, and need not be among the nodes that are tried anyway. */
        node_link(connection, connection->address.host, connection->address.port);
        cluster->learn_at = clock_now_ms() + LEARN_UNWELL_MS;
}

void cluster_link_changed(struct redis_link *link)
{
        struct redis_cluster *cluster = link->connection->cluster;

        if (link->state == LINK_UP && !cluster->learnt && !cluster->learning)
                cluster->learn_at = 0;
        if (link->serves && (link->state == LINK_DOWN || link->replica))
                learn_soon(link->connection);
        if (link->state == LINK_UP || link->state == LINK_DOWN)
                connection_hurry(link->connection);
}

void cluster_tick(struct redis_connection *connection, int64_t now)
{
        struct redis_cluster *cluster = connection->cluster;
        struct error err;

        for (size_t i = 0; i < connection->link_count; i++) {
                struct redis_link *link = &connection->links[i];

                if (!link->connection || !link->leaving || !link_idle(link))
                        continue;
                if (link->context) {
                        error_set(&err, CODE_CONNECT, "this node of the redis cluster serves no slot any more");
                        link_drop(link, &err);
                }
                if (!link->context && link_idle(link))
                        *link = (struct redis_link){0};
        }
        if (!cluster->learning && now >= cluster->learn_at)
                learn(connection);
}

/* ---- commands ---- */

struct redis_link *cluster_route(const struct redis_call *call, struct error *err)
{
        const struct redis_cluster *cluster = call->connection->cluster;
        size_t key = call->script == SCRIPT_NONE ? 1 : 3;
        unsigned slot = key < call->span_count ? slot_of(call->spans[key]) : 0;

        if (cluster->slot_links[slot] == NO_LINK) {
                error_set(err, CODE_UNAVAILABLE, "the redis cluster is down: slot %u has no master", slot);
                return NULL;
        }
        return &call->connection->links[cluster->slot_links[slot]];
}

bool cluster_follow(struct redis_call *call, const struct redisReply *reply, struct error *err)
{
        struct redis_connection *connection = call->connection;
        struct redis_link *from = call->link, *link;
        struct redirect redirect;

        if (reply_begins(reply, "CLUSTERDOWN") || reply_begins(reply, "READONLY"))
                learn_soon(connection);
        if (call->own_done || redirect_parse((struct span){reply->str, reply->len}, &redirect) < 0)
                return false;
        metrics_add(connection->redirections, 1);
        if (!redirect.ask)
                learn_soon(connection);
        link = node_link(connection, *redirect.host ? redirect.host : from->host, redirect.port);
        if (!link)
                return false;
        if (!redirect.ask)
                set_slot(connection, redirect.slot, link);
        if (++call->hops > HOPS_MAX || clock_now_ms() >= call->resend_before)
                return false; /* reply_error() has said what it is */
        call->asking = redirect.ask;
        call->link = link;
        return call_dispatch(call, err) == 0;
}
