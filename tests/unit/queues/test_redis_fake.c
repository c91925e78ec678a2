#include "tests/unit/queues/test_redis_fake.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/base/own.h"

static void close_peer(struct fake_peer *peer)
{
        ev_io_stop(peer->node->loop, &peer->readable);
        close(peer->fd);
        peer->node = NULL;
}

static void note(struct fake_node *node, const char *command, const char *word)
{
        size_t len = strlen(node->log);

        cr_assert_lt(len + strlen(command) + strlen(word) + 3, sizeof node->log, "the log of a fake is full");
        snprintf(node->log + len, sizeof node->log - len, "%s %s\n", command, word);
}

static const char *info(const struct fake_node *node)
{
        static char text[256], reply[300];

        snprintf(text, sizeof text, "# Memory\r\nmaxmemory_policy:%s\r\n# Replication\r\nrole:%s\r\n",
                 node->policy ? node->policy : "noeviction", node->role && strcmp(node->role, "master") != 0 ? "slave" : "master");
        snprintf(reply, sizeof reply, "$%zu\r\n%s\r\n", strlen(text), text);
        return reply;
}

static const char *role(const struct fake_node *node)
{
        static char reply[100];

        snprintf(reply, sizeof reply, "*2\r\n$%zu\r\n%s\r\n:0\r\n", strlen(node->role ? node->role : "master"),
                 node->role ? node->role : "master");
        return reply;
}

static const char *usual(struct fake_node *node, const char **words)
{
        const char *command = words[0];

        if (strcmp(command, "INFO") == 0)
                return info(node);
        if (strcmp(command, "ROLE") == 0)
                return role(node);
        if (strcmp(command, "SCRIPT") == 0)
                return "$40\r\n0123456789012345678901234567890123456789\r\n";
        if (strcmp(command, "CLUSTER") == 0)
                return node->slots ? node->slots : "-ERR This instance has cluster support disabled\r\n";
        if (strcmp(command, "SENTINEL") == 0)
                return node->master ? node->master : "*-1\r\n";
        if (strcmp(command, "GET") == 0)
                return node->get ? node->get : "$-1\r\n";
        if (strncmp(command, "EVAL", 4) == 0)
                return node->eval ? node->eval : ":0\r\n";
        if (strcmp(command, "WAIT") == 0)
                return ":1\r\n";
        return "+OK\r\n";
}

static void obey(struct fake_peer *peer, size_t count, const char **words)
{
        static const char *const noted[] = {"GET", "EVAL", "EVALSHA", "WAIT", "ASKING", "AUTH", "SENTINEL"};
        struct fake_node *node = peer->node;
        const char *reply;

        for (size_t i = 0; i < COUNT_OF(noted); i++)
                if (strcmp(words[0], noted[i]) == 0)
                        note(node, words[0], strncmp(words[0], "EVAL", 4) == 0 ? words[3] : count > 1 ? words[1] : "");
        reply = node->answer ? node->answer(node, count, words) : NULL;
        if (!reply)
                reply = usual(node, words);
        if (*reply && !node->silent)
                cr_assert_eq(write(peer->fd, reply, strlen(reply)), (ssize_t)strlen(reply));
}

/* One command off the front of the bytes, cut into words; false: it is not complete. */
static bool take_command(struct fake_peer *peer)
{
        const char *words[FAKE_WORDS_MAX] = {NULL};
        size_t lens[FAKE_WORDS_MAX] = {0};
        char *at = peer->bytes, *end = peer->bytes + peer->len;
        char *line = memchr(at, '\n', peer->len);
        long count;

        if (!line)
                return false;
        cr_assert_eq(*at, '*');
        count = strtol(at + 1, NULL, 10);
        cr_assert(count > 0 && count < FAKE_WORDS_MAX);
        at = line + 1;
        for (long i = 0; i < count; i++) {
                line = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
                if (!line)
                        return false;
                lens[i] = strtoul(at + 1, NULL, 10);
                if ((size_t)(end - line - 1) < lens[i] + 2)
                        return false;
                words[i] = line + 1;
                at = line + 1 + lens[i] + 2;
        }
        for (long i = 0; i < count; i++)
                peer->bytes[words[i] - peer->bytes + (ptrdiff_t)lens[i]] = '\0';
        obey(peer, (size_t)count, words);
        peer->len = (size_t)(end - at);
        memmove(peer->bytes, at, peer->len);
        return true;
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
        struct fake_peer *peer = CONTAINER_OF(watcher, struct fake_peer, readable);
        ssize_t n = read(peer->fd, peer->bytes + peer->len, sizeof peer->bytes - peer->len - 1);

        (void)loop;
        (void)events;
        if (n <= 0) {
                if (n == 0 || errno != EAGAIN)
                        close_peer(peer);
                return;
        }
        peer->len += (size_t)n;
        peer->bytes[peer->len] = '\0';
        while (peer->node && take_command(peer))
                ;
        cr_assert_lt(peer->len, sizeof peer->bytes - 1, "a command is too long for a fake");
}

static void on_accept(struct ev_loop *loop, ev_io *watcher, int events)
{
        struct fake_node *node = CONTAINER_OF(watcher, struct fake_node, accept);
        int fd = accept4(node->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        (void)events;
        if (fd < 0)
                return;
        for (size_t i = 0; i < FAKE_PEERS_MAX; i++) {
                struct fake_peer *peer = &node->peers[i];

                if (peer->node)
                        continue;
                peer->node = node;
                peer->fd = fd;
                peer->len = 0;
                ev_io_init(&peer->readable, on_readable, fd, EV_READ);
                ev_io_start(loop, &peer->readable);
                return;
        }
        close(fd);
}

void fake_start(struct fake_node *node, struct ev_loop *loop)
{
        struct sockaddr_in address = {
                .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)node->port)};
        socklen_t len = sizeof address;
        int on = 1;

        node->loop = loop;
        node->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        cr_assert(setsockopt(node->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
        cr_assert(bind(node->fd, (struct sockaddr *)&address, len) == 0);
        cr_assert(getsockname(node->fd, (struct sockaddr *)&address, &len) == 0);
        cr_assert(listen(node->fd, 16) == 0);
        node->port = ntohs(address.sin_port);
        ev_io_init(&node->accept, on_accept, node->fd, EV_READ);
        ev_io_start(loop, &node->accept);
}

void fake_stop(struct fake_node *node)
{
        if (!ev_is_active(&node->accept))
                return;
        ev_io_stop(node->loop, &node->accept);
        close(node->fd);
        for (size_t i = 0; i < FAKE_PEERS_MAX; i++)
                if (node->peers[i].node)
                        close_peer(&node->peers[i]);
}

size_t fake_peers(const struct fake_node *node)
{
        size_t count = 0;

        for (size_t i = 0; i < FAKE_PEERS_MAX; i++)
                count += node->peers[i].node != NULL;
        return count;
}

size_t fake_count(const struct fake_node *node, const char *line)
{
        size_t count = 0, len = strlen(line);

        for (const char *at = node->log; *at; at = strchr(at, '\n') + 1)
                count += strncmp(at, line, len) == 0;
        return count;
}
