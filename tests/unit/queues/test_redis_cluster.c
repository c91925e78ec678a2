#include <criterion/criterion.h>
#include <stdio.h>

#include "config/base/clock.h"
#include "queues/redis/redis_slots.h"
#include "queues/redis/results.h"
#include "tests/unit/queues/test_redis_fake.h"
#include "tests/unit/queues/test_redis_server.h"

static struct fake_node nodes[3];
static char layout[512], low[16], high[16]; /* ids of the first half's and the second half's slots */

/* What CLUSTER SLOTS says on every node: one master for each half; port 0: nobody has that half. */
static void lay_out(int first_port, int second_port)
{
        int rows = (first_port != 0) + (second_port != 0), at = snprintf(layout, sizeof layout, "*%d\r\n", rows);

        if (first_port)
                at += snprintf(layout + at, sizeof layout - (size_t)at,
                               "*4\r\n:0\r\n:8191\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n*2\r\n$9\r\n127.0.0.1\r\n:1\r\n",
                               first_port);
        if (second_port)
                snprintf(layout + at, sizeof layout - (size_t)at, "*3\r\n:8192\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n",
                         second_port);
        for (size_t i = 0; i < COUNT_OF(nodes); i++)
                nodes[i].slots = layout;
}

static unsigned slot_of_id(const char *id)
{
        char key[64];

        snprintf(key, sizeof key, "mr:{acme:%s}:result", id);
        return slot_of(span_of(key));
}

static void find_id(char id[16], unsigned from, unsigned to)
{
        for (int i = 0;; i++) {
                snprintf(id, 16, "q%d", i);
                if (slot_of_id(id) >= from && slot_of_id(id) <= to)
                        return;
        }
}

static void setup(void)
{
        redis_prepare();
        memset(nodes, 0, sizeof nodes);
        for (size_t i = 0; i < COUNT_OF(nodes); i++)
                fake_start(&nodes[i], redis.loop);
        find_id(low, 0, 8191);
        find_id(high, 8192, 16383);
        lay_out(nodes[0].port, nodes[1].port);
        redis.settings.redis.cluster = true;
        snprintf(redis.url, sizeof redis.url, "redis://127.0.0.1:%d/0", nodes[0].port);
}

static void teardown(void)
{
        if (redis.connection)
                cr_expect_eq(redis_connection_pending(redis.connection), 0);
        redis_connection_free(redis.connection);
        redis.connection = NULL;
        for (size_t i = 0; i < COUNT_OF(nodes); i++)
                fake_stop(&nodes[i]);
        redis_teardown();
}

TestSuite(redis_cluster, .init = setup, .fini = teardown);

static void open_cluster(void)
{
        redis_open(64);
        run_until_ready(true, 0);
}

static const char *reason(void)
{
        const char *text = "";

        redis_connection_ready(redis.connection, &text);
        return text;
}

static char got[64];
static struct error get(const char *id, int64_t fake_ms)
{
        struct buffer json;
        struct result_read read = {.json = &json};
        struct op op;

        buffer_init(&json, 1000);
        op_init(&op, NULL);
        result_get(redis.connection, &op, SPAN("acme"), span_of(id), &read);
        run_until_done(&op, fake_ms);
        snprintf(got, sizeof got, "%.*s", (int)json.len, json.data ? json.data : "");
        buffer_fini(&json);
        return op.err;
}

static void wait_for_peers(const struct fake_node *node, size_t count, int64_t fake_ms)
{
        int64_t now = clock_now_ms();

        while (fake_peers(node) != count) {
                turn();
                now += fake_ms;
                if (fake_ms)
                        clock_fake(now, now);
        }
}

static const char *moved_to(int port, const char *id)
{
        static char text[64];

        snprintf(text, sizeof text, "-MOVED %u 127.0.0.1:%d\r\n", slot_of_id(id), port);
        return text;
}

Test(redis_cluster, each_key_goes_to_its_own_node)
{
        open_cluster();
        nodes[0].get = "$3\r\nlow\r\n";
        nodes[1].get = "$4\r\nhigh\r\n";
        cr_assert_eq(get(low, 0).code, CODE_NONE);
        cr_assert_str_eq(got, "low");
        cr_assert_eq(get(high, 0).code, CODE_NONE);
        cr_assert_str_eq(got, "high");
        cr_assert_eq(fake_peers(&nodes[0]), 1);
        cr_assert_eq(fake_peers(&nodes[2]), 0);
}

Test(redis_cluster, any_node_will_do_to_begin_with)
{
        snprintf(redis.url, sizeof redis.url, "redis://127.0.0.1:%d/0", nodes[2].port);
        nodes[2].role = "slave";
        open_cluster();
        cr_assert_eq(get(low, 0).code, CODE_NONE);
        cr_assert_eq(fake_count(&nodes[0], "GET"), 1);
        wait_for_peers(&nodes[2], 0, 0);
}

static const char *moved_forever(struct fake_node *node, size_t count, const char **words)
{
        (void)count;
        return strcmp(words[0], "GET") == 0 ? moved_to(node == &nodes[0] ? nodes[1].port : nodes[0].port, low) : NULL;
}

static const char *moved_to_third(struct fake_node *node, size_t count, const char **words)
{
        (void)node;
        (void)count;
        return strcmp(words[0], "GET") == 0 ? moved_to(nodes[2].port, low) : NULL;
}

Test(redis_cluster, follows_a_slot_to_a_node_it_did_not_know)
{
        open_cluster();
        nodes[0].answer = moved_to_third;
        nodes[2].get = "$2\r\nok\r\n";
        cr_assert_eq(get(low, 0).code, CODE_NONE);
        cr_assert_str_eq(got, "ok");
        cr_assert_eq(get(low, 0).code, CODE_NONE, "straight");
        cr_assert_eq(fake_count(&nodes[0], "GET"), 1);
        cr_assert_eq(fake_count(&nodes[2], "GET"), 2);
        lay_out(nodes[2].port, nodes[1].port);
        wait_for_peers(&nodes[0], 0, 50); /* learnt again, and left */
        run_until_ready(true, 50);
        clock_fake(-1, -1);
        cr_assert_eq(get(low, 0).code, CODE_NONE);
}

Test(redis_cluster, a_circle_of_redirections_ends)
{
        open_cluster();
        nodes[0].answer = nodes[1].answer = moved_forever;
        cr_assert_eq(get(low, 0).code, CODE_UNAVAILABLE);
        cr_assert_eq(fake_count(&nodes[0], "GET") + fake_count(&nodes[1], "GET"), 6);
}

static const char *ask_second(struct fake_node *node, size_t count, const char **words)
{
        static char text[64];

        (void)node;
        (void)count;
        snprintf(text, sizeof text, "-ASK %u 127.0.0.1:%d\r\n", slot_of_id(low), nodes[1].port);
        return strcmp(words[0], "GET") == 0 ? text : NULL;
}

Test(redis_cluster, asks_the_taker_of_a_slot_on_the_move_once)
{
        open_cluster();
        nodes[0].answer = ask_second;
        nodes[1].get = "$2\r\nok\r\n";
        for (size_t round = 1; round <= 2; round++) {
                cr_assert_eq(get(low, 0).code, CODE_NONE);
                cr_assert_str_eq(got, "ok");
                cr_assert_eq(fake_count(&nodes[0], "GET"), round, "the slot is still the giver's");
                cr_assert_eq(fake_count(&nodes[1], "ASKING"), round);
        }
        cr_assert(strncmp(nodes[1].log, "ASKING \nGET ", 12) == 0, "%s", nodes[1].log);
}

static const char *trouble;
static const char *troubled(struct fake_node *node, size_t count, const char **words)
{
        (void)node;
        (void)count;
        return strcmp(words[0], "GET") == 0 ? trouble : NULL;
}

Test(redis_cluster, what_will_pass_is_unavailable)
{
        static const char *const troubles[] = {"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
                                               "-CLUSTERDOWN Hash slot not served\r\n", "-CLUSTERDOWN The cluster is down\r\n",
                                               "-LOADING Redis is loading the dataset in memory\r\n", "-MOVED 99999 nonsense\r\n"};

        open_cluster();
        nodes[0].answer = troubled;
        for (size_t i = 0; i < COUNT_OF(troubles); i++) {
                trouble = troubles[i];
                cr_assert_eq(get(low, 0).code, CODE_UNAVAILABLE, "%s", trouble);
        }
        nodes[0].answer = NULL;
        cr_assert_eq(get(low, 0).code, CODE_NONE);
}

Test(redis_cluster, survives_a_failover)
{
        struct error err;

        open_cluster();
        fake_stop(&nodes[1]);
        run_until_ready(false, 0);
        cr_assert(strstr(reason(), "connection to redis lost"), "%s", reason());
        err = get(high, 0);
        cr_assert(err.code == CODE_CONNECT && err.retriable && err.retry_after_ms > 0);
        cr_assert_eq(get(low, 0).code, CODE_NONE, "the other half works on");
        lay_out(nodes[0].port, nodes[2].port);
        run_until_ready(true, 50);
        clock_fake(-1, -1);
        cr_assert_eq(get(high, 0).code, CODE_NONE);
        cr_assert_eq(fake_count(&nodes[2], "GET"), 1);
        cr_assert_eq(get(low, 0).code, CODE_NONE);
}

Test(redis_cluster, when_all_known_nodes_are_gone_the_urls_host_is_asked_again)
{
        snprintf(redis.url, sizeof redis.url, "redis://127.0.0.1:%d/0", nodes[2].port);
        open_cluster();
        wait_for_peers(&nodes[2], 0, 0);
        fake_stop(&nodes[0]);
        fake_stop(&nodes[1]);
        lay_out(nodes[2].port, nodes[2].port);
        run_until_ready(false, 0);
        run_until_ready(true, 100);
        clock_fake(-1, -1);
        cr_assert_eq(get(low, 0).code, CODE_NONE);
        cr_assert_eq(get(high, 0).code, CODE_NONE);
        cr_assert_eq(fake_peers(&nodes[2]), 1);
}

Test(redis_cluster, is_ready_only_with_all_slots_and_all_policies)
{
        nodes[1].policy = "allkeys-lru";
        redis_open(64);
        while (!strstr(reason(), "allkeys-lru"))
                turn();
        nodes[1].policy = NULL;
        run_until_ready(true, 200);
        lay_out(nodes[0].port, 0);
        run_until_ready(false, 500);
        cr_assert_str_eq(reason(), "redis cluster: 8192 slots have no master");
        cr_assert_eq(get(high, 0).code, CODE_UNAVAILABLE);
        cr_assert_eq(get(low, 0).code, CODE_NONE);
        lay_out(nodes[0].port, nodes[2].port);
        run_until_ready(true, 100);
}

Test(redis_cluster, replicas_are_waited_for_where_the_write_went)
{
        struct claim claim = claim_of(high, "w1");
        const struct result_write write = {.status = CLAIM_OK, .json = SPAN("{}"), .result_ttl_s = 10};
        struct result_answer answer = {.verdict = RESULT_FENCED};
        struct op op;

        redis.settings.redis.wait_replicas = 1;
        open_cluster();
        op_init(&op, NULL);
        result_store(redis.connection, &op, &claim, &write, &answer);
        run_until_done(&op, 0);
        cr_assert_eq(op.err.code, CODE_NONE, "%s", op.err.message);
        cr_assert_eq(answer.verdict, RESULT_STORED);
        cr_assert_eq(fake_count(&nodes[1], "EVALSHA"), 1);
        cr_assert_eq(fake_count(&nodes[1], "WAIT"), 1);
        cr_assert_eq(fake_count(&nodes[0], ""), 0, "%s", nodes[0].log);
}

Test(redis_cluster, a_node_that_does_not_know_its_name_is_where_it_was_asked)
{
        snprintf(layout, sizeof layout, "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$-1\r\n:%d\r\n", nodes[1].port);
        open_cluster();
        cr_assert_eq(get(low, 0).code, CODE_NONE);
        cr_assert_eq(fake_count(&nodes[1], "GET"), 1);
}

Test(redis_cluster, nonsense_about_slots_is_survived)
{
        static const char *const faulty[] = {"$3\r\nabc\r\n",
                                             ":7\r\n",
                                             "*1\r\n:7\r\n",
                                             "*1\r\n*0\r\n",
                                             "*1\r\n*2\r\n:0\r\n:1\r\n",
                                             "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
                                             "*1\r\n*3\r\n:-1\r\n:2\r\n*2\r\n$1\r\na\r\n:1\r\n",
                                             "*1\r\n*3\r\n:2\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
                                             "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:0\r\n",
                                             "*1\r\n*3\r\n:0\r\n:1\r\n$1\r\na\r\n",
                                             "-NOPERM no\r\n",
                                             "-ERR This instance has cluster support disabled\r\n"};
        int64_t now = 1000;

        nodes[0].slots = faulty[COUNT_OF(faulty) - 1];
        clock_fake(now, now);
        redis_open(64);
        while (!strstr(reason(), "no node of a cluster"))
                turn();
        for (size_t i = 0; i < COUNT_OF(faulty); i++) {
                nodes[0].slots = faulty[i];
                for (int turns = 0; turns < 4; turns++) {
                        now += 600;
                        clock_fake(now, now);
                        turn();
                }
                cr_assert_not(redis_connection_ready(redis.connection, NULL));
                cr_assert_neq(get(low, 0).code, CODE_NONE);
        }
        lay_out(nodes[0].port, nodes[1].port);
        run_until_ready(true, 300);
}

static struct op waiting[3];
static struct buffer waiting_json;
static struct result_read waiting_read = {.json = &waiting_json};

static void begin_waiting(void)
{
        buffer_init(&waiting_json, 100);
        open_cluster();
        nodes[0].answer = moved_to_third;
        for (size_t i = 0; i < COUNT_OF(waiting); i++) {
                op_init(&waiting[i], NULL);
                result_get(redis.connection, &waiting[i], SPAN("acme"), span_of(low), &waiting_read);
        }
        while (fake_peers(&nodes[2]) == 0)
                turn();
}

Test(redis_cluster, who_waits_for_a_node_that_never_answers_is_told_in_time)
{
        nodes[2].silent = true;
        begin_waiting();
        for (size_t i = 0; i < COUNT_OF(waiting); i++) {
                run_until_done(&waiting[i], 500);
                cr_assert_eq(waiting[i].err.code, CODE_TIMEOUT, "%s", waiting[i].err.message);
        }
        cr_assert_eq(fake_count(&nodes[2], "GET"), 0);
}

Test(redis_cluster, who_gave_up_while_waiting_for_a_node_is_not_sent)
{
        begin_waiting();
        op_abort(&waiting[1]);
        run_until_done(&waiting[2], 0);
        cr_assert_eq(waiting[0].state, OP_DONE);
        cr_assert_eq(fake_count(&nodes[2], "GET"), 2);
        cr_assert_eq(redis_connection_pending(redis.connection), 0);
}

Test(redis_cluster, those_under_way_end_when_it_is_freed)
{
        nodes[2].silent = true;
        begin_waiting();
        redis_connection_free(redis.connection);
        redis.connection = NULL;
        for (size_t i = 0; i < COUNT_OF(waiting); i++)
                cr_assert(waiting[i].state == OP_DONE && waiting[i].err.code == CODE_CONNECT);
}
