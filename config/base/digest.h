/* Digests and encodings. All functions are pure and thread-safe. */
#ifndef CONFIG_BASE_DIGEST_H
#define CONFIG_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/span.h"

enum { SHA256_BYTES = 32, SHA256_HEX_BYTES = 65 };

void digest_sha256(struct span data, uint8_t ret_digest[SHA256_BYTES]);
/* In lower-case hexadecimal with a NUL. */
void digest_sha256_hex(struct span data, char ret_hex[SHA256_HEX_BYTES]);

/* Kafka's default partitioner: murmur2 with its seed, sign bit cleared; partition = this mod count. */
uint32_t digest_murmur2(struct span key);
uint64_t digest_fnv1a(struct span data);

/* Standard alphabet with padding. out must hold digest_base64_bytes(n) characters (no NUL is written). */
static inline size_t digest_base64_bytes(size_t n)
{
        return (n + 2) / 3 * 4;
}
void digest_base64_encode(const void *data, size_t n, char *out);
/* At most out_max bytes into out; padding may be missing at the end; false on any foreign character or when out is too small. */
bool digest_base64_decode(struct span text, void *out, size_t out_max, size_t *ret_n);

#endif
