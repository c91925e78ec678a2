/* Commands: built in a slot of the connection's fixed store, written to a link's wire in one piece, answered in order.
 * Failure modes: a reply lost with its connection ends its call with the reason of the loss; a script that the server no longer
 * knows is sent once more in full (which is why arguments are borrowed until the op is done); the room for commands is bounded in
 * number and in bytes not yet written. A call that was given up keeps its slot until its reply comes, and is neither decoded nor
 * sent again. In a cluster a call that a node refuses goes on to the one it names, a bounded number of times. */
#include "queues/redis/redis_call.h"

#include <assert.h>
#include <hiredis/sds.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "queues/redis/redis_private.h"

enum { COMMAND_BYTES_MAX = 64 << 20, UNWRITTEN_BYTES_MAX = 128 << 20, SCRATCH_KEPT_BYTES = 1 << 20, HEADER_BYTES = 24 };

void call_list_init(struct call_list *list)
{
        *list = (struct call_list){NULL, &list->first};
}

static void list_push(struct call_list *list, struct redis_call *call)
{
        call->next = NULL;
        *list->end = call;
        list->end = &call->next;
}

static struct redis_call *list_pop(struct call_list *list)
{
        struct redis_call *call = list->first;

        list->first = call->next;
        if (!list->first)
                list->end = &list->first;
        return call;
}

int calls_init(struct redis_connection *connection, size_t pending_max, struct error *err)
{
        connection->pending_max = pending_max;
        connection->calls = calloc(pending_max + connection->link_count * (CALLS_OWN_MAX + 1), sizeof *connection->calls);
        if (!connection->calls)
                return error_set(err, CODE_INTERNAL, "no memory for %zu commands", pending_max);
        buffer_init(&connection->scratch, COMMAND_BYTES_MAX);
        return 0;
}

void calls_fini(struct redis_connection *connection)
{
        free(connection->calls);
        buffer_fini(&connection->scratch);
}

/* Ends a call: its slot is free before anyone hears of it. */
static void call_end(struct redis_call *call, const struct error *err)
{
        struct redis_connection *connection = call->connection;
        struct op *op = call->op;

        if (call->own_done) {
                call->link->own_pending--;
                call->own_done(call->link, call, err); /* may begin another: hence one slot more than CALLS_OWN_MAX */
        } else {
                connection->pending--;
                if (err->code == CODE_UNAVAILABLE || err->code == CODE_AUTH)
                        connection_refused(connection, err);
        }
        if (err->code != CODE_NONE)
                metrics_add(connection->errors, 1);
        call->op = NULL;
        call->next = connection->calls_free;
        connection->calls_free = call;
        if (op)
                op_done(op, err);
}

void calls_fail(struct call_list *list, const struct error *err)
{
        while (list->first)
                call_end(list_pop(list), err);
}

static void abort_call(struct op *op)
{
        struct redis_call *call = op->work;

        call->op = NULL;
}

static struct redis_call *take_slot(struct redis_connection *connection)
{
        struct redis_call *call = connection->calls_free;

        if (call)
                connection->calls_free = call->next;
        else
                call = &connection->calls[connection->calls_used++];
        call->connection = connection;
        call->link = connection->cluster ? NULL : connection->links;
        call->own_done = NULL;
        call->op = NULL;
        call->script = SCRIPT_NONE;
        call->failed = call->in_full = call->asking = false;
        call->hops = 0;
        call->span_count = call->text_len = 0;
        return call;
}

/* Why nothing can be sent on the link, and when that may change. */
static int not_connected(const struct redis_link *link, struct error *err)
{
        int64_t wait_ms = link->state == LINK_DOWN ? link->state_deadline - clock_now_ms() : 0;

        error_set(err, CODE_CONNECT, "%s", link->reason);
        err->retry_after_ms = wait_ms > 0 ? wait_ms : 1;
        return -1;
}

static struct redis_call *begin(struct redis_connection *connection, struct op *op)
{
        struct redis_call *call;
        struct error err;

        if (connection->open && connection->pending < connection->pending_max) {
                call = take_slot(connection);
                connection->pending++;
                call->op = op;
                op_begin(op, abort_call, call);
                return call;
        }
        if (connection->open)
                error_set(&err, CODE_UNAVAILABLE, "%zu commands to redis under way already", connection->pending);
        else
                not_connected(connection->links, &err);
        metrics_add(connection->errors, 1);
        op_begin(op, NULL, NULL);
        op_done(op, &err);
        return NULL;
}

struct redis_call *redis_call_command(struct redis_connection *connection, struct op *op, const char *command)
{
        struct redis_call *call = begin(connection, op);

        if (call)
                redis_call_span(call, span_of(command));
        return call;
}

static void name_script(struct redis_call *call)
{
        const char *sha = call->connection->script_sha[call->script];

        if (*sha && !call->in_full) {
                call->spans[0] = SPAN("EVALSHA");
                call->spans[1] = (struct span){sha, SCRIPT_SHA_BYTES - 1};
        } else {
                call->in_full = true;
                call->spans[0] = SPAN("EVAL");
                call->spans[1] = span_of(redis_script_sources[call->script]);
        }
}

struct redis_call *redis_call_script(struct redis_connection *connection, struct op *op, enum redis_script script, int keys)
{
        struct redis_call *call = begin(connection, op);

        if (!call)
                return NULL;
        call->script = script;
        name_script(call);
        call->span_count = 2;
        redis_call_int(call, keys);
        return call;
}

struct redis_call *call_own(struct redis_link *link, const char *command,
                            void (*own_done)(struct redis_link *, struct redis_call *, const struct error *))
{
        struct redis_call *call;

        if (link->own_pending == CALLS_OWN_MAX)
                return NULL;
        call = take_slot(link->connection);
        call->link = link;
        link->own_pending++;
        call->own_done = own_done;
        redis_call_span(call, span_of(command));
        return call;
}

void redis_call_span(struct redis_call *call, struct span argument)
{
        if (call->span_count == CALL_SPANS_MAX)
                call->failed = true;
        else
                call->spans[call->span_count++] = argument;
}

void redis_call_text(struct redis_call *call, const struct span *parts, size_t count)
{
        size_t begin_at = call->text_len;

        for (size_t i = 0; i < count; i++) {
                if (parts[i].len > CALL_TEXT_MAX - call->text_len) {
                        call->failed = true;
                        return;
                }
                if (parts[i].len)
                        memcpy(call->text + call->text_len, parts[i].data, parts[i].len);
                call->text_len += parts[i].len;
        }
        redis_call_span(call, (struct span){call->text + begin_at, call->text_len - begin_at});
}

/* Decimal digits of value before end; returns where they begin. */
static char *digits_before(char *end, uint64_t value)
{
        do {
                *--end = (char)('0' + value % 10);
                value /= 10;
        } while (value);
        return end;
}

void redis_call_int(struct redis_call *call, int64_t argument)
{
        char text[HEADER_BYTES], *end = text + sizeof text;
        char *at = digits_before(end, argument < 0 ? 0 - (uint64_t)argument : (uint64_t)argument);

        if (argument < 0)
                *--at = '-';
        redis_call_text(call, &(struct span){at, (size_t)(end - at)}, 1);
}

void redis_call_key(struct redis_call *call, struct span tenant, struct span id, const char *name)
{
        const struct span parts[] = {call->connection->prefix, SPAN(":{"), tenant, SPAN(":"), id, SPAN("}:"), span_of(name)};

        redis_call_text(call, parts, COUNT_OF(parts));
}

void redis_call_document(struct redis_call *call, struct span tenant, struct span collection, struct span document)
{
        const struct span parts[] = {call->connection->prefix, SPAN(":{"), tenant, SPAN(":doc:"), collection, SPAN(":"), document,
                                     SPAN("}:document")};

        redis_call_text(call, parts, COUNT_OF(parts));
}

void redis_call_channel(struct redis_call *call, struct span tenant)
{
        const struct span parts[] = {call->connection->prefix, SPAN(":done:"), tenant};

        redis_call_text(call, parts, COUNT_OF(parts));
}

/* c, a number, CR LF. */
static char *put_header(char *at, char c, size_t number)
{
        char text[HEADER_BYTES], *end = text + sizeof text, *first = digits_before(end, number);

        *at++ = c;
        memcpy(at, first, (size_t)(end - first));
        at += end - first;
        *at++ = '\r';
        *at++ = '\n';
        return at;
}

static int render(struct redis_call *call, struct error *err)
{
        struct buffer *scratch = &call->connection->scratch;
        size_t bytes = HEADER_BYTES;
        char *begin_at, *at;

        for (size_t i = 0; i < call->span_count; i++) {
                bytes += HEADER_BYTES + 2;
                if (call->spans[i].len > COMMAND_BYTES_MAX || bytes + call->spans[i].len > COMMAND_BYTES_MAX)
                        return error_set(err, CODE_TOO_LARGE, "a command to redis of more than %d bytes", COMMAND_BYTES_MAX);
                bytes += call->spans[i].len;
        }
        if (scratch->cap > SCRATCH_KEPT_BYTES) {
                buffer_fini(scratch);
                buffer_init(scratch, COMMAND_BYTES_MAX);
        }
        buffer_reset(scratch);
        at = begin_at = buffer_reserve(scratch, bytes);
        if (!at)
                return error_set(err, CODE_INTERNAL, "no memory for a command to redis of %zu bytes", bytes);
        at = put_header(at, '*', call->span_count);
        for (size_t i = 0; i < call->span_count; i++) {
                at = put_header(at, '$', call->spans[i].len);
                if (call->spans[i].len)
                        memcpy(at, call->spans[i].data, call->spans[i].len);
                at += call->spans[i].len;
                *at++ = '\r';
                *at++ = '\n';
        }
        buffer_advance(scratch, (size_t)(at - begin_at));
        return 0;
}

static void on_reply(redisAsyncContext *context, void *data, void *private_data);

/* A node of a cluster that is taking over a slot serves it only to those who say this right before. */
static void on_asking(struct redis_link *link, struct redis_call *call, const struct error *err)
{
        (void)link;
        (void)call;
        (void)err; /* the command that follows says what is wrong */
}

static int transmit(struct redis_call *call, struct error *err)
{
        struct redis_link *link = call->link;
        struct span command;

        if (!link->context)
                return error_set(err, CODE_CONNECT, "connection to redis lost");
        if (sdslen(link->context->c.obuf) > UNWRITTEN_BYTES_MAX)
                return error_set(err, CODE_UNAVAILABLE, "redis does not take commands fast enough");
        if (call->asking) {
                struct redis_call *asking = call_own(link, "ASKING", on_asking);

                if (!asking)
                        return error_set(err, CODE_UNAVAILABLE, "the redis cluster is moving slots");
                redis_call_send(asking, NULL, NULL, false);
                call->asking = false;
        }
        if (render(call, err) < 0)
                return -1;
        command = buffer_view(&call->connection->scratch);
        if (redisAsyncFormattedCommand(link->context, on_reply, call, command.data, command.len) != REDIS_OK)
                return error_set(err, CODE_CONNECT, "connection to redis lost");
        metrics_add(call->connection->commands, 1);
        call->deadline = clock_now_ms() + call->connection->settings->redis.timeout_ms;
        if (call->durable)
                link->durable_unwaited++;
        list_push(&link->under_way, call);
        return 0;
}

int call_dispatch(struct redis_call *call, struct error *err)
{
        struct redis_link *link = call->link;

        if (link->state == LINK_UP)
                return transmit(call, err);
        if (link->failures)
                return not_connected(link, err);
        list_push(&link->awaiting_link, call); /* connected for the first time: ends either way with its state's deadline */
        return 0;
}

void calls_release(struct redis_link *link)
{
        struct error err;

        while (link->state == LINK_UP && link->awaiting_link.first) {
                struct redis_call *call = list_pop(&link->awaiting_link);

                error_set(&err, CODE_CANCELLED, "given up");
                if (!call->op || transmit(call, &err) < 0)
                        call_end(call, &err);
        }
}

void redis_call_send(struct redis_call *call, enum call_decoded (*decode)(struct redisReply *reply, void *out, struct error *err),
                     void *out, bool durable)
{
        struct error err;

        call->decode = decode;
        call->out = out;
        call->durable = durable && call->connection->settings->redis.wait_replicas > 0;
        if (call->failed) {
                error_set(&err, CODE_INTERNAL, "a key for redis is too long");
                call_end(call, &err);
                return;
        }
        if (call->link) {
                if (transmit(call, &err) < 0)
                        call_end(call, &err);
                return;
        }
        call->resend_before = clock_now_ms() + call->connection->settings->redis.timeout_ms;
        call->link = cluster_route(call, &err);
        if (!call->link || call_dispatch(call, &err) < 0)
                call_end(call, &err);
}

/* True: the call goes on. False: it ends with *err. */
static bool on_error_reply(struct redis_call *call, const redisReply *reply, struct error *err)
{
        if (reply_begins(reply, "NOSCRIPT") && call->op && call->script != SCRIPT_NONE && !call->in_full) {
                call->in_full = true;
                name_script(call);
                return transmit(call, err) == 0;
        }
        reply_error(reply, err);
        return call->op && call->connection->cluster && cluster_follow(call, reply, err);
}

static void on_reply(redisAsyncContext *context, void *data, void *private_data)
{
        struct redis_call *call = private_data;
        struct redis_link *link = call->link;
        redisReply *reply = data;
        enum call_decoded decoded = CALL_UNCHANGED;
        struct error err;

        assert(link->under_way.first == call);
        list_pop(&link->under_way);
        error_clear(&err);
        if (!reply) {
                if (link->context == context)
                        link_loss(link, &err);
                else
                        err = link->loss;
        } else if (reply->type == REDIS_REPLY_ERROR) {
                bool useless = reply_begins(reply, "READONLY") || reply_begins(reply, "NOAUTH") ||
                               reply_begins(reply, "MASTERDOWN");

                if (on_error_reply(call, reply, &err))
                        return;
                if (useless && link->context == context)
                        link_drop(link, &err); /* another server may be behind the name by and by */
        } else if ((call->op || call->own_done) && call->decode) {
                decoded = call->decode(reply, call->out, &err);
        }
        if (call->durable && decoded == CALL_DECODED)
                list_push(&link->awaiting_replicas, call);
        else
                call_end(call, &err);
}

static enum call_decoded decode_replicas(struct redisReply *reply, void *out, struct error *err)
{
        struct redis_link *link = out;

        return reply_int(reply, -1, &link->replicas) ? CALL_DECODED : reply_unexpected(err);
}

static void on_waited(struct redis_link *link, struct redis_call *call, const struct error *failure)
{
        struct error err = *failure;
        int wanted = link->connection->settings->redis.wait_replicas;

        (void)call;
        if (err.code == CODE_NONE && link->replicas < wanted)
                error_set(&err, CODE_UNAVAILABLE, "written to %" PRId64 " of %d redis replicas in time", link->replicas, wanted);
        calls_fail(&link->awaiting_replicas, &err);
        call_before_write(link); /* there may have been no room for one */
}

void call_before_write(void *user)
{
        struct redis_link *link = user;
        const struct settings *settings = link->connection->settings;
        struct redis_call *call;

        if (!link->durable_unwaited || !link->context)
                return;
        call = call_own(link, "WAIT", on_waited);
        if (!call)
                return; /* many are under way: the next one covers these */
        link->durable_unwaited = 0;
        redis_call_int(call, settings->redis.wait_replicas);
        redis_call_int(call, settings->redis.timeout_ms / 2 + 1);
        redis_call_send(call, decode_replicas, link, false);
}
