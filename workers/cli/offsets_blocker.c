/* One record is read from its partition, decoded as the worker does, and its claim looked up by id. Nothing is taken or changed. */
#include "workers/cli/offsets_blocker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "queues/envelope.h"
#include "queues/kafka/topics.h"

enum { READ_TIMEOUT_MS = 10000, ARENA_PER_PAYLOAD = 8, ARENA_BYTES_MIN = 1 << 20, SCRATCH_BYTES_MAX = 64 << 20 };

struct reading {
        const struct settings *settings;
        const char *prefix;
        struct blocker *blocker;
        const struct watermark *done;
};

static void copy(char *to, size_t size, struct span from)
{
        snprintf(to, size, "%.*s", (int)(from.len < size ? from.len : size - 1), from.data ? from.data : "");
}

/* ---- whose call it needs ---- */

static const struct model_settings *model_of(const struct settings *settings, enum kind kind, struct span alias)
{
        if (alias.len == 0)
                return &settings->models[settings->default_model[kind]];
        for (size_t i = 0; i < settings->model_count; i++)
                if (settings->models[i].kind == kind && span_is(alias, settings->models[i].name))
                        return &settings->models[i];
        return NULL;
}

static const struct model_settings *collection_model(const struct settings *settings, struct span name)
{
        for (size_t i = 0; i < settings->collection_count; i++)
                if (span_is(name, settings->collections[i].name))
                        return &settings->models[settings->collections[i].model];
        return NULL;
}

static const struct model_settings *step_model(const struct settings *settings, const struct request_step *step)
{
        switch (step->kind) {
        case KIND_EMBED:
                return model_of(settings, KIND_EMBED, step->embed.model);
        case KIND_RERANK:
                return model_of(settings, KIND_RERANK, step->rerank.model);
        case KIND_LLM:
                return model_of(settings, KIND_LLM, step->llm.model);
        case KIND_INGEST:
                return collection_model(settings, step->ingest.collection);
        case KIND_RETRIEVE:
                return step->retrieve.mode == RETRIEVE_SPARSE ? NULL : collection_model(settings, step->retrieve.collection);
        default:
                return NULL;
        }
}

/* ---- the record ---- */

static void take_request(struct blocker *blocker, const struct settings *settings, const struct request *request)
{
        size_t next = request->first_step < request->step_count ? request->first_step : 0;
        const struct model_settings *model = step_model(settings, &request->steps[next]);

        blocker->kind = request->steps[next].kind;
        blocker->step = (int)next;
        blocker->step_count = (int)request->step_count;
        blocker->origin_wall_ms = request->origin_timestamp_ms;
        blocker->deadline_wall_ms = request->deadline_wall_ms;
        blocker->not_before_wall_ms = request->not_before_wall_ms;
        blocker->attempts = request->attempts;
        blocker->replays = request->replays;
        if (model) {
                copy(blocker->model, sizeof blocker->model, span_of(model->name));
                copy(blocker->provider, sizeof blocker->provider, span_of(settings->providers[model->provider].name));
        }
}

static void lane_and_kind(const struct record *record, const char *prefix, enum kind *ret_kind, enum lane *ret_lane)
{
        struct topic_meaning meaning;
        struct span origin;
        char name[TOPIC_NAME_BYTES];

        *ret_kind = KIND_EMBED;
        *ret_lane = LANE_BULK;
        if (topic_parse(record->topic, prefix, &meaning)) {
                *ret_kind = meaning.kind;
                if (meaning.role == TOPIC_REQUEST)
                        *ret_lane = meaning.lane;
        }
        if (!record_header(record, "mr-origin-topic", &origin) || origin.len >= sizeof name)
                return;
        copy(name, sizeof name, origin);
        if (topic_parse(name, prefix, &meaning) && meaning.role == TOPIC_REQUEST) {
                *ret_kind = meaning.kind;
                *ret_lane = meaning.lane;
        }
}

static void take_record(const struct reading *reading, const struct record *record)
{
        struct blocker *blocker = reading->blocker;
        AUTO_ARENA *arena = arena_new(record->value.len * ARENA_PER_PAYLOAD + ARENA_BYTES_MIN);
        AUTO_BUFFER scratch = {0};
        struct envelope_limits limits = {.payload_bytes_max = (size_t)reading->settings->worker.payload_bytes_max};
        struct header *headers = arena ? arena_alloc(arena, HEADERS_MAX * sizeof *headers) : NULL;
        struct request request = {0};
        struct error err = {0};
        enum kind kind;
        enum lane lane;
        struct delivery delivery = {.topic = record->topic,
                                    .partition = record->partition,
                                    .offset = record->offset,
                                    .timestamp_ms = record->timestamp_ms,
                                    .key = record->key,
                                    .value = record->value,
                                    .headers = headers};

        blocker->written_wall_ms = record->timestamp_ms;
        if (!headers)
                return;
        buffer_init(&scratch, SCRATCH_BYTES_MAX);
        for (int i = 0; i < LANE_COUNT; i++)
                limits.lane_timeout_ms[i] = reading->settings->lanes[i].timeout_ms;
        while (delivery.header_count < HEADERS_MAX &&
               record_header_at(record, delivery.header_count, &headers[delivery.header_count].name,
                                &headers[delivery.header_count].value))
                delivery.header_count++;
        lane_and_kind(record, reading->prefix, &kind, &lane);
        blocker->kind = kind;
        blocker->readable = envelope_decode(&delivery, kind, lane, &limits, arena, &scratch, &request, &err) == 0;
        copy(blocker->id, sizeof blocker->id, request.id);
        copy(blocker->tenant, sizeof blocker->tenant, request.tenant);
        if (blocker->readable)
                take_request(blocker, reading->settings, &request);
        else
                copy(blocker->fault, sizeof blocker->fault, span_of(err.message));
        envelope_release(&request);
}

static bool on_record(void *user, const struct record *record)
{
        const struct reading *reading = user;

        if (reading->done && watermark_known(reading->done, record->offset))
                return true;
        reading->blocker->found = true;
        reading->blocker->offset = record->offset;
        take_record(reading, record);
        return false;
}

int blocker_read(struct kafka_client *kafka, struct redis_client *redis, const struct settings *settings, const char *topic,
                 const char *prefix, int32_t partition, int64_t offset, const struct watermark *done, struct blocker *ret_blocker,
                 struct error *err)
{
        struct reading reading = {settings, prefix, ret_blocker, done};
        int64_t *from = calloc((size_t)partition + 1, sizeof *from);
        struct error ignored;
        int rc;

        *ret_blocker = (struct blocker){.written_wall_ms = -1};
        if (!from)
                return error_set(err, CODE_INTERNAL, "out of memory");
        from[partition] = offset;
        rc = kafka_read_topic(kafka, topic, partition, from, on_record, &reading, READ_TIMEOUT_MS, err);
        free(from);
        if (rc < 0)
                return -1;
        if (redis && *ret_blocker->id &&
            redis_client_claim(redis, span_of(ret_blocker->tenant), span_of(ret_blocker->id), &ret_blocker->claim,
                               &ret_blocker->claimed, &ignored) < 0)
                ret_blocker->claimed = false;
        return 0;
}

const char *blocker_reason(const struct blocker *blocker, int64_t now_wall_ms, bool claims_known)
{
        const char *status = blocker->claim.status;

        if (!blocker->found)
                return "nothing waits: only transactions' markers or compacted records lie there, and the next commit passes them";
        if (blocker->not_before_wall_ms > now_wall_ms)
                return "it is not due yet";
        if (!*blocker->id)
                return "it cannot be read as a request: it waits to become a dead letter; is a worker running?";
        if (!claims_known)
                return "Redis does not answer, so its claim is unknown; workers wait for Redis, too";
        if (!blocker->claimed)
                return "no worker has taken it up; is one running that serves this kind and lane?";
        if (strcmp(status, "running") == 0)
                return blocker->claim.lease_wall_ms > now_wall_ms
                             ? "a worker is at it"
                             : "its worker's lease has lapsed: the next one to read it takes it over";
        if (strcmp(status, "waiting") == 0)
                return "its claim was given back: it is about to be tried again, or its retry record to be written";
        return "it has ended; the commit that passes it is due within a second, or no worker serves this partition";
}
