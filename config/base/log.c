/* One line, one write(2): lines of several threads never mix, on a pipe too (a line is at most PIPE_BUF long). The line is built on
 * the stack; what does not fit is cut and marked with "…". The members' names are taken from the format, never from the formatted
 * text, so that a value cannot forge a member. */
#include "config/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "config/base/utf8.h"

enum { LINE_BYTES = 4096, TEXT_BYTES = 3072, TAIL_BYTES = 8, PAIRS_MAX = 32 };

static int level_min = LOG_INFO;
static int line_format = LOG_FORMAT_AUTO;

void log_setup(enum log_level level, enum log_format format)
{
        if (format == LOG_FORMAT_AUTO)
                format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;
        __atomic_store_n(&level_min, (int)level, __ATOMIC_RELAXED);
        __atomic_store_n(&line_format, (int)format, __ATOMIC_RELAXED);
}

struct line {
        size_t len;
        bool full; /* sticky: what comes after the cut would only confuse */
        bool open; /* within a JSON string */
        char data[LINE_BYTES];
};

static void put(struct line *line, const char *data, size_t len)
{
        if (line->full || len > LINE_BYTES - TAIL_BYTES - line->len) {
                line->full = true;
                return;
        }
        memcpy(line->data + line->len, data, len);
        line->len += len;
}

static void put_string(struct line *line, const char *s)
{
        put(line, s, strlen(s));
}

/* The length of the well-formed UTF-8 sequence at s, 0 where there is none. */
static size_t sequence(struct span s)
{
        unsigned char first = (unsigned char)s.data[0];
        size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

        return len <= s.len && utf8_valid((struct span){s.data, len}) ? len : 0;
}

/* ,"name":" as a whole or not at all, so that a cut leaves valid JSON. */
static void open_member(struct line *line, struct span name)
{
        if (line->full || name.len + 5 > LINE_BYTES - TAIL_BYTES - line->len) {
                line->full = true;
                return;
        }
        put_string(line, line->len > 1 ? ",\"" : "\"");
        put(line, name.data, name.len);
        put_string(line, "\":\"");
        line->open = true;
}

static void close_member(struct line *line)
{
        put(line, "\"", 1);
        line->open = line->full && line->open;
}

/* Whatever the bytes are, what comes out is valid JSON text, or harmless to a terminal. */
static void put_escaped(struct line *line, struct span s, bool json)
{
        for (size_t at = 0; at < s.len;) {
                size_t len = sequence((struct span){s.data + at, s.len - at});
                unsigned char c = (unsigned char)s.data[at];
                bool c1 = len == 2 && c == 0xc2 && (unsigned char)s.data[at + 1] < 0xa0; /* control characters U+0080…U+009F */
                char escape[8];

                if (len == 0) {
                        put_string(line, "\xef\xbf\xbd");
                        len = 1;
                } else if (c < ' ' || c == 0x7f || c1) {
                        snprintf(escape, sizeof escape, "\\u%04x", c1 ? (unsigned char)s.data[at + 1] : c);
                        put_string(line, escape);
                } else {
                        if (json && (c == '"' || c == '\\'))
                                put(line, "\\", 1);
                        put(line, s.data + at, len);
                }
                at += len;
        }
}

static bool is_name(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

/* The next `name=` of the format, at its beginning or behind a blank; *at moves behind it. */
static bool next_name(const char **at, struct span *ret_name)
{
        for (const char *word = *at; *word;) {
                size_t len = 0;

                while (is_name(word[len]))
                        len++;
                if (len > 0 && word[len] == '=') {
                        *ret_name = (struct span){word, len};
                        *at = word + len + 1;
                        return true;
                }
                word += strcspn(word, " ");
                word += strspn(word, " ");
        }
        return false;
}

/* Where " name=" begins in text, or its end. */
static size_t find_pair(struct span text, struct span name)
{
        for (size_t i = 0; i + name.len + 2 <= text.len; i++)
                if (text.data[i] == ' ' && memcmp(text.data + i + 1, name.data, name.len) == 0 &&
                    text.data[i + 1 + name.len] == '=')
                        return i;
        return text.len;
}

static void put_json_pairs(struct line *line, const char *format, struct span text)
{
        struct span name, next;
        bool more = next_name(&format, &name);

        if (!more || text.len <= name.len || memcmp(text.data, name.data, name.len) != 0)
                name = (struct span){"", 0}; /* no pair at the beginning: all of it is one text */
        if (name.len == 0) {
                open_member(line, SPAN("text"));
                put_escaped(line, text, true);
                close_member(line);
                return;
        }
        for (int pairs = 0; more && pairs < PAIRS_MAX; pairs++) {
                size_t end;

                text.data += name.len + 1;
                text.len -= name.len + 1;
                more = pairs + 1 < PAIRS_MAX && next_name(&format, &next);
                end = more ? find_pair(text, next) : text.len;
                open_member(line, name);
                put_escaped(line, (struct span){text.data, end}, true);
                close_member(line);
                if (end == text.len)
                        return; /* the last one, or the text was cut */
                text.data += end + 1;
                text.len -= end + 1;
                name = next;
        }
}

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* Into the room that put() always leaves. */
static void end_line(struct line *line, const char *tail)
{
        size_t len = strlen(tail);

        memcpy(line->data + line->len, tail, len);
        line->len += len;
}

static void build_json(struct line *line, enum log_level level, const char *event, const char *format, struct span text)
{
        char time[CLOCK_RFC3339_BYTES];

        clock_format_rfc3339(clock_wall_ms(), time);
        put(line, "{", 1);
        open_member(line, SPAN("time"));
        put_string(line, time);
        close_member(line);
        open_member(line, SPAN("level"));
        put_string(line, level_names[level]);
        close_member(line);
        open_member(line, SPAN("event"));
        put_escaped(line, span_of(event), true);
        close_member(line);
        if (format)
                put_json_pairs(line, format, text);
        end_line(line, line->open ? "…\"}\n" : "}\n");
}

static void build_text(struct line *line, enum log_level level, const char *event, struct span text)
{
        char time[CLOCK_RFC3339_BYTES];

        clock_format_rfc3339(clock_wall_ms(), time);
        put(line, time + 11, 12); /* hh:mm:ss.mmm */
        put(line, " ", 1);
        put_string(line, level_names[level]);
        put_string(line, level == LOG_INFO || level == LOG_WARN ? "  " : " ");
        put_escaped(line, span_of(event), false);
        if (text.len) {
                put(line, "  ", 2);
                put_escaped(line, text, false);
        }
        end_line(line, line->full ? "…\n" : "\n");
}

void log_write(enum log_level level, const char *event, const char *fields, ...)
{
        int format = __atomic_load_n(&line_format, __ATOMIC_RELAXED);
        int saved = errno;
        char text[TEXT_BYTES];
        struct line line;
        size_t len = 0;

        if ((int)level < __atomic_load_n(&level_min, __ATOMIC_RELAXED))
                return;
        line.len = 0;
        line.full = line.open = false;
        if (fields) {
                va_list args;
                int n;

                va_start(args, fields);
                n = vsnprintf(text, sizeof text, fields, args);
                va_end(args);
                len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
        }
        if (format == LOG_FORMAT_AUTO)
                format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;
        if (format == LOG_FORMAT_TEXT)
                build_text(&line, level, event, (struct span){text, len});
        else
                build_json(&line, level, event, fields, (struct span){text, len});
        while (write(STDERR_FILENO, line.data, line.len) < 0 && errno == EINTR)
                ;
        errno = saved;
}
