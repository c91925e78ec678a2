#include "tests/unit/queues/test_redis_server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/base/clock.h"

struct test_redis redis;

static int free_port(void)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof address;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        cr_assert(bind(fd, (struct sockaddr *)&address, len) == 0);
        cr_assert(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
        close(fd);
        return ntohs(address.sin_port);
}

static void run_server(const struct test_server *server, int log_fd)
{
        char port[16];
        const char *words[SERVER_OPTIONS_MAX + 16] = {"redis-server",
                                                      "--port",
                                                      port,
                                                      "--bind",
                                                      "127.0.0.1",
                                                      "--save",
                                                      "",
                                                      "--dir",
                                                      server->folder,
                                                      "--repl-diskless-sync-delay",
                                                      "0"};
        size_t count = 11;

        snprintf(port, sizeof port, "%d", server->port);
        for (size_t i = 0; server->options[i]; i++)
                words[count++] = server->options[i];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(log_fd, STDOUT_FILENO);
        dup2(log_fd, STDERR_FILENO);
        execvp(words[0], (char *const *)(uintptr_t)words);
        _exit(127);
}

/* Reads the server's log up to the line that says it is ready; false: it ended. */
static bool wait_ready(struct test_server *server)
{
        char log[16384];
        size_t len = 0;

        for (;;) {
                ssize_t n = read(server->log_fd, log + len, sizeof log - 1 - len);

                if (n <= 0)
                        return false;
                len += (size_t)n;
                log[len] = '\0';
                if (strstr(log, "eady to accept connections"))
                        return true;
        }
}

void server_start(struct test_server *server)
{
        bool again = server->port != 0;

        if (!*server->folder) {
                snprintf(server->folder, sizeof server->folder, "/tmp/test-redis-XXXXXX");
                cr_assert(mkdtemp(server->folder));
        }
        for (int tries = 0; tries < 5; tries++) {
                int ends[2];

                if (!again)
                        server->port = free_port();
                cr_assert(pipe2(ends, O_CLOEXEC) == 0);
                server->pid = fork();
                if (server->pid == 0)
                        run_server(server, ends[1]);
                close(ends[1]);
                server->log_fd = ends[0];
                if (wait_ready(server))
                        return;
                server_kill(server);
        }
        cr_assert_fail("redis-server does not start");
}

void server_kill(struct test_server *server)
{
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
        close(server->log_fd);
        server->pid = 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
        (void)status;
        (void)type;
        (void)walk;
        return remove(path);
}

void server_remove(struct test_server *server)
{
        if (server->pid)
                server_kill(server);
        if (*server->folder)
                nftw(server->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

void redis_prepare(void)
{
        signal(SIGPIPE, SIG_IGN);
        alarm(60);
        redis.loop = ev_default_loop(0);
        redis.settings.references = 1000;
        redis.settings.redis.url = redis.url;
        redis.settings.redis.prefix = (char *)(uintptr_t) "mr";
        redis.settings.redis.result_ttl_s = 1000;
        redis.settings.redis.dedupe_ttl_s = 2000;
        redis.settings.redis.ledger_ttl_s = 3000;
        redis.settings.redis.timeout_ms = 5000;
        redis.settings.worker.name = (char *)(uintptr_t) "w1";
}

void redis_open(size_t pending_max)
{
        struct error err;

        if (!*redis.url)
                snprintf(redis.url, sizeof redis.url, "redis://127.0.0.1:%d/0", redis.server.port);
        redis.connection = redis_connection_new(redis.loop, &redis.settings, pending_max, &err);
        cr_assert(redis.connection, "%s", err.message);
}

void redis_open_raw(void)
{
        redis.raw = redisConnect("127.0.0.1", redis.server.port);
        cr_assert(redis.raw && !redis.raw->err);
}

void redis_setup(void)
{
        redis_prepare();
        server_start(&redis.server);
        redis_open_raw();
        redis_open(4096);
        run_until_ready(true, 0);
}

void redis_teardown(void)
{
        clock_fake(-1, -1);
        if (redis.connection)
                cr_expect_eq(redis_connection_pending(redis.connection), 0);
        redis_connection_free(redis.connection);
        if (redis.raw)
                redisFree(redis.raw);
        server_remove(&redis.server);
        ev_loop_destroy(redis.loop);
}

static int64_t advance(int64_t fake_ms, int64_t now)
{
        if (fake_ms > 0)
                clock_fake(now + fake_ms, now + fake_ms);
        return now + fake_ms;
}

void run_until_done(struct op *op, int64_t fake_ms)
{
        int64_t now = clock_now_ms();

        while (op->state == OP_BUSY) {
                ev_run(redis.loop, EVRUN_ONCE);
                now = advance(fake_ms, now);
        }
}

void run_until_ready(bool ready, int64_t fake_ms)
{
        int64_t now = clock_now_ms();

        while (redis_connection_ready(redis.connection, NULL) != ready) {
                ev_run(redis.loop, EVRUN_ONCE);
                now = advance(fake_ms, now);
        }
}

void turn(void)
{
        ev_run(redis.loop, EVRUN_ONCE);
}

const char *ask(const char *format, ...)
{
        static char text[65536];
        va_list args;
        redisReply *reply;

        va_start(args, format);
        reply = redisvCommand(redis.raw, format, args);
        va_end(args);
        cr_assert(reply, "%s", redis.raw->errstr);
        cr_assert_neq(reply->type, REDIS_REPLY_ERROR, "%s", reply->str);
        if (reply->type == REDIS_REPLY_INTEGER)
                snprintf(text, sizeof text, "%lld", reply->integer);
        else
                snprintf(text, sizeof text, "%s", reply->str ? reply->str : "");
        freeReplyObject(reply);
        return text;
}

struct claim claim_of(const char *id, const char *holder)
{
        return (struct claim){.tenant = SPAN("acme"), .id = span_of(id), .holder = span_of(holder), .ttl_s = 2000};
}

struct claim_answer take(struct claim *claim, const char *fingerprint, int64_t replays)
{
        const struct claim_request request = {
                .lease_ms = 60000, .fingerprint = span_of(fingerprint), .replays = replays, .result_ttl_s = 1000};
        struct claim_answer answer = {.verdict = (enum claim_verdict)99};
        struct op op;

        op_init(&op, NULL);
        claim_take(redis.connection, &op, claim, &request, &answer);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE, "%s", op.err.message);
        if (answer.verdict == CLAIM_GRANTED)
                claim->fence = answer.fence;
        return answer;
}
