/* Blocking, for the command line: one connection, a command at a time, each bounded by redis.timeout_ms. Of a cluster it is
 * connected to one node at a time, with Sentinel to the master that the first sentinel with an answer names. */
#include "queues/redis/redis_client.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/redis/redis_address.h"
#include "queues/redis/redis_parts.h"
#include "queues/redis/redis_slots.h"

enum { POLL_MIN_MS = 5, POLL_MAX_MS = 100, KEY_MAX = 512, NODES_MAX = 64, HOPS_MAX = 5, SENTINEL_PORT = 26379 };

struct node {
        char host[ADDRESS_HOST_MAX + 1];
        int port;
};

struct redis_client {
        struct settings *settings;
        struct redis_address address, sentinel_login;
        redisContext *context;        /* NULL: to be connected */
        struct node at;               /* what the context is connected to */
        struct node nodes[NODES_MAX]; /* a cluster's masters, as last learnt */
        size_t node_count;
};

static void free_reply(redisReply **reply)
{
        freeReplyObject(*reply);
}
#define AUTO_REPLY AUTO(free_reply) redisReply

static void close_context(redisContext **context)
{
        if (*context)
                redisFree(*context);
        *context = NULL;
}
#define AUTO_CONTEXT AUTO(close_context) redisContext

/* Any reply, errors included; NULL with err: the connection is lost, and closed. */
static redisReply *exchange(redisContext **context, int count, const char **words, const size_t *lens, struct error *err)
{
        redisReply *reply = redisCommandArgv(*context, count, words, lens);
        bool late;

        if (reply)
                return reply;
        late = (*context)->err == REDIS_ERR_TIMEOUT ||
               ((*context)->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK));
        error_set(err, late ? CODE_TIMEOUT : CODE_CONNECT, "redis: %s", (*context)->errstr);
        close_context(context);
        return NULL;
}

/* NULL with err: the connection is lost, or the reply is an error. */
static redisReply *command(redisContext **context, int count, const char **words, struct error *err)
{
        redisReply *reply = exchange(context, count, words, NULL, err);

        if (!reply || reply->type != REDIS_REPLY_ERROR)
                return reply;
        reply_error(reply, err);
        freeReplyObject(reply);
        return NULL;
}

static int greet(redisContext **context, const struct redis_address *login, struct error *err)
{
        if (*login->password) {
                const char *words[] = {"AUTH", *login->username ? login->username : login->password, login->password};
                AUTO_REPLY *reply = command(context, *login->username ? 3 : 2, words, err);

                if (!reply)
                        return -1;
        }
        if (login->database) {
                char number[12];
                const char *words[] = {"SELECT", number};
                AUTO_REPLY *reply = NULL;

                snprintf(number, sizeof number, "%d", login->database);
                reply = command(context, 2, words, err);
                if (!reply)
                        return -1;
        }
        return 0;
}

/* A greeted connection; NULL with err. */
static redisContext *open_context(const struct redis_client *client, const struct redis_address *login, const struct node *node,
                                  struct error *err)
{
        int64_t timeout_ms = client->settings->redis.timeout_ms;
        struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
        AUTO_CONTEXT *context = NULL;
        redisOptions options = {0};

        REDIS_OPTIONS_SET_TCP(&options, node->host, node->port);
        options.options |= REDIS_OPT_PREFER_IP_UNSPEC;
        options.connect_timeout = &timeout;
        options.command_timeout = &timeout;
        context = redisConnectWithOptions(&options);
        if (!context || context->err) {
                error_set(err, CODE_CONNECT, "can't connect to redis at %.120s port %d: %.90s", node->host, node->port,
                          context ? context->errstr : "no memory");
                return NULL;
        }
        if (redis_address_secure(login, node->host, context, NULL, err) < 0 || greet(&context, login, err) < 0)
                return NULL;
        return TAKE(context);
}

static int connect_to(struct redis_client *client, const struct node *node, struct error *err)
{
        redisContext *context = open_context(client, &client->address, node, err);

        close_context(&client->context);
        client->context = context;
        client->at = *node;
        return context ? 0 : -1;
}

/* ---- Sentinel ---- */

static int ask_sentinel(struct redis_client *client, const char *place, struct node *ret_master, struct error *err)
{
        const char *words[] = {"SENTINEL", "GET-MASTER-ADDR-BY-NAME", client->settings->redis.sentinel.master};
        AUTO_CONTEXT *context = NULL;
        AUTO_REPLY *reply = NULL;
        struct node sentinel = {0};
        struct span host;
        int64_t port;

        if (redis_address_place(span_of(place), SENTINEL_PORT, sentinel.host, &sentinel.port) < 0)
                return error_set(err, CODE_SCHEMA, "redis.sentinel.nodes: must be host:port");
        context = open_context(client, &client->sentinel_login, &sentinel, err);
        reply = context ? command(&context, 3, words, err) : NULL;
        if (!reply)
                return -1;
        if (reply->type == REDIS_REPLY_NIL)
                return error_set(err, CODE_UNAVAILABLE, "redis sentinel does not know that master's name");
        if (!reply_span(reply, 0, &host) || !reply_int(reply, 1, &port) || host.len == 0 || host.len > ADDRESS_HOST_MAX ||
            port < 1 || port > 65535)
                return reply_unexpected(err);
        memcpy(ret_master->host, host.data, host.len);
        ret_master->host[host.len] = '\0';
        ret_master->port = (int)port;
        return 0;
}

/* The server says so itself; where an ACL forbids ROLE the sentinel is believed. */
static int check_role(struct redis_client *client, struct error *err)
{
        const char *words[] = {"ROLE"};
        AUTO_REPLY *reply = command(&client->context, 1, words, err);
        struct span role;

        if (!reply && err->code != CODE_AUTH)
                close_context(&client->context);
        if (!reply)
                return err->code == CODE_AUTH ? 0 : -1;
        if (reply_span(reply, 0, &role) && span_is(role, "master"))
                return 0;
        close_context(&client->context);
        return error_set(err, CODE_UNAVAILABLE, "the redis that sentinel names is no master");
}

static int connect_by_sentinel(struct redis_client *client, struct error *err)
{
        const struct settings *settings = client->settings;
        struct error refusal;
        struct node master = {0};

        error_clear(&refusal);
        for (size_t i = 0; i < settings->redis.sentinel.node_count; i++)
                if (ask_sentinel(client, settings->redis.sentinel.nodes[i], &master, &refusal) == 0 &&
                    connect_to(client, &master, &refusal) == 0 && check_role(client, &refusal) == 0)
                        return 0;
        *err = refusal;
        return -1;
}

/* ---- Cluster ---- */

/* Where else to go when this node is gone. Best effort: what was known stays when it can't be learnt. */
static void learn_nodes(struct redis_client *client)
{
        const char *words[] = {"CLUSTER", "SLOTS"};
        struct error err;
        AUTO_REPLY *reply = command(&client->context, 2, words, &err);

        if (!reply || reply->type != REDIS_REPLY_ARRAY)
                return;
        client->node_count = 0;
        for (size_t i = 0; i < reply->elements && client->node_count < NODES_MAX; i++) {
                const redisReply *row = reply->element[i];
                struct node *node = &client->nodes[client->node_count];
                struct span host;
                int64_t port;

                if (row->type != REDIS_REPLY_ARRAY || row->elements < 3 || !reply_int(row->element[2], 1, &port) || port < 1 ||
                    port > 65535)
                        continue;
                if (!reply_span(row->element[2], 0, &host) || host.len == 0 || span_is(host, "?"))
                        host = span_of(client->at.host);
                if (host.len > ADDRESS_HOST_MAX)
                        continue;
                memcpy(node->host, host.data, host.len);
                node->host[host.len] = '\0';
                node->port = (int)port;
                client->node_count++;
        }
}

static int connect_to_cluster(struct redis_client *client, struct error *err)
{
        struct node node = {.port = client->address.port};
        struct error first, ignored;
        int rc;

        memcpy(node.host, client->address.host, sizeof node.host);
        rc = connect_to(client, &node, &first);
        for (size_t i = 0; rc < 0 && i < client->node_count; i++) {
                node = client->nodes[i];
                rc = connect_to(client, &node, &ignored);
        }
        if (rc < 0) {
                *err = first;
                return -1;
        }
        learn_nodes(client);
        return client->context ? 0 : error_set(err, CODE_CONNECT, "connection to redis lost");
}

static int connect_somewhere(struct redis_client *client, struct error *err)
{
        struct node node = {.port = client->address.port};

        if (client->context)
                return 0;
        if (client->settings->redis.sentinel.node_count)
                return connect_by_sentinel(client, err);
        if (client->settings->redis.cluster)
                return connect_to_cluster(client, err);
        memcpy(node.host, client->address.host, sizeof node.host);
        return connect_to(client, &node, err);
}

struct redis_client *redis_client_new(struct settings *settings, struct error *err)
{
        struct redis_client *client = calloc(1, sizeof *client);

        if (!client) {
                error_set(err, CODE_INTERNAL, "no memory");
                return NULL;
        }
        client->settings = settings_ref(settings);
        if (redis_address_init(&client->address, settings, err) < 0 ||
            redis_address_sentinel(&client->sentinel_login, settings, err) < 0 || connect_somewhere(client, err) < 0) {
                redis_client_free(client);
                return NULL;
        }
        return client;
}

void redis_client_free(struct redis_client *client)
{
        if (!client)
                return;
        close_context(&client->context);
        redis_address_fini(&client->address);
        redis_address_fini(&client->sentinel_login);
        settings_unref(client->settings);
        free(client);
}

/* ---- results ---- */

/* The reply, sent on by MOVED and ASK in a cluster; NULL with err. */
static redisReply *follow(struct redis_client *client, int count, const char **words, const size_t *lens, struct error *err)
{
        for (int hops = 0;; hops++) {
                redisReply *reply;
                struct redirect redirect;
                struct error refusal;
                struct node node = {0};
                bool sent_on;

                if (connect_somewhere(client, err) < 0)
                        return NULL;
                reply = exchange(&client->context, count, words, lens, err);
                if (!reply || reply->type != REDIS_REPLY_ERROR)
                        return reply;
                reply_error(reply, &refusal);
                sent_on = client->settings->redis.cluster && redirect_parse((struct span){reply->str, reply->len}, &redirect) == 0;
                freeReplyObject(reply);
                if (!sent_on || hops == HOPS_MAX) {
                        *err = refusal;
                        return NULL;
                }
                memcpy(node.host, *redirect.host ? redirect.host : client->at.host, sizeof node.host);
                node.port = redirect.port;
                if (connect_to(client, &node, err) < 0)
                        return NULL;
                if (redirect.ask) {
                        const char *asking[] = {"ASKING"};

                        freeReplyObject(command(&client->context, 1, asking, &refusal)); /* the next reply tells what went wrong */
                }
        }
}

static int get(struct redis_client *client, const char *key, size_t len, struct buffer *json, bool *ret_found, struct error *err)
{
        const char *words[] = {"GET", key};
        const size_t lens[] = {3, len};
        AUTO_REPLY *reply = follow(client, 2, words, lens, err);

        if (!reply)
                return -1;
        if (reply->type != REDIS_REPLY_NIL && reply->type != REDIS_REPLY_STRING)
                return reply_unexpected(err);
        if (reply->type == REDIS_REPLY_STRING) {
                buffer_add(json, reply->str, reply->len);
                if (!buffer_ok(json))
                        return error_set(err, CODE_BAD_RESPONSE, "the result of %zu bytes is too large", reply->len);
        }
        *ret_found = reply->type == REDIS_REPLY_STRING;
        return 0;
}

static bool lost(const struct error *err)
{
        return err->code == CODE_CONNECT || err->code == CODE_TIMEOUT || err->code == CODE_UNAVAILABLE;
}

static int format_key(const struct redis_client *client, struct span tenant, struct span id, char key[KEY_MAX], struct error *err)
{
        int len = snprintf(key, KEY_MAX, "%s:{%.*s:%.*s}:result", client->settings->redis.prefix, (int)tenant.len, tenant.data,
                           (int)id.len, id.data);

        return len < KEY_MAX ? len : error_set(err, CODE_SCHEMA, "tenant or id too long");
}

int redis_client_result(struct redis_client *client, struct span tenant, struct span id, struct buffer *json, bool *ret_found,
                        struct error *err)
{
        char key[KEY_MAX];
        int len = format_key(client, tenant, id, key, err);

        if (len < 0)
                return -1;
        if (get(client, key, (size_t)len, json, ret_found, err) == 0)
                return 0;
        return lost(err) ? get(client, key, (size_t)len, json, ret_found, err) : -1;
}

int redis_client_wait(struct redis_client *client, struct span tenant, struct span id, int64_t deadline, struct buffer *json,
                      bool *ret_found, struct error *err)
{
        char key[KEY_MAX];
        int len = format_key(client, tenant, id, key, err);
        int64_t pause_ms = POLL_MIN_MS;

        if (len < 0)
                return -1;
        for (;;) {
                bool found = false;
                int rc = get(client, key, (size_t)len, json, &found, err);
                int64_t left = deadline - clock_now_ms();

                if ((rc < 0 && !lost(err)) || found || left <= 0) {
                        if (rc == 0)
                                *ret_found = found;
                        return rc;
                }
                pause_ms = pause_ms * 3 / 2 < POLL_MAX_MS ? pause_ms * 3 / 2 : POLL_MAX_MS;
                if (pause_ms > left)
                        pause_ms = left;
                nanosleep(&(struct timespec){0, pause_ms * 1000000}, NULL);
        }
}

/* ---- claims ---- */

static void claim_text(const redisReply *reply, int index, char *text, size_t size)
{
        struct span value;

        text[0] = '\0';
        if (reply_span(reply, (int)index, &value))
                snprintf(text, size, "%.*s", (int)(value.len < size ? value.len : size - 1), value.data);
}

static int64_t claim_int(const redisReply *reply, int index)
{
        char text[24];

        claim_text(reply, index, text, sizeof text);
        return strtoll(text, NULL, 10);
}

static int read_claim(struct redis_client *client, const char *key, struct redis_claim *ret_claim, bool *ret_found,
                      struct error *err)
{
        const char *words[] = {"HMGET", key, "holder", "lease", "fence", "attempts", "status", "replays"};
        AUTO_REPLY *reply = follow(client, 8, words, NULL, err);

        if (!reply)
                return -1;
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 6)
                return reply_unexpected(err);
        claim_text(reply, 0, ret_claim->holder, sizeof ret_claim->holder);
        claim_text(reply, 4, ret_claim->status, sizeof ret_claim->status);
        ret_claim->lease_wall_ms = claim_int(reply, 1);
        ret_claim->fence = claim_int(reply, 2);
        ret_claim->attempts = claim_int(reply, 3);
        ret_claim->replays = claim_int(reply, 5);
        *ret_found = *ret_claim->status != '\0';
        return 0;
}

int redis_client_claim(struct redis_client *client, struct span tenant, struct span id, struct redis_claim *ret_claim,
                       bool *ret_found, struct error *err)
{
        char key[KEY_MAX];
        int len = snprintf(key, sizeof key, "%s:{%.*s:%.*s}:claim", client->settings->redis.prefix, (int)tenant.len, tenant.data,
                           (int)id.len, id.data);

        if (len >= KEY_MAX)
                return error_set(err, CODE_SCHEMA, "tenant or id too long");
        if (read_claim(client, key, ret_claim, ret_found, err) == 0)
                return 0;
        return lost(err) ? read_claim(client, key, ret_claim, ret_found, err) : -1;
}

static int check_policy(struct redis_client *client, struct error *err)
{
        const char *words[] = {"INFO", "memory"};
        AUTO_REPLY *reply = command(&client->context, 2, words, err);
        const char *policy;

        if (!reply)
                return -1;
        policy = reply->type == REDIS_REPLY_STRING ? strstr(reply->str, "maxmemory_policy:") : NULL;
        if (!policy)
                return error_set(err, CODE_BAD_RESPONSE, "redis doesn't tell its maxmemory-policy");
        policy += strlen("maxmemory_policy:");
        if (strncmp(policy, "noeviction\r", 11) != 0)
                return error_set(err, CODE_UNAVAILABLE, "redis's maxmemory-policy is %.*s, must be noeviction",
                                 (int)(strcspn(policy, "\r") % 32), policy);
        return 0;
}

int redis_client_check(struct redis_client *client, struct error *err)
{
        if (connect_somewhere(client, err) < 0)
                return -1;
        if (!client->settings->redis.cluster)
                return check_policy(client, err);
        for (size_t i = 0; i < client->node_count; i++) {
                const struct node node = client->nodes[i];

                if (connect_to(client, &node, err) < 0 || check_policy(client, err) < 0)
                        return -1;
        }
        return client->node_count ? 0 : error_set(err, CODE_UNAVAILABLE, "redis doesn't tell the nodes of its cluster");
}
