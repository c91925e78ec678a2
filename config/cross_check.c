#include "config/cross_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/address.h"
#include "config/base/own.h"
#include "config/settings_build.h"

enum { MODELS_MAX = 256 + 3, LOCAL_DIMENSIONS = 384 };

static const struct {
        const char *name;
        enum kind kind;
} local_models[] = {{"local-embed", KIND_EMBED}, {"local-rerank", KIND_RERANK}, {"local-answer", KIND_LLM}};

/* At the line of the variable's key; where that is absent, of the file as a whole. */
__attribute__((format(printf, 4, 5))) static void fault(struct binder *binder, const void *variable, const char *path,
                                                        const char *format, ...)
{
        const struct place *place = bind_place(binder, variable);
        char text[FAULT_TEXT_BYTES];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        faults_add(binder->faults, place ? place->line : 0, place ? place->path : path, "%s", text);
}

static bool given(const struct binder *binder, const void *variable)
{
        const struct place *place = bind_place(binder, variable);

        return place && place->line > 0;
}

/* ---- what is built in ---- */

static bool add_local_provider(struct binder *binder)
{
        struct settings *settings = binder->settings;
        struct provider_settings *local;

        for (size_t i = 0; i < settings->provider_count; i++) {
                if (!settings->providers[i].name || strcmp(settings->providers[i].name, "local") != 0)
                        continue;
                fault(binder, &settings->providers[i].name, "", "local is built in: take another name, or leave it out");
                settings->providers[i].name = NULL;
        }
        if (!settings->providers)
                settings->providers = settings_alloc(settings, sizeof *settings->providers);
        if (!settings->providers)
                return false;
        local = &settings->providers[settings->provider_count++];
        bind_defaults(binder, "providers[]", local);
        local->name = settings_copy(settings, SPAN("local"));
        local->base_url = settings_copy(settings, SPAN(""));
        local->type = PROVIDER_LOCAL;
        return local->name && local->base_url;
}

static bool add_local_models(struct binder *binder)
{
        struct settings *settings = binder->settings;

        for (size_t i = 0; i < settings->model_count; i++) {
                for (size_t j = 0; j < COUNT_OF(local_models); j++) {
                        if (!settings->models[i].name || strcmp(settings->models[i].name, local_models[j].name) != 0)
                                continue;
                        fault(binder, &settings->models[i].name, "", "%s is built in: take another name", local_models[j].name);
                        settings->models[i].name = NULL;
                }
        }
        if (!settings->models)
                settings->models = settings_alloc(settings, COUNT_OF(local_models) * sizeof *settings->models);
        if (!settings->models)
                return false;
        for (size_t j = 0; j < COUNT_OF(local_models); j++) {
                struct model_settings *model = &settings->models[settings->model_count++];

                bind_defaults(binder, "models[]", model);
                model->name = settings_copy(settings, span_of(local_models[j].name));
                model->model = settings_copy(settings, span_of(local_models[j].name));
                model->kind = local_models[j].kind;
                model->provider = settings->provider_count - 1;
                model->dimensions = model->kind == KIND_EMBED ? LOCAL_DIMENSIONS : 0;
                if (!model->name || !model->model)
                        return false;
        }
        return true;
}

static bool add_collection(struct binder *binder)
{
        struct settings *settings = binder->settings;
        struct collection_settings *docs;

        if (settings->collections || given(binder, &settings->collections))
                return true;
        docs = settings->collections = settings_alloc(settings, sizeof *docs);
        if (!docs)
                return false;
        settings->collection_count = 1;
        bind_defaults(binder, "collections[]", docs);
        docs->name = settings_copy(settings, SPAN("docs"));
        return docs->name != NULL;
}

/* ---- names that refer to others ---- */

/* A name that is not known, but near to one: the struct's first member is its name. */
static const char *suggest_name(const void *items, size_t count, size_t bytes, struct span given_name)
{
        const char *best = NULL;
        unsigned least = 3;

        for (size_t i = 0; i < count; i++) {
                const char *name = *(char *const *)(const void *)((const char *)items + i * bytes);
                unsigned distance = name ? options_distance(span_of(name), given_name) : least;

                if (distance < least) {
                        least = distance;
                        best = name;
                }
        }
        return best;
}

static bool has_nameless(const void *items, size_t count, size_t bytes)
{
        for (size_t i = 0; i < count; i++)
                if (!*(char *const *)(const void *)((const char *)items + i * bytes))
                        return true;
        return false;
}

static void refuse_name(struct binder *binder, const struct place *place, bool provider)
{
        const struct settings *settings = binder->settings;
        const void *items = provider ? (const void *)settings->providers : (const void *)settings->models;
        size_t count = provider ? settings->provider_count : settings->model_count;
        size_t bytes = provider ? sizeof *settings->providers : sizeof *settings->models;
        const char *near = suggest_name(items, count, bytes, place->text), *what = provider ? "provider" : "model";
        char shown[FAULTS_SHOWN_BYTES];

        if (has_nameless(items, count, bytes))
                return; /* it may well be the one whose name was refused */
        faults_show(place->text, shown);
        if (place->filled)
                faults_add(binder->faults, place->line, place->path, "there is no such %s", what);
        else if (near)
                faults_add(binder->faults, place->line, place->path, "there is no %s \"%s\"; did you mean %s?", what, shown, near);
        else
                faults_add(binder->faults, place->line, place->path, "there is no %s \"%s\"", what, shown);
}

static void resolve_provider(struct binder *binder, const struct place *place)
{
        const struct settings *settings = binder->settings;

        for (size_t i = 0; i < settings->provider_count; i++) {
                if (settings->providers[i].name && span_is(place->text, settings->providers[i].name)) {
                        *(size_t *)(uintptr_t)place->variable = i;
                        return;
                }
        }
        refuse_name(binder, place, true);
}

/* NULL: there is none; models whose name was refused have none. */
static const struct model_settings *find_model(const struct settings *settings, struct span name)
{
        for (size_t i = 0; i < settings->model_count; i++)
                if (settings->models[i].name && span_is(name, settings->models[i].name))
                        return &settings->models[i];
        return NULL;
}

static void check_kind(struct binder *binder, const struct place *place, const struct model_settings *model, enum kind kind)
{
        if ((int)model->kind >= 0 && model->kind != kind)
                faults_add(binder->faults, place->line, place->path, "must be a model of kind %s, not %s", kind_names[kind],
                           kind_names[model->kind]);
}

static void resolve_model(struct binder *binder, const struct place *place)
{
        const struct settings *settings = binder->settings;
        const struct model_settings *model = find_model(settings, place->text);
        enum kind wanted = KIND_EMBED;

        if (!model) {
                refuse_name(binder, place, false);
                return;
        }
        for (enum kind kind = 0; kind < KIND_COUNT; kind++)
                if (place->variable == &settings->default_model[kind])
                        wanted = kind;
        check_kind(binder, place, model, wanted);
        *(size_t *)(uintptr_t)place->variable = (size_t)(model - settings->models);
}

static void resolve_references(struct binder *binder)
{
        struct settings *settings = binder->settings;

        for (const struct place *place = binder->first; place; place = place->next) {
                if (place->option->type != OPTION_REFERENCE || !place->text.data || bind_place(binder, place->variable) != place)
                        continue;
                if (strcmp(place->option->path, "models[].provider") == 0)
                        resolve_provider(binder, place);
                else
                        resolve_model(binder, place);
        }
        for (size_t i = 0; i < settings->collection_count; i++)
                if (!given(binder, &settings->collections[i].model))
                        settings->collections[i].model = settings->default_model[KIND_EMBED];
}

/* Whether the fallbacks of `start`, and theirs, lead to it again. Each model is looked at once. */
static bool leads_back(const struct settings *settings, size_t start)
{
        bool seen[MODELS_MAX] = {false};
        size_t waiting[MODELS_MAX], count = 0;

        waiting[count++] = start;
        while (count > 0) {
                const struct model_settings *model = &settings->models[waiting[--count]];

                for (size_t i = 0; i < model->fallback_count; i++) {
                        const struct model_settings *next = find_model(settings, span_of(model->fallback[i]));
                        size_t index = next ? (size_t)(next - settings->models) : 0;

                        if (next && index == start)
                                return true;
                        if (next && !seen[index]) {
                                seen[index] = true;
                                waiting[count++] = index;
                        }
                }
        }
        return false;
}

static void check_fallbacks(struct binder *binder)
{
        const struct settings *settings = binder->settings;

        for (size_t i = 0; i < settings->model_count; i++) {
                const struct model_settings *model = &settings->models[i];

                for (size_t j = 0; j < model->fallback_count; j++) {
                        const struct model_settings *other = find_model(settings, span_of(model->fallback[j]));
                        const struct place *place = bind_place(binder, &model->fallback[j]);

                        if (!place)
                                continue;
                        if (!other)
                                refuse_name(binder, place, false);
                        else if ((int)model->kind >= 0)
                                check_kind(binder, place, other, model->kind);
                }
                if (leads_back(settings, i))
                        fault(binder, &model->fallback, "", "leads back to the model itself");
        }
}

/* ---- rooms ---- */

static void check_kafka(struct binder *binder)
{
        static const char *const ours[] = {
                "group.id", "enable.auto.commit",    "auto.commit.enable", "enable.auto.offset.store", "auto.offset.reset",
                "acks",     "request.required.acks", "enable.idempotence", "transactional.id",         "partitioner",
                "group.instance.id", "group.protocol", "isolation.level", "enable.partition.eof", "log.queue", "test.mock.num.brokers"};
        const struct settings *settings = binder->settings;

        if (!address_is_broker_list(span_of(settings->kafka.brokers)))
                fault(binder, &settings->kafka.brokers, "", "must be host:port, several separated by commas");
        for (size_t i = 0; i < settings->kafka.option_count; i++) {
                const struct setting_pair *pair = &settings->kafka.options[i];

                if (strcmp(pair->key, "bootstrap.servers") == 0 || strcmp(pair->key, "metadata.broker.list") == 0)
                        fault(binder, pair, "", "is given by kafka.brokers");
                for (size_t j = 0; j < COUNT_OF(ours); j++)
                        if (strcmp(pair->key, ours[j]) == 0)
                                fault(binder, pair, "", "cannot be set: delivery rests on it");
        }
}

/* "" stands for none. */
static void none_if_empty(char **s)
{
        if (*s && !**s)
                *s = NULL;
}

/* Whether the URL names a database other than 0, of which a cluster has none. */
static bool names_database(const char *url)
{
        const char *host = strrchr(url, '@'), *slash;

        if (!host)
                host = strstr(url, "://") ? strstr(url, "://") + 3 : url;
        slash = strchr(host, '/');
        return slash && strspn(slash + 1, "0") != strlen(slash + 1);
}

static void check_redis_servers(struct binder *binder)
{
        struct settings *settings = binder->settings;

        none_if_empty(&settings->redis.sentinel.username);
        none_if_empty(&settings->redis.sentinel.password);
        if (settings->redis.cluster && settings->redis.sentinel.node_count)
                fault(binder, &settings->redis.cluster, "", "a cluster has no sentinels: leave out one of the two");
        if (settings->redis.cluster && names_database(settings->redis.url))
                fault(binder, &settings->redis.url, "", "a cluster has the database 0 only");
        for (size_t i = 0; i < settings->redis.sentinel.node_count; i++) {
                char **node = &settings->redis.sentinel.nodes[i];

                if (*node && !address_is_host_port(span_of(*node), false))
                        fault(binder, node, "", "must be host:port");
        }
}

static void check_redis(struct binder *binder)
{
        struct settings *settings = binder->settings;
        bool user, password;

        none_if_empty(&settings->redis.username);
        none_if_empty(&settings->redis.password);
        if (!address_is_redis_url(span_of(settings->redis.url), &user, &password))
                fault(binder, &settings->redis.url, "", "must be redis:// or rediss://[user[:password]@]host[:port][/database]");
        if (user && settings->redis.username)
                fault(binder, &settings->redis.username, "", "the user is in redis.url already: give it once");
        if (password && settings->redis.password)
                fault(binder, &settings->redis.password, "", "the password is in redis.url already: give it once");
        check_redis_servers(binder);
}

static void check_addresses(struct binder *binder)
{
        struct settings *settings = binder->settings;

        none_if_empty(&settings->opensearch.username);
        none_if_empty(&settings->opensearch.password);
        none_if_empty(&settings->opensearch.ca);
        if (*settings->admin.listen && !address_is_host_port(span_of(settings->admin.listen), true))
                fault(binder, &settings->admin.listen, "", "must be host:port, or \"\" for none");
        if (!address_is_http_url(span_of(settings->opensearch.url)))
                fault(binder, &settings->opensearch.url, "", "must be an http:// or https:// URL without user, query and fragment");
}

static void check_worker(struct binder *binder)
{
        struct settings *settings = binder->settings;
        double *interactive = &settings->lanes[LANE_INTERACTIVE].share, *bulk = &settings->lanes[LANE_BULK].share;

        if (settings->worker.inflight_bytes_max < settings->worker.payload_bytes_max)
                fault(binder,
                      given(binder, &settings->worker.inflight_bytes_max) ? &settings->worker.inflight_bytes_max
                                                                          : &settings->worker.payload_bytes_max,
                      "", "inflight_bytes_max must not be less than payload_bytes_max: a request must fit");
        if (settings->retry.cap_ms < settings->retry.base_ms)
                fault(binder, given(binder, &settings->retry.cap_ms) ? &settings->retry.cap_ms : &settings->retry.base_ms, "",
                      "cap_ms must not be less than base_ms");
        if (*interactive + *bulk <= 1 + 1e-9)
                return;
        if (!given(binder, interactive))
                *interactive = 1 - *bulk;
        else if (!given(binder, bulk))
                *bulk = 1 - *interactive;
        else
                fault(binder, bulk, "", "the lanes' shares together must not be more than 1");
}

/* A name to go by where none is configured: the host's, as far as it is made of the name's alphabet. */
static bool name_worker(struct settings *settings)
{
        char host[65] = "";
        size_t len = 0;

        if (settings->worker.name)
                return true;
        if (gethostname(host, sizeof host - 1) < 0)
                host[0] = '\0';
        for (const char *at = host; *at; at++)
                if (options_spelt("A-Z a-z 0-9 . _ -", (struct span){at, 1}))
                        host[len++] = *at;
        settings->worker.name = settings_copy(settings, len ? (struct span){host, len} : SPAN("worker"));
        return settings->worker.name != NULL;
}

static void check_providers(struct binder *binder)
{
        const struct settings *settings = binder->settings;

        for (size_t i = 0; i < settings->provider_count; i++) {
                struct provider_settings *provider = &settings->providers[i];
                char path[64];
                size_t len;

                none_if_empty(&provider->api_key);
                if (!provider->base_url) {
                        const struct place *place = bind_place(binder, &provider->type);

                        snprintf(path, sizeof path, "providers[%zu].base_url", i);
                        if ((int)provider->type >= 0 && provider->type != PROVIDER_LOCAL && !given(binder, &provider->base_url))
                                faults_add(binder->faults, place ? place->line : 0, path, "is required");
                        continue;
                }
                if (provider->type != PROVIDER_LOCAL && !address_is_http_url(span_of(provider->base_url)))
                        fault(binder, &provider->base_url, "",
                              "must be an http:// or https:// URL without user, query and fragment");
                for (len = strlen(provider->base_url); len > 0 && provider->base_url[len - 1] == '/'; len--)
                        provider->base_url[len - 1] = '\0';
        }
}

static void check_models(struct binder *binder)
{
        const struct settings *settings = binder->settings;

        for (size_t i = 0; i < settings->model_count; i++) {
                const struct model_settings *model = &settings->models[i];
                const struct place *place = bind_place(binder, &model->kind);
                char path[64];
                bool found = false;

                snprintf(path, sizeof path, "models[%zu].dimensions", i);
                if ((int)model->kind == KIND_EMBED && model->dimensions == 0 && !given(binder, &model->dimensions))
                        faults_add(binder->faults, place ? place->line : 0, path, "is required where kind is embed");
                if (model->provider == SIZE_MAX || settings->providers[model->provider].type != PROVIDER_LOCAL || !model->model)
                        continue;
                for (size_t j = 0; j < COUNT_OF(local_models); j++)
                        found = found ||
                                (strcmp(model->model, local_models[j].name) == 0 &&
                                 ((int)model->kind < 0 || model->kind == local_models[j].kind));
                if (!found)
                        fault(binder, &model->model, "",
                              "the local provider has local-embed, local-rerank (rerank) and local-answer (llm)");
        }
}

static void check_collections(struct binder *binder)
{
        const struct settings *settings = binder->settings;

        for (size_t i = 0; i < settings->collection_count; i++) {
                struct chunking *chunking = &settings->collections[i].chunking;

                if (chunking->overlap < chunking->size)
                        continue;
                if (given(binder, &chunking->overlap))
                        fault(binder, &chunking->overlap, "", "must be less than size");
                else
                        chunking->overlap = chunking->size / 10;
        }
}

static void check_tenants(struct binder *binder)
{
        const struct settings *settings = binder->settings;

        for (size_t i = 0; i < settings->tenant_count; i++) {
                struct tenant_settings *tenant = &settings->tenants[i];

                if (tenant->prefix && strcmp(tenant->prefix, settings->kafka.prefix) == 0)
                        tenant->prefix = NULL; /* the common one: nothing of its own */
                for (size_t j = 0; tenant->prefix && j < i; j++) {
                        if (settings->tenants[j].prefix && strcmp(settings->tenants[j].prefix, tenant->prefix) == 0) {
                                fault(binder, &tenant->prefix, "",
                                      "the prefix of tenants[%zu] too: there one may speak only as itself", j);
                                break;
                        }
                }
                for (size_t j = 0; j < tenant->budget_count; j++) {
                        const struct budget_settings *budget = &tenant->budgets[j];

                        if (budget->usd < 0 && budget->tokens < 0 && !given(binder, &budget->usd) &&
                            !given(binder, &budget->tokens))
                                fault(binder, &budget->window_ms, "tenants[].budgets[]", "a budget needs usd or tokens");
                }
        }
}

void cross_check(struct binder *binder)
{
        struct settings *settings = binder->settings;

        for (enum kind kind = 0; kind < KIND_COUNT; kind++)
                if (kind == KIND_INGEST || kind == KIND_RETRIEVE)
                        settings->default_model[kind] = SIZE_MAX;
        if (!add_local_provider(binder) || !add_local_models(binder) || !add_collection(binder) || !name_worker(settings)) {
                faults_add(binder->faults, 0, "", "memory is out");
                return;
        }
        resolve_references(binder);
        check_fallbacks(binder);
        check_kafka(binder);
        check_redis(binder);
        check_addresses(binder);
        check_worker(binder);
        check_providers(binder);
        check_models(binder);
        check_collections(binder);
        check_tenants(binder);
}
