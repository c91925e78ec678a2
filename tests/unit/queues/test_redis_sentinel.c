#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "queues/redis/redis_client.h"
#include "queues/redis/redis_slots.h"
#include "queues/redis/results.h"
#include "tests/unit/queues/test_redis_fake.h"
#include "tests/unit/queues/test_redis_server.h"

static struct fake_node guards[2], stores[2];
static char places[2][32], named[2][64];
static char *node_list[] = {places[0], places[1]};

static void setup(void)
{
        redis_prepare();
        memset(guards, 0, sizeof guards);
        memset(stores, 0, sizeof stores);
        for (size_t i = 0; i < 2; i++) {
                fake_start(&guards[i], redis.loop);
                fake_start(&stores[i], redis.loop);
                snprintf(places[i], sizeof places[i], "127.0.0.1:%d", guards[i].port);
                snprintf(named[i], sizeof named[i], "*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n", stores[i].port < 10000 ? 4 : 5,
                         stores[i].port);
        }
        guards[0].master = guards[1].master = named[0];
        snprintf(redis.url, sizeof redis.url, "redis://ann:pw@ignored:1/3");
        redis.settings.redis.sentinel.master = (char *)(uintptr_t) "mymaster";
        redis.settings.redis.sentinel.nodes = node_list;
        redis.settings.redis.sentinel.node_count = 2;
}

static void teardown(void)
{
        redis_connection_free(redis.connection);
        redis.connection = NULL;
        for (size_t i = 0; i < 2; i++) {
                fake_stop(&guards[i]);
                fake_stop(&stores[i]);
        }
        redis_teardown();
}

TestSuite(redis_sentinel, .init = setup, .fini = teardown);

static const char *reason(void)
{
        const char *text = "";

        redis_connection_ready(redis.connection, &text);
        return text;
}

static void run_until_reason(const char *text, int64_t fake_ms)
{
        int64_t now = clock_now_ms();

        while (!strstr(reason(), text)) {
                turn();
                now += fake_ms;
                if (fake_ms)
                        clock_fake(now, now);
        }
}

static struct error get(const char *id)
{
        struct buffer json;
        struct result_read read = {.json = &json};
        struct op op;

        buffer_init(&json, 1000);
        op_init(&op, NULL);
        result_get(redis.connection, &op, SPAN("acme"), span_of(id), &read);
        run_until_done(&op, 0);
        buffer_fini(&json);
        return op.err;
}

Test(redis_sentinel, names_the_master)
{
        redis_open(16);
        cr_assert_str_eq(reason(), "asking redis sentinel for the master");
        cr_assert_eq(get("q1").code, CODE_CONNECT);
        run_until_ready(true, 0);
        cr_assert_eq(get("q1").code, CODE_NONE);
        cr_assert_eq(fake_count(&guards[0], "SENTINEL GET-MASTER-ADDR-BY-NAME"), 1);
        cr_assert_eq(fake_count(&guards[1], ""), 0);
        cr_assert_eq(fake_count(&guards[0], "AUTH"), 0, "the servers' log-in is not the sentinels'");
        cr_assert_eq(fake_count(&stores[0], "AUTH ann"), 1);
}

Test(redis_sentinel, has_a_log_in_of_its_own)
{
        redis.settings.redis.sentinel.username = (char *)(uintptr_t) "watcher";
        redis.settings.redis.sentinel.password = (char *)(uintptr_t) "secret";
        redis_open(16);
        run_until_ready(true, 0);
        cr_assert_eq(fake_count(&guards[0], "AUTH watcher"), 1);
}

Test(redis_sentinel, the_next_one_is_asked_when_one_is_of_no_use)
{
        guards[0].master = NULL; /* does not know the name */
        redis_open(16);
        run_until_ready(true, 0);
        redis_connection_free(redis.connection);
        fake_stop(&guards[0]);
        redis_open(16);
        run_until_ready(true, 0);
        redis_connection_free(redis.connection);
        fake_start(&guards[0], redis.loop);
        guards[0].silent = true;
        redis_open(16);
        run_until_ready(true, 500);
}

Test(redis_sentinel, when_none_answers_it_says_so_and_goes_on_asking)
{
        fake_stop(&guards[0]);
        guards[1].master = NULL;
        redis_open(16);
        run_until_reason("no redis sentinel tells the master mymaster: redis sentinel does not know that master's name", 200);
        guards[1].master = "*2\r\n$0\r\n\r\n$1\r\nx\r\n";
        run_until_reason("unexpected reply", 200);
        guards[1].master = named[1];
        run_until_ready(true, 200);
        clock_fake(-1, -1);
        cr_assert_eq(get("q1").code, CODE_NONE);
        cr_assert_eq(fake_count(&stores[1], "GET"), 1);
}

Test(redis_sentinel, who_is_named_must_say_that_it_is_the_master)
{
        stores[0].role = "slave";
        redis_open(16);
        run_until_reason("no master", 0);
        cr_assert_eq(get("q1").code, CODE_CONNECT);
        stores[0].role = "master";
        run_until_ready(true, 100);
}

Test(redis_sentinel, follows_a_failover)
{
        redis_open(16);
        run_until_ready(true, 0);
        fake_stop(&stores[0]);
        run_until_ready(false, 0);
        for (int64_t i = 0, now = clock_now_ms(); i < 100; i++) { /* the old one is named for a while */
                clock_fake(now + i * 100, now + i * 100);
                turn();
        }
        cr_assert_not(redis_connection_ready(redis.connection, NULL));
        guards[0].master = named[1];
        run_until_ready(true, 100);
        clock_fake(-1, -1);
        cr_assert_eq(get("q1").code, CODE_NONE);
        cr_assert_eq(fake_count(&stores[1], "GET"), 1);
}

Test(redis_sentinel, a_master_that_was_replaced_is_left_though_it_lives)
{
        redis_open(16);
        run_until_ready(true, 0);
        guards[0].master = named[1];
        while (fake_peers(&stores[0]) > 0 || !redis_connection_ready(redis.connection, NULL)) {
                int64_t now = clock_now_ms() + 200;

                clock_fake(now, now);
                turn();
        }
        clock_fake(-1, -1);
        cr_assert_eq(get("q1").code, CODE_NONE);
        cr_assert_eq(fake_count(&stores[1], "GET"), 1);
}

static const char *read_only(struct fake_node *node, size_t count, const char **words)
{
        (void)node;
        (void)count;
        return strcmp(words[0], "GET") == 0 ? "-READONLY You can't write against a read only replica.\r\n" : NULL;
}

Test(redis_sentinel, is_asked_again_when_the_master_became_read_only)
{
        redis_open(16);
        run_until_ready(true, 0);
        stores[0].answer = read_only;
        guards[0].master = named[1];
        cr_assert_eq(get("q1").code, CODE_UNAVAILABLE);
        cr_assert_not(redis_connection_ready(redis.connection, NULL));
        run_until_ready(true, 50);
        clock_fake(-1, -1);
        cr_assert_eq(get("q1").code, CODE_NONE);
        cr_assert_eq(fake_count(&stores[1], "GET"), 1);
}

Test(redis_sentinel, may_die_while_the_master_serves)
{
        redis_open(16);
        run_until_ready(true, 0);
        fake_stop(&guards[0]);
        for (int64_t i = 0, now = clock_now_ms(); i < 50; i++) {
                clock_fake(now + i * 100, now + i * 100);
                turn();
        }
        cr_assert(redis_connection_ready(redis.connection, NULL));
        cr_assert_gt(fake_count(&guards[1], "SENTINEL"), 0, "the other one took its place");
        cr_assert_eq(fake_peers(&stores[0]), 1);
}

/* ---- the blocking client: the fakes go on in a child of theirs */

static pid_t serve(void)
{
        pid_t pid = fork();

        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                ev_loop_fork(redis.loop);
                ev_run(redis.loop, 0);
                _exit(0);
        }
        cr_assert_gt(pid, 0);
        return pid;
}

static void end(pid_t pid)
{
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
}

static struct error read_blocking(const char *wanted)
{
        struct error err;
        struct buffer json;
        bool found = false;
        pid_t pid = serve();
        struct redis_client *client = redis_client_new(&redis.settings, &err);

        buffer_init(&json, 1000);
        if (client) {
                error_clear(&err);
                if (redis_client_result(client, SPAN("acme"), SPAN("q1"), &json, &found, &err) == 0 && wanted)
                        cr_expect(found && span_is(buffer_view(&json), wanted));
                if (wanted)
                        cr_expect_eq(redis_client_check(client, &err), 0, "%s", err.message);
        }
        redis_client_free(client);
        end(pid);
        buffer_fini(&json);
        return err;
}

Test(redis_sentinel, tells_the_blocking_client_too)
{
        fake_stop(&guards[0]);
        guards[1].master = named[1];
        stores[1].get = "$2\r\nok\r\n";
        cr_assert_eq(read_blocking("ok").code, CODE_NONE);
}

Test(redis_sentinel, the_blocking_client_wants_the_master_itself)
{
        stores[0].role = "slave";
        cr_assert_eq(read_blocking(NULL).code, CODE_UNAVAILABLE);
        guards[0].master = guards[1].master = NULL;
        cr_assert_eq(read_blocking(NULL).code, CODE_UNAVAILABLE);
        fake_stop(&guards[0]);
        fake_stop(&guards[1]);
        cr_assert_eq(read_blocking(NULL).code, CODE_CONNECT);
}

static unsigned slot_of_result(void)
{
        return slot_of(SPAN("mr:{acme:q1}:result"));
}

static char redirection[64];
static const char *redirected(struct fake_node *node, size_t count, const char **words)
{
        (void)node;
        (void)count;
        return strcmp(words[0], "GET") == 0 ? redirection : NULL;
}

/* Only to who asked first. */
static const char *asked(struct fake_node *node, size_t count, const char **words)
{
        (void)count;
        if (strcmp(words[0], "GET") != 0)
                return NULL;
        return fake_count(node, "ASKING") ? "$2\r\nok\r\n" : redirection;
}

static void cluster_of_two(const char *kind)
{
        static char layout[128];

        redis.settings.redis.sentinel.node_count = 0;
        redis.settings.redis.cluster = true;
        snprintf(redis.url, sizeof redis.url, "redis://127.0.0.1:%d", stores[0].port);
        snprintf(layout, sizeof layout, "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n", stores[0].port);
        stores[0].slots = stores[1].slots = layout;
        snprintf(redirection, sizeof redirection, "-%s %u 127.0.0.1:%d\r\n", kind, slot_of_result(), stores[1].port);
        stores[0].answer = redirected;
}

Test(redis_cluster_client, follows_moved_and_ask)
{
        cluster_of_two("MOVED");
        stores[1].get = "$2\r\nok\r\n";
        cr_assert_eq(read_blocking("ok").code, CODE_NONE);
        cluster_of_two("ASK");
        stores[1].answer = asked;
        cr_assert_eq(read_blocking("ok").code, CODE_NONE);
}

Test(redis_cluster_client, does_not_follow_for_ever)
{
        cluster_of_two("MOVED");
        stores[1].answer = redirected;
        cr_assert_eq(read_blocking(NULL).code, CODE_UNAVAILABLE);
}

Test(redis_cluster_client, looks_at_every_masters_policy)
{
        struct error err;
        pid_t pid;
        struct redis_client *client;

        cluster_of_two("MOVED");
        stores[0].policy = "volatile-lru";
        pid = serve();
        client = redis_client_new(&redis.settings, &err);
        cr_assert(client, "%s", err.message);
        cr_assert_lt(redis_client_check(client, &err), 0);
        cr_assert(strstr(err.message, "volatile-lru"), "%s", err.message);
        redis_client_free(client);
        end(pid);
}

TestSuite(redis_cluster_client, .init = setup, .fini = teardown);

/* ---- one server's troubles */

static const char *trouble;
static const char *troubled(struct fake_node *node, size_t count, const char **words)
{
        (void)node;
        (void)count;
        return strncmp(words[0], "EVAL", 4) == 0 ? trouble : NULL;
}

static void single(void)
{
        setup();
        redis.settings.redis.sentinel.node_count = 0;
        snprintf(redis.url, sizeof redis.url, "redis://127.0.0.1:%d", stores[0].port);
}

TestSuite(redis_trouble, .init = single, .fini = teardown);

static struct error renew(void)
{
        struct claim claim = claim_of("q1", "w1");
        struct claim_renewal renewal;
        struct op op;

        op_init(&op, NULL);
        claim_renew(redis.connection, &op, &claim, 1000, &renewal);
        run_until_done(&op, 0);
        return op.err;
}

Test(redis_trouble, each_has_its_code_and_only_some_end_the_connection)
{
        static const struct {
                const char *reply;
                enum error_code code;
                bool ends;
        } troubles[] = {
                {"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n", CODE_UNAVAILABLE,
                 false},
                {"-OOM command not allowed when used memory > 'maxmemory'.\r\n", CODE_UNAVAILABLE, false},
                {"-ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed when used\r\n",
                 CODE_UNAVAILABLE, false},
                {"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist on disk.\r\n",
                 CODE_UNAVAILABLE, false},
                {"-NOREPLICAS Not enough good replicas to write.\r\n", CODE_UNAVAILABLE, false},
                {"-LOADING Redis is loading the dataset in memory\r\n", CODE_UNAVAILABLE, false},
                {"-NOSCRIPT No matching script. Please use EVAL.\r\n", CODE_UNAVAILABLE, false},
                {"-MOVED 1 127.0.0.1:1\r\n", CODE_UNAVAILABLE, false},
                {"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n", CODE_AUTH, false},
                {"-ERR Error running script (call to f_1): @user_script:1: user_script:1: attempt to compare nil\r\n",
                 CODE_BAD_RESPONSE, false},
                {"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", CODE_BAD_RESPONSE, false},
                {"+unexpected\r\n", CODE_BAD_RESPONSE, false},
                {"-READONLY You can't write against a read only replica.\r\n", CODE_UNAVAILABLE, true},
                {"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n", CODE_UNAVAILABLE, true},
                {"-NOAUTH Authentication required.\r\n", CODE_AUTH, true},
        };

        redis_open(16);
        stores[0].answer = troubled;
        for (size_t i = 0; i < COUNT_OF(troubles); i++) {
                struct error err;

                run_until_ready(true, 100);
                clock_fake(-1, -1);
                trouble = troubles[i].reply;
                err = renew();
                cr_assert_eq(err.code, troubles[i].code, "%s: %s", trouble, err.message);
                cr_assert_eq(redis_connection_ready(redis.connection, NULL), err.code == CODE_BAD_RESPONSE, "%s", trouble);
                cr_assert_eq(renew().code == CODE_CONNECT, troubles[i].ends, "%s", trouble);
        }
}

Test(redis_trouble, a_peer_that_vanished_costs_one_deadline)
{
        struct op op;
        struct claim claim = claim_of("q1", "w1");
        struct claim_renewal renewal;

        stores[0].eval = "*2\r\n:0\r\n:1\r\n";
        redis_open(16);
        run_until_ready(true, 0);
        stores[0].silent = true;
        op_init(&op, NULL);
        claim_renew(redis.connection, &op, &claim, 1000, &renewal);
        run_until_done(&op, 500);
        cr_assert_eq(op.err.code, CODE_TIMEOUT);
        run_until_reason("can't be reached in time", 500);
        stores[0].silent = false;
        run_until_ready(true, 500);
        clock_fake(-1, -1);
        cr_assert_eq(renew().code, CODE_NONE);
}

Test(redis_trouble, one_that_vanishes_while_nothing_is_asked_is_noticed)
{
        redis_open(16);
        run_until_ready(true, 0);
        stores[0].silent = true;
        run_until_ready(false, 1000);
        cr_assert(strstr(reason(), "in time"), "%s", reason());
}
