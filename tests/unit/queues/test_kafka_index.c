#include "queues/kafka/index_reader.h"

#include "tests/unit/queues/test_kafka_rig.h"

static const char topic[] = "enrich.index.docs.v1";

struct replica {
        struct index_reader *reader;
        size_t count, tombstones, batches, wanted, room; /* room: how many more it takes */
        int ends, ends_wanted;
        int64_t offsets[2000];
        int32_t partitions[2000];
};

static size_t take(void *user, const struct record *const *records, size_t count)
{
        struct replica *replica = user;
        size_t taken = count < replica->room ? count : replica->room;

        for (size_t i = 0; i < taken; i++) {
                cr_assert_lt(replica->count, 2000);
                replica->offsets[replica->count] = records[i]->offset;
                replica->partitions[replica->count++] = records[i]->partition;
                replica->tombstones += records[i]->value.data == NULL;
        }
        replica->room -= taken;
        replica->batches++;
        return taken;
}

static void at_end(void *user)
{
        ((struct replica *)user)->ends++;
}

static bool has_wanted(void *user)
{
        struct replica *replica = user;

        return replica->count >= replica->wanted && replica->ends >= replica->ends_wanted;
}

static bool has_fault(void *user)
{
        return index_reader_error(((struct replica *)user)->reader, NULL) < 0;
}

static void replica_open(struct rig *rig, struct replica *replica, const int64_t *positions, int partitions, int batch_max)
{
        struct index_reader_config config = {.topic = topic,
                                             .positions = positions,
                                             .partition_count = partitions,
                                             .batch_max = batch_max,
                                             .on_batch = take,
                                             .on_end = at_end,
                                             .user = replica};
        struct error err = {0};

        replica->reader = index_reader_new(rig->loop, &rig->settings, &config, &err);
        cr_assert(replica->reader, "%s", err.message);
}

struct plan {
        int next, count, partitions;
        char key[32], value[32];
};

/* Every fifth record is a tombstone. */
static bool next_chunk(void *user, struct outgoing *outgoing)
{
        struct plan *plan = user;

        if (plan->next == plan->count)
                return false;
        snprintf(plan->key, sizeof plan->key, "acme/doc-%d", plan->next);
        snprintf(plan->value, sizeof plan->value, "{\"n\":%d}", plan->next);
        *outgoing = (struct outgoing){.topic = topic, .partition = plan->next % plan->partitions, .key = span_of(plan->key)};
        if (plan->next % 5 != 0)
                outgoing->value = span_of(plan->value);
        plan->next++;
        return true;
}

static void publish_chunks(struct rig *rig, int count, int partitions)
{
        struct plan plan = {.count = count, .partitions = partitions};
        struct error err = {0};

        cr_assert_eq(kafka_publish_all(rig->client, next_chunk, NULL, &plan, 10000, NULL, &err), 0, "%s", err.message);
}

Test(index_reader, reads_all_partitions_to_their_ends_with_tombstones)
{
        struct rig rig;
        struct replica *replica = calloc(1, sizeof *replica);

        rig_up(&rig);
        rig_topic(&rig, topic, 4);
        publish_chunks(&rig, 1000, 4);
        *replica = (struct replica){.room = SIZE_MAX, .wanted = 1000, .ends_wanted = 1};
        replica_open(&rig, replica, NULL, 4, 0);
        cr_assert_not(index_reader_caught_up(replica->reader));
        cr_assert(rig_until(&rig, has_wanted, replica));
        cr_assert_eq(replica->count, 1000);
        cr_assert_eq(replica->tombstones, 200);
        cr_assert(index_reader_caught_up(replica->reader));
        cr_assert_eq(index_reader_lag(replica->reader), 0);
        for (int p = 0; p < 4; p++) {
                cr_assert_eq(index_reader_position(replica->reader, p), 250);
                cr_assert_eq(index_reader_end(replica->reader, p), 250);
        }
        /* And follows what comes later. */
        replica->wanted = 1008;
        replica->ends_wanted = 2;
        publish_chunks(&rig, 8, 4);
        cr_assert(rig_until(&rig, has_wanted, replica));
        cr_assert(index_reader_caught_up(replica->reader));
        index_reader_free(replica->reader);
        free(replica);
        rig_down(&rig);
}

Test(index_reader, goes_on_from_given_positions)
{
        struct rig rig;
        struct replica *replica = calloc(1, sizeof *replica);
        const int64_t positions[2] = {47, 50};

        rig_up(&rig);
        rig_topic(&rig, topic, 2);
        publish_chunks(&rig, 100, 2);
        *replica = (struct replica){.room = SIZE_MAX, .wanted = 3, .ends_wanted = 1};
        replica_open(&rig, replica, positions, 2, 0);
        cr_assert(rig_until(&rig, has_wanted, replica));
        cr_assert_eq(replica->count, 3);
        for (int i = 0; i < 3; i++) {
                cr_assert_eq(replica->partitions[i], 0);
                cr_assert_eq(replica->offsets[i], 47 + i);
        }
        cr_assert_eq(index_reader_position(replica->reader, 1), 50, "at its end from the start");
        index_reader_free(replica->reader);
        free(replica);
        rig_down(&rig);
}

Test(index_reader, what_the_receiver_does_not_take_comes_again_after_the_hold)
{
        struct rig rig;
        struct replica *replica = calloc(1, sizeof *replica);

        rig_up(&rig);
        rig_topic(&rig, topic, 1);
        publish_chunks(&rig, 100, 1);
        *replica = (struct replica){.room = 37, .wanted = 37};
        replica_open(&rig, replica, NULL, 1, 16);
        cr_assert(rig_until(&rig, has_wanted, replica));
        cr_assert_eq(index_reader_position(replica->reader, 0), 37);
        replica->room = SIZE_MAX;
        replica->wanted = 100;
        replica->ends_wanted = 1;
        index_reader_hold(replica->reader, true); /* as it is already, for want of room */
        index_reader_hold(replica->reader, false);
        cr_assert(rig_until(&rig, has_wanted, replica));
        for (int i = 0; i < 100; i++)
                cr_assert_eq(replica->offsets[i], i);
        index_reader_free(replica->reader);
        free(replica);
        rig_down(&rig);
}

Test(index_reader, a_position_past_the_end_is_a_fault_and_not_a_silent_reset)
{
        struct rig rig;
        struct replica *replica = calloc(1, sizeof *replica);
        const int64_t positions[1] = {4711};
        struct error err = {0};

        rig_up(&rig);
        rig_topic(&rig, topic, 1);
        publish_chunks(&rig, 10, 1);
        replica->room = SIZE_MAX;
        replica_open(&rig, replica, positions, 1, 0);
        cr_assert(rig_until(&rig, has_fault, replica));
        cr_assert_lt(index_reader_error(replica->reader, &err), 0);
        cr_assert(strstr(err.message, "4711"), "%s", err.message);
        cr_assert_eq(replica->count, 0);
        cr_assert_not(index_reader_caught_up(replica->reader));
        index_reader_free(replica->reader);
        free(replica);
        rig_down(&rig);
}
