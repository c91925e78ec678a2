#include "workers/kinds/kinds_table.h"

#include "workers/kinds/kinds.h"
#include "workers/task/admit.h"

const struct kind_row kinds_table[KIND_COUNT] = {
        [KIND_INGEST] = {ingest_run, ingest_render, NULL, ingest_model, ingest_abort},
        [KIND_EMBED] = {embed_run, embed_render, NULL, embed_model, NULL},
        [KIND_RETRIEVE] = {retrieve_run, retrieve_render, retrieve_recall, retrieve_model, NULL},
        [KIND_RERANK] = {rerank_run, rerank_render, rerank_recall, rerank_model, NULL},
        [KIND_LLM] = {llm_run, llm_render, NULL, llm_model, NULL},
};

int kind_model(const struct task *task, struct span alias, enum kind kind, size_t *ret_model, struct error *err)
{
        const struct model_settings *model = &task->settings->models[task->settings->default_model[kind]];

        if (alias.len)
                model = settings_model(task->settings, alias.data, alias.len);
        if (!model || model->kind != kind)
                return error_set(err, CODE_NOT_FOUND, "model: there is no %s model of that name", kind_names[kind]);
        *ret_model = (size_t)(model - task->settings->models);
        return 0;
}

void kind_call(struct task *task, enum kind kind, size_t model)
{
        struct call *call = &task->call;

        call->kind = kind;
        call->settings = task->settings;
        call->model = model;
        call->deadline = task->deadline;
        call->arena = task->arena;
        providers_call(task->shop->providers, call);
}

int kind_called(struct task *task, struct error *err)
{
        struct call *call = &task->call;
        struct outcome_step *step = &task->steps[task->step];

        admit_called(task);
        task->outcome.provider_ms += call->provider_ms;
        if (call->model_name)
                task->outcome.model = call->model_name;
        if (call->op.err.code != CODE_NONE) {
                if (err)
                        *err = call->op.err;
                return -1;
        }
        task->outcome.served_from = served_names[call->served_from];
        step->usage.input_tokens += call->usage.input_tokens;
        step->usage.output_tokens += call->usage.output_tokens;
        step->usage.cached_tokens += call->usage.cached_tokens;
        step->cost_usd += call->cost_usd;
        return 0;
}
