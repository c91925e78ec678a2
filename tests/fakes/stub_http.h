/* The stub's HTTP/1.1 server: keep-alive connections of one epoll set on 127.0.0.1, answers that may be held back for a while. One
 * thread. It knows nothing about what is asked: the handler does. */
#ifndef TESTS_FAKES_STUB_HTTP_H
#define TESTS_FAKES_STUB_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/fakes/stub_bytes.h"

struct http_request {
        bool post;
        const char *path; /* without the query */
        size_t path_len;
        const char *query; /* behind the ?, or NULL */
        size_t query_len;
        const char *authorization; /* the header's value, or NULL */
        size_t authorization_len;
        char *body; /* the handler may change it; a NUL stands behind it for the time of the call */
        size_t body_len;
};

enum http_fate { HTTP_ANSWER, HTTP_HANG, HTTP_RESET };

struct http_answer {
        int status;
        char headers[160];      /* further header lines, each with its CRLF */
        struct stub_bytes body; /* empty at the call */
        int64_t delay_us;       /* before it is sent */
        enum http_fate fate;    /* HTTP_HANG: never answered; HTTP_RESET: the connection is reset */
};

/* Counters that the server keeps. */
struct http_counts {
        uint64_t bytes_in, bytes_out;
        uint64_t abandoned; /* the peer left before its answer */
        uint64_t refused;   /* connections past the bound */
        uint64_t connections, connections_peak;
};
extern struct http_counts http_counts;
extern int http_connections_max;

typedef void http_handler(const struct http_request *request, struct http_answer *answer);

/* Listens on 127.0.0.1; port 0 takes a free one. Returns the port, or -1 with errno. */
int http_listen(int port);
/* Serves until *stop; after_turn is called once a turn of the loop. */
void http_serve(http_handler *handler, void (*after_turn)(void), const volatile int *stop);
int64_t http_now_us(void); /* CLOCK_MONOTONIC */

#endif
