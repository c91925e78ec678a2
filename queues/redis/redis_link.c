/* The states of one server's connection.
 *
 * Greeting, in one pipeline: AUTH, SELECT, CLIENT SETNAME, ROLE (with Sentinel), SCRIPT LOAD of each script, INFO. Only then do
 * commands go out. INFO tells maxmemory-policy and role; where an ACL forbids it, CONFIG GET is asked for the policy; where that is
 * forbidden too the server is not ready. A sentinel is greeted with AUTH alone.
 *
 * Failure modes: a server that accepts and never answers is given up after redis.timeout_ms, with everything under way; one that
 * says LOADING or READONLY is left and tried again after the backoff (0.1…5 s, jittered). A host name is resolved by the system's
 * resolver, which may block the loop for as long as that takes: give an address where that matters. SIGPIPE must be ignored by
 * the process. */
#include <assert.h>
#include <stdio.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/redis/redis_private.h"

enum { CHECK_MS = 10000, CHECK_UNREADY_MS = 2000, INFO_BYTES_MAX = 65536 };

void link_init(struct redis_link *link, struct redis_connection *connection, const char *host, int port)
{
        *link = (struct redis_link){.connection = connection, .port = port};
        snprintf(link->host, sizeof link->host, "%s", host);
        snprintf(link->reason, sizeof link->reason, "connecting to redis");
        call_list_init(&link->under_way);
        call_list_init(&link->awaiting_replicas);
        call_list_init(&link->awaiting_link);
        redis_adapter_init(&link->adapter, connection->loop, call_before_write, link);
}

static const struct redis_address *login_of(const struct redis_link *link)
{
        return link->sentinel ? sentinel_login(link->connection) : &link->connection->address;
}

bool link_idle(const struct redis_link *link)
{
        return !link->under_way.first && !link->awaiting_replicas.first && !link->awaiting_link.first &&
               (link->context || !link->adapter.context);
}

/* The context is gone or going: wait for the next try. */
static void go_down(struct redis_link *link, const struct error *err)
{
        link->context = NULL;
        link->session = NULL;
        link->durable_unwaited = 0;
        link->loss = *err;
        snprintf(link->reason, sizeof link->reason, "%s", err->message);
        link->state = LINK_DOWN;
        link->policy_ok = false;
        link->state_deadline = clock_now_ms() + connection_backoff_ms(link->connection, link->failures++);
        metrics_add(link->connection->reconnects, 1);
        connection_link_changed(link);
        calls_fail(&link->awaiting_replicas, err);
        calls_fail(&link->awaiting_link, err);
}

void link_loss(const struct redis_link *link, struct error *err)
{
        const char *refusal = redis_address_refusal(link->session), *other = link->context->errstr;

        if (refusal)
                error_set(err, CODE_CONNECT, "TLS to redis: certificate refused: %s", refusal);
        else
                error_set(err, CODE_CONNECT, "connection to redis lost: %s", other && *other ? other : "closed");
}

void link_drop(struct redis_link *link, const struct error *err)
{
        redisAsyncContext *context = link->context;

        if (!context)
                return;
        go_down(link, err);
        redisAsyncFree(context); /* inside a callback of hiredis: when that returns */
}

/* ---- greeting ---- */

static void greeting_step(struct redis_link *link, struct redis_call *call, const struct error *err)
{
        (void)call;
        if (err->code != CODE_NONE)
                link_drop(link, err);
}

/* A server without a password answers AUTH with a plain ERR. */
static void greeting_password(struct redis_link *link, struct redis_call *call, const struct error *failure)
{
        struct error err = *failure;

        if (err.code == CODE_BAD_RESPONSE)
                error_set(&err, CODE_AUTH, "redis refuses AUTH: is a password set there?");
        greeting_step(link, call, &err);
}

static void greeting_option(struct redis_link *link, struct redis_call *call, const struct error *err)
{
        (void)call;
        if (err->code == CODE_UNAVAILABLE)
                link_drop(link, err);
}

static enum call_decoded decode_sha(struct redisReply *reply, void *out, struct error *err)
{
        struct span sha;

        if (!reply_span(reply, -1, &sha) || sha.len != SCRIPT_SHA_BYTES - 1)
                return reply_unexpected(err);
        memcpy(out, sha.data, sha.len);
        return CALL_DECODED;
}

/* With Sentinel: the server it named may not have been promoted yet, or not any more. */
static enum call_decoded decode_role(struct redisReply *reply, void *out, struct error *err)
{
        struct span role;

        (void)out;
        if (!reply_span(reply, 0, &role))
                return reply_unexpected(err);
        if (span_is(role, "master"))
                return CALL_DECODED;
        error_set(err, CODE_UNAVAILABLE, "the redis that sentinel names is no master");
        return CALL_FAILED;
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

static void judge(struct redis_link *link, struct span policy, bool read_only)
{
        link->policy_ok = false;
        link->replica = read_only;
        if (read_only)
                snprintf(link->reason, sizeof link->reason, "redis is a read-only replica");
        else if (policy.len == 0)
                snprintf(link->reason, sizeof link->reason,
                         "redis's maxmemory-policy can't be read: its ACL must allow INFO or CONFIG GET");
        else if (!span_is(policy, "noeviction"))
                snprintf(link->reason, sizeof link->reason, "redis's maxmemory-policy is %.*s, must be noeviction",
                         (int)(policy.len < 32 ? policy.len : 32), policy.data);
        else
                link->policy_ok = true;
}

static enum call_decoded decode_info(struct redisReply *reply, void *out, struct error *err)
{
        struct redis_link *link = out;
        struct span info;

        if (!reply_span(reply, -1, &info))
                return reply_unexpected(err);
        if (info.len > INFO_BYTES_MAX)
                info.len = INFO_BYTES_MAX;
        if (span_is(info_field(info, "loading"), "1")) {
                error_set(err, CODE_UNAVAILABLE, "redis is loading its data");
                return CALL_FAILED;
        }
        judge(link, info_field(info, "maxmemory_policy"),
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

static void come_up(struct redis_link *link)
{
        link->state = LINK_UP;
        link->failures = 0;
        link->state_deadline = clock_now_ms() + (link->policy_ok ? CHECK_MS : CHECK_UNREADY_MS);
        connection_link_changed(link);
        if (link->state == LINK_UP)
                calls_release(link);
}

/* The last step of a greeting, and of each later check. */
static void on_judged(struct redis_link *link, struct redis_call *call, const struct error *failure)
{
        struct error err = *failure;

        (void)call;
        if (!link->context)
                return;
        if (err.code == CODE_NONE && link->replica && link->connection->sentinel)
                error_set(&err, CODE_UNAVAILABLE, "redis is a read-only replica");
        if (err.code == CODE_UNAVAILABLE || err.code == CODE_CONNECT || err.code == CODE_TIMEOUT) {
                link_drop(link, &err);
                return;
        }
        if (err.code != CODE_NONE)
                judge(link, (struct span){"", 0}, false);
        come_up(link);
}

static void on_info(struct redis_link *link, struct redis_call *call, const struct error *err)
{
        struct redis_call *config;

        if (err->code != CODE_AUTH && err->code != CODE_BAD_RESPONSE) {
                on_judged(link, call, err);
                return;
        }
        config = link->context ? call_own(link, "CONFIG", on_judged) : NULL;
        if (!config)
                return;
        redis_call_span(config, SPAN("GET"));
        redis_call_span(config, SPAN("maxmemory-policy"));
        redis_call_send(config, decode_config, link, false);
}

static void check(struct redis_link *link)
{
        struct redis_call *call = call_own(link, "INFO", on_info);

        if (call)
                redis_call_send(call, decode_info, link, false);
}

static void greet_password(struct redis_link *link)
{
        const struct redis_address *login = login_of(link);
        struct redis_call *call;

        if (!*login->password)
                return;
        call = call_own(link, "AUTH", greeting_password);
        if (*login->username)
                redis_call_span(call, span_of(login->username));
        redis_call_span(call, span_of(login->password));
        redis_call_send(call, NULL, NULL, false);
}

static void greet_scripts(struct redis_link *link)
{
        for (int script = 0; script < SCRIPT_COUNT; script++) {
                struct redis_call *call = call_own(link, "SCRIPT", greeting_option);

                redis_call_span(call, SPAN("LOAD"));
                redis_call_span(call, span_of(redis_script_sources[script]));
                redis_call_send(call, decode_sha, link->connection->script_sha[script], false);
        }
}

static void on_sentinel_pong(struct redis_link *link, struct redis_call *call, const struct error *err)
{
        (void)call;
        if (!link->context)
                return;
        if (err->code != CODE_NONE)
                link_drop(link, err);
        else
                come_up(link);
}

static void greet(struct redis_link *link)
{
        struct redis_connection *connection = link->connection;
        struct redis_call *call;

        link->state = LINK_GREETING;
        greet_password(link);
        if (link->sentinel) {
                call = call_own(link, "PING", on_sentinel_pong);
                redis_call_send(call, NULL, NULL, false);
                return;
        }
        if (connection->address.database && !connection->cluster) {
                call = call_own(link, "SELECT", greeting_step);
                redis_call_int(call, connection->address.database);
                redis_call_send(call, NULL, NULL, false);
        }
        call = call_own(link, "CLIENT", greeting_option);
        redis_call_span(call, SPAN("SETNAME"));
        redis_call_text(call, (const struct span[]){SPAN("millrace:"), span_of(connection->settings->worker.name)}, 2);
        redis_call_send(call, NULL, NULL, false);
        if (connection->sentinel) {
                call = call_own(link, "ROLE", greeting_option); /* forbidden by an ACL: INFO tells, too */
                redis_call_send(call, decode_role, NULL, false);
        }
        greet_scripts(link);
        check(link);
}

/* ---- the context ---- */

static void on_connect(const redisAsyncContext *context, int status)
{
        struct redis_link *link = context->data;
        struct error err;

        if (link->context != context)
                return;
        if (status != REDIS_OK) { /* hiredis frees it */
                error_set(&err, CODE_CONNECT, "can't connect to redis: %s", context->errstr ? context->errstr : "refused");
                go_down(link, &err);
        } else if (redis_address_secure(login_of(link), link->host, &link->context->c, &link->session, &err) < 0) {
                link_drop(link, &err);
        } else {
                greet(link);
        }
}

static void on_disconnect(const redisAsyncContext *context, int status)
{
        struct redis_link *link = context->data;
        struct error err;

        (void)status;
        if (link->context != context)
                return;
        link_loss(link, &err);
        go_down(link, &err);
}

void link_start(struct redis_link *link)
{
        redisOptions options = {0};
        redisAsyncContext *context;
        struct error err;

        assert(link->state == LINK_DOWN && !link->context && !link->adapter.context);
        REDIS_OPTIONS_SET_TCP(&options, link->host, link->port);
        options.options |= REDIS_OPT_PREFER_IP_UNSPEC;
        context = redisAsyncConnectWithOptions(&options);
        if (!context || context->err) {
                error_set(&err, CODE_CONNECT, "can't connect to redis: %s", context ? context->errstr : "no memory");
                if (context)
                        redisAsyncFree(context);
                go_down(link, &err);
                return;
        }
        context->data = link;
        link->context = context;
        link->state = LINK_CONNECTING;
        link->state_deadline = clock_now_ms() + link->connection->settings->redis.timeout_ms;
        redis_adapter_attach(&link->adapter, context);
        redisAsyncSetDisconnectCallback(context, on_disconnect);
        redisAsyncSetConnectCallback(context, on_connect);
}

void link_tick(struct redis_link *link, int64_t now)
{
        const struct redis_call *oldest = link->under_way.first;
        bool late = now >= link->state_deadline;
        struct error err;

        if (oldest && now >= oldest->deadline && link->context) {
                error_set(&err, CODE_TIMEOUT, "redis does not answer in time");
                link_drop(link, &err);
        } else if (link->state == LINK_DOWN && late) {
                if (!link->connection->sentinel)
                        link_start(link);
                else if (!link->sentinel)
                        sentinel_find(link->connection);
        } else if (link->state == LINK_UP && late && !link->sentinel) {
                link->state_deadline = now + CHECK_MS;
                check(link);
        } else if (late && link->state != LINK_DOWN && link->state != LINK_UP) {
                error_set(&err, CODE_TIMEOUT, "redis can't be reached in time");
                link_drop(link, &err);
        }
}
