/* Transactions against the mock broker, as far as it knows them: it takes the requests, but shows what was aborted. What a crash
 * leaves behind, and who fences whom, is tested on real Kafka (tests/system/case_dlq.py). */
#include "queues/kafka/kafka_delete.h"
#include "queues/kafka/kafka_transaction.h"
#include "tests/unit/queues/test_kafka_rig.h"

static struct rig rig;

static void set_up(void)
{
        rig_up(&rig);
}

static void tear_down(void)
{
        rig_down(&rig);
}

TestSuite(kafka_transaction, .init = set_up, .fini = tear_down, .timeout = 60);

static bool count_record(void *user, const struct record *record)
{
        (void)record;
        ++*(int *)user;
        return true;
}

static int count(const char *topic)
{
        struct error err;
        int seen = 0;

        cr_assert_eq(kafka_read_topic(rig.client, topic, -1, NULL, count_record, &seen, 10000, &err), 0, "%s", err.message);
        return seen;
}

Test(kafka_transaction, publishes_all_and_says_where)
{
        struct outgoing records[] = {
                {.topic = "one", .partition = 0, .key = SPAN("k"), .value = SPAN("1")},
                {.topic = "two", .partition = 1, .value = SPAN("2")},
                {.topic = "one", .partition = 0, .value = SPAN("3")},
        };
        struct kafka_transactions *transactions;
        struct producer_ack acks[3];
        struct error err;
        bool unknown;

        rig_topic(&rig, "one", 1);
        rig_topic(&rig, "two", 2);
        transactions = kafka_transactions_new(&rig.settings, "t", 20000, &err);
        cr_assert(transactions, "%s", err.message);
        for (int64_t round = 0; round < 2; round++) {
                cr_assert_eq(kafka_transactions_publish(transactions, records, 3, 20000, acks, &unknown, &err), 0, "%s",
                             err.message);
                cr_assert_eq(acks[0].offset, 2 * round);
                cr_assert_eq(acks[1].partition, 1);
                cr_assert_eq(acks[2].offset, 2 * round + 1);
        }
        cr_assert_not(kafka_transactions_fenced(transactions));
        kafka_transactions_free(transactions);
        cr_assert_eq(count("one"), 4);
        cr_assert_eq(count("two"), 2);
}

Test(kafka_transaction, what_is_refused_here_ends_it_and_the_next_one_may_pass)
{
        const struct outgoing bad[] = {
                {.topic = "one", .partition = 0, .value = SPAN("1")},
                {.topic = "one", .partition = 0, .value = SPAN("2"), .header_count = OUTGOING_HEADERS_MAX + 1}};
        const struct outgoing good = {.topic = "one", .partition = 0, .value = SPAN("3")};
        struct kafka_transactions *transactions;
        struct producer_ack ack;
        struct error err;
        bool unknown = true;

        rig_topic(&rig, "one", 1);
        transactions = kafka_transactions_new(&rig.settings, "t", 20000, &err);
        cr_assert(transactions, "%s", err.message);
        cr_assert_eq(kafka_transactions_publish(transactions, bad, 2, 20000, NULL, &unknown, &err), -1);
        cr_assert_eq(err.code, CODE_TOO_LARGE, "%s", err.message);
        cr_assert_not(unknown);
        cr_assert_eq(kafka_transactions_publish(transactions, &good, 1, 20000, &ack, &unknown, &err), 0, "%s", err.message);
        kafka_transactions_free(transactions);
}

Test(kafka_transaction, what_the_broker_refuses_ends_it_and_a_fence_is_told)
{
        const struct outgoing record = {.topic = "one", .partition = 0, .value = SPAN("1")};
        struct kafka_transactions *transactions;
        struct error err;
        bool unknown = true;

        rig_topic(&rig, "one", 1);
        transactions = kafka_transactions_new(&rig.settings, "t", 20000, &err);
        cr_assert(transactions, "%s", err.message);
        mock_broker_fail(rig.broker, 0, 10, 1); /* Produce: MESSAGE_TOO_LARGE */
        cr_assert_eq(kafka_transactions_publish(transactions, &record, 1, 20000, NULL, &unknown, &err), -1);
        cr_assert_not(unknown, "%s", err.message);
        cr_assert_not(kafka_transactions_fenced(transactions));
        kafka_transactions_free(transactions);
        transactions = kafka_transactions_new(&rig.settings, "t", 20000, &err);
        cr_assert(transactions, "%s", err.message);
        mock_broker_fail(rig.broker, 26, 90, 1); /* EndTxn: PRODUCER_FENCED */
        cr_assert_eq(kafka_transactions_publish(transactions, &record, 1, 20000, NULL, &unknown, &err), -1);
        cr_assert(kafka_transactions_fenced(transactions), "%s", err.message);
        cr_assert_not(unknown);
        kafka_transactions_free(transactions);
}

Test(kafka_transaction, no_broker_is_told_in_time)
{
        struct error err;

        mock_broker_down(rig.broker);
        cr_assert_null(kafka_transactions_new(&rig.settings, "t", 300, &err));
        cr_assert_eq(error_code_class(err.code), ERR_DEPENDENCY, "%s", err.message);
        mock_broker_up(rig.broker);
}

Test(kafka_transaction, deleting_nothing_asks_nobody_and_the_mock_cannot_delete)
{
        const int64_t nothing[] = {0, 0}, something[] = {1, 0};
        struct error err;

        mock_broker_down(rig.broker);
        cr_assert_eq(kafka_delete_before(&rig.settings, "one", nothing, 2, 1000, &err), 0);
        cr_assert_eq(kafka_delete_before(&rig.settings, "one", something, 2, 1000, &err), -1);
        mock_broker_up(rig.broker);
}
