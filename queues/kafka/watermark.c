/* A ring of bits over the offsets mark…next. Invariants: the bit of every offset in mark…next says whether it has ended; bits
 * outside are clear; the bit at mark is clear unless mark == next. Moving the mark goes 64 offsets at a time where a whole word
 * is done. */
#include "queues/kafka/watermark.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_BITS = 64 };

int watermark_init(struct watermark *watermark, size_t window)
{
        size_t rounded = WORD_BITS;

        while (rounded < window)
                rounded *= 2;
        *watermark = (struct watermark){.mark = -1, .next = -1, .window = rounded};
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
        watermark->mark = watermark->next = -1;
        watermark->outstanding = 0;
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

bool watermark_start(struct watermark *watermark, int64_t offset)
{
        uint64_t bit, *word;

        if (offset < 0 || !watermark_fits(watermark, offset))
                return false;
        if (watermark->mark == watermark->next)
                watermark->mark = offset; /* the first one, or only gaps in between */
        else
                for (int64_t gap = watermark->next; gap < offset; gap++) {
                        word = word_of(watermark, gap, &bit);
                        *word |= bit;
                }
        watermark->next = offset + 1;
        watermark->outstanding++;
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
        return offset < watermark->next && (*word_of(watermark, offset, &bit) & bit) != 0;
}
