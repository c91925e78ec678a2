/* A source in trouble: an assignment that is lost, a fetcher that stands still. */
#include "config/base/clock.h"
#include "config/base/metrics.h"
#include "queues/kafka/source.h"
#include "tests/unit/queues/test_kafka_rig.h"

enum { FETCH = 1, STORAGE_ERROR = 56 };

static const char *const topics[] = {"enrich.embed.bulk"};
static const struct source_config embed = {.group = "millrace.embed.bulk",
                                           .topics = topics,
                                           .topic_count = 1,
                                           .profile = SOURCE_INTERACTIVE,
                                           .commit_interval_ms = 50,
                                           .revoke_drain_ms = 200};

static bool is_lost(void *user)
{
        return ((struct taker *)user)->lost > 0;
}

static bool is_committed_to_the_end(void *user)
{
        struct source_offsets offsets;

        return source_offsets_at(((struct taker *)user)->source, 0, &offsets) && offsets.committed == 4;
}

Test(source_group, nothing_is_committed_for_an_assignment_that_was_lost)
{
        struct rig rig;
        struct taker taker = {.wanted = 4};
        struct source_status status;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        for (int i = 0; i < 4; i++)
                rig_publish(&rig, topics[0], 0, "k", "v");
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, taker_full, &taker));
        mock_broker_down(rig.broker);
        cr_assert(rig_until(&rig, is_lost, &taker), "the session runs out");
        source_status(taker.source, &status);
        cr_assert_eq(status.partitions, 0);
        cr_assert_not(status.joined);
        for (size_t i = 0; i < 4; i++) {
                cr_assert_not(source_current(taker.records[i]));
                source_done(taker.records[i]);
                taker.records[i] = NULL;
        }
        mock_broker_up(rig.broker);
        taker.wanted = 8;
        cr_assert(rig_until(&rig, taker_full, &taker), "all four come again: their ends counted for nothing");
        for (int i = 0; i < 4; i++)
                cr_assert_eq(taker.offsets[4 + i], i);
        for (size_t i = 4; i < 8; i++) {
                source_done(taker.records[i]);
                taker.records[i] = NULL;
        }
        cr_assert(rig_until(&rig, is_committed_to_the_end, &taker));
        source_free(taker.source, 5000);
        rig_down(&rig);
}

static bool is_joined(void *user)
{
        struct source_status status;

        source_status(((struct taker *)user)->source, &status);
        return status.joined;
}

static bool is_stalled(void *user)
{
        struct source_status status;

        source_status(((struct taker *)user)->source, &status);
        return status.verdict == SOURCE_STALLED;
}

static bool moves_again(void *user)
{
        return !is_stalled(user);
}

static bool some_turns_passed(void *user)
{
        return ++*(int *)user > 15;
}

Test(source_group, a_fetcher_that_stands_still_while_the_broker_answers_is_told_and_forgiven)
{
        struct rig rig;
        struct taker taker = {.wanted = 3, .end_at_once = true};
        int64_t now, wall;
        int turns = 0;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        for (int i = 0; i < 3; i++)
                rig_publish(&rig, topics[0], 0, "k", "v");
        mock_broker_fail(rig.broker, FETCH, STORAGE_ERROR, 24);
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, is_joined, &taker));
        cr_assert(rig_until(&rig, some_turns_passed, &turns));
        turns = 0;
        now = clock_now_ms(), wall = clock_wall_ms();
        clock_fake(now + WATCH_ASK_MS + 5000, wall); /* the leaders are asked */
        cr_assert(rig_until(&rig, some_turns_passed, &turns));
        cr_assert_not(is_stalled(&taker));
        clock_fake(now + WATCH_STALL_MS + 2000, wall);
        cr_assert(rig_until(&rig, is_stalled, &taker));
        cr_assert_eq(taker.count, 0);
        clock_fake(-1, -1);
        cr_assert(rig_until(&rig, taker_full, &taker), "the fetcher comes round");
        cr_assert(rig_until(&rig, moves_again, &taker));
        source_free(taker.source, 5000);
        rig_down(&rig);
}

Test(source_group, an_idle_source_stays_well)
{
        struct rig rig;
        struct taker taker = {.wanted = 3, .end_at_once = true};
        int64_t now, wall;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        for (int i = 0; i < 3; i++)
                rig_publish(&rig, topics[0], 0, "k", "v");
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, taker_full, &taker));
        now = clock_now_ms(), wall = clock_wall_ms();
        for (int minute = 1; minute <= 20; minute++) {
                int turns = 0;

                clock_fake(now + minute * WATCH_ASK_MS, wall);
                cr_assert(rig_until(&rig, some_turns_passed, &turns));
                cr_assert_not(is_stalled(&taker));
        }
        clock_fake(-1, -1);
        source_free(taker.source, 5000);
        rig_down(&rig);
}

Test(source_group, membership_has_an_option_of_its_own_and_the_protocol_may_be_chosen)
{
        static const struct {
                const char *key, *value;
                bool good;
        } options[] = {{"group.instance.id", "one", false},
                       {"group.id", "mine", false},
                       {"partition.assignment.strategy", "range", true},
                       {"partition.assignment.strategy", "nonsense", false}};

        for (size_t i = 0; i < COUNT_OF(options); i++) {
                struct rig rig;
                struct taker taker = {0};
                struct source_config config = embed;
                struct error err = {0};

                rig_up(&rig);
                rig_topic(&rig, topics[0], 1);
                rig_option(&rig, options[i].key, options[i].value);
                config.user = &taker;
                config.on_record = taker_record;
                taker.source = source_new(rig.loop, &rig.settings, &config, &err);
                cr_assert_eq(taker.source != NULL, options[i].good, "%s=%s: %s", options[i].key, options[i].value, err.message);
                cr_assert(options[i].good || err.code == CODE_SCHEMA);
                source_free(taker.source, 5000);
                rig_down(&rig);
        }
}

Test(source_group, its_gauges_tell_the_lag)
{
        struct rig rig;
        struct taker taker = {.wanted = 3};
        int turns = 0;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        for (int i = 0; i < 3; i++)
                rig_publish(&rig, topics[0], 0, "k", "v");
        taker_open(&rig, &taker, embed);
        cr_assert(rig_until(&rig, taker_full, &taker));
        cr_assert(rig_until(&rig, some_turns_passed, &turns));
        cr_assert_eq(metrics_value(metrics_gauge("millrace_group_lag_records", "", "group=\"millrace.embed.bulk\"")), 3);
        cr_assert_eq(metrics_value(metrics_gauge("millrace_group_standing_still", "", "group=\"millrace.embed.bulk\"")), 0);
        taker_drop_all(&taker);
        source_free(taker.source, 5000);
        rig_down(&rig);
}
