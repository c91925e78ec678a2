#include <criterion/criterion.h>

#include "queues/deadletter.h"
#include "queues/outcome.h"

static json_t *render(const struct outcome *outcome, const char *result)
{
        json_t *tree;
        AUTO_BUFFER out = {0};

        buffer_init(&out, 100000);
        outcome_open(&out, outcome, result != NULL);
        if (result)
                buffer_string(&out, result);
        outcome_close(&out, outcome);
        cr_assert(buffer_ok(&out));
        tree = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
        cr_assert(tree, "%s", out.data);
        return tree;
}

static const struct request request = {.id = {"q1", 2}, .tenant = {"acme", 4}, .kind = KIND_EMBED, .origin_topic = "enrich.embed.bulk", .origin_partition = 1, .origin_offset = 17};

Test(outcome, shows_an_ok_result_as_the_contract_does)
{
        struct outcome outcome = {.request = &request, .status = STATUS_OK, .attempts = 1, .model = "p/m", .release = "r", .served_from = "provider",
                                  .usage = {7, 0, 0}, .cost_usd = 0.00000014, .completed_wall_ms = 1000};
        json_t *tree = render(&outcome, "{\"x\":1}");

        cr_assert_str_eq(json_string_value(json_object_get(tree, "status")), "ok");
        cr_assert_null(json_object_get(tree, "error"));
        cr_assert_eq(json_integer_value(json_object_get(json_object_get(tree, "usage"), "input_tokens")), 7);
        cr_assert_float_eq(json_real_value(json_object_get(json_object_get(tree, "cost"), "amount")), 0.00000014, 1e-15);
        cr_assert_str_eq(json_string_value(json_object_get(tree, "completed_at")), "1970-01-01T00:00:01.000Z");
        cr_assert_null(json_object_get(tree, "steps"));
        json_decref(tree);
}

Test(outcome, shows_a_failure_with_class_and_code)
{
        struct outcome outcome = {.request = &request, .status = STATUS_FAILED, .release = "r", .served_from = "provider"};
        json_t *tree, *error;

        error_set(&outcome.err, CODE_TIMEOUT, "no \"answer\"");
        outcome.err.input = 3;
        tree = render(&outcome, NULL);
        error = json_object_get(tree, "error");
        cr_assert_null(json_object_get(tree, "result"));
        cr_assert_str_eq(json_string_value(json_object_get(error, "class")), "dependency");
        cr_assert(json_is_true(json_object_get(error, "retriable")));
        cr_assert_eq(json_integer_value(json_object_get(error, "input")), 3);
        json_decref(tree);
}

Test(deadletter, says_what_happened_and_keeps_the_producers_headers)
{
        struct header own[] = {{"x-own", {"1", 1}}, {"mr-attempts", {"3", 1}}, {"mr-dlq-error-code", {"old", 3}}};
        struct delivery delivery = {.topic = "enrich.embed.bulk", .headers = own, .header_count = 3}, seen;
        struct deadletter letter = {.attempts = 2, .failed_wall_ms = 1000, .worker = "w1"};
        AUTO_ARENA *arena = arena_new(100000);
        size_t count;
        struct header *out;

        error_set(&letter.err, CODE_SCHEMA, "input: missing");
        out = deadletter_headers(&delivery, &request, &letter, arena, &count);
        seen = (struct delivery){.headers = out, .header_count = count};
        cr_assert(span_is(delivery_header(&seen, "x-own"), "1"));
        cr_assert(span_is(delivery_header(&seen, "mr-dlq-error-class"), "data"));
        cr_assert(span_is(delivery_header(&seen, "mr-dlq-error-code"), "schema"));
        cr_assert(span_is(delivery_header(&seen, "mr-dlq-original-topic"), "enrich.embed.bulk"));
        cr_assert(span_is(delivery_header(&seen, "mr-dlq-original-offset"), "17"));
        cr_assert(span_is(delivery_header(&seen, "mr-dlq-failed-at"), "1970-01-01T00:00:01.000Z"));
        cr_assert_null(delivery_header(&seen, "mr-attempts").data);
}
