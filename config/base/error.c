#include "config/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ROW(suffix, class_, name_, retriable_) [CODE_##suffix] = {ERR_##class_, name_, retriable_},
static const struct {
        enum error_class class;
        const char *name;
        bool retriable;
} codes[CODE_COUNT] = {[CODE_NONE] = {ERR_NONE, "none", false}, ERROR_CODES(ROW)};
#undef ROW

static const char *const class_names[] = {"none", "data", "model", "dependency", "serving"};

int error_set(struct error *err, enum error_code code, const char *format, ...)
{
        va_list args;

        if (!err)
                return -1;
        err->class = codes[code].class;
        err->code = code;
        err->retriable = codes[code].retriable;
        err->retry_after_ms = 0;
        err->input = -1;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        return -1;
}

void error_clear(struct error *err)
{
        err->class = ERR_NONE; /* field by field: each record clears a few, and the message is long */
        err->code = CODE_NONE;
        err->retriable = false;
        err->retry_after_ms = 0;
        err->input = -1;
        err->message[0] = '\0';
}

const char *error_class_name(enum error_class class)
{
        return class_names[class];
}

const char *error_code_name(enum error_code code)
{
        return codes[code].name;
}

enum error_class error_code_class(enum error_code code)
{
        return codes[code].class;
}

bool error_code_retriable(enum error_code code)
{
        return codes[code].retriable;
}

enum error_code error_code_of(const char *class_name, const char *code_name)
{
        for (int code = 1; code < CODE_COUNT; code++)
                if (strcmp(codes[code].name, code_name) == 0 && strcmp(class_names[codes[code].class], class_name) == 0)
                        return (enum error_code)code;
        return CODE_NONE;
}
