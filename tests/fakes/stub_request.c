/* See stub_request.h. Every step of the reader stops at the first fault, which sticks in reader.bad. */
#include "tests/fakes/stub_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS_MAX = 100000, DEPTH_MAX = 64, TAG_BYTES_MAX = 128 };

struct reader {
        char *at, *end;
        bool bad;
};

uint64_t stub_hash(const char *at, size_t len)
{
        uint64_t hash = 0xcbf29ce484222325u;

        for (size_t i = 0; i < len; i++)
                hash = (hash ^ (unsigned char)at[i]) * 0x100000001b3u;
        return hash;
}

/* The next byte that is no white space, 0 at the end. */
static char peek(struct reader *reader)
{
        while (reader->at < reader->end &&
               (*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\n' || *reader->at == '\r'))
                reader->at++;
        return reader->at < reader->end ? *reader->at : '\0';
}

static bool accept(struct reader *reader, char c)
{
        if (reader->bad || peek(reader) != c)
                return false;
        reader->at++;
        return true;
}

static bool expect(struct reader *reader, char c)
{
        if (!accept(reader, c))
                reader->bad = true;
        return !reader->bad;
}

static bool read_hex4(struct reader *reader, unsigned *ret)
{
        unsigned value = 0;

        if (reader->end - reader->at < 4)
                return false;
        for (int i = 0; i < 4; i++) {
                char c = *reader->at++;

                if (c >= '0' && c <= '9')
                        value = value * 16 + (unsigned)(c - '0');
                else if ((c | 32) >= 'a' && (c | 32) <= 'f')
                        value = value * 16 + (unsigned)((c | 32) - 'a' + 10);
                else
                        return false;
        }
        *ret = value;
        return true;
}

static size_t encode_utf8(unsigned code, char *to)
{
        static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

        if (len == 1) {
                to[0] = (char)code;
                return 1;
        }
        for (size_t i = len - 1; i > 0; i--, code >>= 6)
                to[i] = (char)(0x80 | (code & 63));
        to[0] = (char)(lead[len] | code);
        return len;
}

/* An escape behind its backslash, written to *to; never longer than it was. */
static bool read_escape(struct reader *reader, char **to)
{
        static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
        char c = reader->at < reader->end ? *reader->at++ : '\0';
        const char *found = c ? strchr(names, c) : NULL;
        unsigned code, low;

        if (found) {
                *(*to)++ = values[found - names];
                return true;
        }
        if (c != 'u' || !read_hex4(reader, &code))
                return false;
        if (code >= 0xd800 && code < 0xdc00 && reader->end - reader->at >= 6 && reader->at[0] == '\\' && reader->at[1] == 'u') {
                struct reader ahead = {.at = reader->at + 2, .end = reader->end};

                if (read_hex4(&ahead, &low) && low >= 0xdc00 && low < 0xe000) {
                        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                        reader->at = ahead.at;
                }
        }
        *to += encode_utf8(code, *to);
        return true;
}

static bool read_string(struct reader *reader, struct stub_text *ret)
{
        char *to;

        if (!expect(reader, '"'))
                return false;
        *ret = (struct stub_text){.at = to = reader->at};
        for (;;) {
                char *run = reader->at;

                while (reader->at < reader->end && *reader->at != '"' && *reader->at != '\\' && (unsigned char)*reader->at >= 0x20)
                        reader->at++;
                if (to != run)
                        memmove(to, run, (size_t)(reader->at - run));
                to += reader->at - run;
                if (reader->at < reader->end && *reader->at == '"')
                        break;
                if (reader->at >= reader->end || *reader->at++ != '\\' || !read_escape(reader, &to)) {
                        reader->bad = true;
                        return false;
                }
        }
        reader->at++;
        ret->len = (size_t)(to - ret->at);
        return true;
}

static void skip_value(struct reader *reader, int depth)
{
        struct stub_text ignored;
        char c = peek(reader), close = c == '{' ? '}' : ']';

        if (c == '"') {
                read_string(reader, &ignored);
        } else if (c != '{' && c != '[') {
                size_t len = strspn(reader->at, "+-.0123456789aefnlrstuE"); /* the byte behind the body is always readable */

                reader->at += len;
                reader->bad |= len == 0 || reader->at > reader->end;
        } else if (depth == DEPTH_MAX) {
                reader->bad = true;
        } else {
                reader->at++;
                if (accept(reader, close))
                        return;
                do {
                        if (c == '{' && (!read_string(reader, &ignored) || !expect(reader, ':')))
                                return;
                        skip_value(reader, depth + 1);
                } while (accept(reader, ','));
                expect(reader, close);
        }
}

static void add_text(struct stub_request *request, struct stub_text text)
{
        if (request->text_count == request->text_cap) {
                request->text_cap = request->text_cap ? 2 * request->text_cap : 32;
                request->texts = realloc(request->texts, request->text_cap * sizeof *request->texts);
                if (!request->texts) {
                        fprintf(stderr, "provider_stub: out of memory\n");
                        exit(1);
                }
        }
        text.hash = stub_hash(text.at, text.len);
        request->texts[request->text_count++] = text;
}

static bool is(struct stub_text text, const char *word)
{
        return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

/* Strings, in arrays or not, and the "content" or "text" of objects: inputs, messages, and messages in parts. */
static void read_texts(struct reader *reader, struct stub_request *request, int depth)
{
        struct stub_text text;
        char c = peek(reader);

        if (c == '"') {
                if (read_string(reader, &text) && request->text_count < TEXTS_MAX)
                        add_text(request, text);
                return;
        }
        if ((c != '[' && c != '{') || depth == 4) {
                reader->bad = true;
                return;
        }
        reader->at++;
        if (accept(reader, c == '[' ? ']' : '}'))
                return;
        do {
                if (c == '[')
                        read_texts(reader, request, depth + 1);
                else if (read_string(reader, &text) && expect(reader, ':') && (is(text, "content") || is(text, "text")))
                        read_texts(reader, request, depth + 1);
                else if (!reader->bad)
                        skip_value(reader, 0);
        } while (accept(reader, ','));
        expect(reader, c == '[' ? ']' : '}');
}

static void read_member(struct reader *reader, struct stub_request *request)
{
        struct stub_text name, value;
        char c;

        if (!read_string(reader, &name) || !expect(reader, ':'))
                return;
        c = peek(reader);
        if (is(name, "input") || is(name, "messages"))
                read_texts(reader, request, 0);
        else if (is(name, "model") && c == '"')
                read_string(reader, &request->model);
        else if (is(name, "encoding_format") && c == '"')
                request->base64 = read_string(reader, &value) && is(value, "base64");
        else if (is(name, "dimensions") && c >= '0' && c <= '9')
                request->dimensions = (int)strtol(reader->at, &reader->at, 10) ?: -1;
        else
                skip_value(reader, 0);
}

bool stub_request_read(struct stub_request *request, char *body, size_t len)
{
        struct reader reader = {.at = body, .end = body + len};

        *request = (struct stub_request){.model = {.at = ""}, .texts = request->texts, .text_cap = request->text_cap};
        if (!expect(&reader, '{'))
                return false;
        if (!accept(&reader, '}')) {
                do
                        read_member(&reader, request);
                while (accept(&reader, ','));
                expect(&reader, '}');
        }
        return !reader.bad && peek(&reader) == '\0';
}

bool stub_request_marker(const struct stub_request *request, char *name, size_t size)
{
        for (size_t i = 0; i < request->text_count; i++) {
                const char *end = request->texts[i].at + request->texts[i].len,
                           *from = memmem(request->texts[i].at, request->texts[i].len, "@@", 2), *to;

                if (!from)
                        continue;
                from += 2;
                to = memmem(from, (size_t)(end - from), "@@", 2);
                if (!to || (size_t)(to - from) >= size)
                        continue;
                memcpy(name, from, (size_t)(to - from));
                name[to - from] = '\0';
                return true;
        }
        return false;
}

bool stub_text_tag(const struct stub_text *text, struct stub_text *ret)
{
        const char *end = text->at + text->len, *from = memmem(text->at, text->len, "@=", 2), *to;

        if (!from)
                return false;
        from += 2;
        to = memmem(from, (size_t)(end - from), "=@", 2);
        if (!to || to == from || to - from > TAG_BYTES_MAX)
                return false;
        for (const char *at = from; at < to; at++)
                if (*at <= ' ' || *at > '~' || *at == ',')
                        return false;
        *ret = (struct stub_text){.at = from, .len = (size_t)(to - from)};
        return true;
}
