#include "providers/formats/local.h"

#include <string.h>

#include "config/base/own.h"
#include "providers/formats/format.h"
#include "providers/formats/local_answer.h"
#include "providers/formats/local_embed.h"
#include "providers/formats/local_rerank.h"

static const struct {
        const char *model;
        enum kind kind;
        int (*run)(struct call *call, struct error *err);
} models[] = {
        {"local-embed", KIND_EMBED, local_embed},
        {"local-rerank", KIND_RERANK, local_rerank},
        {"local-answer", KIND_LLM, local_answer},
};

int local_run(struct call *call, struct error *err)
{
        for (size_t i = 0; i < COUNT_OF(models); i++)
                if (models[i].kind == call->kind && strcmp(models[i].model, format_model(call)->model) == 0)
                        return models[i].run(call, err);
        return error_set(err, CODE_NOT_FOUND, "the local provider has no model of that name and kind: local-embed, local-rerank, local-answer");
}

bool local_is_small(const struct call *call)
{
        size_t bytes = 0;

        if (call->kind != KIND_EMBED)
                return false;
        for (size_t i = 0; i < call->embed.count; i++)
                bytes += call->embed.texts[i].len;
        return bytes < LOCAL_INLINE_BYTES;
}
