/* How a POST passes: http_start() takes a handle, gives curl the body, adds it to its shard's multi (http_glue.c kicks it at the turn's
 * end); the answer runs into the handle's buffer; on_end() takes the handle out of the multi and calls the owner, who reads the answer in
 * place and releases.
 *
 * Kept away from the hot path: URL (parsed once a target), headers and TLS are set once a handle, a request sets body and length only.
 * Few headers, because curl 7.88 formats them byte by byte for each request. Time-outs are ours, one ev_timer a handle, because curl's
 * own cost a splay tree: it first goes off at the connect time-out, if that is the earlier one, and looks.
 *
 * Failure modes: a reused connection that turns out dead is retried by curl on a fresh one; everything else ends in an outcome. */
#include "providers/http/http_client.h"

#include <stdlib.h>
#include <string.h>

#include "config/base/buffer.h"
#include "config/base/clock.h"
#include "config/base/own.h"
#include "providers/http/http_glue.h"

enum { URL_BYTES_MAX = 4096, RECEIVE_BYTES = 16384, EXPECT_FROM_BYTES = 1000000 };

struct http_client {
        struct http_glue *glue;
        size_t handles_max; /* of all targets */
};

struct http_handle {
        struct http_target *target;
        struct http_shard *shard;
        CURL *easy;
        struct http_exchange *exchange; /* NULL: free */
        struct http_handle *next_free, *next;
        struct buffer response;
        ev_timer timer;
        int64_t started_us;
        bool in_multi, connect_phase, no_expect;
};

struct http_target {
        struct http_client *client;
        CURLU *url;
        struct curl_slist *headers, *headers_large; /* the latter without Expect: 100-continue, which curl adds to large bodies */
        struct http_handle *free, *all;
        size_t handle_count, handles_max;
        size_t response_bytes_max;
        int64_t connect_timeout_ms;
        bool http2, tls;
};

static void on_end(CURL *easy, CURLcode result);

struct http_client *http_client_new(struct ev_loop *loop, struct error *err)
{
        struct http_client *client;

        if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK) { /* counted by curl: repeating it is fine */
                error_set(err, CODE_INTERNAL, "libcurl does not start");
                return NULL;
        }
        client = calloc(1, sizeof *client);
        if (!client || !(client->glue = http_glue_new(loop, on_end))) {
                free(client);
                curl_global_cleanup();
                error_set(err, CODE_INTERNAL, "no memory for an HTTP client");
                return NULL;
        }
        return client;
}

void http_client_free(struct http_client *client)
{
        if (!client)
                return;
        http_glue_free(client->glue);
        free(client);
        curl_global_cleanup();
}

/* ---- the end of a transfer ---- */

static void finish(struct http_handle *handle, enum http_outcome outcome, const char *reason)
{
        struct http_exchange *exchange = handle->exchange;
        long status = 0;

        ev_timer_stop(http_glue_loop(handle->target->client->glue), &handle->timer);
        if (outcome == HTTP_ANSWERED)
                curl_easy_getinfo(handle->easy, CURLINFO_RESPONSE_CODE, &status);
        http_shard_remove(handle->shard, handle->easy);
        handle->in_multi = false;
        exchange->outcome = outcome;
        exchange->status = (int)status;
        exchange->reason = reason;
        exchange->response = buffer_view(&handle->response);
        exchange->elapsed_us = clock_now_us() - handle->started_us;
        exchange->on_done(exchange);
}

static enum http_outcome outcome_of(CURLcode result, const struct http_handle *handle)
{
        switch (result) {
        case CURLE_OK:
                return HTTP_ANSWERED;
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_CONNECT:
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
                return HTTP_NO_CONNECT;
        case CURLE_OPERATION_TIMEDOUT:
                return HTTP_TIMEOUT;
        case CURLE_FILESIZE_EXCEEDED:
                return HTTP_TOO_LARGE;
        case CURLE_WRITE_ERROR:
                return handle->response.failed ? HTTP_TOO_LARGE : HTTP_BROKEN;
        case CURLE_OUT_OF_MEMORY:
                return HTTP_NO_MEMORY;
        default:
                return HTTP_BROKEN;
        }
}

static void on_end(CURL *easy, CURLcode result)
{
        struct http_handle *handle = NULL;

        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&handle);
        finish(handle, outcome_of(result, handle), curl_easy_strerror(result));
}

static void on_handle_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
        struct http_handle *handle = timer->data;
        curl_off_t connected_us = 0;

        (void)events;
        if (!handle->connect_phase) {
                finish(handle, HTTP_TIMEOUT, "no whole answer in time");
                return;
        }
        handle->connect_phase = false;
        curl_easy_getinfo(handle->easy, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
        if (connected_us == 0) {
                finish(handle, HTTP_NO_CONNECT, "not connected in time");
                return;
        }
        ev_timer_set(&handle->timer, (double)(handle->exchange->timeout_ms - handle->target->connect_timeout_ms) / 1000.0, 0);
        ev_timer_start(loop, &handle->timer);
}

/* ---- handles ---- */

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
        struct http_handle *handle = user;

        buffer_add(&handle->response, data, size * n);
        return buffer_ok(&handle->response) ? size * n : CURL_WRITEFUNC_ERROR;
}

static void handle_free(struct http_handle *handle)
{
        if (handle->easy)
                curl_easy_cleanup(handle->easy);
        buffer_fini(&handle->response);
        free(handle);
}

/* What all requests of a handle have in common. */
static bool handle_set_up(struct http_handle *handle)
{
        struct http_target *target = handle->target;
        CURL *easy = handle->easy;
        bool ok = http_glue_set_up(target->client->glue, easy, target->tls);

        ok &= curl_easy_setopt(easy, CURLOPT_CURLU, target->url) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, target->headers) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_WRITEDATA, handle) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_PRIVATE, handle) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)target->response_bytes_max) == CURLE_OK;
        ok &= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, target->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1) == CURLE_OK;
        return ok;
}

static struct http_handle *handle_new(struct http_target *target)
{
        struct http_handle *handle = calloc(1, sizeof *handle);

        if (!handle)
                return NULL;
        handle->target = target;
        handle->shard = http_glue_shard(target->client->glue);
        buffer_init(&handle->response, target->response_bytes_max);
        ev_timer_init(&handle->timer, on_handle_timer, 0, 0);
        handle->timer.data = handle;
        handle->easy = curl_easy_init();
        if (!handle->shard || !handle->easy || !handle_set_up(handle)) {
                handle_free(handle);
                return NULL;
        }
        handle->next = target->all;
        target->all = handle;
        target->handle_count++;
        return handle;
}

/* ---- targets ---- */

static bool add_header(struct curl_slist **list, const char *header)
{
        struct curl_slist *more = strpbrk(header, "\r\n") ? NULL : curl_slist_append(*list, header);

        if (more)
                *list = more;
        return more != NULL;
}

static bool target_set_up(struct http_target *target, const struct http_target_options *options)
{
        bool ok = strlen(options->url) <= URL_BYTES_MAX && options->header_count <= HTTP_HEADERS_MAX;

        ok = ok && (target->url = curl_url());
        ok = ok && curl_url_set(target->url, CURLUPART_URL, options->url, 0) == CURLUE_OK;
        for (size_t i = 0; ok && i < options->header_count; i++)
                ok = add_header(&target->headers, options->headers[i]) && add_header(&target->headers_large, options->headers[i]);
        ok = ok && add_header(&target->headers, "Accept:") && add_header(&target->headers_large, "Accept:");
        return ok && add_header(&target->headers_large, "Expect:");
}

struct http_target *http_target_new(struct http_client *client, const struct http_target_options *options, struct error *err)
{
        struct http_target *target = calloc(1, sizeof *target);

        if (!target) {
                error_set(err, CODE_INTERNAL, "no memory for an HTTP target");
                return NULL;
        }
        target->client = client;
        target->connect_timeout_ms = options->connect_timeout_ms;
        target->response_bytes_max = options->response_bytes_max;
        target->handles_max = options->handles_max;
        target->http2 = options->http2;
        target->tls = strncasecmp(options->url, "https:", 6) == 0;
        client->handles_max += target->handles_max;
        http_glue_expect(client->glue, client->handles_max);
        if (target_set_up(target, options) && (target->free = handle_new(target)))
                return target;
        error_set(err, CODE_INTERNAL, "no memory for an HTTP target, or its URL or a header is malformed");
        http_target_free(target);
        return NULL;
}

void http_target_free(struct http_target *target)
{
        struct http_handle *handle;

        if (!target)
                return;
        while ((handle = target->all)) {
                target->all = handle->next;
                handle_free(handle);
        }
        target->client->handles_max -= target->handles_max;
        http_glue_expect(target->client->glue, target->client->handles_max);
        curl_slist_free_all(target->headers);
        curl_slist_free_all(target->headers_large);
        curl_url_cleanup(target->url);
        free(target);
}

/* ---- exchanges ---- */

int http_start(struct http_target *target, struct http_exchange *exchange, struct error *err)
{
        struct http_handle *handle = target->free;
        int64_t first_ms = exchange->timeout_ms;
        bool large = exchange->body.len >= EXPECT_FROM_BYTES;

        exchange->handle = NULL;
        if (handle)
                target->free = handle->next_free;
        else if (target->handle_count >= target->handles_max)
                return error_set(err, CODE_RATE_LIMITED, "all %zu connections to the provider are in use", target->handles_max);
        else if (!(handle = handle_new(target)))
                return error_set(err, CODE_INTERNAL, "no memory for an HTTP request");
        handle->exchange = exchange;
        exchange->handle = handle;
        if (large != handle->no_expect) {
                curl_easy_setopt(handle->easy, CURLOPT_HTTPHEADER, large ? target->headers_large : target->headers);
                handle->no_expect = large;
        }
        curl_easy_setopt(handle->easy, CURLOPT_POSTFIELDS, exchange->body.data);
        curl_easy_setopt(handle->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->body.len);
        handle->started_us = clock_now_us();
        if (http_shard_add(handle->shard, handle->easy) < 0) {
                http_release(exchange);
                return error_set(err, CODE_INTERNAL, "libcurl does not take an HTTP request");
        }
        handle->in_multi = true;
        handle->connect_phase = target->connect_timeout_ms > 0 && target->connect_timeout_ms < first_ms;
        if (handle->connect_phase)
                first_ms = target->connect_timeout_ms;
        ev_timer_set(&handle->timer, (double)first_ms / 1000.0, 0);
        ev_timer_start(http_glue_loop(target->client->glue), &handle->timer);
        return 0;
}

void http_release(struct http_exchange *exchange)
{
        struct http_handle *handle = exchange->handle;
        struct http_target *target;

        if (!handle)
                return;
        target = handle->target;
        exchange->handle = NULL;
        exchange->response = (struct span){"", 0};
        handle->exchange = NULL;
        if (handle->response.cap > HTTP_KEEP_BYTES) {
                buffer_fini(&handle->response);
                buffer_init(&handle->response, target->response_bytes_max);
        } else {
                buffer_reset(&handle->response);
        }
        handle->next_free = target->free;
        target->free = handle;
}

void http_cancel(struct http_exchange *exchange)
{
        struct http_handle *handle = exchange->handle;

        if (!handle)
                return;
        ev_timer_stop(http_glue_loop(handle->target->client->glue), &handle->timer);
        if (handle->in_multi) {
                http_shard_remove(handle->shard, handle->easy);
                handle->in_multi = false;
        }
        http_release(exchange);
}

bool http_header(const struct http_exchange *exchange, const char *name, struct span *ret_value)
{
        struct curl_header *header = NULL;
        size_t last;

        if (!exchange->handle || curl_easy_header(exchange->handle->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
                return false;
        last = header->amount - 1;
        if (last && curl_easy_header(exchange->handle->easy, name, last, CURLH_HEADER, -1, &header) != CURLHE_OK)
                return false;
        *ret_value = span_of(header->value);
        return true;
}
