#include "workers/cli/client_settings.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/address.h"
#include "config/base/log.h"
#include "config/faults.h"
#include "config/load.h"
#include "config/settings_build.h"

static const char otherwise[] = "millrace.yaml";

const char *client_settings_path(const struct arguments *arguments)
{
        const char *path = argument_string(arguments, "config");

        if (path)
                return path;
        return access(otherwise, F_OK) == 0 ? otherwise : NULL;
}

/* Replaces *field by the option's value (the memory of both belongs to the settings): 1, or 0 where it is not given. */
static int override(const struct arguments *arguments, const char *option, struct settings *settings, char **field)
{
        char *copy;

        if (!argument_known(arguments, option) || !argument_given(arguments, option))
                return 0;
        copy = settings_copy(settings, span_of(argument_string(arguments, option)));
        if (copy) /* no memory for a few bytes: nothing further would work */
                *field = copy;
        return 1;
}

static int apply_overrides(const struct arguments *arguments, struct settings *settings)
{
        bool user, password;

        override(arguments, "data-dir", settings, &settings->data_dir);
        if (override(arguments, "kafka", settings, &settings->kafka.brokers) > 0 &&
            !address_is_broker_list(span_of(settings->kafka.brokers))) {
                argument_fail(arguments, EXIT_USAGE, "--kafka wants HOST:PORT, or several with commas");
                return -1;
        }
        if (override(arguments, "redis", settings, &settings->redis.url) > 0) {
                settings->redis.username = settings->redis.password = NULL; /* they belong to another server */
                settings->redis.sentinel.node_count = 0;
                if (!address_is_redis_url(span_of(settings->redis.url), &user, &password)) {
                        argument_fail(arguments, EXIT_USAGE, "--redis wants redis://HOST:PORT/DB or rediss://…");
                        return -1;
                }
        }
        return 0;
}

struct settings *client_settings(const struct arguments *arguments)
{
        static struct faults faults; /* 50 KB */
        struct settings *settings;
        AUTO_BUFFER text = {0};

        buffer_init(&text, 1u << 20);
        settings = settings_load(client_settings_path(arguments), &faults);
        if (!settings) {
                faults_print(&faults, &text);
                fputs(text.data ? text.data : "", stderr);
                argument_fail(arguments, EXIT_USAGE,
                              "the configuration has faults; correct them, or name another file with --config");
                return NULL;
        }
        if (apply_overrides(arguments, settings) < 0) {
                settings_unref(settings);
                return NULL;
        }
        return settings;
}

void client_quiet(void)
{
        log_setup((enum log_level)(LOG_ERROR + 1), LOG_FORMAT_AUTO);
}

const char *client_prefix(const struct settings *settings, const char *tenant)
{
        for (size_t i = 0; i < settings->tenant_count; i++)
                if (strcmp(settings->tenants[i].name, tenant) == 0 && settings->tenants[i].prefix)
                        return settings->tenants[i].prefix;
        return settings->kafka.prefix;
}
