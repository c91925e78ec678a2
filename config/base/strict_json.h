/* A strict JSON parser for requests: text to jansson's values. jansson's own takes three times as long as all else that is done with a small
 * request (deploy/decisions/0011); what this one takes and refuses is compared with it by test and by fuzzing. Pure. */
#ifndef CONFIG_BASE_STRICT_JSON_H
#define CONFIG_BASE_STRICT_JSON_H

#include <jansson.h>

#include "config/base/error.h"
#include "config/base/span.h"

/* text must be well-formed UTF-8 (utf8_valid). Refused: anything but one value with white space around it, duplicate keys, NUL (raw or
 * escaped), lone surrogates, NaN and infinity, integers past int64_t, numbers past double (data.invalid_json, the message names the
 * byte, never the text), and arrays and objects more than depth_max deep (data.too_deep). serving.internal: memory is out. NULL on error; else a new
 * reference. */
json_t *strict_parse(struct span text, int depth_max, struct error *err);

#endif
