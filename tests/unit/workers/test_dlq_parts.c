/* The parts of the dead letter desk that need no broker: the table of places, the states, what a replay would cost. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/base/own.h"
#include "config/load.h"
#include "config/settings_build.h"
#include "workers/dlq/dlq_estimate.h"
#include "workers/dlq/dlq_places.h"
#include "workers/dlq/dlq_plan.h"
#include "workers/dlq/dlq_states.h"

Test(dlq_places, finds_what_was_put_and_nothing_else)
{
        struct places *places = places_new(100000);
        struct place *place;
        size_t at = 0, seen = 0;

        for (int i = 0; i < 30000; i++) {
                place = places_put(places, i % 2 ? "a" : "b", i % 7, i);
                cr_assert(place);
                place->number = i;
        }
        for (int i = 0; i < 30000; i++) {
                place = places_find(places, i % 2 ? "a" : "b", i % 7, i);
                cr_assert(place && place->number == i);
                cr_assert_null(places_find(places, i % 2 ? "b" : "a", i % 7, i));
        }
        cr_assert_null(places_find(places, "c", 0, 0));
        cr_assert_eq(places_count(places), 30000);
        while ((place = places_next(places, &at)))
                seen += strcmp(places_topic(places, place), place->number % 2 ? "a" : "b") == 0;
        cr_assert_eq(seen, 30000);
        cr_assert_eq(places_put(places, "a", 1, 1)->number, 1, "put again: the same");
        places_free(places);
}

Test(dlq_places, is_bounded)
{
        struct places *places = places_new(3);

        for (int i = 0; i < 3; i++)
                cr_assert(places_put(places, "t", 0, i));
        cr_assert_null(places_put(places, "t", 0, 3));
        cr_assert(places_put(places, "t", 0, 2), "what is there is found all the same");
        places_free(places);
}

static struct faults faults;
static struct settings *settings;
static struct dlq_states *states;

static void set_up(void)
{
        struct error err;

        settings = settings_default(&faults);
        cr_assert(settings);
        states = dlq_states_new(settings, &err);
        cr_assert(states, "%s", err.message);
}

static void tear_down(void)
{
        dlq_states_free(states);
        settings_unref(settings);
}

TestSuite(dlq_states, .init = set_up, .fini = tear_down);
TestSuite(dlq_estimate, .init = set_up, .fini = tear_down);
TestSuite(dlq_plan, .init = set_up, .fini = tear_down);

static enum letter_state state_of(int64_t offset, int64_t timestamp_ms)
{
        return dlq_states_of(states, "enrich.embed.dlq", 3, offset, timestamp_ms, NULL);
}

static void apply(const char *key, const char *value)
{
        cr_assert(dlq_states_apply(states, key, span_of(value)));
}

Test(dlq_states, the_latest_record_of_a_place_counts)
{
        int64_t at = 0;

        cr_assert_eq(state_of(17, 5), LETTER_OPEN);
        apply("enrich.embed.dlq:3:17", "{\"v\":1,\"state\":\"parked\",\"at\":\"1970-01-01T00:00:01.500Z\",\"timestamp\":5}");
        cr_assert_eq(dlq_states_of(states, "enrich.embed.dlq", 3, 17, 5, &at), LETTER_PARKED);
        cr_assert_eq(at, 1500);
        apply("enrich.embed.dlq:3:17", "{\"state\":\"open\"}");
        cr_assert_eq(state_of(17, 5), LETTER_OPEN);
        apply("enrich.embed.dlq:3:17", "{\"state\":\"purged\"}");
        cr_assert_eq(state_of(17, 5), LETTER_PURGED);
        apply("enrich.embed.dlq:3:17", NULL);
        cr_assert_eq(state_of(17, 5), LETTER_OPEN);
        cr_assert_eq(state_of(18, 5), LETTER_OPEN);
}

Test(dlq_states, a_topic_made_anew_has_new_letters)
{
        apply("enrich.embed.dlq:3:17", "{\"state\":\"purged\",\"timestamp\":5}");
        cr_assert_eq(state_of(17, 5), LETTER_PURGED);
        cr_assert_eq(state_of(17, 6), LETTER_OPEN, "another letter at the same place");
        cr_assert_eq(state_of(17, -1), LETTER_PURGED, "one without a time can't be told from it");
}

Test(dlq_states, foreign_records_are_passed_over_and_counted)
{
        static const char *const values[] = {"",
                                             "x",
                                             "[]",
                                             "{}",
                                             "{\"state\":5}",
                                             "{\"state\":\"lost\"}",
                                             "\xff",
                                             "{\"state\":\"open\"} x",
                                             "[[[[[[1]]]]]]",
                                             "{\"state\":\"purged\",\"state\":\"open\"}"};

        for (size_t i = 0; i < COUNT_OF(values); i++)
                apply("enrich.embed.dlq:3:17", values[i]);
        apply("nonsense", "{\"state\":\"purged\"}");
        apply("", "{\"state\":\"purged\"}");
        cr_assert_eq(state_of(17, 5), LETTER_OPEN);
        cr_assert_eq(dlq_states_strange(states), (int64_t)COUNT_OF(values) + 2);
        cr_assert_eq(places_count(dlq_states_places(states)), 0);
}

Test(dlq_states, one_place_is_kept_whole_when_it_is_watched)
{
        dlq_states_watch(states, "enrich.embed.dlq:3:17");
        apply("enrich.embed.dlq:3:17", "{\"state\":\"parked\",\"by\":\"ann\"}");
        apply("enrich.embed.dlq:3:18", "{\"state\":\"purged\"}");
        cr_assert(span_is(dlq_states_watched(states), "{\"state\":\"parked\",\"by\":\"ann\"}"));
}

/* A letter of that kind without headers: pure parts look at no more than this. */
static struct letter_estimate estimate(enum kind kind, const char *value, int64_t step, const char *class, const char *code)
{
        static struct record record;
        struct letter_estimate estimate;
        struct letter letter;

        record = (struct record){.topic = "enrich.x.dlq", .value = span_of(value), .timestamp_ms = 1};
        letter = (struct letter){.record = &record, .kind = kind, .class = span_of(class), .code = span_of(code), .step = step};
        cr_assert(letter_estimate(&letter, settings, LANE_BULK, &estimate));
        return estimate;
}

static void price(const char *name, double input, double output)
{
        for (size_t i = 0; i < settings->model_count; i++)
                if (strcmp(settings->models[i].name, name) == 0)
                        settings->models[i].price = (struct price){input, output, -1};
}

Test(dlq_estimate, counts_as_budgets_do)
{
        struct letter_estimate got;

        price("local-embed", 3, 0);
        price("local-answer", 6, 9);
        got = estimate(KIND_EMBED, "{\"id\":\"a\",\"input\":[\"1234567\",\"123\"]}", 0, "dependency", "timeout");
        cr_assert(got.readable);
        cr_assert_eq(got.input_tokens, 4, "ceil(10 / 3)");
        cr_assert_eq(got.output_tokens, 0);
        cr_assert_float_eq(got.usd, 12e-6, 1e-12);
        cr_assert_not(got.fails_again);
        got = estimate(KIND_LLM, "{\"id\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"123456\"}],\"max_tokens\":50}", 0,
                       "model", "refusal");
        cr_assert_eq(got.input_tokens, 2);
        cr_assert_eq(got.output_tokens, 50);
        cr_assert_float_eq(got.usd, (2 * 6 + 50 * 9) * 1e-6, 1e-12);
        cr_assert(got.fails_again);
        cr_assert_not(estimate(KIND_LLM, "{}", 0, "model", "bad_output").fails_again, "that one is worth another try");
        cr_assert(estimate(KIND_LLM, "{}", 0, "data", "of-the-future").fails_again);
        cr_assert_not(estimate(KIND_LLM, "{}", 0, "serving", "deadline").fails_again);
}

Test(dlq_estimate, what_is_no_request_costs_nothing)
{
        struct letter_estimate got = estimate(KIND_EMBED, "{\"id\":\"a\",\"input\":\"x\",\"typo\":1}", 0, "data", "schema");

        cr_assert_not(got.readable);
        cr_assert_eq(got.input_tokens, 0);
        cr_assert(got.fails_again);
        cr_assert_not(estimate(KIND_EMBED, "\xff", 0, "data", "invalid_utf8").readable);
}

Test(dlq_estimate, finished_steps_of_a_chain_are_free)
{
        static const char chain[] = "{\"id\":\"a\",\"collection\":\"docs\",\"query\":\"123456789\",\"top_k\":4,"
                                    "\"then\":[{\"kind\":\"rerank\",\"top_n\":2},{\"kind\":\"llm\",\"max_tokens\":30}]}";
        struct letter_estimate whole = estimate(KIND_RETRIEVE, chain, 0, "dependency", "timeout"),
                               last = estimate(KIND_RETRIEVE, chain, 2, "dependency", "timeout");
        const int64_t chunk = settings->collections[0].chunking.size * 2;

        cr_assert(whole.readable && last.readable);
        cr_assert_eq(last.output_tokens, 30);
        cr_assert_eq(last.input_tokens, 2 * chunk, "two passages");
        cr_assert_eq(whole.input_tokens, 3 + 4 * chunk + 2 * chunk);
}

Test(dlq_plan, to_may_change_the_lane_only)
{
        struct replay_rules rules = {.settings = settings, .states = LETTER_ANY_STATE, .to = "enrich.embed.bulk", .replays_max = 3};
        struct record record = {.topic = "enrich.embed.dlq", .value = SPAN("{}")};
        struct letter letter = {.record = &record, .kind = KIND_EMBED, .original_topic = SPAN("enrich.embed.interactive")};
        struct topic_meaning meaning;
        char topic[TOPIC_NAME_BYTES];
        const char *reason;

        rules.to_meaning = (struct topic_meaning){.role = TOPIC_REQUEST, .kind = KIND_EMBED, .lane = LANE_BULK};
        cr_assert_eq(replay_choose(&rules, &letter, topic, &meaning, &reason), REPLAY_GO);
        cr_assert_str_eq(topic, "enrich.embed.bulk");
        cr_assert_eq(meaning.lane, LANE_BULK);
        letter.original_topic = SPAN("enrich.llm.interactive");
        cr_assert_eq(replay_choose(&rules, &letter, topic, &meaning, &reason), REPLAY_REFUSE);
        rules.to = NULL;
        letter.original_topic = SPAN("__consumer_offsets");
        cr_assert_eq(replay_choose(&rules, &letter, topic, &meaning, &reason), REPLAY_REFUSE, "a letter chooses no other topic");
        letter.original_topic = SPAN("enrich.llm.interactive");
        letter.replays = 3;
        cr_assert_eq(replay_choose(&rules, &letter, topic, &meaning, &reason), REPLAY_PARK);
        letter.state = LETTER_PARKED;
        cr_assert_eq(replay_choose(&rules, &letter, topic, &meaning, &reason), REPLAY_REFUSE);
        rules.states = 1u << LETTER_OPEN;
        letter.replays = 0;
        cr_assert_eq(replay_choose(&rules, &letter, topic, &meaning, &reason), REPLAY_REFUSE);
}
