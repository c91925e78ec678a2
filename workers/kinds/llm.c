/* llm: messages as given, or a prompt filled in; in a chain with the query and passages before it, whose citations are verified. */
#include "providers/citations.h"
#include "workers/kinds/kinds.h"

struct answer {
        struct call_message *messages;
        size_t count;
        struct span schema;
        struct citations citations;
};

static int variables(const struct task *task, const json_t *object, struct prompt_inputs *inputs, struct error *err)
{
        size_t count = json_object_size(object), n = 0;
        struct prompt_variable *list = arena_alloc(task->arena, (count + 1) * sizeof *list);
        const char *name;
        json_t *value;

        json_object_foreach((json_t *)(uintptr_t)object, name, value)
        {
                if (!json_is_string(value))
                        return error_set(err, CODE_SCHEMA, "variables: each must be a string");
                if (list)
                        list[n++] = (struct prompt_variable){span_of(name), {json_string_value(value), json_string_length(value)}};
        }
        inputs->variables = list;
        inputs->variable_count = n;
        return 0;
}

static int build_messages(struct task *task, struct answer *work, struct error *err)
{
        const struct llm_fields *fields = &task->request.steps[task->step].llm;
        struct prompt_inputs inputs = {.query = task->passages.query,
                                       .passages = task->passages.list,
                                       .passage_count = task->passages.count,
                                       .passages_given = task->passages.given};
        struct span prompt = fields->prompt.len ? fields->prompt : span_of(prompt_grounded);

        if (!fields->message_count) {
                if (variables(task, fields->variables, &inputs, err) < 0)
                        return -1;
                return prompts_render(task->shop->prompts, prompt, &inputs, task->arena, &work->messages, &work->count, err);
        }
        work->count = fields->message_count;
        work->messages = arena_alloc(task->arena, work->count * sizeof *work->messages);
        for (size_t i = 0; work->messages && i < work->count; i++)
                work->messages[i] = (struct call_message){fields->messages[i].role, fields->messages[i].content};
        return 0;
}

static int begin(struct task *task, struct error *err)
{
        const struct llm_fields *fields = &task->request.steps[task->step].llm;
        struct answer *work = arena_alloc(task->arena, sizeof *work);
        size_t bytes;
        char *schema;

        if (!work || build_messages(task, work, err) < 0)
                return work ? -1 : error_set(err, arena_fault(task->arena), "the request needs more memory than one may take");
        if (fields->response_schema) {
                bytes = json_dumpb(fields->response_schema, NULL, 0, JSON_COMPACT);
                schema = arena_alloc_raw(task->arena, bytes + 1);
                if (bytes == 0 || (schema && json_dumpb(fields->response_schema, schema, bytes, JSON_COMPACT) != bytes))
                        arena_starve(task->arena); /* jansson had no memory */
                work->schema = (struct span){schema, bytes};
        }
        if (!arena_ok(task->arena))
                return error_set(err, arena_fault(task->arena), "the request needs more memory than one may take");
        task->work = work;
        return 0;
}

enum step llm_run(struct task *task, struct error *err)
{
        const struct llm_fields *fields = &task->request.steps[task->step].llm;
        struct answer *work;
        size_t model;

        if (task->phase == 0) {
                if (kind_model(task, fields->model, KIND_LLM, &model, err) < 0 || begin(task, err) < 0)
                        return STEP_DONE;
                work = task->work;
                task->phase = 1;
                task->call = (struct call){.op = task->call.op};
                task->call.llm.messages = work->messages;
                task->call.llm.count = work->count;
                task->call.llm.max_tokens = (int)fields->max_tokens;
                task->call.llm.temperature_set = fields->temperature_set;
                task->call.llm.temperature = fields->temperature;
                task->call.llm.response_schema = work->schema;
                kind_call(task, KIND_LLM, model);
        }
        if (task->call.op.state != OP_DONE)
                return STEP_WAIT;
        work = task->work;
        if (kind_called(task, err) == 0 &&
            citations_find(task->call.text, task->passages.list, task->passages.count, task->arena, &work->citations) < 0)
                error_set(err, arena_fault(task->arena), "the answer needs more memory than one request may take");
        return STEP_DONE;
}

static void render_citation(struct buffer *out, const struct citation *citation)
{
        buffer_string(out, "{\"marker\":");
        buffer_json_string(out, citation->marker);
        buffer_string(out, ",\"chunk\":");
        if (citation->chunk.data)
                buffer_json_string(out, citation->chunk);
        else
                buffer_string(out, "null");
        buffer_string(out, ",\"source_document\":");
        buffer_json_string(out, citation->source_document);
        buffer_string(out, ",\"page_number\":");
        if (citation->page_number)
                buffer_int(out, citation->page_number);
        else
                buffer_string(out, "null");
        buffer_string(out, citation->verified ? ",\"verified\":true}" : ",\"verified\":false}");
}

void llm_render(struct task *task, struct buffer *out)
{
        const struct answer *work = task->work;

        buffer_string(out, "{\"text\":");
        buffer_json_string(out, task->call.text);
        buffer_string(out, ",\"finish_reason\":");
        buffer_json_string(out, span_of(task->call.finish_reason ? task->call.finish_reason : "stop"));
        buffer_string(out, ",\"citations\":[");
        for (size_t i = 0; i < work->citations.count; i++) {
                if (i)
                        buffer_char(out, ',');
                render_citation(out, &work->citations.list[i]);
        }
        buffer_string(out, work->citations.insufficient ? "],\"insufficient\":true}" : "],\"insufficient\":false}");
}

bool llm_model(const struct task *task, size_t *ret_model)
{
        return kind_model(task, task->request.steps[task->step].llm.model, KIND_LLM, ret_model, NULL) == 0;
}
