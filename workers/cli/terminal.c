#include "workers/cli/terminal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "config/base/utf8.h"

enum { WIDTH_MIN = 40, WIDTH_MAX = 200, WIDTH_OTHERWISE = 100, BAR_COLUMNS = 24, DRAW_EVERY_MS = 100, PRINT_EVERY_MS = 5000 };

struct terminal terminal_of(FILE *stream)
{
        const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
        struct terminal terminal = {.width = WIDTH_OTHERWISE};
        struct winsize size;

        terminal.is_terminal = isatty(fileno(stream)) == 1;
        if (!terminal.is_terminal)
                return terminal;
        terminal.colour = !(no_colour && *no_colour) && term && strcmp(term, "dumb") != 0;
        if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
                terminal.width = size.ws_col < WIDTH_MIN ? WIDTH_MIN : size.ws_col > WIDTH_MAX ? WIDTH_MAX : size.ws_col;
        return terminal;
}

void terminal_tone(struct buffer *out, const struct terminal *terminal, enum tone tone)
{
        static const char *const codes[] = {
                [TONE_PLAIN] = "\033[0m", [TONE_BOLD] = "\033[1m", [TONE_DIM] = "\033[2m",
                [TONE_GOOD] = "\033[32m", [TONE_BAD] = "\033[31m",
        };

        if (terminal->colour)
                buffer_string(out, codes[tone]);
}

void terminal_json(FILE *out, struct span json)
{
        json_t *tree;

        if (isatty(fileno(out)) == 1) {
                tree = json_loadb(json.data, json.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
                json_dumpf(tree, out, JSON_ENSURE_ASCII | JSON_COMPACT | JSON_ENCODE_ANY);
                json_decref(tree);
        } else {
                fwrite(json.data, 1, json.len, out);
        }
        fputc('\n', out);
}

/* Characters that move, hide or reorder what stands around them. */
static bool is_treacherous(uint32_t c)
{
        return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
               (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
               (c >= 0xe0000 && c <= 0xe0fff);
}

/* The next character at text[*at], as it may be shown: at most 12 bytes into shown, its columns returned. */
static int next_shown(struct span text, size_t *at, char shown[16])
{
        const unsigned char lead = (unsigned char)text.data[*at];
        const size_t wants = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        const struct span one = {text.data + *at, wants};
        uint32_t c;
        size_t inside = 0;

        if (wants > text.len - *at || !utf8_valid(one)) {
                (*at)++;
                return snprintf(shown, 16, "\\x%02x", lead);
        }
        *at += wants;
        c = utf8_next(one, &inside);
        if (is_treacherous(c))
                return snprintf(shown, 16, c < 0x100 ? "\\x%02x" : "\\u%04x", c);
        memcpy(shown, one.data, wants);
        shown[wants] = '\0';
        return 1;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

int terminal_line(struct buffer *out, struct span text, int columns_max)
{
        char shown[16];
        size_t at = 0;
        int columns = 0, takes;

        while (at < text.len) {
                const size_t before = at;

                if (is_blank(text.data[at])) {
                        shown[0] = ' ';
                        shown[1] = '\0';
                        takes = 1;
                        at++;
                } else {
                        takes = next_shown(text, &at, shown);
                }
                if (columns_max > 0 && (columns + takes > columns_max || (columns + takes == columns_max && at < text.len))) {
                        at = before;
                        break;
                }
                buffer_string(out, shown);
                columns += takes;
        }
        if (at < text.len) {
                buffer_string(out, "…");
                columns++;
        }
        return columns;
}

void terminal_paragraph(struct buffer *out, const struct terminal *terminal, struct span text, int indent)
{
        const int room = terminal->width - indent > 20 ? terminal->width - indent : 20;
        int column = 0;
        size_t at = 0, end;

        buffer_printf(out, "%*s", indent, "");
        while (at < text.len) {
                if (text.data[at] == '\n') {
                        buffer_printf(out, "\n%*s", indent, "");
                        column = 0;
                        at++;
                        continue;
                }
                if (is_blank(text.data[at])) {
                        at++;
                        continue;
                }
                for (end = at; end < text.len && !is_blank(text.data[end]);)
                        end++;
                /* A word's columns are at most four times its bytes ("\x00"), and its bytes as a rule: good enough to wrap by. */
                if (column > 0 && column + 1 + (int)(end - at) > room) {
                        buffer_printf(out, "\n%*s", indent, "");
                        column = 0;
                }
                if (column > 0) {
                        buffer_char(out, ' ');
                        column++;
                }
                column += terminal_line(out, (struct span){text.data + at, end - at}, 0);
                at = end;
        }
        buffer_char(out, '\n');
}

void terminal_count(char *text, size_t size, int64_t count)
{
        char digits[24];
        size_t at = 0, len;

        snprintf(digits, sizeof digits, "%" PRId64, count);
        len = strlen(digits);
        for (size_t i = 0; i < len && at + 2 < size; i++) {
                text[at++] = digits[i];
                if (digits[i] != '-' && i + 1 < len && (len - i - 1) % 3 == 0)
                        text[at++] = ',';
        }
        text[at] = '\0';
}

void terminal_duration(char *text, size_t size, int64_t ms)
{
        const int64_t s = ms / 1000;

        if (ms < 1000)
                snprintf(text, size, "%" PRId64 " ms", ms);
        else if (s < 10)
                snprintf(text, size, "%.1f s", (double)ms / 1000);
        else if (s < 60)
                snprintf(text, size, "%" PRId64 " s", s);
        else if (s < 3600)
                snprintf(text, size, "%" PRId64 " m %" PRId64 " s", s / 60, s % 60);
        else
                snprintf(text, size, "%" PRId64 " h %" PRId64 " m", s / 3600, s % 3600 / 60);
}

void progress_init(struct progress *progress, FILE *out, const char *label)
{
        *progress = (struct progress){.terminal = terminal_of(out), .out = out, .label = label, .started_ms = clock_now_ms()};
        progress->drawn_ms = progress->started_ms;
}

static void add_bar(struct buffer *line, double share)
{
        const int full = (int)(share * BAR_COLUMNS + 0.5);

        buffer_char(line, '[');
        for (int i = 0; i < BAR_COLUMNS; i++)
                buffer_char(line, i < full ? '#' : i == full ? '>' : '.');
        buffer_string(line, "] ");
}

static void draw(struct progress *progress, double share, int64_t count, const char *note, bool last)
{
        const int64_t now = clock_now_ms(), elapsed_ms = now - progress->started_ms;
        char text[48], line_data[512];
        AUTO_BUFFER line = {0};

        buffer_init(&line, sizeof line_data);
        buffer_printf(&line, "%s ", progress->label);
        if (progress->terminal.is_terminal && share >= 0)
                add_bar(&line, share);
        if (share >= 0)
                buffer_printf(&line, "%3d %%  ", (int)(share * 100));
        terminal_count(text, sizeof text, count);
        buffer_string(&line, text);
        if (elapsed_ms > 200) {
                terminal_count(text, sizeof text, (count - progress->from_count) * 1000 / elapsed_ms);
                buffer_printf(&line, "  %s/s", text);
        }
        if (last) {
                terminal_duration(text, sizeof text, elapsed_ms);
                buffer_printf(&line, "  in %s", text);
        } else if (share - progress->from_share > 0.01) {
                terminal_duration(text, sizeof text, (int64_t)((double)elapsed_ms * (1 - share) / (share - progress->from_share)));
                buffer_printf(&line, "  ETA %s", text);
        }
        if (note && *note)
                buffer_printf(&line, "  %s", note);
        snprintf(line_data, sizeof line_data, "%.*s", progress->terminal.width - 1, line.data ? line.data : "");
        if (progress->terminal.is_terminal)
                fprintf(progress->out, "\r\033[K%s%s", line_data, last ? "\n" : "");
        else
                fprintf(progress->out, "%s\n", line_data);
        fflush(progress->out);
        progress->drawn_ms = now;
        progress->drawn = true;
}

void progress_show(struct progress *progress, double share, int64_t count, const char *note)
{
        if (clock_now_ms() - progress->drawn_ms >= (progress->terminal.is_terminal ? DRAW_EVERY_MS : PRINT_EVERY_MS))
                draw(progress, share, count, note, false);
}

void progress_end(struct progress *progress, double share, int64_t count, const char *note)
{
        draw(progress, share, count, note, true);
}
