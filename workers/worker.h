/* One worker process: builds the parts in order, runs the loop until SIGTERM or SIGINT, drains, and takes the parts down in reverse. */
#ifndef WORKERS_WORKER_H
#define WORKERS_WORKER_H

#include "config/base/error.h"
#include "config/settings.h"

struct worker_options {
        struct settings *settings; /* a reference of its own is taken */
        /* SIGHUP: new settings with one reference that passes over, or NULL when they are faulty (said already; the old ones stay).
         * NULL: SIGHUP changes nothing. What can change while running: providers, models, prompts, prices, retry and lane settings, limits;
         * a file that changes brokers, Redis, kinds, lanes, collections, tenants or addresses is refused as a whole. */
        struct settings *(*reload)(void *user);
        /* The admin port is open: "127.0.0.1:9464", or "" where there is none. May be NULL. */
        void (*on_started)(void *user, const char *admin_address);
        void *user;
};

/* Blocks SIGPIPE; handles SIGTERM, SIGINT and SIGHUP meanwhile. 0 after a drain; -1 when a part could not be built or failed for good. */
int worker_run(const struct worker_options *options, struct error *err);

#endif
