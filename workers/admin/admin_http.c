#include "workers/admin/admin_http.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { CONNECTIONS_MAX = 64, TIMEOUT_S = 10, BODY_BYTES_MAX = 8 << 20, ADDRESS_BYTES = 128 };

struct admin_http {
        struct ev_loop *loop;
        struct MHD_Daemon *daemon;
        ev_io io;
        ev_timer timer;
        ev_prepare before_wait;
        const char *token;
        admin_answer *answer;
        void *user;
        char address[ADDRESS_BYTES];
};

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *type, const char *body, size_t len)
{
        struct MHD_Response *response = MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
        enum MHD_Result result;

        if (!response)
                return MHD_NO;
        MHD_add_response_header(response, "Content-Type", type);
        MHD_add_response_header(response, "Cache-Control", "no-store");
        result = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
        return result;
}

/* Probes need no token; the rest does where there is one. Compared in constant time. */
static bool may(const struct admin_http *admin, struct MHD_Connection *connection, const char *path)
{
        const char *given = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
        static const char bearer[] = "Bearer ";
        size_t len;

        if (!admin->token || strcmp(path, "/health") == 0 || strcmp(path, "/ready") == 0)
                return true;
        len = strlen(admin->token);
        return given && strlen(given) == len + sizeof bearer - 1 && strncmp(given, bearer, sizeof bearer - 1) == 0 &&
               CRYPTO_memcmp(given + sizeof bearer - 1, admin->token, len) == 0;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                  const char *data, size_t *data_len, void **state)
{
        struct admin_http *admin = user;
        const char *type = "text/plain; charset=utf-8";
        AUTO_BUFFER body = {0};
        int status;

        (void)version;
        (void)data;
        (void)data_len;
        (void)state;
        if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
                return reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED, type, "only GET\n", 9);
        if (!may(admin, connection, url))
                return reply(connection, MHD_HTTP_UNAUTHORIZED, type, "Authorization: Bearer TOKEN is wanted\n", 38);
        buffer_init(&body, BODY_BYTES_MAX);
        status = admin->answer(admin->user, url, &body, &type);
        if (!buffer_ok(&body))
                return reply(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain", "too large\n", 10);
        return reply(connection, (unsigned)status, type, body.data ? body.data : "", body.len);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
        (void)loop;
        (void)events;
        MHD_run(((struct admin_http *)io->data)->daemon);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
        (void)loop;
        (void)events;
        MHD_run(((struct admin_http *)timer->data)->daemon);
}

/* MHD says before each sleep how long that may last. */
static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int events)
{
        struct admin_http *admin = prepare->data;
        MHD_UNSIGNED_LONG_LONG ms;

        (void)events;
        if (MHD_get_timeout(admin->daemon, &ms) != MHD_YES) {
                ev_timer_stop(loop, &admin->timer);
        } else if (!ev_is_active(&admin->timer)) {
                ev_timer_set(&admin->timer, (double)ms / 1000.0, 0);
                ev_timer_start(loop, &admin->timer);
        }
}

/* "host:port" or "[host]:port" → an address of that host. */
static struct addrinfo *resolve(const char *listen, struct error *err)
{
        struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
        const char *colon = strrchr(listen, ':');
        char host[ADDRESS_BYTES];
        size_t len = colon ? (size_t)(colon - listen) : 0;

        if (!colon || len >= sizeof host) {
                error_set(err, CODE_SCHEMA, "admin.listen: must be host:port");
                return NULL;
        }
        if (len >= 2 && listen[0] == '[' && listen[len - 1] == ']') {
                listen++;
                len -= 2;
        }
        memcpy(host, listen, len);
        host[len] = '\0';
        if (getaddrinfo(len ? host : NULL, colon + 1, &hints, &found) != 0)
                error_set(err, CODE_SCHEMA, "admin.listen: no such address");
        return found;
}

static void name_address(struct admin_http *admin)
{
        const union MHD_DaemonInfo *info = MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_LISTEN_FD);
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        char host[64] = "", port[16] = "";

        if (!info || getsockname(info->listen_fd, (struct sockaddr *)&address, &len) != 0 ||
            getnameinfo((struct sockaddr *)&address, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
                return;
        snprintf(admin->address, sizeof admin->address, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

struct admin_http *admin_http_new(struct ev_loop *loop, const char *listen, const char *token, admin_answer *answer, void *user, struct error *err)
{
        struct admin_http *admin = calloc(1, sizeof *admin);
        struct addrinfo *address = admin ? resolve(listen, err) : NULL;
        const union MHD_DaemonInfo *info;
        unsigned flags = MHD_USE_EPOLL;

        if (!address) {
                if (!admin)
                        error_set(err, CODE_INTERNAL, "out of memory");
                free(admin);
                return NULL;
        }
        *admin = (struct admin_http){.loop = loop, .token = token, .answer = answer, .user = user};
        if (address->ai_family == AF_INET6)
                flags |= MHD_USE_IPv6;
        admin->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, admin, MHD_OPTION_SOCK_ADDR, address->ai_addr,
                                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                                         (unsigned)TIMEOUT_S, MHD_OPTION_END);
        freeaddrinfo(address);
        info = admin->daemon ? MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (!info) {
                error_set(err, CODE_UNAVAILABLE, "can't listen on %s (taken?)", listen);
                free(admin);
                return NULL;
        }
        name_address(admin);
        ev_io_init(&admin->io, on_io, info->epoll_fd, EV_READ);
        ev_timer_init(&admin->timer, on_timer, 0, 0);
        ev_prepare_init(&admin->before_wait, on_prepare);
        admin->io.data = admin->timer.data = admin->before_wait.data = admin;
        ev_io_start(loop, &admin->io);
        ev_prepare_start(loop, &admin->before_wait);
        return admin;
}

void admin_http_free(struct admin_http *admin)
{
        if (!admin)
                return;
        ev_io_stop(admin->loop, &admin->io);
        ev_timer_stop(admin->loop, &admin->timer);
        ev_prepare_stop(admin->loop, &admin->before_wait);
        MHD_stop_daemon(admin->daemon);
        free(admin);
}

const char *admin_http_address(const struct admin_http *admin)
{
        return admin->address;
}
