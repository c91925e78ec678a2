/* A wire format: how one type of provider is asked and understood. One file and one row in formats_table.c each. Formats are pure: they
 * know neither connections nor time. Any thread. */
#ifndef PROVIDERS_FORMATS_FORMAT_H
#define PROVIDERS_FORMATS_FORMAT_H

#include "config/base/buffer.h"
#include "config/base/error.h"
#include "config/settings.h"
#include "providers/call.h"
#include "providers/http/http_status.h"

struct format {
        enum provider_type type;
        const char *name;
        const char *paths[KIND_COUNT]; /* behind base_url, by kind; NULL: it does not serve that kind */
        const char *key_header;        /* what stands before the key, e.g. "Authorization: Bearer " */
        const char *const *headers;    /* further fixed ones beside Content-Type, NULL-terminated; NULL: none */

        /* The call's request body, appended to body. Overflow is left to the caller's buffer_ok(). -1: the format can't say this. */
        int (*render)(const struct call *call, struct buffer *body, struct error *err);
        /* Reads a 2xx answer into the call's outputs (all but cost, model_name, served_from and provider_ms). body is hostile and
         * followed by a NUL. */
        int (*parse)(struct call *call, struct span body, struct error *err);
        /* Looks into the body of an answer with another status; fills in what it understands. */
        void (*fault)(struct span body, struct http_fault *ret_fault);
};

/* NULL: not built. The local provider has no format. */
const struct format *format_of(enum provider_type type);
const char *format_type_name(enum provider_type type); /* "openai" … */

/* The call's model and its provider. */
static inline const struct model_settings *format_model(const struct call *call)
{
        return &call->settings->models[call->model];
}

static inline const struct provider_settings *format_provider(const struct call *call)
{
        return &call->settings->providers[format_model(call)->provider];
}

#endif
