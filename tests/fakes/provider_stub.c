/* provider_stub: a model provider that answers fast and always the same, and fails exactly as asked.
 *
 *   POST /v1/embeddings         OpenAI's: input a string or an array of them, encoding_format float or base64, dimensions
 *   POST /v1/chat/completions   OpenAI's: answers "echo: " and the last message
 *   GET  /stats                 counters, JSON
 *   POST /control?NAME=VALUE&…  changes options while it runs (those of --help, without the dashes)
 *
 * An answer follows from its request alone, so that a test can tell whether the right vector came back to the right request:
 *   hash(text)   = FNV-1a, 64 bit, of the text's UTF-8 bytes
 *   random(s, i) = splitmix64: z = s + (i + 1)·0x9e3779b97f4a7c15; z = (z ^ z>>30)·0xbf58476d1ce4e5b9;
 *                  z = (z ^ z>>27)·0x94d049bb133111eb; z ^ z>>31
 *   vector[i]    = x[i] / |x| as float32, with x[i] = (random(hash, i) >> 40) / 2^23 − 1
 *   tokens       = max(1, bytes / 4) of each text; of the answer's text too for a chat
 *
 * Faults on demand: a text that holds one of these markers rules the whole request's answer.
 *   @@400@@ @@401@@ … @@529@@   that status         @@hang@@       never an answer        @@reset@@    the connection is reset
 *   @@context@@   400 context_length_exceeded       @@filter@@     400 content_filter     @@quota@@    429 insufficient_quota
 *   @@garbage@@   200 that is no JSON               @@truncated@@  200, cut in the middle @@empty@@    200 without data
 *   @@error200@@  200 with an error object inside   @@short@@      vectors one too short  @@missing@@  one vector too few
 *   @@nan@@       NaN as first number               @@huge@@       1e999 as first number
 * Faults by chance: --p429 and the like, one draw a request in order of arrival, from --seed. A marker goes before chance.
 *
 * The journal has a line for each model request, in order of arrival, written at the end of each turn of the loop:
 *   MICROSECONDS PATH STATUS FAULT COUNT HASH,HASH… TAG,TAG…
 * by CLOCK_MONOTONIC; STATUS 0: no answer; FAULT - : none; HASH in hex, - : no text; TAG: the NAME of a text that holds "@=NAME=@",
 * for texts that the program under test wraps in others before it sends them. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/fakes/stub_answer.h"
#include "tests/fakes/stub_http.h"
#include "tests/fakes/stub_request.h"

static struct {
        double delay_min_ms, delay_max_ms, p429, p5xx, phang, pgarbage, preset;
        long port, dimensions, retry_after_s, float_only, connections;
        uint64_t seed;
        enum { RETRY_SECONDS, RETRY_DATE, RETRY_MS } retry_form;
        char api_key[256];
} options = {.dimensions = 384, .retry_after_s = 1, .connections = 8192, .seed = 1};

static struct {
        uint64_t embeddings, chat, other, inputs, tokens;
        uint64_t ok, s4xx, s429, s5xx, hang, garbage, reset;
} counts;

static volatile int stop;
static FILE *journal;
static uint64_t draws;

/* The next number in [0, 1) of the sequence that faults and delays come from. */
static double draw(void)
{
        return (double)(stub_random(options.seed, draws++) >> 11) * 0x1p-53;
}

static const char *fault_by_chance(void)
{
        static const char *const server_errors[] = {"500", "502", "503"}, *const spoilt[] = {"garbage", "garbage", "truncated",
                                                                                             "empty", "missing"};
        double x;

        if (options.p429 + options.p5xx + options.phang + options.preset + options.pgarbage <= 0)
                return NULL;
        x = draw();
        if ((x -= options.p429) < 0)
                return "429";
        if ((x -= options.p5xx) < 0)
                return server_errors[(int)(draw() * 3)];
        if ((x -= options.phang) < 0)
                return "hang";
        if ((x -= options.preset) < 0)
                return "reset";
        return x - options.pgarbage < 0 ? spoilt[(int)(draw() * 5)] : NULL;
}

static void write_tags(const struct stub_request *request)
{
        struct stub_text tag;
        char before = ' ';

        if (!request->text_count)
                fputc('-', journal);
        for (size_t i = 0; i < request->text_count; i++) {
                if (!stub_text_tag(&request->texts[i], &tag))
                        continue;
                fputc(before, journal);
                fwrite(tag.at, 1, tag.len, journal);
                before = ',';
        }
        fputs(before == ' ' ? " -\n" : "\n", journal);
}

static void write_journal(const struct http_request *asked, int status, const char *fault, const struct stub_request *request)
{
        if (!journal)
                return;
        fprintf(journal, "%lld %.*s %d %s %zu ", (long long)http_now_us(), (int)(asked->path_len < 200 ? asked->path_len : 200),
                asked->path, status, fault ? fault : "-", request->text_count);
        for (size_t i = 0; i < request->text_count; i++)
                fprintf(journal, "%s%016llx", i ? "," : "", (unsigned long long)request->texts[i].hash);
        write_tags(request);
}

static void flush_journal(void)
{
        if (journal)
                fflush(journal);
}

static void set_retry_after(struct http_answer *answer)
{
        char date[64];
        struct tm utc;
        time_t at = time(NULL) + options.retry_after_s;

        if (options.retry_after_s < 0)
                return;
        if (options.retry_form == RETRY_MS) {
                snprintf(answer->headers, sizeof answer->headers, "retry-after-ms: %ld\r\n", options.retry_after_s * 1000);
        } else if (options.retry_form == RETRY_DATE && gmtime_r(&at, &utc)) {
                strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
                snprintf(answer->headers, sizeof answer->headers, "Retry-After: %s\r\n", date);
        } else {
                snprintf(answer->headers, sizeof answer->headers, "Retry-After: %ld\r\n", options.retry_after_s);
        }
}

static bool authorised(const struct http_request *asked)
{
        size_t len = strlen(options.api_key);

        return !len || (asked->authorization && asked->authorization_len == len + 7 &&
                        !strncmp(asked->authorization, "Bearer ", 7) && !memcmp(asked->authorization + 7, options.api_key, len));
}

/* Order: the key, the request's shape, a marker, chance, the true answer. */
static void serve_model(enum stub_route route, const struct http_request *asked, struct http_answer *answer)
{
        static struct stub_request request;
        char marker[32];
        const char *fault = NULL;
        bool whole = stub_request_read(&request, asked->body, asked->body_len);
        int dimensions = request.dimensions ? request.dimensions : (int)options.dimensions;

        *(route == STUB_EMBEDDINGS ? &counts.embeddings : route == STUB_CHAT ? &counts.chat : &counts.other) += 1;
        counts.inputs += request.text_count;
        if (!authorised(asked)) {
                answer->status = 401;
                fault = "401";
        } else if (route == STUB_UNKNOWN) {
                answer->status = 404;
        } else if (!whole || request.text_count == 0 || dimensions < 1 || dimensions > STUB_DIMENSIONS_MAX) {
                answer->status = 400;
        } else {
                fault = stub_request_marker(&request, marker, sizeof marker) ? marker : fault_by_chance();
                answer->status = stub_fault_status(fault);
        }
        write_journal(asked, answer->status, fault, &request);
        if (answer->status == 0) {
                bool hang = !strcmp(fault, "hang");

                *(hang ? &counts.hang : &counts.reset) += 1;
                answer->fate = hang ? HTTP_HANG : HTTP_RESET;
                return;
        }
        if (answer->status == 200) {
                counts.tokens += stub_answer_write(&answer->body, route, &request, dimensions,
                                                   request.base64 && !options.float_only, fault);
                *(fault ? &counts.garbage : &counts.ok) += 1;
        } else {
                *(answer->status == 429 ? &counts.s429 : answer->status >= 500 ? &counts.s5xx : &counts.s4xx) += 1;
                stub_answer_error(&answer->body, answer->status, fault);
                if (answer->status == 429)
                        set_retry_after(answer);
        }
        if (options.delay_max_ms > 0)
                answer->delay_us = (int64_t)((options.delay_min_ms + draw() * (options.delay_max_ms - options.delay_min_ms)) *
                                             1000);
}

static void write_stats(struct stub_bytes *to)
{
        const struct {
                const char *name;
                uint64_t value;
        } rows[] = {{"requests", counts.embeddings + counts.chat},
                    {"embeddings", counts.embeddings},
                    {"chat", counts.chat},
                    {"other", counts.other},
                    {"ok", counts.ok},
                    {"s4xx", counts.s4xx},
                    {"s429", counts.s429},
                    {"s5xx", counts.s5xx},
                    {"hang", counts.hang},
                    {"garbage", counts.garbage},
                    {"reset", counts.reset},
                    {"inputs", counts.inputs},
                    {"tokens", counts.tokens},
                    {"bytes_in", http_counts.bytes_in},
                    {"bytes_out", http_counts.bytes_out},
                    {"abandoned", http_counts.abandoned},
                    {"refused", http_counts.refused},
                    {"connections", http_counts.connections},
                    {"connections_peak", http_counts.connections_peak}};
        struct rusage used;
        double cpu_s;

        getrusage(RUSAGE_SELF, &used);
        cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
        bytes_text(to, "{");
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
                bytes_format(to, "\"%s\":%llu,", rows[i].name, (unsigned long long)rows[i].value);
        bytes_format(to, "\"cpu_s\":%.3f,\"cpu_s_per_100k\":%.3f,\"rss_mb\":%.1f}", cpu_s,
                     rows[0].value ? cpu_s * 1e5 / (double)rows[0].value : 0.0, (double)used.ru_maxrss / 1024.0);
}

static bool parse_number(const char *text, double low, double high, double *ret)
{
        char *end;
        double value = strtod(text, &end);

        if (end == text || *end || !(value >= low && value <= high))
                return false;
        *ret = value;
        return true;
}

static bool set_delay(const char *value)
{
        char low[32];
        const char *dash = strchr(value, '-');
        size_t len = dash ? (size_t)(dash - value) : strlen(value);
        double from_ms, to_ms;

        if (len >= sizeof low)
                return false;
        memcpy(low, value, len);
        low[len] = '\0';
        if (!parse_number(low, 0, 3600000, &from_ms) || !parse_number(dash ? dash + 1 : low, from_ms, 3600000, &to_ms))
                return false;
        options.delay_min_ms = from_ms;
        options.delay_max_ms = to_ms;
        return true;
}

static bool set_option(const char *name, const char *value)
{
        static const struct {
                const char *name;
                double *chance;
                long *whole, low, high;
        } table[] = {{"p429", &options.p429, NULL, 0, 1},
                     {"p5xx", &options.p5xx, NULL, 0, 1},
                     {"phang", &options.phang, NULL, 0, 1},
                     {"pgarbage", &options.pgarbage, NULL, 0, 1},
                     {"preset", &options.preset, NULL, 0, 1},
                     {"retry-after", NULL, &options.retry_after_s, -1, 86400},
                     {"dimensions", NULL, &options.dimensions, 1, STUB_DIMENSIONS_MAX},
                     {"float-only", NULL, &options.float_only, 0, 1},
                     {"connections", NULL, &options.connections, 1, 16000}};
        static const char *const forms[] = {"s", "date", "ms"};
        double number;

        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                if (strcmp(table[i].name, name))
                        continue;
                if (!parse_number(value, (double)table[i].low, (double)table[i].high, &number) ||
                    (table[i].whole && number != floor(number)))
                        return false;
                if (table[i].whole)
                        *table[i].whole = (long)number;
                else
                        *table[i].chance = number;
                http_connections_max = (int)options.connections;
                return true;
        }
        if (!strcmp(name, "delay-ms"))
                return set_delay(value);
        if (!strcmp(name, "seed")) {
                options.seed = strtoull(value, NULL, 10);
                draws = 0;
                return true;
        }
        if (!strcmp(name, "api-key"))
                return (size_t)snprintf(options.api_key, sizeof options.api_key, "%s", value) < sizeof options.api_key;
        for (unsigned i = 0; !strcmp(name, "retry-after-form") && i < 3; i++)
                if (!strcmp(value, forms[i])) {
                        options.retry_form = i;
                        return true;
                }
        return false;
}

static bool control(const struct http_request *asked)
{
        char query[1024], *rest = query;

        if (!asked->query || asked->query_len >= sizeof query)
                return false;
        memcpy(query, asked->query, asked->query_len);
        query[asked->query_len] = '\0';
        for (char *pair; (pair = strsep(&rest, "&"));) {
                char *value = strchr(pair, '=');

                if (!value)
                        return false;
                *value++ = '\0';
                if (!set_option(pair, value))
                        return false;
        }
        return true;
}

static void serve(const struct http_request *asked, struct http_answer *answer)
{
        static const struct {
                const char *path;
                enum { EMBEDDINGS, CHAT, STATS, CONTROL } what;
        } routes[] = {{"/v1/embeddings", EMBEDDINGS}, {"/embeddings", EMBEDDINGS}, {"/v1/chat/completions", CHAT},
                      {"/chat/completions", CHAT},    {"/stats", STATS},           {"/control", CONTROL}};
        enum stub_route model = STUB_UNKNOWN;

        for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
                if (strlen(routes[i].path) != asked->path_len || memcmp(routes[i].path, asked->path, asked->path_len))
                        continue;
                if (routes[i].what == STATS) {
                        write_stats(&answer->body);
                        return;
                }
                if (routes[i].what == CONTROL) {
                        bool good = control(asked);

                        answer->status = good ? 200 : 400;
                        bytes_text(&answer->body,
                                   good ? "{\"ok\":true}" : "{\"error\":{\"message\":\"unknown option or value out of range\"}}");
                        return;
                }
                model = routes[i].what == CHAT ? STUB_CHAT : STUB_EMBEDDINGS;
        }
        if (asked->post) {
                serve_model(model, asked, answer);
                return;
        }
        answer->status = 405;
        bytes_text(&answer->body, "{\"error\":{\"message\":\"use POST\"}}");
}

static void usage(FILE *to)
{
        fputs("usage: provider_stub [--OPTION VALUE]…\n"
              "A deterministic OpenAI-compatible provider on 127.0.0.1 that fails on demand. The head of provider_stub.c has the "
              "formulas and markers.\n\n"
              "  --port N             default 0: a free one. Standard output says which: \"listening on 127.0.0.1:N\"\n"
              "  --delay-ms A[-B]     hold each answer back for A, or for A to B, milliseconds\n"
              "  --p429 P  --p5xx P  --phang P  --preset P  --pgarbage P    chances, 0 to 1, of these faults\n"
              "  --retry-after S      seconds in the Retry-After of a 429 (default 1; -1: none)\n"
              "  --retry-after-form F s (seconds), date (HTTP date) or ms (header retry-after-ms)\n"
              "  --seed N             of faults and delays (default 1)\n"
              "  --dimensions N       of a vector, unless the request says (default 384)\n"
              "  --float-only 0|1     ignore encoding_format, as servers do that only know JSON numbers\n"
              "  --api-key KEY        demand it as a bearer token\n"
              "  --connections N      at most so many at once (default 8192)\n"
              "  --journal FILE       append a line for each model request\n\n"
              "SIGTERM ends it; the counters, with its own CPU seconds, then go to standard error.\n",
              to);
}

static void read_arguments(int argc, char **argv)
{
        for (int i = 1; i < argc; i += 2) {
                const char *name = argv[i], *value = argv[i + 1];
                double port;
                bool good;

                if (!strcmp(name, "--help")) {
                        usage(stdout);
                        exit(0);
                }
                if (!value || strncmp(name, "--", 2)) {
                        usage(stderr);
                        exit(2);
                }
                if (!strcmp(name, "--port")) {
                        good = parse_number(value, 0, 65535, &port);
                        options.port = good ? (long)port : 0;
                } else if (!strcmp(name, "--journal")) {
                        journal = fopen(value, "ae");
                        good = journal != NULL;
                } else {
                        good = set_option(name + 2, value);
                }
                if (!good) {
                        fprintf(stderr, "provider_stub: %s %s: unknown option, or a value that it can't take\n", name, value);
                        exit(2);
                }
        }
}

static void on_signal(int number)
{
        (void)number;
        stop = 1;
}

int main(int argc, char **argv)
{
        struct sigaction end = {.sa_handler = on_signal};
        struct stub_bytes stats = {0};
        struct rlimit files;
        int port;

        read_arguments(argc, argv);
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max;
                setrlimit(RLIMIT_NOFILE, &files);
        }
        sigaction(SIGTERM, &end, NULL);
        sigaction(SIGINT, &end, NULL);
        port = http_listen((int)options.port);
        if (port < 0) {
                fprintf(stderr, "provider_stub: can't listen on 127.0.0.1:%ld: %s\n", options.port, strerror(errno));
                return 1;
        }
        printf("listening on 127.0.0.1:%d\n", port);
        fflush(stdout);
        http_serve(serve, flush_journal, &stop);
        write_stats(&stats);
        fprintf(stderr, "%.*s\n", (int)stats.len, stats.at);
        free(stats.at);
        return 0;
}
