/* Two passes over the runs of a watermark: one weighs both forms, one writes the shorter. Decoding checks everything before the first
 * offset is believed: prefix, base64 to the last bit, checksum, and that the body is the one form that encoding gives. */
#include "queues/kafka/offset_codec.h"

#include <string.h>

#include "config/base/digest.h"

enum {
        PREFIX = 4, /* with the form */
        CRC_BYTES = 4,
        BODY_MAX = (OFFSET_TEXT_MAX - PREFIX) / 4 * 3 - CRC_BYTES,
        OFFSET_BYTES = 8,
        NUMBER_MAX = 3, /* bytes: OFFSET_SPAN_MAX < 2^21 */
};

static const char prefix[] = "mr1";

/* ---- numbers, checksum ---- */

static size_t number_bytes(int64_t number)
{
        return number < 1 << 7 ? 1 : number < 1 << 14 ? 2 : NUMBER_MAX;
}

static size_t put_number(uint8_t *to, int64_t number)
{
        size_t n = 0;

        while (number >= 1 << 7) {
                to[n++] = (uint8_t)(number | 1 << 7);
                number >>= 7;
        }
        to[n++] = (uint8_t)number;
        return n;
}

/* -1: cut short, too long, or not the shortest way to write it. */
static int64_t take_number(const uint8_t *body, size_t len, size_t *at)
{
        int64_t number = 0;

        for (int n = 0; n < NUMBER_MAX && *at < len; n++) {
                uint8_t byte = body[(*at)++];

                number |= (int64_t)(byte & 0x7f) << 7 * n;
                if (byte < 0x80)
                        return n > 0 && byte == 0 ? -1 : number;
        }
        return -1;
}

/* CRC-32 (IEEE 802.3), four bits at a time. */
static uint32_t crc_add(uint32_t crc, const void *data, size_t len)
{
        static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                           0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                           0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
        const uint8_t *bytes = data;

        crc = ~crc;
        for (size_t i = 0; i < len; i++) {
                crc = table[(crc ^ bytes[i]) & 15] ^ crc >> 4;
                crc = table[(crc ^ (uint32_t)bytes[i] >> 4) & 15] ^ crc >> 4;
        }
        return ~crc;
}

static uint32_t checksum(char form, int64_t committed, const uint8_t *body, size_t len)
{
        uint8_t head[1 + OFFSET_BYTES] = {(uint8_t)form};

        for (int i = 0; i < OFFSET_BYTES; i++)
                head[1 + i] = (uint8_t)((uint64_t)committed >> 8 * i);
        return crc_add(crc_add(0, head, sizeof head), body, len);
}

static size_t text_chars(size_t body_bytes)
{
        return body_bytes == 0 ? 0 : PREFIX + digest_base64_bytes(body_bytes + CRC_BYTES);
}

/* ---- encoding ---- */

struct scan {
        size_t runs;       /* bytes of the run form */
        int64_t end;       /* behind the last ended offset; the mark where none has */
        int64_t not_ended; /* offsets in mark…top */
};

static struct scan scan(const struct watermark *watermark)
{
        struct scan found = {.end = watermark->mark, .not_ended = watermark->top - watermark->mark};
        int64_t begin, end;

        while (watermark_run(watermark, found.end, &begin, &end)) {
                found.runs += number_bytes(begin - found.end) + number_bytes(end - begin);
                found.not_ended -= end - begin;
                found.end = end;
        }
        return found;
}

static size_t bitmap_bytes(int64_t offsets)
{
        return ((size_t)offsets + 7) / 8;
}

static size_t lesser(size_t a, size_t b)
{
        return a < b ? a : b;
}

struct offset_weight offset_codec_weigh(const struct watermark *watermark)
{
        struct scan found = scan(watermark);
        size_t now = lesser(found.runs, bitmap_bytes(found.end - watermark->mark)),
               /* At worst every second one of those under way ends: a number for it and one for its neighbour. */
                worst = lesser(found.runs + (size_t)found.not_ended + NUMBER_MAX, bitmap_bytes(watermark->top - watermark->mark));

        return (struct offset_weight){text_chars(now), text_chars(worst)};
}

static size_t put_runs(const struct watermark *watermark, uint8_t *body)
{
        int64_t at = watermark->mark, begin, end;
        size_t len = 0;

        while (watermark_run(watermark, at, &begin, &end)) {
                len += put_number(body + len, begin - at);
                len += put_number(body + len, end - begin);
                at = end;
        }
        return len;
}

static size_t put_bitmap(const struct watermark *watermark, uint8_t *body, size_t len)
{
        int64_t at = watermark->mark, begin, end;

        memset(body, 0, len);
        for (; watermark_run(watermark, at, &begin, &end); at = end)
                for (int64_t bit = begin - watermark->mark; bit < end - watermark->mark; bit++)
                        body[bit / 8] |= (uint8_t)(1 << bit % 8);
        return len;
}

int offset_codec_encode(const struct watermark *watermark, char ret_text[OFFSET_TEXT_MAX + 1])
{
        struct scan found = scan(watermark);
        size_t bitmap = bitmap_bytes(found.end - watermark->mark), len;
        char form = found.runs < bitmap ? 'r' : 'b';
        uint8_t body[BODY_MAX + CRC_BYTES];
        uint32_t crc;

        ret_text[0] = '\0';
        if (lesser(found.runs, bitmap) > BODY_MAX || found.end - watermark->mark > OFFSET_SPAN_MAX)
                return -1;
        if (bitmap == 0)
                return 0;
        len = form == 'r' ? put_runs(watermark, body) : put_bitmap(watermark, body, bitmap);
        crc = checksum(form, watermark->mark, body, len);
        for (size_t i = 0; i < CRC_BYTES; i++)
                body[len + i] = (uint8_t)(crc >> 8 * i);
        memcpy(ret_text, prefix, PREFIX - 1);
        ret_text[PREFIX - 1] = form;
        digest_base64_encode(body, len + CRC_BYTES, ret_text + PREFIX);
        ret_text[text_chars(len)] = '\0';
        return (int)text_chars(len);
}

/* ---- decoding ---- */

/* The body's length; 0: the text is not ours. */
static size_t take_body(struct span text, int64_t committed, uint8_t body[BODY_MAX + CRC_BYTES])
{
        char again[OFFSET_TEXT_MAX + 1];
        size_t len;
        uint32_t crc = 0;

        if (text.len <= PREFIX || text.len > OFFSET_TEXT_MAX || memcmp(text.data, prefix, PREFIX - 1) != 0)
                return 0;
        if (!digest_base64_decode((struct span){text.data + PREFIX, text.len - PREFIX}, body, BODY_MAX + CRC_BYTES, &len) ||
            len <= CRC_BYTES || text_chars(len - CRC_BYTES) != text.len)
                return 0;
        digest_base64_encode(body, len, again); /* loose ends in the last character */
        if (memcmp(again, text.data + PREFIX, text.len - PREFIX) != 0)
                return 0;
        len -= CRC_BYTES;
        for (size_t i = 0; i < CRC_BYTES; i++)
                crc |= (uint32_t)body[len + i] << 8 * i;
        return crc == checksum(text.data[PREFIX - 1], committed, body, len) ? len : 0;
}

/* Two walks: the first only looks. */
static bool take_runs(const uint8_t *body, size_t len, int64_t committed, struct watermark *watermark)
{
        int64_t at = 0;
        size_t pos = 0;

        while (pos < len) {
                bool first = pos == 0;
                int64_t gap = take_number(body, len, &pos), run = take_number(body, len, &pos);

                if (gap < 0 || run < 1 || (gap == 0 && !first) || gap + run > OFFSET_SPAN_MAX - at)
                        return false;
                at += gap;
                for (int64_t i = 0; watermark && i < run; i++)
                        if (!watermark_know(watermark, committed + at + i))
                                return true; /* past the window: so far, so good */
                at += run;
        }
        return true;
}

static bool take_bitmap(const uint8_t *body, size_t len, int64_t committed, struct watermark *watermark)
{
        if (body[len - 1] == 0)
                return false;
        for (size_t bit = 0; watermark && bit < 8 * len; bit++)
                if (body[bit / 8] >> bit % 8 & 1)
                        watermark_know(watermark, committed + (int64_t)bit);
        return true;
}

enum offset_text offset_codec_decode(struct span text, int64_t committed, struct watermark *watermark)
{
        uint8_t body[BODY_MAX + CRC_BYTES];
        bool (*take)(const uint8_t *body, size_t len, int64_t committed, struct watermark *watermark);
        size_t len;

        watermark_begin(watermark, committed);
        if (text.len == 0)
                return OFFSET_TEXT_NONE;
        len = committed < INT64_MAX - OFFSET_SPAN_MAX ? take_body(text, committed, body) : 0;
        if (len == 0)
                return OFFSET_TEXT_FOREIGN;
        take = text.data[PREFIX - 1] == 'r' ? take_runs : text.data[PREFIX - 1] == 'b' ? take_bitmap : NULL;
        if (!take || !take(body, len, committed, NULL))
                return OFFSET_TEXT_FOREIGN;
        take(body, len, committed, watermark);
        return OFFSET_TEXT_OURS;
}
