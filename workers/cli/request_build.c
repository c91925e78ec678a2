/* The happy path: parse or build the tree; gather what the options add (`extra`); choose the id; write the value, the given text
 * itself where there is one; let the worker's decoder judge it. Failure modes: a member given twice (JSON and option), an option of
 * another kind, JSON that does not parse, and whatever the decoder refuses. */
#include "workers/cli/request_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "config/base/arena.h"
#include "config/base/clock.h"
#include "config/base/digest.h"
#include "config/base/json_fields.h"
#include "config/base/own.h"
#include "queues/envelope.h"
#include "queues/kafka/topics.h"
#include "workers/cli/client_settings.h"

enum { PATH_DEPTH_MAX = 8, HASH_CHARACTERS = 12, LONG_HASH_CHARACTERS = 24, INSERTED_BYTES_MAX = 65536 };

static inline void json_release(json_t **value)
{
        json_decref(*value);
}
#define AUTO_JSON AUTO(json_release) json_t

static const struct {
        const char *option;
        unsigned kinds;
        const char *path;
} fields[] = {
#define ROW(option_, type, value, repeat, kinds_, path_, choices, help) {.option = option_, .kinds = kinds_, .path = path_},
        REQUEST_FIELDS(ROW)
#undef ROW
};

void request_text_init(struct request_text *request, size_t bytes_max)
{
        *request = (struct request_text){0};
        buffer_init(&request->value, bytes_max);
}

void request_text_fini(struct request_text *request)
{
        buffer_fini(&request->value);
}

bool request_has_fields(const struct arguments *arguments)
{
        for (size_t i = 0; i < COUNT_OF(fields); i++)
                if (argument_given(arguments, fields[i].option))
                        return true;
        return false;
}

static int no_memory(struct error *err)
{
        return error_set(err, CODE_INTERNAL, "out of memory");
}

/* Sets the member at a dotted path, making the objects on the way; takes value. */
static int set_path(json_t *object, const char *path, json_t *value, struct error *err)
{
        AUTO_JSON *owned = value;
        char name[64];
        size_t len;
        json_t *below;

        if (!value)
                return no_memory(err);
        for (int depth = 0; depth < PATH_DEPTH_MAX; depth++) {
                len = strcspn(path, ".");
                if (len == 0 || len >= sizeof name)
                        return error_set(err, CODE_SCHEMA, "a member's name must have 1 to %zu bytes", sizeof name - 1);
                memcpy(name, path, len);
                name[len] = '\0';
                if (!path[len])
                        return json_object_set(object, name, owned) == 0 ? 0 : no_memory(err);
                below = json_object_get(object, name);
                if (!below) {
                        below = json_object();
                        if (json_object_set_new(object, name, below) < 0)
                                return no_memory(err);
                }
                if (!json_is_object(below))
                        return error_set(err, CODE_SCHEMA, "%s is given both as a value and as an object", name);
                object = below;
                path += len + 1;
        }
        return error_set(err, CODE_SCHEMA, "a member lies more than %d deep", PATH_DEPTH_MAX);
}

static json_t *parse_any(const char *text, const char *option, struct error *err)
{
        json_error_t fault;
        json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &fault);

        if (!value)
                error_set(err, CODE_INVALID_JSON, "--%s is not JSON: column %d: %s", option, fault.column, fault.text);
        return value;
}

static json_t *value_of(const struct argument_value *value, struct error *err)
{
        switch (value->row->type) {
        case ARGUMENT_FLAG:
                return json_true();
        case ARGUMENT_INTEGER:
                return json_integer(value->integer);
        case ARGUMENT_NUMBER:
                return json_real(value->number);
        case ARGUMENT_JSON:
                return parse_any(value->text, value->row->name, err);
        case ARGUMENT_STRING:
        case ARGUMENT_CHOICE:
        case ARGUMENT_LIST:
        case ARGUMENT_TIME:
        case ARGUMENT_DURATION:
        case ARGUMENT_WAIT:
                break;
        }
        return json_string(value->text);
}

/* Every value of a repeatable option as strings of an array; NULL: none given. */
static json_t *strings_of(const struct arguments *arguments, const char *option)
{
        const struct argument_value *value;
        json_t *array = NULL;

        for (size_t i = 0; (value = argument_value_at(arguments, option, i)); i++) {
                if (!array)
                        array = json_array();
                json_array_append_new(array, json_string(value->text));
        }
        return array;
}

static int add_inputs(const struct arguments *arguments, json_t *tree, struct error *err)
{
        AUTO_JSON *inputs = strings_of(arguments, "input");

        if (!inputs)
                return 0;
        return set_path(tree, "input", json_incref(json_array_size(inputs) == 1 ? json_array_get(inputs, 0) : inputs), err);
}

static int add_passages(const struct arguments *arguments, json_t *tree, struct error *err)
{
        AUTO_JSON *texts = strings_of(arguments, "passage");
        AUTO_JSON *documents = json_array();
        json_t *text;
        size_t i;
        char id[24];

        if (!texts)
                return 0;
        json_array_foreach (texts, i, text) {
                snprintf(id, sizeof id, "%zu", i + 1);
                json_array_append_new(documents, json_pack("{s:s, s:O}", "id", id, "text", text));
        }
        return set_path(tree, "documents", json_incref(documents), err);
}

static int add_messages(const struct arguments *arguments, json_t *tree, struct error *err)
{
        AUTO_JSON *texts = strings_of(arguments, "message");
        AUTO_JSON *messages = json_array();
        json_t *text;
        size_t i;

        if (argument_given(arguments, "system"))
                json_array_append_new(messages,
                                      json_pack("{s:s, s:s}", "role", "system", "content", argument_string(arguments, "system")));
        json_array_foreach (texts, i, text)
                json_array_append_new(messages, json_pack("{s:s, s:O}", "role", "user", "content", text));
        if (json_array_size(messages) == 0)
                return 0;
        return set_path(tree, "messages", json_incref(messages), err);
}

/* Splits "name=value"; the name goes into path, behind `prefix`. */
static int split_pair(const char *option, const char *pair, const char *prefix, char path[256], const char **ret_value,
                      struct error *err)
{
        const char *equals = strchr(pair, '=');

        if (!equals || equals == pair || (size_t)snprintf(path, 256, "%s%.*s", prefix, (int)(equals - pair), pair) >= 256)
                return error_set(err, CODE_SCHEMA, "--%s wants NAME=VALUE", option);
        *ret_value = equals + 1;
        return 0;
}

static int add_pairs(const struct arguments *arguments, json_t *tree, struct error *err)
{
        const struct argument_value *value;
        const char *text;
        char path[256];
        json_t *parsed;

        for (size_t i = 0; (value = argument_value_at(arguments, "variable", i)); i++)
                if (split_pair("variable", value->text, "variables.", path, &text, err) < 0 ||
                    set_path(tree, path, json_string(text), err) < 0)
                        return -1;
        for (size_t i = 0; (value = argument_value_at(arguments, "field", i)); i++) {
                if (split_pair("field", value->text, "", path, &text, err) < 0)
                        return -1;
                parsed = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
                if (set_path(tree, path, parsed ? parsed : json_string(text), err) < 0)
                        return -1;
        }
        return 0;
}

/* "rerank,llm" or a JSON array. */
static int add_then(const struct arguments *arguments, json_t *tree, struct error *err)
{
        const char *then = argument_string(arguments, "then");
        AUTO_JSON *steps = NULL;
        size_t len;

        if (!then)
                return 0;
        if (*then == '[') {
                steps = parse_any(then, "then", err);
                return steps ? set_path(tree, "then", json_incref(steps), err) : -1;
        }
        steps = json_array();
        for (;; then += len + 1) {
                len = strcspn(then, ",");
                if (kind_of(then, len) < 0)
                        return error_set(err, CODE_SCHEMA, "--then wants kinds such as rerank,llm, or a JSON array");
                json_array_append_new(steps, json_pack("{s:s%}", "kind", then, len));
                if (!then[len])
                        break;
        }
        return set_path(tree, "then", json_incref(steps), err);
}

/* The members that field options give. */
static json_t *tree_of_options(const struct arguments *arguments, enum kind kind, struct error *err)
{
        AUTO_JSON *tree = json_object();
        const struct argument_value *value;
        json_t *member;

        for (size_t i = 0; i < COUNT_OF(fields); i++) {
                if (!argument_given(arguments, fields[i].option))
                        continue;
                if (!(fields[i].kinds & KIND_BIT(kind))) {
                        error_set(err, CODE_SCHEMA, "a request of kind %s does not take --%s", kind_names[kind], fields[i].option);
                        return NULL;
                }
                if (!fields[i].path)
                        continue;
                value = argument_value_at(arguments, fields[i].option, 0);
                member = value_of(value, err);
                if (!member || set_path(tree, fields[i].path, member, err) < 0)
                        return NULL;
        }
        if (add_inputs(arguments, tree, err) < 0 || add_passages(arguments, tree, err) < 0 ||
            add_messages(arguments, tree, err) < 0 || add_then(arguments, tree, err) < 0 || add_pairs(arguments, tree, err) < 0)
                return NULL;
        return TAKE(tree);
}

/* The members that the common options give, the id left out. */
static json_t *tree_of_common(const struct arguments *arguments, struct error *err)
{
        AUTO_JSON *tree = json_object();
        AUTO_JSON *metadata = NULL;

        if (argument_given(arguments, "tenant"))
                json_object_set_new(tree, "tenant", json_string(argument_string(arguments, "tenant")));
        if (argument_given(arguments, "timeout"))
                json_object_set_new(tree, "timeout_ms", json_integer(argument_integer(arguments, "timeout", 0)));
        if (argument_given(arguments, "deadline"))
                json_object_set_new(tree, "deadline", json_string(argument_string(arguments, "deadline")));
        if (argument_given(arguments, "result-ttl"))
                json_object_set_new(tree, "result_ttl_s", json_integer(argument_integer(arguments, "result-ttl", 0) / 1000));
        if (argument_given(arguments, "reply"))
                json_object_set_new(tree, "reply", json_string(argument_string(arguments, "reply")));
        if (argument_given(arguments, "metadata")) {
                metadata = parse_any(argument_string(arguments, "metadata"), "metadata", err);
                if (!metadata)
                        return NULL;
                json_object_set(tree, "metadata", metadata);
        }
        return TAKE(tree);
}

/* Moves the members of `from` that `given` has not into `into`. strict: one that it has is a fault. */
static int merge_missing(json_t *into, json_t *from, const json_t *given, bool strict, struct error *err)
{
        const char *name;
        json_t *member;

        json_object_foreach (from, name, member) {
                if (!given || !json_object_get(given, name)) {
                        if (json_object_set(into, name, member) < 0)
                                return no_memory(err);
                } else if (strict) {
                        return error_set(err, CODE_SCHEMA,
                                         "\"%s\" stands in the JSON and is given as an option, too; leave out one", name);
                }
        }
        return 0;
}

static int make_uuid(char id[REQUEST_ID_BYTES], struct error *err)
{
        uint8_t r[16];

        if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r)
                return error_set(err, CODE_INTERNAL, "no random numbers for an id; give one with --id");
        r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
        r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
        snprintf(id, REQUEST_ID_BYTES, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1], r[2],
                 r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
        return 0;
}

/* "ingest-<document>-<hash>" or "<kind>-<hash>", of the body's canonical form. */
static int make_content_id(enum kind kind, const json_t *body, char id[REQUEST_ID_BYTES], struct error *err)
{
        const char *document = json_string_value(json_object_get(json_object_get(body, "document"), "id"));
        char hex[SHA256_HEX_BYTES];
        AUTO_BUFFER canonical = {0};

        buffer_init(&canonical, 1u << 30);
        if (!fields_write_sorted(&canonical, body, NULL, 0))
                return no_memory(err);
        digest_sha256_hex(buffer_view(&canonical), hex);
        if (kind == KIND_INGEST && document)
                snprintf(id, REQUEST_ID_BYTES, "%s-%.100s-%.*s", kind_names[kind], document, HASH_CHARACTERS, hex);
        else
                snprintf(id, REQUEST_ID_BYTES, "%s-%.*s", kind_names[kind], LONG_HASH_CHARACTERS, hex);
        return 0;
}

/* raw with the members of extra before its first one; without raw the members of extra and then those of tree. */
static int write_value(struct buffer *value, struct span raw, json_t *tree, json_t *extra, struct error *err)
{
        AUTO_FREE char *text = NULL;
        const size_t extra_count = json_object_size(extra);

        buffer_reset(value);
        if (!raw.data && json_object_update(extra, tree) < 0)
                return no_memory(err);
        if (!raw.data || extra_count > 0) {
                text = json_dumps(extra, JSON_COMPACT);
                if (!text)
                        return no_memory(err);
        }
        if (!raw.data) {
                buffer_string(value, text);
        } else if (extra_count == 0) {
                buffer_span(value, raw);
        } else {
                const size_t open = (size_t)((const char *)memchr(raw.data, '{', raw.len) - raw.data);

                buffer_add(value, text, strlen(text) - 1);
                if (json_object_size(tree) > 0)
                        buffer_char(value, ',');
                buffer_span(value, (struct span){raw.data + open + 1, raw.len - open - 1});
        }
        return buffer_ok(value) ? 0 : error_set(err, CODE_TOO_LARGE, "the request has more than %zu bytes", value->bytes_max);
}

/* What the worker will say to it. */
static int check_value(enum kind kind, enum lane lane, const struct settings *settings, struct request_text *request,
                       struct error *err)
{
        const struct envelope_limits limits = {
                .payload_bytes_max = (size_t)settings->worker.payload_bytes_max,
                .lane_timeout_ms = {settings->lanes[LANE_INTERACTIVE].timeout_ms, settings->lanes[LANE_BULK].timeout_ms},
        };
        AUTO_ARENA *arena = arena_new(8 * request->value.len + (1u << 20));
        struct delivery delivery = {.timestamp_ms = clock_wall_ms(), .value = buffer_view(&request->value)};
        char topic[TOPIC_NAME_BYTES];
        struct request *decoded;
        AUTO_BUFFER scratch = {0};
        int rc;

        buffer_init(&scratch, 8 * request->value.len + (1u << 20));
        if (!arena || !(decoded = arena_alloc(arena, sizeof *decoded)))
                return no_memory(err);
        if (topic_request(topic, settings->kafka.prefix, kind, lane) < 0)
                return error_set(err, CODE_SCHEMA, "kafka.prefix is too long");
        delivery.topic = topic;
        rc = envelope_decode(&delivery, kind, lane, &limits, arena, &scratch, decoded, err);
        if (rc == 0) {
                snprintf(request->id, sizeof request->id, "%.*s", (int)decoded->id.len, decoded->id.data);
                snprintf(request->tenant, sizeof request->tenant, "%.*s", (int)decoded->tenant.len, decoded->tenant.data);
                if (kind == KIND_INGEST) /* one document's requests stay in order */
                        snprintf(request->key, sizeof request->key, "%s/%.*s", request->tenant,
                                 (int)decoded->steps[0].ingest.document.len, decoded->steps[0].ingest.document.data);
                else
                        snprintf(request->key, sizeof request->key, "%s", request->id);
        }
        envelope_release(decoded);
        return rc;
}

enum origin { FROM_OPTIONS, FROM_TEXT, FROM_FILE };

/* What a job adds to each of its lines. */
static int add_job(json_t *common, const json_t *tree, const struct request_text *request, struct error *err)
{
        const json_t *named = json_object_get(tree, "job");

        if (request->job && named && (!json_is_string(named) || strcmp(json_string_value(named), request->job) != 0))
                return error_set(err, CODE_SCHEMA, "job: the line names another job");
        if (request->job)
                json_object_set_new(common, "job", json_string(request->job));
        if (request->otherwise_timeout_ms > 0 && !json_object_get(tree, "timeout_ms") && !json_object_get(tree, "deadline") &&
            !json_object_get(common, "timeout_ms") && !json_object_get(common, "deadline"))
                json_object_set_new(common, "timeout_ms", json_integer(request->otherwise_timeout_ms));
        return 0;
}

/* tree: the members given; raw: their text, data NULL where there is none; fields_tree: what field options add. */
static int finish(const struct arguments *arguments, enum kind kind, enum lane lane, const struct settings *settings, json_t *tree,
                  struct span raw, json_t *fields_tree, enum origin origin, struct request_text *request, struct error *err)
{
        AUTO_JSON *common = tree_of_common(arguments, err);
        AUTO_JSON *extra = json_object();
        AUTO_JSON *body = NULL;
        AUTO_JSON *with_id = json_object();
        char id[REQUEST_ID_BYTES];

        if (!common || add_job(common, tree, request, err) < 0 || merge_missing(extra, fields_tree, tree, false, err) < 0)
                return -1;
        if (!json_object_get(tree, "id")) {
                body = json_copy(tree);
                if (!body || json_object_update_missing(body, extra) < 0)
                        return no_memory(err);
                if (argument_given(arguments, "id"))
                        snprintf(id, sizeof id, "%s", argument_string(arguments, "id"));
                else if (request->otherwise_id)
                        snprintf(id, sizeof id, "%s", request->otherwise_id);
                else if ((origin == FROM_FILE ? make_content_id(kind, body, id, err) : make_uuid(id, err)) < 0)
                        return -1;
                json_object_set_new(with_id, "id", json_string(id));
        } else if (argument_given(arguments, "id")) {
                return error_set(err, CODE_SCHEMA, "the JSON has an \"id\" already; leave out --id");
        }
        if (merge_missing(extra, common, tree, origin != FROM_FILE, err) < 0)
                return -1;
        if (json_object_update(with_id, extra) < 0) /* the id comes first */
                return no_memory(err);
        if (write_value(&request->value, raw, tree, with_id, err) < 0)
                return -1;
        return check_value(kind, lane, settings, request, err);
}

int request_from_options(const struct arguments *arguments, enum kind kind, enum lane lane, const struct settings *settings,
                         struct request_text *request, struct error *err)
{
        AUTO_JSON *tree = tree_of_options(arguments, kind, err);

        if (!tree)
                return -1;
        return finish(arguments, kind, lane, settings, tree, (struct span){0}, NULL, FROM_OPTIONS, request, err);
}

static json_t *parse_object(struct span text, struct error *err)
{
        json_error_t fault;
        json_t *tree = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &fault);

        if (!tree) {
                error_set(err, CODE_INVALID_JSON, "not JSON: line %d, column %d: %s", fault.line, fault.column, fault.text);
        } else if (!json_is_object(tree)) {
                json_decref(tree);
                error_set(err, CODE_INVALID_JSON, "not a JSON object: a request is {\"id\": …}");
                return NULL;
        }
        return tree;
}

static struct span trimmed(struct span text)
{
        while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]))
                text.len--;
        while (text.len > 0 && strchr(" \t\r\n", text.data[0])) {
                text.data++;
                text.len--;
        }
        return text;
}

int request_from_text(const struct arguments *arguments, enum kind kind, enum lane lane, const struct settings *settings,
                      struct span text, struct request_text *request, struct error *err)
{
        const struct span raw = trimmed(text);
        AUTO_JSON *tree = parse_object(raw, err);

        if (!tree)
                return -1;
        return finish(arguments, kind, lane, settings, tree, raw, NULL, FROM_TEXT, request, err);
}

/* {collection, document, …} of a bare document's line and the options. */
static json_t *wrap_document(json_t *fields_tree, json_t *line, struct error *err)
{
        AUTO_JSON *tree = json_copy(fields_tree);
        AUTO_JSON *document = json_copy(line);
        json_t *id = json_object_get(document, "_id"), *defaults = json_object_get(fields_tree, "document");

        if (id && !json_object_get(document, "id")) {
                json_object_set(document, "id", id);
                json_object_del(document, "_id");
        }
        if (defaults)
                json_object_update_missing(document, defaults);
        if (json_object_set(tree, "document", document) < 0) {
                no_memory(err);
                return NULL;
        }
        return TAKE(tree);
}

int request_from_line(const struct arguments *arguments, enum kind kind, enum lane lane, const struct settings *settings,
                      struct span line, struct request_text *request, struct error *err)
{
        const struct span raw = trimmed(line);
        AUTO_JSON *fields_tree = tree_of_options(arguments, kind, err);
        AUTO_JSON *tree = fields_tree ? parse_object(raw, err) : NULL;
        AUTO_JSON *wrapped = NULL;

        if (!tree)
                return -1;
        if (kind == KIND_INGEST && argument_given(arguments, "collection") && !json_object_get(tree, "collection") &&
            !json_object_get(tree, "document")) {
                wrapped = wrap_document(fields_tree, tree, err);
                if (!wrapped)
                        return -1;
                return finish(arguments, kind, lane, settings, wrapped, (struct span){0}, NULL, FROM_FILE, request, err);
        }
        return finish(arguments, kind, lane, settings, tree, raw, fields_tree, FROM_FILE, request, err);
}
