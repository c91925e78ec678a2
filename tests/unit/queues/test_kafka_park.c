/* Waits in retry topics while the wall clock jumps: a wait that has begun takes as long as it would have. */
#include <time.h>

#include "config/base/clock.h"
#include "tests/unit/queues/test_kafka_rig.h"

static const char *const topics[] = {"enrich.embed.retry.5s"};

/* The clocks go on at the usual pace from where the test has put them. */
static struct {
        int64_t real, now, wall;
} jump;

static int64_t real_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void set_wall(int64_t by_ms)
{
        jump.real = real_ms();
        jump.now = clock_now_ms();
        jump.wall = clock_wall_ms() + by_ms;
        clock_fake(jump.now, jump.wall);
}

static void go_on(void)
{
        int64_t gone = real_ms() - jump.real;

        if (jump.real)
                clock_fake(jump.now + gone, jump.wall + gone);
}

struct waiting {
        int shown;
        int64_t parked_at, shown_at;
};

static void on_record(void *user, struct record *record)
{
        struct waiting *waiting = user;

        if (waiting->shown++ == 0) {
                waiting->parked_at = clock_now_ms();
                source_park(record, clock_wall_ms() + 400);
                return;
        }
        waiting->shown_at = clock_now_ms();
        source_drop(record);
}

static bool parked(void *user)
{
        return ((const struct waiting *)user)->shown == 1;
}

static bool shown_again(void *user)
{
        go_on();
        return ((const struct waiting *)user)->shown > 1;
}

/* How long a record that is parked for 400 ms waits when the wall clock jumps meanwhile. */
static int64_t waits(int64_t jump_ms)
{
        struct waiting waiting = {0};
        struct source_config config = {.group = "millrace.embed.retry",
                                       .topics = topics,
                                       .topic_count = 1,
                                       .profile = SOURCE_RETRY,
                                       .on_record = on_record,
                                       .user = &waiting};
        struct source *source;
        struct error err = {0};
        struct rig rig;

        rig_up(&rig);
        rig_topic(&rig, topics[0], 1);
        rig_publish(&rig, topics[0], 0, "k", "{}");
        source = source_new(rig.loop, &rig.settings, &config, &err);
        cr_assert(source, "%s", err.message);
        cr_assert(rig_until(&rig, parked, &waiting));
        set_wall(jump_ms);
        cr_assert(rig_until(&rig, shown_again, &waiting));
        source_free(source, 5000);
        rig_down(&rig);
        clock_fake(-1, -1);
        jump.real = 0;
        return waiting.shown_at - waiting.parked_at;
}

Test(park, a_clock_set_back_does_not_stretch_a_wait)
{
        int64_t waited = waits(-86400000);

        cr_assert(waited >= 400, "%lld ms", (long long)waited);
}

Test(park, a_clock_set_forward_does_not_end_a_wait)
{
        int64_t waited = waits(3600000);

        cr_assert(waited >= 400, "%lld ms", (long long)waited);
}
