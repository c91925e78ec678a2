#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "config/base/utf8.h"
#include "workers/cli/terminal.h"

static void line(struct buffer *out, struct span text, int columns)
{
        buffer_init(out, 65536);
        terminal_line(out, text, columns);
        buffer_char(out, '\0');
}

Test(cli_terminal, shows_control_characters_instead_of_obeying_them)
{
        static const struct {
                const char *text, *shown;
        } cases[] = {
                {"plain ünïcode – text", "plain ünïcode – text"},
                {"\033]0;title\a", "\\x1b]0;title\\x07"},
                {"a\nb\tc\rd", "a b c d"},
                {"\xc2\x9b"
                 "31m",
                 "\\x9b31m"},
                {"\xe2\x80\xae"
                 "evil",
                 "\\u202eevil"},
                {"zero\xe2\x80\x8bwidth", "zero\\u200bwidth"},
                {"\xff\xfe", "\\xff\\xfe"},
                {"cut \xe2\x82", "cut \\xe2\\x82"},
                {"\x7f", "\\x7f"},
        };

        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                AUTO_BUFFER out = {0};

                line(&out, span_of(cases[i].text), 0);
                cr_assert_str_eq(out.data, cases[i].shown);
        }
}

Test(cli_terminal, any_bytes_come_out_printable)
{
        unsigned char bytes[64];

        srandom(7);
        for (int round = 0; round < 20000; round++) {
                const size_t n = (size_t)random() % sizeof bytes;
                AUTO_BUFFER out = {0};

                for (size_t i = 0; i < n; i++)
                        bytes[i] = (unsigned char)(random() % (round % 2 ? 256 : 64));
                buffer_init(&out, 4096);
                terminal_line(&out, (struct span){(char *)bytes, n}, round % 3 ? 0 : 10);
                cr_assert(utf8_valid(buffer_view(&out)));
                for (size_t i = 0; i < out.len; i++) {
                        const unsigned char c = (unsigned char)out.data[i];

                        cr_assert(c >= 0x20 && c != 0x7f);
                        cr_assert_not(c == 0xc2 && (unsigned char)out.data[i + 1] < 0xa0, "a C1 control came through");
                }
        }
}

Test(cli_terminal, cuts_at_the_columns_given)
{
        AUTO_BUFFER out = {0};

        line(&out, SPAN("abcdefghij"), 5);
        cr_assert_str_eq(out.data, "abcd…");
        buffer_reset(&out);
        cr_assert_eq(terminal_line(&out, SPAN("abcde"), 5), 5);
        cr_assert_str_eq(out.data, "abcde");
}

Test(cli_terminal, wraps_between_words_and_keeps_lines)
{
        const struct terminal terminal = {.width = 30};
        AUTO_BUFFER out = {0};

        buffer_init(&out, 4096);
        terminal_paragraph(&out, &terminal, SPAN("one two three four five six seven\n\nnew"), 4);
        cr_assert_str_eq(out.data, "    one two three four five\n    six seven\n    \n    new\n");
}

Test(cli_terminal, no_colour_adds_nothing)
{
        const struct terminal plain = {0}, coloured = {.colour = true};
        AUTO_BUFFER out = {0};

        buffer_init(&out, 64);
        terminal_tone(&out, &plain, TONE_BAD);
        cr_assert_eq(out.len, 0);
        terminal_tone(&out, &coloured, TONE_BAD);
        cr_assert_str_eq(out.data, "\033[31m");
}

Test(cli_terminal, counts_and_durations_read_well)
{
        char text[32];

        terminal_count(text, sizeof text, 1234567);
        cr_assert_str_eq(text, "1,234,567");
        terminal_count(text, sizeof text, 999);
        cr_assert_str_eq(text, "999");
        terminal_count(text, sizeof text, -1234);
        cr_assert_str_eq(text, "-1,234");
        terminal_duration(text, sizeof text, 12);
        cr_assert_str_eq(text, "12 ms");
        terminal_duration(text, sizeof text, 2300);
        cr_assert_str_eq(text, "2.3 s");
        terminal_duration(text, sizeof text, 83000);
        cr_assert_str_eq(text, "1 m 23 s");
        terminal_duration(text, sizeof text, 2 * 3600000 + 120000);
        cr_assert_str_eq(text, "2 h 2 m");
}

Test(cli_terminal, progress_off_a_terminal_is_a_line_every_five_seconds)
{
        struct progress progress;
        char *text = NULL;
        size_t size = 0;
        FILE *out = tmpfile();

        clock_fake(1000, 0);
        progress_init(&progress, out, "ingest");
        progress_show(&progress, 0.1, 10, NULL);
        clock_fake(6500, 0);
        progress_show(&progress, 0.5, 50, "failed 0");
        progress_show(&progress, 0.6, 60, NULL);
        clock_fake(11000, 0);
        progress_end(&progress, 1, 100, NULL);
        clock_fake(-1, -1);
        fflush(out);
        size = (size_t)ftell(out);
        text = calloc(1, size + 1);
        rewind(out);
        cr_assert_eq(fread(text, 1, size, out), size);
        cr_assert_str_eq(text, "ingest  50 %  50  9/s  ETA 5.5 s  failed 0\ningest 100 %  100  10/s  in 10 s\n");
        free(text);
        fclose(out);
}
