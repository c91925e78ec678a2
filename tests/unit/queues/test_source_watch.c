#include "queues/kafka/source_watch.h"

#include <criterion/criterion.h>

enum { NOW = 1000000 };

/* Everything in order: records came just now, the broker answers. */
static struct source_sight well(void)
{
        return (struct source_sight){.now = NOW,
                                     .moved = NOW - 100,
                                     .behind_since = -1,
                                     .away_since = -1,
                                     .leaders_at = NOW - 1000,
                                     .coordinator_at = NOW - 1000};
}

static struct source_sight stalled(void)
{
        struct source_sight sight = well();

        sight.moved = NOW - WATCH_STALL_MS;
        sight.waiting = 7;
        return sight;
}

Test(source_watch, a_source_that_hands_out_moves)
{
        struct source_sight sight = well();

        sight.waiting = 100000;
        cr_assert_eq(source_judge(&sight), SOURCE_MOVES);
        cr_assert_str_eq(source_verdict_text(SOURCE_MOVES), "");
}

Test(source_watch, an_idle_source_without_waiting_records_is_well_for_ever)
{
        struct source_sight sight = well();

        sight.moved = 0;
        cr_assert_eq(source_judge(&sight), SOURCE_MOVES);
}

Test(source_watch, waiting_records_and_no_movement_are_a_stall_after_a_minute)
{
        struct source_sight sight = stalled();

        cr_assert_eq(source_judge(&sight), SOURCE_STALLED);
        sight.moved++;
        cr_assert_eq(source_judge(&sight), SOURCE_MOVES);
}

Test(source_watch, a_source_that_is_held_or_letting_go_has_nothing_to_hand_out)
{
        struct source_sight sight = stalled();

        sight.excused = true;
        cr_assert_eq(source_judge(&sight), SOURCE_MOVES);
}

Test(source_watch, a_broker_that_does_not_answer_is_not_the_sources_fault)
{
        struct source_sight sight = stalled();

        sight.leaders_at = -1;
        cr_assert_eq(source_judge(&sight), SOURCE_MOVES);
        sight.leaders_at = NOW - WATCH_FRESH_MS - 1;
        cr_assert_eq(source_judge(&sight), SOURCE_MOVES, "an old answer proves nothing");
        sight.leaders_at = sight.moved + WATCH_ASK_MS - 1;
        cr_assert_eq(source_judge(&sight), SOURCE_MOVES, "records that waited just after the last movement may have come since");
}

Test(source_watch, commits_that_are_not_acknowledged_for_minutes_are_told_while_the_coordinator_answers)
{
        struct source_sight sight = well();

        sight.behind_since = NOW - WATCH_COMMIT_MS;
        cr_assert_eq(source_judge(&sight), SOURCE_COMMITS_STUCK);
        sight.coordinator_at = -1;
        cr_assert_eq(source_judge(&sight), SOURCE_MOVES);
        sight.coordinator_at = NOW;
        sight.behind_since++;
        cr_assert_eq(source_judge(&sight), SOURCE_MOVES);
}

Test(source_watch, a_group_that_gives_no_assignment_is_told_after_more_than_a_slow_rebalance)
{
        struct source_sight sight = well();

        sight.away_since = NOW - WATCH_JOIN_MS;
        cr_assert_eq(source_judge(&sight), SOURCE_NOT_JOINED);
        sight.coordinator_at = NOW - WATCH_FRESH_MS - 1;
        cr_assert_eq(source_judge(&sight), SOURCE_MOVES);
}

Test(source_watch, what_will_not_heal_is_told_at_once)
{
        struct source_sight sight = well();

        sight.broken = true;
        cr_assert_eq(source_judge(&sight), SOURCE_BROKEN);
        sight.fenced = true;
        cr_assert_eq(source_judge(&sight), SOURCE_FENCED);
        for (enum source_verdict verdict = SOURCE_STALLED; verdict <= SOURCE_FENCED; verdict++)
                cr_assert_gt(source_verdict_text(verdict)[0], 0);
}
