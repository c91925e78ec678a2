/* A ring of bits over the offsets mark…top. Invariants: the bit of every offset in mark…top says whether it has ended; bits
 * outside are clear; the bit at mark is clear unless mark == next; next ≤ top ≤ mark + window. Moving the mark goes 64 offsets at a
 * time where a whole word is done, and never past next: what comes from there on must be met first. */
#include "queues/kafka/watermark.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_BITS = 64 };

int watermark_init(struct watermark *watermark, size_t window)
{
        size_t rounded = WORD_BITS;

        while (rounded < window)
                rounded *= 2;
        *watermark = (struct watermark){.mark = -1, .next = -1, .top = -1, .window = rounded};
        watermark->done = calloc(rounded / WORD_BITS, sizeof *watermark->done);
        return watermark->done ? 0 : -1;
}

void watermark_fini(struct watermark *watermark)
{
        free(watermark->done);
        watermark->done = NULL;
}

void watermark_reset(struct watermark *watermark)
{
        watermark->mark = watermark->next = watermark->top = -1;
        watermark->outstanding = 0;
        watermark->ended = 0;
        memset(watermark->done, 0, watermark->window / 8);
}

static uint64_t *word_of(const struct watermark *watermark, int64_t offset, uint64_t *ret_bit)
{
        size_t at = (size_t)offset & (watermark->window - 1);

        *ret_bit = (uint64_t)1 << (at % WORD_BITS);
        return &watermark->done[at / WORD_BITS];
}

bool watermark_fits(const struct watermark *watermark, int64_t offset)
{
        if (watermark->mark == watermark->next) /* nothing is under way: any offset ahead may come next */
                return offset >= watermark->next;
        return offset >= watermark->next && offset - watermark->mark < (int64_t)watermark->window;
}

void watermark_begin(struct watermark *watermark, int64_t offset)
{
        watermark->mark = watermark->next = watermark->top = offset;
}

bool watermark_know(struct watermark *watermark, int64_t offset)
{
        uint64_t bit, *word;

        if (watermark->mark < 0 || offset < watermark->next || offset - watermark->mark >= (int64_t)watermark->window)
                return false;
        word = word_of(watermark, offset, &bit);
        *word |= bit;
        if (offset >= watermark->top)
                watermark->top = offset + 1;
        return true;
}

bool watermark_known(const struct watermark *watermark, int64_t offset)
{
        uint64_t bit;

        return offset >= watermark->next && offset < watermark->top && (*word_of(watermark, offset, &bit) & bit) != 0;
}

/* The mark goes to an offset ahead with nothing under way: what lies between is not there, and what was known of it is forgotten. */
static void pass_over(struct watermark *watermark, int64_t offset)
{
        uint64_t bit, *word;

        for (int64_t gap = watermark->next; gap < watermark->top && gap < offset; gap++) {
                word = word_of(watermark, gap, &bit);
                *word &= ~bit;
        }
        watermark->mark = offset;
}

bool watermark_start(struct watermark *watermark, int64_t offset)
{
        uint64_t bit, *word;

        if (offset < 0 || !watermark_fits(watermark, offset))
                return false;
        if (watermark->mark == watermark->next)
                pass_over(watermark, offset); /* the first one, or only gaps in between */
        else
                for (int64_t gap = watermark->next; gap < offset; gap++) {
                        word = word_of(watermark, gap, &bit);
                        *word |= bit;
                }
        word = word_of(watermark, offset, &bit);
        *word &= ~bit;
        watermark->next = offset + 1;
        if (watermark->top < watermark->next)
                watermark->top = watermark->next;
        watermark->outstanding++;
        return true;
}

bool watermark_skip(struct watermark *watermark, int64_t offset)
{
        if (!watermark_start(watermark, offset))
                return false;
        watermark_done(watermark, offset);
        watermark->ended--; /* was counted by the run that did it */
        return true;
}

bool watermark_done(struct watermark *watermark, int64_t offset)
{
        uint64_t bit, *word;
        int64_t before = watermark->mark;

        if (offset < watermark->mark || offset >= watermark->next)
                return false;
        word = word_of(watermark, offset, &bit);
        if (*word & bit)
                return false;
        *word |= bit;
        watermark->outstanding--;
        watermark->ended++;
        while (watermark->mark < watermark->next) {
                word = word_of(watermark, watermark->mark, &bit);
                if (!(*word & bit))
                        break;
                if (bit == 1 && *word == UINT64_MAX && watermark->next - watermark->mark >= WORD_BITS) {
                        *word = 0;
                        watermark->mark += WORD_BITS;
                        continue;
                }
                *word &= ~bit;
                watermark->mark++;
        }
        return watermark->mark != before;
}

bool watermark_is_done(const struct watermark *watermark, int64_t offset)
{
        uint64_t bit;

        if (offset < watermark->mark)
                return true;
        return offset < watermark->top && (*word_of(watermark, offset, &bit) & bit) != 0;
}

/* The first offset in from…top whose bit is as wanted, top where there is none. */
static int64_t find_bit(const struct watermark *watermark, int64_t from, bool wanted)
{
        while (from < watermark->top) {
                uint64_t bit, word = *word_of(watermark, from, &bit);
                int shift = (int)(from % WORD_BITS);

                word = (wanted ? word : ~word) >> shift;
                if (word != 0) {
                        from += __builtin_ctzll(word);
                        return from < watermark->top ? from : watermark->top;
                }
                from += WORD_BITS - shift;
        }
        return watermark->top;
}

bool watermark_run(const struct watermark *watermark, int64_t from, int64_t *ret_begin, int64_t *ret_end)
{
        int64_t begin = find_bit(watermark, from < watermark->mark ? watermark->mark : from, true);

        if (watermark->mark < 0 || begin >= watermark->top)
                return false;
        *ret_begin = begin;
        *ret_end = find_bit(watermark, begin, false);
        return true;
}
