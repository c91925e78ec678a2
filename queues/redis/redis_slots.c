#include "queues/redis/redis_slots.h"

#include <stdint.h>

/* Polynomial 0x1021, four bits a step: 32 bytes of table instead of 512, for keys of a few dozen bytes. */
static unsigned crc16(struct span text)
{
        static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                           0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
        unsigned crc = 0;

        for (size_t i = 0; i < text.len; i++) {
                unsigned byte = (unsigned char)text.data[i];

                crc = ((crc << 4) & 0xffff) ^ table[(crc >> 12) ^ (byte >> 4)];
                crc = ((crc << 4) & 0xffff) ^ table[(crc >> 12) ^ (byte & 15)];
        }
        return crc;
}

unsigned slot_of(struct span key)
{
        const char *open = key.len ? memchr(key.data, '{', key.len) : NULL;

        if (open) {
                size_t left = key.len - (size_t)(open + 1 - key.data);
                const char *close = left ? memchr(open + 1, '}', left) : NULL;

                if (close && close > open + 1)
                        key = (struct span){open + 1, (size_t)(close - open - 1)};
        }
        return crc16(key) % SLOT_COUNT;
}

/* The decimal number that text begins with, up to max, and *text behind it; −1: none. */
static int take_number(struct span *text, int max)
{
        int value = 0;
        size_t len = 0;

        while (len < text->len && text->data[len] >= '0' && text->data[len] <= '9') {
                value = value * 10 + text->data[len] - '0';
                if (value > max)
                        return -1;
                len++;
        }
        *text = (struct span){text->data + len, text->len - len};
        return len ? value : -1;
}

static bool skip(struct span *text, struct span word)
{
        if (text->len < word.len || memcmp(text->data, word.data, word.len) != 0)
                return false;
        *text = (struct span){text->data + word.len, text->len - word.len};
        return true;
}

int redirect_parse(struct span error, struct redirect *ret_redirect)
{
        struct redirect redirect = {0};
        struct span host;
        const char *colon;
        int number;

        if (!skip(&error, SPAN("MOVED "))) {
                if (!skip(&error, SPAN("ASK ")))
                        return -1;
                redirect.ask = true;
        }
        number = take_number(&error, SLOT_COUNT - 1);
        if (number < 0 || !skip(&error, SPAN(" ")))
                return -1;
        redirect.slot = (unsigned)number;
        colon = error.len ? memrchr(error.data, ':', error.len) : NULL; /* an IPv6 address stands there without brackets */
        if (!colon)
                return -1;
        host = (struct span){error.data, (size_t)(colon - error.data)};
        error = (struct span){colon + 1, error.len - host.len - 1};
        redirect.port = take_number(&error, 65535);
        if (redirect.port <= 0 || (error.len && error.data[0] != ' ') || host.len > ADDRESS_HOST_MAX)
                return -1;
        if (host.len == 1 && host.data[0] == '?')
                host.len = 0;
        if (host.len)
                memcpy(redirect.host, host.data, host.len);
        *ret_redirect = redirect;
        return 0;
}
