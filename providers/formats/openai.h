/* The OpenAI wire format, as OpenAI, Azure, vLLM, TEI, llama.cpp and many others speak it: embeddings and chat completions. */
#ifndef PROVIDERS_FORMATS_OPENAI_H
#define PROVIDERS_FORMATS_OPENAI_H

#include "providers/formats/format.h"

extern const struct format format_openai;

#endif
