/* The settings that a command works with: the configuration file, then what the command line says otherwise. */
#ifndef WORKERS_CLI_CLIENT_SETTINGS_H
#define WORKERS_CLI_CLIENT_SETTINGS_H

#include "config/settings.h"
#include "workers/cli/arguments.h"

/* Rows for the tables of commands that talk to the servers. */
#define CLIENT_KAFKA_ROW                                                                                                           \
        {                                                                                                                          \
                .name = "kafka", .type = ARGUMENT_STRING, .value = "HOST:PORT", .min = 1, .max = 1000,                             \
                .help = "the brokers, instead of the configuration's kafka.brokers"                                                \
        }
#define CLIENT_REDIS_ROW                                                                                                           \
        {                                                                                                                          \
                .name = "redis", .type = ARGUMENT_STRING, .value = "URL", .min = 8, .max = 1000,                                   \
                .help = "redis://HOST:PORT/DB, instead of the configuration's redis.url and its credentials"                       \
        }
#define CLIENT_TENANT_ROW                                                                                                          \
        {                                                                                                                          \
                .name = "tenant", .type = ARGUMENT_STRING, .value = "NAME", .min = 1, .max = 64,                                   \
                .help = "the tenant (default \"default\")"                                                                         \
        }

/* From --config, else ./millrace.yaml where it exists, else the defaults; with --data-dir, --kafka and --redis applied where the
 * command has them. NULL: every fault was printed on stderr, and the status is EXIT_USAGE. The caller owns the reference. */
struct settings *client_settings(const struct arguments *arguments);

/* The file that client_settings() would read; NULL: none, the defaults. */
const char *client_settings_path(const struct arguments *arguments);

/* No log lines from now on: a command says itself what went wrong. */
void client_quiet(void);

/* The topic prefix that the tenant's requests go by. */
const char *client_prefix(const struct settings *settings, const char *tenant);

static inline void client_settings_unref(struct settings **settings)
{
        if (*settings)
                settings_unref(*settings);
}
#define AUTO_SETTINGS AUTO(client_settings_unref) struct settings

#endif
