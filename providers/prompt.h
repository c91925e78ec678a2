/* Versioned prompts: what a request's `prompt: name@version` and variables become as messages.
 *
 * The built-in one is grounded-answer@1; others are files <folder>/prompts/<name>@<version>, read once. A file:
 *
 *      --- system            a line of its own begins a message: system, user or assistant;
 *      You are terse.        what stands before the first such line must be blank
 *      --- user
 *      {{question}}          a variable: 1–64 of a-z 0-9 _; nothing else between the braces
 *
 * Variables that the prompt names must be given, and given ones must be named: data.schema otherwise. Two are the chain's, and may go
 * unused: {{query}} and {{passages}}. {{boundary}} is made here: 16 hexadecimal digits that follow from the variables and passages,
 * so that a document's author can't know them, while a repeated request gets the same messages. Passages stand as
 *
 *      <passage-9f86d081884c7d65 n="1" document="Handbook" page="3">
 *      text, with "<" written "&lt;" where a tag's name follows
 *      </passage-9f86d081884c7d65>
 *
 * struct prompts is immutable: any thread may use it. */
#ifndef PROVIDERS_PROMPT_H
#define PROVIDERS_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/arena.h"
#include "config/base/error.h"
#include "config/base/span.h"
#include "providers/call.h"

enum { PROMPTS_MAX = 256, PROMPT_FILE_BYTES_MAX = 65536, PROMPT_VARIABLES_MAX = 64, PROMPT_FINGERPRINT_BYTES = 17 };

/* "I don't have enough information." */
extern const char prompt_insufficient[];
/* The prompt of an llm step in a chain that names none. */
extern const char prompt_grounded[]; /* "grounded-answer@1" */

/* A passage given to the model, and what a citation may call it. Empty spans where there is none. */
struct passage {
        struct span chunk;           /* its id, "<document>#<n>" or what the request said */
        struct span document, title; /* document: its id */
        struct span source_document; /* metadata's */
        int64_t page_number;         /* 0: none */
        struct span text;
};

struct prompt_variable {
        struct span name, value;
};

struct prompt_inputs {
        const struct prompt_variable *variables; /* the request's own */
        size_t variable_count;
        struct span query;               /* the chain's; data NULL: none */
        const struct passage *passages;  /* the chain's; passages_given false: none */
        size_t passage_count;
        bool passages_given;
};

struct prompts;

/* Reads all files of <folder>/prompts; no such folder is no fault. NULL: a file is faulty, too large, or there are too many; err says which. */
struct prompts *prompts_new(const char *folder, struct error *err);
void prompts_free(struct prompts *prompts); /* NULL is fine */

/* The messages of prompt `name` ("name@version"), in the arena. data.schema: no such prompt, a variable missing or unknown;
 * data.too_large: the arena is full. */
int prompts_render(const struct prompts *prompts, struct span name, const struct prompt_inputs *inputs, struct arena *arena,
                   struct call_message **ret_messages, size_t *ret_count, struct error *err);

/* How the passage is called in its tag and expected in a citation: source_document, else title, else document, else the chunk's id. */
struct span passage_name(const struct passage *passage);

/* The first 16 hexadecimal digits of the template's SHA-256, for `release`. False: no such prompt. */
bool prompts_fingerprint(const struct prompts *prompts, struct span name, char ret_hex[PROMPT_FINGERPRINT_BYTES]);

#endif
