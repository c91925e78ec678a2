/* The error table of the contract (§5): every failure has a class and a code, and the code alone decides whether another try
 * could help. A struct error is filled by the one who notices, read by the one who decides; it owns nothing. */
#ifndef CONFIG_BASE_ERROR_H
#define CONFIG_BASE_ERROR_H

#include <stdbool.h>
#include <stdint.h>

enum error_class { ERR_NONE, ERR_DATA, ERR_MODEL, ERR_DEPENDENCY, ERR_SERVING };

/* One row a code: X(enum suffix, class, name on the wire, retriable). */
#define ERROR_CODES(X)                                                                                                           \
        X(INVALID_JSON, DATA, "invalid_json", false)                                                                            \
        X(SCHEMA, DATA, "schema", false)                                                                                        \
        X(TOO_LARGE, DATA, "too_large", false)                                                                                  \
        X(TOO_DEEP, DATA, "too_deep", false)                                                                                    \
        X(INVALID_UTF8, DATA, "invalid_utf8", false)                                                                            \
        X(CONTEXT_LENGTH, DATA, "context_length", false)                                                                        \
        X(UNKNOWN_COLLECTION, DATA, "unknown_collection", false)                                                                \
        X(ID_CONFLICT, DATA, "id_conflict", false)                                                                              \
        X(NOT_FOUND, MODEL, "not_found", false)                                                                                 \
        X(CONTENT_FILTER, MODEL, "content_filter", false)                                                                       \
        X(REFUSAL, MODEL, "refusal", false)                                                                                     \
        X(BAD_OUTPUT, MODEL, "bad_output", true)                                                                                \
        X(DIMENSION_MISMATCH, MODEL, "dimension_mismatch", false)                                                               \
        X(NOT_FINITE, MODEL, "not_finite", false)                                                                               \
        X(CONNECT, DEPENDENCY, "connect", true)                                                                                 \
        X(TIMEOUT, DEPENDENCY, "timeout", true)                                                                                 \
        X(RATE_LIMITED, DEPENDENCY, "rate_limited", true)                                                                       \
        X(UNAVAILABLE, DEPENDENCY, "unavailable", true)                                                                         \
        X(BAD_RESPONSE, DEPENDENCY, "bad_response", true)                                                                       \
        X(CIRCUIT_OPEN, DEPENDENCY, "circuit_open", true)                                                                       \
        X(AUTH, DEPENDENCY, "auth", false)                                                                                      \
        X(QUOTA, DEPENDENCY, "quota", false)                                                                                    \
        X(DEADLINE, SERVING, "deadline", false)                                                                                 \
        X(BUDGET, SERVING, "budget", false)                                                                                     \
        X(CANCELLED, SERVING, "cancelled", false)                                                                               \
        X(INDEX_NOT_READY, SERVING, "index_not_ready", true)                                                                    \
        X(INTERNAL, SERVING, "internal", true)

#define ERROR_CODE_ENUM(suffix, class_, name, retriable) CODE_##suffix,
enum error_code { CODE_NONE, ERROR_CODES(ERROR_CODE_ENUM) CODE_COUNT };
#undef ERROR_CODE_ENUM

enum { ERROR_MESSAGE_MAX = 240 };

struct error {
        enum error_class class;
        enum error_code code;
        bool retriable;
        int64_t retry_after_ms; /* the other side's minimum wait, 0 = none said */
        int input;              /* the guilty one of several inputs, -1 = none */
        char message[ERROR_MESSAGE_MAX];
};

/* Fills *err (which may be NULL) from the table and the message; always returns -1, so that `return error_set(…)` reads well.
 * The message is for people and logs: never put payload or secrets into it. */
int error_set(struct error *err, enum error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* No error: code CODE_NONE, input -1. */
void error_clear(struct error *err);

const char *error_class_name(enum error_class class); /* "data" …; "none" */
const char *error_code_name(enum error_code code);    /* "invalid_json" …; "none" */
enum error_class error_code_class(enum error_code code);
bool error_code_retriable(enum error_code code);

/* The code of that class and name, CODE_NONE where there is none. */
enum error_code error_code_of(const char *class_name, const char *code_name);

#endif
