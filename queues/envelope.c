/* Decoding in the order of the contract: size, UTF-8, depth, JSON, fields. Whatever fails, the id is looked for. */
#include "queues/envelope.h"


#include "config/base/clock.h"
#include "config/base/json_fields.h"
#include "config/base/strict_json.h"
#include "config/base/utf8.h"
#include "queues/envelope_steps.h"

static bool in_alphabet(struct span s, bool upper, const char *others)
{
        for (size_t i = 0; i < s.len; i++) {
                char c = s.data[i];

                if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (upper && c >= 'A' && c <= 'Z') || (c && strchr(others, c)))
                        continue;
                return false;
        }
        return true;
}

bool envelope_valid_id(struct span id)
{
        return id.len >= 1 && id.len <= ID_BYTES_MAX && in_alphabet(id, true, "._:-");
}

bool envelope_valid_document_id(struct span id)
{
        return id.len >= 1 && id.len <= DOCUMENT_ID_BYTES_MAX && in_alphabet(id, true, "._:-");
}

bool envelope_valid_tenant(struct span tenant)
{
        return tenant.len >= 1 && tenant.len <= TENANT_BYTES_MAX && in_alphabet(tenant, false, "_-");
}

int64_t envelope_header_int(struct span s, int64_t fallback)
{
        int64_t value = 0;

        if (!s.len || s.len > 18)
                return fallback;
        for (size_t i = 0; i < s.len; i++) {
                if (s.data[i] < '0' || s.data[i] > '9')
                        return fallback;
                value = value * 10 + (s.data[i] - '0');
        }
        return value;
}

static int64_t header_int(const struct delivery *delivery, const char *name, int64_t fallback)
{
        return envelope_header_int(delivery_header(delivery, name), fallback);
}

static int bounded_int(int64_t value)
{
        return value > 1000000 ? 1000000 : (int)value;
}

/* Where it first came from, how often it was tried: from millrace's headers, or this delivery itself. */
static void read_own_headers(const struct delivery *delivery, bool ignore_origin, struct arena *arena, struct request *request)
{
        struct span topic = delivery_header(delivery, "mr-origin-topic");

        request->attempts = bounded_int(header_int(delivery, "mr-attempts", 0));
        request->replays = bounded_int(header_int(delivery, "mr-replays", 0));
        request->not_before_wall_ms = header_int(delivery, "mr-not-before", 0);
        request->job_seq = header_int(delivery, "mr-job-seq", -1);
        request->deadline_wall_ms = header_int(delivery, "mr-deadline", 0);
        clock_parse_rfc3339(delivery_header(delivery, "mr-first-failed-at"), false, &request->first_failed_wall_ms);
        request->origin_topic = delivery->topic;
        request->origin_partition = delivery->partition;
        request->origin_offset = delivery->offset;
        request->origin_timestamp_ms = delivery->timestamp_ms;
        if (!ignore_origin && topic.len && topic.len <= 249) {
                request->origin_topic = arena_copy(arena, topic);
                request->origin_partition = (int32_t)bounded_int(header_int(delivery, "mr-origin-partition", 0));
                request->origin_offset = header_int(delivery, "mr-origin-offset", 0);
                request->origin_timestamp_ms = header_int(delivery, "mr-origin-timestamp", delivery->timestamp_ms);
        }
}

static void read_identity(const json_t *tree, const struct delivery *delivery, struct request *request)
{
        const json_t *id = json_object_get(tree, "id"), *given = json_object_get(tree, "tenant"), *tenant = json_is_null(given) ? NULL : given;
        struct span found = json_is_string(id) ? (struct span){json_string_value(id), json_string_length(id)} : (struct span){NULL, 0};
        struct span of = tenant ? (struct span){json_string_value(tenant), json_string_length(tenant)} : SPAN("default");

        if (!id || json_is_null(id))
                found = delivery_header(delivery, "ce_id");
        if (envelope_valid_id(found) && of.data && envelope_valid_tenant(of)) {
                request->id = found;
                request->tenant = of;
        }
}

static int check_identity(const json_t *tree, const struct request *request, struct error *err)
{
        if (request->id.len)
                return 0;
        if (!json_object_get(tree, "tenant") || json_object_get(tree, "id"))
                return error_set(err, CODE_SCHEMA, "id: must be 1 to %d of A-Z a-z 0-9 . _ : -, tenant 1 to %d of a-z 0-9 _ -", ID_BYTES_MAX,
                                 TENANT_BYTES_MAX);
        return error_set(err, CODE_SCHEMA, "id: missing");
}

static json_t *parse(struct span value, struct error *err)
{
        json_t *tree = strict_parse(value, DEPTH_MAX, err);

        if (!tree || json_is_object(tree))
                return tree;
        if (json_is_null(tree))
                error_set(err, CODE_INVALID_JSON, "the value is null");
        else
                error_set(err, CODE_SCHEMA, "the value must be one JSON object");
        json_decref(tree);
        return NULL;
}

static int check_bytes(struct span value, const struct envelope_limits *limits, struct error *err)
{
        if (value.len > limits->payload_bytes_max)
                return error_set(err, CODE_TOO_LARGE, "%zu bytes; at most %zu are taken", value.len, limits->payload_bytes_max);
        if (value.len == 0)
                return error_set(err, CODE_INVALID_JSON, "%s value", value.data ? "empty" : "null");
        if (!utf8_valid(value))
                return error_set(err, CODE_INVALID_UTF8, "not well-formed UTF-8");
        return 0;
}

/* ce_type, where present, must name the topic's kind. */
static int check_event_type(const struct delivery *delivery, enum kind kind, struct error *err)
{
        struct span type = delivery_header(delivery, "ce_type");
        char wanted[32] = "millrace.";

        if (!type.data)
                return 0;
        strncat(wanted, kind_names[kind], 12);
        strncat(wanted, ".v1", 4);
        return span_is(type, wanted) ? 0 : error_set(err, CODE_SCHEMA, "ce_type: must be %s", wanted);
}

/* The earlier of deadline and timeout_ms, else the lane's default; only where no earlier hop has set it. */
static int set_deadline(const struct delivery *delivery, const struct common_fields *common, const struct envelope_limits *limits,
                        struct request *request, struct error *err)
{
        struct span text = common->deadline.len ? common->deadline : delivery_header(delivery, "ce_expirytime");
        int64_t from = request->origin_timestamp_ms > 0 ? request->origin_timestamp_ms : clock_wall_ms(), at = 0;

        if (text.len && !clock_parse_rfc3339(text, false, &at))
                return error_set(err, CODE_SCHEMA, "deadline: must be an RFC 3339 date-time");
        if (common->timeout_ms && (!text.len || from + common->timeout_ms < at))
                at = from + common->timeout_ms;
        if (!text.len && !common->timeout_ms)
                at = from + limits->lane_timeout_ms[request->lane];
        if (!request->deadline_wall_ms)
                request->deadline_wall_ms = at;
        return 0;
}

/* SHA-256 of kind + compact sorted JSON without what does not change the work. */
static int take_fingerprint(struct request *request, struct buffer *scratch, struct error *err)
{
        static const char *const apart[] = {"deadline", "timeout_ms", "result_ttl_s", "reply", "metadata", "job", "traceparent"};

        buffer_reset(scratch);
        buffer_string(scratch, kind_names[request->kind]);
        if (!fields_write_sorted(scratch, request->tree, apart, COUNT_OF(apart)))
                return error_set(err, buffer_fault(scratch), "the request needs more memory than one may take");
        digest_sha256_hex(buffer_view(scratch), request->fingerprint);
        return 0;
}

static int decode_fields(const struct delivery *delivery, const struct envelope_limits *limits, struct arena *arena, struct request *request,
                         struct error *err)
{
        struct common_fields common = {.reply = -1};

        if (check_identity(request->tree, request, err) < 0 || check_event_type(delivery, request->kind, err) < 0 ||
            envelope_read_steps(request->tree, arena, request, &common, err) < 0)
                return -1;
        request->reply_list = common.reply == 0;
        request->result_ttl_s = common.result_ttl_s;
        request->metadata = common.metadata;
        request->job = common.job;
        request->traceparent = common.traceparent.len ? common.traceparent : delivery_header(delivery, "traceparent");
        if (request->traceparent.len > 128 || !utf8_valid(request->traceparent))
                request->traceparent = (struct span){NULL, 0};
        request->first_step = (size_t)header_int(delivery, "mr-step", 0);
        if (request->first_step >= request->step_count)
                return error_set(err, CODE_SCHEMA, "mr-step: there is no such step");
        return set_deadline(delivery, &common, limits, request, err);
}

int envelope_decode(const struct delivery *delivery, enum kind kind, enum lane lane, const struct envelope_limits *limits,
                    struct arena *arena, struct buffer *scratch, struct request *request, struct error *err)
{
        *request = (struct request){.kind = kind, .lane = lane};
        read_own_headers(delivery, limits->ignore_origin, arena, request);
        if (check_bytes(delivery->value, limits, err) < 0 || !(request->tree = parse(delivery->value, err))) {
                struct span raw = delivery->value;

                if (raw.len && !envelope_peek(raw, &request->id, &request->tenant))
                        request->id.len = 0;
                digest_sha256_hex(raw.data ? raw : SPAN(""), request->fingerprint);
                if (!request->deadline_wall_ms)
                        request->deadline_wall_ms = delivery->timestamp_ms + limits->lane_timeout_ms[lane];
                return -1;
        }
        read_identity(request->tree, delivery, request);
        if (take_fingerprint(request, scratch, err) < 0 || decode_fields(delivery, limits, arena, request, err) < 0) {
                const json_t *reply = json_object_get(request->tree, "reply"), *job = json_object_get(request->tree, "job");

                request->reply_list = json_is_string(reply) && strcmp(json_string_value(reply), "list") == 0;
                if (json_is_string(job)) /* its failure counts, too */
                        request->job = (struct span){json_string_value(job), json_string_length(job)};
                if (!request->deadline_wall_ms)
                        request->deadline_wall_ms = delivery->timestamp_ms + limits->lane_timeout_ms[lane];
                return -1;
        }
        if (!arena_ok(arena))
                return error_set(err, arena_fault(arena), "the request needs more memory than one may take");
        return 0;
}

void envelope_release(struct request *request)
{
        json_decref(request->tree);
        request->tree = NULL;
}
