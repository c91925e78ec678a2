#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

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

        cr_assert_eq(http_retry_after(none, none, none, wall_ms), 0);
        cr_assert_eq(http_retry_after(SPAN("120"), SPAN("7"), none, wall_ms), 120, "milliseconds go first");
        cr_assert_eq(http_retry_after(SPAN("0"), SPAN("7"), none, wall_ms), 0, "even when they are none");
        cr_assert_eq(http_retry_after(none, SPAN("7"), none, wall_ms), 7000);
        cr_assert_eq(http_retry_after(none, SPAN(" 1.5 "), none, wall_ms), 1500);
        cr_assert_eq(http_retry_after(none, SPAN("0"), none, wall_ms), 0);
        cr_assert_eq(http_retry_after(none, SPAN("Wed, 21 Oct 2015 07:28:03 GMT"), none, wall_ms), 3000);
        cr_assert_eq(http_retry_after(none, SPAN("Wed, 21 Oct 2015 07:27:00 GMT"), none, wall_ms), 0, "in the past");
        cr_assert_eq(http_retry_after(SPAN("soon"), SPAN("2"), none, wall_ms), 2000);
        cr_assert_eq(http_retry_after(none, SPAN("99999999999999999999"), none, wall_ms), 86400000, "a day at most");
        cr_assert_eq(http_retry_after(none, SPAN("Thu, 01 Jan 2099 00:00:00 GMT"), none, wall_ms), 86400000);
}

Test(http_status, takes_a_date_against_the_answers_own_clock)
{
        const struct span none = {"", 0}, at = SPAN("Wed, 21 Oct 2015 07:28:30 GMT"), sent = SPAN("Wed, 21 Oct 2015 07:28:00 GMT");
        const int64_t right_ms = 1445412480000, hour_ms = 3600000;

        cr_assert_eq(http_retry_after(none, at, sent, right_ms), 30000);
        cr_assert_eq(http_retry_after(none, at, sent, right_ms + hour_ms), 30000, "our clock is an hour ahead");
        cr_assert_eq(http_retry_after(none, at, sent, right_ms - hour_ms), 30000, "or behind");
        cr_assert_eq(http_retry_after(none, at, SPAN("yesterday"), right_ms), 30000, "a date that is none");
        cr_assert_eq(http_retry_after(none, at, SPAN("Wed, 21 Oct 2015 07:29:00 GMT"), right_ms), 0, "it has passed over there");
}

Test(http_status, refuses_waits_that_are_none)
{
        static const char *const odd[] = {"-1", "+5", "1e3", "0x10", "5 s", "5, 7", ".", "..5", "1.5.0", "NaN", "inf", "tomorrow", "07:28", "Wed", "GMT"};
        const struct span none = {"", 0};
        char longest[4096];

        for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
                cr_assert_eq(http_retry_after(none, span_of(odd[i]), none, 0), 0, "%s", odd[i]);
                cr_assert_eq(http_retry_after(span_of(odd[i]), none, none, 0), 0, "%s", odd[i]);
        }
        memset(longest, '9', sizeof longest);
        cr_assert_eq(http_retry_after((struct span){longest, sizeof longest}, none, none, 0), 0, "longer than any sense");
        cr_assert_eq(http_retry_after((struct span){"1\0002", 3}, none, none, 0), 1, "a NUL can't be in a header; if it were, it would end it");
}

Test(http_status, reads_the_three_forms_of_a_date)
{
        const int64_t wall_ms = 1792540800000; /* 2026 */
        static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", " Sun, 06 Nov 1994 08:49:37 GMT\r\n"};
        int64_t at = -1;

        for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
                at = -1;
                cr_assert(http_date(span_of(same[i]), wall_ms, &at), "%s", same[i]);
                cr_assert_eq(at, 784111777000, "%s", same[i]);
        }
        cr_assert(http_date(SPAN("Thursday, 29-Feb-24 23:59:60 GMT"), wall_ms, &at));
        cr_assert_eq(at, 1709251200000, "a leap day and a leap second");
        cr_assert(http_date(SPAN("Saturday, 01-Jan-76 00:00:00 GMT"), wall_ms, &at));
        cr_assert_eq(at, 3345062400000, "50 years ahead");
        cr_assert(http_date(SPAN("Saturday, 01-Jan-77 00:00:00 GMT"), wall_ms, &at));
        cr_assert_eq(at, 220924800000, "more than 50 years ahead is the past");
        cr_assert(http_date(SPAN("Fri, 31 Dec 9999 23:59:59 GMT"), wall_ms, &at));
        cr_assert_eq(at, 253402300799000);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-y2k" /* two digits are what that form has */
Test(http_status, agrees_with_the_c_library_on_dates)
{
        for (int64_t s = 0; s < 4102444800; s += 86400 * 13 + 3671) {
                time_t at = (time_t)s;
                struct tm tm;
                char text[64];
                int64_t read = -1;

                gmtime_r(&at, &tm);
                strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
                cr_assert(http_date(span_of(text), 0, &read), "%s", text);
                cr_assert_eq(read, s * 1000, "%s", text);
                strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &tm);
                cr_assert(http_date(span_of(text), 0, &read), "%s", text);
                cr_assert_eq(read, s * 1000, "%s", text);
                strftime(text, sizeof text, "%A, %d-%b-%y %H:%M:%S GMT", &tm);
                cr_assert(http_date(span_of(text), s * 1000, &read), "%s", text);
                cr_assert_eq(read, s * 1000, "%s", text);
        }
}
#pragma GCC diagnostic pop

Test(http_status, refuses_dates_that_are_none)
{
        static const char *const odd[] = {"",
                                          "Sun, 06 Nov 1994",
                                          "Sun, 06 Nov 1994 08:49:37",
                                          "Sun, 06 Nov 1994 08:49:37 CET",
                                          "Sun, 06 Nov 1994 08:49:37 GMT+1",
                                          "Sun, 6 Nov 1994 08:49:37 GMT",
                                          "Sun, 31 Apr 2024 08:49:37 GMT",
                                          "Sun, 29 Feb 2023 08:49:37 GMT",
                                          "Sun, 29 Feb 2100 08:49:37 GMT",
                                          "Sun, 32 Dec 2023 08:49:37 GMT",
                                          "Sun, 00 Nov 1994 08:49:37 GMT",
                                          "Sun, 06 Nov 1994 24:00:00 GMT",
                                          "Sun, 06 Nov 1994 08:60:00 GMT",
                                          "Sun, 06 Nov 1994 08:49:61 GMT",
                                          "Sun, 06 Nov 1969 08:49:37 GMT",
                                          "Day, 06 Nov 1994 08:49:37 GMT",
                                          "Sun, 06 Nix 1994 08:49:37 GMT",
                                          "1994-11-06T08:49:37Z"};
        int64_t at = -1;

        for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
                cr_assert_not(http_date(span_of(odd[i]), 0, &at), "%s", odd[i]);
        cr_assert_eq(at, -1, "output untouched on refusal");
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
