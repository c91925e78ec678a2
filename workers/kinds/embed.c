#include "workers/kinds/kinds.h"

enum step embed_run(struct task *task, struct error *err)
{
        const struct embed_fields *fields = &task->request.steps[task->step].embed;
        size_t model;

        if (task->phase == 0) {
                if (kind_model(task, fields->model, KIND_EMBED, &model, err) < 0)
                        return STEP_DONE;
                task->phase = 1;
                task->call = (struct call){.op = task->call.op};
                task->call.embed.texts = fields->inputs;
                task->call.embed.count = fields->input_count;
                task->call.embed.input_type = (enum input_type)fields->input_role;
                task->call.embed.dimensions = (int)fields->dimensions;
                kind_call(task, KIND_EMBED, model);
        }
        if (task->call.op.state != OP_DONE)
                return STEP_WAIT;
        kind_called(task, err);
        return STEP_DONE;
}

void embed_render(struct task *task, struct buffer *out)
{
        const struct embed_fields *fields = &task->request.steps[task->step].embed;
        const struct call *call = &task->call;
        size_t dimensions = (size_t)call->dimensions;

        buffer_string(out, "{\"model\":");
        buffer_json_string(out, span_of(call->model_name));
        buffer_string(out, ",\"dimensions\":");
        buffer_int(out, call->dimensions);
        buffer_string(out, ",\"embeddings\":[");
        for (size_t i = 0; i < fields->input_count; i++) {
                if (i)
                        buffer_char(out, ',');
                if (fields->encoding == ENCODING_BASE64)
                        buffer_json_base64_floats(out, call->vectors + i * dimensions, dimensions);
                else
                        buffer_json_floats(out, call->vectors + i * dimensions, dimensions);
        }
        buffer_string(out, "]}");
}

bool embed_model(const struct task *task, size_t *ret_model)
{
        return kind_model(task, task->request.steps[task->step].embed.model, KIND_EMBED, ret_model, NULL) == 0;
}
