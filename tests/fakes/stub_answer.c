/* See stub_answer.h. */
#include "tests/fakes/stub_answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_BYTES = 24 };

uint64_t stub_random(uint64_t seed, uint64_t i)
{
        uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
}

static const struct {
        const char *name, *code;
        int status;
} faults[] = {
        {"context", "context_length_exceeded", 400},
        {"filter", "content_filter", 400},
        {"quota", "insufficient_quota", 429},
        {"401", "invalid_api_key", 401},
        {"429", "rate_limit_exceeded", 429},
        {"hang", "", 0},
        {"reset", "", 0},
};

int stub_fault_status(const char *fault)
{
        int status = fault ? (int)strtol(fault, NULL, 10) : 0;

        if (fault)
                for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
                        if (!strcmp(faults[i].name, fault))
                                return faults[i].status;
        return status >= 300 && status <= 599 ? status : 200;
}

void stub_answer_error(struct stub_bytes *body, int status, const char *fault)
{
        const char *code = status >= 500 ? "server_error" : "invalid_request";
        const char *type = status == 429 ? "rate_limit_error" : status >= 500 ? "server_error" : "invalid_request_error";

        for (size_t i = 0; fault && i < sizeof faults / sizeof *faults; i++)
                if (!strcmp(faults[i].name, fault))
                        code = faults[i].code;
        bytes_format(body, "{\"error\":{\"message\":\"provider_stub says %d\",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"}}",
                     status, type, code);
}

static uint64_t tokens_of(size_t bytes)
{
        return bytes < 4 ? 1 : bytes / 4;
}

/* A point on the unit sphere that follows from the text's hash. */
static void make_vector(uint64_t hash, int dimensions, float *vector)
{
        static double raw[STUB_DIMENSIONS_MAX];
        double square = 0;

        for (int i = 0; i < dimensions; i++) {
                raw[i] = (double)(stub_random(hash, (uint64_t)i) >> 40) * 0x1p-23 - 1.0;
                square += raw[i] * raw[i];
        }
        square = square > 0 ? 1.0 / sqrt(square) : 0;
        for (int i = 0; i < dimensions; i++)
                vector[i] = (float)(raw[i] * square);
}

/* |value| ≤ 1 as a decimal fraction of nine significant digits, so that a float32 survives; at most NUMBER_BYTES. Numbers below
 * 1e-8 get fewer digits. printf would cost more than all the rest of the stub. */
static char *put_number(char *to, float value)
{
        static const double powers[] = {1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17};
        double size = fabs((double)value);
        uint64_t digits;
        int zeros = 0;

        if (value < 0)
                *to++ = '-';
        for (double limit = 0.1; zeros < 8 && size < limit; limit *= 0.1)
                zeros++;
        digits = (uint64_t)(size * powers[zeros] + 0.5);
        if (digits >= 1000000000u) { /* rounded up to the next power of ten */
                if (zeros == 0)
                        return stpcpy(to, "1.000000000");
                digits = 100000000u;
                zeros--;
        }
        *to++ = '0';
        *to++ = '.';
        memset(to, '0', (size_t)zeros);
        to += zeros;
        for (int i = 8; i >= 0; i--, digits /= 10)
                to[i] = (char)('0' + digits % 10);
        return to + 9;
}

static char *put_base64(char *to, const unsigned char *from, size_t len)
{
        static const char set[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        size_t tail = len % 3;

        for (size_t i = 0; i + 3 <= len; i += 3) {
                unsigned group = (unsigned)from[i] << 16 | (unsigned)from[i + 1] << 8 | from[i + 2];

                *to++ = set[group >> 18];
                *to++ = set[group >> 12 & 63];
                *to++ = set[group >> 6 & 63];
                *to++ = set[group & 63];
        }
        if (tail) {
                unsigned group = (unsigned)from[len - tail] << 16 | (tail == 2 ? (unsigned)from[len - 1] << 8 : 0);

                *to++ = set[group >> 18];
                *to++ = set[group >> 12 & 63];
                *to++ = tail == 2 ? set[group >> 6 & 63] : '=';
                *to++ = '=';
        }
        return to;
}

/* first: what stands in the first number's place, NULL: the number itself. */
static void write_vector(struct stub_bytes *body, float *vector, int dimensions, bool base64, const char *first)
{
        char *to = bytes_room(body, (size_t)dimensions * (NUMBER_BYTES + 1) + 16);

        if (base64) {
                if (first)
                        vector[0] = first[0] == 'N' ? NAN : INFINITY;
                *to++ = '"';
                to = put_base64(to, (const unsigned char *)vector, (size_t)dimensions * sizeof *vector);
                *to++ = '"';
        } else {
                *to++ = '[';
                for (int i = 0; i < dimensions; i++) {
                        to = i == 0 && first ? stpcpy(to, first) : put_number(to, vector[i]);
                        *to++ = ',';
                }
                to[-1 + (dimensions == 0)] = ']'; /* over the last comma */
                to += dimensions == 0;
        }
        body->len = (size_t)(to - body->at);
}

static bool is_fault(const char *fault, const char *name)
{
        return fault && !strcmp(fault, name);
}

static uint64_t write_embeddings(struct stub_bytes *body, const struct stub_request *request, int dimensions, bool base64,
                                 const char *fault)
{
        static float vector[STUB_DIMENSIONS_MAX];
        const char *first = is_fault(fault, "nan") ? "NaN" : is_fault(fault, "huge") ? "1e999" : NULL;
        size_t count = request->text_count - is_fault(fault, "missing");
        uint64_t tokens = 0;

        dimensions -= is_fault(fault, "short");
        bytes_text(body, "{\"object\":\"list\",\"data\":[");
        for (size_t i = 0; i < count; i++) {
                bytes_format(body, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
                make_vector(request->texts[i].hash, dimensions, vector);
                write_vector(body, vector, dimensions, base64, first);
                bytes_text(body, "}");
        }
        for (size_t i = 0; i < request->text_count; i++)
                tokens += tokens_of(request->texts[i].len);
        bytes_text(body, "],\"model\":");
        bytes_quoted(body, request->model.at, request->model.len);
        bytes_format(body, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}", (unsigned long long)tokens,
                     (unsigned long long)tokens);
        return tokens;
}

static uint64_t write_chat(struct stub_bytes *body, const struct stub_request *request)
{
        const struct stub_text *last = &request->texts[request->text_count - 1];
        uint64_t tokens_in = 0, tokens_out = tokens_of(last->len + strlen("echo: "));

        for (size_t i = 0; i < request->text_count; i++)
                tokens_in += tokens_of(request->texts[i].len);
        bytes_format(body, "{\"id\":\"chatcmpl-%016llx\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":",
                     (unsigned long long)last->hash);
        bytes_quoted(body, request->model.at, request->model.len);
        bytes_text(body, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"echo: ");
        {
                size_t quote = body->len;

                bytes_quoted(body, last->at, last->len);
                memmove(body->at + quote, body->at + quote + 1, body->len - quote - 1); /* its opening quote stands before "echo" */
                body->len--;
        }
        bytes_format(body,
                     "},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":"
                     "%llu}}",
                     (unsigned long long)tokens_in, (unsigned long long)tokens_out, (unsigned long long)(tokens_in + tokens_out));
        return tokens_in;
}

uint64_t stub_answer_write(struct stub_bytes *body, enum stub_route route, const struct stub_request *request, int dimensions,
                           bool base64, const char *fault)
{
        size_t from = body->len;
        uint64_t tokens;

        if (is_fault(fault, "garbage")) {
                bytes_text(body, "<html><body>upstream connect error</body></html>");
                return 0;
        }
        if (is_fault(fault, "empty")) {
                bytes_text(body, "{\"object\":\"list\"}");
                return 0;
        }
        if (is_fault(fault, "error200")) {
                stub_answer_error(body, 500, NULL);
                return 0;
        }
        tokens = route == STUB_CHAT ? write_chat(body, request) : write_embeddings(body, request, dimensions, base64, fault);
        if (is_fault(fault, "truncated"))
                body->len = from + (body->len - from) / 2;
        return tokens;
}
