/* Every block of memory that settings own hangs on one list and is overwritten before it is freed: which of the strings are secrets
 * need not be known here. */
#include "config/settings.h"

#include <stdlib.h>
#include <string.h>

#include "config/settings_build.h"

const char *const kind_names[KIND_COUNT] = {[KIND_INGEST] = "ingest",
                                            [KIND_EMBED] = "embed",
                                            [KIND_RETRIEVE] = "retrieve",
                                            [KIND_RERANK] = "rerank",
                                            [KIND_LLM] = "llm"};
const char *const lane_names[LANE_COUNT] = {[LANE_INTERACTIVE] = "interactive", [LANE_BULK] = "bulk"};

int kind_of(const char *name, size_t len)
{
        for (int kind = 0; kind < KIND_COUNT; kind++)
                if (span_is((struct span){name, len}, kind_names[kind]))
                        return kind;
        return -1;
}

int lane_of(const char *name, size_t len)
{
        for (int lane = 0; lane < LANE_COUNT; lane++)
                if (span_is((struct span){name, len}, lane_names[lane]))
                        return lane;
        return -1;
}

struct settings_block {
        struct settings_block *next;
        size_t bytes;
        _Alignas(16) char data[];
};

struct settings *settings_new(void)
{
        struct settings *settings = calloc(1, sizeof *settings);

        if (settings)
                settings->references = 1;
        return settings;
}

void *settings_alloc(struct settings *settings, size_t bytes)
{
        struct settings_block *block = calloc(1, sizeof *block + bytes);

        if (!block)
                return NULL;
        block->bytes = bytes;
        block->next = settings->blocks;
        settings->blocks = block;
        return block->data;
}

char *settings_copy(struct settings *settings, struct span s)
{
        char *copy = settings_alloc(settings, s.len + 1);

        if (copy && s.len)
                memcpy(copy, s.data, s.len);
        return copy;
}

struct settings *settings_ref(struct settings *settings)
{
        __atomic_fetch_add(&settings->references, 1, __ATOMIC_RELAXED);
        return settings;
}

void settings_unref(struct settings *settings)
{
        struct settings_block *next;

        if (!settings || __atomic_sub_fetch(&settings->references, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        for (struct settings_block *block = settings->blocks; block; block = next) {
                next = block->next;
                explicit_bzero(block->data, block->bytes);
                free(block);
        }
        free(settings);
}

const struct model_settings *settings_model(const struct settings *settings, const char *name, size_t len)
{
        for (size_t i = 0; i < settings->model_count; i++)
                if (span_is((struct span){name, len}, settings->models[i].name))
                        return &settings->models[i];
        return NULL;
}

const struct collection_settings *settings_collection(const struct settings *settings, const char *name, size_t len)
{
        for (size_t i = 0; i < settings->collection_count; i++)
                if (span_is((struct span){name, len}, settings->collections[i].name))
                        return &settings->collections[i];
        return NULL;
}
