#include <stdio.h>
#include <string.h>

#include "config/base/buffer.h"
#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/envelope.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"
#include "workers/cli/results_client.h"

enum { CANCELLED_BYTES_MAX = 4096 };

static const struct argument_row rows[] = {CLIENT_TENANT_ROW, CLIENT_KAFKA_ROW, CLIENT_REDIS_ROW};

static void free_client(struct results_client **client)
{
        results_client_free(*client);
}

/* The cancelled result. Its kind and source are left out: nothing in Redis tells them. */
static void render_cancelled(struct buffer *out, const char *tenant, const char *id)
{
        char now[CLOCK_RFC3339_BYTES];

        clock_format_rfc3339(clock_wall_ms(), now);
        buffer_string(out, "{\"v\":1,\"id\":");
        buffer_json_string(out, span_of(id));
        buffer_string(out, ",\"tenant\":");
        buffer_json_string(out, span_of(tenant));
        buffer_printf(out,
                      ",\"status\":\"cancelled\",\"error\":{\"class\":\"%s\",\"code\":\"%s\",\"message\":\"cancelled by command\","
                      "\"retriable\":false},\"attempts\":0,\"replays\":0,\"release\":\"millrace-%s\",\"served_from\":\"provider\",\"degraded\":[],"
                      "\"usage\":{\"input_tokens\":0,\"output_tokens\":0,\"cached_tokens\":0},\"cost\":{\"currency\":\"USD\",\"amount\":0},"
                      "\"timings_ms\":{\"queued\":0,\"provider\":0,\"total\":0},\"completed_at\":\"%s\"}",
                      error_class_name(error_code_class(CODE_CANCELLED)), error_code_name(CODE_CANCELLED), MILLRACE_VERSION, now);
}

static int run(struct arguments *arguments)
{
        AUTO_SETTINGS *settings = client_settings(arguments);
        AUTO(free_client) struct results_client *client = NULL;
        const char *tenant = argument_given(arguments, "tenant") ? argument_string(arguments, "tenant") : "default",
                   *id = arguments->words[0];
        const char *status;
        struct error err;
        AUTO_BUFFER json = {0};

        buffer_init(&json, CANCELLED_BYTES_MAX);
        if (!settings)
                return EXIT_USAGE;
        if (!envelope_valid_id(span_of(id)) || !envelope_valid_tenant(span_of(tenant)))
                return argument_fail(arguments, EXIT_USAGE,
                                     "no request can have this id and tenant: ids are 1 to 128 of A-Z a-z 0-9 . _ : -");
        client_quiet();
        render_cancelled(&json, tenant, id);
        client = results_client_new(settings, 1, &err);
        if (!client || results_client_cancel(client, tenant, id, buffer_view(&json), &status, &err) < 0)
                return argument_fail(arguments, EXIT_FAILED, "Redis: %s; is it running? --redis URL names another", err.message);
        if (argument_given(arguments, "json"))
                printf("{\"id\":\"%s\",\"tenant\":\"%s\",\"status\":\"%s\"}\n", id, tenant, status);
        else if (strcmp(status, "cancelled") == 0)
                printf("%s is cancelled\n", id);
        if (strcmp(status, "cancelled") != 0)
                return argument_fail(arguments, EXIT_FAILED, "%s has ended already (%s); millrace result %s shows it", id, status,
                                     id);
        return EXIT_DONE;
}

const struct command command_cancel = {
        .name = "cancel",
        .summary = "Cancel a request that has not ended.",
        .usage = "ID [--tenant NAME]",
        .details = "Stores a cancelled result, which is final. A request that is waiting is not begun, one under way is not "
                   "finished; one that has\n"
                   "ended stays as it is (exit status 1). An id that was never submitted is cancelled in advance.\n",
        .example = "  millrace cancel q1\n",
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .words_min = 1,
        .words_max = 1,
        .run = run,
};
