/* POSTs over keep-alive connections: libcurl's multi interface on the loop. Loop thread only.
 *
 * A client holds some multis ("shards"): libcurl 7.88 walks a multi's whole connection cache for each request, so that several small
 * caches cost less than a large one. A target is one URL with its fixed headers and a pool of easy handles, each bound to a shard;
 * handles, connections and answers' buffers are reused, last in, first out. An exchange is one POST, embedded in its owner's record.
 *
 * No redirects, no proxy (the environment's neither), no cookies, no compression, http and https only, certificates are checked. */
#ifndef PROVIDERS_HTTP_HTTP_CLIENT_H
#define PROVIDERS_HTTP_HTTP_CLIENT_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/base/span.h"

struct http_client;
struct http_target;
struct http_handle;

enum { HTTP_HEADERS_MAX = 16, HTTP_KEEP_BYTES = 65536 /* a larger answer's buffer is given back */ };

enum http_outcome {
        HTTP_ANSWERED,  /* a whole answer, whatever its status */
        HTTP_NO_CONNECT, /* name not found, refused, not connected in time, TLS refused */
        HTTP_TIMEOUT,
        HTTP_BROKEN,    /* reset, cut short, not HTTP */
        HTTP_TOO_LARGE, /* the answer, past response_bytes_max */
        HTTP_NO_MEMORY,
};

struct http_target_options {
        const char *url;            /* the whole of it */
        const char *const *headers; /* "Name: value", at most HTTP_HEADERS_MAX */
        size_t header_count;
        int64_t connect_timeout_ms;
        size_t response_bytes_max;
        size_t handles_max; /* exchanges at a time */
        bool http2;
};

struct http_exchange {
        /* the owner fills in */
        struct span body;   /* borrowed until the end */
        int64_t timeout_ms; /* for all of it; > 0 */
        void (*on_done)(struct http_exchange *); /* must end with http_release, now or later */
        /* valid from on_done to http_release */
        enum http_outcome outcome;
        int status;             /* when HTTP_ANSWERED */
        const char *reason;     /* otherwise: a fixed text about it, no payload */
        struct span response;   /* the body; NUL-terminated */
        int64_t elapsed_us;
        /* the client's own; NULL: not started, or released */
        struct http_handle *handle;
};

/* NULL: no memory. loop is borrowed. */
struct http_client *http_client_new(struct ev_loop *loop, struct error *err);
/* All targets must be freed before. NULL is fine. */
void http_client_free(struct http_client *client);

/* Copies the options. NULL: no memory, or the URL or a header is not one. */
struct http_target *http_target_new(struct http_client *client, const struct http_target_options *options, struct error *err);
/* No exchange may be under way. NULL is fine. */
void http_target_free(struct http_target *target);

/* Sends it at the turn's end; on_done follows on the loop, never from within. -1: handles_max are under way, or no memory. */
int http_start(struct http_target *target, struct http_exchange *exchange, struct error *err);
/* Stops the transfer (its connection is closed) and releases; on_done is not called. Fine on one that isn't under way. */
void http_cancel(struct http_exchange *exchange);
/* Gives the handle and the answer's buffer back. */
void http_release(struct http_exchange *exchange);

/* The last header of that name in the answer; between on_done and http_release. False: none. */
bool http_header(const struct http_exchange *exchange, const char *name, struct span *ret_value);

#endif
