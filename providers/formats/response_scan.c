#include "providers/formats/response_scan.h"

#include "config/base/plain.h"

#include <string.h>

static bool fail(struct scan *scan)
{
        scan->bad = true;
        return false;
}

char scan_peek(struct scan *scan)
{
        const char *p = scan->text.data + scan->at;

        if (scan->bad)
                return '\0';
        while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')
                p++;
        scan->at = (size_t)(p - scan->text.data);
        return scan->at < scan->text.len ? *p : '\0';
}

bool scan_take(struct scan *scan, char c)
{
        if (scan_peek(scan) != c || scan->at >= scan->text.len)
                return false;
        scan->at++;
        return true;
}

bool scan_end(struct scan *scan)
{
        return scan_peek(scan) == '\0' && !scan->bad && scan->at == scan->text.len;
}

bool scan_open(struct scan *scan, char bracket)
{
        return scan_take(scan, bracket) || fail(scan);
}

/* Between members or elements; false behind the closing bracket, and on a fault. */
static bool scan_more(struct scan *scan, size_t n, char close)
{
        if (scan->bad || scan_take(scan, close))
                return false;
        return n == 0 || scan_take(scan, ',') || fail(scan);
}

bool scan_member(struct scan *scan, size_t n, struct span *key)
{
        if (!scan_more(scan, n, '}'))
                return false;
        return scan_string(scan, key, NULL) && (scan_take(scan, ':') || fail(scan));
}

bool scan_element(struct scan *scan, size_t n)
{
        return scan_more(scan, n, ']');
}

static bool is_hex(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The escape behind the backslash at p[-1]; NULL: none. Reads no further than the first foreign byte, at worst the final NUL. */
static const char *skip_escape(const char *p)
{
        if (*p != 'u')
                return *p && strchr("\"\\/bfnrt", *p) ? p + 1 : NULL;
        for (int i = 1; i <= 4; i++)
                if (!is_hex(p[i]))
                        return NULL;
        return p + 5;
}

bool scan_string(struct scan *scan, struct span *ret_raw, bool *ret_escaped)
{
        const char *from, *p, *end = scan->text.data + scan->text.len;
        bool escaped = false;

        if (!scan_take(scan, '"'))
                return fail(scan);
        from = p = scan->text.data + scan->at;
        for (;;) {
                p = plain_end(p, end);
                if (*p == '"')
                        break;
                escaped = true;
                if (*p != '\\' || !(p = skip_escape(p + 1)))
                        return fail(scan); /* a control character, or the end */
        }
        *ret_raw = (struct span){from, (size_t)(p - from)};
        if (ret_escaped)
                *ret_escaped = escaped;
        scan->at = (size_t)(p + 1 - scan->text.data);
        return true;
}

static const char *skip_digits(const char *p)
{
        while (*p >= '0' && *p <= '9')
                p++;
        return p;
}

/* The end of the number at p; NULL where JSON's grammar has none. */
static const char *number_end(const char *p)
{
        const char *digits;

        p += *p == '-';
        digits = p;
        p = *p == '0' ? p + 1 : skip_digits(p);
        if (p == digits)
                return NULL;
        if (*p == '.') {
                digits = ++p;
                if ((p = skip_digits(p)) == digits)
                        return NULL;
        }
        if (*p == 'e' || *p == 'E') {
                p++;
                p += *p == '-' || *p == '+';
                digits = p;
                if ((p = skip_digits(p)) == digits)
                        return NULL;
        }
        return p;
}

bool scan_whole(struct scan *scan, int64_t *ret_value)
{
        const char *from, *end;
        int64_t value = 0;

        scan_peek(scan);
        from = scan->text.data + scan->at;
        end = scan->bad ? NULL : number_end(from);
        if (!end || end - from > 16)
                return fail(scan);
        for (const char *p = from; p < end; p++) {
                if (*p < '0' || *p > '9')
                        return fail(scan);
                value = value * 10 + (*p - '0');
        }
        if (value > INT64_C(1) << 53)
                return fail(scan);
        scan->at = (size_t)(end - scan->text.data);
        *ret_value = value;
        return true;
}

static bool skip_word(struct scan *scan, const char *word)
{
        size_t len = strlen(word);

        if (scan->text.len - scan->at < len || memcmp(scan->text.data + scan->at, word, len) != 0)
                return fail(scan);
        scan->at += len;
        return true;
}

static bool skip_value(struct scan *scan, int depth)
{
        struct span ignored;
        const char *end;
        char c = scan_peek(scan);

        switch (c) {
        case '"':
                return scan_string(scan, &ignored, NULL);
        case '{':
        case '[':
                if (depth >= SCAN_DEPTH_MAX)
                        return fail(scan);
                scan->at++;
                for (size_t n = 0; c == '{' ? scan_member(scan, n, &ignored) : scan_element(scan, n); n++)
                        skip_value(scan, depth + 1);
                return !scan->bad;
        case 't':
                return skip_word(scan, "true");
        case 'f':
                return skip_word(scan, "false");
        case 'n':
                return skip_word(scan, "null");
        default:
                end = c ? number_end(scan->text.data + scan->at) : NULL;
                if (!end)
                        return fail(scan);
                scan->at = (size_t)(end - scan->text.data);
                return true;
        }
}

bool scan_skip(struct scan *scan)
{
        return skip_value(scan, 0);
}
