/* What is written, byte for byte, from a pipe in stderr's place. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "config/base/own.h"

static int saved, ends[2];

static void capture(void)
{
        cr_assert_eq(pipe(ends), 0);
        cr_assert_geq(fcntl(ends[1], F_SETPIPE_SZ, 1 << 20), 0);
        saved = dup(STDERR_FILENO);
        dup2(ends[1], STDERR_FILENO);
        clock_fake(1000, 1763632800123); /* 2025-11-20T10:00:00.123Z */
        log_setup(LOG_DEBUG, LOG_FORMAT_JSON);
}

static void release(void)
{
        dup2(saved, STDERR_FILENO);
        close(saved);
        close(ends[0]);
        close(ends[1]);
}

TestSuite(log, .init = capture, .fini = release);

static char text[1 << 20];

static const char *written(void)
{
        ssize_t n;

        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        n = read(ends[0], text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        return text;
}

/* The members of the last line, which must be valid JSON. */
static const char *member(const char *line, const char *name)
{
        static char value[8192];
        json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);

        cr_assert(object, "%s", line);
        snprintf(value, sizeof value, "%s",
                 json_object_get(object, name) ? json_string_value(json_object_get(object, name)) : "(none)");
        json_decref(object);
        return value;
}

#define HEAD "{\"time\":\"2025-11-20T10:00:00.123Z\",\"level\":"

Test(log, writes_json_members)
{
        log_info("request done", "id=%s kind=%s wait_ms=%d", "q1", "embed", 5);
        cr_assert_str_eq(written(),
                         HEAD "\"info\",\"event\":\"request done\",\"id\":\"q1\",\"kind\":\"embed\",\"wait_ms\":\"5\"}\n");
        log_error("stopped", NULL);
        cr_assert_str_eq(written(), HEAD "\"error\",\"event\":\"stopped\"}\n");
        log_warn("odd", "no pairs here");
        cr_assert_str_eq(written(), HEAD "\"warn\",\"event\":\"odd\",\"text\":\"no pairs here\"}\n");
}

Test(log, gives_the_rest_of_the_line_to_the_last_member)
{
        log_info("x", "id=%s reason=%s", "q1", "it said id=7 and reason=none of it");
        cr_assert_str_eq(written(),
                         HEAD "\"info\",\"event\":\"x\",\"id\":\"q1\",\"reason\":\"it said id=7 and reason=none of it\"}\n");
}

Test(log, keeps_empty_values)
{
        log_info("x", "a=%s b=%s c=%s", "", "", "");
        cr_assert_str_eq(written(), HEAD "\"info\",\"event\":\"x\",\"a\":\"\",\"b\":\"\",\"c\":\"\"}\n");
}

Test(log, escapes_whatever_it_is_given)
{
        log_info("x", "a=%s", "\"\\\n\t\x01\x7f\xff\xc3(\xed\xa0\x80\xc2\x9b\xc3\xa4");
        written();
        cr_assert_str_eq(member(text, "a"),
                         "\"\\\n\t\x01\x7f\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xc2\x9b\xc3\xa4");
        cr_assert_null(strstr(text, "\xc2\x9b"));
        cr_assert_eq(strchr(text, '\n'), text + strlen(text) - 1, "one line");
}

Test(log, cuts_long_lines_to_valid_json)
{
        char value[8000];

        for (size_t len = 500; len < sizeof value; len += 7) {
                memset(value, len % 2 ? '\x01' : 'x', len);
                value[len - 1] = '\0';
                log_info("x", "a=%s b=%s", value, value);
                written();
                cr_assert_leq(strlen(text), 4096);
                member(text, "a");
        }
        for (size_t len = 640; len < 700; len++) { /* the cut falls between members here */
                memset(value, '\x01', len);
                value[len] = '\0';
                log_info("x", "a=%s b=%s", value, "y");
                written();
                member(text, "b");
        }
}

Test(log, drops_what_is_below_the_level)
{
        log_setup(LOG_WARN, LOG_FORMAT_JSON);
        log_info("x", NULL);
        log_debug("x", NULL);
        cr_assert_str_eq(written(), "");
        log_warn("y", NULL);
        cr_assert(*written());
}

Test(log, writes_text_that_cannot_harm_a_terminal)
{
        log_setup(LOG_DEBUG, LOG_FORMAT_TEXT);
        log_info("x", "a=%s", "b\n\x1b[31m\xc2\x9b \"q\"");
        cr_assert_str_eq(written(), "10:00:00.123 info  x  a=b\\u000a\\u001b[31m\\u009b \"q\"\n");
        log_error("stopped", NULL);
        cr_assert_str_eq(written(), "10:00:00.123 error stopped\n");
}

Test(log, chooses_json_where_stderr_is_no_terminal)
{
        log_setup(LOG_INFO, LOG_FORMAT_AUTO);
        log_info("x", NULL);
        cr_assert_eq(*written(), '{');
}

static void *writer(void *name)
{
        for (int i = 0; i < 500; i++)
                log_info("x", "thread=%s i=%d", (const char *)name, i);
        return NULL;
}

Test(log, lines_of_several_threads_stay_whole)
{
        static const char *const names[] = {"aaaa", "bbbb", "cccc", "dddd"};
        pthread_t threads[COUNT_OF(names)];
        int lines = 0;

        for (size_t i = 0; i < COUNT_OF(names); i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, writer, (void *)(uintptr_t)names[i]), 0);
        for (size_t i = 0; i < COUNT_OF(names); i++)
                pthread_join(threads[i], NULL);
        written();
        for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
                *end = '\0';
                cr_assert_eq(strlen(member(line, "thread")), 4);
        }
        cr_assert_eq(lines, 2000);
}
