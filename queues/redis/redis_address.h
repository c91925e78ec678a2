/* Where Redis is and how one gets in: the URL of the settings taken apart, and TLS for it. Shared by the asynchronous connection
 * and the blocking client. Not thread-safe. */
#ifndef QUEUES_REDIS_REDIS_ADDRESS_H
#define QUEUES_REDIS_REDIS_ADDRESS_H

#include <stdbool.h>

#include "config/base/error.h"
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

/* Puts TLS on a connected context: the server's certificate is checked against the system's authorities (SSL_CERT_FILE,
 * SSL_CERT_DIR) and the host's name or address, always. Nothing to do for redis://. *ret_session (may be NULL) is the context's own:
 * gone when that is freed. */
int redis_address_secure(const struct redis_address *address, struct redisContext *context, struct ssl_st **ret_session,
                         struct error *err);
/* Why the session's certificate was refused; NULL when it wasn't, or without a session. hiredis itself doesn't always tell. */
const char *redis_address_refusal(const struct ssl_st *session);

#endif
