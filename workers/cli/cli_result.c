#include <stdio.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/envelope.h"
#include "queues/redis/redis_client.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"
#include "workers/cli/results_client.h"
#include "workers/cli/show_result.h"

enum { WAIT_OTHERWISE_MS = 30000 };

static const struct argument_row rows[] = {
        CLIENT_TENANT_ROW,
        {.name = "wait", .type = ARGUMENT_WAIT, .max = 1e10, .help = "wait so long for it (30s where no time is given)"},
        CLIENT_KAFKA_ROW, /* not needed here, but dev's line can be given as it is */
        CLIENT_REDIS_ROW,
};

static void free_client(struct redis_client **client)
{
        redis_client_free(*client);
}

static int run(struct arguments *arguments)
{
        AUTO_SETTINGS *settings = client_settings(arguments);
        AUTO(free_client) struct redis_client *client = NULL;
        const char *tenant = argument_given(arguments, "tenant") ? argument_string(arguments, "tenant") : "default",
                   *id = arguments->words[0];
        const int64_t wait_ms = argument_given(arguments, "wait") ? argument_integer(arguments, "wait", WAIT_OTHERWISE_MS) : 0;
        struct error err;
        bool found = false;
        AUTO_BUFFER json = {0};
        int rc;

        buffer_init(&json, RESULT_BYTES_MAX);
        if (!settings)
                return EXIT_USAGE;
        if (!envelope_valid_id(span_of(id)) || !envelope_valid_tenant(span_of(tenant)))
                return argument_fail(arguments, EXIT_USAGE,
                                     "no request can have this id and tenant: ids are 1 to 128 of A-Z a-z 0-9 . _ : -");
        client_quiet();
        client = redis_client_new(settings, &err);
        if (!client)
                return argument_fail(arguments, EXIT_FAILED, "Redis: %s; is it running? --redis URL names another", err.message);
        if (wait_ms > 0)
                rc = redis_client_wait(client, span_of(tenant), span_of(id), clock_now_ms() + wait_ms, &json, &found, &err);
        else
                rc = redis_client_result(client, span_of(tenant), span_of(id), &json, &found, &err);
        if (rc < 0)
                return argument_fail(arguments, EXIT_FAILED, "Redis: %s", err.message);
        if (!found)
                return argument_fail(arguments, EXIT_NO_RESULT, "there is no result of %s (tenant %s) yet%s", id, tenant,
                                     wait_ms > 0 ? "; is a worker running?" : "; --wait 30s waits for it");
        return show_stored(arguments, buffer_view(&json));
}

const struct command command_result = {
        .name = "result",
        .summary = "Read a request's result, or wait for it.",
        .usage = "ID [--tenant NAME] [--wait[=TIME]]",
        .details = "Prints the answer with its sources, passages, cost and timings; with --json the stored result as it is.\n"
                   "Exit status 1 also when the request failed, expired or was cancelled.\n",
        .example = "  millrace result q1 --wait 10s\n"
                   "  millrace result q1 --json | jq .result.text\n",
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .words_min = 1,
        .words_max = 1,
        .run = run,
};
