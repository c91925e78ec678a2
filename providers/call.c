/* A call is a struct work from providers_call() until its op is done. Works stand in one of two places of their endpoint (a provider under
 * one settings): the line of those who wait, first in, first out, or among the running ones, at most concurrency_max.
 *
 * Settings come and go (SIGHUP): each has a generation with its own endpoints. An older generation is dropped at the next reload, once
 * nobody but itself holds its settings: then no call of it is under way, and none can come. */
#include "providers/call.h"

#include <stdlib.h>
#include <string.h>

#include "config/base/buffer.h"
#include "config/base/clock.h"
#include "config/base/metrics.h"
#include "config/base/own.h"
#include "providers/endpoint.h"
#include "providers/formats/format.h"
#include "providers/formats/local.h"
#include "providers/http/http_status.h"

enum {
        REQUEST_BYTES_MAX = 32 << 20,
        KEEP_BODY_BYTES = 65536, /* a larger request's buffer is given back */
        SPARE_WORKS_MAX = 1024,
        GENERATIONS_MAX = 8,
};

const char *const served_names[] = {"provider", "cache", "ledger", "fallback"};

enum work_state { WORK_NEW, WORK_WAITING, WORK_ON_WIRE, WORK_ON_POOL };

struct work {
        enum work_state state;
        struct call *call;
        struct settings *settings; /* a reference */
        struct endpoint *endpoint; /* NULL before it is routed */
        struct work *previous, *next;
        ev_timer timer; /* waiting: its deadline */
        struct http_exchange exchange;
        struct buffer body;
        struct op pool_op;
        int64_t started_us; /* local models */
        bool by_deadline;   /* the exchange's time-out is what was left to the deadline */
};

struct providers {
        struct ev_loop *loop;
        struct call_runner runner;
        struct http_client *client;
        struct generation *generations; /* newest first */
        struct work *spares;
        size_t spare_count;
};

/* ---- works ---- */

static void on_waited_too_long(struct ev_loop *loop, ev_timer *timer, int events);
static void on_answer(struct http_exchange *exchange);
static void on_local_done(struct op *op);

static struct work *work_new(struct providers *providers, struct call *call)
{
        struct work *work = providers->spares;

        if (work) {
                providers->spares = work->next;
                providers->spare_count--;
        } else {
                work = calloc(1, sizeof *work);
                if (!work)
                        return NULL;
                buffer_init(&work->body, REQUEST_BYTES_MAX);
                ev_timer_init(&work->timer, on_waited_too_long, 0, 0);
                work->timer.data = work;
                op_init(&work->pool_op, on_local_done);
                work->exchange.on_done = on_answer;
        }
        work->state = WORK_NEW;
        work->call = call;
        work->endpoint = NULL;
        work->settings = settings_ref(call->settings);
        work->previous = work->next = NULL;
        return work;
}

static void work_destroy(struct work *work)
{
        buffer_fini(&work->body);
        free(work);
}

static void work_free(struct providers *providers, struct work *work)
{
        settings_unref(work->settings);
        if (providers->spare_count >= SPARE_WORKS_MAX) {
                work_destroy(work);
                return;
        }
        if (work->body.cap > KEEP_BODY_BYTES) {
                buffer_fini(&work->body);
                buffer_init(&work->body, REQUEST_BYTES_MAX);
        }
        work->next = providers->spares;
        providers->spares = work;
        providers->spare_count++;
}

/* ---- accounts ---- */

static double price_of(const struct price *price, const struct call_usage *usage)
{
        double cached_price = price->cached_input_per_mtok < 0 ? price->input_per_mtok : price->cached_input_per_mtok;
        double input = (double)(usage->input_tokens - usage->cached_tokens) * price->input_per_mtok;

        return (input + (double)usage->cached_tokens * cached_price + (double)usage->output_tokens * price->output_per_mtok) / 1e6;
}

static void account(struct work *work, enum error_code code)
{
        struct endpoint *endpoint = work->endpoint;
        struct call *call = work->call;

        metrics_add(endpoint_calls(endpoint, call->kind, code), 1);
        if (work->state == WORK_ON_WIRE || work->state == WORK_ON_POOL)
                metrics_observe_ms(endpoint->seconds, call->provider_ms);
        if (code != CODE_NONE)
                return;
        call->cost_usd = price_of(&format_model(call)->price, &call->usage);
        metrics_add(endpoint->tokens_in, (double)call->usage.input_tokens);
        metrics_add(endpoint->tokens_out, (double)call->usage.output_tokens);
        metrics_add(endpoint->cost, call->cost_usd);
}

static void show_load(struct endpoint *endpoint)
{
        metrics_set(endpoint->running_gauge, (double)endpoint->running);
        metrics_set(endpoint->waiting_gauge, (double)endpoint->waiting);
}

/* ---- the line ---- */

static void admit(struct endpoint *endpoint);

static void line_join(struct work *work)
{
        struct endpoint *endpoint = work->endpoint;

        work->state = WORK_WAITING;
        work->previous = endpoint->last;
        work->next = NULL;
        *(endpoint->last ? &endpoint->last->next : &endpoint->first) = work;
        endpoint->last = work;
        endpoint->waiting++;
        ev_timer_set(&work->timer, (double)(work->call->deadline - clock_now_ms()) / 1000.0, 0);
        ev_timer_start(endpoint->providers->loop, &work->timer);
        show_load(endpoint);
}

static void line_leave(struct work *work)
{
        struct endpoint *endpoint = work->endpoint;

        ev_timer_stop(endpoint->providers->loop, &work->timer);
        *(work->previous ? &work->previous->next : &endpoint->first) = work->next;
        *(work->next ? &work->next->previous : &endpoint->last) = work->previous;
        work->previous = work->next = NULL;
        work->state = WORK_NEW;
        endpoint->waiting--;
}

/* Gives back whatever place the work has; the next in the line may come. */
static void leave(struct work *work)
{
        struct endpoint *endpoint = work->endpoint;

        switch (work->state) {
        case WORK_NEW:
                return;
        case WORK_WAITING:
                line_leave(work);
                break;
        case WORK_ON_WIRE:
        case WORK_ON_POOL:
                endpoint->running--;
                work->state = WORK_NEW;
                break;
        }
        admit(endpoint);
}

/* The end of a call; err NULL or CODE_NONE: it went well. */
static void finish(struct providers *providers, struct work *work, const struct error *err)
{
        struct call *call = work->call;

        if (work->endpoint)
                account(work, err ? err->code : CODE_NONE);
        op_done(&call->op, err);
        leave(work);
        work_free(providers, work);
}

static void on_waited_too_long(struct ev_loop *loop, ev_timer *timer, int events)
{
        struct work *work = timer->data;
        struct error err;

        (void)loop;
        (void)events;
        error_set(&err, CODE_DEADLINE, "the deadline passed while the call waited for a free place at its provider");
        finish(work->endpoint->providers, work, &err);
}

/* ---- HTTP ---- */

static void read_error(struct work *work, struct error *err)
{
        const struct http_exchange *exchange = &work->exchange;
        struct span after_ms = {"", 0}, after = {"", 0}, date = {"", 0};
        struct http_fault fault = {0};

        work->endpoint->format->fault(exchange->response, &fault);
        http_header(exchange, "retry-after-ms", &after_ms);
        http_header(exchange, "Retry-After", &after);
        http_header(exchange, "Date", &date);
        http_status_error(exchange->status, &fault, http_retry_after(after_ms, after, date, clock_wall_ms()), err);
}

static void on_answer(struct http_exchange *exchange)
{
        struct work *work = CONTAINER_OF(exchange, struct work, exchange);
        struct call *call = work->call;
        struct error err;

        error_clear(&err);
        call->provider_ms = exchange->elapsed_us / 1000;
        if (exchange->outcome != HTTP_ANSWERED) {
                http_outcome_error(exchange, &err);
                if ((exchange->outcome == HTTP_TIMEOUT && work->by_deadline) || call->deadline <= clock_now_ms())
                        error_set(&err, CODE_DEADLINE, "the deadline passed while the provider was answering");
        } else if (exchange->status < 200 || exchange->status > 299) {
                read_error(work, &err);
        } else if (work->endpoint->format->parse(call, exchange->response, &err) == 0) {
                error_clear(&err);
        }
        http_release(exchange);
        finish(work->endpoint->providers, work, &err);
}

static int send_request(struct work *work, struct error *err)
{
        struct endpoint *endpoint = work->endpoint;
        struct call *call = work->call;
        int64_t left_ms = call->deadline - clock_now_ms();

        buffer_reset(&work->body);
        if (endpoint->format->render(call, &work->body, err) < 0)
                return -1;
        if (!buffer_ok(&work->body))
                return error_set(err, buffer_fault(&work->body), "the request for the provider is larger than %d bytes", REQUEST_BYTES_MAX);
        work->exchange.body = buffer_view(&work->body);
        work->by_deadline = left_ms < endpoint->settings->timeout_ms;
        work->exchange.timeout_ms = work->by_deadline ? left_ms : endpoint->settings->timeout_ms;
        if (http_start(endpoint->targets[call->kind], &work->exchange, err) < 0)
                return -1;
        work->state = WORK_ON_WIRE;
        endpoint->running++;
        return 0;
}

/* ---- local models ---- */

static int run_local(void *argument, struct error *err)
{
        struct work *work = argument;

        return local_run(work->call, err);
}

static void local_finish(struct work *work, const struct error *err)
{
        work->call->provider_ms = (clock_now_us() - work->started_us) / 1000;
        finish(work->endpoint->providers, work, err);
}

static void on_local_done(struct op *op)
{
        struct work *work = CONTAINER_OF(op, struct work, pool_op);
        struct error err = op->err;

        op_reset(op);
        local_finish(work, &err);
}

static int start_local(struct work *work, struct error *err)
{
        const struct call_runner *runner = &work->endpoint->providers->runner;
        struct error local_err;

        work->started_us = clock_now_us();
        if (runner->run && !local_is_small(work->call)) {
                if (runner->run(runner->pool, &work->pool_op, run_local, work) < 0)
                        return error_set(err, CODE_RATE_LIMITED, "the pool's queue is full");
                work->state = WORK_ON_POOL;
                work->endpoint->running++;
                return 0;
        }
        work->state = WORK_ON_POOL;
        work->endpoint->running++;
        error_clear(&local_err);
        local_run(work->call, &local_err);
        local_finish(work, &local_err);
        return 0;
}

/* ---- from the line to the provider ---- */

static void start(struct work *work)
{
        struct endpoint *endpoint = work->endpoint;
        struct error err;
        int started;

        if (work->call->deadline <= clock_now_ms()) {
                error_set(&err, CODE_DEADLINE, "the deadline passed before the call could be sent");
                started = -1;
        } else {
                started = endpoint->format ? send_request(work, &err) : start_local(work, &err);
        }
        if (started < 0)
                finish(endpoint->providers, work, &err);
        show_load(endpoint);
}

static void admit(struct endpoint *endpoint)
{
        if (endpoint->admitting)
                return; /* the one below us on the stack goes on */
        endpoint->admitting = true;
        while (endpoint->first && endpoint->running < endpoint->running_max) {
                struct work *work = endpoint->first;

                line_leave(work);
                start(work);
        }
        endpoint->admitting = false;
        show_load(endpoint);
}

static struct generation *generation_of(struct providers *providers, const struct settings *settings)
{
        struct generation *generation = providers->generations;

        while (generation && generation->settings != settings)
                generation = generation->next;
        return generation;
}

static bool inputs_ok(const struct call *call)
{
        switch (call->kind) {
        case KIND_EMBED:
                return call->embed.count >= 1 && call->embed.count <= CALL_INPUTS_MAX && call->embed.dimensions >= 0;
        case KIND_RERANK:
                return call->rerank.count >= 1 && call->rerank.count <= CALL_INPUTS_MAX;
        case KIND_LLM:
                return call->llm.count >= 1 && call->llm.count <= CALL_MESSAGES_MAX && call->llm.max_tokens >= 0;
        default:
                return false;
        }
}

/* "provider/model"; for each call: no printf. */
static char *name_model(struct arena *arena, const char *provider, const char *model)
{
        size_t before = strlen(provider), after = strlen(model);
        char *name = arena_alloc_raw(arena, before + after + 2);

        if (!name)
                return NULL;
        memcpy(name, provider, before);
        name[before] = '/';
        memcpy(name + before + 1, model, after + 1);
        return name;
}

/* Finds the endpoint and names the model. */
static int route(struct providers *providers, struct work *work, struct error *err)
{
        struct call *call = work->call;
        struct generation *generation = generation_of(providers, call->settings);
        const struct model_settings *model;
        struct endpoint *endpoint;

        if (!generation || call->model >= call->settings->model_count)
                return error_set(err, CODE_INTERNAL, "a call of settings that the providers do not know");
        model = format_model(call);
        if (model->kind != call->kind)
                return error_set(err, CODE_NOT_FOUND, "model %s is not of the kind %s", model->name, kind_names[call->kind]);
        if (!inputs_ok(call))
                return error_set(err, CODE_SCHEMA, "a call has no inputs, or too many");
        endpoint = &generation->endpoints[model->provider];
        if (endpoint->format && !endpoint->targets[call->kind])
                return error_set(err, CODE_NOT_FOUND, "provider %s does not serve the kind %s", endpoint->settings->name, kind_names[call->kind]);
        call->model_name = name_model(call->arena, endpoint->settings->name, model->model);
        if (!call->model_name)
                return error_set(err, CODE_INTERNAL, "no room for the answer");
        work->endpoint = endpoint;
        return 0;
}

static void on_abort(struct op *op)
{
        struct work *work = op->work;
        struct providers *providers = work->endpoint->providers;

        if (work->state == WORK_ON_WIRE)
                http_cancel(&work->exchange);
        else if (work->state == WORK_ON_POOL)
                op_abort(&work->pool_op);
        leave(work);
        work_free(providers, work);
}

static void clear_answer(struct call *call)
{
        call->vectors = NULL;
        call->dimensions = 0;
        call->scores = NULL;
        call->text = (struct span){"", 0};
        call->finish_reason = NULL;
        call->usage = (struct call_usage){0};
        call->cost_usd = 0;
        call->model_name = NULL;
        call->served_from = SERVED_PROVIDER;
        call->provider_ms = 0;
}

void providers_call(struct providers *providers, struct call *call)
{
        struct work *work = work_new(providers, call);
        struct endpoint *endpoint;
        struct error err;

        clear_answer(call);
        op_begin(&call->op, on_abort, work);
        if (!work) {
                error_set(&err, CODE_INTERNAL, "no memory for a call");
                op_done(&call->op, &err);
                return;
        }
        if (route(providers, work, &err) < 0) {
                finish(providers, work, &err);
                return;
        }
        endpoint = work->endpoint;
        if (endpoint->running < endpoint->running_max && !endpoint->first) {
                start(work);
        } else if (call->deadline <= clock_now_ms()) {
                error_set(&err, CODE_DEADLINE, "the deadline had passed before the call");
                finish(providers, work, &err);
        } else if (endpoint->waiting >= CALL_WAITING_MAX) {
                error_set(&err, CODE_RATE_LIMITED, "%d calls wait for provider %s already", CALL_WAITING_MAX, endpoint->settings->name);
                finish(providers, work, &err);
        } else {
                line_join(work);
        }
}

size_t providers_running(const struct providers *providers)
{
        size_t count = 0;

        for (const struct generation *generation = providers->generations; generation; generation = generation->next)
                for (size_t i = 0; i < generation->settings->provider_count; i++)
                        count += generation->endpoints[i].running;
        return count;
}

size_t providers_waiting(const struct providers *providers)
{
        size_t count = 0;

        for (const struct generation *generation = providers->generations; generation; generation = generation->next)
                for (size_t i = 0; i < generation->settings->provider_count; i++)
                        count += generation->endpoints[i].waiting;
        return count;
}

/* ---- settings come and go ---- */

/* Drops the older generations that nobody can use any more. Returns how many are left. */
static size_t sweep(struct providers *providers)
{
        size_t count = 0;

        for (struct generation **slot = &providers->generations; *slot;) {
                struct generation *generation = *slot;

                if (generation != providers->generations && __atomic_load_n(&generation->settings->references, __ATOMIC_ACQUIRE) == 1) {
                        *slot = generation->next;
                        generation_free(generation);
                        continue;
                }
                slot = &generation->next;
                count++;
        }
        return count;
}

int providers_reload(struct providers *providers, struct settings *settings, struct error *err)
{
        struct generation *generation;

        if (generation_of(providers, settings))
                return 0;
        if (sweep(providers) >= GENERATIONS_MAX)
                return error_set(err, CODE_RATE_LIMITED, "%d earlier configurations are still in use", GENERATIONS_MAX);
        generation = generation_new(providers, providers->client, settings, err);
        if (!generation)
                return -1;
        generation->next = providers->generations;
        providers->generations = generation;
        sweep(providers);
        return 0;
}

struct providers *providers_new(struct ev_loop *loop, struct settings *settings, const struct call_runner *runner, struct error *err)
{
        struct providers *providers = calloc(1, sizeof *providers);

        if (!providers) {
                error_set(err, CODE_INTERNAL, "no memory for the providers");
                return NULL;
        }
        providers->loop = loop;
        if (runner)
                providers->runner = *runner;
        providers->client = http_client_new(loop, err);
        if (!providers->client || providers_reload(providers, settings, err) < 0) {
                providers_free(providers);
                return NULL;
        }
        return providers;
}

void providers_free(struct providers *providers)
{
        if (!providers)
                return;
        while (providers->generations) {
                struct generation *generation = providers->generations;

                providers->generations = generation->next;
                generation_free(generation);
        }
        while (providers->spares) {
                struct work *work = providers->spares;

                providers->spares = work->next;
                work_destroy(work);
        }
        http_client_free(providers->client);
        free(providers);
}
