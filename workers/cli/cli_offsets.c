/* offsets explain: why each committed offset stands where it stands. For every partition of every group asked for: what is committed,
 * where the log ends, what has ended above (the commit's metadata, decoded), and the record that blocks. Nothing is joined or changed,
 * and workers may run meanwhile: what is shown is what they had committed a moment ago. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/kafka/group_offsets.h"
#include "queues/kafka/offset_codec.h"
#include "queues/kafka/topics.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"
#include "workers/cli/offsets_blocker.h"
#include "workers/cli/terminal.h"

enum { ASK_MS = 10000, RUNS_SHOWN_MAX = 1000, OUT_BYTES_MAX = 64 << 20, PARTITIONS_MAX = 4096 };

static const struct argument_row rows[] = {
        {.name = "kind", .type = ARGUMENT_LIST, .choices = "ingest embed retrieve rerank llm", .help = "only these kinds"},
        {.name = "lane",
         .type = ARGUMENT_LIST,
         .choices = "interactive bulk retry",
         .help = "only these lanes; retry: the retry topics"},
        {.name = "group", .type = ARGUMENT_STRING, .value = "NAME", .min = 1, .max = 63, .help = "only this consumer group"},
        {.name = "all", .type = ARGUMENT_FLAG, .help = "also partitions where nothing waits (with --json they are always there)"},
        CLIENT_KAFKA_ROW,
        CLIENT_REDIS_ROW,
};

struct explain {
        const struct arguments *arguments;
        const struct settings *settings;
        struct kafka_client *kafka;
        struct group_reader *reader;
        struct redis_client *redis; /* NULL: does not answer */
        struct watermark marks;     /* a partition's, decoded */
        struct buffer *out;
        struct terminal terminal;
        const char *prefix; /* of the topic at hand */
        int64_t begins[PARTITIONS_MAX], ends[PARTITIONS_MAX];
        bool json;
        int64_t now_wall_ms;
        int shown, quiet; /* partitions */
        const char *group;
        bool group_shown;
        struct error *err;
        bool failed;
};

/* A partition as it was found. */
struct found {
        const char *topic;
        int32_t partition;
        int64_t committed, begin, end, lag; /* committed -1: nothing */
        int64_t from;                       /* the first offset that counts as not ended */
        enum offset_text text;
        size_t text_chars;
        int64_t above; /* offsets that have ended above the committed one */
        bool blocked;  /* there is a record that waits */
        struct blocker blocker;
};

/* ---- as JSON ---- */

static void member(struct buffer *out, const char *name, struct span value)
{
        buffer_printf(out, ",\"%s\":", name);
        buffer_json_string(out, value);
}

static void time_member(struct buffer *out, const char *name, int64_t wall_ms)
{
        char text[CLOCK_RFC3339_BYTES];

        if (wall_ms <= 0)
                return;
        clock_format_rfc3339(wall_ms, text);
        member(out, name, span_of(text));
}

static void json_claim(struct buffer *out, const struct redis_claim *claim, int64_t now_wall_ms)
{
        buffer_printf(out, ",\"claim\":{\"attempts\":%" PRId64 ",\"fence\":%" PRId64 ",\"replays\":%" PRId64, claim->attempts,
                      claim->fence, claim->replays);
        member(out, "status", span_of(claim->status));
        member(out, "holder", span_of(claim->holder));
        if (claim->lease_wall_ms > 0)
                buffer_printf(out, ",\"lease_ms\":%" PRId64, claim->lease_wall_ms - now_wall_ms);
        buffer_char(out, '}');
}

static void json_blocker(struct buffer *out, const struct explain *explain, const struct found *found)
{
        const struct blocker *b = &found->blocker;
        int64_t since = b->origin_wall_ms > 0 ? b->origin_wall_ms : b->written_wall_ms;

        buffer_printf(out, ",\"blocker\":{\"offset\":%" PRId64 ",\"found\":true,\"readable\":%s", b->offset,
                      b->readable ? "true" : "false");
        if (*b->id) {
                member(out, "request", span_of(b->id));
                member(out, "tenant", span_of(b->tenant));
        }
        if (b->found)
                member(out, "kind", span_of(kind_names[b->kind]));
        if (*b->provider) {
                member(out, "provider", span_of(b->provider));
                member(out, "model", span_of(b->model));
        }
        if (*b->fault)
                member(out, "fault", span_of(b->fault));
        if (b->readable)
                buffer_printf(out, ",\"step\":%d,\"steps\":%d,\"replays\":%d", b->step, b->step_count, b->replays);
        if (b->found)
                buffer_printf(out, ",\"attempts\":%" PRId64, b->claimed ? b->claim.attempts : (int64_t)b->attempts);
        if (since > 0)
                buffer_printf(out, ",\"age_ms\":%" PRId64, explain->now_wall_ms - since);
        time_member(out, "deadline", b->deadline_wall_ms);
        time_member(out, "not_before", b->not_before_wall_ms);
        if (b->claimed)
                json_claim(out, &b->claim, explain->now_wall_ms);
        member(out, "reason", span_of(blocker_reason(b, explain->now_wall_ms, explain->redis != NULL)));
        buffer_char(out, '}');
}

static void json_above(struct buffer *out, const struct explain *explain, const struct found *found)
{
        static const char *const texts[] = {"none", "ours", "foreign"};
        int64_t at = found->committed, begin, end;
        int runs = 0;

        buffer_printf(out, ",\"metadata\":\"%s\",\"metadata_chars\":%zu,\"above\":{\"count\":%" PRId64 ",\"runs\":[",
                      texts[found->text], found->text_chars, found->above);
        for (; found->above > 0 && runs < RUNS_SHOWN_MAX && watermark_run(&explain->marks, at, &begin, &end); at = end)
                buffer_printf(out, "%s[%" PRId64 ",%" PRId64 "]", runs++ > 0 ? "," : "", begin, end);
        buffer_string(out, "]}");
}

static void show_json(struct explain *explain, const struct found *found)
{
        struct buffer *out = explain->out;

        buffer_string(out, explain->shown > 0 ? ",\n{\"group\":" : "\n{\"group\":");
        buffer_json_string(out, span_of(explain->group));
        member(out, "topic", span_of(found->topic));
        buffer_printf(out, ",\"partition\":%d,\"committed\":", (int)found->partition);
        if (found->committed < 0)
                buffer_string(out, "null");
        else
                buffer_int(out, found->committed);
        buffer_printf(out, ",\"begin\":%" PRId64 ",\"end\":%" PRId64 ",\"lag\":%" PRId64, found->begin, found->end, found->lag);
        json_above(out, explain, found);
        if (found->blocked)
                json_blocker(out, explain, found);
        buffer_char(out, '}');
}

/* ---- for a person ---- */

static void show_claim(struct buffer *out, const struct explain *explain, const struct blocker *b)
{
        char text[48];

        buffer_printf(out, ", attempt %" PRId64, b->claimed ? b->claim.attempts : (int64_t)b->attempts);
        if (!b->claimed || !*b->claim.holder)
                return;
        buffer_string(out, ", held by ");
        terminal_line(out, span_of(b->claim.holder), 60);
        if (b->claim.lease_wall_ms > explain->now_wall_ms) {
                terminal_duration(text, sizeof text, b->claim.lease_wall_ms - explain->now_wall_ms);
                buffer_printf(out, " for %s more", text);
        }
}

static void show_blocker(struct buffer *out, const struct explain *explain, const struct found *found)
{
        const struct blocker *b = &found->blocker;
        int64_t since = b->origin_wall_ms > 0 ? b->origin_wall_ms : b->written_wall_ms;
        char text[48];

        buffer_string(out, "      blocked by ");
        terminal_tone(out, &explain->terminal, TONE_BOLD);
        if (*b->id)
                terminal_line(out, span_of(b->id), 0);
        else
                buffer_printf(out, "offset %" PRId64, b->offset);
        terminal_tone(out, &explain->terminal, TONE_PLAIN);
        if (*b->tenant) {
                buffer_string(out, " of tenant ");
                terminal_line(out, span_of(b->tenant), 0);
        }
        if (b->found)
                buffer_printf(out, ", %s", kind_names[b->kind]);
        if (b->step_count > 1)
                buffer_printf(out, " (step %d of %d)", b->step + 1, b->step_count);
        if (*b->provider) {
                buffer_string(out, ", provider ");
                terminal_line(out, span_of(b->provider), 0);
        }
        if (since > 0) {
                terminal_duration(text, sizeof text, explain->now_wall_ms > since ? explain->now_wall_ms - since : 0);
                buffer_printf(out, ", %s old", text);
        }
        if (b->found)
                show_claim(out, explain, b);
        buffer_string(out, "\n      ");
        buffer_string(out, blocker_reason(b, explain->now_wall_ms, explain->redis != NULL));
        if (*b->fault) {
                buffer_string(out, ": ");
                terminal_line(out, span_of(b->fault), 160);
        }
        buffer_char(out, '\n');
}

static void show_text(struct explain *explain, const struct found *found)
{
        struct buffer *out = explain->out;
        char count[32];

        if (!explain->group_shown) {
                terminal_tone(out, &explain->terminal, TONE_BOLD);
                buffer_printf(out, "%s\n", explain->group);
                terminal_tone(out, &explain->terminal, TONE_PLAIN);
                explain->group_shown = true;
        }
        buffer_printf(out, "  %s/%d  committed ", found->topic, (int)found->partition);
        if (found->committed < 0)
                buffer_string(out, "nothing");
        else
                buffer_int(out, found->committed);
        terminal_count(count, sizeof count, found->lag);
        buffer_printf(out, ", end %" PRId64 ", lag %s", found->end, count);
        if (found->above > 0) {
                terminal_count(count, sizeof count, found->above);
                buffer_printf(out, ", %s done above it (%zu of %d characters of metadata)", count, found->text_chars,
                              OFFSET_TEXT_MAX);
        }
        if (found->text == OFFSET_TEXT_FOREIGN)
                buffer_string(out, ", the commit's metadata is not millrace's: it is ignored");
        buffer_char(out, '\n');
        if (found->blocked)
                show_blocker(out, explain, found);
        else if (found->lag > 0)
                buffer_printf(out, "      %s\n", blocker_reason(&found->blocker, explain->now_wall_ms, true));
}

/* ---- finding out ---- */

static int64_t count_above(const struct watermark *marks)
{
        int64_t at = marks->mark, begin, end, count = 0;

        for (; watermark_run(marks, at, &begin, &end); at = end)
                count += end - begin;
        return count;
}

struct topic_at_hand {
        struct explain *explain;
        const char *topic;
};

static void on_offset(void *user, int32_t partition, int64_t committed, struct span metadata)
{
        struct topic_at_hand *at_hand = user;
        struct explain *explain = at_hand->explain;
        struct found found = {.topic = at_hand->topic, .partition = partition, .committed = committed, .text_chars = metadata.len};

        if (explain->failed)
                return;
        found.begin = explain->begins[partition];
        found.end = explain->ends[partition];
        watermark_reset(&explain->marks);
        if (committed >= 0)
                found.text = offset_codec_decode(metadata, committed, &explain->marks);
        found.above = committed >= 0 ? count_above(&explain->marks) : 0;
        found.from = committed > found.begin ? committed : found.begin; /* retention may have taken records that nobody had read */
        found.lag = found.end > found.from ? found.end - found.from : 0;
        if (found.lag > 0)
                explain->failed = blocker_read(explain->kafka, explain->redis, explain->settings, found.topic, explain->prefix,
                                               partition, found.from, committed >= 0 ? &explain->marks : NULL, &found.blocker,
                                               explain->err) < 0;
        found.blocked = found.blocker.found;
        if (explain->failed)
                return;
        if (explain->json)
                show_json(explain, &found);
        else if (found.blocked || found.text == OFFSET_TEXT_FOREIGN || argument_given(explain->arguments, "all"))
                show_text(explain, &found);
        else
                explain->quiet++;
        explain->shown++;
}

static int explain_topic(struct explain *explain, const char *topic, struct error *err)
{
        struct topic_at_hand at_hand = {explain, topic};
        int count = kafka_partition_count(explain->kafka, topic, ASK_MS, err);

        explain->err = err;
        if (count <= 0)
                return count;
        if (count > PARTITIONS_MAX)
                return error_set(err, CODE_INTERNAL, "%s has more than %d partitions", topic, PARTITIONS_MAX);
        if (group_reader_bounds(explain->reader, topic, count, false, explain->begins, ASK_MS, err) < 0 ||
            group_reader_bounds(explain->reader, topic, count, true, explain->ends, ASK_MS, err) < 0 ||
            group_reader_read(explain->reader, explain->group, topic, count, on_offset, &at_hand, ASK_MS, err) < 0)
                return -1;
        return explain->failed ? -1 : 0;
}

/* A group reads the same topic under the common prefix and under each tenant's own. lane LANE_COUNT: the retry topics. */
static int explain_group(struct explain *explain, enum kind kind, int lane, struct error *err)
{
        const struct settings *s = explain->settings;
        char group[GROUP_NAME_BYTES], topic[TOPIC_NAME_BYTES];

        if (lane == LANE_COUNT)
                group_retry(group, kind);
        else
                group_request(group, kind, (enum lane)lane);
        if (argument_given(explain->arguments, "group") && strcmp(group, argument_string(explain->arguments, "group")) != 0)
                return 0;
        explain->group = group;
        explain->group_shown = false;
        for (size_t i = 0; i <= s->tenant_count; i++) {
                explain->prefix = i == s->tenant_count ? s->kafka.prefix : s->tenants[i].prefix;
                if (!explain->prefix || (i < s->tenant_count && strcmp(explain->prefix, s->kafka.prefix) == 0))
                        continue;
                for (size_t d = 0; lane == LANE_COUNT && d < s->retry.delay_count; d++)
                        if (topic_retry(topic, explain->prefix, kind, s->retry.delays[d]) == 0 &&
                            explain_topic(explain, topic, err) < 0)
                                return -1;
                if (lane != LANE_COUNT && topic_request(topic, explain->prefix, kind, (enum lane)lane) == 0 &&
                    explain_topic(explain, topic, err) < 0)
                        return -1;
        }
        return 0;
}

static int explain_all(struct explain *explain, struct error *err)
{
        int64_t kinds = argument_given(explain->arguments, "kind") ? argument_integer(explain->arguments, "kind", 0) : -1,
                lanes = argument_given(explain->arguments, "lane") ? argument_integer(explain->arguments, "lane", 0) : -1;

        if (explain->json)
                buffer_string(explain->out, "{\"partitions\":[");
        for (int kind = 0; kind < KIND_COUNT; kind++)
                for (int lane = 0; lane <= LANE_COUNT; lane++)
                        if (kinds >> kind & 1 && lanes >> lane & 1 && explain_group(explain, (enum kind)kind, lane, err) < 0)
                                return -1;
        if (explain->json)
                buffer_printf(explain->out, "],\"claims_known\":%s}\n", explain->redis ? "true" : "false");
        else if (explain->shown == 0)
                buffer_string(explain->out, argument_given(explain->arguments, "group")
                                                    ? "No such group has a topic: they are called millrace.<kind>.<lane or retry>.\n"
                                                    : "No such topic exists. Has a worker run with this configuration?\n");
        else if (explain->quiet > 0)
                buffer_printf(explain->out, "%s%d partition%s: everything has ended and is committed (--all names them).\n",
                              explain->quiet < explain->shown ? "\nOther " : "", explain->quiet, explain->quiet == 1 ? "" : "s");
        return 0;
}

static void free_kafka(struct kafka_client **client)
{
        kafka_client_free(*client);
}

static void free_reader(struct group_reader **reader)
{
        group_reader_free(*reader);
}

static void free_redis(struct redis_client **client)
{
        redis_client_free(*client);
}

static int run(struct arguments *arguments)
{
        AUTO_SETTINGS *settings = NULL;
        AUTO(free_kafka) struct kafka_client *kafka = NULL;
        AUTO(free_reader) struct group_reader *reader = NULL;
        AUTO(free_redis) struct redis_client *redis = NULL;
        AUTO(watermark_fini) struct watermark marks = {0};
        AUTO_BUFFER out = {0};
        AUTO_FREE struct explain *explain = calloc(1, sizeof *explain); /* 64 KB */
        struct error err;
        int rc;

        if (strcmp(arguments->words[0], "explain") != 0)
                return argument_fail(arguments, EXIT_USAGE, "unknown action; did you mean offsets explain?");
        settings = client_settings(arguments);
        if (!settings)
                return EXIT_USAGE;
        client_quiet();
        kafka = kafka_client_new(settings, &err);
        reader = kafka ? group_reader_new(settings, &err) : NULL;
        if (!reader || watermark_init(&marks, OFFSET_SPAN_MAX) < 0)
                return argument_fail(arguments, EXIT_FAILED, "Kafka: %s", reader ? "no memory" : err.message);
        redis = redis_client_new(settings, &err);
        if (!redis)
                fprintf(stderr, "Redis: %s; claims are not shown\n", err.message);
        buffer_init(&out, OUT_BYTES_MAX);
        if (!explain)
                return argument_fail(arguments, EXIT_FAILED, "out of memory");
        *explain = (struct explain){.arguments = arguments,
                                   .settings = settings,
                                   .kafka = kafka,
                                   .reader = reader,
                                   .redis = redis,
                                   .marks = marks,
                                   .out = &out,
                                   .terminal = terminal_of(stdout),
                                   .json = argument_given(arguments, "json"),
                                   .now_wall_ms = clock_wall_ms()};
        rc = explain_all(explain, &err);
        if (rc < 0)
                return argument_fail(arguments, EXIT_FAILED, "Kafka (%s): %s; --kafka HOST:PORT names another broker",
                                     settings->kafka.brokers, err.message);
        if (!buffer_ok(&out))
                return argument_fail(arguments, EXIT_FAILED, "no memory for the answer");
        fwrite(out.data ? out.data : "", 1, out.len, stdout);
        return EXIT_DONE;
}

const struct command command_offsets = {
        .name = "offsets",
        .summary = "Explain why a group's committed offsets stand where they stand.",
        .usage = "explain [--kind …] [--lane …] [--group NAME]",
        .details =
                "For each partition of each consumer group: what is committed, how far the log goes, how many records behind the\n"
                "committed one have ended already, and the record that blocks: request, tenant, provider, age, attempts, who holds "
                "it.\n"
                "Reads only; the workers may run meanwhile.\n",
        .example = "  millrace offsets explain --kind embed --lane bulk\n"
                   "  millrace offsets explain --json | jq '.partitions[] | select(.lag > 0) | .blocker'\n",
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .words_min = 1,
        .words_max = 1,
        .run = run,
};
