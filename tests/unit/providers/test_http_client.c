#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "providers/http/http_client.h"
#include "tests/unit/providers/fake_server.h"

enum { EXCHANGES_MAX = 32, WAIT_S = 5 };

struct fixture {
        struct ev_loop *loop;
        struct http_client *client;
        struct http_target *target;
        struct fake_server server;
        int done;
        bool started;
};

struct post {
        struct http_exchange exchange;
        struct fixture *fixture;
        bool done;
};

static void on_done(struct http_exchange *exchange)
{
        struct post *post = (struct post *)exchange;

        cr_assert_not(post->done, "on_done comes once");
        post->done = true;
        post->fixture->done++;
}

static void open_target(struct fixture *fixture, int port, size_t handles_max, int64_t connect_timeout_ms)
{
        const char *const headers[] = {"Content-Type: application/json", "X-Own: 1"};
        struct http_target_options options = {.headers = headers,
                                              .header_count = 2,
                                              .connect_timeout_ms = connect_timeout_ms,
                                              .response_bytes_max = 100000,
                                              .handles_max = handles_max};
        char url[64];

        snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/embeddings", port);
        options.url = url;
        fixture->target = http_target_new(fixture->client, &options, NULL);
        cr_assert_not_null(fixture->target);
}

static void begin(struct fixture *fixture, enum fake_manner manner, const char *answer)
{
        memset(fixture, 0, sizeof *fixture);
        fixture->loop = ev_loop_new(0);
        fixture->client = http_client_new(fixture->loop, NULL);
        cr_assert_not_null(fixture->client);
        fake_server_start(&fixture->server, manner, answer);
        fixture->started = true;
        open_target(fixture, fixture->server.port, EXCHANGES_MAX, 0);
}

static void end(struct fixture *fixture)
{
        http_target_free(fixture->target);
        http_client_free(fixture->client);
        if (fixture->started)
                fake_server_stop(&fixture->server);
        ev_loop_destroy(fixture->loop);
}

static void start(struct fixture *fixture, struct post *post, int64_t timeout_ms)
{
        *post = (struct post){.exchange = {.body = SPAN("{\"a\":1}"), .timeout_ms = timeout_ms, .on_done = on_done}, .fixture = fixture};
        cr_assert_eq(http_start(fixture->target, &post->exchange, NULL), 0);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
        (void)loop;
        (void)timer;
        (void)events;
}

/* The tick: an exchange may end before a turn of the loop goes to sleep. */
static void run_until(struct fixture *fixture, int done)
{
        int64_t until = clock_now_ms() + WAIT_S * 1000;
        ev_timer tick;

        ev_timer_init(&tick, on_tick, 0.001, 0.001);
        ev_timer_start(fixture->loop, &tick);
        while (fixture->done < done && clock_now_ms() < until)
                ev_run(fixture->loop, EVRUN_ONCE);
        ev_timer_stop(fixture->loop, &tick);
        cr_assert_eq(fixture->done, done);
}

Test(http_client, posts_and_hands_over_the_answer)
{
        char *answer = fake_answer("200 OK", "X-Test: one\r\n", "{\"b\":2}"), *request;
        struct fixture fixture;
        struct post post;
        struct span value;

        begin(&fixture, FAKE_ANSWER, answer);
        start(&fixture, &post, 2000);
        cr_assert_not(post.done, "never from within http_start");
        run_until(&fixture, 1);
        cr_assert_eq(post.exchange.outcome, HTTP_ANSWERED);
        cr_assert_eq(post.exchange.status, 200);
        cr_assert(span_is(post.exchange.response, "{\"b\":2}"));
        cr_assert_eq(post.exchange.response.data[post.exchange.response.len], '\0');
        cr_assert_gt(post.exchange.elapsed_us, 0);
        cr_assert(http_header(&post.exchange, "x-test", &value));
        cr_assert(span_is(value, "one"));
        cr_assert_not(http_header(&post.exchange, "x-none", &value));
        request = fake_server_request(&fixture.server);
        cr_assert_eq(strncmp(request, "POST /v1/embeddings HTTP/1.1\r\n", 30), 0);
        cr_assert_not_null(strstr(request, "\r\nContent-Type: application/json\r\n"));
        cr_assert_not_null(strstr(request, "\r\nX-Own: 1\r\n"));
        cr_assert_not_null(strstr(request, "\r\n\r\n{\"a\":1}"));
        cr_assert_null(strcasestr(request, "\r\nexpect:"));
        cr_assert_null(strcasestr(request, "\r\naccept-encoding:"));
        http_release(&post.exchange);
        end(&fixture);
        free(request);
        free(answer);
}

Test(http_client, keeps_connections_alive)
{
        char *answer = fake_answer("200 OK", "", "[]");
        struct fixture fixture;
        struct post post;

        begin(&fixture, FAKE_ANSWER, answer);
        for (int i = 1; i <= 50; i++) {
                start(&fixture, &post, 2000);
                run_until(&fixture, i);
                cr_assert_eq(post.exchange.outcome, HTTP_ANSWERED);
                http_release(&post.exchange);
        }
        cr_assert_eq(fixture.server.requests, 50);
        cr_assert_eq(fixture.server.accepted, 1);
        end(&fixture);
        free(answer);
}

Test(http_client, runs_many_at_once_and_refuses_one_more)
{
        char *answer = fake_answer("200 OK", "", "[]");
        struct post posts[EXCHANGES_MAX], more;
        struct fixture fixture;
        struct error err;

        begin(&fixture, FAKE_ANSWER, answer);
        for (int i = 0; i < EXCHANGES_MAX; i++)
                start(&fixture, &posts[i], 2000);
        more = posts[0];
        cr_assert_eq(http_start(fixture.target, &more.exchange, &err), -1);
        cr_assert_eq(err.code, CODE_RATE_LIMITED);
        run_until(&fixture, EXCHANGES_MAX);
        for (int i = 0; i < EXCHANGES_MAX; i++) {
                cr_assert_eq(posts[i].exchange.outcome, HTTP_ANSWERED);
                http_release(&posts[i].exchange);
        }
        end(&fixture);
        free(answer);
}

Test(http_client, connects_anew_when_the_server_closed_an_idle_connection)
{
        char *answer = fake_answer("200 OK", "", "[]");
        struct fixture fixture;
        struct post post;

        begin(&fixture, FAKE_ANSWER_CLOSE, answer);
        for (int i = 1; i <= 5; i++) {
                start(&fixture, &post, 2000);
                run_until(&fixture, i);
                cr_assert_eq(post.exchange.outcome, HTTP_ANSWERED);
                http_release(&post.exchange);
                ev_run(fixture.loop, EVRUN_NOWAIT); /* the close may come while it lies idle */
        }
        cr_assert_eq(fixture.server.accepted, 5);
        end(&fixture);
        free(answer);
}

Test(http_client, does_not_follow_redirects)
{
        char *answer = fake_answer("302 Found", "Location: http://127.0.0.1:1/\r\n", "");
        struct fixture fixture;
        struct post post;

        begin(&fixture, FAKE_ANSWER, answer);
        start(&fixture, &post, 2000);
        run_until(&fixture, 1);
        cr_assert_eq(post.exchange.outcome, HTTP_ANSWERED);
        cr_assert_eq(post.exchange.status, 302);
        http_release(&post.exchange);
        end(&fixture);
        free(answer);
}

static void expect(enum fake_manner manner, const char *answer, int64_t timeout_ms, enum http_outcome outcome)
{
        struct fixture fixture;
        struct post post;

        begin(&fixture, manner, answer);
        start(&fixture, &post, timeout_ms);
        run_until(&fixture, 1);
        cr_assert_eq(post.exchange.outcome, outcome, "%d: %s", post.exchange.outcome, post.exchange.reason);
        cr_assert_not_null(post.exchange.reason);
        http_release(&post.exchange);
        end(&fixture);
}

Test(http_client, tells_of_a_reset)
{
        expect(FAKE_RESET, NULL, 2000, HTTP_BROKEN);
}

Test(http_client, gives_up_on_one_that_hangs)
{
        expect(FAKE_HANG, NULL, 50, HTTP_TIMEOUT);
}

Test(http_client, gives_up_on_one_that_drips)
{
        char *answer = fake_answer("200 OK", "", "a body of some length, so that it takes its time");

        expect(FAKE_DRIP, answer, 100, HTTP_TIMEOUT);
        free(answer);
}

Test(http_client, stops_an_endless_answer)
{
        expect(FAKE_FLOOD, NULL, 2000, HTTP_TOO_LARGE);
}

Test(http_client, refuses_an_answer_that_says_it_is_too_large)
{
        expect(FAKE_ANSWER_CLOSE, "HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\nx", 2000, HTTP_TOO_LARGE);
}

Test(http_client, tells_of_an_answer_cut_short)
{
        char *answer = fake_answer("200 OK", "", "a body of some length, of which an eighth will be missing");

        expect(FAKE_CUT, answer, 2000, HTTP_BROKEN);
        free(answer);
}

Test(http_client, tells_of_what_is_not_http)
{
        expect(FAKE_ANSWER_CLOSE, "SSH-2.0-OpenSSH_9.2\r\nhello\r\n", 2000, HTTP_BROKEN);
}

Test(http_client, tells_when_nobody_listens)
{
        struct fixture fixture;
        struct post post;

        memset(&fixture, 0, sizeof fixture);
        fixture.loop = ev_loop_new(0);
        fixture.client = http_client_new(fixture.loop, NULL);
        open_target(&fixture, fake_closed_port(), 1, 0);
        start(&fixture, &post, 2000);
        run_until(&fixture, 1);
        cr_assert_eq(post.exchange.outcome, HTTP_NO_CONNECT);
        http_release(&post.exchange);
        end(&fixture);
}

Test(http_client, a_connect_timeout_does_not_end_a_slow_answer)
{
        char *answer = fake_answer("200 OK", "", "slow");
        struct fixture fixture;
        struct post post;

        begin(&fixture, FAKE_DRIP, answer);
        http_target_free(fixture.target);
        open_target(&fixture, fixture.server.port, 1, 20);
        start(&fixture, &post, 2000);
        run_until(&fixture, 1);
        cr_assert_eq(post.exchange.outcome, HTTP_ANSWERED);
        http_release(&post.exchange);
        end(&fixture);
        free(answer);
}

Test(http_client, cancels_in_flight_and_goes_on)
{
        struct fixture fixture;
        struct post hung, fresh;
        int64_t until = clock_now_ms() + WAIT_S * 1000;

        begin(&fixture, FAKE_HANG, NULL);
        start(&fixture, &hung, 2000);
        while (!fixture.server.requests && clock_now_ms() < until)
                ev_run(fixture.loop, EVRUN_NOWAIT);
        cr_assert_eq(fixture.server.requests, 1);
        http_cancel(&hung.exchange);
        http_cancel(&hung.exchange);
        cr_assert_null(hung.exchange.handle);
        start(&fixture, &fresh, 50);
        run_until(&fixture, 1);
        cr_assert_not(hung.done);
        cr_assert_eq(fresh.exchange.outcome, HTTP_TIMEOUT);
        http_release(&fresh.exchange);
        end(&fixture);
}

Test(http_client, cancels_before_it_was_sent)
{
        struct fixture fixture;
        struct post post;

        begin(&fixture, FAKE_HANG, NULL);
        start(&fixture, &post, 2000);
        http_cancel(&post.exchange);
        ev_run(fixture.loop, EVRUN_NOWAIT);
        cr_assert_not(post.done);
        cr_assert_eq(fixture.server.requests, 0);
        end(&fixture);
}

Test(http_client, refuses_a_header_with_a_line_break)
{
        struct ev_loop *loop = ev_loop_new(0);
        struct http_client *client = http_client_new(loop, NULL);
        const char *const headers[] = {"Authorization: Bearer a\r\nX-Evil: 1"};
        struct http_target_options options = {.url = "http://127.0.0.1:1/", .headers = headers, .header_count = 1, .response_bytes_max = 1, .handles_max = 1};

        cr_assert_null(http_target_new(client, &options, NULL));
        http_client_free(client);
        ev_loop_destroy(loop);
}

Test(http_client, ignores_the_environments_proxy)
{
        char *answer = fake_answer("200 OK", "", "[]");
        struct fixture fixture;
        struct post post;

        setenv("http_proxy", "http://127.0.0.1:1/", 1);
        setenv("ALL_PROXY", "http://127.0.0.1:1/", 1);
        begin(&fixture, FAKE_ANSWER, answer);
        start(&fixture, &post, 2000);
        run_until(&fixture, 1);
        cr_assert_eq(post.exchange.outcome, HTTP_ANSWERED);
        http_release(&post.exchange);
        end(&fixture);
        free(answer);
}

/* As the worker does it: tasks run before the loop sleeps, and start requests then. An answer that comes at once must not lie there. */
struct chain {
        struct fixture *fixture;
        struct post post;
        int left;
};

static void on_before_sleep(struct ev_loop *loop, ev_prepare *watcher, int events)
{
        struct chain *chain = watcher->data;

        (void)events;
        if (!chain->post.done)
                return;
        http_release(&chain->post.exchange);
        if (--chain->left)
                start(chain->fixture, &chain->post, 5000);
        else
                ev_break(loop, EVBREAK_ALL);
}

static void on_guard(struct ev_loop *loop, ev_timer *timer, int events)
{
        (void)timer;
        (void)events;
        ev_break(loop, EVBREAK_ALL);
}

Test(http_client, keeps_the_loop_awake_when_an_answer_comes_at_once)
{
        char *answer = fake_answer("200 OK", "", "[]");
        struct fixture fixture;
        struct chain chain = {.fixture = &fixture, .left = 500};
        ev_prepare before_sleep;
        ev_timer guard;

        begin(&fixture, FAKE_ANSWER, answer);
        ev_prepare_init(&before_sleep, on_before_sleep);
        before_sleep.data = &chain;
        ev_prepare_start(fixture.loop, &before_sleep);
        ev_timer_init(&guard, on_guard, WAIT_S, 0);
        ev_timer_start(fixture.loop, &guard);
        start(&fixture, &chain.post, 5000);
        ev_run(fixture.loop, 0);
        cr_assert_eq(chain.left, 0, "%d answers were left lying", chain.left);
        ev_prepare_stop(fixture.loop, &before_sleep);
        ev_timer_stop(fixture.loop, &guard);
        end(&fixture);
        free(answer);
}
