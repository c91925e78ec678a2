#include "queues/kafka/producer.h"

#include "config/base/digest.h"
#include "tests/unit/queues/test_kafka_rig.h"

struct waiting {
        struct op op;
        bool done;
};

static void on_done(struct op *op)
{
        CONTAINER_OF(op, struct waiting, op)->done = true;
}

static bool is_done(void *user)
{
        return ((struct waiting *)user)->done;
}

static struct waiting waiting(void)
{
        struct waiting w = {0};

        op_init(&w.op, on_done);
        return w;
}

static struct producer *open_producer(struct rig *rig)
{
        struct error err = {0};
        struct producer *producer = producer_new(rig->loop, &rig->settings, &err);

        cr_assert(producer, "%s", err.message);
        return producer;
}

struct seen {
        size_t count;
        struct record records[64];
        char text[64][64];
};

static bool keep(void *user, const struct record *record)
{
        struct seen *seen = user;

        cr_assert_lt(seen->count, 64);
        seen->records[seen->count] = *record;
        snprintf(seen->text[seen->count++], 64, "%.*s", (int)record->value.len, record->value.data ? record->value.data : "");
        return true;
}

static bool check_headers(void *user, const struct record *record)
{
        struct span value;
        const char *name;

        (void)user;
        cr_assert(span_is(record->key, "k"));
        cr_assert(span_is(record->value, "v"));
        cr_assert_eq(record->timestamp_ms, 1700000000123);
        cr_assert(record_header(record, "mr-step", &value));
        cr_assert(span_is(value, "2"), "the last of a name wins");
        cr_assert(record_header(record, "empty", &value));
        cr_assert(value.data && value.len == 0);
        cr_assert(record_header(record, "null", &value));
        cr_assert(value.data == NULL);
        cr_assert_not(record_header(record, "other", &value));
        cr_assert(record_header_at(record, 0, &name, &value));
        cr_assert_str_eq(name, "mr-step");
        cr_assert(span_is(value, "1"));
        cr_assert(record_header_at(record, 3, &name, &value));
        cr_assert_not(record_header_at(record, 4, &name, &value));
        return true;
}

Test(producer, sends_key_value_headers_and_timestamp)
{
        struct rig rig;
        struct waiting w = waiting();
        struct producer_ack ack = {-1, -1};
        const struct outgoing_header headers[] = {
                {"mr-step", SPAN("1")}, {"mr-step", SPAN("2")}, {"empty", SPAN("")}, {"null", {NULL, 0}}};
        struct outgoing outgoing = {.topic = "t",
                                    .partition = 1,
                                    .key = SPAN("k"),
                                    .value = SPAN("v"),
                                    .headers = headers,
                                    .header_count = 4,
                                    .timestamp_ms = 1700000000123};
        struct producer *producer;
        struct error err = {0};

        rig_up(&rig);
        rig_topic(&rig, "t", 2);
        producer = open_producer(&rig);
        producer_send(producer, &w.op, &outgoing, &ack);
        cr_assert_eq(w.op.state, OP_BUSY);
        cr_assert(rig_until(&rig, is_done, &w));
        cr_assert_eq(w.op.err.code, CODE_NONE, "%s", w.op.err.message);
        cr_assert_eq(ack.partition, 1);
        cr_assert_eq(ack.offset, 0);
        cr_assert_eq(producer_pending(producer), 0);
        cr_assert_eq(producer_health(producer, &err), 0);
        cr_assert_eq(kafka_read_topic(rig.client, "t", -1, NULL, check_headers, NULL, 10000, &err), 0, "%s", err.message);
        producer_free(producer);
        rig_down(&rig);
}

Test(producer, places_keys_as_java_does_and_writes_tombstones)
{
        struct rig rig;
        struct producer *producer;
        struct seen seen = {0};
        struct error err = {0};

        rig_up(&rig);
        rig_topic(&rig, "t", 8);
        producer = open_producer(&rig);
        for (int i = 0; i < 20; i++) {
                char key[32];
                struct waiting w = waiting();
                struct producer_ack ack = {-1, -1};
                struct outgoing outgoing = {.topic = "t", .partition = -1, .value = {NULL, 0}};

                snprintf(key, sizeof key, "acme/doc-%d", i);
                outgoing.key = span_of(key);
                producer_send(producer, &w.op, &outgoing, &ack);
                cr_assert(rig_until(&rig, is_done, &w));
                cr_assert_eq(ack.partition, (int32_t)(digest_murmur2(span_of(key)) % 8), "key %s", key);
        }
        cr_assert_eq(kafka_read_topic(rig.client, "t", -1, NULL, keep, &seen, 10000, &err), 0, "%s", err.message);
        cr_assert_eq(seen.count, 20);
        for (size_t i = 0; i < seen.count; i++)
                cr_assert(seen.records[i].value.data == NULL && seen.records[i].value.len == 0);
        producer_free(producer);
        rig_down(&rig);
}

Test(producer, refuses_what_is_too_large)
{
        struct rig rig;
        struct waiting w = waiting();
        struct producer *producer;
        size_t bytes = 2000000;
        char *big;
        struct outgoing outgoing = {.topic = "t", .partition = 0};

        rig_up(&rig);
        rig_topic(&rig, "t", 1);
        producer = open_producer(&rig);
        big = calloc(1, bytes);
        outgoing.value = (struct span){big, bytes};
        producer_send(producer, &w.op, &outgoing, NULL);
        cr_assert(w.done, "at once");
        cr_assert_eq(w.op.err.code, CODE_TOO_LARGE, "%s", w.op.err.message);
        cr_assert_not(w.op.err.retriable);
        free(big);
        producer_free(producer);
        rig_down(&rig);
}

Test(producer, tells_of_a_record_too_large_for_the_broker)
{
        struct rig rig;
        struct waiting w = waiting();
        struct producer *producer;
        struct outgoing outgoing = {.topic = "t", .partition = 0, .value = SPAN("v")};

        rig_up(&rig);
        rig_topic(&rig, "t", 1);
        producer = open_producer(&rig);
        mock_broker_fail(rig.broker, 0, 10, 1); /* Produce: MESSAGE_TOO_LARGE */
        producer_send(producer, &w.op, &outgoing, NULL);
        cr_assert(rig_until(&rig, is_done, &w));
        cr_assert_eq(w.op.err.code, CODE_TOO_LARGE, "%s", w.op.err.message);
        producer_free(producer);
        rig_down(&rig);
}

Test(producer, an_aborted_send_is_never_told)
{
        struct rig rig;
        struct waiting first = waiting(), second = waiting();
        struct producer_ack ack = {-1, -1};
        struct producer *producer;
        struct outgoing outgoing = {.topic = "t", .partition = 0, .value = SPAN("v")};

        rig_up(&rig);
        rig_topic(&rig, "t", 1);
        producer = open_producer(&rig);
        producer_send(producer, &first.op, &outgoing, &ack);
        op_abort(&first.op);
        producer_send(producer, &second.op, &outgoing, NULL);
        producer_send(producer, NULL, &outgoing, NULL);
        cr_assert(rig_until(&rig, is_done, &second));
        cr_assert_not(first.done);
        cr_assert_eq(ack.offset, -1);
        cr_assert_eq(producer_flush(producer, 10000), 0);
        producer_free(producer);
        rig_down(&rig);
}

Test(producer, what_is_under_way_when_it_is_freed_ends_as_unavailable)
{
        struct rig rig;
        struct waiting w = waiting();
        struct producer *producer;
        struct outgoing outgoing = {.topic = "t", .partition = 0, .value = SPAN("v")};

        rig_up(&rig);
        rig_topic(&rig, "t", 1);
        mock_broker_down(rig.broker);
        producer = open_producer(&rig);
        producer_send(producer, &w.op, &outgoing, NULL);
        cr_assert_eq(producer_flush(producer, 10), 1);
        producer_free(producer);
        cr_assert(w.done);
        cr_assert_eq(w.op.err.code, CODE_UNAVAILABLE, "%s", w.op.err.message);
        cr_assert(w.op.err.retriable);
        rig_down(&rig);
}

static void refused(const char *key, const char *value, const char *secret)
{
        struct rig rig;
        struct setting_pair option = {strdup(key), strdup(value)};
        struct error err = {0};

        rig_up(&rig);
        rig.settings.kafka.options = &option;
        rig.settings.kafka.option_count = 1;
        cr_assert_null(producer_new(rig.loop, &rig.settings, &err));
        cr_assert_eq(err.code, CODE_SCHEMA);
        cr_assert(strstr(err.message, key), "%s", err.message);
        cr_assert_null(strstr(err.message, secret), "%s", err.message);
        rig_down(&rig);
        free(option.key);
        free(option.value);
}

Test(producer, unknown_and_reserved_options_are_faults_that_do_not_show_the_value)
{
        refused("no.such.option", "hunter2", "hunter2");
        refused("linger.ms", "hunter2", "hunter2");
        refused("enable.idempotence", "false", "false");
        refused("acks", "none", "none");
}
