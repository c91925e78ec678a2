#include <stdio.h>

#include "config/base/own.h"
#include "config/load.h"
#include "queues/kafka/kafka_client.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"

enum { TEXT_BYTES_MAX = 1 << 20 };

static void print_faults(const struct faults *faults, bool json)
{
        AUTO_BUFFER out = {0};

        buffer_init(&out, TEXT_BYTES_MAX);
        if (!json) {
                faults_print(faults, &out);
                fputs(out.data ? out.data : "", stdout);
                return;
        }
        buffer_string(&out, "{\"file\":");
        buffer_json_string(&out, span_of(faults->file));
        buffer_printf(&out, ",\"ok\":%s,\"faults\":[", faults_total(faults) == 0 ? "true" : "false");
        for (size_t i = 0; i < faults->count; i++) {
                buffer_printf(&out, "%s{\"line\":%u,\"message\":", i > 0 ? "," : "", faults->list[i].line);
                buffer_json_string(&out, span_of(faults->list[i].text));
                buffer_char(&out, '}');
        }
        buffer_printf(&out, "],\"more\":%zu}\n", faults->dropped);
        fputs(out.data ? out.data : "", stdout);
}

static int run(struct arguments *arguments)
{
        static struct faults faults; /* 50 KB */
        const char *path = arguments->word_count > 0 ? arguments->words[0] : client_settings_path(arguments);
        const bool json = argument_given(arguments, "json");
        AUTO_SETTINGS *settings = NULL;
        struct error err;

        if (!path)
                return argument_fail(arguments, EXIT_USAGE,
                                     "which file? There is no ./millrace.yaml; usage: millrace check-config FILE");
        settings = settings_load(path, &faults);
        if (settings && kafka_options_check(settings, &err) < 0)
                faults_add(&faults, 0, "", "%s", err.message);
        if (json || faults_total(&faults) > 0)
                print_faults(&faults, json);
        else
                printf("ok\n");
        return faults_total(&faults) == 0 ? EXIT_DONE : EXIT_USAGE;
}

const struct command command_check_config = {
        .name = "check-config",
        .summary = "Check a configuration file: every fault with its line, or \"ok\".",
        .usage = "[FILE]",
        .details = "FILE is --config's, or ./millrace.yaml, where it is left out. ${env:NAME} and ${file:PATH} are looked up as "
                   "the worker would, so\n"
                   "run it where the worker runs. Exit status 2 when there are faults.\n",
        .example = "  millrace check-config millrace.yaml\n",
        .words_max = 1,
        .run = run,
};
