/* retrieve: wait until the replica covers what is asked for → embed the query → search, on the pool. A query whose embedding fails is
 * searched by its words alone and says so. */
#include "config/base/clock.h"
#include "workers/kinds/kinds.h"
#include "workers/kinds/paid_embedding.h"

enum { INDEX_WAIT_MS = 20 };
enum phase { PHASE_BEGIN, PHASE_INDEX, PHASE_EMBED, PHASE_SEARCH };

struct retrieval {
        struct shelf *shelf;
        const struct filter *filter;
        struct search_request request;
        struct search_result result;
        struct collection_position *at_least;
        size_t at_least_count;
        struct arena *arena;
        int64_t lag;
        size_t model; /* that embeds the query */
};

static int begin(struct task *task, struct error *err)
{
        const struct retrieve_fields *fields = &task->request.steps[task->step].retrieve;
        struct retrieval *work = arena_alloc(task->arena, sizeof *work);
        struct shelf *shelf = workshop_shelf(task->shop, fields->collection);

        if (!work)
                return error_set(err, arena_fault(task->arena), "the request needs more memory than one may take");
        if (!shelf || !shelf->collection || !settings_collection(task->settings, fields->collection.data, fields->collection.len))
                return error_set(err, CODE_UNKNOWN_COLLECTION, "collection: there is none of that name");
        work->shelf = shelf;
        work->arena = task->arena;
        if (fields->filter && filter_parse(fields->filter, task->arena, &work->filter, err) < 0)
                return -1;
        work->request = (struct search_request){.tenant = task->request.tenant,
                                                .mode = (enum search_mode)fields->mode,
                                                .query = fields->query,
                                                .query_vector = fields->query_vector,
                                                .dimensions = fields->query_dimensions,
                                                .filter = work->filter,
                                                .fusion = collection_fusion(shelf->collection),
                                                .top_k = (int)fields->top_k,
                                                .collapse = fields->collapse,
                                                .explain = fields->explain};
        if (fields->fusion_method >= 0)
                work->request.fusion.method = (enum fusion_method)fields->fusion_method;
        if (fields->alpha >= 0)
                work->request.fusion.alpha = fields->alpha;
        if (fields->depth > 0)
                work->request.fusion.depth = (int)fields->depth;
        work->at_least_count = fields->at_least_count;
        work->at_least = arena_alloc(task->arena, (fields->at_least_count + 1) * sizeof *work->at_least);
        if (!work->at_least)
                return error_set(err, arena_fault(task->arena), "the request needs more memory than one may take");
        for (size_t i = 0; i < fields->at_least_count; i++)
                work->at_least[i] = (struct collection_position){fields->at_least[i].partition, fields->at_least[i].offset};
        task->work = work;
        return 0;
}

static bool covered(const struct retrieval *work)
{
        return shelf_ready(work->shelf) && collection_covers(work->shelf->collection, work->at_least, work->at_least_count);
}

static int search(void *argument, struct error *err)
{
        struct retrieval *work = argument;

        return collection_search(work->shelf->collection, &work->request, work->arena, &work->result, err);
}

static enum step start_search(struct task *task, struct error *err)
{
        task->phase = PHASE_SEARCH;
        if (pool_run(task->shop->pool, &task->op, search, task->work) < 0) {
                error_set(err, CODE_RATE_LIMITED, "too many searches are waiting");
                return STEP_DONE;
        }
        return STEP_WAIT;
}

static void ask_embedding(struct task *task)
{
        struct retrieval *work = task->work;

        work->model = settings_collection(task->settings, work->shelf->name, strlen(work->shelf->name))->model;
        task->call = (struct call){.op = task->call.op};
        task->call.embed.texts = &work->request.query;
        task->call.embed.count = 1;
        task->call.embed.input_type = INPUT_QUERY;
        task->call.embed.dimensions = (int)collection_dimensions(work->shelf->collection);
}

static enum step embed_query(struct task *task, struct error *err)
{
        struct retrieval *work = task->work;
        enum step step = paid_embedding(task, work->model, err);

        if (step != STEP_DONE)
                return step;
        if (err->code == CODE_NONE) {
                work->request.query_vector = task->call.vectors;
                work->request.dimensions = (size_t)task->call.dimensions;
        } else if (work->request.mode == SEARCH_DENSE) {
                return STEP_DONE; /* nothing to fall back on */
        } else {
                error_clear(err);
                task->outcome.model = NULL; /* it never answered */
        }
        return start_search(task, err);
}

/* What the next step of a chain works on. */
static int hand_on(struct task *task, struct error *err)
{
        const struct retrieval *work = task->work;
        struct passage *list = arena_alloc(task->arena, (work->result.count + 1) * sizeof *list);

        if (!list)
                return error_set(err, arena_fault(task->arena), "the hits need more memory than one request may take");
        for (size_t i = 0; i < work->result.count; i++) {
                const struct search_hit *hit = &work->result.hits[i];

                list[i] = (struct passage){.chunk = hit->id,
                                           .document = hit->document,
                                           .title = hit->title,
                                           .source_document = hit->source_document,
                                           .page_number = hit->page_number,
                                           .text = hit->text};
        }
        task->passages = (struct passages){true, work->request.query, list, work->result.count};
        return 0;
}

static void note_degraded(struct task *task, const struct search_result *result)
{
        for (size_t i = 0; i < result->degraded_count && task->outcome.degraded_count < OUTCOME_DEGRADED_MAX; i++)
                task->outcome.degraded[task->outcome.degraded_count++] = result->degraded[i];
}

static enum step finish(struct task *task, struct error *err)
{
        struct retrieval *work = task->work;

        if (task->op.err.code != CODE_NONE) {
                *err = task->op.err;
                return STEP_DONE;
        }
        work->lag = shelf_lag(work->shelf);
        note_degraded(task, &work->result);
        hand_on(task, err);
        return STEP_DONE;
}

enum step retrieve_run(struct task *task, struct error *err)
{
        struct retrieval *work = task->work;

        switch ((enum phase)task->phase) {
        case PHASE_BEGIN:
                if (begin(task, err) < 0)
                        return STEP_DONE;
                task->phase = PHASE_INDEX;
                return STEP_MORE;
        case PHASE_INDEX:
                if (!covered(work)) {
                        if (task_remaining_ms(task) <= 0) {
                                error_set(err, CODE_DEADLINE, "the index was not caught up before the deadline");
                                return STEP_DONE;
                        }
                        if (!ev_is_active(&task->timer))
                                task_wait(task, INDEX_WAIT_MS);
                        return STEP_WAIT;
                }
                if (work->request.mode == SEARCH_SPARSE || work->request.query_vector)
                        return start_search(task, err);
                task->phase = PHASE_EMBED;
                ask_embedding(task);
                return STEP_MORE;
        case PHASE_EMBED:
                return embed_query(task, err);
        case PHASE_SEARCH:
        default:
                return task->op.state == OP_DONE ? finish(task, err) : STEP_WAIT;
        }
}

void retrieve_render(struct task *task, struct buffer *out)
{
        const struct retrieval *work = task->work;

        collection_render_result(out, work->shelf->collection, &work->result, work->lag, work->result.indexed_at_ms, work->request.explain);
}

static struct span string_member(const json_t *object, const char *name, struct arena *arena)
{
        const json_t *value = json_object_get(object, name);
        struct span s = {json_string_value(value), json_string_length(value)};

        return s.data ? (struct span){arena_copy(arena, s), s.len} : (struct span){NULL, 0};
}

int retrieve_recall(struct task *task, const json_t *result, struct error *err)
{
        const json_t *hits = json_object_get(result, "hits");
        size_t count = json_array_size(hits);
        struct passage *list = arena_alloc(task->arena, (count + 1) * sizeof *list);

        for (size_t i = 0; list && i < count; i++) {
                const json_t *hit = json_array_get(hits, i), *metadata = json_object_get(hit, "metadata");

                list[i] = (struct passage){.chunk = string_member(hit, "id", task->arena),
                                           .document = string_member(hit, "document", task->arena),
                                           .title = string_member(hit, "title", task->arena),
                                           .source_document = string_member(metadata, "source_document", task->arena),
                                           .page_number = json_integer_value(json_object_get(metadata, "page_number")),
                                           .text = string_member(hit, "text", task->arena)};
        }
        if (!arena_ok(task->arena))
                return error_set(err, arena_fault(task->arena), "the hits need more memory than one request may take");
        task->passages = (struct passages){true, task->request.steps[task->step].retrieve.query, list, count};
        return 0;
}

/* A hybrid search goes without the query's vector where that can't be had: only a dense one stands or falls with the model. */
bool retrieve_model(const struct task *task, size_t *ret_model)
{
        const struct retrieve_fields *fields = &task->request.steps[task->step].retrieve;
        const struct collection_settings *collection = settings_collection(task->settings, fields->collection.data, fields->collection.len);

        if (!collection || (enum search_mode)fields->mode != SEARCH_DENSE || fields->query_vector)
                return false;
        *ret_model = collection->model;
        return true;
}
