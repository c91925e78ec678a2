/* An HTTP server on a thread of the test's own process, good or bad as told. One connection at a time unless it says otherwise. */
#ifndef TESTS_UNIT_PROVIDERS_FAKE_SERVER_H
#define TESTS_UNIT_PROVIDERS_FAKE_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

enum fake_manner {
        FAKE_ANSWER,        /* `answer`, whole, keep-alive */
        FAKE_ANSWER_CLOSE,  /* the same, then it closes */
        FAKE_RESET,         /* reads the request, then RST */
        FAKE_HANG,          /* reads the request, says nothing until the client goes */
        FAKE_DRIP,          /* a byte of the answer each 5 ms */
        FAKE_FLOOD,         /* an endless chunked body */
        FAKE_CUT,           /* half of the answer's body, then it closes */
};

enum { FAKE_REQUEST_BYTES_MAX = 1 << 16, FAKE_CONNECTIONS_MAX = 64 };

struct fake_server {
        int port, listener;
        pthread_t acceptor, connections[FAKE_CONNECTIONS_MAX];
        int sockets[FAKE_CONNECTIONS_MAX];
        size_t connection_count; /* the acceptor's until it is joined */
        enum fake_manner manner;
        const char *answer;  /* status line, headers and body, as sent; see fake_answer */
        atomic_int accepted, requests;
        atomic_bool stopping;
        pthread_mutex_t lock;
        char last_request[FAKE_REQUEST_BYTES_MAX]; /* head and body; under lock */
};

void fake_server_start(struct fake_server *server, enum fake_manner manner, const char *answer);
void fake_server_stop(struct fake_server *server);
/* "HTTP/1.1 <status>\r\n<headers>Content-Length: …\r\n\r\n<body>"; to free. headers: each with its CRLF, or "". */
char *fake_answer(const char *status, const char *headers, const char *body);
/* The last request's text; to free. */
char *fake_server_request(struct fake_server *server);
/* A port on which nobody listens. */
int fake_closed_port(void);

#endif
