/* Jobs: what their records come to is counted once; a paused job's records wait, a cancelled one's end as cancelled. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "config/base/clock.h"
#include "queues/job_record.h"
#include "queues/kafka/kafka_client.h"
#include "tests/flow/flow_rig.h"

TestSuite(flow_jobs, .init = flow_up, .fini = flow_down, .timeout = 120);

#define PROGRESS "mr:{job:default:backfill}:progress"

/* A record of the job; seq NULL: without a number. replays: "0", … */
static void publish(const char *id, const char *seq, const char *replays, const char *members)
{
        const char *const headers[] = {"mr-replays", replays, seq ? "mr-job-seq" : NULL, seq, NULL};
        char json[512];

        snprintf(json, sizeof json, "{\"id\":\"%s\",\"job\":\"backfill\",%s}", id, members);
        flow_publish("embed", "bulk", id, json, strlen(json), headers);
}

/* Waits until a member of the job's hash is that. */
static void await_count(const char *member, const char *value)
{
        const struct timespec pause = {0, 5000000};
        const char *is = "";

        for (int i = 0; i < RIG_WAIT_MS / 5; i++) {
                is = flow_redis("HGET " PROGRESS " %s", member);
                if (strcmp(is, value) == 0)
                        return;
                nanosleep(&pause, NULL);
        }
        cr_assert_str_eq(is, value, "%s is %s, not %s", member, is, value);
}

static void say(enum job_state state)
{
        struct job_state_record said = {.state = state, .at_wall_ms = clock_wall_ms(), .by = "test"};
        struct outgoing outgoing = {.topic = "enrich.control", .partition = 0, .key = SPAN("job/default/backfill")};
        struct kafka_client *client;
        struct producer_ack ack;
        struct error err;
        AUTO_BUFFER value = {0};

        buffer_init(&value, JOB_RECORD_BYTES_MAX);
        job_state_render(&value, &said);
        outgoing.value = buffer_view(&value);
        client = kafka_client_new(flow_settings(), &err);
        cr_assert(client, "%s", err.message);
        cr_assert_eq(kafka_publish(client, &outgoing, RIG_WAIT_MS, &ack, &err), 0, "%s", err.message);
        kafka_client_free(client);
}

/* How many records a topic holds that have this key. */
struct holds {
        const char *key;
        size_t count;
        bool numbered;
};

static bool see(void *user, const struct record *record)
{
        struct holds *holds = user;
        struct span value;

        if (span_is(record->key, holds->key)) {
                holds->count++;
                holds->numbered = record_header(record, "mr-job-seq", &value);
        }
        return true;
}

static struct holds topic_holds(const char *topic, const char *key)
{
        struct holds holds = {.key = key};
        struct kafka_client *client;
        struct error err;

        client = kafka_client_new(flow_settings(), &err);
        cr_assert(client && kafka_read_topic(client, topic, -1, NULL, see, &holds, RIG_WAIT_MS, &err) == 0);
        kafka_client_free(client);
        return holds;
}

Test(flow_jobs, each_record_counts_once_though_it_comes_twice)
{
        publish("a", "1", "0", "\"input\":\"a\",\"model\":\"minilm\"");
        publish("b", "2", "0", "\"input\":\"b\",\"model\":\"minilm\"");
        publish("a", "1", "0", "\"input\":\"a\",\"model\":\"minilm\"");
        publish("c", "3", "0", "\"input\":3");
        await_count("ok", "2");
        await_count("failed", "1");
        await_count("code:data.schema", "1");
        publish("a", "1", "0", "\"input\":\"a\",\"model\":\"minilm\"");
        publish("d", "4", "0", "\"input\":\"d\",\"model\":\"minilm\"");
        await_count("ok", "3");
        cr_assert_str_eq(flow_redis("HGET " PROGRESS " failed"), "1");
        cr_assert_gt(strtoll(flow_redis("HGET " PROGRESS " input_tokens"), NULL, 10), 0);
        cr_assert_gt(strtoll(flow_redis("HGET " PROGRESS " cost_pico"), NULL, 10), 0);
        flow_letters("embed", 1);
        cr_assert_str_eq(flow_letter_header("mr-job-seq"), "3", "a letter keeps the number");
}

Test(flow_jobs, a_count_lost_in_a_crash_is_made_up_by_the_next_delivery)
{
        char tokens[32];

        publish("a", "1", "0", "\"input\":\"one two three\",\"model\":\"minilm\"");
        await_count("ok", "1");
        snprintf(tokens, sizeof tokens, "%s", flow_redis("HGET " PROGRESS " input_tokens"));
        flow_redis("DEL " PROGRESS);
        flow_redis("DEL mr:{job:default:backfill}:ended:0");
        publish("a", "1", "0", "\"input\":\"one two three\",\"model\":\"minilm\"");
        await_count("ok", "1");
        cr_assert_str_eq(flow_redis("HGET " PROGRESS " input_tokens"), tokens, "as the stored result says");
}

Test(flow_jobs, a_replay_betters_a_failure)
{
        flow_stub("p5xx=1");
        publish("a", "1", "0", "\"input\":\"a\",\"model\":\"minilm\"");
        await_count("failed", "1");
        await_count("code:dependency.unavailable", "1");
        flow_stub("p5xx=0");
        publish("a", "1", "1", "\"input\":\"a\",\"model\":\"minilm\"");
        await_count("ok", "1");
        await_count("failed", "0");
        await_count("code:dependency.unavailable", "0");
}

Test(flow_jobs, a_paused_jobs_records_wait_and_go_on_when_it_is_resumed)
{
        json_t *tree;

        say(JOB_PAUSED);
        flow_restart(NULL);
        publish("a", "1", "0", "\"input\":\"a\"");
        flow_submit("embed", "{\"id\":\"other\",\"input\":\"x\",\"job\":\"another\"}");
        cr_assert_str_eq(flow_ending("other"), "ok");
        while (topic_holds("enrich.embed.retry.1s", "a").count + topic_holds("enrich.embed.retry.2s", "a").count == 0)
                ;
        cr_assert_not(flow_has_result("default", "a"));
        cr_assert(topic_holds("enrich.embed.retry.1s", "a").numbered, "the number goes with it");
        say(JOB_RUNNING);
        tree = flow_result("default", "a");
        cr_assert_str_eq(flow_text(tree, "status"), "ok");
        cr_assert_eq(json_integer_value(flow_at(tree, "attempts")), 1, "a pause burns no attempt");
        cr_assert_str_eq(flow_text(tree, "source.topic"), "enrich.embed.bulk");
        json_decref(tree);
        await_count("ok", "1");
}

Test(flow_jobs, a_paused_record_past_its_deadline_expires)
{
        say(JOB_PAUSED);
        flow_restart(NULL);
        publish("a", "1", "0", "\"input\":\"a\",\"timeout_ms\":300");
        cr_assert_str_eq(flow_ending("a"), "expired serving.deadline");
        await_count("expired", "1");
}

Test(flow_jobs, a_cancelled_jobs_records_end_as_cancelled_without_letters)
{
        json_t *tree;

        publish("before", "1", "0", "\"input\":\"a\"");
        await_count("ok", "1");
        say(JOB_CANCELLED);
        flow_restart(NULL);
        publish("a", "2", "0", "\"input\":\"a\"");
        publish("faulty", "3", "0", "\"input\":5");
        publish("before", "1", "0", "\"input\":\"a\"");
        tree = flow_result("default", "a");
        cr_assert_str_eq(flow_text(tree, "status"), "cancelled");
        cr_assert_str_eq(flow_text(tree, "error.code"), "cancelled");
        cr_assert_str_eq(flow_text(tree, "kind"), "embed");
        json_decref(tree);
        cr_assert_str_eq(flow_ending("faulty"), "cancelled serving.cancelled");
        await_count("cancelled", "2");
        cr_assert_str_eq(flow_ending("before"), "ok");
        cr_assert_str_eq(flow_redis("HGET " PROGRESS " ok"), "1");
        cr_assert_eq(flow_letters("embed", 0), 0);
        cr_assert_eq(flow_stub_count("requests"), 0);
}

Test(flow_jobs, what_waits_of_a_paused_job_is_cancelled_with_it)
{
        say(JOB_PAUSED);
        flow_restart(NULL);
        publish("a", "1", "0", "\"input\":\"a\"");
        while (topic_holds("enrich.embed.retry.1s", "a").count == 0)
                ;
        say(JOB_CANCELLED);
        cr_assert_str_eq(flow_ending("a"), "cancelled serving.cancelled");
        await_count("cancelled", "1");
}
