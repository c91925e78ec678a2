#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "queues/redis/claims.h"
#include "queues/redis/redis_address.h"
#include "queues/redis/redis_client.h"
#include "queues/redis/results.h"
#include "tests/unit/queues/test_redis_server.h"

TestSuite(redis_connection, .init = redis_prepare, .fini = redis_teardown);
TestSuite(redis_client, .init = redis_setup, .fini = redis_teardown);

static struct error get(const char *id, int64_t fake_ms)
{
        struct buffer json;
        struct result_read read = {.json = &json};
        struct op op;

        buffer_init(&json, 1000);
        op_init(&op, NULL);
        result_get(redis.connection, &op, SPAN("acme"), span_of(id), &read);
        run_until_done(&op, fake_ms);
        buffer_fini(&json);
        return op.err;
}

static const char *reason(void)
{
        const char *text = "";

        redis_connection_ready(redis.connection, &text);
        return text;
}

static int changes;
static void on_change(void *user)
{
        (void)user;
        changes++;
}

Test(redis_connection, is_ready_after_its_greeting_and_names_itself)
{
        server_start(&redis.server);
        redis_open_raw();
        redis_open(16);
        redis_connection_watch(redis.connection, on_change, NULL);
        cr_assert_str_eq(reason(), "connecting to redis");
        cr_assert_eq(get("q1", 0).code, CODE_CONNECT, "before it is connected");
        run_until_ready(true, 0);
        cr_assert_eq(changes, 1);
        cr_assert(strstr(ask("CLIENT LIST"), "name=millrace:w1"));
        cr_assert_eq(get("q1", 0).code, CODE_NONE);
}

Test(redis_connection, is_not_ready_while_the_policy_may_evict)
{
        redis.server.options[0] = "--maxmemory-policy";
        redis.server.options[1] = "allkeys-lru";
        server_start(&redis.server);
        redis_open_raw();
        redis_open(16);
        while (!strstr(reason(), "allkeys-lru"))
                turn();
        cr_assert_str_eq(reason(), "redis's maxmemory-policy is allkeys-lru, must be noeviction");
        cr_assert_eq(get("q1", 0).code, CODE_NONE, "commands still pass");
        ask("CONFIG SET maxmemory-policy noeviction");
        run_until_ready(true, 500);
        ask("CONFIG SET maxmemory-policy volatile-ttl");
        run_until_ready(false, 500);
}

Test(redis_connection, reads_the_policy_by_config_where_info_is_forbidden)
{
        server_start(&redis.server);
        redis_open_raw();
        ask("ACL SETUSER app on >secret ~* &* +@all -info");
        snprintf(redis.url, sizeof redis.url, "redis://app:secret@127.0.0.1:%d/3", redis.server.port);
        redis_open(16);
        run_until_ready(true, 0);
        cr_assert(strstr(ask("CLIENT LIST"), "db=3"));
}

Test(redis_connection, is_not_ready_where_an_acl_hides_the_policy)
{
        server_start(&redis.server);
        redis_open_raw();
        ask("ACL SETUSER app on >secret ~* &* +@all -info -config");
        snprintf(redis.url, sizeof redis.url, "redis://127.0.0.1:%d", redis.server.port);
        redis.settings.redis.username = (char *)(uintptr_t) "app";
        redis.settings.redis.password = (char *)(uintptr_t) "secret";
        redis_open(16);
        while (!strstr(reason(), "can't be read"))
                turn();
        cr_assert_eq(get("q1", 0).code, CODE_NONE);
}

Test(redis_connection, works_where_scripts_may_not_be_loaded_ahead)
{
        struct claim claim = claim_of("q1", "w1");

        server_start(&redis.server);
        redis_open_raw();
        ask("ACL SETUSER default -script");
        redis_open(16);
        run_until_ready(true, 0);
        cr_assert_eq(take(&claim, "f", 0).verdict, CLAIM_GRANTED);
}

Test(redis_connection, says_so_when_the_password_is_wrong_and_never_the_password)
{
        redis.server.options[0] = "--requirepass";
        redis.server.options[1] = "right";
        server_start(&redis.server);
        snprintf(redis.url, sizeof redis.url, "redis://:hunter2@127.0.0.1:%d", redis.server.port);
        redis_open(16);
        while (!strstr(reason(), "refuses"))
                turn();
        cr_assert_not(strstr(reason(), "hunter2"));
        cr_assert_eq(get("q1", 0).code, CODE_CONNECT);
}

Test(redis_connection, says_so_when_a_password_is_wanted_or_not_wanted)
{
        redis.server.options[0] = "--requirepass";
        redis.server.options[1] = "right";
        server_start(&redis.server);
        redis_open(16);
        while (!strstr(reason(), "wants a password"))
                turn();
        redis_connection_free(redis.connection);
        server_kill(&redis.server);
        redis.server.options[0] = NULL;
        server_start(&redis.server);
        redis.settings.redis.password = (char *)(uintptr_t) "right";
        redis_open(16);
        while (!strstr(reason(), "is a password set there"))
                turn();
}

Test(redis_connection, a_read_only_replica_is_not_ready)
{
        redis.server.options[0] = "--replicaof";
        redis.server.options[1] = "127.0.0.1";
        redis.server.options[2] = "1";
        server_start(&redis.server);
        redis_open(16);
        while (!strstr(reason(), "read-only"))
                turn();
}

Test(redis_connection, leaves_a_server_that_became_read_only)
{
        struct claim claim = claim_of("q1", "w1");
        const struct claim_request request = {.lease_ms = 1000};
        struct claim_answer answer;
        struct op op;

        redis_setup();
        ask("REPLICAOF 127.0.0.1 1");
        op_init(&op, NULL);
        claim_take(redis.connection, &op, &claim, &request, &answer);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_UNAVAILABLE);
        cr_assert_not(redis_connection_ready(redis.connection, NULL));
        ask("REPLICAOF NO ONE");
        run_until_ready(true, 500);
        cr_assert_eq(take(&claim, "f", 0).verdict, CLAIM_GRANTED);
}

Test(redis_connection, sends_a_forgotten_script_again_in_full)
{
        struct claim claims[3] = {claim_of("q1", "w1"), claim_of("q2", "w1"), claim_of("q3", "w1")};
        const struct claim_request request = {.lease_ms = 1000, .fingerprint = SPAN("f")};
        struct claim_answer answers[3] = {0};
        struct op ops[3];

        redis_setup();
        ask("SCRIPT FLUSH");
        for (int i = 0; i < 3; i++) {
                op_init(&ops[i], NULL);
                claim_take(redis.connection, &ops[i], &claims[i], &request, &answers[i]);
        }
        op_abort(&ops[1]);
        for (int i = 0; i < 3; i++)
                run_until_done(&ops[i], 0);
        cr_assert_eq(answers[0].fence, 1);
        cr_assert_eq(answers[2].fence, 1);
        cr_assert_str_eq(ask("EXISTS mr:{acme:q2}:claim"), "0", "given up in time");
        cr_assert_eq(redis_connection_pending(redis.connection), 0);
}

Test(redis_connection, comes_back_after_the_server_was_restarted)
{
        struct claim claim = claim_of("q1", "w1");
        struct error err;

        redis_setup();
        redis_connection_watch(redis.connection, on_change, NULL);
        server_kill(&redis.server);
        err = get("q1", 0);
        cr_assert_eq(err.code, CODE_CONNECT, "%s", err.message);
        run_until_ready(false, 0);
        err = get("q1", 0);
        cr_assert_eq(err.code, CODE_CONNECT);
        cr_assert(err.retriable);
        cr_assert_gt(err.retry_after_ms, 0);
        server_start(&redis.server);
        run_until_ready(true, 500);
        cr_assert_eq(changes, 2);
        clock_fake(-1, -1);
        cr_assert_eq(take(&claim, "f", 0).verdict, CLAIM_GRANTED, "its scripts are loaded again");
}

Test(redis_connection, many_refused_connections_do_no_harm)
{
        server_start(&redis.server);
        server_kill(&redis.server);
        redis_open(16);
        clock_fake(1000, 1000);
        for (int i = 0; i < 20; i++) {
                while (!strstr(reason(), "can't connect"))
                        turn();
                cr_assert_eq(get("q1", 0).code, CODE_CONNECT);
                clock_fake(1000 + i * 10000, 1000);
                turn();
        }
        server_start(&redis.server);
        run_until_ready(true, 500);
}

Test(redis_connection, gives_up_a_server_that_hangs)
{
        struct op ops[5];
        struct buffer json;
        struct result_read read = {.json = &json};

        redis_setup();
        buffer_init(&json, 100);
        kill(redis.server.pid, SIGSTOP);
        for (int i = 0; i < 5; i++) {
                op_init(&ops[i], NULL);
                result_get(redis.connection, &ops[i], SPAN("acme"), SPAN("q1"), &read);
        }
        cr_assert_eq(redis_connection_pending(redis.connection), 5);
        for (int i = 0; i < 5; i++) {
                run_until_done(&ops[i], 1000);
                cr_assert_eq(ops[i].err.code, CODE_TIMEOUT);
        }
        cr_assert_not(redis_connection_ready(redis.connection, NULL));
        kill(redis.server.pid, SIGCONT);
        run_until_ready(true, 200);
        buffer_fini(&json);
}

Test(redis_connection, refuses_at_once_past_its_bound_and_keeps_the_order)
{
        struct op ops[9];
        struct buffer json;
        struct result_read read = {.json = &json};

        server_start(&redis.server);
        redis_open(8);
        run_until_ready(true, 0);
        buffer_init(&json, 100);
        for (int round = 0; round < 3; round++) {
                for (int i = 0; i < 9; i++) {
                        op_init(&ops[i], NULL);
                        result_get(redis.connection, &ops[i], SPAN("acme"), SPAN("q1"), &read);
                }
                cr_assert_eq(ops[8].state, OP_DONE);
                cr_assert_eq(ops[8].err.code, CODE_UNAVAILABLE);
                op_abort(&ops[0]);
                cr_assert_eq(redis_connection_pending(redis.connection), 8, "a place is free when the reply is in");
                run_until_done(&ops[7], 0);
                for (int i = 1; i < 8; i++)
                        cr_assert(ops[i].state == OP_DONE && ops[i].err.code == CODE_NONE);
                cr_assert_eq(ops[0].state, OP_IDLE);
        }
        buffer_fini(&json);
}

Test(redis_connection, commands_under_way_end_when_it_is_freed)
{
        struct op op;
        struct buffer json;
        struct result_read read = {.json = &json};

        redis_setup();
        buffer_init(&json, 100);
        op_init(&op, NULL);
        result_get(redis.connection, &op, SPAN("acme"), SPAN("q1"), &read);
        redis_connection_free(redis.connection);
        redis.connection = NULL;
        cr_assert_eq(op.state, OP_DONE);
        cr_assert_eq(op.err.code, CODE_CONNECT);
        buffer_fini(&json);
}

Test(redis_connection, a_key_past_its_bound_is_an_error_not_an_overflow)
{
        static char id[4000];
        struct claim claim;

        redis_setup();
        memset(id, 'a', sizeof id - 1);
        claim = claim_of(id, "w1");
        cr_assert_eq(get(id, 0).code, CODE_INTERNAL);
        cr_assert_eq(get("q1", 0).code, CODE_NONE);
        claim.id.len = 128;
        cr_assert_eq(take(&claim, "f", 0).verdict, CLAIM_GRANTED);
}

Test(redis_connection, maps_out_of_memory_and_wrong_types)
{
        struct claim claim = claim_of("q1", "w1");
        const struct claim_request request = {.lease_ms = 1000};
        struct claim_answer answer;
        struct op op;

        redis_setup();
        ask("LPUSH mr:{acme:q2}:result secret");
        cr_assert_eq(get("q2", 0).code, CODE_BAD_RESPONSE);
        ask("CONFIG SET maxmemory 1");
        op_init(&op, NULL);
        claim_take(redis.connection, &op, &claim, &request, &answer);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_UNAVAILABLE, "%s", op.err.message);
        cr_assert(strstr(op.err.message, "maxmemory"));
}

/* ---- address ---- */

static int parse(const char *url, struct redis_address *address)
{
        struct error err;

        snprintf(redis.url, sizeof redis.url, "%s", url);
        return redis_address_init(address, &redis.settings, &err);
}

Test(redis_connection, reads_urls)
{
        static const char *const faulty[] = {"",
                                             "redis://",
                                             "http://h",
                                             "redis://h:0",
                                             "redis://h:65536",
                                             "redis://h:x",
                                             "redis://h/x",
                                             "redis://h/99999",
                                             "redis://%zz@h",
                                             "redis://u:%00@h",
                                             "redis://[::1",
                                             "redis://[::1]6379",
                                             "redis:///0",
                                             "redis://u:p@"};
        struct redis_address address;

        for (size_t i = 0; i < COUNT_OF(faulty); i++)
                cr_assert_lt(parse(faulty[i], &address), 0, "%s", faulty[i]);
        cr_assert_eq(parse("redis://localhost", &address), 0);
        cr_assert(strcmp(address.host, "localhost") == 0 && address.port == 6379 && address.database == 0 && !*address.password);
        cr_assert_eq(parse("redis://u%40x:p%3aw@d@10.0.0.1:7000/12", &address), 0);
        cr_assert_str_eq(address.username, "u@x");
        cr_assert_str_eq(address.password, "p:w@d");
        cr_assert(strcmp(address.host, "10.0.0.1") == 0 && address.port == 7000 && address.database == 12 && !address.tls);
        cr_assert_eq(parse("rediss://[::1]:7001/", &address), 0);
        cr_assert(strcmp(address.host, "::1") == 0 && address.port == 7001 && address.tls);
        redis_address_fini(&address);
}

/* ---- TLS ---- */

static void shell(const char *const *words)
{
        int status = -1;
        pid_t pid = fork();

        if (pid == 0) {
                dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
                execvp(words[0], (char *const *)(uintptr_t)words);
                _exit(127);
        }
        waitpid(pid, &status, 0);
        cr_assert_eq(status, 0, "%s", words[0]);
}

/* A server with a certificate of its own for localhost, which is trusted when asked for. */
static void start_tls(const char *host, bool trusted)
{
        static char key[64], certificate[64], tls_port[16];
        struct test_server *server = &redis.server;
        const char *const options[] = {"--tls-port",
                                       tls_port,
                                       "--tls-cert-file",
                                       certificate,
                                       "--tls-key-file",
                                       key,
                                       "--tls-auth-clients",
                                       "no",
                                       "--tls-ca-cert-file",
                                       certificate,
                                       NULL};

        snprintf(server->folder, sizeof server->folder, "/tmp/test-redis-XXXXXX");
        cr_assert(mkdtemp(server->folder));
        snprintf(key, sizeof key, "%s/key.pem", server->folder);
        snprintf(certificate, sizeof certificate, "%s/cert.pem", server->folder);
        shell((const char *const[]){"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate,
                                    NULL});
        setenv("SSL_CERT_FILE", trusted ? certificate : "/dev/null", 1);
        server_start(server); /* to find two free ports */
        snprintf(tls_port, sizeof tls_port, "%d", server->port);
        server_kill(server);
        server->port = 0;
        memcpy(server->options, options, sizeof options);
        server_start(server);
        snprintf(redis.url, sizeof redis.url, "rediss://%s:%s", host, tls_port);
        redis_open(16);
}

Test(redis_connection, speaks_tls)
{
        struct claim claim = claim_of("q1", "w1");
        struct redis_client *client;
        struct buffer json;
        bool found = true;
        struct error err;

        start_tls("localhost", true);
        run_until_ready(true, 0);
        cr_assert_eq(take(&claim, "f", 0).verdict, CLAIM_GRANTED);
        client = redis_client_new(&redis.settings, &err);
        cr_assert(client, "%s", err.message);
        buffer_init(&json, 100);
        cr_assert_eq(redis_client_result(client, SPAN("acme"), SPAN("q1"), &json, &found, &err), 0);
        cr_assert_not(found);
        redis_client_free(client);
}

Test(redis_connection, refuses_a_certificate_of_another_name)
{
        start_tls("127.0.0.1", true);
        while (!strstr(reason(), "certificate"))
                turn();
        cr_assert_not(redis_connection_ready(redis.connection, NULL));
}

Test(redis_connection, refuses_a_certificate_of_unknown_authority)
{
        struct error err;

        start_tls("localhost", false);
        while (!strstr(reason(), "certificate"))
                turn();
        cr_assert_not(redis_client_new(&redis.settings, &err));
        cr_assert(strstr(err.message, "certificate"), "%s", err.message);
}

/* ---- the blocking client ---- */

Test(redis_client, reads_a_result_when_it_is_there)
{
        struct error err;
        struct redis_client *client = redis_client_new(&redis.settings, &err);
        struct buffer json;
        bool found = true;

        cr_assert(client, "%s", err.message);
        buffer_init(&json, 1000);
        cr_assert_eq(redis_client_result(client, SPAN("acme"), SPAN("q1"), &json, &found, &err), 0);
        cr_assert_not(found);
        cr_assert_eq(redis_client_wait(client, SPAN("acme"), SPAN("q1"), clock_now_ms() + 5, &json, &found, &err), 0);
        cr_assert_not(found);
        ask("SET mr:{acme:q1}:result {}");
        cr_assert_eq(redis_client_wait(client, SPAN("acme"), SPAN("q1"), clock_now_ms() + 60000, &json, &found, &err), 0);
        cr_assert(found);
        cr_assert(span_is(buffer_view(&json), "{}"));
        cr_assert_eq(redis_client_check(client, &err), 0);
        ask("CONFIG SET maxmemory-policy allkeys-lru");
        cr_assert_lt(redis_client_check(client, &err), 0);
        cr_assert(strstr(err.message, "allkeys-lru"));
        buffer_fini(&json);
        redis_client_free(client);
}

Test(redis_client, outlives_its_connection)
{
        struct error err;
        struct redis_client *client = redis_client_new(&redis.settings, &err);
        struct buffer json;
        bool found = false;

        buffer_init(&json, 1000);
        ask("CLIENT KILL TYPE normal SKIPME yes");
        ask("SET mr:{acme:q1}:result {}");
        cr_assert_eq(redis_client_result(client, SPAN("acme"), SPAN("q1"), &json, &found, &err), 0, "%s", err.message);
        cr_assert(found);
        buffer_fini(&json);
        redis_client_free(client);
}

Test(redis_client, says_why_it_cannot_connect)
{
        struct error err;

        snprintf(redis.url, sizeof redis.url, "redis://127.0.0.1:1");
        cr_assert_not(redis_client_new(&redis.settings, &err));
        cr_assert_eq(err.code, CODE_CONNECT);
        snprintf(redis.url, sizeof redis.url, "redis://:wrong@127.0.0.1:%d", redis.server.port);
        ask("CONFIG SET requirepass right");
        cr_assert_not(redis_client_new(&redis.settings, &err));
        cr_assert_eq(err.code, CODE_AUTH, "%s", err.message);
}
