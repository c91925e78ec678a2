#include "tests/unit/providers/call_rig.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "config/base/clock.h"

enum { WAIT_MS = 5000, ARENA_BYTES = 64 << 20 };

void rig_init(struct rig *rig, int port)
{
        memset(rig, 0, sizeof *rig);
        snprintf(rig->url, sizeof rig->url, "http://127.0.0.1:%d/v1", port);
        rig->providers[RIG_HTTP] = (struct provider_settings){.name = "tei",
                                                              .type = PROVIDER_OPENAI,
                                                              .base_url = rig->url,
                                                              .timeout_ms = 3000,
                                                              .connect_timeout_ms = 1000,
                                                              .response_bytes_max = 1 << 20,
                                                              .concurrency_max = 4,
                                                              .encoding = ENCODING_BASE64};
        rig->providers[RIG_LOCAL] = (struct provider_settings){.name = "local", .type = PROVIDER_LOCAL, .concurrency_max = 64};
        rig->models[RIG_MINILM] =
                (struct model_settings){.name = "minilm", .kind = KIND_EMBED, .provider = RIG_HTTP, .model = "all-MiniLM", .dimensions = 4, .price = {1, 2, 0.5}};
        rig->models[RIG_CHAT] =
                (struct model_settings){.name = "small", .kind = KIND_LLM, .provider = RIG_HTTP, .model = "chat", .max_tokens_default = 64, .price = {1, 2, 0.5}};
        rig->models[RIG_EMBED] = (struct model_settings){.name = "local-embed", .kind = KIND_EMBED, .provider = RIG_LOCAL, .model = "local-embed", .dimensions = 384};
        rig->models[RIG_RERANK] = (struct model_settings){.name = "local-rerank", .kind = KIND_RERANK, .provider = RIG_LOCAL, .model = "local-rerank"};
        rig->models[RIG_ANSWER] = (struct model_settings){.name = "local-answer", .kind = KIND_LLM, .provider = RIG_LOCAL, .model = "local-answer"};
        rig->settings.references = 1;
        rig->settings.providers = rig->providers;
        rig->settings.provider_count = RIG_PROVIDERS;
        rig->settings.models = rig->models;
        rig->settings.model_count = RIG_MODELS;
        rig->loop = ev_loop_new(0);
        rig->arena = arena_new(ARENA_BYTES);
}

void rig_open(struct rig *rig, const struct call_runner *runner)
{
        struct error err;

        error_clear(&err);
        rig->room = providers_new(rig->loop, &rig->settings, runner, &err);
        cr_assert_not_null(rig->room, "%s", err.message);
}

void rig_fini(struct rig *rig)
{
        providers_free(rig->room);
        cr_assert_eq(rig->settings.references, 1, "all references were given back");
        arena_free(rig->arena);
        ev_loop_destroy(rig->loop);
}

static void on_done(struct op *op)
{
        (void)op;
}

void rig_call_init(struct rig *rig, struct call *call, size_t model)
{
        memset(call, 0, sizeof *call);
        call->kind = rig->models[model].kind;
        call->settings = &rig->settings;
        call->model = model;
        call->deadline = clock_now_ms() + WAIT_MS;
        call->arena = rig->arena;
        op_init(&call->op, on_done);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
        (void)loop;
        (void)events;
        ++*(int *)timer->data;
}

/* The tick, a millisecond each: a call may end before a turn of the loop goes to sleep. */
void rig_wait(struct rig *rig, struct call *call)
{
        ev_timer tick;
        int ticks = 0;

        ev_timer_init(&tick, on_tick, 0.001, 0.001);
        tick.data = &ticks;
        ev_timer_start(rig->loop, &tick);
        while (call->op.state == OP_BUSY && ticks < WAIT_MS)
                ev_run(rig->loop, EVRUN_ONCE);
        ev_timer_stop(rig->loop, &tick);
        cr_assert_eq(call->op.state, OP_DONE, "the call did not end in time");
}

void rig_turn(struct rig *rig)
{
        ev_run(rig->loop, EVRUN_NOWAIT);
}
