#include "providers/http/http_status.h"

#include <string.h>
#include <strings.h>

#include "config/base/own.h"

enum { DAY_MS = 86400000, HEADER_BYTES_MAX = 64 };

/* Words of providers' error codes and types. Firm ones rule whatever the status is; the others count where the status says nothing (a
 * fault inside a 2xx). */
static const struct {
        const char *word;
        bool firm;
        enum error_code code;
} words[] = {
        {"insufficient_quota", true, CODE_QUOTA},
        {"insufficient_user_quota", true, CODE_QUOTA},
        {"billing_hard_limit_reached", true, CODE_QUOTA},
        {"billing_not_active", true, CODE_QUOTA},
        {"context_length_exceeded", true, CODE_CONTEXT_LENGTH},
        {"context_window_exceeded", true, CODE_CONTEXT_LENGTH},
        {"exceed_context_size_error", true, CODE_CONTEXT_LENGTH},
        {"string_above_max_length", true, CODE_CONTEXT_LENGTH},
        {"content_filter", true, CODE_CONTENT_FILTER},
        {"content_policy_violation", true, CODE_CONTENT_FILTER},
        {"ResponsibleAIPolicyViolation", true, CODE_CONTENT_FILTER},
        {"model_not_found", true, CODE_NOT_FOUND},
        {"DeploymentNotFound", true, CODE_NOT_FOUND},
        {"invalid_api_key", true, CODE_AUTH},
        {"authentication_error", false, CODE_AUTH},
        {"permission_error", false, CODE_AUTH},
        {"rate_limit_exceeded", false, CODE_RATE_LIMITED},
        {"rate_limit_error", false, CODE_RATE_LIMITED},
        {"server_error", false, CODE_UNAVAILABLE},
        {"api_error", false, CODE_UNAVAILABLE},
        {"overloaded_error", false, CODE_UNAVAILABLE},
        {"unavailable_error", false, CODE_UNAVAILABLE},
        {"timeout", false, CODE_TIMEOUT},
};

static enum error_code code_of_word(const char *word, bool firm_only)
{
        for (size_t i = 0; i < COUNT_OF(words); i++)
                if ((words[i].firm || !firm_only) && strcasecmp(word, words[i].word) == 0)
                        return words[i].code;
        return CODE_NONE;
}

static enum error_code code_of_status(int status)
{
        switch (status) {
        case 401:
        case 403:
                return CODE_AUTH;
        case 402:
                return CODE_QUOTA;
        case 404:
                return CODE_NOT_FOUND;
        case 408:
                return CODE_TIMEOUT;
        case 413:
                return CODE_TOO_LARGE;
        case 429:
                return CODE_RATE_LIMITED;
        default:
                return status >= 500 ? CODE_UNAVAILABLE : CODE_BAD_RESPONSE;
        }
}

static bool is_success(int status)
{
        return status >= 200 && status < 300;
}

static enum error_code code_of(int status, const struct http_fault *fault)
{
        bool firm_only = !is_success(status);
        enum error_code code = code_of_word(fault->code, firm_only);

        if (code == CODE_NONE)
                code = code_of_word(fault->type, firm_only);
        if (code == CODE_NONE && fault->input_too_long)
                code = CODE_CONTEXT_LENGTH;
        if (code != CODE_NONE)
                return code;
        return code_of_status(is_success(status) && fault->status ? fault->status : status);
}

int http_status_error(int status, const struct http_fault *fault, int64_t retry_after_ms, struct error *err)
{
        const char *word = fault->code[0] ? fault->code : fault->type;

        error_set(err, code_of(status, fault), "HTTP %d from the provider%s%s%s", status, word[0] ? " (code " : "", word,
                  word[0] ? ")" : "");
        if (err)
                err->retry_after_ms = retry_after_ms;
        return -1;
}

int http_outcome_error(const struct http_exchange *exchange, struct error *err)
{
        static const struct {
                enum error_code code;
                const char *what;
        } rows[] = {
                [HTTP_ANSWERED] = {CODE_INTERNAL, "answered"},
                [HTTP_NO_CONNECT] = {CODE_CONNECT, "no connection to the provider"},
                [HTTP_TIMEOUT] = {CODE_TIMEOUT, "the provider took too long"},
                [HTTP_BROKEN] = {CODE_BAD_RESPONSE, "the provider's answer broke off or is not HTTP"},
                [HTTP_TOO_LARGE] = {CODE_BAD_RESPONSE, "the provider's answer is longer than response_bytes_max"},
                [HTTP_NO_MEMORY] = {CODE_INTERNAL, "no memory for the provider's answer"},
        };

        return error_set(err, rows[exchange->outcome].code, "%s: %s", rows[exchange->outcome].what,
                         exchange->reason ? exchange->reason : "");
}

void http_fault_word(struct span text, char ret_word[HTTP_FAULT_WORD_BYTES + 1])
{
        size_t len = text.len < HTTP_FAULT_WORD_BYTES ? text.len : HTTP_FAULT_WORD_BYTES;

        for (size_t i = 0; i < len; i++) {
                char c = text.data[i];
                bool harmless = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                                (c && strchr("_-./", c));

                ret_word[i] = c;
                if (!harmless)
                        ret_word[i] = '_';
        }
        ret_word[len] = '\0';
}

/* A decimal number of `unit_ms`, rounded up, at most a day; -1: it is none. */
static int64_t parse_wait(const char *text, double unit_ms)
{
        double value = 0, scale = 1;
        const char *p = text;
        size_t digits = 0;

        for (; *p >= '0' && *p <= '9'; p++, digits++)
                value = value * 10 + (*p - '0');
        if (*p == '.')
                for (p++; *p >= '0' && *p <= '9'; p++, digits++)
                        value += (scale /= 10) * (*p - '0');
        if (!digits || *p)
                return -1;
        value *= unit_ms;
        return value >= DAY_MS ? DAY_MS : (int64_t)(value + 0.999);
}

/* The header without blanks at its ends, as a string; false where it is empty or longer than any sense. */
static bool trim(struct span header, char ret_text[HEADER_BYTES_MAX + 1])
{
        while (header.len && (*header.data == ' ' || *header.data == '\t')) {
                header.data++;
                header.len--;
        }
        while (header.len && strchr(" \t\r\n", header.data[header.len - 1]))
                header.len--;
        if (!header.len || header.len > HEADER_BYTES_MAX)
                return false;
        memcpy(ret_text, header.data, header.len);
        ret_text[header.len] = '\0';
        return true;
}

/* ---- HTTP dates: a pattern a form, where a letter stands for a field and anything else for itself ---- */

struct date {
        int year, month, day, hour, minute, second;
        bool short_year;
};

/* The index of the name that text begins with; -1: none. */
static int name_at(const char *text, const char *const *names, size_t count, size_t *ret_len)
{
        for (size_t i = 0; i < count; i++) {
                *ret_len = strlen(names[i]);
                if (strncmp(text, names[i], *ret_len) == 0)
                        return (int)i;
        }
        return -1;
}

/* count digits, of which the first may be a blank where lenient; -1: they are none. */
static int number_at(const char *text, int count, bool lenient)
{
        int value = 0;

        for (int i = 0; i < count; i++) {
                char c = i == 0 && lenient && text[i] == ' ' ? '0' : text[i];

                if (c < '0' || c > '9')
                        return -1;
                value = value * 10 + (c - '0');
        }
        return value;
}

static bool match(const char *text, const char *pattern, struct date *ret_date)
{
        static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        static const char *const days[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
        static const char *const long_days[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
        struct date date = {0};
        size_t len = 0;

        for (; *pattern; pattern++, text += len) {
                int value = 0;

                len = 2;
                switch (*pattern) {
                case 'w':
                        value = name_at(text, days, COUNT_OF(days), &len);
                        break;
                case 'W':
                        value = name_at(text, long_days, COUNT_OF(long_days), &len);
                        break;
                case 'b':
                        value = date.month = name_at(text, months, COUNT_OF(months), &len);
                        break;
                case 'd':
                        value = date.day = number_at(text, 2, false);
                        break;
                case 'e':
                        value = date.day = number_at(text, 2, true);
                        break;
                case 'h':
                        value = date.hour = number_at(text, 2, false);
                        break;
                case 'm':
                        value = date.minute = number_at(text, 2, false);
                        break;
                case 's':
                        value = date.second = number_at(text, 2, false);
                        break;
                case 'y':
                        value = date.year = number_at(text, 2, false);
                        date.short_year = true;
                        break;
                case 'Y':
                        len = 4;
                        value = date.year = number_at(text, 4, false);
                        break;
                default:
                        len = 1;
                        value = *text == *pattern ? 0 : -1;
                }
                if (value < 0)
                        return false;
        }
        if (*text)
                return false;
        *ret_date = date;
        return true;
}

/* Days from 1970-01-01 to the first of the month of the Gregorian calendar; month 0…11. */
static int64_t days_before(int64_t year, int month)
{
        static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
        int64_t past = year - 1, leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

        return past * 365 + past / 4 - past / 100 + past / 400 - 719162 + before[month] + (month > 1 ? leap : 0);
}

/* The century that puts it at most 50 years ahead of wall_ms (RFC 9110 §5.6.7). */
static int full_year(int year, int64_t wall_ms)
{
        int64_t now_year = 1970 + wall_ms / DAY_MS * 400 / 146097, full = now_year - now_year % 100 + year;

        if (full > now_year + 50)
                full -= 100;
        else if (full <= now_year - 50)
                full += 100;
        return (int)full;
}

bool http_date(struct span text, int64_t wall_ms, int64_t *ret_wall_ms)
{
        static const char *const forms[] = {"w, d b Y h:m:s GMT", "W, d-b-y h:m:s GMT", "w b e h:m:s Y"};
        char copy[HEADER_BYTES_MAX + 1];
        struct date date = {0};
        bool found = false;
        int64_t days;

        if (!trim(text, copy))
                return false;
        for (size_t i = 0; i < COUNT_OF(forms) && !found; i++)
                found = match(copy, forms[i], &date);
        if (found && date.short_year)
                date.year = full_year(date.year, wall_ms);
        if (!found || date.year < 1970 || date.day < 1 || date.hour > 23 || date.minute > 59 ||
            date.second > 60 /* a leap second */)
                return false;
        days = days_before(date.year, date.month) + date.day - 1;
        if (days >= days_before(date.month == 11 ? date.year + 1 : date.year, (date.month + 1) % 12))
                return false; /* a 31st of April */
        *ret_wall_ms = days * DAY_MS + ((date.hour * 60 + date.minute) * 60 + date.second) * (int64_t)1000;
        return true;
}

int64_t http_retry_after(struct span retry_after_ms, struct span retry_after, struct span date, int64_t wall_ms)
{
        char text[HEADER_BYTES_MAX + 1];
        int64_t wait = -1, at, from;

        if (trim(retry_after_ms, text))
                wait = parse_wait(text, 1);
        if (wait < 0 && trim(retry_after, text)) {
                wait = parse_wait(text, 1000);
                if (wait < 0 && http_date(retry_after, wall_ms, &at))
                        wait = at - (http_date(date, wall_ms, &from) ? from : wall_ms);
        }
        if (wait < 0)
                return 0;
        return wait > DAY_MS ? DAY_MS : wait;
}
