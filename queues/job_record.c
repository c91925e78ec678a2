#include "queues/job_record.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"

enum { VERSION = 1 };
static const char state_prefix[] = "job/", position_prefix[] = "job-position/";

const char *const job_state_names[JOB_STATES] = {"running", "paused", "cancelled"};

static inline void release(json_t **tree)
{
        json_decref(*tree);
}

bool job_valid_name(struct span name)
{
        return envelope_valid_id(name);
}

void job_key(char *ret_key, enum job_record_type type, struct span tenant, struct span name)
{
        snprintf(ret_key, JOB_KEY_BYTES, "%s%.*s/%.*s", type == JOB_RECORD_STATE ? state_prefix : position_prefix, (int)tenant.len,
                 tenant.data, (int)name.len, name.data);
}

static bool begins(struct span text, const char *with)
{
        return text.len >= strlen(with) && memcmp(text.data, with, strlen(with)) == 0;
}

enum job_record_type job_key_parse(struct span key, struct span *ret_tenant, struct span *ret_name)
{
        const enum job_record_type type = !key.data                    ? JOB_RECORD_NONE
                                        : begins(key, state_prefix)    ? JOB_RECORD_STATE
                                        : begins(key, position_prefix) ? JOB_RECORD_POSITION
                                                                       : JOB_RECORD_NONE;
        const size_t prefix = type == JOB_RECORD_STATE ? sizeof state_prefix - 1 : sizeof position_prefix - 1;
        struct span tenant, name;
        const char *slash;

        if (type == JOB_RECORD_NONE)
                return type;
        tenant = (struct span){key.data + prefix, key.len - prefix};
        slash = tenant.len ? memchr(tenant.data, '/', tenant.len) : NULL;
        if (!slash)
                return JOB_RECORD_NONE;
        name = (struct span){slash + 1, tenant.len - (size_t)(slash + 1 - tenant.data)};
        tenant.len = (size_t)(slash - tenant.data);
        if (!envelope_valid_tenant(tenant) || !job_valid_name(name))
                return JOB_RECORD_NONE;
        *ret_tenant = tenant;
        *ret_name = name;
        return type;
}

static void put_time(struct buffer *out, const char *name, int64_t wall_ms)
{
        char text[CLOCK_RFC3339_BYTES];

        clock_format_rfc3339(wall_ms, text);
        buffer_printf(out, ",\"%s\":\"%s\"", name, text);
}

void job_state_render(struct buffer *out, const struct job_state_record *record)
{
        buffer_printf(out, "{\"v\":%d,\"state\":\"%s\"", VERSION, job_state_names[record->state]);
        put_time(out, "at", record->at_wall_ms);
        buffer_string(out, ",\"by\":");
        buffer_json_string(out, span_of(record->by));
        buffer_char(out, '}');
}

void job_position_render(struct buffer *out, const struct job_position *position)
{
        buffer_printf(out, "{\"v\":%d,\"kind\":\"%s\",\"lane\":\"%s\",\"%s\":", VERSION, kind_names[position->kind],
                      lane_names[position->lane], position->folder ? "folder" : "file");
        buffer_json_string(out, span_of(position->source));
        buffer_printf(
                out,
                ",\"size\":%lld,\"total\":%lld,\"at\":%lld,\"published\":%lld,\"refused\":%lld,\"hash\":\"%s\",\"complete\":%s",
                (long long)position->size, (long long)position->total, (long long)position->at, (long long)position->published,
                (long long)position->refused, position->hash, position->complete ? "true" : "false");
        put_time(out, "started_at", position->started_wall_ms);
        put_time(out, "updated_at", position->at_wall_ms);
        buffer_char(out, '}');
}

static int index_of(const json_t *name, const char *const *names, int count)
{
        const char *text = json_string_value(name);

        for (int i = 0; text && i < count; i++)
                if (strcmp(names[i], text) == 0)
                        return i;
        return -1;
}

static json_t *parse(struct span value)
{
        json_t *tree = value.len && value.len <= JOB_RECORD_BYTES_MAX
                             ? json_loadb(value.data, value.len, JSON_REJECT_DUPLICATES, NULL)
                             : NULL;

        if (json_integer_value(json_object_get(tree, "v")) == VERSION)
                return tree;
        json_decref(tree);
        return NULL;
}

static bool read_time(const json_t *tree, const char *name, int64_t *ret_wall_ms)
{
        return clock_parse_rfc3339(span_of(json_string_value(json_object_get(tree, name))), false, ret_wall_ms);
}

static void copy_text(char *to, size_t size, const json_t *text)
{
        const char *from = json_string_value(text);

        snprintf(to, size, "%s", from ? from : "");
}

bool job_state_parse(struct span value, struct job_state_record *ret)
{
        AUTO(release) json_t *tree = parse(value);
        struct job_state_record record = {0};
        const int state = index_of(json_object_get(tree, "state"), job_state_names, JOB_STATES);

        if (state < 0 || !read_time(tree, "at", &record.at_wall_ms))
                return false;
        record.state = (enum job_state)state;
        copy_text(record.by, sizeof record.by, json_object_get(tree, "by"));
        *ret = record;
        return true;
}

bool job_position_parse(struct span value, struct job_position *ret)
{
        AUTO(release) json_t *tree = parse(value);
        struct job_position p = {0};
        const int kind = index_of(json_object_get(tree, "kind"), kind_names, KIND_COUNT);
        const int lane = index_of(json_object_get(tree, "lane"), lane_names, LANE_COUNT);
        json_int_t size, total, at, published, refused;
        const char *hash;
        int complete;

        if (kind < 0 || lane < 0 ||
            json_unpack(tree, "{s:I,s:I,s:I,s:I,s:I,s:s,s:b}", "size", &size, "total", &total, "at", &at, "published", &published,
                        "refused", &refused, "hash", &hash, "complete", &complete) < 0 ||
            !read_time(tree, "started_at", &p.started_wall_ms) || !read_time(tree, "updated_at", &p.at_wall_ms))
                return false;
        if (size < 0 || total < 0 || at < 0 || published < 0 || refused < 0 || published + refused > at ||
            published + refused > total || strlen(hash) != SHA256_HEX_BYTES - 1)
                return false;
        p.kind = (enum kind)kind;
        p.lane = (enum lane)lane;
        p.folder = json_object_get(tree, "folder") != NULL;
        copy_text(p.source, sizeof p.source, json_object_get(tree, p.folder ? "folder" : "file"));
        p.size = size;
        p.total = total;
        p.at = at;
        p.published = published;
        p.refused = refused;
        p.complete = complete;
        memcpy(p.hash, hash, sizeof p.hash);
        *ret = p;
        return true;
}
