#include "queues/redis/redis_client.h"

#include <criterion/criterion.h>

#include "config/base/clock.h"
#include "queues/redis/claims.h"
#include "tests/unit/queues/test_redis_server.h"

TestSuite(redis_client_claim, .init = redis_setup, .fini = redis_teardown);

Test(redis_client_claim, is_read_and_left_as_it_is)
{
        struct error err;
        struct redis_client *client = redis_client_new(&redis.settings, &err);
        struct claim claim = claim_of("q1", "w1/17/abc");
        struct redis_claim seen;
        bool found = true;

        cr_assert(client, "%s", err.message);
        cr_assert_eq(redis_client_claim(client, SPAN("acme"), SPAN("q1"), &seen, &found, &err), 0, "%s", err.message);
        cr_assert_not(found);
        cr_assert_eq(take(&claim, "f", 2).verdict, CLAIM_GRANTED);
        cr_assert_eq(redis_client_claim(client, SPAN("acme"), SPAN("q1"), &seen, &found, &err), 0, "%s", err.message);
        cr_assert(found);
        cr_assert_str_eq(seen.holder, "w1/17/abc");
        cr_assert_str_eq(seen.status, "running");
        cr_assert_eq(seen.fence, 1);
        cr_assert_eq(seen.attempts, 0);
        cr_assert_eq(seen.replays, 2);
        cr_assert_gt(seen.lease_wall_ms, clock_wall_ms());
        cr_assert_eq(ask_int("HGET mr:{acme:q1}:claim fence"), 1, "not taken");
        redis_client_free(client);
}

Test(redis_client_claim, what_is_missing_or_too_long_does_no_harm)
{
        struct error err;
        struct redis_client *client = redis_client_new(&redis.settings, &err);
        struct redis_claim seen;
        bool found = false;

        ask("HSET mr:{acme:q2}:claim status %0500d lease nonsense", 7);
        cr_assert_eq(redis_client_claim(client, SPAN("acme"), SPAN("q2"), &seen, &found, &err), 0, "%s", err.message);
        cr_assert(found);
        cr_assert_eq(strlen(seen.status), sizeof seen.status - 1);
        cr_assert_str_eq(seen.holder, "");
        cr_assert_eq(seen.lease_wall_ms, 0);
        ask("SET mr:{acme:q3}:claim x");
        cr_assert_lt(redis_client_claim(client, SPAN("acme"), SPAN("q3"), &seen, &found, &err), 0, "another type");
        redis_client_free(client);
}
