/* Where Redis is and how one gets in: the settings' addresses taken apart, and TLS for them. Shared by the asynchronous connection
 * and the blocking client. Not thread-safe. */
#ifndef QUEUES_REDIS_REDIS_ADDRESS_H
#define QUEUES_REDIS_REDIS_ADDRESS_H

#include <stdbool.h>

#include "config/base/error.h"
#include "config/base/span.h"
#include "config/settings.h"

struct redisContext;
struct ssl_ctx_st;
struct ssl_st;

enum { ADDRESS_HOST_MAX = 255, ADDRESS_SECRET_MAX = 1024 };

struct redis_address {
        char host[ADDRESS_HOST_MAX + 1];
        int port, database;
        char username[ADDRESS_SECRET_MAX + 1], password[ADDRESS_SECRET_MAX + 1]; /* "" = none; the password is a secret */
        struct ssl_ctx_st *tls;                                                  /* NULL: redis:// */
};

/* From redis.url: redis[s]://[[username][:password]@]host[:port][/database], %XX decoded in name and password; redis.username and
 * redis.password win over the URL's. data.schema where it is faulty (the message holds no part of the URL). */
int redis_address_init(struct redis_address *address, const struct settings *settings, struct error *err);
void redis_address_fini(struct redis_address *address); /* wipes the secrets */

/* How the sentinels are got into: redis.sentinel.username and .password, TLS where redis.url is rediss://. Host and port are left
 * empty. */
int redis_address_sentinel(struct redis_address *address, const struct settings *settings, struct error *err);

/* "host", "host:port" or "[host]:port" taken apart. −1: faulty; outputs are untouched. */
int redis_address_place(struct span text, int port_default, char host[ADDRESS_HOST_MAX + 1], int *ret_port);

/* Puts TLS on a context that is connected to host: the server's certificate is checked against the system's authorities
 * (SSL_CERT_FILE, SSL_CERT_DIR) and that name or address, always. Nothing to do for redis://. *ret_session (may be NULL) is the
 * context's own: gone when that is freed. */
int redis_address_secure(const struct redis_address *address, const char *host, struct redisContext *context,
                         struct ssl_st **ret_session, struct error *err);
/* Why the session's certificate was refused; NULL when it wasn't, or without a session. hiredis itself doesn't always tell. */
const char *redis_address_refusal(const struct ssl_st *session);

#endif
