#include "queues/kafka/watermark.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { OFFSETS = 4096 };

static struct watermark fresh(size_t window)
{
        struct watermark watermark;

        cr_assert_eq(watermark_init(&watermark, window), 0);
        return watermark;
}

Test(watermark, begins_where_the_first_record_is)
{
        struct watermark w = fresh(64);

        cr_assert_eq(w.mark, -1);
        cr_assert(watermark_start(&w, 1700));
        cr_assert_eq(w.mark, 1700, "what lies below was committed by others");
        cr_assert(watermark_done(&w, 1700));
        cr_assert_eq(w.mark, 1701);
        watermark_fini(&w);
}

Test(watermark, stands_at_the_oldest_record_under_way)
{
        struct watermark w = fresh(64);

        for (int64_t i = 10; i < 15; i++)
                cr_assert(watermark_start(&w, i));
        cr_assert_not(watermark_done(&w, 12));
        cr_assert_not(watermark_done(&w, 11));
        cr_assert_eq(w.mark, 10);
        cr_assert(watermark_done(&w, 10));
        cr_assert_eq(w.mark, 13);
        cr_assert_eq(w.outstanding, 2);
        watermark_fini(&w);
}

Test(watermark, passes_over_gaps)
{
        struct watermark w = fresh(64);

        cr_assert(watermark_start(&w, 5));
        cr_assert(watermark_start(&w, 9));
        cr_assert(watermark_done(&w, 5));
        cr_assert_eq(w.mark, 9, "6, 7 and 8 are not there");
        cr_assert(watermark_done(&w, 9));
        cr_assert(watermark_start(&w, 1000000), "with nothing under way any gap will do");
        cr_assert_eq(w.mark, 1000000);
        watermark_fini(&w);
}

Test(watermark, refuses_past_its_window_until_the_mark_moves)
{
        struct watermark w = fresh(64);

        for (int64_t i = 0; i < 64; i++)
                cr_assert(watermark_start(&w, i));
        cr_assert_not(watermark_start(&w, 64));
        cr_assert_not(watermark_done(&w, 63));
        cr_assert_not(watermark_start(&w, 64), "what is done above the mark takes room, too");
        cr_assert(watermark_done(&w, 0));
        cr_assert(watermark_start(&w, 64));
        cr_assert_not(watermark_start(&w, 65));
        watermark_fini(&w);
}

Test(watermark, ignores_what_it_does_not_know)
{
        struct watermark w = fresh(64);

        cr_assert_not(watermark_done(&w, 3));
        cr_assert(watermark_start(&w, 3));
        cr_assert_not(watermark_start(&w, 3), "started already");
        cr_assert_not(watermark_done(&w, 2));
        cr_assert_not(watermark_done(&w, 4));
        cr_assert(watermark_done(&w, 3));
        cr_assert_not(watermark_done(&w, 3), "done already");
        cr_assert_eq(w.mark, 4);
        cr_assert_eq(w.outstanding, 0);
        watermark_reset(&w);
        cr_assert_eq(w.mark, -1);
        cr_assert(watermark_start(&w, 0), "a new assignment may begin lower");
        watermark_fini(&w);
}

Test(watermark, knows_what_an_earlier_run_did_until_it_comes)
{
        struct watermark w = fresh(64);
        int64_t begin, end;

        cr_assert_not(watermark_know(&w, 12), "it has not begun");
        watermark_begin(&w, 10);
        cr_assert(watermark_know(&w, 12));
        cr_assert(watermark_know(&w, 13));
        cr_assert_not(watermark_know(&w, 9));
        cr_assert_not(watermark_know(&w, 74), "outside the window");
        cr_assert(watermark_known(&w, 12));
        cr_assert_not(watermark_known(&w, 11));
        cr_assert(watermark_start(&w, 10));
        cr_assert(watermark_start(&w, 11));
        cr_assert(watermark_skip(&w, 12));
        cr_assert_not(watermark_skip(&w, 12), "once");
        cr_assert_eq(w.ended, 0, "the earlier run counted it");
        cr_assert(watermark_run(&w, 0, &begin, &end));
        cr_assert_eq(begin, 12);
        cr_assert_eq(end, 14);
        cr_assert_not(watermark_run(&w, 14, &begin, &end));
        cr_assert(watermark_done(&w, 10));
        cr_assert(watermark_done(&w, 11));
        cr_assert_eq(w.mark, 13, "13 must be met first");
        cr_assert(watermark_known(&w, 13));
        cr_assert(watermark_skip(&w, 13));
        cr_assert_eq(w.mark, 14);
        cr_assert_eq(w.outstanding, 0);
        cr_assert_eq(w.ended, 2);
        watermark_fini(&w);
}

Test(watermark, forgets_what_it_knew_of_offsets_that_never_come)
{
        struct watermark w = fresh(64);

        watermark_begin(&w, 10);
        for (int64_t i = 12; i < 70; i++)
                cr_assert(watermark_know(&w, i));
        cr_assert(watermark_start(&w, 1000), "the log begins later now");
        cr_assert_eq(w.mark, 1000);
        for (int64_t i = 1001; i < 1064; i++) {
                cr_assert_not(watermark_known(&w, i));
                cr_assert(watermark_start(&w, i));
                cr_assert_not(watermark_is_done(&w, i));
        }
        watermark_reset(&w);
        watermark_begin(&w, 10);
        cr_assert(watermark_know(&w, 11));
        cr_assert(watermark_start(&w, 10));
        cr_assert(watermark_start(&w, 11), "to be done again");
        cr_assert_not(watermark_is_done(&w, 11));
        watermark_fini(&w);
}

/* The oracle: a flag an offset, and the mark found by looking at each from the start. */
struct oracle {
        bool started[OFFSETS], done[OFFSETS];
        int64_t first, next;
};

static int64_t oracle_mark(const struct oracle *oracle)
{
        for (int64_t i = oracle->first; i < oracle->next; i++)
                if (oracle->started[i] && !oracle->done[i])
                        return i;
        return oracle->next;
}

static void one_history(unsigned seed, size_t window)
{
        struct watermark w = fresh(window);
        struct oracle *o = calloc(1, sizeof *o);
        int64_t under_way[OFFSETS];
        size_t count = 0;

        srandom(seed);
        o->first = o->next = random() % 100;
        while (o->next < OFFSETS - 200 || count > 0) {
                if (o->next < OFFSETS - 200 && random() % 100 < 55) {
                        int64_t offset = o->next + (random() % 10 == 0 ? random() % 90 : 0);
                        bool room = count == 0 || offset - oracle_mark(o) < (int64_t)w.window;

                        cr_assert_eq(watermark_fits(&w, offset), room, "seed %u", seed);
                        cr_assert_eq(watermark_start(&w, offset), room, "seed %u offset %lld", seed, (long long)offset);
                        if (room) {
                                o->started[offset] = true;
                                if (oracle_mark(o) == o->next) /* nothing was under way */
                                        o->first = offset;
                                o->next = offset + 1;
                                under_way[count++] = offset;
                        }
                } else if (count > 0) {
                        size_t at = (size_t)random() % count;
                        int64_t before = oracle_mark(o), offset = under_way[at];

                        under_way[at] = under_way[--count];
                        o->done[offset] = true;
                        cr_assert_eq(watermark_done(&w, offset), oracle_mark(o) != before, "seed %u offset %lld", seed,
                                     (long long)offset);
                }
                if (w.next >= 0) {
                        cr_assert_eq(w.mark, oracle_mark(o), "seed %u: %lld, not %lld", seed, (long long)w.mark,
                                     (long long)oracle_mark(o));
                        cr_assert_eq(w.outstanding, count, "seed %u", seed);
                }
        }
        for (size_t i = 0; i < w.window / 64; i++)
                cr_assert_eq(w.done[i], 0, "seed %u: bits behind the mark are cleared", seed);
        free(o);
        watermark_fini(&w);
}

Test(watermark, agrees_with_a_naive_oracle_on_random_histories)
{
        static const size_t windows[] = {64, 128, 1024};

        for (unsigned seed = 1; seed <= 150; seed++)
                one_history(seed, windows[seed % 3]);
}
