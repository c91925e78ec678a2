#include "queues/kafka/offset_codec.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 65536, RANDOM_SETS = 400 };

static struct watermark fresh(size_t window)
{
        struct watermark watermark;

        cr_assert_eq(watermark_init(&watermark, window), 0);
        return watermark;
}

static void start(struct watermark *watermark, int64_t from, int64_t count)
{
        for (int64_t i = 0; i < count; i++)
                cr_assert(watermark_start(watermark, from + i));
}

static void end(struct watermark *watermark, int64_t from, int64_t count)
{
        for (int64_t i = 0; i < count; i++)
                watermark_done(watermark, from + i);
}

/* Nothing is claimed that was not done; with `all`, everything done is claimed. */
static void check_against(const struct watermark *truth, const struct watermark *decoded, bool all, const char *what)
{
        int64_t at = decoded->mark, begin, run_end;

        while (watermark_run(decoded, at, &begin, &run_end)) {
                for (int64_t i = begin; i < run_end; i++)
                        cr_assert(watermark_is_done(truth, i), "%s claims %lld", what, (long long)i);
                at = run_end;
        }
        for (at = truth->mark; all && watermark_run(truth, at, &begin, &run_end); at = run_end)
                for (int64_t i = begin; i < run_end; i++)
                        cr_assert(watermark_is_done(decoded, i), "%s forgets %lld", what, (long long)i);
}

static enum offset_text decode(const char *text, size_t len, int64_t committed, struct watermark *decoded)
{
        watermark_reset(decoded);
        return offset_codec_decode((struct span){text, len}, committed, decoded);
}

static void round_trip(const struct watermark *watermark)
{
        struct watermark decoded = fresh(WINDOW);
        char text[OFFSET_TEXT_MAX + 1];
        int len = offset_codec_encode(watermark, text);

        cr_assert_geq(len, 0);
        cr_assert_eq((size_t)len, strlen(text));
        cr_assert_eq((size_t)len, offset_codec_weigh(watermark).now);
        cr_assert_eq(decode(text, (size_t)len, watermark->mark, &decoded), len ? OFFSET_TEXT_OURS : OFFSET_TEXT_NONE);
        cr_assert_eq(decoded.mark, watermark->mark);
        cr_assert_eq(decoded.next, watermark->mark);
        check_against(watermark, &decoded, true, text);
        watermark_fini(&decoded);
}

Test(offset_codec, nothing_above_is_no_text)
{
        struct watermark w = fresh(64);
        char text[OFFSET_TEXT_MAX + 1];

        cr_assert_eq(offset_codec_encode(&w, text), 0, "before the first record");
        start(&w, 7, 20);
        cr_assert_eq(offset_codec_encode(&w, text), 0);
        cr_assert_str_eq(text, "");
        end(&w, 7, 20);
        cr_assert_eq(offset_codec_encode(&w, text), 0, "all of it below the mark");
        watermark_fini(&w);
}

Test(offset_codec, a_few_offsets_stay_as_they_were_written_in_version_1)
{
        struct watermark w = fresh(64), decoded = fresh(64);
        char text[OFFSET_TEXT_MAX + 1];

        start(&w, 1000, 20);
        end(&w, 1002, 3);
        end(&w, 1006, 1);
        cr_assert_gt(offset_codec_encode(&w, text), 0);
        cr_assert_str_eq(text, "mr1bXPSFJFs=", "a change of the format needs a new version: %s", text);
        end(&w, 1007, 12);
        cr_assert_gt(offset_codec_encode(&w, text), 0);
        cr_assert_eq(decode(text, strlen(text), 1000, &decoded), OFFSET_TEXT_OURS);
        check_against(&w, &decoded, true, text);
        watermark_fini(&decoded);
        watermark_fini(&w);
}

Test(offset_codec, long_runs_are_short_and_patterns_become_bitmaps)
{
        struct watermark w = fresh(WINDOW);
        char text[OFFSET_TEXT_MAX + 1];

        start(&w, 5, 60000);
        end(&w, 6, 59000);
        cr_assert_gt(offset_codec_encode(&w, text), 0);
        cr_assert_eq(text[3], 'r');
        cr_assert_lt(strlen(text), 20);
        round_trip(&w);
        watermark_reset(&w);
        start(&w, 5, 10000);
        for (int64_t i = 6; i < 10000; i += 2)
                end(&w, i, 1);
        cr_assert_gt(offset_codec_encode(&w, text), 0);
        cr_assert_eq(text[3], 'b');
        round_trip(&w);
        watermark_fini(&w);
}

Test(offset_codec, random_sets_come_back_as_they_were)
{
        struct watermark w = fresh(WINDOW);

        for (unsigned seed = 1; seed <= RANDOM_SETS; seed++) {
                int64_t first, count;
                int density;

                srandom(seed);
                first = random() % 2 ? random() : (int64_t)random() << 20;
                count = 1 + random() % 17000;
                density = 1 + (int)(random() % 99);
                watermark_reset(&w);
                start(&w, first, count);
                for (int64_t i = 1; i < count; i += 1 + random() % 3)
                        if (random() % 100 < density)
                                end(&w, first + i, 1 + random() % 5);
                round_trip(&w);
        }
        watermark_fini(&w);
}

/* A text of each form and its truth. */
static int sample(struct watermark *w, char form, char text[OFFSET_TEXT_MAX + 1])
{
        watermark_reset(w);
        start(w, 123456, 400);
        if (form == 'r') {
                end(w, 123460, 300);
                end(w, 123800, 20);
        } else {
                for (int64_t i = 123458; i < 123600; i += 3)
                        end(w, i, 1 + i % 2);
        }
        cr_assert_gt(offset_codec_encode(w, text), 0);
        cr_assert_eq(text[3], form);
        return (int)strlen(text);
}

Test(offset_codec, every_truncation_is_refused)
{
        struct watermark w = fresh(1024), decoded = fresh(1024);
        char text[OFFSET_TEXT_MAX + 1];

        for (const char *form = "rb"; *form; form++) {
                int len = sample(&w, *form, text);

                for (int cut = 1; cut < len; cut++)
                        cr_assert_eq(decode(text, (size_t)cut, w.mark, &decoded), OFFSET_TEXT_FOREIGN, "cut at %d", cut);
                cr_assert_eq(decode(text, 0, w.mark, &decoded), OFFSET_TEXT_NONE);
        }
        watermark_fini(&decoded);
        watermark_fini(&w);
}

Test(offset_codec, every_flipped_bit_is_refused)
{
        struct watermark w = fresh(1024), decoded = fresh(1024);
        char text[OFFSET_TEXT_MAX + 1];

        for (const char *form = "rb"; *form; form++) {
                int len = sample(&w, *form, text);

                for (int bit = 0; bit < 8 * len; bit++) {
                        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
                        cr_assert_eq(decode(text, (size_t)len, w.mark, &decoded), OFFSET_TEXT_FOREIGN, "bit %d of %s", bit, text);
                        cr_assert_eq(decoded.top, w.mark, "and nothing of it is believed");
                        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
                }
                cr_assert_eq(decode(text, (size_t)len, w.mark, &decoded), OFFSET_TEXT_OURS);
        }
        watermark_fini(&decoded);
        watermark_fini(&w);
}

Test(offset_codec, random_damage_never_claims_what_was_not_done)
{
        struct watermark w = fresh(1024), decoded = fresh(1024);
        char text[OFFSET_TEXT_MAX + 1], damaged[OFFSET_TEXT_MAX + 1];

        for (unsigned seed = 1; seed <= 20000; seed++) {
                size_t len;

                srandom(seed);
                len = (size_t)sample(&w, seed % 2 ? 'r' : 'b', text);
                memcpy(damaged, text, len);
                for (long n = 1 + random() % 4; n > 0; n--)
                        damaged[(size_t)random() % len] = text[(size_t)random() % len];
                if (decode(damaged, len - (size_t)random() % 3, w.mark, &decoded) == OFFSET_TEXT_OURS)
                        check_against(&w, &decoded, false, damaged);
        }
        watermark_fini(&decoded);
        watermark_fini(&w);
}

Test(offset_codec, a_map_belongs_to_its_commit)
{
        struct watermark w = fresh(1024), decoded = fresh(1024);
        char text[OFFSET_TEXT_MAX + 1];
        int len = sample(&w, 'r', text);

        cr_assert_eq(decode(text, (size_t)len, w.mark + 1, &decoded), OFFSET_TEXT_FOREIGN);
        cr_assert_eq(decoded.mark, w.mark + 1, "it begins at the committed offset all the same");
        cr_assert_eq(decode(text, (size_t)len, 0, &decoded), OFFSET_TEXT_FOREIGN);
        cr_assert_eq(decode(text, (size_t)len, INT64_MAX, &decoded), OFFSET_TEXT_FOREIGN);
        watermark_fini(&decoded);
        watermark_fini(&w);
}

Test(offset_codec, what_others_write_is_foreign)
{
        static const char *const texts[] = {"aGVsbG8=",     "mr",           "mr1",      "mr1r",      "mr1b",
                                            "mr2bXPSFJFs=", "mr1x",         "mr1r====", "{\"v\":1}", "\xff\xfe",
                                            "mr1rAAAA",     "mr1bAAAAAAA=", " "};
        struct watermark decoded = fresh(1024);
        char *longest = malloc(65536);

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                cr_assert_eq(decode(texts[i], strlen(texts[i]), 1000, &decoded), OFFSET_TEXT_FOREIGN, "%s", texts[i]);
        memset(longest, 'A', 65536);
        memcpy(longest, "mr1b", 4);
        cr_assert_eq(decode(longest, 65536, 1000, &decoded), OFFSET_TEXT_FOREIGN);
        free(longest);
        watermark_fini(&decoded);
}

Test(offset_codec, past_the_receivers_window_it_is_done_again)
{
        struct watermark w = fresh(1024), decoded = fresh(64);
        char text[OFFSET_TEXT_MAX + 1];
        int len = sample(&w, 'r', text);

        cr_assert_eq(decode(text, (size_t)len, w.mark, &decoded), OFFSET_TEXT_OURS);
        check_against(&w, &decoded, false, text);
        cr_assert_eq(decoded.top, w.mark + 64);
        watermark_fini(&decoded);
        watermark_fini(&w);
}

/* Takes up offsets while the weight allows, ends them in random order: the text always fits. */
Test(offset_codec, fits_whatever_ends_as_long_as_the_worst_fitted_at_the_start)
{
        struct watermark w = fresh(WINDOW);
        int64_t *under_way = malloc(WINDOW * sizeof *under_way);
        char text[OFFSET_TEXT_MAX + 1];

        for (unsigned seed = 1; seed <= 12; seed++) {
                size_t count = 0;

                srandom(seed);
                watermark_reset(&w);
                start(&w, 1, 1); /* the blocker */
                for (int64_t next = 2; next < WINDOW / 2;) {
                        struct offset_weight weight = offset_codec_weigh(&w);

                        if (weight.now >= OFFSET_TEXT_FULL || weight.worst > OFFSET_TEXT_MAX - 100)
                                break;
                        for (int i = 0; i < 64; i++) {
                                start(&w, next, 1);
                                under_way[count++] = next++;
                        }
                        while (seed % 4 && count > (seed % 4) * 256) {
                                size_t at = (size_t)random() % count;

                                end(&w, under_way[at], 1);
                                under_way[at] = under_way[--count];
                        }
                }
                while (count > 0) {
                        size_t at = (size_t)random() % count;

                        end(&w, under_way[at], 1);
                        under_way[at] = under_way[--count];
                        if (count % 16 == 0)
                                cr_assert_geq(offset_codec_encode(&w, text), 0, "seed %u, %zu left", seed, count);
                }
                round_trip(&w);
        }
        free(under_way);
        watermark_fini(&w);
}
