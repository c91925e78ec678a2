/* What has ended above the mark, from one source to the next: by the commit's metadata on the mock broker. */
#include <librdkafka/rdkafka.h>

#include "config/base/clock.h"
#include "queues/kafka/group_offsets.h"
#include "queues/kafka/offset_codec.h"
#include "queues/kafka/source.h"
#include "tests/unit/queues/test_kafka_rig.h"

enum { OFFSET_FETCH = 9, OFFSET_COMMIT = 8, NOT_COORDINATOR = 16, METADATA_TOO_LARGE = 12 };

static const char *const topics[] = {"enrich.embed.bulk"};
static const char group[] = "millrace.embed.bulk";
static const struct source_config embed = {.group = group,
                                           .topics = topics,
                                           .topic_count = 1,
                                           .profile = SOURCE_BULK,
                                           .commit_interval_ms = 50,
                                           .revoke_drain_ms = 200};

static bool next_of_many(void *user, struct outgoing *outgoing)
{
        int *left = user;

        *outgoing = (struct outgoing){.topic = topics[0], .partition = 0, .key = SPAN("k"), .value = SPAN("v")};
        return (*left)-- > 0;
}

static void publish(struct rig *rig, int count)
{
        struct error err = {0};
        int64_t acked = 0;
        int left = count;

        cr_assert_eq(kafka_publish_all(rig->client, next_of_many, NULL, &left, 10000, &acked, &err), 0, "%s", err.message);
        cr_assert_eq(acked, count);
}

/* What the group has committed, and the text beside it. */
struct commit {
        struct rig *rig;
        struct group_reader *reader;
        int64_t offset, wanted, top; /* top: behind the highest offset that the text names */
        enum offset_text text;
        struct watermark marks;
};

static void keep_commit(void *user, int32_t partition, int64_t committed, struct span metadata)
{
        struct commit *commit = user;

        cr_assert_eq(partition, 0);
        commit->offset = committed;
        watermark_reset(&commit->marks);
        if (committed >= 0)
                commit->text = offset_codec_decode(metadata, committed, &commit->marks);
        commit->top = commit->marks.top;
}

static void read_commit(struct commit *commit)
{
        struct error err = {0};

        cr_assert_eq(group_reader_read(commit->reader, group, topics[0], 1, keep_commit, commit, 5000, &err), 0, "%s", err.message);
}

static bool commit_is_there(void *user)
{
        struct commit *commit = user;

        read_commit(commit);
        return commit->offset >= 0 && commit->top == commit->wanted;
}

static void commit_up(struct commit *commit, struct rig *rig, int64_t wanted)
{
        struct error err = {0};

        *commit = (struct commit){.rig = rig, .reader = group_reader_new(&rig->settings, &err), .wanted = wanted};
        cr_assert(commit->reader, "%s", err.message);
        cr_assert_eq(watermark_init(&commit->marks, 65536), 0);
}

static void commit_down(struct commit *commit)
{
        group_reader_free(commit->reader);
        watermark_fini(&commit->marks);
}

/* As any other tool would. */
static void commit_by_hand(struct rig *rig, int64_t offset, const char *metadata)
{
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_add(list, topics[0], 0);
        rd_kafka_t *kafka;

        rd_kafka_conf_set(conf, "bootstrap.servers", rig->brokers, NULL, 0);
        rd_kafka_conf_set(conf, "group.id", group, NULL, 0);
        kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, NULL, 0);
        entry->offset = offset;
        entry->metadata = strdup(metadata);
        entry->metadata_size = strlen(metadata);
        cr_assert_eq(rd_kafka_commit(kafka, list, 0), 0);
        rd_kafka_topic_partition_list_destroy(list);
        rd_kafka_destroy(kafka);
}

static bool some_turns_passed(void *user)
{
        return ++*(int *)user > 20;
}

static void end_at(struct taker *taker, size_t at)
{
        source_done(taker->records[at]);
        taker->records[at] = NULL;
}

Test(source_map, a_commit_is_made_though_only_what_lies_above_has_changed)
{
        struct rig rig;
        struct taker taker = {.wanted = 6};
        struct commit commit;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish(&rig, 6);
        commit_up(&commit, &rig, 5);
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, taker_full, &taker));
        end_at(&taker, 2);
        end_at(&taker, 4);
        cr_assert(rig_until(&rig, commit_is_there, &commit));
        cr_assert_eq(commit.offset, 0);
        cr_assert_eq(commit.text, OFFSET_TEXT_OURS);
        cr_assert(watermark_known(&commit.marks, 2) && watermark_known(&commit.marks, 4));
        cr_assert_not(watermark_known(&commit.marks, 1) || watermark_known(&commit.marks, 3));
        taker_drop_all(&taker);
        source_free(taker.source, 5000);
        commit_down(&commit);
        rig_down(&rig);
}

Test(source_map, what_is_known_goes_on_with_the_next_commit_before_it_has_come_again)
{
        struct rig rig;
        struct taker first = {.wanted = 300}, second = {.wanted = 64};
        struct source_config narrow = embed;
        struct commit commit;

        narrow.turn_max = 64;
        narrow.profile = SOURCE_RETRY;
        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish(&rig, 300);
        commit_up(&commit, &rig, 300);
        taker_open(&rig, &first, embed);
        cr_assert(rig_until(&rig, taker_full, &first));
        for (size_t i = 100; i < 300; i++)
                end_at(&first, i);
        taker_drop_all(&first);
        source_free(first.source, 5000);
        read_commit(&commit);
        cr_assert_eq(commit.top, 300);

        taker_open(&rig, &second, narrow);
        cr_assert(rig_until(&rig, taker_full, &second));
        source_hold(second.source, true); /* no further than that */
        end_at(&second, 0);
        taker_drop_all(&second);
        source_free(second.source, 5000);
        read_commit(&commit);
        cr_assert_eq(commit.offset, 1);
        cr_assert_eq(commit.top, 300, "not forgotten: %lld", (long long)commit.top);
        commit_down(&commit);
        rig_down(&rig);
}

Test(source_map, metadata_of_others_is_ignored_and_nothing_is_lost)
{
        static const char *const texts[] = {"aGVsbG8gd29ybGQ=", "mr1bXPSFJFs=", "mr9r0000", "\xff\xfe\xfd"};

        for (size_t t = 0; t < COUNT_OF(texts); t++) {
                struct rig rig;
                struct taker taker = {.wanted = 7};
                struct source_status status;

                rig_up(&rig);
                rig_topic(&rig, topics[0], 1);
                publish(&rig, 10);
                commit_by_hand(&rig, 3, texts[t]);
                taker_open(&rig, &taker, embed);
                cr_assert(rig_until(&rig, taker_full, &taker));
                for (int i = 0; i < 7; i++)
                        cr_assert_eq(taker.offsets[i], 3 + i);
                source_status(taker.source, &status);
                cr_assert_eq(status.foreign, 1);
                cr_assert_eq(status.skipped, 0);
                taker_drop_all(&taker);
                source_free(taker.source, 5000);
                rig_down(&rig);
        }
}

Test(source_map, a_coordinator_that_refuses_at_first_is_asked_again)
{
        struct rig rig;
        struct taker first = {.wanted = 10}, second = {.wanted = 9};
        struct source_status status;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish(&rig, 10);
        taker_open(&rig, &first, embed);
        cr_assert(rig_until(&rig, taker_full, &first));
        end_at(&first, 5);
        taker_drop_all(&first);
        source_free(first.source, 5000);

        mock_broker_fail(rig.broker, OFFSET_FETCH, NOT_COORDINATOR, 2);
        taker_open(&rig, &second, embed);
        cr_assert(rig_until(&rig, taker_full, &second));
        for (int i = 0; i < 9; i++)
                cr_assert_eq(second.offsets[i], i < 5 ? i : i + 1);
        source_status(second.source, &status);
        cr_assert_eq(status.skipped, 1);
        taker_drop_all(&second);
        source_free(second.source, 5000);
        rig_down(&rig);
}

static bool commit_at_two(void *user)
{
        struct taker *taker = user;
        struct source_offsets offsets;

        return source_offsets_at(taker->source, 0, &offsets) && offsets.committed == 2;
}

Test(source_map, a_broker_that_refuses_the_metadata_gets_the_offset_alone)
{
        struct rig rig;
        struct taker taker = {.wanted = 6};
        struct commit commit;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish(&rig, 6);
        commit_up(&commit, &rig, 0);
        mock_broker_fail(rig.broker, OFFSET_COMMIT, METADATA_TOO_LARGE, 1);
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, taker_full, &taker));
        end_at(&taker, 0);
        end_at(&taker, 1);
        end_at(&taker, 4);
        cr_assert(rig_until(&rig, commit_at_two, &taker));
        read_commit(&commit);
        cr_assert_eq(commit.offset, 2);
        cr_assert_eq(commit.text, OFFSET_TEXT_NONE);
        taker_drop_all(&taker);
        source_free(taker.source, 5000);
        commit_down(&commit);
        rig_down(&rig);
}

/* Ends every second record at once and keeps the others. */
struct keeper {
        struct source *source;
        struct record *kept; /* a list */
        int64_t seen, wanted, highest;
};

static void keep_every_second(void *user, struct record *record)
{
        struct keeper *keeper = user;

        keeper->seen++;
        cr_assert_gt(record->offset, keeper->highest);
        keeper->highest = record->offset;
        if (record->offset % 2) {
                source_done(record);
                return;
        }
        record->next = keeper->kept;
        keeper->kept = record;
}

static bool keeper_rests(void *user)
{
        struct keeper *keeper = user;
        struct source_status status;

        source_status(keeper->source, &status);
        return status.resting == 1;
}

static bool keeper_has_all(void *user)
{
        struct keeper *keeper = user;

        return keeper->seen >= keeper->wanted;
}

static void keeper_end_all(struct keeper *keeper)
{
        while (keeper->kept) {
                struct record *record = keeper->kept;

                keeper->kept = record->next;
                source_done(record);
        }
}

Test(source_map, a_partition_rests_before_its_map_outgrows_the_metadata_and_goes_on)
{
        enum { COUNT = 17000 };
        struct rig rig;
        struct keeper keeper = {.wanted = COUNT, .highest = -1};
        struct source_config config = embed;
        struct commit commit;
        struct error err = {0};
        int64_t at_rest;
        int turns = 0;

        config.on_record = keep_every_second;
        config.user = &keeper;
        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish(&rig, COUNT);
        commit_up(&commit, &rig, COUNT);
        keeper.source = source_new(rig.loop, &rig.settings, &config, &err);
        cr_assert(keeper.source, "%s", err.message);
        cr_assert(rig_until(&rig, keeper_rests, &keeper));
        at_rest = keeper.seen;
        cr_assert(rig_until(&rig, some_turns_passed, &turns));
        cr_assert_eq(keeper.seen, at_rest, "nothing new comes");
        cr_assert_geq(at_rest, 13000);
        cr_assert_leq(at_rest, 13700);
        commit.wanted = keeper.highest + (keeper.highest % 2);
        cr_assert(rig_until(&rig, commit_is_there, &commit), "the map is committed whole: %lld, not %lld", (long long)commit.top,
                  (long long)commit.wanted);
        cr_assert_eq(commit.offset, 0);
        while (keeper.kept) { /* the newest first: the map shrinks only at the end */
                struct record *record = keeper.kept;

                keeper.kept = record->next;
                source_done(record);
        }
        cr_assert(rig_until(&rig, keeper_has_all, &keeper));
        cr_assert_not(keeper_rests(&keeper));
        keeper_end_all(&keeper);
        source_free(keeper.source, 5000);
        commit_down(&commit);
        rig_down(&rig);
}
