/* Recursive descent, at most depth_max deep. A string is found by looking at eight bytes at a time; only those with escapes are copied. */
#include "config/base/strict_json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "config/base/own.h"
#include "config/base/plain.h"

enum { NUMBER_BYTES_MAX = 512 };

struct parser {
        const char *begin, *at, *end;
        int depth, depth_max;
        struct error *err;
};

static json_t *parse_value(struct parser *p);

static void *refuse(const struct parser *p, const char *what)
{
        error_set(p->err, CODE_INVALID_JSON, "invalid JSON at byte %zu: %s", (size_t)(p->at - p->begin), what);
        return NULL;
}

/* Not the text's fault. */
static void *no_memory(const struct parser *p)
{
        error_set(p->err, CODE_INTERNAL, "no memory to read JSON");
        return NULL;
}

static void skip_blanks(struct parser *p)
{
        while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
                p->at++;
}

static bool take(struct parser *p, char c)
{
        skip_blanks(p);
        if (p->at == p->end || *p->at != c)
                return false;
        p->at++;
        return true;
}

/* ---- Strings */

/* Four hexadecimal digits at p->at, -1: they are not there. */
static int take_hex4(struct parser *p)
{
        int value = 0;

        if (p->end - p->at < 4)
                return -1;
        for (int i = 0; i < 4; i++) {
                char c = p->at[i];
                int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

                if (digit < 0)
                        return -1;
                value = value << 4 | digit;
        }
        p->at += 4;
        return value;
}

/* A \u escape, behind the u; surrogates in pairs only. 0: refused. */
static uint32_t take_unicode(struct parser *p)
{
        int high = take_hex4(p), low;

        if (high <= 0 || (high >= 0xdc00 && high <= 0xdfff))
                return 0;
        if (high < 0xd800 || high > 0xdbff)
                return (uint32_t)high;
        if (p->end - p->at < 2 || p->at[0] != '\\' || p->at[1] != 'u')
                return 0;
        p->at += 2;
        low = take_hex4(p);
        if (low < 0xdc00 || low > 0xdfff)
                return 0;
        return 0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
}

static char *put_utf8(char *to, uint32_t c)
{
        if (c < 0x80) {
                *to++ = (char)c;
        } else if (c < 0x800) {
                *to++ = (char)(0xc0 | c >> 6);
                *to++ = (char)(0x80 | (c & 0x3f));
        } else if (c < 0x10000) {
                *to++ = (char)(0xe0 | c >> 12);
                *to++ = (char)(0x80 | (c >> 6 & 0x3f));
                *to++ = (char)(0x80 | (c & 0x3f));
        } else {
                *to++ = (char)(0xf0 | c >> 18);
                *to++ = (char)(0x80 | (c >> 12 & 0x3f));
                *to++ = (char)(0x80 | (c >> 6 & 0x3f));
                *to++ = (char)(0x80 | (c & 0x3f));
        }
        return to;
}

/* One escape, behind its backslash, into *to. */
static bool take_escape(struct parser *p, char **to)
{
        static const char letters[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
        const char *found;
        uint32_t c;

        if (p->at == p->end)
                return false;
        if (*p->at == 'u') {
                p->at++;
                c = take_unicode(p);
                if (!c)
                        return false;
                *to = put_utf8(*to, c);
                return true;
        }
        found = *p->at ? strchr(letters, *p->at) : NULL;
        if (!found)
                return false;
        *(*to)++ = means[found - letters];
        p->at++;
        return true;
}

/* The rest of a string that holds an escape: p->at is at the first one, from is where the string began. *ret_copy is the caller's. */
static bool take_escaped(struct parser *p, const char *from, struct span *ret, char **ret_copy)
{
        /* An escape is never shorter than what it stands for. */
        char *copy = malloc((size_t)(p->end - from) + 1), *to = copy;

        if (!copy)
                return no_memory(p) != NULL;
        *ret_copy = copy;
        memcpy(to, from, (size_t)(p->at - from));
        to += p->at - from;
        while (p->at < p->end && *p->at != '"') {
                const char *stop;

                if (*p->at == '\\') {
                        p->at++;
                        if (!take_escape(p, &to))
                                return refuse(p, "a bad escape") != NULL;
                        continue;
                }
                stop = plain_end(p->at, p->end);
                if (stop == p->at)
                        return refuse(p, "a control character in a string") != NULL;
                memcpy(to, p->at, (size_t)(stop - p->at));
                to += stop - p->at;
                p->at = stop;
        }
        *ret = (struct span){copy, (size_t)(to - copy)};
        return true;
}

/* Behind the opening quote, up to behind the closing one. */
static bool take_string(struct parser *p, struct span *ret, char **ret_copy)
{
        const char *from = p->at;

        p->at = plain_end(p->at, p->end);
        *ret = (struct span){from, (size_t)(p->at - from)};
        if (p->at < p->end && *p->at == '\\' && !take_escaped(p, from, ret, ret_copy))
                return false;
        if (p->at == p->end)
                return refuse(p, "a string without an end") != NULL;
        if (*p->at != '"')
                return refuse(p, "a control character in a string") != NULL;
        p->at++;
        return true;
}

static json_t *parse_string(struct parser *p)
{
        AUTO_FREE char *copy = NULL;
        struct span s;

        if (!take_string(p, &s, &copy))
                return NULL;
        return json_stringn_nocheck(s.data, s.len);
}

/* ---- Numbers */

static size_t take_digits(struct parser *p)
{
        const char *from = p->at;

        while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
                p->at++;
        return (size_t)(p->at - from);
}

static json_t *make_number(struct parser *p, const char *from, bool real)
{
        char text[NUMBER_BYTES_MAX + 1];
        size_t len = (size_t)(p->at - from);
        double value;
        long long integer;

        if (len > NUMBER_BYTES_MAX)
                return refuse(p, "a number too long");
        memcpy(text, from, len);
        text[len] = '\0';
        errno = 0;
        if (!real) {
                integer = strtoll(text, NULL, 10);
                return errno == ERANGE ? refuse(p, "an integer too large") : json_integer(integer);
        }
        value = strtod(text, NULL);
        return isfinite(value) ? json_real(value) : refuse(p, "a number too large");
}

static json_t *parse_number(struct parser *p)
{
        const char *from = p->at;
        bool real = false;

        if (*p->at == '-')
                p->at++;
        if (p->at < p->end && *p->at == '0')
                p->at++;
        else if (take_digits(p) == 0)
                return refuse(p, "no value");
        if (p->at < p->end && *p->at == '.') {
                p->at++;
                real = true;
                if (take_digits(p) == 0)
                        return refuse(p, "no digit behind the point");
        }
        if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
                p->at++;
                real = true;
                if (p->at < p->end && (*p->at == '+' || *p->at == '-'))
                        p->at++;
                if (take_digits(p) == 0)
                        return refuse(p, "no digit in the exponent");
        }
        return make_number(p, from, real);
}

/* ---- Objects, arrays, the rest */

static bool deeper(struct parser *p)
{
        if (++p->depth <= p->depth_max)
                return true;
        error_set(p->err, CODE_TOO_DEEP, "nested more than %d deep", p->depth_max);
        return false;
}

static bool add_member(struct parser *p, json_t *object)
{
        AUTO_FREE char *copy = NULL;
        struct span name;
        json_t *value;

        if (!take(p, '"'))
                return refuse(p, "a member must begin with its name") != NULL;
        if (!take_string(p, &name, &copy))
                return false;
        if (json_object_getn(object, name.data, name.len))
                return refuse(p, "duplicate key") != NULL;
        if (!take(p, ':'))
                return refuse(p, "no colon") != NULL;
        value = parse_value(p);
        if (!value)
                return false;
        if (json_object_setn_new_nocheck(object, name.data, name.len, value) < 0)
                return no_memory(p) != NULL;
        return true;
}

static bool add_element(struct parser *p, json_t *array)
{
        json_t *value = parse_value(p);

        if (!value)
                return false;
        if (json_array_append_new(array, value) < 0)
                return no_memory(p) != NULL;
        return true;
}

/* Behind the opening bracket: members or elements up to the closing one. */
static json_t *parse_container(struct parser *p, json_t *container, char close, bool (*add)(struct parser *, json_t *))
{
        if (!container) {
                no_memory(p);
        } else if (deeper(p)) {
                if (take(p, close)) {
                        p->depth--;
                        return container;
                }
                do {
                        if (!add(p, container))
                                goto refused;
                } while (take(p, ','));
                if (take(p, close)) {
                        p->depth--;
                        return container;
                }
                refuse(p, "neither a comma nor the end");
        }
refused:
        json_decref(container);
        return NULL;
}

static json_t *parse_word(struct parser *p, struct span word, json_t *value)
{
        if ((size_t)(p->end - p->at) < word.len || memcmp(p->at, word.data, word.len) != 0)
                return refuse(p, "no value");
        p->at += word.len;
        return value;
}

static json_t *parse_value(struct parser *p)
{
        skip_blanks(p);
        if (p->at == p->end)
                return refuse(p, "no value");
        switch (*p->at) {
        case '{':
                p->at++;
                return parse_container(p, json_object(), '}', add_member);
        case '[':
                p->at++;
                return parse_container(p, json_array(), ']', add_element);
        case '"':
                p->at++;
                return parse_string(p);
        case 't':
                return parse_word(p, SPAN("true"), json_true());
        case 'f':
                return parse_word(p, SPAN("false"), json_false());
        case 'n':
                return parse_word(p, SPAN("null"), json_null());
        default:
                return parse_number(p);
        }
}

json_t *strict_parse(struct span text, int depth_max, struct error *err)
{
        struct parser p = {.begin = text.data, .at = text.data, .end = text.data + text.len, .depth_max = depth_max, .err = err};
        json_t *value;

        error_clear(err);
        value = parse_value(&p);
        if (!value && err->code == CODE_NONE)
                no_memory(&p);
        if (!value)
                return NULL;
        skip_blanks(&p);
        if (p.at == p.end)
                return value;
        refuse(&p, "something behind the value");
        json_decref(value);
        return NULL;
}
