#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "tests/unit/providers/call_rig.h"
#include "tests/unit/providers/fake_server.h"

static const struct span one[] = {{"hello", 5}};

static const char vectors_body[] = "{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]}],\"usage\":{\"prompt_tokens\":2000000}}";
static const char chat_body[] = "{\"choices\":[{\"message\":{\"content\":\"Hi.\"},\"finish_reason\":\"stop\"}],"
                                "\"usage\":{\"prompt_tokens\":3000000,\"completion_tokens\":1000000,\"prompt_tokens_details\":{\"cached_tokens\":1000000}}}";

struct scene {
        struct rig rig;
        struct fake_server server;
        char *answer;
};

static void scene_begin(struct scene *scene, enum fake_manner manner, const char *status, const char *headers, const char *body)
{
        scene->answer = fake_answer(status, headers, body);
        fake_server_start(&scene->server, manner, scene->answer);
        rig_init(&scene->rig, scene->server.port);
}

static void scene_end(struct scene *scene)
{
        rig_fini(&scene->rig);
        fake_server_stop(&scene->server);
        free(scene->answer);
}

static void embed_init(struct scene *scene, struct call *call)
{
        rig_call_init(&scene->rig, call, RIG_MINILM);
        call->embed.texts = one;
        call->embed.count = 1;
}

/* One embed call against that answer. */
static struct error embed_once(const char *status, const char *headers, const char *body)
{
        struct scene scene;
        struct call call;

        scene_begin(&scene, FAKE_ANSWER, status, headers, body);
        rig_open(&scene.rig, NULL);
        embed_init(&scene, &call);
        providers_call(scene.rig.room, &call);
        rig_wait(&scene.rig, &call);
        scene_end(&scene);
        return call.op.err;
}

Test(call, embeds_over_http_and_accounts)
{
        struct scene scene;
        struct call call;
        char *request;

        scene_begin(&scene, FAKE_ANSWER, "200 OK", "", vectors_body);
        scene.rig.providers[RIG_HTTP].api_key = (char[]){"s3cret"};
        rig_open(&scene.rig, NULL);
        embed_init(&scene, &call);
        providers_call(scene.rig.room, &call);
        cr_assert_eq(call.op.state, OP_BUSY);
        cr_assert_eq(providers_running(scene.rig.room), 1);
        rig_wait(&scene.rig, &call);
        cr_assert_eq(call.op.err.code, CODE_NONE, "%s", call.op.err.message);
        cr_assert_eq(call.dimensions, 4);
        cr_assert_float_eq(call.vectors[3], 4, 0);
        cr_assert_eq(call.usage.input_tokens, 2000000);
        cr_assert_float_eq(call.cost_usd, 2.0, 1e-12);
        cr_assert_str_eq(call.model_name, "tei/all-MiniLM");
        cr_assert_eq(call.served_from, SERVED_PROVIDER);
        cr_assert_eq(providers_running(scene.rig.room), 0);
        request = fake_server_request(&scene.server);
        cr_assert_eq(strncmp(request, "POST /v1/embeddings ", 20), 0);
        cr_assert_not_null(strstr(request, "Authorization: Bearer s3cret\r\n"));
        free(request);
        scene_end(&scene);
}

Test(call, chats_over_http_and_bills_cached_tokens_at_their_price)
{
        const struct call_message message = {SPAN("user"), SPAN("Hi?")};
        struct scene scene;
        struct call call;

        scene_begin(&scene, FAKE_ANSWER, "200 OK", "", chat_body);
        rig_open(&scene.rig, NULL);
        rig_call_init(&scene.rig, &call, RIG_CHAT);
        call.llm.messages = &message;
        call.llm.count = 1;
        providers_call(scene.rig.room, &call);
        rig_wait(&scene.rig, &call);
        cr_assert_eq(call.op.err.code, CODE_NONE, "%s", call.op.err.message);
        cr_assert(span_is(call.text, "Hi."));
        cr_assert_float_eq(call.cost_usd, 2 * 1 + 1 * 0.5 + 1 * 2, 1e-12);
        scene_end(&scene);
}

Test(call, bills_cached_tokens_as_input_where_no_price_is_set)
{
        const struct call_message message = {SPAN("user"), SPAN("Hi?")};
        struct scene scene;
        struct call call;

        scene_begin(&scene, FAKE_ANSWER, "200 OK", "", chat_body);
        scene.rig.models[RIG_CHAT].price.cached_input_per_mtok = -1;
        rig_open(&scene.rig, NULL);
        rig_call_init(&scene.rig, &call, RIG_CHAT);
        call.llm.messages = &message;
        call.llm.count = 1;
        providers_call(scene.rig.room, &call);
        rig_wait(&scene.rig, &call);
        cr_assert_float_eq(call.cost_usd, 3 * 1 + 1 * 2, 1e-12);
        scene_end(&scene);
}

Test(call, passes_on_what_the_provider_says)
{
        struct error err = embed_once("429 Too Many", "Retry-After: 3\r\nretry-after-ms: 1234\r\n", "{\"error\":{\"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}}");

        cr_assert_eq(err.code, CODE_RATE_LIMITED);
        cr_assert_eq(err.retry_after_ms, 1234);
        err = embed_once("429 Too Many", "Retry-After: 3\r\n", "{\"error\":{\"code\":\"insufficient_quota\"}}");
        cr_assert_eq(err.code, CODE_QUOTA);
        cr_assert_not(err.retriable);
        cr_assert_eq(embed_once("401 No", "", "").code, CODE_AUTH);
        cr_assert_eq(embed_once("503 Busy", "Retry-After: 2\r\n", "<html>").retry_after_ms, 2000);
        cr_assert_eq(embed_once("200 OK", "", "garbage").code, CODE_BAD_RESPONSE);
        cr_assert_eq(embed_once("200 OK", "", "{\"data\":[{\"index\":0,\"embedding\":[1,2,3]}]}").code, CODE_DIMENSION_MISMATCH);
}

Test(call, ends_with_the_deadline_when_that_comes_before_the_providers_timeout)
{
        struct scene scene;
        struct call call;

        scene_begin(&scene, FAKE_HANG, "200 OK", "", "");
        rig_open(&scene.rig, NULL);
        embed_init(&scene, &call);
        call.deadline = clock_now_ms() + 50;
        providers_call(scene.rig.room, &call);
        rig_wait(&scene.rig, &call);
        cr_assert_eq(call.op.err.code, CODE_DEADLINE);
        scene_end(&scene);
}

Test(call, ends_with_a_timeout_when_the_provider_is_slow)
{
        struct scene scene;
        struct call call;

        scene_begin(&scene, FAKE_HANG, "200 OK", "", "");
        scene.rig.providers[RIG_HTTP].timeout_ms = 50;
        rig_open(&scene.rig, NULL);
        embed_init(&scene, &call);
        providers_call(scene.rig.room, &call);
        rig_wait(&scene.rig, &call);
        cr_assert_eq(call.op.err.code, CODE_TIMEOUT);
        cr_assert_str_eq(call.model_name, "tei/all-MiniLM");
        scene_end(&scene);
}

Test(call, sends_nothing_when_the_deadline_has_passed)
{
        struct scene scene;
        struct call call;

        scene_begin(&scene, FAKE_ANSWER, "200 OK", "", vectors_body);
        rig_open(&scene.rig, NULL);
        embed_init(&scene, &call);
        call.deadline = clock_now_ms() - 1;
        providers_call(scene.rig.room, &call);
        cr_assert_eq(call.op.state, OP_DONE);
        cr_assert_eq(call.op.err.code, CODE_DEADLINE);
        cr_assert_eq(scene.server.requests, 0);
        scene_end(&scene);
}

/* Four places; the fifth waits, the sixth gives up waiting. */
Test(call, lets_calls_wait_for_a_place_in_order)
{
        struct call running[4], waiting, impatient;
        struct scene scene;

        scene_begin(&scene, FAKE_HANG, "200 OK", "", "");
        rig_open(&scene.rig, NULL);
        for (size_t i = 0; i < 4; i++) {
                embed_init(&scene, &running[i]);
                providers_call(scene.rig.room, &running[i]);
        }
        embed_init(&scene, &waiting);
        embed_init(&scene, &impatient);
        impatient.deadline = clock_now_ms() + 30;
        providers_call(scene.rig.room, &waiting);
        providers_call(scene.rig.room, &impatient);
        cr_assert_eq(providers_running(scene.rig.room), 4);
        cr_assert_eq(providers_waiting(scene.rig.room), 2);
        rig_wait(&scene.rig, &impatient);
        cr_assert_eq(impatient.op.err.code, CODE_DEADLINE);
        cr_assert_eq(providers_waiting(scene.rig.room), 1);
        op_abort(&running[2].op);
        cr_assert_eq(running[2].op.state, OP_IDLE);
        cr_assert_eq(providers_waiting(scene.rig.room), 0, "the place went to the one who waited");
        cr_assert_eq(providers_running(scene.rig.room), 4);
        op_abort(&waiting.op);
        for (size_t i = 0; i < 4; i++)
                op_abort(&running[i].op);
        cr_assert_eq(providers_running(scene.rig.room), 0);
        scene_end(&scene);
}

Test(call, gives_up_a_waiting_call)
{
        struct call running[4], waiting[3];
        struct scene scene;

        scene_begin(&scene, FAKE_HANG, "200 OK", "", "");
        rig_open(&scene.rig, NULL);
        for (size_t i = 0; i < 4; i++) {
                embed_init(&scene, &running[i]);
                providers_call(scene.rig.room, &running[i]);
        }
        for (size_t i = 0; i < 3; i++) {
                embed_init(&scene, &waiting[i]);
                providers_call(scene.rig.room, &waiting[i]);
        }
        op_abort(&waiting[1].op);
        op_abort(&waiting[0].op);
        op_abort(&waiting[2].op);
        cr_assert_eq(providers_waiting(scene.rig.room), 0);
        for (size_t i = 0; i < 4; i++)
                op_abort(&running[i].op);
        scene_end(&scene);
}

Test(call, bounds_the_line)
{
        enum { ALL = CALL_WAITING_MAX + 5 };
        struct call *calls = calloc(ALL, sizeof *calls);
        struct scene scene;

        scene_begin(&scene, FAKE_HANG, "200 OK", "", "");
        rig_open(&scene.rig, NULL);
        for (size_t i = 0; i < ALL; i++) {
                embed_init(&scene, &calls[i]);
                providers_call(scene.rig.room, &calls[i]);
        }
        cr_assert_eq(calls[ALL - 1].op.state, OP_DONE);
        cr_assert_eq(calls[ALL - 1].op.err.code, CODE_RATE_LIMITED);
        cr_assert_eq(calls[ALL - 2].op.state, OP_BUSY);
        for (size_t i = ALL; i-- > 0;)
                op_abort(&calls[i].op);
        free(calls);
        scene_end(&scene);
}

Test(call, reuses_its_places_over_many_calls)
{
        struct scene scene;
        struct call calls[12];

        scene_begin(&scene, FAKE_ANSWER, "200 OK", "", vectors_body);
        rig_open(&scene.rig, NULL);
        for (int round = 0; round < 10; round++) {
                for (size_t i = 0; i < 12; i++) {
                        embed_init(&scene, &calls[i]);
                        providers_call(scene.rig.room, &calls[i]);
                }
                for (size_t i = 0; i < 12; i++) {
                        rig_wait(&scene.rig, &calls[i]);
                        cr_assert_eq(calls[i].op.err.code, CODE_NONE, "%s", calls[i].op.err.message);
                }
        }
        cr_assert_eq(scene.server.requests, 120);
        cr_assert_leq(scene.server.accepted, 4);
        scene_end(&scene);
}

Test(call, refuses_models_of_another_kind_and_empty_calls)
{
        struct scene scene;
        struct call call;

        scene_begin(&scene, FAKE_ANSWER, "200 OK", "", vectors_body);
        rig_open(&scene.rig, NULL);
        embed_init(&scene, &call);
        call.kind = KIND_LLM;
        providers_call(scene.rig.room, &call);
        cr_assert_eq(call.op.err.code, CODE_NOT_FOUND);
        embed_init(&scene, &call);
        call.embed.count = 0;
        providers_call(scene.rig.room, &call);
        cr_assert_eq(call.op.err.code, CODE_SCHEMA);
        embed_init(&scene, &call);
        call.model = 99;
        providers_call(scene.rig.room, &call);
        cr_assert_eq(call.op.err.code, CODE_INTERNAL);
        scene_end(&scene);
}

Test(call, refuses_provider_types_that_are_not_built)
{
        struct error err;
        struct rig rig;

        rig_init(&rig, 1);
        rig.providers[RIG_HTTP].type = PROVIDER_ANTHROPIC;
        cr_assert_null(providers_new(rig.loop, &rig.settings, NULL, &err));
        cr_assert_eq(err.code, CODE_SCHEMA);
        cr_assert_not_null(strstr(err.message, "not built"));
        rig.providers[RIG_HTTP].type = PROVIDER_OPENAI;
        rig.models[RIG_CHAT].kind = KIND_RERANK;
        cr_assert_null(providers_new(rig.loop, &rig.settings, NULL, &err));
        cr_assert_not_null(strstr(err.message, "does not serve"));
        rig_fini(&rig);
}

Test(call, serves_old_and_new_settings_after_a_reload)
{
        struct scene scene;
        struct settings newer;
        struct provider_settings providers[RIG_PROVIDERS];
        struct call before, after;
        struct error err;

        scene_begin(&scene, FAKE_ANSWER, "200 OK", "", vectors_body);
        rig_open(&scene.rig, NULL);
        newer = scene.rig.settings;
        newer.references = 1;
        memcpy(providers, scene.rig.providers, sizeof providers);
        providers[RIG_HTTP].name = (char[]){"renamed"};
        newer.providers = providers;
        cr_assert_eq(providers_reload(scene.rig.room, &newer, &err), 0);
        embed_init(&scene, &before);
        embed_init(&scene, &after);
        after.settings = &newer;
        providers_call(scene.rig.room, &before);
        providers_call(scene.rig.room, &after);
        rig_wait(&scene.rig, &before);
        rig_wait(&scene.rig, &after);
        cr_assert_str_eq(before.model_name, "tei/all-MiniLM");
        cr_assert_str_eq(after.model_name, "renamed/all-MiniLM");
        providers[RIG_HTTP].type = PROVIDER_COHERE;
        scene.rig.settings.references--; /* only the room still holds the first */
        cr_assert_eq(providers_reload(scene.rig.room, &newer, &err), 0, "the same again is nothing new");
        scene.rig.settings.references++;
        providers_free(scene.rig.room);
        scene.rig.room = NULL;
        cr_assert_eq(newer.references, 1);
        scene_end(&scene);
}

/* ---- local models behind the same door ---- */

struct fake_pool {
        struct op *op;
        int (*work)(void *argument, struct error *err);
        void *argument;
        int taken, given_up;
        bool full;
};

static struct fake_pool pool;

static void pool_abort(struct op *op)
{
        (void)op;
        pool.given_up++;
}

static int pool_take(void *user, struct op *op, int (*work)(void *argument, struct error *err), void *argument)
{
        cr_assert_eq(user, &pool);
        if (pool.full)
                return -1;
        pool.op = op;
        pool.work = work;
        pool.argument = argument;
        pool.taken++;
        op_begin(op, pool_abort, NULL);
        return 0;
}

static void pool_work(void)
{
        struct error err;

        error_clear(&err);
        pool.work(pool.argument, &err);
        op_done(pool.op, &err);
}

static const struct call_runner runner = {&pool, pool_take};

static void rerank_init(struct rig *rig, struct call *call)
{
        static const struct span documents[] = {{"cats and dogs", 13}, {"about trains", 12}};

        rig_call_init(rig, call, RIG_RERANK);
        call->rerank.query = SPAN("a train");
        call->rerank.documents = documents;
        call->rerank.count = 2;
}

Test(call, embeds_little_texts_at_once_and_hands_others_to_the_pool)
{
        static char large[4096];
        struct span texts[1] = {{large, sizeof large}};
        struct call call;
        struct rig rig;

        memset(large, 'a', sizeof large);
        rig_init(&rig, 1);
        rig_open(&rig, &runner);
        rig_call_init(&rig, &call, RIG_EMBED);
        call.embed.texts = one;
        call.embed.count = 1;
        providers_call(rig.room, &call);
        cr_assert_eq(call.op.state, OP_DONE);
        cr_assert_eq(call.op.err.code, CODE_NONE);
        cr_assert_eq(call.dimensions, 384);
        cr_assert_str_eq(call.model_name, "local/local-embed");
        cr_assert_eq(pool.taken, 0);
        rig_call_init(&rig, &call, RIG_EMBED);
        call.embed.texts = texts;
        call.embed.count = 1;
        providers_call(rig.room, &call);
        cr_assert_eq(call.op.state, OP_BUSY);
        cr_assert_eq(pool.taken, 1);
        pool_work();
        cr_assert_eq(call.op.state, OP_DONE);
        cr_assert_eq(call.op.err.code, CODE_NONE);
        rig_fini(&rig);
}

Test(call, reranks_on_the_pool)
{
        struct call call;
        struct rig rig;

        rig_init(&rig, 1);
        rig_open(&rig, &runner);
        rerank_init(&rig, &call);
        providers_call(rig.room, &call);
        pool_work();
        cr_assert_eq(call.op.err.code, CODE_NONE);
        cr_assert_gt(call.scores[1], call.scores[0]);
        cr_assert_float_eq(call.cost_usd, 0, 0);
        rig_fini(&rig);
}

Test(call, gives_up_local_work_and_says_when_the_pool_is_full)
{
        struct call call;
        struct rig rig;

        rig_init(&rig, 1);
        rig_open(&rig, &runner);
        rerank_init(&rig, &call);
        providers_call(rig.room, &call);
        op_abort(&call.op);
        cr_assert_eq(pool.given_up, 1);
        cr_assert_eq(providers_running(rig.room), 0);
        pool.full = true;
        rerank_init(&rig, &call);
        providers_call(rig.room, &call);
        cr_assert_eq(call.op.err.code, CODE_RATE_LIMITED);
        rig_fini(&rig);
}

Test(call, says_when_the_arena_is_full)
{
        struct call call;
        struct rig rig;

        rig_init(&rig, 1);
        rig_open(&rig, NULL);
        rig_call_init(&rig, &call, RIG_EMBED);
        call.arena = arena_new(64);
        call.embed.texts = one;
        call.embed.count = 1;
        providers_call(rig.room, &call);
        cr_assert_eq(call.op.err.code, CODE_INTERNAL);
        arena_free(call.arena);
        rig_fini(&rig);
}
