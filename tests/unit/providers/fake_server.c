#include "tests/unit/providers/fake_server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
        struct fake_server *server;
        int fd;
};

static size_t body_length(const char *head)
{
        const char *at = strcasestr(head, "\r\ncontent-length:");

        return at ? (size_t)strtoul(at + 17, NULL, 10) : 0;
}

/* One request into text; false: the client went. */
static bool read_request(int fd, char *text)
{
        size_t len = 0;

        for (;;) {
                ssize_t n = read(fd, text + len, FAKE_REQUEST_BYTES_MAX - 1 - len);
                const char *head_end;

                if (n <= 0)
                        return false;
                len += (size_t)n;
                text[len] = '\0';
                head_end = strstr(text, "\r\n\r\n");
                if (head_end && len >= (size_t)(head_end + 4 - text) + body_length(text))
                        return true;
        }
}

static bool send_all(int fd, const char *data, size_t len)
{
        while (len) {
                ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

                if (n <= 0)
                        return false;
                data += n;
                len -= (size_t)n;
        }
        return true;
}

static void drip(const struct fake_server *server, int fd)
{
        for (const char *p = server->answer; *p && !server->stopping; p++) {
                if (!send_all(fd, p, 1))
                        return;
                usleep(5000);
        }
}

static void flood(const struct fake_server *server, int fd)
{
        static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        char chunk[4096 + 8];

        memset(chunk, 'x', sizeof chunk);
        memcpy(chunk, "1000\r\n", 6);
        memcpy(chunk + sizeof chunk - 2, "\r\n", 2);
        if (!send_all(fd, head, sizeof head - 1))
                return;
        while (!server->stopping && send_all(fd, chunk, sizeof chunk))
                ;
}

static void reset(int fd)
{
        const struct linger now = {1, 0};

        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void hang(int fd)
{
        char ignored[64];

        while (read(fd, ignored, sizeof ignored) > 0)
                ;
}

/* True: the connection is kept. */
static bool behave(const struct fake_server *server, int fd)
{
        size_t len = server->answer ? strlen(server->answer) : 0;

        switch (server->manner) {
        case FAKE_ANSWER:
                return send_all(fd, server->answer, len);
        case FAKE_ANSWER_CLOSE:
                send_all(fd, server->answer, len);
                return false;
        case FAKE_CUT:
                send_all(fd, server->answer, len - len / 8);
                return false;
        case FAKE_RESET:
                reset(fd);
                return false;
        case FAKE_HANG:
                hang(fd);
                return false;
        case FAKE_DRIP:
                drip(server, fd);
                return false;
        case FAKE_FLOOD:
                flood(server, fd);
                return false;
        }
        return false;
}

static void *serve(void *argument)
{
        struct connection *connection = argument;
        struct fake_server *server = connection->server;
        char *text = malloc(FAKE_REQUEST_BYTES_MAX);

        while (text && read_request(connection->fd, text)) {
                pthread_mutex_lock(&server->lock);
                strncpy(server->last_request, text, FAKE_REQUEST_BYTES_MAX - 1);
                pthread_mutex_unlock(&server->lock);
                server->requests++;
                if (!behave(server, connection->fd))
                        break;
        }
        if (server->manner == FAKE_RESET)
                close(connection->fd);
        else
                shutdown(connection->fd, SHUT_RDWR);
        free(text);
        free(connection);
        return NULL;
}

static void *accept_all(void *argument)
{
        struct fake_server *server = argument;

        while (server->connection_count < FAKE_CONNECTIONS_MAX) {
                struct connection *connection;
                int fd = accept(server->listener, NULL, NULL);

                if (fd < 0)
                        break;
                server->accepted++;
                connection = malloc(sizeof *connection);
                *connection = (struct connection){server, fd};
                server->sockets[server->connection_count] = fd;
                pthread_create(&server->connections[server->connection_count++], NULL, serve, connection);
        }
        return NULL;
}

static int listen_anywhere(int *ret_port)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof address;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        cr_assert_geq(fd, 0);
        cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
        cr_assert_eq(listen(fd, 64), 0);
        cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
        *ret_port = ntohs(address.sin_port);
        return fd;
}

void fake_server_start(struct fake_server *server, enum fake_manner manner, const char *answer)
{
        memset(server, 0, sizeof *server);
        server->manner = manner;
        server->answer = answer;
        pthread_mutex_init(&server->lock, NULL);
        server->listener = listen_anywhere(&server->port);
        cr_assert_eq(pthread_create(&server->acceptor, NULL, accept_all, server), 0);
}

void fake_server_stop(struct fake_server *server)
{
        server->stopping = true;
        shutdown(server->listener, SHUT_RDWR);
        pthread_join(server->acceptor, NULL);
        close(server->listener);
        for (size_t i = 0; i < server->connection_count; i++) {
                if (server->manner != FAKE_RESET)
                        shutdown(server->sockets[i], SHUT_RDWR);
                pthread_join(server->connections[i], NULL);
                if (server->manner != FAKE_RESET)
                        close(server->sockets[i]);
        }
        pthread_mutex_destroy(&server->lock);
}

char *fake_answer(const char *status, const char *headers, const char *body)
{
        char *text = NULL;

        cr_assert_gt(asprintf(&text, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers, strlen(body), body), 0);
        return text;
}

char *fake_server_request(struct fake_server *server)
{
        char *text;

        pthread_mutex_lock(&server->lock);
        text = strdup(server->last_request);
        pthread_mutex_unlock(&server->lock);
        return text;
}

int fake_closed_port(void)
{
        int port, fd = listen_anywhere(&port);

        close(fd);
        return port;
}
