/* Redis servers that say what a test tells them to, on the test's own loop: nodes of a cluster, sentinels, servers with one trouble
 * or another. What a connection asks when it greets is answered by itself, everything else by the node's script. */
#ifndef TESTS_UNIT_QUEUES_TEST_REDIS_FAKE_H
#define TESTS_UNIT_QUEUES_TEST_REDIS_FAKE_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

enum { FAKE_PEERS_MAX = 8, FAKE_BYTES_MAX = 16384, FAKE_LOG_MAX = 4096, FAKE_WORDS_MAX = 40 };

struct fake_peer {
        struct fake_node *node; /* NULL: free */
        int fd;
        ev_io readable;
        char bytes[FAKE_BYTES_MAX];
        size_t len;
};

struct fake_node {
        struct ev_loop *loop;
        int fd, port;
        ev_io accept;
        struct fake_peer peers[FAKE_PEERS_MAX];
        /* The answer in Redis's wire format; NULL: the usual one; "": none, ever. */
        const char *(*answer)(struct fake_node *node, size_t count, const char **words);
        const char *get, *eval, *role, *policy, *slots,
                *master;        /* usual answers of these commands; NULL: nil, 0, master, noeviction, errors */
        bool silent;            /* reads, and says nothing */
        char log[FAKE_LOG_MAX]; /* the words of GET, EVAL(SHA), WAIT, ASKING, AUTH and SENTINEL, of scripts the first key */
};

/* Listens on a free port of 127.0.0.1. The node must stay where it is. */
void fake_start(struct fake_node *node, struct ev_loop *loop);
/* Closes it and all its connections; fake_start brings it back on the same port. */
void fake_stop(struct fake_node *node);
/* How many connections there are now. */
size_t fake_peers(const struct fake_node *node);
/* How often the log holds a line that begins with that. */
size_t fake_count(const struct fake_node *node, const char *line);

#endif
