/* The states of a connection. All waiting is done by one timer: each tick looks at the state's deadline and at the oldest
 * command's.
 *
 * Greeting, in one pipeline: AUTH, SELECT, CLIENT SETNAME, SCRIPT LOAD of each script, INFO. Only then do commands go out. INFO
 * tells maxmemory-policy and role; where an ACL forbids it, CONFIG GET is asked for the policy; where that is forbidden too it is
 * not ready.
 *
 * Failure modes: a server that accepts and never answers is given up after redis.timeout_ms, with everything under way; one that
 * says LOADING or READONLY is left and tried again after the backoff (0.1…5 s, jittered). A host name is resolved by the system's
 * resolver, which may block the loop for as long as that takes: give an address where that matters. SIGPIPE must be ignored by
 * the process. */
#include "queues/redis/redis_connection.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/redis/redis_private.h"

#define TICK_S 0.05
enum {
        BACKOFF_MIN_MS = 100,
        BACKOFF_MAX_MS = 5000,
        CHECK_MS = 10000,
        CHECK_UNREADY_MS = 2000,
        PENDING_MAX = 65536,
        INFO_BYTES_MAX = 65536
};

static void tell(struct redis_connection *connection)
{
        bool ready = redis_connection_ready(connection, NULL);

        metrics_set(connection->gauge, ready);
        if (ready == connection->ready_told)
                return;
        connection->ready_told = ready;
        if (ready)
                log_info("redis is ready", "host=%s port=%d", connection->address.host, connection->address.port);
        else
                log_warn("redis is not ready", "host=%s port=%d reason=%s", connection->address.host, connection->address.port,
                         connection->reason);
        if (connection->on_change)
                connection->on_change(connection->user);
}

/* 50 to 100 % of the doubled wait. */
static int64_t backoff_ms(struct redis_connection *connection)
{
        unsigned doublings = connection->failures < 6 ? connection->failures : 6;
        int64_t full = (int64_t)BACKOFF_MIN_MS << doublings;

        if (full > BACKOFF_MAX_MS)
                full = BACKOFF_MAX_MS;
        connection->chance = connection->chance * 6364136223846793005u + 1442695040888963407u;
        return full / 2 + (int64_t)((connection->chance >> 33) % (uint64_t)(full / 2 + 1));
}

/* The context is gone or going: wait for the next try. */
static void go_down(struct redis_connection *connection, const struct error *err)
{
        connection->context = NULL;
        connection->session = NULL;
        connection->durable_unwaited = 0;
        connection->loss = *err;
        snprintf(connection->reason, sizeof connection->reason, "%s", err->message);
        connection->state = LINK_DOWN;
        connection->state_deadline = clock_now_ms() + backoff_ms(connection);
        if (connection->failures++ == 0 && !connection->ready_told)
                log_warn("redis is not ready", "host=%s port=%d reason=%s", connection->address.host, connection->address.port,
                         connection->reason);
        metrics_add(connection->reconnects, 1);
        calls_fail_awaiting(connection, err);
        tell(connection);
}

void connection_reason(const struct redis_connection *connection, struct error *err)
{
        const char *refusal = redis_address_refusal(connection->session), *other = connection->context->errstr;

        if (refusal)
                error_set(err, CODE_CONNECT, "TLS to redis: certificate refused: %s", refusal);
        else
                error_set(err, CODE_CONNECT, "connection to redis lost: %s", other && *other ? other : "closed");
}

void connection_drop(struct redis_connection *connection, const struct error *err)
{
        redisAsyncContext *context = connection->context;

        if (!context)
                return;
        go_down(connection, err);
        redisAsyncFree(context); /* inside a callback of hiredis: when that returns */
}

/* ---- greeting ---- */

static void greeting_step(struct redis_connection *connection, struct redis_call *call, const struct error *err)
{
        (void)call;
        if (err->code != CODE_NONE)
                connection_drop(connection, err);
}

/* A server without a password answers AUTH with a plain ERR. */
static void greeting_password(struct redis_connection *connection, struct redis_call *call, const struct error *failure)
{
        struct error err = *failure;

        if (err.code == CODE_BAD_RESPONSE)
                error_set(&err, CODE_AUTH, "redis refuses AUTH: is a password set there?");
        greeting_step(connection, call, &err);
}

static void greeting_option(struct redis_connection *connection, struct redis_call *call, const struct error *err)
{
        (void)call;
        if (err->code == CODE_UNAVAILABLE)
                connection_drop(connection, err);
}

static enum call_decoded decode_sha(struct redisReply *reply, void *out, struct error *err)
{
        struct span sha;

        if (!reply_span(reply, -1, &sha) || sha.len != SCRIPT_SHA_BYTES - 1)
                return reply_unexpected(err);
        memcpy(out, sha.data, sha.len);
        return CALL_DECODED;
}

/* The value of a line "name:value\r\n". */
static struct span info_field(struct span info, const char *name)
{
        size_t len = strlen(name);

        for (size_t i = 0; i + len < info.len; i++) {
                const char *line = info.data + i, *end = memchr(line, '\r', info.len - i);

                if (memcmp(line, name, len) == 0 && line[len] == ':' && end && end > line + len)
                        return (struct span){line + len + 1, (size_t)(end - line) - len - 1};
                line = memchr(line, '\n', info.len - i);
                if (!line)
                        break;
                i = (size_t)(line - info.data);
        }
        return (struct span){"", 0};
}

static void judge(struct redis_connection *connection, struct span policy, bool read_only)
{
        connection->policy_ok = false;
        if (read_only)
                snprintf(connection->reason, sizeof connection->reason, "redis is a read-only replica");
        else if (policy.len == 0)
                snprintf(connection->reason, sizeof connection->reason,
                         "redis's maxmemory-policy can't be read: its ACL must allow INFO or CONFIG GET");
        else if (!span_is(policy, "noeviction"))
                snprintf(connection->reason, sizeof connection->reason, "redis's maxmemory-policy is %.*s, must be noeviction",
                         (int)(policy.len < 32 ? policy.len : 32), policy.data);
        else
                connection->policy_ok = true;
}

static enum call_decoded decode_info(struct redisReply *reply, void *out, struct error *err)
{
        struct redis_connection *connection = out;
        struct span info;

        if (!reply_span(reply, -1, &info))
                return reply_unexpected(err);
        if (info.len > INFO_BYTES_MAX)
                info.len = INFO_BYTES_MAX;
        if (span_is(info_field(info, "loading"), "1")) {
                error_set(err, CODE_UNAVAILABLE, "redis is loading its data");
                return CALL_FAILED;
        }
        judge(connection, info_field(info, "maxmemory_policy"),
              span_is(info_field(info, "role"), "slave") && !span_is(info_field(info, "slave_read_only"), "0"));
        return CALL_DECODED;
}

static enum call_decoded decode_config(struct redisReply *reply, void *out, struct error *err)
{
        struct span policy = {"", 0};

        (void)err;
        reply_span(reply, 1, &policy);
        judge(out, policy, false);
        return CALL_DECODED;
}

/* The last step of a greeting, and of each later check. */
static void on_judged(struct redis_connection *connection, struct redis_call *call, const struct error *err)
{
        (void)call;
        if (!connection->context)
                return;
        if (err->code == CODE_UNAVAILABLE || err->code == CODE_CONNECT || err->code == CODE_TIMEOUT) {
                connection_drop(connection, err);
                return;
        }
        if (err->code != CODE_NONE)
                judge(connection, (struct span){"", 0}, false);
        connection->state = LINK_UP;
        connection->failures = 0;
        connection->state_deadline = clock_now_ms() + (connection->policy_ok ? CHECK_MS : CHECK_UNREADY_MS);
        tell(connection);
}

static void on_info(struct redis_connection *connection, struct redis_call *call, const struct error *err)
{
        struct redis_call *config;

        if (err->code != CODE_AUTH && err->code != CODE_BAD_RESPONSE) {
                on_judged(connection, call, err);
                return;
        }
        config = connection->context ? call_own(connection, "CONFIG", on_judged) : NULL;
        if (!config)
                return;
        redis_call_span(config, SPAN("GET"));
        redis_call_span(config, SPAN("maxmemory-policy"));
        redis_call_send(config, decode_config, connection, false);
}

static void check(struct redis_connection *connection)
{
        struct redis_call *call = call_own(connection, "INFO", on_info);

        if (call)
                redis_call_send(call, decode_info, connection, false);
}

static void greet(struct redis_connection *connection)
{
        const struct redis_address *address = &connection->address;
        struct redis_call *call;

        connection->state = LINK_GREETING;
        if (*address->password) {
                call = call_own(connection, "AUTH", greeting_password);
                if (*address->username)
                        redis_call_span(call, span_of(address->username));
                redis_call_span(call, span_of(address->password));
                redis_call_send(call, NULL, NULL, false);
        }
        if (address->database) {
                call = call_own(connection, "SELECT", greeting_step);
                redis_call_int(call, address->database);
                redis_call_send(call, NULL, NULL, false);
        }
        call = call_own(connection, "CLIENT", greeting_option);
        redis_call_span(call, SPAN("SETNAME"));
        redis_call_text(call, (const struct span[]){SPAN("millrace:"), span_of(connection->settings->worker.name)}, 2);
        redis_call_send(call, NULL, NULL, false);
        for (int script = 0; script < SCRIPT_COUNT; script++) {
                connection->script_sha[script][0] = '\0';
                call = call_own(connection, "SCRIPT", greeting_option);
                redis_call_span(call, SPAN("LOAD"));
                redis_call_span(call, span_of(redis_script_sources[script]));
                redis_call_send(call, decode_sha, connection->script_sha[script], false);
        }
        check(connection);
}

/* ---- the context ---- */

static void on_connect(const redisAsyncContext *context, int status)
{
        struct redis_connection *connection = context->data;
        struct error err;

        if (connection->context != context)
                return;
        if (status != REDIS_OK) { /* hiredis frees it */
                error_set(&err, CODE_CONNECT, "can't connect to redis: %s", context->errstr ? context->errstr : "refused");
                go_down(connection, &err);
        } else if (redis_address_secure(&connection->address, &connection->context->c, &connection->session, &err) < 0) {
                connection_drop(connection, &err);
        } else {
                greet(connection);
        }
}

static void on_disconnect(const redisAsyncContext *context, int status)
{
        struct redis_connection *connection = context->data;
        struct error err;

        (void)status;
        if (connection->context != context)
                return;
        connection_reason(connection, &err);
        go_down(connection, &err);
}

static void start(struct redis_connection *connection)
{
        redisOptions options = {0};
        redisAsyncContext *context;
        struct error err;

        REDIS_OPTIONS_SET_TCP(&options, connection->address.host, connection->address.port);
        options.options |= REDIS_OPT_PREFER_IP_UNSPEC;
        context = redisAsyncConnectWithOptions(&options);
        if (!context || context->err) {
                error_set(&err, CODE_CONNECT, "can't connect to redis: %s", context ? context->errstr : "no memory");
                if (context)
                        redisAsyncFree(context);
                go_down(connection, &err);
                return;
        }
        context->data = connection;
        connection->context = context;
        connection->state = LINK_CONNECTING;
        connection->state_deadline = clock_now_ms() + connection->settings->redis.timeout_ms;
        redis_adapter_attach(&connection->adapter, context);
        redisAsyncSetDisconnectCallback(context, on_disconnect);
        redisAsyncSetConnectCallback(context, on_connect);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
        struct redis_connection *connection = CONTAINER_OF(timer, struct redis_connection, tick);
        const struct redis_call *oldest = connection->under_way.first;
        int64_t now = clock_now_ms();
        bool late = now >= connection->state_deadline;
        struct error err;

        (void)loop;
        (void)events;
        if (oldest && now >= oldest->deadline && connection->context) {
                error_set(&err, CODE_TIMEOUT, "redis does not answer in time");
                connection_drop(connection, &err);
        } else if (connection->state == LINK_DOWN && late) {
                start(connection);
        } else if (connection->state == LINK_UP && late) {
                connection->state_deadline = now + CHECK_MS;
                check(connection);
        } else if (late && connection->state != LINK_DOWN) {
                error_set(&err, CODE_TIMEOUT, "redis can't be reached in time");
                connection_drop(connection, &err);
        }
}

struct redis_connection *redis_connection_new(struct ev_loop *loop, struct settings *settings, size_t pending_max,
                                              struct error *err)
{
        struct redis_connection *connection;

        assert(pending_max >= 1 && pending_max <= PENDING_MAX);
        connection = calloc(1, sizeof *connection);
        if (!connection || calls_init(connection, pending_max, err) < 0) {
                free(connection);
                error_set(err, CODE_INTERNAL, "no memory for the connection to redis");
                return NULL;
        }
        if (redis_address_init(&connection->address, settings, err) < 0) {
                calls_fini(connection);
                free(connection);
                return NULL;
        }
        connection->settings = settings_ref(settings);
        connection->prefix = span_of(settings->redis.prefix);
        if (getrandom(&connection->chance, sizeof connection->chance, GRND_NONBLOCK) < 0)
                connection->chance = (uint64_t)clock_now_us();
        connection->commands = metrics_counter("millrace_redis_commands_total", "Commands sent to Redis.", NULL);
        connection->errors = metrics_counter("millrace_redis_errors_total", "Commands to Redis that ended with an error.", NULL);
        connection->reconnects = metrics_counter("millrace_redis_disconnects_total", "Connections to Redis lost or refused.", NULL);
        connection->gauge = metrics_gauge("millrace_redis_ready", "1 when Redis is connected, writable and set to noeviction.",
                                          NULL);
        redis_adapter_init(&connection->adapter, loop, call_before_write, connection);
        snprintf(connection->reason, sizeof connection->reason, "connecting to redis");
        ev_timer_init(&connection->tick, on_tick, TICK_S, TICK_S);
        ev_timer_start(loop, &connection->tick);
        start(connection);
        return connection;
}

void redis_connection_free(struct redis_connection *connection)
{
        struct error err;

        if (!connection)
                return;
        connection->on_change = NULL;
        connection->ready_told = false; /* no news of an end that is wanted */
        connection->failures++;
        error_set(&err, CODE_CONNECT, "connection to redis closed");
        connection_drop(connection, &err);
        ev_timer_stop(connection->adapter.loop, &connection->tick);
        redis_address_fini(&connection->address);
        calls_fini(connection);
        settings_unref(connection->settings);
        free(connection);
}

bool redis_connection_ready(const struct redis_connection *connection, const char **ret_reason)
{
        bool ready = connection->state == LINK_UP && connection->policy_ok;

        if (!ready && ret_reason)
                *ret_reason = connection->reason;
        return ready;
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
