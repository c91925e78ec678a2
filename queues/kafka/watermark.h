/* A partition's contiguous completed watermark. Pure; not thread-safe.
 *
 *      done ────────────┐   started, some done      not started    known: done by an earlier run, not met again yet
 *      ······████████████│▒█▒▒██▒▒▒█▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│··██··█│
 *                        │ mark                     │ next   │ top
 *
 * Every offset below `mark` has ended; `mark` is what may be committed. Offsets start in ascending order; those that were never
 * started (gaps of compaction, aborted transactions) count as ended. The window mark…top is bounded: past it nothing can be
 * started until the mark has moved. */
#ifndef QUEUES_KAFKA_WATERMARK_H
#define QUEUES_KAFKA_WATERMARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watermark {
        int64_t mark, next; /* -1: nothing has been started yet */
        int64_t top;        /* behind the highest offset that has a bit; ≥ next */
        uint64_t *done;     /* a ring of one bit an offset of the window, by offset mod window */
        size_t window;      /* offsets; a power of two, at least 64 */
        size_t outstanding; /* started and not done */
        uint64_t ended;     /* how many watermark_done() have taken effect since the reset */
};

/* window: the most offsets between the mark and the last started one; rounded up to a power of two. -1 when memory is out. */
int watermark_init(struct watermark *watermark, size_t window);
void watermark_fini(struct watermark *watermark);
/* As after init: for a new assignment. */
void watermark_reset(struct watermark *watermark);

/* After a reset: the partition goes on at this offset (what is committed), and these offsets above it were ended by an earlier run.
 * False: outside the window, or started already; changes nothing, the offset is done again. */
void watermark_begin(struct watermark *watermark, int64_t offset);
bool watermark_know(struct watermark *watermark, int64_t offset);
/* Not started yet, and known to have ended? */
bool watermark_known(const struct watermark *watermark, int64_t offset);

/* False: the window has no room for this offset yet (start it later), or it is below `next` (started already: asserts nothing,
 * changes nothing). The very first start sets the mark. A known offset that is started is to be done again. */
bool watermark_start(struct watermark *watermark, int64_t offset);
/* True when the mark moved. An offset outside mark…next, or done already, changes nothing. */
bool watermark_done(struct watermark *watermark, int64_t offset);
/* A known offset that has come: started and done at once. False as watermark_start(). */
bool watermark_skip(struct watermark *watermark, int64_t offset);
/* Is there room for this offset? */
bool watermark_fits(const struct watermark *watermark, int64_t offset);
/* Has this offset ended (or lies below the mark)? */
bool watermark_is_done(const struct watermark *watermark, int64_t offset);
/* The next run [begin, end) of ended offsets that begins at or behind `from`, below top; false: there is none. */
bool watermark_run(const struct watermark *watermark, int64_t from, int64_t *ret_begin, int64_t *ret_end);

#endif
