#include "workers/dlq/dlq_estimate.h"

#include <stdio.h>
#include <string.h>

#include "config/base/arena.h"
#include "config/base/own.h"
#include "queues/envelope.h"

enum { ARENA_BYTES_MIN = 32 << 20, ARENA_PER_PAYLOAD = 16, SCRATCH_PER_PAYLOAD = 8, BYTES_PER_TOKEN = 3, TOKENS_PER_WORD = 2 };

static int64_t tokens_of(uint64_t bytes)
{
        return (int64_t)((bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN);
}

static const struct model_settings *model_of(const struct settings *settings, enum kind kind, struct span alias)
{
        const struct model_settings *model = alias.len > 0 ? settings_model(settings, alias.data, alias.len)
                                                           : &settings->models[settings->default_model[kind]];

        return model && model->kind == kind ? model : NULL;
}

static void charge(struct letter_estimate *estimate, const struct model_settings *model, int64_t input, int64_t output)
{
        estimate->input_tokens += input;
        estimate->output_tokens += output;
        if (model)
                estimate->usd += ((double)input * model->price.input_per_mtok + (double)output * model->price.output_per_mtok) /
                                 1e6;
}

static const struct model_settings *collection_model(const struct settings *settings, struct span name, int *ret_chunk_tokens)
{
        const struct collection_settings *collection = settings_collection(settings, name.data, name.len);

        *ret_chunk_tokens = collection ? collection->chunking.size * TOKENS_PER_WORD : 0;
        return collection ? &settings->models[collection->model] : NULL;
}

/* What a step hands on to the next one, in tokens. */
struct passed_on {
        int64_t passages, passage_tokens;
};

static void estimate_embed(const struct embed_fields *embed, const struct settings *settings, struct letter_estimate *estimate)
{
        uint64_t bytes = 0;

        for (size_t i = 0; i < embed->input_count; i++)
                bytes += embed->inputs[i].len;
        charge(estimate, model_of(settings, KIND_EMBED, embed->model), tokens_of(bytes), 0);
}

static void estimate_retrieve(const struct retrieve_fields *retrieve, const struct settings *settings, bool paid,
                              struct letter_estimate *estimate, struct passed_on *passed)
{
        int chunk_tokens;
        const struct model_settings *model = collection_model(settings, retrieve->collection, &chunk_tokens);

        if (paid && retrieve->mode != RETRIEVE_SPARSE && !retrieve->query_vector)
                charge(estimate, model, tokens_of(retrieve->query.len), 0);
        *passed = (struct passed_on){retrieve->top_k, chunk_tokens};
}

static void estimate_rerank(const struct rerank_fields *rerank, const struct settings *settings, bool paid,
                            struct letter_estimate *estimate, struct passed_on *passed)
{
        uint64_t bytes = rerank->query.len;
        int64_t tokens, count = (int64_t)rerank->document_count;

        for (size_t i = 0; i < rerank->document_count; i++)
                bytes += rerank->documents[i].text.len;
        tokens = tokens_of(bytes);
        if (count == 0) {
                count = passed->passages;
                tokens += count * passed->passage_tokens;
        }
        if (paid)
                charge(estimate, model_of(settings, KIND_RERANK, rerank->model), tokens, 0);
        *passed = (struct passed_on){rerank->top_n < count ? rerank->top_n : count, count > 0 ? tokens / count : 0};
}

static void estimate_llm(const struct llm_fields *llm, const struct settings *settings, const struct passed_on *passed,
                         struct letter_estimate *estimate)
{
        const struct model_settings *model = model_of(settings, KIND_LLM, llm->model);
        int64_t output = llm->max_tokens > 0 ? llm->max_tokens : model ? model->max_tokens_default : 0;
        uint64_t bytes = 0;
        const char *name;
        json_t *value;

        for (size_t i = 0; i < llm->message_count; i++)
                bytes += llm->messages[i].content.len;
        json_object_foreach (llm->variables, name, value)
                bytes += json_string_length(value);
        charge(estimate, model, tokens_of(bytes) + passed->passages * passed->passage_tokens, output);
}

static void estimate_step(const struct request_step *step, const struct settings *settings, bool paid,
                          struct letter_estimate *estimate, struct passed_on *passed)
{
        int chunk_tokens;

        switch (step->kind) {
        case KIND_EMBED:
                estimate_embed(&step->embed, settings, estimate);
                break;
        case KIND_INGEST:
                charge(estimate, collection_model(settings, step->ingest.collection, &chunk_tokens),
                       step->ingest.delete_document ? 0 : tokens_of(step->ingest.text.len + step->ingest.title.len), 0);
                break;
        case KIND_RETRIEVE:
                estimate_retrieve(&step->retrieve, settings, paid, estimate, passed);
                break;
        case KIND_RERANK:
                estimate_rerank(&step->rerank, settings, paid, estimate, passed);
                break;
        case KIND_LLM:
                if (paid)
                        estimate_llm(&step->llm, settings, passed, estimate);
                break;
        default:
                break;
        }
}

static bool fails_again(const struct letter *letter)
{
        char class[16], code[32];
        enum error_code known;

        snprintf(class, sizeof class, "%.*s", (int)(letter->class.len < 15 ? letter->class.len : 15),
                 letter->class.data ? letter->class.data : "");
        snprintf(code, sizeof code, "%.*s", (int)(letter->code.len < 31 ? letter->code.len : 31),
                 letter->code.data ? letter->code.data : "");
        known = error_code_of(class, code);
        if (known == CODE_NONE)
                return strcmp(class, "data") == 0 || strcmp(class, "model") == 0;
        return (error_code_class(known) == ERR_DATA || error_code_class(known) == ERR_MODEL) && !error_code_retriable(known);
}

bool letter_estimate(const struct letter *letter, const struct settings *settings, enum lane lane,
                     struct letter_estimate *ret_estimate)
{
        const size_t payload = letter->record->value.len;
        AUTO_ARENA *arena = arena_new(payload * ARENA_PER_PAYLOAD + ARENA_BYTES_MIN);
        AUTO_BUFFER scratch = {0};
        struct envelope_limits limits = {.payload_bytes_max = (size_t)settings->worker.payload_bytes_max, .ignore_origin = true};
        struct letter_estimate estimate = {.fails_again = fails_again(letter)};
        struct header *headers = arena ? arena_alloc(arena, HEADERS_MAX * sizeof *headers) : NULL;
        struct passed_on passed = {0, 0};
        struct request request;
        struct delivery delivery = {.topic = letter->record->topic,
                                    .timestamp_ms = letter->record->timestamp_ms,
                                    .key = letter->record->key,
                                    .value = letter->record->value,
                                    .headers = headers};
        struct error err;
        struct span value;
        const char *name;

        if (!headers)
                return false;
        buffer_init(&scratch, payload * SCRATCH_PER_PAYLOAD + 4096);
        for (int i = 0; i < LANE_COUNT; i++)
                limits.lane_timeout_ms[i] = settings->lanes[i].timeout_ms;
        for (size_t i = 0; delivery.header_count < HEADERS_MAX && record_header_at(letter->record, i, &name, &value); i++)
                if (!envelope_own_header(name)) /* names live as long as the record */
                        headers[delivery.header_count++] = (struct header){name, value};
        estimate.readable = envelope_decode(&delivery, letter->kind, lane, &limits, arena, &scratch, &request, &err) == 0;
        for (size_t i = 0; estimate.readable && i < request.step_count; i++)
                if (request.steps[i].kind == KIND_RETRIEVE || request.steps[i].kind == KIND_RERANK || (int64_t)i >= letter->step)
                        estimate_step(&request.steps[i], settings, (int64_t)i >= letter->step, &estimate, &passed);
        envelope_release(&request);
        *ret_estimate = estimate;
        return true;
}
