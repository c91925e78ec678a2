#include "config/address.h"

#include <string.h>

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_number(struct span s, unsigned max)
{
        unsigned value = 0;

        if (s.len == 0 || s.len > 5)
                return false;
        for (size_t i = 0; i < s.len; i++) {
                if (!is_digit(s.data[i]))
                        return false;
                value = value * 10 + (unsigned)(s.data[i] - '0');
        }
        return value <= max;
}

static bool is_host(struct span s)
{
        if (s.len >= 4 && s.data[0] == '[' && s.data[s.len - 1] == ']') {
                for (size_t i = 1; i + 1 < s.len; i++)
                        if (!is_digit(s.data[i]) && !is_letter(s.data[i]) && !strchr(":.%", s.data[i]))
                                return false;
                return true;
        }
        for (size_t i = 0; i < s.len; i++)
                if (!is_digit(s.data[i]) && !is_letter(s.data[i]) && (s.data[i] == '\0' || !strchr("._-", s.data[i])))
                        return false;
        return s.len > 0 && s.len <= 253;
}

/* The last of c in s, or its length. */
static size_t find_last(struct span s, char c)
{
        size_t at = s.len;

        while (at > 0 && s.data[at - 1] != c)
                at--;
        return at > 0 ? at - 1 : s.len;
}

static size_t find_first(struct span s, char c)
{
        const char *at = s.len ? memchr(s.data, c, s.len) : NULL;

        return at ? (size_t)(at - s.data) : s.len;
}

static struct span from(struct span s, size_t at)
{
        return (struct span){s.data + at, s.len - at};
}

static struct span upto(struct span s, size_t at)
{
        return (struct span){s.data, at};
}

bool address_is_host_port(struct span s, bool port_needed)
{
        size_t colon = find_last(s, ':');

        if (colon == s.len || (s.len > 0 && s.data[s.len - 1] == ']'))
                return !port_needed && is_host(s);
        return is_host(upto(s, colon)) && is_number(from(s, colon + 1), 65535);
}

/* Behind "scheme://", if that is how s begins; false otherwise. */
static bool skip_scheme(struct span *s, const char *scheme)
{
        size_t len = strlen(scheme);

        if (s->len < len + 3 || memcmp(s->data, scheme, len) != 0 || memcmp(s->data + len, "://", 3) != 0)
                return false;
        *s = from(*s, len + 3);
        return true;
}

bool address_is_broker_list(struct span s)
{
        static const char *const protocols[] = {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"};

        while (true) {
                size_t comma = find_first(s, ',');
                struct span one = upto(s, comma);

                for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
                        if (skip_scheme(&one, protocols[i]))
                                break;
                if (!address_is_host_port(one, false))
                        return false;
                if (comma == s.len)
                        return true;
                s = from(s, comma + 1);
        }
}

bool address_is_http_url(struct span s)
{
        size_t slash;

        if (!skip_scheme(&s, "https") && !skip_scheme(&s, "http"))
                return false;
        slash = find_first(s, '/');
        if (!address_is_host_port(upto(s, slash), false))
                return false;
        for (size_t i = slash; i < s.len; i++)
                if (s.data[i] <= ' ' || s.data[i] >= 0x7f || strchr("?#\"<>\\", s.data[i]))
                        return false;
        return true;
}

bool address_is_redis_url(struct span s, bool *ret_user, bool *ret_password)
{
        size_t at, slash;

        *ret_user = *ret_password = false;
        if (!skip_scheme(&s, "rediss") && !skip_scheme(&s, "redis"))
                return false;
        at = find_last(s, '@');
        if (at < s.len) {
                struct span login = upto(s, at);
                size_t colon = find_first(login, ':');

                *ret_user = colon > 0;
                *ret_password = colon < login.len;
                s = from(s, at + 1);
        }
        slash = find_first(s, '/');
        if (!address_is_host_port(upto(s, slash), false))
                return false;
        return s.len - slash <= 1 || is_number(from(s, slash + 1), 65535);
}
