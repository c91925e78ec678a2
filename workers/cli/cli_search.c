/* snapshot on disk ─ collection_open_snapshot ─► collection ─ collection_search ─► hits
 *                                  query ─ providers_call (the collection's embedding model) ┘
 * Read-only: neither Kafka nor Redis is asked, and a worker may go on writing. What it sees is as old as the last snapshot.
 * Failure modes: no snapshot, or a damaged one; a model that does not answer; then words alone are searched. */
#include <ev.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "config/base/arena.h"
#include "config/base/clock.h"
#include "config/base/own.h"
#include "providers/call.h"
#include "retrieval/collection.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"
#include "workers/cli/show_result.h"

enum { FOLDER_BYTES = 4096, ARENA_BYTES_MAX = 256 << 20, RESULT_BYTES_MAX = 256 << 20, EMBED_PATIENCE_MS = 10000 };

static const struct argument_row rows[] = {
        CLIENT_TENANT_ROW,
        {.name = "mode", .type = ARGUMENT_CHOICE, .choices = "hybrid dense sparse", .help = "which sides search"},
        {.name = "top-k", .type = ARGUMENT_INTEGER, .min = 1, .max = COLLECTION_TOP_K_MAX, .help = "how many hits (10)"},
        {.name = "filter",
         .type = ARGUMENT_JSON,
         .help = "a condition on metadata: {\"field\": …, \"operator\": \"==\", \"value\": …}"},
        {.name = "fusion", .type = ARGUMENT_CHOICE, .choices = "cross rrf zscore", .help = "how both sides are joined"},
        {.name = "alpha", .type = ARGUMENT_NUMBER, .min = 0, .max = 1, .help = "weight of the dense side, 0 to 1"},
        {.name = "collapse", .type = ARGUMENT_FLAG, .help = "one hit a document"},
        {.name = "explain", .type = ARGUMENT_FLAG, .help = "show each part of the scores"},
};

static void free_collection(struct collection **collection)
{
        collection_free(*collection);
}

static inline void release_json(json_t **value)
{
        json_decref(*value);
}

static void on_embedded(struct op *op)
{
        (void)op;
}

/* The query's vector in the arena. -1: no vector can be had; err says why. */
static int embed_query(struct settings *settings, const struct collection *collection, size_t model, struct span query,
                       struct arena *arena, struct search_request *request, struct error *err)
{
        struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
        const struct call_runner inline_runner = {0};
        struct providers *providers = loop ? providers_new(loop, settings, &inline_runner, err) : NULL;
        struct call call = {.kind = KIND_EMBED, .settings = settings, .model = model, .arena = arena};
        int rc = -1;

        if (!loop)
                return error_set(err, CODE_INTERNAL, "no event loop");
        if (providers) {
                call.deadline = clock_now_ms() + EMBED_PATIENCE_MS;
                call.embed.texts = &query;
                call.embed.count = 1;
                call.embed.input_type = INPUT_QUERY;
                call.embed.dimensions = (int)collection_dimensions(collection);
                op_init(&call.op, on_embedded);
                providers_call(providers, &call);
                while (call.op.state == OP_BUSY)
                        ev_run(loop, EVRUN_ONCE);
                if (call.op.err.code == CODE_NONE) {
                        request->query_vector = call.vectors;
                        request->dimensions = (size_t)call.dimensions;
                        rc = 0;
                } else {
                        *err = call.op.err;
                }
                providers_free(providers);
        }
        ev_loop_destroy(loop);
        return rc;
}

/* The collection as the newest snapshot has it; NULL: said why not. */
static struct collection *open_collection(const struct arguments *arguments, const struct settings *settings,
                                          const struct collection_settings *wanted)
{
        const struct model_settings *model = &settings->models[wanted->model];
        AUTO(free_collection) struct collection *collection = NULL;
        char folder[FOLDER_BYTES], embedder[512];
        struct error err;
        bool loaded;

        if (snprintf(folder, sizeof folder, "%s/collections/%s.v1", settings->data_dir, wanted->name) >= FOLDER_BYTES) {
                argument_fail(arguments, EXIT_USAGE, "data_dir is too long");
                return NULL;
        }
        snprintf(embedder, sizeof embedder, "%s/%s", settings->providers[model->provider].name, model->model);
        collection = collection_new(wanted->name, 1, wanted, (size_t)model->dimensions, embedder, folder, &err);
        if (!collection || collection_open_snapshot(collection, NULL, &loaded, &err) < 0) {
                argument_fail(arguments, EXIT_FAILED, "%s: %s", folder, err.message);
                return NULL;
        }
        if (!loaded) {
                argument_fail(arguments, EXIT_FAILED,
                              "there is no index of %s under %s; a worker that serves retrieve writes it there: name its folder "
                              "with --data-dir",
                              wanted->name, settings->data_dir);
                return NULL;
        }
        return TAKE(collection);
}

static int fill_request(const struct arguments *arguments, const struct collection *collection, json_t *filter, struct arena *arena,
                        struct search_request *request, struct error *err)
{
        *request = (struct search_request){
                .tenant = span_of(argument_given(arguments, "tenant") ? argument_string(arguments, "tenant") : "default"),
                .mode = (enum search_mode)argument_integer(arguments, "mode", SEARCH_HYBRID),
                .query = span_of(arguments->words[1]),
                .fusion = collection_fusion(collection),
                .top_k = (int)argument_integer(arguments, "top-k", 10),
                .collapse = argument_given(arguments, "collapse"),
                .explain = argument_given(arguments, "explain"),
        };
        request->fusion.method = (enum fusion_method)argument_integer(arguments, "fusion", request->fusion.method);
        request->fusion.alpha = argument_number(arguments, "alpha", request->fusion.alpha);
        return filter ? filter_parse(filter, arena, &request->filter, err) : 0;
}

static void print_hits(const struct arguments *arguments, const struct buffer *json, const struct search_result *result,
                       const char *no_vector)
{
        const struct terminal terminal = terminal_of(stdout);
        AUTO(release_json) json_t *retrieved = json_loadb(json->data, json->len, 0, NULL);
        AUTO_BUFFER out = {0};
        char when[CLOCK_RFC3339_BYTES];

        buffer_init(&out, RESULT_BYTES_MAX);
        if (argument_given(arguments, "json")) {
                terminal_json(stdout, buffer_view(json));
                return;
        }
        show_hits(&out, &terminal, retrieved);
        clock_format_rfc3339(result->indexed_at_ms, when);
        buffer_printf(&out, "\n  as of %s\n", when);
        if (no_vector)
                buffer_printf(&out, "  searched by words alone: %s\n", no_vector);
        fputs(out.data ? out.data : "", stdout);
}

static int run(struct arguments *arguments)
{
        AUTO_SETTINGS *settings = client_settings(arguments);
        AUTO_ARENA *arena = arena_new(ARENA_BYTES_MAX);
        AUTO(free_collection) struct collection *collection = NULL;
        AUTO(release_json) json_t *filter = NULL;
        const struct collection_settings *wanted;
        const char *name = arguments->words[0], *no_vector = NULL;
        struct search_request request;
        struct search_result result;
        struct error err, embed_err;
        AUTO_BUFFER json = {0};

        buffer_init(&json, RESULT_BYTES_MAX);
        if (!settings)
                return EXIT_USAGE;
        client_quiet();
        wanted = settings_collection(settings, name, strlen(name));
        if (!wanted)
                return argument_fail(arguments, EXIT_USAGE, "the configuration has no such collection; it has %s%s",
                                     settings->collection_count > 0 ? settings->collections[0].name : "none",
                                     settings->collection_count > 1 ? " and others" : "");
        if (argument_given(arguments, "filter") &&
            !(filter = json_loads(argument_string(arguments, "filter"), JSON_REJECT_DUPLICATES, NULL)))
                return argument_fail(arguments, EXIT_USAGE, "--filter is not JSON");
        collection = open_collection(arguments, settings, wanted);
        if (!collection)
                return EXIT_FAILED;
        if (!arena || fill_request(arguments, collection, filter, arena, &request, &err) < 0)
                return argument_fail(arguments, EXIT_USAGE, "%s", arena ? err.message : "out of memory");
        if (request.mode != SEARCH_SPARSE &&
            embed_query(settings, collection, wanted->model, request.query, arena, &request, &embed_err) < 0)
                no_vector = embed_err.message;
        if (collection_search(collection, &request, arena, &result, &err) < 0)
                return argument_fail(arguments, err.class == ERR_DATA ? EXIT_USAGE : EXIT_FAILED, "%s", err.message);
        collection_render_result(&json, collection, &result, -1, result.indexed_at_ms, request.explain);
        if (!buffer_ok(&json))
                return argument_fail(arguments, EXIT_FAILED, "the hits are too large to print; ask for fewer with --top-k");
        print_hits(arguments, &json, &result, no_vector);
        return EXIT_DONE;
}

const struct command command_search = {
        .name = "search",
        .summary = "Search the index on this machine, read-only, without Kafka and Redis.",
        .usage = "COLLECTION \"query\" [--mode NAME] [--top-k N] [--filter JSON]",
        .details = "Reads the snapshot that a worker keeps under data_dir: what was indexed after it is not seen. With --json it "
                   "prints what a\n"
                   "retrieve request's result holds. When the collection's model can't embed the query, words alone are searched, "
                   "and it says so.\n",
        .example = "  millrace search docs \"how do I make a backup?\" --data-dir var/demo --top-k 3 --explain\n",
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .words_min = 2,
        .words_max = 2,
        .run = run,
};
