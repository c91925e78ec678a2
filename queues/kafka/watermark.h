/* A partition's contiguous completed watermark. Pure; not thread-safe.
 *
 *      done ────────────┐   started, some done      not started
 *      ······████████████│▒█▒▒██▒▒▒█▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│
 *                        │ mark                     │ next
 *
 * Every offset below `mark` has ended; `mark` is what may be committed. Offsets start in ascending order; those that were never
 * started (gaps of compaction, aborted transactions) count as ended. The window mark…next is bounded: past it nothing can be
 * started until the mark has moved. */
#ifndef QUEUES_KAFKA_WATERMARK_H
#define QUEUES_KAFKA_WATERMARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watermark {
        int64_t mark, next; /* -1: nothing has been started yet */
        uint64_t *done;     /* a ring of one bit an offset of the window, by offset mod window */
        size_t window;      /* offsets; a power of two, at least 64 */
        size_t outstanding; /* started and not done */
};

/* window: the most offsets between the mark and the last started one; rounded up to a power of two. -1 when memory is out. */
int watermark_init(struct watermark *watermark, size_t window);
void watermark_fini(struct watermark *watermark);
/* As after init: for a new assignment. */
void watermark_reset(struct watermark *watermark);

/* False: the window has no room for this offset yet (start it later), or it is below `next` (started already: asserts nothing,
 * changes nothing). The very first start sets the mark. */
bool watermark_start(struct watermark *watermark, int64_t offset);
/* True when the mark moved. An offset outside mark…next, or done already, changes nothing. */
bool watermark_done(struct watermark *watermark, int64_t offset);
/* Is there room for this offset? */
bool watermark_fits(const struct watermark *watermark, int64_t offset);
/* Has this offset ended (or lies below the mark)? */
bool watermark_is_done(const struct watermark *watermark, int64_t offset);

#endif
