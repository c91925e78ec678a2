/* The dead letter commands against the mock broker: letters are written as a worker writes them, read, filtered and replayed. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "config/load.h"
#include "config/settings_build.h"
#include "queues/kafka/mock_broker.h"
#include "workers/cli/commands.h"
#include "workers/dlq/dlq_echo.h"
#include "workers/dlq/dlq_mark.h"
#include "workers/dlq/dlq_replay.h"

static struct arguments arguments;
static struct faults faults;
static struct settings *settings;
static struct mock_broker *broker;
static struct kafka_client *kafka;
static struct dlq_walk walk;
static struct error err;

static void set_up(void)
{
        cr_redirect_stdout();
        cr_redirect_stderr();
        error_clear(&err);
        broker = mock_broker_new(&err);
        cr_assert(broker, "%s", err.message);
        settings = settings_default(&faults);
        cr_assert(settings);
        settings->kafka.brokers = settings_copy(settings, span_of(mock_broker_address(broker)));
        for (int kind = 0; kind < KIND_COUNT; kind++) {
                char topic[TOPIC_NAME_BYTES];

                topic_dlq(topic, "enrich", (enum kind)kind);
                cr_assert_eq(mock_broker_topic(broker, topic, 1, &err), 0, "%s", err.message);
                topic_request(topic, "enrich", (enum kind)kind, LANE_BULK);
                cr_assert_eq(mock_broker_topic(broker, topic, 1, &err), 0, "%s", err.message);
        }
        cr_assert_eq(mock_broker_topic(broker, "enrich.dlq.state", 2, &err), 0, "%s", err.message);
        kafka = kafka_client_new(settings, &err);
        cr_assert(kafka, "%s", err.message);
        walk = (struct dlq_walk){.settings = settings, .kafka = kafka, .states = dlq_states_new(settings, &err)};
        cr_assert(walk.states, "%s", err.message);
}

static void tear_down(void)
{
        dlq_states_free(walk.states);
        kafka_client_free(kafka);
        mock_broker_free(broker);
        settings_unref(settings);
}

TestSuite(cli_dlq, .init = set_up, .fini = tear_down, .timeout = 60);

static void put_letter(const char *topic, const char *value, const char *class, const char *code, const char *origin)
{
        const struct outgoing_header headers[] = {
                {"x-mine", SPAN("kept")},
                {"mr-attempts", SPAN("5")},
                {"mr-dlq-error-class", span_of(class)},
                {"mr-dlq-error-code", span_of(code)},
                {"mr-dlq-error-message", SPAN("it \033[31m went wrong")},
                {"mr-dlq-attempts", SPAN("5")},
                {"mr-dlq-replays", SPAN("2")},
                {"mr-dlq-step", SPAN("0")},
                {"mr-dlq-failed-at", SPAN("2026-11-20T10:00:00.000Z")},
                {"mr-dlq-original-topic", span_of(origin)},
        };
        const struct outgoing outgoing = {.topic = topic,
                                          .partition = 0,
                                          .key = SPAN("k1"),
                                          .value = {value, value ? strlen(value) : 0},
                                          .headers = headers,
                                          .header_count = COUNT_OF(headers)};
        struct producer_ack ack;

        cr_assert_eq(kafka_publish(kafka, &outgoing, 10000, &ack, &err), 0, "%s", err.message);
}

static void put_some(void)
{
        put_letter("enrich.embed.dlq", "{\"id\":\"e1\",\"input\":\"x\"}", "dependency", "timeout", "enrich.embed.bulk");
        put_letter("enrich.embed.dlq", "{\"id\":\"e2\",\"tenant\":\"acme\",\"input\":\"needle\"}", "data", "schema",
                   "enrich.embed.bulk");
        put_letter("enrich.embed.dlq", "\xff not json", "data", "invalid_utf8", "some.other.topic");
        put_letter("enrich.llm.dlq", "{\"id\":\"l1\"}", "model", "refusal", "enrich.llm.interactive");
}

struct seen {
        size_t count;
        char ids[256];
};

static bool note(void *user, const struct letter *letter)
{
        struct seen *seen = user;
        const size_t at = strlen(seen->ids);

        seen->count++;
        snprintf(seen->ids + at, sizeof seen->ids - at, "%.*s,", (int)letter->id.len, letter->id.data);
        return true;
}

#define DLQ(...) dlq((const char *[]){"dlq", __VA_ARGS__, NULL})
static void dlq(const char **words)
{
        static char *argv[64];
        int argc = 0;

        for (; words[argc]; argc++)
                argv[argc] = (char *)(uintptr_t)words[argc];
        cr_assert_eq(arguments_read(&arguments, "millrace", &command_dlq, argc, argv, stderr), 0);
        letter_filter_read(&walk.filter, &arguments);
        cr_assert_eq(dlq_states_read(walk.states, kafka, &err), 0, "%s", err.message);
}

static void assert_walk(const char *ids)
{
        struct seen seen = {0};

        cr_assert_eq(dlq_walk(&walk, note, &seen, &err), 0, "%s", err.message);
        cr_assert_str_eq(seen.ids, ids);
}

Test(cli_dlq, a_walk_shows_all_letters_that_fit)
{
        put_some();
        DLQ("ls");
        assert_walk("e1,e2,,l1,");
        DLQ("ls", "--kind", "llm");
        assert_walk("l1,");
        DLQ("ls", "--class", "data");
        assert_walk("e2,,");
        DLQ("ls", "--code", "timeout");
        assert_walk("e1,");
        DLQ("ls", "--tenant", "acme");
        assert_walk("e2,");
        DLQ("ls", "--grep", "needle");
        assert_walk("e2,");
        DLQ("ls", "--since", "2026-11-20T10:00:00.001Z");
        assert_walk("");
        DLQ("ls", "--until", "2026-11-20T10:00:00.001Z", "--kind", "embed");
        assert_walk("e1,e2,,");
}

Test(cli_dlq, no_letters_and_no_topics_are_no_fault)
{
        DLQ("ls");
        assert_walk("");
}

static bool show(void *user, const struct letter *letter)
{
        const struct terminal plain = {.width = 100};
        struct buffer *out = user;

        letter_show(out, &plain, letter);
        letter_show_line(out, letter, 200);
        buffer_char(out, '\n');
        letter_render(out, letter, true);
        return true;
}

Test(cli_dlq, one_letter_is_found_by_its_place_and_shown_safely)
{
        bool found;
        AUTO_BUFFER out = {0};

        buffer_init(&out, 65536);
        put_some();
        DLQ("ls");
        cr_assert_eq(dlq_find(&walk, "enrich.embed.dlq:0:2", show, &out, &found, &err), 0, "%s", err.message);
        cr_assert(found);
        cr_assert(strstr(out.data, "mr-dlq-original-topic"), "%s", out.data);
        cr_assert(strstr(out.data, "data.invalid_utf8"), "%s", out.data);
        cr_assert(strstr(out.data, "\"value_base64\":\"/yBub3QganNvbg==\""), "%s", out.data);
        cr_assert(strstr(out.data, "{\"name\":\"x-mine\",\"value\":\"kept\"}"), "%s", out.data);
        cr_assert_null(strchr(out.data, '\033'));
        cr_assert_eq(dlq_find(&walk, "enrich.embed.dlq:0:99", show, &out, &found, &err), 0, "%s", err.message);
        cr_assert_not(found);
        cr_assert_eq(dlq_find(&walk, "enrich.embed.bulk:0:0", show, &out, &found, &err), -1);
        cr_assert_eq(dlq_find(&walk, "nonsense", show, &out, &found, &err), -1);
        cr_assert_eq(err.code, CODE_SCHEMA);
}

struct replayed {
        size_t count;
        char text[512];
};

static bool note_replayed(void *user, const struct record *record)
{
        struct replayed *replayed = user;
        struct span value;
        const char *name;

        snprintf(replayed->text, sizeof replayed->text, "%.*s=%.*s", (int)record->key.len, record->key.data, (int)record->value.len,
                 record->value.data);
        for (size_t i = 0; record_header_at(record, i, &name, &value); i++) {
                const size_t at = strlen(replayed->text);
                const bool deadline = strcmp(name, "mr-deadline") == 0;

                snprintf(replayed->text + at, sizeof replayed->text - at, "|%s:%.*s", name, deadline ? 1 : (int)value.len,
                         deadline ? "D" : value.data);
        }
        replayed->count++;
        return true;
}

Test(cli_dlq, replay_publishes_to_the_origin_with_fresh_headers)
{
        struct replayed replayed = {0};

        put_some();
        DLQ("replay", "--kind", "embed");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_FAILED, "one letter names a topic that is none of ours");
        cr_assert_eq(kafka_read_topic(kafka, "enrich.embed.bulk", -1, NULL, note_replayed, &replayed, 10000, &err), 0, "%s",
                     err.message);
        cr_assert_eq(replayed.count, 2);
        cr_assert_str_eq(replayed.text,
                         "k1={\"id\":\"e2\",\"tenant\":\"acme\",\"input\":\"needle\"}|x-mine:kept|mr-replays:3|mr-attempts:0|"
                         "mr-deadline:D");
        cr_assert_eq(kafka_partition_count(kafka, "some.other.topic", 10000, &err), 0, "nothing made that topic");
}

Test(cli_dlq, replay_of_named_letters_and_bounds)
{
        struct replayed replayed = {0};

        put_some();
        DLQ("replay", "--dry-run");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_FAILED);
        cr_assert_eq(kafka_read_topic(kafka, "enrich.embed.bulk", -1, NULL, note_replayed, &replayed, 10000, &err), 0, "%s",
                     err.message);
        cr_assert_eq(replayed.count, 0, "a dry run writes nothing");
        DLQ("replay", "--max", "1");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_DONE);
        DLQ("replay", "enrich.embed.dlq:0:1", "enrich.embed.dlq:0:01", "--code", "never-asked");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_DONE, "named twice, sent once");
        DLQ("replay", "enrich.embed.dlq:0:0");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_FAILED, "it has been replayed");
        cr_assert_eq(kafka_read_topic(kafka, "enrich.embed.bulk", -1, NULL, note_replayed, &replayed, 10000, &err), 0, "%s",
                     err.message);
        cr_assert_eq(replayed.count, 2);
        DLQ("replay", "enrich.embed.dlq:0:77");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_FAILED);
        DLQ("replay", "bad");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_USAGE);
}

Test(cli_dlq, what_is_parked_or_purged_is_passed_over_until_asked_for)
{
        put_some();
        DLQ("park", "--code", "timeout", "--by", "ann");
        cr_assert_eq(dlq_mark(&arguments, &walk, LETTER_PARKED), EXIT_DONE);
        DLQ("purge", "--kind", "llm");
        cr_assert_eq(dlq_mark(&arguments, &walk, LETTER_PURGED), EXIT_DONE);
        DLQ("ls", "--state", "open");
        assert_walk("e2,,");
        DLQ("ls", "--state", "parked,purged");
        assert_walk("e1,l1,");
        DLQ("ls", "--state", "all");
        assert_walk("e1,e2,,l1,");
        DLQ("park", "--undo");
        cr_assert_eq(dlq_mark(&arguments, &walk, LETTER_PARKED), EXIT_DONE);
        DLQ("ls", "--state", "open");
        assert_walk("e1,e2,,");
        DLQ("purge", "--all", "--undo");
        cr_assert_eq(dlq_mark(&arguments, &walk, LETTER_PURGED), EXIT_USAGE);
}

Test(cli_dlq, an_option_that_an_action_does_not_heed_is_refused)
{
        put_some();
        DLQ("park", "--dry-run");
        cr_assert_eq(command_dlq.run(&arguments), EXIT_USAGE);
        DLQ("purge", "--dry-run", "--all", "--yes");
        cr_assert_eq(command_dlq.run(&arguments), EXIT_USAGE);
        DLQ("park", "--all");
        cr_assert_eq(command_dlq.run(&arguments), EXIT_USAGE);
        DLQ("replay", "--reason", "mended");
        cr_assert_eq(command_dlq.run(&arguments), EXIT_USAGE);
        DLQ("stats", "--max", "1");
        cr_assert_eq(command_dlq.run(&arguments), EXIT_USAGE);
        DLQ("ls", "enrich.embed.dlq:0:0");
        cr_assert_eq(command_dlq.run(&arguments), EXIT_USAGE);
        DLQ("ls", "--state", "open");
        assert_walk("e1,e2,,l1,");
}

static bool note_reason(void *user, const struct record *record)
{
        size_t *counts = user;
        AUTO_BUFFER text = {0};

        buffer_init(&text, 4096);
        buffer_span(&text, record->value);
        counts[0]++;
        counts[1] += text.data && strstr(text.data, "\"reason\":") ? 1 : 0;
        return true;
}

Test(cli_dlq, a_state_record_gives_a_reason_only_where_there_is_one)
{
        size_t counts[2] = {0};

        put_some();
        DLQ("replay", "enrich.embed.dlq:0:0");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_DONE);
        cr_assert_eq(kafka_read_topic(kafka, "enrich.dlq.state", -1, NULL, note_reason, counts, 10000, &err), 0, "%s", err.message);
        cr_assert_eq(counts[0], 1);
        cr_assert_eq(counts[1], 0, "it was replayed: nothing stood in the way");
        DLQ("replay", "enrich.embed.dlq:0:1", "--replays-max", "2");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_DONE);
        counts[0] = 0;
        cr_assert_eq(kafka_read_topic(kafka, "enrich.dlq.state", -1, NULL, note_reason, counts, 10000, &err), 0, "%s", err.message);
        cr_assert_eq(counts[0], 2);
        cr_assert_eq(counts[1], 1, "it was parked for that");
}

Test(cli_dlq, a_letter_replayed_too_often_is_parked)
{
        struct replayed replayed = {0};

        put_some();
        DLQ("replay", "--kind", "embed", "--code", "timeout", "--replays-max", "2");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_DONE);
        cr_assert_eq(kafka_read_topic(kafka, "enrich.embed.bulk", -1, NULL, note_replayed, &replayed, 10000, &err), 0, "%s",
                     err.message);
        cr_assert_eq(replayed.count, 0);
        DLQ("ls", "--state", "parked");
        assert_walk("e1,");
}

Test(cli_dlq, another_lane_may_be_named_and_nothing_else)
{
        struct replayed replayed = {0};

        put_some();
        DLQ("replay", "enrich.embed.dlq:0:0", "--to", "enrich.llm.bulk");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_FAILED);
        DLQ("replay", "--to", "enrich.embed.dlq");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_USAGE);
        DLQ("replay", "--to", "enrich.embed.interactive", "--kind", "llm");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_USAGE);
        DLQ("replay", "--to", "enrich.embed.interactive", "--code", "timeout");
        cr_assert_eq(dlq_replay(&arguments, &walk), EXIT_DONE);
        cr_assert_eq(kafka_read_topic(kafka, "enrich.embed.interactive", -1, NULL, note_replayed, &replayed, 10000, &err), 0, "%s",
                     err.message);
        cr_assert_eq(replayed.count, 1);
}

/* A letter of what was replayed to that offset of enrich.embed.bulk's partition 0. */
static void put_echo(const char *class, const char *offset)
{
        const struct outgoing_header headers[] = {
                {"mr-dlq-error-class", span_of(class)},
                {"mr-dlq-original-topic", SPAN("enrich.embed.bulk")},
                {"mr-dlq-original-partition", SPAN("0")},
                {"mr-dlq-original-offset", span_of(offset)},
        };
        const struct outgoing outgoing = {.topic = "enrich.embed.dlq",
                                          .partition = 0,
                                          .value = SPAN("{}"),
                                          .headers = headers,
                                          .header_count = COUNT_OF(headers)};

        cr_assert_eq(kafka_publish(kafka, &outgoing, 10000, NULL, &err), 0, "%s", err.message);
}

Test(cli_dlq, half_of_what_was_replayed_coming_back_is_a_flood)
{
        struct dlq_echo *echo = dlq_echo_new(kafka, &err);
        char offset[16];
        bool flood = true;

        cr_assert(echo, "%s", err.message);
        put_echo("data", "5"); /* there before: of no interest */
        cr_assert_eq(dlq_echo_watch(echo, "enrich.embed.dlq", &err), 0, "%s", err.message);
        for (int i = 0; i < 40; i++)
                dlq_echo_sent(echo, "enrich.embed.bulk", &(struct producer_ack){.offset = i, .partition = 0}, ERR_DATA);
        for (int i = 0; i < 19; i++) {
                snprintf(offset, sizeof offset, "%d", i);
                put_echo(i < 9 ? "data" : "dependency", offset);
                put_echo("data", i < 2 ? "0" : "777"); /* once more, and another's */
        }
        cr_assert_eq(dlq_echo_look(echo, &flood, &err), 0, "%s", err.message);
        cr_assert_not(flood, "19 are too few to judge");
        put_echo("data", "19");
        cr_assert_eq(dlq_echo_look(echo, &flood, &err), 0, "%s", err.message);
        cr_assert(flood, "10 of 20 with the class they had");
        put_echo("model", "21");
        cr_assert_eq(dlq_echo_look(echo, &flood, &err), 0, "%s", err.message);
        cr_assert_not(flood, "10 of 22");
        dlq_echo_free(echo);
}

Test(cli_dlq, a_place_is_read_strictly)
{
        char topic[TOPIC_NAME_BYTES];
        int32_t partition;
        int64_t offset;

        cr_assert(letter_parse_place("a.b:3:17", topic, &partition, &offset));
        cr_assert_str_eq(topic, "a.b");
        cr_assert_eq(partition, 3);
        cr_assert_eq(offset, 17);
        cr_assert_not(letter_parse_place("a.b:3", topic, &partition, &offset));
        cr_assert_not(letter_parse_place(":3:17", topic, &partition, &offset));
        cr_assert_not(letter_parse_place("a:x:17", topic, &partition, &offset));
        cr_assert_not(letter_parse_place("a:3:17x", topic, &partition, &offset));
        cr_assert_not(letter_parse_place("a:3:-1", topic, &partition, &offset));
        cr_assert_not(letter_parse_place("a:99999999999:1", topic, &partition, &offset));
}
