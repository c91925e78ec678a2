/* Finds id and tenant in what the strict parser refused: a lenient walk over the top-level members of one object. It knows strings and
 * brackets only, so that any scalar, a NaN say, is stepped over; it gives up at whatever it can't place. Linear, no recursion. */
#include "queues/envelope.h"

struct scan {
        const char *at, *end;
};

static void skip_blanks(struct scan *s)
{
        while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
                s->at++;
}

static bool take(struct scan *s, char c)
{
        skip_blanks(s);
        if (s->at == s->end || *s->at != c)
                return false;
        s->at++;
        return true;
}

/* A string from its opening quote on; plain: no escape in it. */
static bool take_string(struct scan *s, struct span *ret, bool *ret_plain)
{
        const char *from;

        if (!take(s, '"'))
                return false;
        *ret_plain = true;
        for (from = s->at; s->at < s->end && *s->at != '"'; s->at++) {
                if (*s->at == '\\') {
                        *ret_plain = false;
                        if (++s->at == s->end)
                                return false;
                }
        }
        if (s->at == s->end)
                return false;
        *ret = (struct span){from, (size_t)(s->at - from)};
        s->at++;
        return true;
}

/* Any value: ends before the comma or bracket that closes it. */
static bool skip_value(struct scan *s)
{
        size_t depth = 0;
        struct span ignored;
        bool plain;

        for (;;) {
                skip_blanks(s);
                if (s->at == s->end)
                        return false;
                if (*s->at == '"') {
                        if (!take_string(s, &ignored, &plain))
                                return false;
                        continue;
                }
                if (depth == 0 && (*s->at == ',' || *s->at == '}'))
                        return true;
                if (*s->at == '{' || *s->at == '[')
                        depth++;
                if (*s->at == '}' || *s->at == ']') {
                        if (depth == 0)
                                return false;
                        depth--;
                }
                s->at++;
        }
}

struct found {
        int ids, tenants;
        bool bad_tenant, whole;
        struct span id, tenant;
};

static void walk(struct scan *s, struct found *found)
{
        if (!take(s, '{'))
                return;
        do {
                struct span name, value;
                bool plain, is_id, is_tenant;

                if (!take_string(s, &name, &plain) || !take(s, ':'))
                        return;
                is_id = span_is(name, "id");
                is_tenant = span_is(name, "tenant");
                skip_blanks(s);
                if ((is_id || is_tenant) && s->at < s->end && *s->at == '"') {
                        if (!take_string(s, &value, &plain))
                                return;
                        if (is_id && plain && envelope_valid_id(value))
                                found->id = value;
                        if (is_tenant && plain && envelope_valid_tenant(value))
                                found->tenant = value;
                        else if (is_tenant)
                                found->bad_tenant = true;
                } else if (is_tenant) {
                        found->bad_tenant = true;
                }
                found->ids += is_id;
                found->tenants += is_tenant;
                if (!skip_value(s))
                        return;
        } while (take(s, ','));
        found->whole = take(s, '}');
}

bool envelope_peek(struct span text, struct span *ret_id, struct span *ret_tenant)
{
        struct scan s = {text.data, text.data + text.len};
        struct found found = {0};

        if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
                s.at += 3; /* a BOM is refused, but hides nothing */
        walk(&s, &found);
        if (found.ids != 1 || !found.id.len || found.bad_tenant || found.tenants > 1 || (found.tenants == 0 && !found.whole))
                return false;
        *ret_id = found.id;
        *ret_tenant = found.tenants ? found.tenant : SPAN("default");
        return true;
}
