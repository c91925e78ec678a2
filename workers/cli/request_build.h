/* A request as `submit` publishes it: made of options, of JSON text, or of a line of a file, checked as the worker will check it.
 *
 *      options          ─ request_from_options ─┐
 *      JSON text        ─ request_from_text ────┼─► value, id, tenant, key ─► Kafka
 *      document line    ─ request_from_line ────┘
 *
 * JSON that was given goes out byte for byte; what options add (an id, a tenant, a timeout) is put before its first member. */
#ifndef WORKERS_CLI_REQUEST_BUILD_H
#define WORKERS_CLI_REQUEST_BUILD_H

#include <jansson.h>

#include "config/base/buffer.h"
#include "config/base/error.h"
#include "config/settings.h"
#include "workers/cli/arguments.h"

enum { REQUEST_ID_BYTES = 129, REQUEST_TENANT_BYTES = 65, REQUEST_KEY_BYTES = 400 };

/* X(option, type, value's name, repeatable, kinds that take it, member, choices, help): members of a request as options of
 * `submit`. A dot in a member's path descends. Rows without a path are made by hand in request_build.c. */
#define KIND_BIT(kind) (1u << (kind))
#define REQUEST_ALL ((1u << KIND_COUNT) - 1)
#define REQUEST_FIELDS(X)                                                                                                          \
        X("collection", STRING, "NAME", false, KIND_BIT(KIND_INGEST) | KIND_BIT(KIND_RETRIEVE), "collection", NULL,                \
          "ingest, retrieve: the collection")                                                                                      \
        X("query", STRING, "TEXT", false, KIND_BIT(KIND_RETRIEVE) | KIND_BIT(KIND_RERANK), "query", NULL,                          \
          "retrieve, rerank: what is looked for")                                                                                  \
        X("mode", CHOICE, "NAME", false, KIND_BIT(KIND_RETRIEVE), "mode", "hybrid dense sparse", "retrieve: which sides search")   \
        X("top-k", INTEGER, "N", false, KIND_BIT(KIND_RETRIEVE), "top_k", NULL, "retrieve: how many hits (10)")                    \
        X("filter", JSON, "JSON", false, KIND_BIT(KIND_RETRIEVE), "filter", NULL, "retrieve: a condition on metadata")             \
        X("fusion", CHOICE, "NAME", false, KIND_BIT(KIND_RETRIEVE), "fusion.method", "cross rrf zscore",                           \
          "retrieve: how both sides are joined")                                                                                   \
        X("alpha", NUMBER, "X", false, KIND_BIT(KIND_RETRIEVE), "fusion.alpha", NULL,                                              \
          "retrieve: weight of the dense side, 0 to 1")                                                                            \
        X("collapse", FLAG, NULL, false, KIND_BIT(KIND_RETRIEVE), "collapse", NULL, "retrieve: one hit a document")                \
        X("explain", FLAG, NULL, false, KIND_BIT(KIND_RETRIEVE), "explain", NULL, "retrieve: show each part of the scores")        \
        X("at-least", JSON, "JSON", false, KIND_BIT(KIND_RETRIEVE), "at_least", NULL, "retrieve: wait for an ingest's positions")  \
        X("input", STRING, "TEXT", true, KIND_BIT(KIND_EMBED), NULL, NULL, "embed: a text; several times for several")             \
        X("input-type", CHOICE, "NAME", false, KIND_BIT(KIND_EMBED), "input_type", "document query", "embed: what the texts are")  \
        X("dimensions", INTEGER, "N", false, KIND_BIT(KIND_EMBED), "dimensions", NULL, "embed: length of the vectors")             \
        X("encoding", CHOICE, "NAME", false, KIND_BIT(KIND_EMBED), "encoding", "float base64", "embed: form of the vectors")       \
        X("document", STRING, "ID", false, KIND_BIT(KIND_INGEST), "document.id", NULL, "ingest: the document's id")                \
        X("text", STRING, "TEXT", false, KIND_BIT(KIND_INGEST), "document.text", NULL, "ingest: its text")                         \
        X("title", STRING, "TEXT", false, KIND_BIT(KIND_INGEST), "document.title", NULL, "ingest: its title")                      \
        X("format", CHOICE, "NAME", false, KIND_BIT(KIND_INGEST), "document.format", "text markdown html", "ingest: its form")     \
        X("document-version", INTEGER, "N", false, KIND_BIT(KIND_INGEST), "document.version", NULL, "ingest: its version")         \
        X("document-metadata", JSON, "JSON", false, KIND_BIT(KIND_INGEST), "document.metadata", NULL, "ingest: its metadata")      \
        X("chunking", JSON, "JSON", false, KIND_BIT(KIND_INGEST), "chunking", NULL, "ingest: how it is cut")                       \
        X("delete", FLAG, NULL, false, KIND_BIT(KIND_INGEST), "delete", NULL, "ingest: delete the document")                       \
        X("passage", STRING, "TEXT", true, KIND_BIT(KIND_RERANK), NULL, NULL, "rerank: a text to rank; several times")             \
        X("top-n", INTEGER, "N", false, KIND_BIT(KIND_RERANK), "top_n", NULL, "rerank: how many to keep (3)")                      \
        X("system", STRING, "TEXT", false, KIND_BIT(KIND_LLM), NULL, NULL, "llm: the system message")                              \
        X("message", STRING, "TEXT", true, KIND_BIT(KIND_LLM), NULL, NULL, "llm: a user's message; several times for several")     \
        X("prompt", STRING, "NAME@V", false, KIND_BIT(KIND_LLM), "prompt", NULL, "llm: a prompt instead of messages")              \
        X("variable", STRING, "NAME=TEXT", true, KIND_BIT(KIND_LLM), NULL, NULL, "llm: a variable of the prompt; several times")   \
        X("max-tokens", INTEGER, "N", false, KIND_BIT(KIND_LLM), "max_tokens", NULL, "llm: length of the answer")                  \
        X("temperature", NUMBER, "X", false, KIND_BIT(KIND_LLM), "temperature", NULL, "llm: temperature")                          \
        X("response-schema", JSON, "JSON", false, KIND_BIT(KIND_LLM), "response_schema", NULL, "llm: JSON Schema of the answer")   \
        X("model", STRING, "ALIAS", false, KIND_BIT(KIND_EMBED) | KIND_BIT(KIND_RERANK) | KIND_BIT(KIND_LLM), "model", NULL,       \
          "embed, rerank, llm: a model of the configuration")                                                                      \
        X("then", STRING, "KINDS|JSON", false, KIND_BIT(KIND_RETRIEVE) | KIND_BIT(KIND_RERANK), NULL, NULL,                        \
          "retrieve, rerank: what follows, as rerank,llm or as a JSON array of steps")                                             \
        X("field", STRING, "NAME=VALUE", true, REQUEST_ALL, NULL, NULL,                                                            \
          "any other member; VALUE is JSON, or else text; a dot in NAME descends")

/* Members that go with JSON text and with files, too. Durations become milliseconds or seconds. */
#define REQUEST_COMMON_ROWS                                                                                                        \
        {.name = "id",                                                                                                             \
         .type = ARGUMENT_STRING,                                                                                                  \
         .value = "ID",                                                                                                            \
         .min = 1,                                                                                                                 \
         .max = 128,                                                                                                               \
         .help = "the request's id (made where none is given)"},                                                                   \
                {.name = "timeout", .type = ARGUMENT_DURATION, .min = 1, .max = 1e12, .help = "give up after this time"},          \
                {.name = "deadline", .type = ARGUMENT_STRING, .value = "RFC3339", .help = "give up at this time"},                 \
                {.name = "result-ttl", .type = ARGUMENT_DURATION, .min = 1000, .max = 1e12, .help = "keep the result this long"},  \
                {.name = "metadata", .type = ARGUMENT_JSON, .help = "an object of your own, returned with the result"},            \
        {                                                                                                                          \
                .name = "reply", .type = ARGUMENT_CHOICE, .choices = "list", .help = "push the id to the request's wait list"      \
        }

struct request_text {
        struct buffer value; /* what is published */
        char id[REQUEST_ID_BYTES], tenant[REQUEST_TENANT_BYTES];
        char key[REQUEST_KEY_BYTES]; /* the record's: tenant/document for ingest, else the id */
        /* For lines of a job, set by the caller and borrowed; NULL, 0: nothing of the kind. */
        const char *job;            /* every line belongs to it */
        const char *otherwise_id;   /* of a line that has none */
        int64_t otherwise_timeout_ms; /* of one with neither timeout nor deadline */
};
void request_text_init(struct request_text *request, size_t bytes_max);
void request_text_fini(struct request_text *request);

/* Was a member given as an option (so that standard input is left alone)? */
bool request_has_fields(const struct arguments *arguments);

/* All three fill *request anew (its memory is kept) and check it with the worker's own decoder. Faults: data.*, told as to the
 * person who typed it. */
int request_from_options(const struct arguments *arguments, enum kind kind, enum lane lane, const struct settings *settings,
                         struct request_text *request, struct error *err);
/* text: one JSON object. */
int request_from_text(const struct arguments *arguments, enum kind kind, enum lane lane, const struct settings *settings,
                      struct span text, struct request_text *request, struct error *err);
/* A line of a file: a request; for ingest with --collection also a bare document ({"id" or "_id", "title", "text", "format",
 * "metadata", "version"}). An id that is missing is made of the content, so that a file that is submitted again is not done again:
 * "ingest-<document>-<hash>", else "<kind>-<hash>". */
int request_from_line(const struct arguments *arguments, enum kind kind, enum lane lane, const struct settings *settings,
                      struct span line, struct request_text *request, struct error *err);

#endif
