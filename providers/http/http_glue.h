/* libcurl's multi interface on libev: sockets, timers, and the turn's end. Only http_client uses it. Loop thread only. */
#ifndef PROVIDERS_HTTP_HTTP_GLUE_H
#define PROVIDERS_HTTP_HTTP_GLUE_H

#include <curl/curl.h>
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

struct http_glue;
struct http_shard;

/* on_end gets each transfer's result, outside of all curl functions; it must take the handle out by http_shard_remove. NULL: no memory. */
struct http_glue *http_glue_new(struct ev_loop *loop, void (*on_end)(CURL *easy, CURLcode result));
/* All handles must have been taken out. Closes the connections that lie idle. NULL is fine. */
void http_glue_free(struct http_glue *glue);
struct ev_loop *http_glue_loop(const struct http_glue *glue);

/* Idle connections are kept for so many handles in all. */
void http_glue_expect(struct http_glue *glue, size_t handles);
/* One of the multis, in turn; made when first asked for. NULL: no memory. */
struct http_shard *http_glue_shard(struct http_glue *glue);
/* What a handle needs so that its connections are this glue's; tls: its URL is https. */
bool http_glue_set_up(struct http_glue *glue, CURL *easy, bool tls);

int http_shard_add(struct http_shard *shard, CURL *easy);
void http_shard_remove(struct http_shard *shard, CURL *easy);

#endif
