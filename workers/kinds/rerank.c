/* rerank: the documents of the request, or the passages of the step before it, put into the model's order. */
#include <stdlib.h>

#include "workers/kinds/kinds.h"

struct ranking {
        const struct passage *from; /* what was ranked */
        struct ranked {
                size_t index;
                double score;
        } * order;                  /* best first */
        size_t count;               /* top_n at most */
        struct span *texts;
};

/* The request's documents in the shape of passages; or those before it. */
static int begin(struct task *task, struct error *err)
{
        const struct rerank_fields *fields = &task->request.steps[task->step].rerank;
        struct passages *passages = &task->passages;
        struct ranking *work = arena_alloc(task->arena, sizeof *work);

        if (fields->query.len)
                passages->query = fields->query;
        if (fields->document_count) {
                passages->count = fields->document_count;
                passages->list = arena_alloc(task->arena, passages->count * sizeof *passages->list);
                for (size_t i = 0; passages->list && i < passages->count; i++)
                        passages->list[i] = (struct passage){.chunk = fields->documents[i].id, .text = fields->documents[i].text};
        }
        passages->given = true;
        if (work) {
                work->from = passages->list;
                work->texts = arena_alloc(task->arena, (passages->count + 1) * sizeof *work->texts);
                work->order = arena_alloc(task->arena, (passages->count + 1) * sizeof *work->order);
        }
        if (!arena_ok(task->arena))
                return error_set(err, arena_fault(task->arena), "the documents need more memory than one request may take");
        for (size_t i = 0; i < passages->count; i++)
                work->texts[i] = passages->list[i].text;
        task->work = work;
        return 0;
}

static int better_first(const void *left, const void *right)
{
        const struct ranked *a = left, *b = right;

        if (a->score != b->score)
                return a->score > b->score ? -1 : 1;
        return a->index < b->index ? -1 : a->index > b->index;
}

static int take_best(struct task *task, struct error *err)
{
        struct ranking *work = task->work;
        size_t top = (size_t)task->request.steps[task->step].rerank.top_n;
        struct passage *list;

        for (size_t i = 0; i < task->passages.count; i++)
                work->order[i] = (struct ranked){i, task->call.scores[i]};
        qsort(work->order, task->passages.count, sizeof *work->order, better_first);
        work->count = top < task->passages.count ? top : task->passages.count;
        list = arena_alloc(task->arena, (work->count + 1) * sizeof *list);
        if (!list)
                return error_set(err, arena_fault(task->arena), "the documents need more memory than one request may take");
        for (size_t i = 0; i < work->count; i++)
                list[i] = work->from[work->order[i].index];
        task->passages.list = list;
        task->passages.count = work->count;
        return 0;
}

enum step rerank_run(struct task *task, struct error *err)
{
        const struct rerank_fields *fields = &task->request.steps[task->step].rerank;
        struct ranking *work;
        size_t model;

        if (task->phase == 0) {
                if (kind_model(task, fields->model, KIND_RERANK, &model, err) < 0 || begin(task, err) < 0)
                        return STEP_DONE;
                if (task->passages.count == 0)
                        return STEP_DONE;
                work = task->work;
                task->phase = 1;
                task->call = (struct call){.op = task->call.op};
                task->call.rerank.query = task->passages.query;
                task->call.rerank.documents = work->texts;
                task->call.rerank.count = task->passages.count;
                kind_call(task, KIND_RERANK, model);
        }
        if (task->call.op.state != OP_DONE)
                return STEP_WAIT;
        if (kind_called(task, err) == 0)
                take_best(task, err);
        return STEP_DONE;
}

void rerank_render(struct task *task, struct buffer *out)
{
        const struct ranking *work = task->work;

        buffer_string(out, "{\"results\":[");
        for (size_t i = 0; i < work->count; i++) {
                const struct passage *passage = &work->from[work->order[i].index];

                buffer_string(out, i ? ",{\"id\":" : "{\"id\":");
                buffer_json_string(out, passage->chunk);
                buffer_string(out, ",\"index\":");
                buffer_int(out, (int64_t)work->order[i].index);
                buffer_string(out, ",\"score\":");
                buffer_json_double(out, work->order[i].score);
                buffer_string(out, ",\"text\":");
                buffer_json_string(out, passage->text);
                buffer_char(out, '}');
        }
        buffer_string(out, "]}");
}

int rerank_recall(struct task *task, const json_t *result, struct error *err)
{
        const json_t *results = json_object_get(result, "results");
        size_t count = json_array_size(results);
        struct passage *list;

        if (begin(task, err) < 0)
                return -1;
        list = arena_alloc(task->arena, (count + 1) * sizeof *list);
        if (!list)
                return error_set(err, arena_fault(task->arena), "the documents need more memory than one request may take");
        for (size_t i = 0; i < count; i++) {
                json_int_t index = json_integer_value(json_object_get(json_array_get(results, i), "index"));

                if (index < 0 || (size_t)index >= task->passages.count)
                        return error_set(err, CODE_INTERNAL, "a kept step names a passage that is not there");
                list[i] = task->passages.list[index];
        }
        task->passages.list = list;
        task->passages.count = count;
        return 0;
}

bool rerank_model(const struct task *task, size_t *ret_model)
{
        return kind_model(task, task->request.steps[task->step].rerank.model, KIND_RERANK, ret_model, NULL) == 0;
}
