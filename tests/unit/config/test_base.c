/* arena, buffer, clock, digest, utf8, completion, error: the ground floor. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "config/base/arena.h"
#include "config/base/buffer.h"
#include "config/base/clock.h"
#include "config/base/completion.h"
#include "config/base/digest.h"
#include "config/base/error.h"
#include "config/base/utf8.h"

Test(arena, refuses_past_its_cap_and_remembers)
{
        AUTO_ARENA *arena = arena_new(100);

        cr_assert(arena_alloc(arena, 64));
        cr_assert_null(arena_alloc(arena, 64));
        cr_assert_null(arena_alloc(arena, 1), "failure is sticky");
        cr_assert_not(arena_ok(arena));
        arena_reset(arena);
        cr_assert(arena_ok(arena));
        cr_assert(arena_alloc(arena, 64));
}

Test(arena, survives_a_size_that_wraps)
{
        AUTO_ARENA *arena = arena_new(1000);

        cr_assert_null(arena_alloc(arena, (size_t)-1));
        cr_assert_null(arena_alloc(arena, (size_t)-8));
}

Test(arena, copies_are_terminated)
{
        AUTO_ARENA *arena = arena_new(100000);
        char *copy = arena_copy(arena, (struct span){"hello world", 5}), *printed = arena_printf(arena, "%d-%s", 7, "x");

        cr_assert_str_eq(copy, "hello");
        cr_assert_str_eq(printed, "7-x");
        cr_assert(arena_alloc(arena, 50000));
}

Test(buffer, stops_at_its_maximum)
{
        AUTO_BUFFER buffer = {0};

        buffer_init(&buffer, 10);
        buffer_string(&buffer, "0123456789");
        cr_assert(buffer_ok(&buffer));
        buffer_char(&buffer, 'x');
        cr_assert_not(buffer_ok(&buffer));
        cr_assert_str_eq(buffer.data, "0123456789");
}

Test(buffer, escapes_json_strings)
{
        AUTO_BUFFER buffer = {0};

        buffer_init(&buffer, 1000);
        buffer_json_string(&buffer, SPAN("a\"b\\c\n\t\x01\x7f\xc3\xa9"));
        cr_assert_str_eq(buffer.data, "\"a\\\"b\\\\c\\n\\t\\u0001\x7f\xc3\xa9\"");
}

static float parse_one(const char *text)
{
        return strtof(text + 1, NULL);
}

Test(buffer, floats_read_back_the_same)
{
        static const float known[] = {0.0f, 1.0f, -1.0f, 0.1f, -0.05f, 123456.789f, 1e-5f, 9.9999e-6f, 99999992.0f, 1e8f, 3.4e38f, 1e-44f, 0.99999994f, 10.0f};
        AUTO_BUFFER buffer = {0};

        buffer_init(&buffer, 1000);
        for (size_t i = 0; i < COUNT_OF(known); i++) {
                buffer_reset(&buffer);
                buffer_json_floats(&buffer, &known[i], 1);
                cr_assert_eq(parse_one(buffer.data), known[i], "%s", buffer.data);
        }
}

Test(buffer, random_floats_read_back_the_same)
{
        AUTO_BUFFER buffer = {0};
        uint64_t state = 42;

        buffer_init(&buffer, 1000);
        for (int i = 0; i < 300000; i++) {
                union {
                        uint32_t bits;
                        float value;
                } f;

                state = state * 6364136223846793005u + 1442695040888963407u;
                f.bits = (uint32_t)(state >> 32);
                if (i % 2)
                        f.value = (float)((double)(state >> 11) * 0x1p-52 - 1.0); /* the range of embeddings */
                if (!isfinite(f.value))
                        continue;
                buffer_reset(&buffer);
                buffer_json_floats(&buffer, &f.value, 1);
                cr_assert_eq(parse_one(buffer.data), f.value, "%s is not %.9g", buffer.data, (double)f.value);
        }
}

Test(buffer, doubles_are_short_and_exact)
{
        static const struct {
                double value;
                const char *text;
        } cases[] = {{0, "0"}, {-3, "-3"}, {0.1, "0.1"}, {0.00000014, "1.4e-07"}, {1e300, "1e+300"}, {1.0 / 3, "0.3333333333333333"}};
        AUTO_BUFFER buffer = {0};

        buffer_init(&buffer, 100);
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                buffer_reset(&buffer);
                buffer_json_double(&buffer, cases[i].value);
                cr_assert_str_eq(buffer.data, cases[i].text);
        }
}

Test(clock, reads_and_writes_rfc3339)
{
        char text[CLOCK_RFC3339_BYTES];
        int64_t ms;

        cr_assert(clock_parse_rfc3339(SPAN("2026-11-20T10:00:00.123Z"), false, &ms));
        clock_format_rfc3339(ms, text);
        cr_assert_str_eq(text, "2026-11-20T10:00:00.123Z");
        cr_assert(clock_parse_rfc3339(SPAN("2026-11-20T11:30:00+01:30"), false, &ms));
        clock_format_rfc3339(ms, text);
        cr_assert_str_eq(text, "2026-11-20T10:00:00.000Z");
        cr_assert(clock_parse_rfc3339(SPAN("1970-01-01"), true, &ms));
        cr_assert_eq(ms, 0);
        cr_assert(clock_parse_rfc3339(SPAN("2024-02-29"), true, &ms));
}

Test(clock, refuses_what_is_no_time)
{
        static const char *const bad[] = {"", "2026-11-20", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-20T24:00:00Z", "2026-11-20T10:00:00",
                                          "2026-11-20T10:00:00.Z", "2026-11-20T10:00:00Zx", "2026-11-20T10:00:00+25:00"};
        int64_t ms;

        for (size_t i = 0; i < COUNT_OF(bad); i++)
                cr_assert_not(clock_parse_rfc3339(span_of(bad[i]), false, &ms), "%s", bad[i]);
}

Test(clock, reads_durations)
{
        int64_t ms;

        cr_assert(clock_parse_duration(SPAN("250ms"), &ms) && ms == 250);
        cr_assert(clock_parse_duration(SPAN("10m"), &ms) && ms == 600000);
        cr_assert(clock_parse_duration(SPAN("1d"), &ms) && ms == 86400000);
        cr_assert_not(clock_parse_duration(SPAN("10"), &ms));
        cr_assert_not(clock_parse_duration(SPAN("m"), &ms));
        cr_assert_not(clock_parse_duration(SPAN("9999999999s"), &ms));
}

Test(digest, sha256_of_the_known_text)
{
        char hex[SHA256_HEX_BYTES];

        digest_sha256_hex(SPAN("abc"), hex);
        cr_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void *digest_abc(void *hex)
{
        digest_sha256_hex(SPAN("abc"), hex);
        return NULL;
}

/* What it keeps for the thread goes with the thread: under `make asan` a leak fails this. */
Test(digest, sha256_on_threads_that_end)
{
        char here[SHA256_HEX_BYTES], there[SHA256_HEX_BYTES];

        digest_sha256_hex(SPAN("abc"), here);
        for (int i = 0; i < 4; i++) {
                pthread_t thread;

                cr_assert_eq(pthread_create(&thread, NULL, digest_abc, there), 0);
                pthread_join(thread, NULL);
                cr_assert_str_eq(there, here);
        }
}

Test(digest, murmur2_agrees_with_java_clients)
{
        /* org.apache.kafka.common.utils.Utils: murmur2("21") = -973932308, "foobar" = -790332482, "a-little-bit-long-string" =
         * -985981536, "a-little-bit-longer-string" = -1486304829; the partitioner clears the sign bit. */
        cr_assert_eq(digest_murmur2(SPAN("21")), (uint32_t)-973932308 & 0x7fffffff);
        cr_assert_eq(digest_murmur2(SPAN("foobar")), (uint32_t)-790332482 & 0x7fffffff);
        cr_assert_eq(digest_murmur2(SPAN("a-little-bit-long-string")), (uint32_t)-985981536 & 0x7fffffff);
        cr_assert_eq(digest_murmur2(SPAN("a-little-bit-longer-string")), (uint32_t)-1486304829 & 0x7fffffff);
}

Test(digest, base64_there_and_back)
{
        unsigned char data[100], back[100];
        char text[140];
        size_t n;

        for (size_t len = 0; len <= sizeof data; len++) {
                for (size_t i = 0; i < len; i++)
                        data[i] = (unsigned char)(i * 37 + len);
                digest_base64_encode(data, len, text);
                cr_assert(digest_base64_decode((struct span){text, digest_base64_bytes(len)}, back, sizeof back, &n));
                cr_assert_eq(n, len);
                cr_assert_eq(memcmp(data, back, len), 0);
        }
        cr_assert(digest_base64_decode(SPAN("TWE"), back, sizeof back, &n) && n == 2, "padding may be missing");
        cr_assert_not(digest_base64_decode(SPAN("TW*="), back, sizeof back, &n));
        cr_assert_not(digest_base64_decode(SPAN("TWFuTWFu"), back, 5, &n), "no room");
        cr_assert_not(digest_base64_decode(SPAN("TWFuT"), back, sizeof back, &n));
}

Test(utf8, knows_well_formed_text)
{
        cr_assert(utf8_valid(SPAN("plain ASCII that is longer than eight bytes, \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")));
        cr_assert_not(utf8_valid(SPAN("\xc0\x80")), "overlong");
        cr_assert_not(utf8_valid(SPAN("\xed\xa0\x80")), "a surrogate");
        cr_assert_not(utf8_valid(SPAN("\xf4\x90\x80\x80")), "past the last code point");
        cr_assert_not(utf8_valid(SPAN("12345678\xe2\x82")), "cut short");
        cr_assert_not(utf8_valid(SPAN("\x80")));
        cr_assert_not(utf8_valid(SPAN("\xff")));
}

Test(utf8, cuts_between_code_points)
{
        cr_assert_eq(utf8_cut(SPAN("a\xc3\xa9z"), 2), 1);
        cr_assert_eq(utf8_cut(SPAN("a\xc3\xa9z"), 3), 3);
        cr_assert_eq(utf8_cut(SPAN("abc"), 10), 3);
}

static int done_count;

static void on_done(struct op *op)
{
        (void)op;
        done_count++;
}

static void let_go(struct op *op)
{
        *(int *)op->work += 1;
}

Test(completion, an_aborted_op_is_never_done)
{
        int aborted = 0;
        struct op op;

        op_init(&op, on_done);
        op_begin(&op, let_go, &aborted);
        op_abort(&op);
        cr_assert_eq(aborted, 1);
        cr_assert_eq(op.state, OP_IDLE);
        op_begin(&op, let_go, &aborted);
        op_done(&op, NULL);
        cr_assert_eq(done_count, 1);
        op_abort(&op);
        cr_assert_eq(aborted, 1, "a done op has nothing to abort");
}

Test(error, the_table_agrees_with_itself)
{
        for (int code = 1; code < CODE_COUNT; code++) {
                struct error err;

                cr_assert_eq(error_set(&err, (enum error_code)code, "x"), -1);
                cr_assert_eq(error_code_of(error_class_name(err.class), error_code_name(err.code)), (enum error_code)code);
                cr_assert_eq(err.input, -1);
        }
        cr_assert_eq(error_code_of("data", "timeout"), CODE_NONE);
}
