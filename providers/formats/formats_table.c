#include "config/base/own.h"
#include "providers/formats/format.h"
#include "providers/formats/openai.h"

static const struct format *const formats[] = {
        &format_openai,
};

static const char *const type_names[] = {
        [PROVIDER_OPENAI] = "openai", [PROVIDER_ANTHROPIC] = "anthropic", [PROVIDER_COHERE] = "cohere", [PROVIDER_JINA] = "jina",
        [PROVIDER_TEI] = "tei",       [PROVIDER_OLLAMA] = "ollama",       [PROVIDER_LOCAL] = "local",
};

const struct format *format_of(enum provider_type type)
{
        for (size_t i = 0; i < COUNT_OF(formats); i++)
                if (formats[i]->type == type)
                        return formats[i];
        return NULL;
}

const char *format_type_name(enum provider_type type)
{
        return (size_t)type < COUNT_OF(type_names) ? type_names[type] : "unknown";
}
