#include <criterion/criterion.h>

#include "config/address.h"

Test(address, host_and_port)
{
        cr_assert(address_is_host_port(SPAN("127.0.0.1:0"), true));
        cr_assert(address_is_host_port(SPAN("[::1]:65535"), true));
        cr_assert(address_is_host_port(SPAN("a-b.example_x:1"), true));
        cr_assert(address_is_host_port(SPAN("[::1]"), false));
        cr_assert(address_is_host_port(SPAN("h"), false));
        cr_assert_not(address_is_host_port(SPAN("h"), true));
        cr_assert_not(address_is_host_port(SPAN("[::1]"), true));
        cr_assert_not(address_is_host_port(SPAN(":1"), true));
        cr_assert_not(address_is_host_port(SPAN("h:"), true));
        cr_assert_not(address_is_host_port(SPAN("h:65536"), true));
        cr_assert_not(address_is_host_port(SPAN("h:1x"), true));
        cr_assert_not(address_is_host_port(SPAN("h :1"), true));
        cr_assert_not(address_is_host_port(SPAN(""), false));
        cr_assert_not(address_is_host_port(SPAN("::1:80"), true));
}

Test(address, brokers)
{
        cr_assert(address_is_broker_list(SPAN("a:1,b:2,c")));
        cr_assert(address_is_broker_list(SPAN("SASL_SSL://a:1,[::1]:2")));
        cr_assert_not(address_is_broker_list(SPAN("")));
        cr_assert_not(address_is_broker_list(SPAN("a:1,")));
        cr_assert_not(address_is_broker_list(SPAN("a:1, b:2")));
        cr_assert_not(address_is_broker_list(SPAN("kafka://a:1")));
}

Test(address, http_urls)
{
        cr_assert(address_is_http_url(SPAN("http://h")));
        cr_assert(address_is_http_url(SPAN("https://h:8443/v1/x-y_z")));
        cr_assert(address_is_http_url(SPAN("http://[::1]:80/")));
        cr_assert_not(address_is_http_url(SPAN("http://")));
        cr_assert_not(address_is_http_url(SPAN("HTTP//h")));
        cr_assert_not(address_is_http_url(SPAN("file:///etc/passwd")));
        cr_assert_not(address_is_http_url(SPAN("http://u:p@h/")));
        cr_assert_not(address_is_http_url(SPAN("http://h/?q")));
        cr_assert_not(address_is_http_url(SPAN("http://h/#f")));
        cr_assert_not(address_is_http_url(SPAN("http://h/a b")));
        cr_assert_not(address_is_http_url(SPAN("http://h/a\r\nX: y")));
}

Test(address, redis_urls)
{
        bool user, password;

        cr_assert(address_is_redis_url(SPAN("redis://h"), &user, &password) && !user && !password);
        cr_assert(address_is_redis_url(SPAN("redis://h:6379/15"), &user, &password) && !user && !password);
        cr_assert(address_is_redis_url(SPAN("rediss://u:p@w@h:1/"), &user, &password) && user && password);
        cr_assert(address_is_redis_url(SPAN("redis://:p/w@h"), &user, &password) && !user && password);
        cr_assert(address_is_redis_url(SPAN("redis://u@h"), &user, &password) && user && !password);
        cr_assert_not(address_is_redis_url(SPAN("redis://"), &user, &password));
        cr_assert_not(address_is_redis_url(SPAN("redis://h/x"), &user, &password));
        cr_assert_not(address_is_redis_url(SPAN("redis://h/1?x=y"), &user, &password));
        cr_assert_not(address_is_redis_url(SPAN("unix:///run/redis"), &user, &password));
}
