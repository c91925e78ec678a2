#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/kafka/kafka_client.h"
#include "queues/kafka/topics.h"
#include "queues/redis/redis_client.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"
#include "workers/cli/request_build.h"
#include "workers/cli/results_client.h"
#include "workers/cli/show_result.h"
#include "workers/cli/submit_file.h"

enum { PUBLISH_TIMEOUT_MS = 15000, WAIT_GRACE_MS = 5000, READ_BYTES = 65536 };

#define FIELD_ROW(option, type_, value_, repeat_, kinds, path, choices_, help_)                                                    \
        {.name = option, .type = ARGUMENT_##type_, .value = value_, .help = help_, .choices = choices_, .repeat = repeat_},

static const struct argument_row rows[] = {
        CLIENT_TENANT_ROW,
        {.name = "lane", .type = ARGUMENT_CHOICE, .choices = "interactive bulk", .help = "default interactive; bulk with --file"},
        {.name = "wait",
         .type = ARGUMENT_WAIT,
         .max = 1e10,
         .help = "wait for the result and print it; at most so long (else until the request's own deadline)"},
        {.name = "file",
         .type = ARGUMENT_STRING,
         .value = "F.jsonl",
         .min = 1,
         .max = 4096,
         .help = "publish each line of a file (- for standard input)"},
        REQUEST_COMMON_ROWS,
        /* clang-format off */
        REQUEST_FIELDS(FIELD_ROW)
        /* clang-format on */
        CLIENT_KAFKA_ROW,
        CLIENT_REDIS_ROW,
};

static void free_kafka(struct kafka_client **client)
{
        kafka_client_free(*client);
}

static void free_redis(struct redis_client **client)
{
        redis_client_free(*client);
}

/* Standard input to its end. */
static int read_input(struct buffer *text, struct error *err)
{
        char *room;
        size_t n;

        if (isatty(STDIN_FILENO))
                fputs("Type the request as a JSON object and end with Ctrl-D (millrace submit --help tells of other ways).\n",
                      stderr);
        for (;;) {
                room = buffer_reserve(text, READ_BYTES);
                if (!room)
                        return error_set(err, CODE_TOO_LARGE, "standard input has more than %zu bytes",
                                         text->bytes_max - READ_BYTES);
                n = fread(room, 1, READ_BYTES, stdin);
                buffer_advance(text, n);
                if (n < READ_BYTES)
                        return ferror(stdin) ? error_set(err, CODE_INTERNAL, "standard input can't be read") : 0;
        }
}

static int build(struct arguments *arguments, enum kind kind, enum lane lane, const struct settings *settings,
                 struct request_text *request, struct error *err)
{
        AUTO_BUFFER text = {0};

        buffer_init(&text, (size_t)settings->worker.payload_bytes_max + 2 * READ_BYTES);
        if (request_has_fields(arguments))
                return request_from_options(arguments, kind, lane, settings, request, err);
        if (read_input(&text, err) < 0)
                return -1;
        if (text.len == 0)
                return error_set(err, CODE_INVALID_JSON,
                                 "no request: give fields as options (--help lists them) or a JSON object on standard input");
        return request_from_text(arguments, kind, lane, settings, buffer_view(&text), request, err);
}

static void print_published(const struct arguments *arguments, const struct request_text *request, enum kind kind,
                            const char *topic, const struct producer_ack *ack)
{
        if (argument_given(arguments, "json")) {
                printf("{\"id\":\"%s\",\"tenant\":\"%s\",\"kind\":\"%s\",\"topic\":\"%s\",\"partition\":%d,\"offset\":%lld}\n",
                       request->id, request->tenant, kind_names[kind], topic, (int)ack->partition, (long long)ack->offset);
                return;
        }
        printf("%s\n", request->id);
        if (isatty(STDERR_FILENO)) {
                const bool other = strcmp(request->tenant, "default") != 0;

                fflush(stdout);
                fprintf(stderr, "published to %s; read its result with: millrace result %s%s%s --wait 30s\n", topic, request->id,
                        other ? " --tenant " : "", other ? request->tenant : "");
        }
}

static int wait_for(const struct arguments *arguments, struct redis_client *redis, const struct request_text *request,
                    int64_t wait_ms)
{
        struct error err;
        bool found = false;
        AUTO_BUFFER json = {0};

        buffer_init(&json, RESULT_BYTES_MAX);
        if (redis_client_wait(redis, span_of(request->tenant), span_of(request->id), clock_now_ms() + wait_ms, &json, &found,
                              &err) < 0)
                return argument_fail(arguments, EXIT_FAILED, "Redis: %s", err.message);
        if (!found) {
                printf("%s\n", request->id);
                return argument_fail(
                        arguments, EXIT_NO_RESULT,
                        "no result yet; is a worker running that serves this kind? Read it later with: millrace result %s",
                        request->id);
        }
        return show_stored(arguments, buffer_view(&json));
}

static int submit_one(struct arguments *arguments, enum kind kind, enum lane lane, struct settings *settings)
{
        AUTO(request_text_fini) struct request_text request;
        AUTO(free_kafka) struct kafka_client *kafka = NULL;
        AUTO(free_redis) struct redis_client *redis = NULL;
        const int64_t lasts_ms = argument_integer(arguments, "timeout", settings->lanes[lane].timeout_ms);
        const bool wait = argument_given(arguments, "wait");
        struct producer_ack ack;
        struct outgoing outgoing = {.partition = -1};
        struct error err;
        char topic[TOPIC_NAME_BYTES];

        request_text_init(&request, (size_t)settings->worker.payload_bytes_max);
        error_clear(&err);
        if (build(arguments, kind, lane, settings, &request, &err) < 0)
                return argument_fail(arguments, EXIT_USAGE, "%s", err.message);
        if (topic_request(topic, client_prefix(settings, request.tenant), kind, lane) < 0)
                return argument_fail(arguments, EXIT_USAGE, "the topic's name is too long; shorten kafka.prefix");
        if (wait && !(redis = redis_client_new(settings, &err)))
                return argument_fail(arguments, EXIT_FAILED, "nothing was published, as no result could be read: Redis: %s",
                                     err.message);
        kafka = kafka_client_new(settings, &err);
        if (!kafka)
                return argument_fail(arguments, EXIT_FAILED, "Kafka: %s", err.message);
        outgoing.topic = topic;
        outgoing.key = span_of(request.key);
        outgoing.value = buffer_view(&request.value);
        if (kafka_publish(kafka, &outgoing, PUBLISH_TIMEOUT_MS, &ack, &err) < 0)
                return argument_fail(arguments, EXIT_FAILED,
                                     "Kafka (%s): %s; --kafka HOST:PORT names another broker, millrace dev starts one",
                                     settings->kafka.brokers, err.message);
        if (wait)
                return wait_for(arguments, redis, &request, argument_integer(arguments, "wait", lasts_ms + WAIT_GRACE_MS));
        print_published(arguments, &request, kind, topic, &ack);
        return EXIT_DONE;
}

static int run(struct arguments *arguments)
{
        const char *word = arguments->words[0], *file = argument_string(arguments, "file"), *near;
        const int kind = kind_of(word, strlen(word));
        const int lane = (int)argument_integer(arguments, "lane", file ? LANE_BULK : LANE_INTERACTIVE);
        AUTO_SETTINGS *settings = NULL;

        if (kind < 0) {
                near = argument_nearest(word, kind_names, KIND_COUNT);
                return argument_fail(arguments, EXIT_USAGE, "unknown kind; %s%s%s",
                                     near ? "did you mean " : "one of: ", near ? near : "ingest embed retrieve rerank llm",
                                     near ? "?" : "");
        }
        if (file && argument_given(arguments, "id"))
                return argument_fail(arguments, EXIT_USAGE, "--id is for one request, --file for many: put ids into the file");
        settings = client_settings(arguments);
        if (!settings)
                return EXIT_USAGE;
        client_quiet();
        if (file)
                return submit_file(arguments, (enum kind)kind, (enum lane)lane, settings, file);
        return submit_one(arguments, (enum kind)kind, (enum lane)lane, settings);
}

const struct command command_submit = {
        .name = "submit",
        .summary = "Publish a request, or a file of them, and wait for what comes of it if you like.",
        .usage = "KIND [fields as options | < request.json | --file F.jsonl] [--wait[=TIME]]",
        .details = "KIND is ingest, embed, retrieve, rerank or llm. The request is made of the options below, or is one JSON "
                   "object on standard\n"
                   "input (published as it stands; --id, --tenant and so on are added). It is checked before it is published, by "
                   "the same\n"
                   "rules as in the worker. Without --wait the id is printed, with it the result: exit status 1 when that is not "
                   "ok.\n\n"
                   "With --file every line is a request. For ingest with --collection a line may also be a bare document,\n"
                   "{\"id\": …, \"title\": …, \"text\": …, \"format\": …, \"metadata\": {…}}. Fields given as options hold for the "
                   "lines that lack them.\n"
                   "An id that a line lacks is made of its content (ingest-<document>-<hash>, else <kind>-<hash>), so that a file "
                   "that is\n"
                   "submitted again is not done again. With --wait all requests are followed until they have ended.\n",
        .example = "  millrace submit embed --input 'hello world' --wait\n"
                   "  millrace submit ingest --collection docs --file documents.jsonl --wait\n"
                   "  millrace submit retrieve --collection docs --query 'how do I make a backup?' --then rerank,llm --wait\n"
                   "  echo '{\"id\": \"q1\", \"collection\": \"docs\", \"query\": \"backup\"}' | millrace submit retrieve\n",
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .words_min = 1,
        .words_max = 1,
        .run = run,
};
