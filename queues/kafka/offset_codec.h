/* What has ended above a committed offset, as text for the commit's metadata: a restart or another member of the group then does not
 * do it again. Pure.
 *
 *      "mr1" form base64(body, CRC-32)       ≤ OFFSET_TEXT_MAX characters, well below the broker's 4,096; "" = nothing above
 *             │          │
 *             │          └ bit i of byte b: offset committed + 8b + i has ended; the last byte is not 0            form 'b'
 *             │            or LEB128 numbers: not ended, ended, not ended, … offsets in a row from the committed
 *             │            one on; the last number counts ended ones; only the first may be 0                      form 'r'
 *             └ whichever is shorter
 *
 * The checksum covers the form and the committed offset too, so that a map never passes for that of another commit. Text that is not
 * ours to the last bit is refused as a whole: what it may have said is done again. */
#ifndef QUEUES_KAFKA_OFFSET_CODEC_H
#define QUEUES_KAFKA_OFFSET_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/span.h"
#include "queues/kafka/watermark.h"

enum {
        OFFSET_TEXT_MAX = 3000,
        OFFSET_TEXT_FULL = OFFSET_TEXT_MAX * 3 / 4, /* past it nothing new is taken up */
        OFFSET_SPAN_MAX = 1 << 20,                  /* offsets behind the committed one, at most */
};

/* How long the text is now, and how long it can become by ends in any order of what has been started; characters. */
struct offset_weight {
        size_t now, worst;
};
struct offset_weight offset_codec_weigh(const struct watermark *watermark);

/* The text that goes with a commit of watermark->mark, NUL-terminated; its length, 0: nothing has ended above. -1: longer than
 * OFFSET_TEXT_MAX (never, where nothing is started that would bring the worst past it). */
int offset_codec_encode(const struct watermark *watermark, char ret_text[OFFSET_TEXT_MAX + 1]);

enum offset_text { OFFSET_TEXT_NONE, OFFSET_TEXT_OURS, OFFSET_TEXT_FOREIGN };

/* Into a watermark as after reset: begins at the committed offset and knows what the text says, as far as its window goes. FOREIGN
 * (another's, damaged, of another version or another commit): it only begins there. committed ≥ 0. */
enum offset_text offset_codec_decode(struct span text, int64_t committed, struct watermark *watermark);

#endif
