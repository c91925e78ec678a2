#include <stdio.h>
#include <string.h>

#include "config/address.h"
#include "config/base/log.h"
#include "config/base/own.h"
#include "config/settings_build.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"
#include "workers/worker.h"

static const struct argument_row rows[] = {
        {.name = "kinds",
         .type = ARGUMENT_LIST,
         .value = "A,B",
         .choices = "ingest embed retrieve rerank llm",
         .help = "serve these kinds only"},
        {.name = "lanes", .type = ARGUMENT_LIST, .value = "A,B", .choices = "interactive bulk", .help = "read these lanes only"},
        {.name = "admin",
         .type = ARGUMENT_STRING,
         .value = "HOST:PORT",
         .max = 255,
         .help = "where /health, /ready and /metrics listen; port 0 picks a free one; \"\" opens none"},
        {.name = "name",
         .type = ARGUMENT_STRING,
         .value = "NAME",
         .min = 1,
         .max = 64,
         .help = "the worker's name in claims, logs and dead letters"},
        CLIENT_KAFKA_ROW,
        CLIENT_REDIS_ROW,
};

/* A name goes into headers, logs and Redis: letters, digits and . _ : - only. */
static bool is_name(const char *name)
{
        return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-") == strlen(name);
}

/* The settings as the command line changes them; NULL: the fault was said. */
static struct settings *worker_settings(const struct arguments *arguments)
{
        AUTO_SETTINGS *settings = client_settings(arguments);
        const char *admin = argument_string(arguments, "admin"), *name = argument_string(arguments, "name");
        const int64_t kinds = argument_integer(arguments, "kinds", 0), lanes = argument_integer(arguments, "lanes", 0);

        if (!settings)
                return NULL;
        if (admin && *admin && !address_is_host_port(span_of(admin), true)) {
                argument_fail(arguments, EXIT_USAGE, "--admin wants HOST:PORT, such as 127.0.0.1:9464");
                return NULL;
        }
        if (name && !is_name(name)) {
                argument_fail(arguments, EXIT_USAGE, "--name wants A-Z a-z 0-9 . _ : - only");
                return NULL;
        }
        for (int kind = 0; kinds && kind < KIND_COUNT; kind++)
                settings->worker.kinds[kind] = kinds >> kind & 1;
        for (int lane = 0; lanes && lane < LANE_COUNT; lane++)
                settings->worker.lanes[lane] = lanes >> lane & 1;
        if ((admin && !(settings->admin.listen = settings_copy(settings, span_of(admin)))) ||
            (name && !(settings->worker.name = settings_copy(settings, span_of(name))))) {
                argument_fail(arguments, EXIT_FAILED, "out of memory");
                return NULL;
        }
        return TAKE(settings);
}

static struct settings *reload(void *user)
{
        return worker_settings(user);
}

static void on_started(void *user, const char *admin_address)
{
        const struct arguments *arguments = user;

        if (argument_given(arguments, "json"))
                printf("{\"admin\":\"%s\"}\n", admin_address);
        else if (*admin_address)
                printf("admin http://%s\n", admin_address);
        fflush(stdout);
}

static int run(struct arguments *arguments)
{
        AUTO_SETTINGS *settings = worker_settings(arguments);
        struct worker_options options = {.settings = settings, .reload = reload, .on_started = on_started, .user = arguments};
        struct error err;

        if (!settings)
                return EXIT_USAGE;
        error_clear(&err);
        if (worker_run(&options, &err) < 0)
                return argument_fail(arguments, err.code == CODE_SCHEMA ? EXIT_USAGE : EXIT_FAILED, "%s", err.message);
        return EXIT_DONE;
}

const struct command command_worker = {
        .name = "worker",
        .summary = "Run a worker process: read requests from Kafka, do them, store the results in Redis.",
        .usage = "[--kinds A,B] [--lanes A,B] [--admin HOST:PORT]",
        .details =
                "Runs until SIGTERM or Ctrl-C, then finishes what is under way (worker.drain_ms at most). SIGHUP reads the "
                "configuration again;\n"
                "a faulty one is reported and the old one stays. Start as many as you like: Kafka divides the work among them.\n",
        .example = "  millrace worker --config millrace.yaml\n"
                   "  millrace worker --kinds embed --admin 127.0.0.1:0\n",
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .run = run,
};
