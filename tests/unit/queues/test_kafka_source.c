#include "queues/kafka/source.h"

#include "config/base/clock.h"
#include "tests/unit/queues/test_kafka_rig.h"

static const char *const topics[] = {"enrich.embed.bulk"};
static const struct source_config embed = {.group = "millrace.embed.bulk",
                                           .topics = topics,
                                           .topic_count = 1,
                                           .profile = SOURCE_INTERACTIVE,
                                           .commit_interval_ms = 50,
                                           .revoke_drain_ms = 200};

struct many {
        int partition, next, count;
        char value[32];
};

static bool next_of_many(void *user, struct outgoing *outgoing)
{
        struct many *many = user;

        if (many->next == many->count)
                return false;
        snprintf(many->value, sizeof many->value, "{\"id\":\"%d-%d\"}", many->partition, many->next++);
        *outgoing = (struct outgoing){
                .topic = topics[0], .partition = many->partition, .key = SPAN("k"), .value = span_of(many->value)};
        return true;
}

static void publish_many(struct rig *rig, int partition, int count)
{
        struct many many = {.partition = partition, .count = count};
        struct error err = {0};
        int64_t acked = 0;

        cr_assert_eq(kafka_publish_all(rig->client, next_of_many, NULL, &many, 10000, &acked, &err), 0, "%s", err.message);
        cr_assert_eq(acked, count);
}

/* The first partition's acknowledged commit. */
static int64_t committed(struct taker *taker, int partition)
{
        struct source_offsets offsets;

        for (size_t i = 0; source_offsets_at(taker->source, i, &offsets); i++)
                if (offsets.partition == partition)
                        return offsets.committed;
        return -1;
}

struct commit_wanted {
        struct taker *taker;
        int partition;
        int64_t offset;
};

static bool is_committed(void *user)
{
        struct commit_wanted *wanted = user;

        return committed(wanted->taker, wanted->partition) == wanted->offset;
}

static void end_at(struct taker *taker, size_t at)
{
        source_done(taker->records[at]);
        taker->records[at] = NULL;
}

Test(source, hands_out_records_in_order_with_their_places)
{
        struct rig rig;
        struct taker taker = {.wanted = 20};
        struct source_status status;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish_many(&rig, 0, 20);
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, taker_full, &taker));
        for (int i = 0; i < 20; i++) {
                char value[32];

                snprintf(value, sizeof value, "{\"id\":\"0-%d\"}", i);
                cr_assert_eq(taker.records[i]->offset, i);
                cr_assert_str_eq(taker.records[i]->topic, topics[0]);
                cr_assert(span_is(taker.records[i]->value, value));
                cr_assert(span_is(taker.records[i]->key, "k"));
                cr_assert_gt(taker.records[i]->timestamp_ms, 0);
                cr_assert(source_current(taker.records[i]));
        }
        source_status(taker.source, &status);
        cr_assert_eq(status.partitions, 1);
        cr_assert(status.joined);
        cr_assert_eq(status.outstanding, 20);
        cr_assert_eq(status.lag, 20);
        cr_assert_eq(status.last_error.code, CODE_NONE, "%s", status.last_error.message);
        taker_drop_all(&taker);
        source_free(taker.source, 5000);
        rig_down(&rig);
}

Test(source, commits_only_below_the_oldest_record_under_way)
{
        struct rig rig;
        struct taker taker = {.wanted = 5};
        struct commit_wanted wanted = {&taker, 0, 3};
        struct source_status status;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish_many(&rig, 0, 5);
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, taker_full, &taker));
        end_at(&taker, 2);
        end_at(&taker, 1);
        end_at(&taker, 4);
        cr_assert_eq(committed(&taker, 0), -1);
        end_at(&taker, 0);
        source_status(taker.source, &status);
        cr_assert_eq(status.uncommitted, 3);
        cr_assert(rig_until(&rig, is_committed, &wanted));
        source_status(taker.source, &status);
        cr_assert_eq(status.uncommitted, 0);
        cr_assert_eq(status.outstanding, 1);
        taker_drop_all(&taker);
        source_free(taker.source, 5000);
        rig_down(&rig);
}

Test(source, a_restart_goes_on_behind_the_commit_of_the_close)
{
        struct rig rig;
        struct taker first = {.wanted = 10}, second = {.wanted = 6};
        static const int64_t left[] = {3, 4, 5, 6, 8, 9};
        struct source_status status;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish_many(&rig, 0, 10);
        taker_open(&rig, &first, embed);
        cr_assert(rig_until(&rig, taker_full, &first));
        for (size_t i = 0; i < 3; i++)
                end_at(&first, i);
        end_at(&first, 7); /* above the mark: the commit's metadata tells of it */
        taker_drop_all(&first);
        source_free(first.source, 5000);

        taker_open(&rig, &second, embed);
        cr_assert(rig_until(&rig, taker_full, &second));
        for (int i = 0; i < 6; i++)
                cr_assert_eq(second.offsets[i], left[i]);
        source_status(second.source, &status);
        cr_assert_eq(status.skipped, 1);
        cr_assert_eq(status.lag, 7);
        taker_drop_all(&second);
        source_free(second.source, 5000);
        rig_down(&rig);
}

Test(source, a_bounded_turn_takes_everything_in_the_end)
{
        struct rig rig;
        struct taker taker = {.wanted = 300, .end_at_once = true};
        struct commit_wanted wanted = {&taker, 1, 150};
        struct source_config config = embed;

        config.turn_max = 4;
        config.profile = SOURCE_BULK;
        rig_up(&rig);
        rig_topic(&rig, topics[0], 2);
        publish_many(&rig, 0, 150);
        publish_many(&rig, 1, 150);
        taker_open(&rig, &taker, config);
        cr_assert(rig_until(&rig, taker_full, &taker));
        cr_assert(rig_until(&rig, is_committed, &wanted));
        source_free(taker.source, 5000);
        rig_down(&rig);
}

struct holder {
        struct taker taker;
        size_t at_hold;
        bool released;
};

static void hold_after_three(void *user, struct record *record)
{
        struct holder *holder = user;

        taker_record(&holder->taker, record);
        if (holder->taker.count == 3)
                source_hold(holder->taker.source, true);
}

static bool some_turns_passed(void *user)
{
        return ++*(int *)user > 20;
}

static bool holder_full(void *user)
{
        return taker_full(&((struct holder *)user)->taker);
}

Test(source, a_hold_stops_in_mid_batch_and_loses_nothing)
{
        struct rig rig;
        struct holder holder = {.taker = {.wanted = 3}};
        struct source_config config = embed;
        struct error err = {0};
        int turns = 0;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish_many(&rig, 0, 12);
        config.user = &holder;
        config.on_record = hold_after_three;
        holder.taker.source = source_new(rig.loop, &rig.settings, &config, &err);
        cr_assert(holder.taker.source, "%s", err.message);
        cr_assert(rig_until(&rig, holder_full, &holder));
        cr_assert(rig_until(&rig, some_turns_passed, &turns));
        cr_assert_eq(holder.taker.count, 3);
        cr_assert(source_held(holder.taker.source));
        holder.taker.wanted = 12;
        source_hold(holder.taker.source, false);
        cr_assert(rig_until(&rig, holder_full, &holder));
        for (int i = 0; i < 12; i++)
                cr_assert_eq(holder.taker.offsets[i], i);
        taker_drop_all(&holder.taker);
        source_free(holder.taker.source, 5000);
        rig_down(&rig);
}

Test(source, a_full_window_waits_for_the_oldest_record)
{
        struct rig rig;
        struct taker taker = {.wanted = 64};
        struct source_config config = embed;
        struct source_status status;
        int turns = 0;

        config.window = 64;
        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish_many(&rig, 0, 100);
        taker_open(&rig, &taker, config);
        cr_assert(rig_until(&rig, taker_full, &taker));
        for (size_t i = 1; i < 64; i++)
                end_at(&taker, i);
        cr_assert(rig_until(&rig, some_turns_passed, &turns));
        cr_assert_eq(taker.count, 64);
        source_status(taker.source, &status);
        cr_assert_eq(status.parked, 0);
        end_at(&taker, 0);
        taker.wanted = 100;
        cr_assert(rig_until(&rig, taker_full, &taker));
        for (int i = 0; i < 100; i++)
                cr_assert_eq(taker.offsets[i], i);
        taker_drop_all(&taker);
        source_free(taker.source, 5000);
        rig_down(&rig);
}

Test(source, a_parked_record_comes_when_due_and_what_is_behind_it_after_it)
{
        struct rig rig;
        struct taker taker = {.wanted = 20};
        struct source_config config = embed;
        int64_t due;

        config.profile = SOURCE_RETRY;
        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish_many(&rig, 0, 20);
        due = clock_wall_ms() + 300;
        taker.park_until = due;
        taker_open(&rig, &taker, config);
        cr_assert(rig_until(&rig, taker_full, &taker));
        cr_assert_eq(taker.parked, 1);
        cr_assert_geq(clock_wall_ms(), due);
        for (int i = 0; i < 20; i++)
                cr_assert_eq(taker.offsets[i], i);
        taker_drop_all(&taker);
        source_free(taker.source, 5000);
        rig_down(&rig);
}

Test(source, a_record_parked_until_the_past_comes_in_the_next_turn)
{
        struct rig rig;
        struct taker taker = {.wanted = 3, .park_until = 1};

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish_many(&rig, 0, 3);
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, taker_full, &taker));
        cr_assert_eq(taker.parked, 1);
        for (int i = 0; i < 3; i++)
                cr_assert_eq(taker.offsets[i], i);
        taker_drop_all(&taker);
        source_free(taker.source, 5000);
        rig_down(&rig);
}

static bool is_parked(void *user)
{
        struct taker *taker = user;

        return taker->parked == 1;
}

Test(source, parking_one_partition_leaves_the_others_alone_and_bounds_what_waits)
{
        struct rig rig;
        struct taker taker = {.wanted = 10, .park_until = INT64_MAX};
        struct source_config config = embed;
        struct source_status status;

        config.profile = SOURCE_RETRY;
        rig_up(&rig);
        rig_topic(&rig, topics[0], 2);
        publish_many(&rig, 0, 600);
        taker_open(&rig, &taker, config);
        cr_assert(rig_until(&rig, is_parked, &taker));
        publish_many(&rig, 1, 10);
        cr_assert(rig_until(&rig, taker_full, &taker));
        for (int i = 0; i < 10; i++)
                cr_assert_eq(taker.partitions[i], 1);
        source_status(taker.source, &status);
        cr_assert_eq(status.parked, 1);
        cr_assert_eq(status.outstanding, 10);
        taker_drop_all(&taker);
        source_free(taker.source, 5000);
        rig_down(&rig);
}

Test(source, more_than_may_wait_is_read_again_after_the_pause)
{
        struct rig rig;
        struct taker taker = {.wanted = 900, .end_at_once = true};
        struct source_config config = embed;
        struct commit_wanted wanted = {&taker, 0, 900};

        config.profile = SOURCE_RETRY;
        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish_many(&rig, 0, 900);
        taker.park_until = clock_wall_ms() + 400;
        taker_open(&rig, &taker, config);
        cr_assert(rig_until(&rig, taker_full, &taker));
        for (int i = 0; i < 900; i++)
                cr_assert_eq(taker.offsets[i], i, "at %d: %lld", i, (long long)taker.offsets[i]);
        cr_assert(rig_until(&rig, is_committed, &wanted));
        source_free(taker.source, 5000);
        rig_down(&rig);
}

struct two {
        struct taker a, b;
};

static bool both_have_some(void *user)
{
        struct two *two = user;
        struct source_status a, b;

        source_status(two->a.source, &a);
        source_status(two->b.source, &b);
        return a.partitions == 2 && b.partitions == 2;
}

static bool all_at_two(void *user)
{
        struct taker *taker = user;

        for (int p = 0; p < 4; p++)
                if (committed(taker, p) != 2)
                        return false;
        return true;
}

static void two_share(const char *strategy)
{
        struct rig rig;
        struct two *two = calloc(1, sizeof *two);
        struct record *late = NULL;
        int turns = 0;

        rig_up(&rig);
        rig_option(&rig, "partition.assignment.strategy", strategy);
        rig_topic(&rig, topics[0], 4);
        for (int p = 0; p < 4; p++)
                publish_many(&rig, p, 5);
        two->a.wanted = 20;
        taker_open(&rig, &two->a, embed);
        cr_assert(rig_until(&rig, taker_full, &two->a));
        /* One record of each partition stays under way, the others end. */
        for (size_t i = 0; i < 20; i++)
                if (two->a.offsets[i] != 2)
                        end_at(&two->a, i);
        cr_assert(rig_until(&rig, all_at_two, &two->a));
        taker_open(&rig, &two->b, embed);
        cr_assert(rig_until(&rig, both_have_some, two));
        cr_assert_geq(two->a.revoked, 2);
        cr_assert_eq(two->a.lost, 0);
        two->b.wanted = 2;
        cr_assert(rig_until(&rig, taker_full, &two->b));
        cr_assert(rig_until(&rig, some_turns_passed, &turns));
        cr_assert_eq(two->b.count, 2);
        for (size_t i = 0; i < two->b.count; i++)
                cr_assert_eq(two->b.offsets[i], 2, "0 and 1 were committed, 3 and 4 had ended above");
        for (size_t i = 0; i < 20; i++)
                if (two->a.records[i] && !source_current(two->a.records[i])) {
                        late = two->a.records[i];
                        two->a.records[i] = NULL;
                        source_done(late);
                }
        cr_assert(late, "a record of an older assignment is given back without effect");
        taker_drop_all(&two->a);
        taker_drop_all(&two->b);
        source_free(two->b.source, 5000);
        source_free(two->a.source, 5000);
        free(two);
        rig_down(&rig);
}

static bool commit_failed_then_succeeded(void *user)
{
        struct commit_wanted *wanted = user;
        struct source_status status;

        source_status(wanted->taker->source, &status);
        return status.commit_failures > 0 && is_committed(wanted);
}

Test(source, a_failed_commit_is_told_and_tried_again)
{
        struct rig rig;
        struct taker taker = {.wanted = 3};
        struct commit_wanted wanted = {&taker, 0, 3};

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        publish_many(&rig, 0, 3);
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, taker_full, &taker));
        mock_broker_fail(rig.broker, 8, 28, 1); /* OffsetCommit: INVALID_COMMIT_OFFSET_SIZE */
        for (size_t i = 0; i < 3; i++)
                end_at(&taker, i);
        cr_assert(rig_until(&rig, commit_failed_then_succeeded, &wanted));
        source_free(taker.source, 5000);
        rig_down(&rig);
}

static bool knows_no_topic(void *user)
{
        struct taker *taker = user;
        struct source_status status;

        source_status(taker->source, &status);
        return status.last_error.code != CODE_NONE;
}

Test(source, an_unreachable_broker_is_told_and_the_close_is_bounded)
{
        struct rig rig;
        struct taker taker = {0};

        rig_up(&rig);
        mock_broker_down(rig.broker);
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, knows_no_topic, &taker));
        source_free(taker.source, 300);
        rig_down(&rig);
}

Test(source, a_reserved_option_is_refused)
{
        struct rig rig;
        struct setting_pair option = {strdup("enable.auto.commit"), strdup("true")};
        struct source_config config = embed;
        struct error err = {0};

        rig_up(&rig);
        rig.settings.kafka.options = &option;
        rig.settings.kafka.option_count = 1;
        config.on_record = taker_record;
        cr_assert_null(source_new(rig.loop, &rig.settings, &config, &err));
        cr_assert_eq(err.code, CODE_SCHEMA);
        rig_down(&rig);
        free(option.key);
        free(option.value);
}

Test(source, two_of_a_group_share_partitions_and_go_on_behind_the_commits)
{
        two_share("cooperative-sticky");
}

Test(source, two_share_under_the_eager_protocol_too)
{
        two_share("range");
}
