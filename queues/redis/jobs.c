/* The counting is one script (redis_scripts.c); here arguments go in and the hash comes out. */
#include "queues/redis/jobs.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdio.h>

#include "config/base/own.h"
#include "queues/redis/redis_call.h"

enum { TENANT_BYTES_MAX = 64, CHUNK_NAME_BYTES = 32 };
static const double pico = 1e12;
static const double cost_max_usd = 1e6;

const char *const job_outcome_names[JOB_ENDED_COUNT] = {"ok", "failed", "expired", "cancelled"};

/* {job:<tenant>:<job>}: a tenant's name holds no colon, so that no request's keys look like these. */
static void add_key(struct redis_call *call, struct span tenant, struct span job, const char *name)
{
        char tag[4 + TENANT_BYTES_MAX];

        assert(tenant.len <= TENANT_BYTES_MAX);
        memcpy(tag, "job:", 4);
        memcpy(tag + 4, tenant.data, tenant.len);
        redis_call_key(call, (struct span){tag, 4 + tenant.len}, job, name); /* copied */
}

/* "ended:<n>" of the record's chunk, into the end of the room given: every record of a job passes here, so no printf. */
static const char *chunk_name(char room[CHUNK_NAME_BYTES], int64_t seq)
{
        char *at = &room[CHUNK_NAME_BYTES - 1];
        uint64_t n = seq < 0 ? 0 : (uint64_t)seq / JOB_CHUNK;

        *at = '\0';
        do
                *--at = (char)('0' + n % 10);
        while (n /= 10);
        return memcpy(at - 6, "ended:", 6);
}

static enum call_decoded decode_counted(struct redisReply *reply, void *out, struct error *err)
{
        struct job_counted *counted = out;
        int64_t value;

        if (!reply_int(reply, -1, &value))
                return reply_unexpected(err);
        counted->counted = value != 0;
        return value ? CALL_DECODED : CALL_UNCHANGED;
}

void job_count(struct redis_connection *connection, struct op *op, const struct job_end *end, struct job_counted *counted)
{
        struct redis_call *call = redis_call_script(connection, op, SCRIPT_JOB_COUNT, 2);
        const bool failed = end->outcome == JOB_ENDED_FAILED || end->outcome == JOB_ENDED_EXPIRED;
        const double cost = end->cost_usd > cost_max_usd ? cost_max_usd : end->cost_usd > 0 ? end->cost_usd : 0;
        char room[CHUNK_NAME_BYTES];
        const struct span reason[] = {span_of(error_class_name(error_code_class(end->code))), SPAN("."),
                                      span_of(error_code_name(end->code))};

        if (!call)
                return;
        add_key(call, end->tenant, end->job, "progress");
        add_key(call, end->tenant, end->job, chunk_name(room, end->seq));
        redis_call_int(call, end->seq < 0 ? -1 : end->seq % JOB_CHUNK);
        redis_call_span(call, span_of(job_outcome_names[end->outcome]));
        if (failed)
                redis_call_text(call, reason, COUNT_OF(reason));
        else
                redis_call_span(call, SPAN(""));
        redis_call_int(call, end->input_tokens);
        redis_call_int(call, end->output_tokens);
        redis_call_int(call, end->cached_tokens);
        redis_call_int(call, (int64_t)(cost * pico + 0.5));
        redis_call_int(call, JOB_TTL_S);
        redis_call_send(call, decode_counted, counted, true);
}

void job_published(struct redis_connection *connection, struct op *op, struct span tenant, struct span job, int64_t total,
                   int64_t published, struct job_counted *counted)
{
        struct redis_call *call = redis_call_script(connection, op, SCRIPT_JOB_PUBLISHED, 1);

        if (!call)
                return;
        add_key(call, tenant, job, "progress");
        redis_call_int(call, total);
        redis_call_int(call, published);
        redis_call_int(call, JOB_TTL_S);
        redis_call_send(call, decode_counted, counted, false);
}

/* A member of the hash into *progress; those that are not for readers are passed over. */
static void take_member(struct job_progress *progress, struct span name, int64_t value)
{
        const struct {
                const char *name;
                int64_t *to;
        } members[] = {
                {"ok", &progress->ended[JOB_ENDED_OK]},
                {"failed", &progress->ended[JOB_ENDED_FAILED]},
                {"expired", &progress->ended[JOB_ENDED_EXPIRED]},
                {"cancelled", &progress->ended[JOB_ENDED_CANCELLED]},
                {"total", &progress->total},
                {"published", &progress->published},
                {"input_tokens", &progress->input_tokens},
                {"output_tokens", &progress->output_tokens},
                {"cached_tokens", &progress->cached_tokens},
                {"started_ms", &progress->started_ms},
                {"updated_ms", &progress->updated_ms},
        };
        static const char code[] = "code:";
        const size_t prefix = sizeof code - 1;

        for (size_t i = 0; i < COUNT_OF(members); i++)
                if (span_is(name, members[i].name))
                        *members[i].to = value;
        if (span_is(name, "cost_pico"))
                progress->cost_usd = (double)value / pico;
        if (name.len <= prefix || memcmp(name.data, code, prefix) != 0 || value <= 0 || progress->reason_count == JOB_REASONS_MAX)
                return;
        snprintf(progress->reasons[progress->reason_count].name, JOB_REASON_BYTES, "%.*s", (int)(name.len - prefix),
                 name.data + prefix);
        progress->reasons[progress->reason_count++].count = value;
}

static enum call_decoded decode_progress(struct redisReply *reply, void *out, struct error *err)
{
        struct job_progress *progress = out;
        struct span name;
        int64_t value;

        if (reply->type != REDIS_REPLY_ARRAY)
                return reply_unexpected(err);
        *progress = (struct job_progress){.found = reply->elements > 0, .total = -1, .published = -1};
        for (size_t i = 0; i + 1 < reply->elements && i < 1024; i += 2)
                if (reply_span(reply, (int)i, &name) && reply_int(reply, (int)i + 1, &value))
                        take_member(progress, name, value);
        return CALL_DECODED;
}

void job_progress_get(struct redis_connection *connection, struct op *op, struct span tenant, struct span job,
                      struct job_progress *progress)
{
        struct redis_call *call = redis_call_command(connection, op, "HGETALL");

        if (!call)
                return;
        add_key(call, tenant, job, "progress");
        redis_call_send(call, decode_progress, progress, false);
}
