/* The room's own: what there is for a provider under one settings. call.c runs the calls, this opens and closes. Loop thread only. */
#ifndef PROVIDERS_ENDPOINT_H
#define PROVIDERS_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "config/settings.h"
#include "providers/formats/format.h"
#include "providers/http/http_client.h"

struct work;

struct endpoint {
        struct providers *providers;
        const struct provider_settings *settings;
        const struct format *format;             /* NULL: local */
        struct http_target *targets[KIND_COUNT]; /* NULL: no model of that kind */
        struct work *first, *last;               /* the line of calls that wait for a place */
        size_t waiting, running, running_max;
        bool admitting;
        struct metric *calls[KIND_COUNT][CODE_COUNT]; /* made when first needed */
        struct metric *seconds, *tokens_in, *tokens_out, *cost, *running_gauge, *waiting_gauge;
};

struct generation {
        struct settings *settings;  /* a reference */
        struct endpoint *endpoints; /* [settings->provider_count] */
        struct generation *next;
};

/* NULL with data.schema: a provider's type is not built, or does not serve a model's kind; serving.internal: no memory, or an URL or key
 * that is none. */
struct generation *generation_new(struct providers *providers, struct http_client *client, struct settings *settings, struct error *err);
/* No call of it may be under way. */
void generation_free(struct generation *generation);

/* The counter of calls with that end; CODE_NONE: they went well. */
struct metric *endpoint_calls(struct endpoint *endpoint, enum kind kind, enum error_code code);

#endif
