#include "config/base/utf8.h"

#include <stdint.h>

/* Length of the well-formed sequence at p (n bytes left), 0 if there is none: table 3-7 of the Unicode standard. */
static size_t sequence(const unsigned char *p, size_t n)
{
        unsigned char lead = p[0], low = 0x80, high = 0xbf;
        size_t len;

        if (lead < 0x80)
                return 1;
        if (lead < 0xc2 || lead > 0xf4)
                return 0;
        len = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        if (n < len)
                return 0;
        if (lead == 0xe0)
                low = 0xa0;
        else if (lead == 0xed)
                high = 0x9f;
        else if (lead == 0xf0)
                low = 0x90;
        else if (lead == 0xf4)
                high = 0x8f;
        if (p[1] < low || p[1] > high)
                return 0;
        for (size_t i = 2; i < len; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        return len;
}

bool utf8_valid(struct span s)
{
        const unsigned char *p = (const unsigned char *)s.data;
        size_t i = 0;

        while (i < s.len) {
                size_t len;
                uint64_t eight;

                while (s.len - i >= sizeof eight) { /* eight ASCII bytes at a time */
                        memcpy(&eight, p + i, sizeof eight);
                        if (eight & 0x8080808080808080u)
                                break;
                        i += sizeof eight;
                }
                if (i >= s.len)
                        break;
                len = sequence(p + i, s.len - i);
                if (!len)
                        return false;
                i += len;
        }
        return true;
}

uint32_t utf8_next(struct span s, size_t *at)
{
        const unsigned char *p = (const unsigned char *)s.data + *at;
        uint32_t lead = p[0];

        if (lead < 0x80) {
                *at += 1;
                return lead;
        }
        if (lead < 0xe0) {
                *at += 2;
                return (lead & 0x1fu) << 6 | (p[1] & 0x3fu);
        }
        if (lead < 0xf0) {
                *at += 3;
                return (lead & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
        }
        *at += 4;
        return (lead & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

size_t utf8_cut(struct span s, size_t bytes_max)
{
        size_t cut = bytes_max;

        if (s.len <= bytes_max)
                return s.len;
        while (cut > 0 && ((unsigned char)s.data[cut] & 0xc0) == 0x80)
                cut--;
        return cut;
}
