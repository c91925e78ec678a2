/* See stub_http.h.
 *
 * A connection reads until a whole request is there, answers it, and only then takes the next one: pipelined requests wait in its
 * input. Held-back answers lie in a binary heap by due time.
 *
 *      READING ──whole request──► HELD ──due──► WRITING ──all out──► READING
 *
 * Failure modes: what is no HTTP closes its connection; a head past HEAD_MAX or a body past BODY_MAX too (413 first); connections
 * past http_connections_max are closed at once. Chunked request bodies are refused by 411: no client here sends them. */
#include "tests/fakes/stub_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
        SLOTS = 16384,
        HEAD_MAX = 32 * 1024,
        BODY_MAX = 64 * 1024 * 1024,
        EVENTS_A_TURN = 512,
        READ_BYTES = 16 * 1024,
        IDLE_TURN_MS = 200
};

struct link {
        enum { CLOSED, READING, HELD, WRITING, HUNG } state;
        int fd;
        bool last, watching_output; /* last: closed after this answer */
        size_t sent, heap_at;
        int64_t due_us;
        struct stub_bytes in, out;
};

struct http_counts http_counts;
int http_connections_max = 8192;
static int epoll_fd = -1, listen_fd = -1;
static struct link links[SLOTS]; /* by file descriptor */
static struct link *heap[SLOTS];
static size_t heap_len;
static http_handler *handle;

int64_t http_now_us(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void heap_place(struct link *link, size_t at)
{
        heap[at] = link;
        link->heap_at = at;
}

/* Moves the link at `at` to where it belongs. */
static void heap_settle(size_t at)
{
        struct link *link = heap[at];

        while (at > 0 && heap[(at - 1) / 2]->due_us > link->due_us) {
                heap_place(heap[(at - 1) / 2], at);
                at = (at - 1) / 2;
        }
        for (size_t child; (child = 2 * at + 1) < heap_len; at = child) {
                if (child + 1 < heap_len && heap[child + 1]->due_us < heap[child]->due_us)
                        child++;
                if (heap[child]->due_us >= link->due_us)
                        break;
                heap_place(heap[child], at);
        }
        heap_place(link, at);
}

static void hold(struct link *link)
{
        link->state = HELD;
        heap_place(link, heap_len++);
        heap_settle(link->heap_at);
}

static void unhold(struct link *link)
{
        struct link *last = heap[--heap_len];

        if (last != link) {
                heap_place(last, link->heap_at);
                heap_settle(link->heap_at);
        }
}

static void link_close(struct link *link, bool reset)
{
        struct linger at_once = {.l_onoff = 1};

        if (link->state == CLOSED)
                return;
        if (link->state == HELD)
                unhold(link);
        if (reset)
                setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        else if (link->state != READING)
                http_counts.abandoned++;
        close(link->fd);
        bytes_clear(&link->in);
        bytes_clear(&link->out);
        link->state = CLOSED;
        http_counts.connections--;
}

static void watch_output(struct link *link, bool wanted)
{
        struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0u), .data.ptr = link};

        if (link->watching_output != wanted)
                epoll_ctl(epoll_fd, EPOLL_CTL_MOD, link->fd, &event);
        link->watching_output = wanted;
}

static void link_write(struct link *link)
{
        link->state = WRITING;
        while (link->sent < link->out.len) {
                ssize_t sent = send(link->fd, link->out.at + link->sent, link->out.len - link->sent, MSG_NOSIGNAL);

                if (sent < 0 && errno == EAGAIN) {
                        watch_output(link, true);
                        return;
                }
                if (sent < 0 && errno != EINTR) {
                        link_close(link, false);
                        return;
                }
                if (sent > 0) {
                        link->sent += (size_t)sent;
                        http_counts.bytes_out += (uint64_t)sent;
                }
        }
        watch_output(link, false);
        link->state = READING;
        bytes_clear(&link->out);
        if (link->last)
                link_close(link, false);
}

/* The value of header `name` (with its colon) in a head, or NULL. */
static const char *find_header(const char *head, const char *end, const char *name, size_t *ret_len)
{
        size_t name_len = strlen(name);

        for (const char *line = head, *next; line < end; line = next) {
                const char *stop = memchr(line, '\n', (size_t)(end - line));

                stop = stop ? stop : end;
                next = stop + 1;
                if ((size_t)(stop - line) < name_len || strncasecmp(line, name, name_len))
                        continue;
                for (line += name_len; line < stop && (*line == ' ' || *line == '\t');)
                        line++;
                while (stop > line && (stop[-1] == '\r' || stop[-1] == ' '))
                        stop--;
                *ret_len = (size_t)(stop - line);
                return line;
        }
        return NULL;
}

static const char *reason(int status)
{
        switch (status) {
        case 200:
                return "OK";
        case 400:
                return "Bad Request";
        case 401:
                return "Unauthorized";
        case 404:
                return "Not Found";
        case 413:
                return "Payload Too Large";
        case 429:
                return "Too Many Requests";
        case 500:
                return "Internal Server Error";
        case 503:
                return "Service Unavailable";
        default:
                return "Other";
        }
}

static void link_answer(struct link *link, const struct http_answer *answer)
{
        link->sent = 0;
        bytes_format(&link->out, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n%s%sContent-Length: %zu\r\n\r\n",
                     answer->status, reason(answer->status), answer->headers, link->last ? "Connection: close\r\n" : "",
                     answer->body.len);
        bytes_add(&link->out, answer->body.at, answer->body.len);
        if (answer->delay_us > 0) {
                link->due_us = http_now_us() + answer->delay_us;
                hold(link);
        } else {
                link_write(link);
        }
}

/* An answer of the server's own that ends the connection. */
static void link_refuse(struct link *link, int status)
{
        struct http_answer answer = {.status = status};

        link->last = true;
        link_answer(link, &answer);
}

/* Method, path and query of a head. */
static bool read_request_line(const char *head, const char *end, struct http_request *request)
{
        const char *from = memchr(head, ' ', (size_t)(end - head)), *to, *query;

        if (!from)
                return false;
        from++;
        to = memchr(from, ' ', (size_t)(end - from));
        if (!to)
                return false;
        query = memchr(from, '?', (size_t)(to - from));
        request->post = !strncmp(head, "POST ", 5);
        request->path = from;
        request->path_len = (size_t)((query ? query : to) - from);
        request->query = query ? query + 1 : NULL;
        request->query_len = query ? (size_t)(to - query - 1) : 0;
        return true;
}

/* Takes one request from the input if it is whole; true when another may follow. */
static bool link_take(struct link *link)
{
        static struct http_answer answer;
        struct http_request request = {0};
        char *head = link->in.at, *end, kept;
        const char *value;
        size_t used, len;

        if (link->state != READING || link->in.len == 0)
                return false;
        end = memmem(head, link->in.len, "\r\n\r\n", 4);
        if (!end) {
                if (link->in.len > HEAD_MAX)
                        link_close(link, false);
                return false;
        }
        request.body = end + 4;
        if (!read_request_line(head, end, &request)) {
                link_refuse(link, 400);
                return false;
        }
        if ((value = find_header(head, end, "content-length:", &len)))
                request.body_len = strtoul(value, NULL, 10);
        if (find_header(head, end, "transfer-encoding:", &len) || request.body_len > BODY_MAX) {
                link_refuse(link, request.body_len > BODY_MAX ? 413 : 411);
                return false;
        }
        used = (size_t)(request.body - head) + request.body_len;
        if (used > link->in.len)
                return false;
        request.authorization = find_header(head, end, "authorization:", &request.authorization_len);
        value = find_header(head, end, "connection:", &len);
        link->last = value && len == 5 && !strncasecmp(value, "close", 5);

        http_counts.bytes_in += used;
        kept = request.body[request.body_len]; /* readable: bytes_room() keeps one more */
        request.body[request.body_len] = '\0';
        bytes_clear(&answer.body);
        answer = (struct http_answer){.status = 200, .body = answer.body};
        handle(&request, &answer);
        request.body[request.body_len] = kept;
        memmove(link->in.at, link->in.at + used, link->in.len - used);
        link->in.len -= used;
        if (link->in.len == 0)
                bytes_clear(&link->in);
        if (answer.fate == HTTP_RESET)
                link_close(link, true);
        else if (answer.fate == HTTP_HANG)
                link->state = HUNG;
        else
                link_answer(link, &answer);
        return link->state == READING;
}

static void link_take_all(struct link *link)
{
        while (link_take(link))
                ;
}

static void link_read(struct link *link)
{
        for (;;) {
                size_t want = link->in.len > 4 * READ_BYTES ? 1024 * 1024 : READ_BYTES;
                char *to = bytes_room(&link->in, want + 1); /* one for link_take()'s NUL */
                ssize_t got = recv(link->fd, to, want, 0);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0 && errno == EAGAIN)
                        return;
                if (got <= 0 || (link->state != READING && link->in.len > HEAD_MAX)) {
                        link_close(link, false);
                        return;
                }
                link->in.len += (size_t)got;
                link_take_all(link);
                if (link->state == CLOSED || (size_t)got < want)
                        return;
        }
}

static void accept_all(void)
{
        int fd, on = 1;

        while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                struct link *link = &links[fd < SLOTS ? fd : 0];
                struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};

                if (fd >= SLOTS || http_counts.connections >= (uint64_t)http_connections_max) {
                        http_counts.refused++;
                        close(fd);
                        continue;
                }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                link->fd = fd;
                link->state = READING;
                link->last = link->watching_output = false;
                link->sent = 0;
                epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
                if (++http_counts.connections > http_counts.connections_peak)
                        http_counts.connections_peak = http_counts.connections;
        }
}

int http_listen(int port)
{
        struct sockaddr_in address = {
                .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
        socklen_t len = sizeof address;
        int on = 1;

        listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (listen_fd < 0 || epoll_fd < 0 || setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
            bind(listen_fd, (struct sockaddr *)&address, len) || listen(listen_fd, 4096) ||
            getsockname(listen_fd, (struct sockaddr *)&address, &len) || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event))
                return -1;
        return ntohs(address.sin_port);
}

static void send_due(void)
{
        int64_t now_us;

        if (heap_len == 0)
                return;
        now_us = http_now_us();
        while (heap_len && heap[0]->due_us <= now_us) {
                struct link *link = heap[0];

                unhold(link);
                link_write(link);
                link_take_all(link);
        }
}

void http_serve(http_handler *handler, void (*after_turn)(void), const volatile int *stop)
{
        struct epoll_event events[EVENTS_A_TURN];

        handle = handler;
        while (!*stop) {
                int64_t wait_us = IDLE_TURN_MS * 1000;
                struct timespec wait;
                int count;

                if (heap_len) {
                        int64_t left_us = heap[0]->due_us - http_now_us();

                        wait_us = left_us < 0 ? 0 : left_us < wait_us ? left_us : wait_us;
                }
                wait = (struct timespec){.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
                count = epoll_pwait2(epoll_fd, events, EVENTS_A_TURN, &wait, NULL);
                for (int i = 0; i < count; i++) {
                        struct link *link = events[i].data.ptr;

                        if (!link) {
                                accept_all();
                                continue;
                        }
                        if (link->state == WRITING && (events[i].events & EPOLLOUT)) {
                                link_write(link);
                                link_take_all(link);
                        }
                        if (link->state != CLOSED && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                                link_read(link);
                }
                send_due();
                after_turn();
        }
}
