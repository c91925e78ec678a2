/* A private redis-server for a test, a loop, and a connection to it. The server dies with the test's process. */
#ifndef TESTS_UNIT_QUEUES_TEST_REDIS_SERVER_H
#define TESTS_UNIT_QUEUES_TEST_REDIS_SERVER_H

#include <ev.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <sys/types.h>

#include "config/base/completion.h"
#include "config/settings.h"
#include "queues/redis/claims.h"
#include "queues/redis/redis_connection.h"

enum { SERVER_OPTIONS_MAX = 24 };

struct test_server {
        pid_t pid;
        int port, log_fd;
        char folder[32];
        const char
                *options[SERVER_OPTIONS_MAX + 1]; /* further arguments of redis-server, NULL-terminated; set before server_start */
};
void server_start(struct test_server *server); /* on a free port, or again on its own when port is set */
void server_kill(struct test_server *server);
void server_remove(struct test_server *server); /* killed, and its folder gone */

/* What most tests need; one a process. */
struct test_redis {
        struct test_server server;
        struct ev_loop *loop;
        struct settings settings;
        char url[128];
        struct redis_connection *connection;
        redisContext *raw; /* a blocking connection for looking from outside */
};
extern struct test_redis redis;
void redis_setup(void);    /* server, loop, ready connection, raw */
void redis_teardown(void); /* all of it; checks that nothing is under way */
/* The parts of redis_setup. */
void redis_prepare(void); /* settings and loop, no server */
void redis_open(size_t pending_max);
void redis_open_raw(void);

/* Run the loop. With a fake clock (fake_ms > 0) each turn advances it by that much. */
void run_until_done(struct op *op, int64_t fake_ms);
void run_until_ready(bool ready, int64_t fake_ms);
void turn(void);

/* The raw connection's answer as text ("" for nil, integers in digits), valid until the next call. */
const char *ask(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define ask_int(...) strtoll(ask(__VA_ARGS__), NULL, 10)

/* A claim of tenant acme, holder as given. */
struct claim claim_of(const char *id, const char *holder);
struct claim_answer take(struct claim *claim, const char *fingerprint, int64_t replays);

#endif
