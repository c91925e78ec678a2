#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/base/own.h"
#include "config/secrets.h"

static char folder[] = "/tmp/millrace-secrets-XXXXXX";
static char path[128];

static void make_folder(void)
{
        cr_assert(mkdtemp(folder));
        snprintf(path, sizeof path, "%s/secret", folder);
}

static void drop_folder(void)
{
        unlink(path);
        rmdir(folder);
}

static void write_secret(const char *data, size_t len)
{
        FILE *file = fopen(path, "w");

        cr_assert(file);
        cr_assert_eq(fwrite(data, 1, len, file), len);
        fclose(file);
}

/* The filled text, or the fault's message behind a "!". */
static const char *fill(const char *text, size_t bytes_max)
{
        static struct buffer out;
        static char message[ERROR_MESSAGE_MAX + 1];
        struct error err;
        bool filled;

        buffer_fini(&out);
        buffer_init(&out, bytes_max);
        if (secrets_fill(span_of(text), &out, &filled, &err) < 0) {
                snprintf(message, sizeof message, "!%s", err.message);
                return message;
        }
        return out.data ? out.data : "";
}

static const char *fill_file(const char *data, size_t len)
{
        char text[160];

        write_secret(data, len);
        snprintf(text, sizeof text, "<${file:%s}>", path);
        return fill(text, 200000);
}

TestSuite(secrets, .init = make_folder, .fini = drop_folder);

Test(secrets, leaves_other_text_alone)
{
        cr_assert_str_eq(fill("", 100), "");
        cr_assert_str_eq(fill("a $ b $$ {c} $", 100), "a $ b $$ {c} $");
        cr_assert_str_eq(fill("$${env:X} $$", 100), "${env:X} $$");
}

Test(secrets, fills_in_variables)
{
        setenv("MILLRACE_A", "one", 1);
        setenv("MILLRACE_B2", "", 1);
        unsetenv("MILLRACE_C");
        cr_assert_str_eq(fill("${env:MILLRACE_A}", 100), "one");
        cr_assert_str_eq(fill("x${env:MILLRACE_A}y${env:MILLRACE_A}", 100), "xoneyone");
        cr_assert_str_eq(fill("[${env:MILLRACE_B2}]", 100), "[]");
        cr_assert_str_eq(fill("${env:MILLRACE_C}", 100), "!the environment variable MILLRACE_C is not set");
        cr_assert_str_eq(fill("${env:A-B}", 100), "!${env:…} needs a variable's name of letters, digits and _");
        cr_assert_str_eq(fill("${env:}", 100), "!${env:…} needs a variable's name of letters, digits and _");
        cr_assert_str_eq(fill("${env:MILLRACE_A", 100), "!a \"${\" without its \"}\"");
        cr_assert_str_eq(fill("${MILLRACE_A}", 100),
                         "!only ${env:NAME} and ${file:PATH} can be filled in (\"$${\" for a plain \"${\")");
        cr_assert_str_eq(fill("${env:MILLRACE_A}", 2), "!is too long");
}

Test(secrets, fills_in_files_without_their_last_newline)
{
        cr_assert_str_eq(fill_file("pw\n", 3), "<pw>");
        cr_assert_str_eq(fill_file("pw\r\n", 4), "<pw>");
        cr_assert_str_eq(fill_file("pw\n\n", 4), "<pw\n>");
        cr_assert_str_eq(fill_file("pw", 2), "<pw>");
        cr_assert_str_eq(fill_file("", 0), "<>");
        cr_assert_str_eq(fill_file("${env:HOME}", 11), "<${env:HOME}>");
}

Test(secrets, bounds_files)
{
        AUTO_FREE char *large = malloc(70000);

        cr_assert(large);
        memset(large, 'x', 70000);
        cr_assert_eq(strlen(fill_file(large, 65536)), 65538);
        cr_assert(strstr(fill_file(large, 65537), "holds more than 64 KiB"));
        cr_assert(strstr(fill_file("a\0b", 3), "holds a NUL byte"));
        large[69999] = '\0';
        setenv("MILLRACE_LARGE", large, 1);
        cr_assert(strstr(fill("${env:MILLRACE_LARGE}", 100000), "MILLRACE_LARGE holds more than 64 KiB"));
}

Test(secrets, refuses_what_is_no_regular_file)
{
        char text[160];

        cr_assert_str_eq(fill("${file:/}", 100000), "!/ is not a regular file");
        cr_assert_str_eq(fill("${file:/dev/zero}", 100000), "!/dev/zero is not a regular file");
        cr_assert_str_eq(fill("${file:}", 100000), "!${file:…} needs a path of 1…1024 bytes");
        cr_assert_eq(mkfifo(path, 0600), 0);
        snprintf(text, sizeof text, "${file:%s}", path);
        cr_assert(strstr(fill(text, 100000), "is not a regular file"), "and does not hang");
}

Test(secrets, wipes_its_buffer)
{
        AUTO_BUFFER out = {0};
        bool filled;

        setenv("MILLRACE_A", "one", 1);
        buffer_init(&out, 1000);
        cr_assert_eq(secrets_fill(SPAN("${env:MILLRACE_A}"), &out, &filled, NULL), 0);
        cr_assert(filled);
        secrets_wipe(&out);
        for (size_t i = 0; i < out.cap; i++)
                cr_assert_eq(out.data[i], 0);
}
