#include "providers/endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "config/base/buffer.h"
#include "config/base/metrics.h"

enum { LABELS_BYTES = 256, URL_BYTES_MAX = 8192, KEY_BYTES_MAX = 65536 };

struct metric *endpoint_calls(struct endpoint *endpoint, enum kind kind, enum error_code code)
{
        struct metric **slot = &endpoint->calls[kind][code];
        AUTO_BUFFER labels = {0};

        if (*slot)
                return *slot;
        buffer_init(&labels, LABELS_BYTES);
        buffer_printf(&labels, "provider=\"%s\",kind=\"%s\",code=\"%s\"", endpoint->settings->name, kind_names[kind],
                      code == CODE_NONE ? "ok" : error_code_name(code));
        *slot = metrics_counter("millrace_provider_calls_total", "Calls of models by provider, kind and outcome.",
                                buffer_ok(&labels) ? labels.data : NULL);
        return *slot;
}

static void name_metrics(struct endpoint *endpoint)
{
        AUTO_BUFFER labels = {0};
        const char *text;

        buffer_init(&labels, LABELS_BYTES);
        buffer_printf(&labels, "provider=\"%s\"", endpoint->settings->name);
        text = buffer_ok(&labels) ? labels.data : NULL;
        endpoint->seconds = metrics_histogram("millrace_provider_seconds", "From sending to the whole answer.", text);
        endpoint->tokens_in = metrics_counter("millrace_provider_input_tokens_total", "Tokens sent, as the provider counts them.", text);
        endpoint->tokens_out = metrics_counter("millrace_provider_output_tokens_total", "Tokens received, as the provider counts them.", text);
        endpoint->cost = metrics_counter("millrace_provider_cost_usd_total", "What the calls cost by the configured prices.", text);
        endpoint->running_gauge = metrics_gauge("millrace_provider_running", "Calls under way.", text);
        endpoint->waiting_gauge = metrics_gauge("millrace_provider_waiting", "Calls that wait for a free place.", text);
}

static int open_target(struct endpoint *endpoint, struct http_client *client, enum kind kind, struct error *err)
{
        const struct provider_settings *settings = endpoint->settings;
        const char *headers[HTTP_HEADERS_MAX] = {"Content-Type: application/json"};
        AUTO_BUFFER url = {0}, key = {0};
        struct http_target_options options = {
                .headers = headers,
                .header_count = 1,
                .connect_timeout_ms = settings->connect_timeout_ms,
                .response_bytes_max = (size_t)settings->response_bytes_max,
                .handles_max = endpoint->running_max,
                .http2 = settings->http2,
        };

        buffer_init(&url, URL_BYTES_MAX);
        buffer_init(&key, KEY_BYTES_MAX);
        buffer_printf(&url, "%s%s", settings->base_url, endpoint->format->paths[kind]);
        if (settings->api_key && endpoint->format->key_header) {
                buffer_printf(&key, "%s%s", endpoint->format->key_header, settings->api_key);
                headers[options.header_count++] = key.data;
        }
        for (size_t i = 0; endpoint->format->headers && endpoint->format->headers[i] && options.header_count < HTTP_HEADERS_MAX; i++)
                headers[options.header_count++] = endpoint->format->headers[i];
        if (!buffer_ok(&url) || !buffer_ok(&key))
                return error_set(err, CODE_SCHEMA, "provider %s: base_url or api_key is too long", settings->name);
        options.url = url.data;
        endpoint->targets[kind] = http_target_new(client, &options, err);
        if (key.data)
                explicit_bzero(key.data, key.len);
        return endpoint->targets[kind] ? 0 : -1;
}

static int open_endpoint(struct endpoint *endpoint, struct http_client *client, const struct settings *settings, size_t provider, struct error *err)
{
        const struct provider_settings *own = &settings->providers[provider];

        endpoint->settings = own;
        endpoint->running_max = own->concurrency_max > 0 ? (size_t)own->concurrency_max : 1;
        name_metrics(endpoint);
        if (own->type == PROVIDER_LOCAL)
                return 0;
        endpoint->format = format_of(own->type);
        if (!endpoint->format)
                return error_set(err, CODE_SCHEMA, "provider %s: type %s is not built yet; use openai or local", own->name,
                                 format_type_name(own->type));
        for (size_t i = 0; i < settings->model_count; i++) {
                const struct model_settings *model = &settings->models[i];

                if (model->provider != provider || endpoint->targets[model->kind])
                        continue;
                if (!endpoint->format->paths[model->kind])
                        return error_set(err, CODE_SCHEMA, "model %s: a provider of type %s does not serve the kind %s", model->name,
                                         endpoint->format->name, kind_names[model->kind]);
                if (open_target(endpoint, client, model->kind, err) < 0)
                        return -1;
        }
        return 0;
}

void generation_free(struct generation *generation)
{
        for (size_t i = 0; generation->endpoints && i < generation->settings->provider_count; i++)
                for (int kind = 0; kind < KIND_COUNT; kind++)
                        http_target_free(generation->endpoints[i].targets[kind]);
        free(generation->endpoints);
        settings_unref(generation->settings);
        free(generation);
}

struct generation *generation_new(struct providers *providers, struct http_client *client, struct settings *settings, struct error *err)
{
        struct generation *generation = calloc(1, sizeof *generation);

        if (!generation) {
                error_set(err, CODE_INTERNAL, "no memory for the providers");
                return NULL;
        }
        generation->settings = settings_ref(settings);
        generation->endpoints = calloc(settings->provider_count, sizeof *generation->endpoints);
        if (!generation->endpoints) {
                error_set(err, CODE_INTERNAL, "no memory for the providers");
                generation_free(generation);
                return NULL;
        }
        for (size_t i = 0; i < settings->provider_count; i++) {
                generation->endpoints[i].providers = providers;
                if (open_endpoint(&generation->endpoints[i], client, settings, i, err) < 0) {
                        generation_free(generation);
                        return NULL;
                }
        }
        return generation;
}
