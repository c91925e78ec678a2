#include "queues/redis/redis_slots.h"

#include <criterion/criterion.h>

static unsigned slot(const char *key)
{
        return slot_of(span_of(key));
}

Test(redis_slots, are_those_of_redis)
{
        cr_assert_eq(slot("123456789"), 0x31c3 % SLOT_COUNT, "the check value of CRC16/XMODEM");
        cr_assert_eq(slot("foo"), 12182);
        cr_assert_eq(slot("bar"), 5061);
        cr_assert_eq(slot(""), 0);
}

Test(redis_slots, only_the_tag_counts_where_there_is_one)
{
        cr_assert_eq(slot("{user1000}.following"), slot("user1000"));
        cr_assert_eq(slot("{user1000}.followers"), slot("user1000"));
        cr_assert_eq(slot("foo{{bar}}zap"), slot("{bar"));
        cr_assert_eq(slot("foo{bar}{zap}"), slot("bar"));
        cr_assert_neq(slot("foo{}{bar}"), slot("bar"), "an empty tag is none");
        cr_assert_neq(slot("foo{bar"), slot("bar"), "an open one neither");
        cr_assert_eq(slot("{"), slot_of(SPAN("{")));
        cr_assert_eq(slot("mr:{acme:q1}:result"), slot("mr:{acme:q1}:claim"));
}

static int parse(const char *text, struct redirect *redirect)
{
        return redirect_parse(span_of(text), redirect);
}

Test(redis_slots, redirections_are_read)
{
        struct redirect redirect;

        cr_assert_eq(parse("MOVED 3999 127.0.0.1:6381", &redirect), 0);
        cr_assert(!redirect.ask && redirect.slot == 3999 && redirect.port == 6381);
        cr_assert_str_eq(redirect.host, "127.0.0.1");
        cr_assert_eq(parse("ASK 16383 node-3.redis.svc:7000", &redirect), 0);
        cr_assert(redirect.ask && redirect.slot == 16383);
        cr_assert_str_eq(redirect.host, "node-3.redis.svc");
        cr_assert_eq(parse("MOVED 0 2001:db8::7:6379", &redirect), 0);
        cr_assert_str_eq(redirect.host, "2001:db8::7");
        cr_assert_eq(parse("MOVED 0 :6379", &redirect), 0);
        cr_assert_str_eq(redirect.host, "", "the same host");
        cr_assert_eq(parse("MOVED 0 ?:6379", &redirect), 0);
        cr_assert_str_eq(redirect.host, "");
}

Test(redis_slots, what_is_no_redirection_is_refused)
{
        static const char *const faulty[] = {"",
                                             "MOVED",
                                             "MOVED ",
                                             "MOVED 1",
                                             "MOVED 1 ",
                                             "MOVED 1 host",
                                             "MOVED 1 host:",
                                             "MOVED 1 host:0",
                                             "MOVED 1 host:65536",
                                             "MOVED 1 host:7x",
                                             "MOVED 16384 host:7",
                                             "MOVED -1 host:7",
                                             "MOVED x host:7",
                                             "MOVED 99999999999999999999 host:7",
                                             "MOVEDX 1 host:7",
                                             "ERR MOVED 1 host:7",
                                             "TRYAGAIN 1 host:7"};
        struct redirect redirect = {.slot = 77};
        char longest[400];

        for (size_t i = 0; i < sizeof faulty / sizeof *faulty; i++)
                cr_assert_lt(parse(faulty[i], &redirect), 0, "%s", faulty[i]);
        memset(longest, 'h', sizeof longest);
        memcpy(longest, "MOVED 1 ", 8);
        memcpy(longest + sizeof longest - 3, ":7", 3);
        cr_assert_lt(parse(longest, &redirect), 0);
        cr_assert_eq(redirect.slot, 77, "the output is untouched");
}
