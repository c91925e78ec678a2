/* The URL is configuration, not input from requests; still every part of it is bounded, and none of it gets into a message, since a
 * password may be in it. */
#include "queues/redis/redis_address.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "config/base/span.h"

enum { PORT_DEFAULT = 6379, DATABASE_MAX = 65535 };

static int faulty(struct error *err, const char *what)
{
        return error_set(err, CODE_SCHEMA, "redis.url: %s; expected redis[s]://[user:password@]host[:port][/database]", what);
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int decode_percent(struct span text, char *out, size_t out_max)
{
        size_t n = 0;

        for (size_t i = 0; i < text.len; i++) {
                int c = (unsigned char)text.data[i];

                if (c == '%') {
                        int high = i + 2 < text.len ? hex_digit(text.data[i + 1]) : -1;
                        int low = i + 2 < text.len ? hex_digit(text.data[i + 2]) : -1;

                        if (high < 0 || low < 0)
                                return -1;
                        c = high * 16 + low;
                        i += 2;
                }
                if (n == out_max || c == 0)
                        return -1;
                out[n++] = (char)c;
        }
        out[n] = '\0';
        return 0;
}

static int parse_number(struct span text, int max, int *ret)
{
        int value = 0;

        if (text.len == 0 || text.len > 5)
                return -1;
        for (size_t i = 0; i < text.len; i++) {
                if (text.data[i] < '0' || text.data[i] > '9')
                        return -1;
                value = value * 10 + text.data[i] - '0';
        }
        if (value > max)
                return -1;
        *ret = value;
        return 0;
}

/* text up to the first c, and behind it into *rest; without c all of it. */
static struct span cut(struct span text, char c, struct span *rest)
{
        const char *at = text.len ? memchr(text.data, c, text.len) : NULL;
        size_t len = at ? (size_t)(at - text.data) : text.len;

        *rest = at ? (struct span){at + 1, text.len - len - 1} : (struct span){"", 0};
        return (struct span){text.data, len};
}

int redis_address_place(struct span text, int port_default, char host[ADDRESS_HOST_MAX + 1], int *ret_port)
{
        struct span port, name = cut(text, ':', &port);
        int number = port_default;

        if (text.len && text.data[0] == '[') {
                name = cut((struct span){text.data + 1, text.len - 1}, ']', &port);
                if (name.len + 2 > text.len || (port.len && port.data[0] != ':'))
                        return -1;
                if (port.len)
                        port = (struct span){port.data + 1, port.len - 1};
        }
        if (name.len == 0 || name.len > ADDRESS_HOST_MAX)
                return -1;
        if (port.len && (parse_number(port, 65535, &number) < 0 || number == 0))
                return -1;
        memcpy(host, name.data, name.len);
        host[name.len] = '\0';
        *ret_port = number;
        return 0;
}

static int parse_url(struct redis_address *address, struct span url, bool *ret_tls, struct error *err)
{
        struct span place, user = {"", 0}, password = {"", 0}, database;
        const char *at = NULL;
        size_t scheme;

        *ret_tls = url.len > 9 && memcmp(url.data, "rediss://", 9) == 0;
        scheme = *ret_tls ? 9 : 8;
        if (!*ret_tls && (url.len <= 8 || memcmp(url.data, "redis://", 8) != 0))
                return faulty(err, "bad scheme");
        place = (struct span){url.data + scheme, url.len - scheme};
        at = memrchr(place.data, '@', place.len);
        if (at) {
                size_t len = (size_t)(at - place.data);

                user = cut((struct span){place.data, len}, ':', &password);
                place = (struct span){at + 1, place.len - len - 1};
        }
        place = cut(place, '/', &database);
        if (database.len && parse_number(database, DATABASE_MAX, &address->database) < 0)
                return faulty(err, "bad database number");
        if (decode_percent(user, address->username, ADDRESS_SECRET_MAX) < 0 ||
            decode_percent(password, address->password, ADDRESS_SECRET_MAX) < 0)
                return faulty(err, "bad user or password");
        if (redis_address_place(place, PORT_DEFAULT, address->host, &address->port) < 0)
                return faulty(err, "bad host or port");
        return 0;
}

static int override(char *into, const char *value, struct error *err)
{
        size_t len = value ? strlen(value) : 0;

        if (len == 0)
                return 0;
        if (len > ADDRESS_SECRET_MAX)
                return error_set(err, CODE_SCHEMA, "redis.username and redis.password: at most %d bytes", ADDRESS_SECRET_MAX);
        memcpy(into, value, len + 1);
        return 0;
}

static int set_up_tls(struct redis_address *address, struct error *err)
{
        address->tls = SSL_CTX_new(TLS_client_method());
        if (!address->tls || SSL_CTX_set_min_proto_version(address->tls, TLS1_2_VERSION) != 1 ||
            SSL_CTX_set_default_verify_paths(address->tls) != 1)
                return error_set(err, CODE_INTERNAL, "can't set up TLS for redis");
        SSL_CTX_set_verify(address->tls, SSL_VERIFY_PEER, NULL);
        return 0;
}

int redis_address_init(struct redis_address *address, const struct settings *settings, struct error *err)
{
        bool tls = false;

        memset(address, 0, sizeof *address);
        if (parse_url(address, span_of(settings->redis.url), &tls, err) < 0 ||
            override(address->username, settings->redis.username, err) < 0 ||
            override(address->password, settings->redis.password, err) < 0 || (tls && set_up_tls(address, err) < 0)) {
                redis_address_fini(address);
                return -1;
        }
        return 0;
}

int redis_address_sentinel(struct redis_address *address, const struct settings *settings, struct error *err)
{
        memset(address, 0, sizeof *address);
        if (override(address->username, settings->redis.sentinel.username, err) < 0 ||
            override(address->password, settings->redis.sentinel.password, err) < 0 ||
            (strncmp(settings->redis.url, "rediss://", 9) == 0 && set_up_tls(address, err) < 0)) {
                redis_address_fini(address);
                return -1;
        }
        return 0;
}

void redis_address_fini(struct redis_address *address)
{
        SSL_CTX_free(address->tls);
        OPENSSL_cleanse(address, sizeof *address);
}

int redis_address_secure(const struct redis_address *address, const char *host, struct redisContext *context,
                         struct ssl_st **ret_session, struct error *err)
{
        struct in6_addr binary;
        bool numeric = inet_pton(AF_INET, host, &binary) == 1 || inet_pton(AF_INET6, host, &binary) == 1;
        SSL *ssl;
        int named;

        if (!address->tls)
                return 0;
        ssl = SSL_new(address->tls);
        if (!ssl)
                return error_set(err, CODE_CONNECT, "no memory for TLS to redis");
        named = numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host)
                        : SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
        if (named != 1 || redisInitiateSSL(context, ssl) != REDIS_OK) {
                const char *refusal = redis_address_refusal(ssl), *other = context->err ? context->errstr : "bad host name";

                error_set(err, CODE_CONNECT, "TLS to redis: %s%s", refusal ? "certificate refused: " : "",
                          refusal ? refusal : other);
                SSL_free(ssl); /* hiredis takes it only when it succeeds */
                return -1;
        }
        if (ret_session)
                *ret_session = ssl;
        return 0;
}

const char *redis_address_refusal(const struct ssl_st *session)
{
        long result = session ? SSL_get_verify_result(session) : X509_V_OK;

        return result == X509_V_OK ? NULL : X509_verify_cert_error_string(result);
}
