#include "config/base/digest.h"

#include <endian.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>

static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static pthread_key_t context_key; /* only for its destructor: what a thread made goes with it */
static _Thread_local EVP_MD_CTX *context;

static void free_context(void *made)
{
        EVP_MD_CTX_free(made);
        context = NULL;
}

static void fetch_sha256(void) /* once: a fetch a digest costs more than the digest */
{
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        if (pthread_key_create(&context_key, free_context) != 0)
                abort();
}

/* EVP allocates when a thread first uses it; the older functions never do. Nobody waits for memory to know a request's name. */
static void without_memory(struct span data, uint8_t ret_digest[SHA256_BYTES])
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        SHA256_CTX sums;

        if (!SHA256_Init(&sums) || !SHA256_Update(&sums, data.data, data.len) || !SHA256_Final(ret_digest, &sums))
                abort(); /* a broken crypto library: nothing that follows could be trusted */
#pragma GCC diagnostic pop
}

void digest_sha256(struct span data, uint8_t ret_digest[SHA256_BYTES])
{
        pthread_once(&sha256_once, fetch_sha256);
        if (!context) {
                context = EVP_MD_CTX_new();
                pthread_setspecific(context_key, context); /* failing, it costs a context once the thread has ended */
        }
        if (context && sha256 && EVP_DigestInit_ex2(context, sha256, NULL) && EVP_DigestUpdate(context, data.data, data.len) &&
            EVP_DigestFinal_ex(context, ret_digest, NULL))
                return;
        without_memory(data, ret_digest);
}

void digest_sha256_hex(struct span data, char ret_hex[SHA256_HEX_BYTES])
{
        static const char hex[] = "0123456789abcdef";
        uint8_t digest[SHA256_BYTES];

        digest_sha256(data, digest);
        for (size_t i = 0; i < SHA256_BYTES; i++) {
                ret_hex[2 * i] = hex[digest[i] >> 4];
                ret_hex[2 * i + 1] = hex[digest[i] & 15];
        }
        ret_hex[2 * SHA256_BYTES] = '\0';
}

uint32_t digest_murmur2(struct span key)
{
        const uint32_t m = 0x5bd1e995;
        const unsigned char *p = (const unsigned char *)key.data;
        uint32_t h = 0x9747b28cu ^ (uint32_t)key.len;
        size_t n = key.len;

        for (; n >= 4; n -= 4, p += 4) {
                uint32_t k = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;

                k *= m;
                k ^= k >> 24;
                h = h * m ^ k * m;
        }
        if (n >= 3)
                h ^= (uint32_t)p[2] << 16;
        if (n >= 2)
                h ^= (uint32_t)p[1] << 8;
        if (n >= 1)
                h = (h ^ p[0]) * m;
        h = (h ^ h >> 13) * m;
        return (h ^ h >> 15) & 0x7fffffff;
}

uint64_t digest_fnv1a(struct span data)
{
        uint64_t h = 0xcbf29ce484222325u;

        for (size_t i = 0; i < data.len; i++)
                h = (h ^ (unsigned char)data.data[i]) * 0x100000001b3u;
        return h;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Tables made once: two characters for twelve bits; and for each of a group's four characters its six bits in their place. */
enum { FOREIGN = 1 << 24 };
static char pairs[4096][2];
static uint32_t places[4][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
        for (size_t i = 0; i < 4096; i++) {
                pairs[i][0] = alphabet[i >> 6];
                pairs[i][1] = alphabet[i & 63];
        }
        for (size_t place = 0; place < 4; place++) {
                for (size_t c = 0; c < 256; c++)
                        places[place][c] = FOREIGN;
                for (uint32_t i = 0; i < 64; i++)
                        places[place][(unsigned char)alphabet[i]] = i << (18 - 6 * place);
        }
}

void digest_base64_encode(const void *data, size_t n, char *out)
{
        const unsigned char *p = data;

        pthread_once(&tables_once, fill_tables);
        for (; n >= 8; n -= 6, p += 6, out += 8) { /* six of eight bytes that may be read */
                uint64_t v;

                memcpy(&v, p, sizeof v);
                v = be64toh(v);
                memcpy(out, pairs[v >> 52], 2);
                memcpy(out + 2, pairs[v >> 40 & 4095], 2);
                memcpy(out + 4, pairs[v >> 28 & 4095], 2);
                memcpy(out + 6, pairs[v >> 16 & 4095], 2);
        }
        for (; n >= 3; n -= 3, p += 3, out += 4) {
                uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

                memcpy(out, pairs[v >> 12], 2);
                memcpy(out + 2, pairs[v & 4095], 2);
        }
        if (n) {
                uint32_t v = (uint32_t)p[0] << 16 | (n == 2 ? (uint32_t)p[1] << 8 : 0);

                *out++ = alphabet[v >> 18];
                *out++ = alphabet[v >> 12 & 63];
                *out++ = n == 2 ? alphabet[v >> 6 & 63] : '=';
                *out++ = '=';
        }
}

bool digest_base64_decode(struct span text, void *out, size_t out_max, size_t *ret_n)
{
        const unsigned char *p = (const unsigned char *)text.data;
        unsigned char *to = out;
        size_t n = text.len, whole, bytes, rest;
        uint32_t seen = 0;

        pthread_once(&tables_once, fill_tables);
        for (int pads = 0; pads < 2 && n && p[n - 1] == '='; pads++)
                n--;
        rest = n % 4;
        bytes = n / 4 * 3 + (rest ? rest - 1 : 0);
        if (rest == 1 || bytes > out_max)
                return false;
        for (whole = n / 4; whole > 2; whole -= 2, p += 8, to += 6) { /* two groups, written as eight bytes: there are three more behind */
                uint32_t first = places[0][p[0]] | places[1][p[1]] | places[2][p[2]] | places[3][p[3]];
                uint32_t second = places[0][p[4]] | places[1][p[5]] | places[2][p[6]] | places[3][p[7]];
                uint64_t v = htobe64((uint64_t)first << 40 | (uint64_t)second << 16);

                seen |= first | second;
                memcpy(to, &v, sizeof v);
        }
        for (; whole; whole--, p += 4, to += 3) {
                uint32_t v = places[0][p[0]] | places[1][p[1]] | places[2][p[2]] | places[3][p[3]];

                seen |= v;
                to[0] = (unsigned char)(v >> 16);
                to[1] = (unsigned char)(v >> 8);
                to[2] = (unsigned char)v;
        }
        if (rest) {
                uint32_t v = places[0][p[0]] | places[1][p[1]] | (rest == 3 ? places[2][p[2]] : 0);

                seen |= v;
                *to++ = (unsigned char)(v >> 16);
                if (rest == 3)
                        *to = (unsigned char)(v >> 8);
        }
        if (seen & FOREIGN)
                return false;
        *ret_n = bytes;
        return true;
}
