#include "workers/cli/results_client.h"

#include <ev.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/redis/results.h"

enum { SERVER_PATIENCE_MS = 15000, RETRY_EVERY_MS = 50 };

struct wanted {
        char *tenant, *id; /* one allocation */
};

struct slot {
        struct op op;
        struct buffer json;
        struct result_read read;
};

struct results_client {
        struct ev_loop *loop;
        struct redis_connection *connection;
        struct settings *settings;
        struct wanted *wanted; /* [outstanding] */
        size_t outstanding, outstanding_max, cap, cursor;
        struct slot slots[RESULTS_BATCH];
};

struct results_client *results_client_new(struct settings *settings, size_t outstanding_max, struct error *err)
{
        struct results_client *client = calloc(1, sizeof *client);

        if (!client) {
                error_set(err, CODE_INTERNAL, "out of memory");
                return NULL;
        }
        signal(SIGPIPE, SIG_IGN);
        client->outstanding_max = outstanding_max;
        client->settings = settings_ref(settings);
        client->loop = ev_loop_new(EVFLAG_AUTO);
        if (client->loop)
                client->connection = redis_connection_new(client->loop, settings, 2 * RESULTS_BATCH, err);
        else
                error_set(err, CODE_INTERNAL, "no event loop");
        if (!client->connection) {
                results_client_free(client);
                return NULL;
        }
        for (size_t i = 0; i < RESULTS_BATCH; i++)
                buffer_init(&client->slots[i].json, RESULT_BYTES_MAX);
        return client;
}

void results_client_free(struct results_client *client)
{
        if (!client)
                return;
        redis_connection_free(client->connection);
        if (client->loop)
                ev_loop_destroy(client->loop);
        for (size_t i = 0; i < RESULTS_BATCH; i++)
                buffer_fini(&client->slots[i].json);
        for (size_t i = 0; i < client->outstanding; i++)
                free(client->wanted[i].tenant);
        free(client->wanted);
        settings_unref(client->settings);
        free(client);
}

int results_client_add(struct results_client *client, const char *tenant, const char *id, struct error *err)
{
        const size_t tenant_bytes = strlen(tenant) + 1, id_bytes = strlen(id) + 1;
        struct wanted *grown;
        char *names;

        if (client->outstanding == client->outstanding_max)
                return error_set(err, CODE_INTERNAL, "more than %zu results are waited for", client->outstanding_max);
        if (client->outstanding == client->cap) {
                const size_t cap = client->cap ? 2 * client->cap : 64;

                grown = realloc(client->wanted, cap * sizeof *grown);
                if (!grown)
                        return error_set(err, CODE_INTERNAL, "out of memory");
                client->wanted = grown;
                client->cap = cap;
        }
        names = malloc(tenant_bytes + id_bytes);
        if (!names)
                return error_set(err, CODE_INTERNAL, "out of memory");
        memcpy(names, tenant, tenant_bytes);
        memcpy(names + tenant_bytes, id, id_bytes);
        client->wanted[client->outstanding++] = (struct wanted){.tenant = names, .id = names + tenant_bytes};
        return 0;
}

size_t results_client_outstanding(const struct results_client *client)
{
        return client->outstanding;
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
        (void)timer;
        (void)events;
        ev_break(loop, EVBREAK_ONE);
}

void results_client_sleep(struct results_client *client, int64_t ms)
{
        ev_timer timer;

        ev_now_update(client->loop);
        ev_timer_init(&timer, on_timer, (double)ms / 1000, 0);
        ev_timer_start(client->loop, &timer);
        ev_run(client->loop, 0);
        ev_timer_stop(client->loop, &timer);
}

static void on_done(struct op *op)
{
        (void)op; /* its state is looked at after each turn of the loop */
}

/* Turns the loop until op has ended; every command has a timeout of its own. */
static void await(struct results_client *client, struct op *op)
{
        while (op->state == OP_BUSY)
                ev_run(client->loop, EVRUN_ONCE);
}

static bool worth_waiting(const struct error *err)
{
        return err->code == CODE_CONNECT || err->code == CODE_UNAVAILABLE || err->code == CODE_TIMEOUT;
}

/* The batch's GETs in one write; the first error of a command, if any. */
static int read_batch(struct results_client *client, size_t first, size_t count, struct error *err)
{
        int rc = 0;

        for (size_t i = 0; i < count; i++) {
                struct slot *slot = &client->slots[i];
                const struct wanted *wanted = &client->wanted[first + i];

                buffer_reset(&slot->json);
                slot->read = (struct result_read){.json = &slot->json};
                op_init(&slot->op, on_done);
                result_get(client->connection, &slot->op, span_of(wanted->tenant), span_of(wanted->id), &slot->read);
        }
        for (size_t i = 0; i < count; i++) {
                await(client, &client->slots[i].op);
                if (client->slots[i].op.err.code != CODE_NONE && rc == 0) {
                        *err = client->slots[i].op.err;
                        rc = -1;
                }
        }
        return rc;
}

int results_client_poll(struct results_client *client,
                        void (*on_result)(void *user, const char *tenant, const char *id, struct span json), void *user,
                        size_t *ret_found, struct error *err)
{
        const int64_t patience = clock_now_ms() + SERVER_PATIENCE_MS;
        size_t first, count, found = 0;

        *ret_found = 0;
        if (client->outstanding == 0)
                return 0;
        if (client->cursor >= client->outstanding)
                client->cursor = 0;
        first = client->cursor;
        count = client->outstanding - first < RESULTS_BATCH ? client->outstanding - first : RESULTS_BATCH;
        while (read_batch(client, first, count, err) < 0) {
                if (!worth_waiting(err) || clock_now_ms() > patience)
                        return -1;
                results_client_sleep(client, RETRY_EVERY_MS);
        }
        for (size_t i = count; i-- > 0;) { /* backwards: the last one takes the place of one that goes */
                struct slot *slot = &client->slots[i];
                const struct wanted done = client->wanted[first + i];

                if (!slot->read.found)
                        continue;
                client->wanted[first + i] = client->wanted[--client->outstanding];
                on_result(user, done.tenant, done.id, buffer_view(&slot->json));
                free(done.tenant);
                found++;
        }
        for (size_t i = 0; i < count; i++) /* a few large results must not stay in memory */
                buffer_fini(&client->slots[i].json);
        client->cursor = first + count - found;
        *ret_found = found;
        return 0;
}

int results_client_cancel(struct results_client *client, const char *tenant, const char *id, struct span json,
                          const char **ret_status, struct error *err)
{
        const int64_t patience = clock_now_ms() + SERVER_PATIENCE_MS, result_ttl_s = client->settings->redis.result_ttl_s;
        const int64_t dedupe_ttl_s = client->settings->redis.dedupe_ttl_s;
        const struct claim claim = {
                .tenant = span_of(tenant), .id = span_of(id), .ttl_s = result_ttl_s > dedupe_ttl_s ? result_ttl_s : dedupe_ttl_s};
        struct result_answer answer = {0};
        struct op op;

        for (;;) {
                op_init(&op, on_done);
                result_cancel(client->connection, &op, &claim, json, result_ttl_s, &answer);
                await(client, &op);
                if (op.err.code == CODE_NONE)
                        break;
                if (!worth_waiting(&op.err) || clock_now_ms() > patience) {
                        *err = op.err;
                        return -1;
                }
                results_client_sleep(client, RETRY_EVERY_MS);
        }
        *ret_status = answer.verdict == RESULT_STORED ? "cancelled" : claim_status_names[answer.status];
        return 0;
}
