/* Blocking, for the command line: one connection, a command at a time, each bounded by redis.timeout_ms. */
#include "queues/redis/redis_client.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "config/base/clock.h"
#include "queues/redis/redis_address.h"

enum { POLL_MIN_MS = 5, POLL_MAX_MS = 100, KEY_MAX = 512 };

struct redis_client {
        struct settings *settings;
        struct redis_address address;
        redisContext *context; /* NULL: to be connected */
};

static void free_reply(redisReply **reply)
{
        freeReplyObject(*reply);
}
#define AUTO_REPLY AUTO(free_reply) redisReply

static void disconnect(struct redis_client *client)
{
        if (client->context)
                redisFree(client->context);
        client->context = NULL;
}

/* NULL with err: the connection is lost, or the reply is an error. */
static redisReply *command(struct redis_client *client, int count, const char **words, const size_t *lens, struct error *err)
{
        redisReply *reply = redisCommandArgv(client->context, count, words, lens);

        if (!reply) {
                bool late = client->context->err == REDIS_ERR_TIMEOUT ||
                            (client->context->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK));

                error_set(err, late ? CODE_TIMEOUT : CODE_CONNECT, "redis: %s", client->context->errstr);
                disconnect(client);
                return NULL;
        }
        if (reply->type == REDIS_REPLY_ERROR) {
                bool auth = strncmp(reply->str, "NOAUTH", 6) == 0 || strncmp(reply->str, "WRONGPASS", 9) == 0 ||
                            strncmp(reply->str, "NOPERM", 6) == 0;
                enum error_code other = strncmp(reply->str, "LOADING", 7) == 0 ? CODE_UNAVAILABLE : CODE_BAD_RESPONSE;

                error_set(err, auth ? CODE_AUTH : other, "redis answered with the error %.*s", (int)(strcspn(reply->str, " ") % 32),
                          reply->str);
                freeReplyObject(reply);
                return NULL;
        }
        return reply;
}

static redisReply *command_words(struct redis_client *client, int count, const char **words, struct error *err)
{
        return command(client, count, words, NULL, err);
}

static int greet(struct redis_client *client, struct error *err)
{
        const struct redis_address *address = &client->address;

        if (*address->password) {
                const char *words[] = {"AUTH", *address->username ? address->username : address->password, address->password};
                AUTO_REPLY *reply = command_words(client, *address->username ? 3 : 2, words, err);

                if (!reply)
                        return -1;
        }
        if (address->database) {
                char number[12];
                const char *words[] = {"SELECT", number};
                AUTO_REPLY *reply = NULL;

                snprintf(number, sizeof number, "%d", address->database);
                reply = command_words(client, 2, words, err);
                if (!reply)
                        return -1;
        }
        return 0;
}

static int connect_to(struct redis_client *client, struct error *err)
{
        int64_t timeout_ms = client->settings->redis.timeout_ms;
        struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
        redisOptions options = {0};

        if (client->context)
                return 0;
        REDIS_OPTIONS_SET_TCP(&options, client->address.host, client->address.port);
        options.options |= REDIS_OPT_PREFER_IP_UNSPEC;
        options.connect_timeout = &timeout;
        options.command_timeout = &timeout;
        client->context = redisConnectWithOptions(&options);
        if (!client->context || client->context->err) {
                error_set(err, CODE_CONNECT, "can't connect to redis at %s port %d: %s", client->address.host, client->address.port,
                          client->context ? client->context->errstr : "no memory");
                disconnect(client);
                return -1;
        }
        if (redis_address_secure(&client->address, client->context, NULL, err) < 0 || greet(client, err) < 0) {
                disconnect(client);
                return -1;
        }
        return 0;
}

struct redis_client *redis_client_new(struct settings *settings, struct error *err)
{
        struct redis_client *client = calloc(1, sizeof *client);

        if (!client) {
                error_set(err, CODE_INTERNAL, "no memory");
                return NULL;
        }
        if (redis_address_init(&client->address, settings, err) < 0) {
                free(client);
                return NULL;
        }
        client->settings = settings_ref(settings);
        if (connect_to(client, err) < 0) {
                redis_client_free(client);
                return NULL;
        }
        return client;
}

void redis_client_free(struct redis_client *client)
{
        if (!client)
                return;
        disconnect(client);
        redis_address_fini(&client->address);
        settings_unref(client->settings);
        free(client);
}

static int get(struct redis_client *client, const char *key, size_t len, struct buffer *json, bool *ret_found, struct error *err)
{
        const char *words[] = {"GET", key};
        const size_t lens[] = {3, len};
        AUTO_REPLY *reply = NULL;

        if (connect_to(client, err) < 0)
                return -1;
        reply = command(client, 2, words, lens, err);
        if (!reply)
                return -1;
        if (reply->type != REDIS_REPLY_NIL && reply->type != REDIS_REPLY_STRING)
                return error_set(err, CODE_BAD_RESPONSE, "unexpected reply from redis");
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

int redis_client_check(struct redis_client *client, struct error *err)
{
        const char *words[] = {"INFO", "memory"};
        AUTO_REPLY *reply = NULL;
        const char *policy;

        if (connect_to(client, err) < 0)
                return -1;
        reply = command_words(client, 2, words, err);
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
