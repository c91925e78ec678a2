#include <criterion/criterion.h>
#include <string.h>

#include "providers/http/http_status.h"

static enum error_code code_of(int status, const char *code, const char *type)
{
        struct http_fault fault = {0};
        struct error err;

        http_fault_word(span_of(code), fault.code);
        http_fault_word(span_of(type), fault.type);
        cr_assert_eq(http_status_error(status, &fault, 0, &err), -1);
        return err.code;
}

Test(http_status, maps_statuses)
{
        static const struct {
                int status;
                enum error_code code;
        } rows[] = {{400, CODE_BAD_RESPONSE}, {401, CODE_AUTH},        {402, CODE_QUOTA},       {403, CODE_AUTH},        {404, CODE_NOT_FOUND},   {408, CODE_TIMEOUT},
                    {413, CODE_TOO_LARGE},    {418, CODE_BAD_RESPONSE}, {422, CODE_BAD_RESPONSE}, {429, CODE_RATE_LIMITED}, {500, CODE_UNAVAILABLE}, {502, CODE_UNAVAILABLE},
                    {503, CODE_UNAVAILABLE},  {529, CODE_UNAVAILABLE}, {302, CODE_BAD_RESPONSE}};

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
                cr_assert_eq(code_of(rows[i].status, "", ""), rows[i].code, "%d", rows[i].status);
}

Test(http_status, lets_the_providers_code_go_first)
{
        cr_assert_eq(code_of(429, "insufficient_quota", "insufficient_quota"), CODE_QUOTA);
        cr_assert_eq(code_of(429, "rate_limit_exceeded", "requests"), CODE_RATE_LIMITED);
        cr_assert_eq(code_of(400, "context_length_exceeded", "invalid_request_error"), CODE_CONTEXT_LENGTH);
        cr_assert_eq(code_of(400, "content_filter", ""), CODE_CONTENT_FILTER);
        cr_assert_eq(code_of(400, "", "exceed_context_size_error"), CODE_CONTEXT_LENGTH);
        cr_assert_eq(code_of(400, "model_not_found", ""), CODE_NOT_FOUND);
        cr_assert_eq(code_of(401, "server_error", ""), CODE_AUTH, "a weak word does not overrule a status");
        cr_assert_eq(code_of(200, "", "server_error"), CODE_UNAVAILABLE, "but it counts inside a 200");
        cr_assert_eq(code_of(200, "", ""), CODE_BAD_RESPONSE);
}

Test(http_status, uses_a_numeric_code_inside_a_200)
{
        struct http_fault fault = {.status = 503};
        struct error err;

        http_status_error(200, &fault, 0, &err);
        cr_assert_eq(err.code, CODE_UNAVAILABLE);
        fault.status = 400;
        http_status_error(503, &fault, 0, &err);
        cr_assert_eq(err.code, CODE_UNAVAILABLE, "the status of the answer holds");
}

Test(http_status, keeps_the_wait)
{
        struct http_fault fault = {0};
        struct error err;

        http_status_error(429, &fault, 1500, &err);
        cr_assert_eq(err.retry_after_ms, 1500);
        cr_assert(err.retriable);
}

Test(http_status, lets_only_harmless_characters_of_a_code_through)
{
        char word[HTTP_FAULT_WORD_BYTES + 1], longest[300];
        struct http_fault fault = {0};
        struct error err;

        http_fault_word(SPAN("my secret\n\"text\"%s\x01\xc3\xa4"), word);
        cr_assert_str_eq(word, "my_secret__text__s___");
        memset(longest, 'a', sizeof longest);
        http_fault_word((struct span){longest, sizeof longest}, fault.code);
        cr_assert_eq(strlen(fault.code), HTTP_FAULT_WORD_BYTES);
        http_status_error(500, &fault, 0, &err);
        cr_assert_lt(strlen(err.message), 120);
}

Test(http_status, reads_waits_in_all_forms)
{
        const struct span none = {"", 0};
        const int64_t wall_ms = 1445412480000; /* Wed, 21 Oct 2015 07:28:00 GMT */

        cr_assert_eq(http_retry_after(none, none, wall_ms), 0);
        cr_assert_eq(http_retry_after(SPAN("120"), SPAN("7"), wall_ms), 120, "milliseconds go first");
        cr_assert_eq(http_retry_after(none, SPAN("7"), wall_ms), 7000);
        cr_assert_eq(http_retry_after(none, SPAN(" 1.5 "), wall_ms), 1500);
        cr_assert_eq(http_retry_after(none, SPAN("0"), wall_ms), 0);
        cr_assert_eq(http_retry_after(none, SPAN("Wed, 21 Oct 2015 07:28:03 GMT"), wall_ms), 3000);
        cr_assert_eq(http_retry_after(none, SPAN("Wed, 21 Oct 2015 07:27:00 GMT"), wall_ms), 0, "in the past");
        cr_assert_eq(http_retry_after(none, SPAN("-1"), wall_ms), 0);
        cr_assert_eq(http_retry_after(SPAN("soon"), SPAN("2"), wall_ms), 2000);
        cr_assert_eq(http_retry_after(none, SPAN("99999999999999999999"), wall_ms), 86400000, "a day at most");
        cr_assert_eq(http_retry_after(none, SPAN("Thu, 01 Jan 2099 00:00:00 GMT"), wall_ms), 86400000);
}

Test(http_status, maps_outcomes)
{
        static const struct {
                enum http_outcome outcome;
                enum error_code code;
        } rows[] = {{HTTP_NO_CONNECT, CODE_CONNECT}, {HTTP_TIMEOUT, CODE_TIMEOUT}, {HTTP_BROKEN, CODE_BAD_RESPONSE}, {HTTP_TOO_LARGE, CODE_BAD_RESPONSE}, {HTTP_NO_MEMORY, CODE_INTERNAL}};

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                struct http_exchange exchange = {.outcome = rows[i].outcome, .reason = "because"};
                struct error err;

                cr_assert_eq(http_outcome_error(&exchange, &err), -1);
                cr_assert_eq(err.code, rows[i].code);
                cr_assert_not_null(strstr(err.message, "because"));
        }
}
