#include "queues/kafka/kafka_client.h"

#include "tests/unit/queues/test_kafka_rig.h"

struct plan {
        int next, count, acks;
        size_t bytes;
        char *value;
};

static bool next_value(void *user, struct outgoing *outgoing)
{
        struct plan *plan = user;

        if (plan->next == plan->count)
                return false;
        plan->next++;
        *outgoing = (struct outgoing){.topic = "t", .partition = plan->next % 2, .value = {plan->value, plan->bytes}};
        return true;
}

static void count_ack(void *user, int64_t number, const struct producer_ack *ack)
{
        struct plan *plan = user;

        cr_assert(number >= 0 && number < plan->count);
        cr_assert_geq(ack->offset, 0);
        plan->acks++;
}

static bool count_record(void *user, const struct record *record)
{
        (void)record;
        ++*(int *)user;
        return true;
}

static bool stop_at_three(void *user, const struct record *record)
{
        (void)record;
        return ++*(int *)user < 3;
}

static void keep_offset(void *user, const struct record *record)
{
        *(int64_t *)user = record->offset;
}

Test(kafka_client, publishes_more_than_its_queue_holds_and_reads_it_back)
{
        struct rig rig;
        struct plan plan = {.count = 45000, .bytes = 20};
        struct error err = {0};
        int64_t acked = 0, from[2] = {22400, 22499};
        int seen = 0;

        rig_up(&rig);
        rig_topic(&rig, "t", 2);
        plan.value = calloc(1, plan.bytes);
        cr_assert_eq(kafka_publish_all(rig.client, next_value, count_ack, &plan, 10000, &acked, &err), 0, "%s", err.message);
        cr_assert_eq(acked, 45000);
        cr_assert_eq(plan.acks, 45000);
        cr_assert_eq(kafka_read_topic(rig.client, "t", -1, NULL, count_record, &seen, 10000, &err), 0, "%s", err.message);
        cr_assert_eq(seen, 45000);
        seen = 0;
        cr_assert_eq(kafka_read_topic(rig.client, "t", -1, from, count_record, &seen, 10000, &err), 0, "%s", err.message);
        cr_assert_eq(seen, 101);
        seen = 0;
        cr_assert_eq(kafka_read_topic(rig.client, "t", 1, NULL, stop_at_three, &seen, 10000, &err), 0, "%s", err.message);
        cr_assert_eq(seen, 3);
        free(plan.value);
        rig_down(&rig);
}

Test(kafka_client, stops_at_a_record_too_large_and_says_how_many_are_in)
{
        struct rig rig;
        struct plan plan = {.count = 3, .bytes = 3000000};
        struct error err = {0};
        int64_t acked = -1;

        rig_up(&rig);
        rig_topic(&rig, "t", 2);
        plan.value = calloc(1, plan.bytes);
        cr_assert_lt(kafka_publish_all(rig.client, next_value, count_ack, &plan, 10000, &acked, &err), 0);
        cr_assert_eq(err.code, CODE_TOO_LARGE, "%s", err.message);
        cr_assert_eq(acked, 0);
        free(plan.value);
        rig_down(&rig);
}

Test(kafka_client, finds_one_record_by_its_place)
{
        struct rig rig;
        struct error err = {0};
        int64_t offset = -1, begin, end;
        bool found = false;

        rig_up(&rig);
        rig_topic(&rig, "t", 2);
        for (int i = 0; i < 5; i++)
                rig_publish(&rig, "t", 1, "k", "v");
        cr_assert_eq(kafka_read_record(rig.client, "t", 1, 3, keep_offset, &offset, 10000, &found, &err), 0, "%s", err.message);
        cr_assert(found);
        cr_assert_eq(offset, 3);
        cr_assert_eq(kafka_read_record(rig.client, "t", 1, 5, keep_offset, &offset, 10000, &found, &err), 0, "%s", err.message);
        cr_assert_not(found);
        cr_assert_eq(kafka_read_record(rig.client, "t", 7, 0, keep_offset, &offset, 10000, &found, &err), 0, "%s", err.message);
        cr_assert_not(found);
        cr_assert_eq(kafka_offsets(rig.client, "t", 1, 10000, &begin, &end, &err), 0, "%s", err.message);
        cr_assert(begin == 0 && end == 5);
        rig_down(&rig);
}

Test(kafka_client, a_topic_that_is_not_there_has_no_records)
{
        struct rig rig;
        struct error err = {0};
        int seen = 0;

        rig_up(&rig);
        cr_assert_eq(kafka_partition_count(rig.client, "nowhere", 10000, &err), 0, "%s", err.message);
        cr_assert_eq(kafka_read_topic(rig.client, "nowhere", -1, NULL, count_record, &seen, 10000, &err), 0, "%s", err.message);
        cr_assert_eq(seen, 0);
        rig_down(&rig);
}

Test(kafka_client, a_broker_that_does_not_answer_is_a_bounded_wait)
{
        struct rig rig;
        struct outgoing outgoing = {.topic = "t", .partition = 0, .value = SPAN("v")};
        struct error err = {0};

        rig_up(&rig);
        rig_topic(&rig, "t", 1);
        mock_broker_down(rig.broker);
        cr_assert_lt(kafka_publish(rig.client, &outgoing, 300, NULL, &err), 0);
        cr_assert_eq(err.class, ERR_DEPENDENCY, "%s", err.message);
        cr_assert(err.retriable);
        rig_down(&rig);
}
