#include "config/faults.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/base/utf8.h"

void faults_init(struct faults *faults, const char *file)
{
        faults->count = 0;
        faults->dropped = 0;
        snprintf(faults->file, sizeof faults->file, "%s", file);
}

void faults_add(struct faults *faults, unsigned line, const char *path, const char *format, ...)
{
        struct fault *fault;
        va_list args;
        size_t len;
        int n;

        if (faults->count >= FAULTS_MAX) {
                faults->dropped++;
                return;
        }
        fault = &faults->list[faults->count++];
        fault->line = line;
        n = snprintf(fault->text, sizeof fault->text, "%s%s", path, *path ? ": " : "");
        len = n < 0 ? 0 : (size_t)n < sizeof fault->text ? (size_t)n : sizeof fault->text - 1;
        va_start(args, format);
        n = vsnprintf(fault->text + len, sizeof fault->text - len, format, args);
        va_end(args);
        if (n >= 0 && (size_t)n >= sizeof fault->text - len) /* cut: not within a character */
                fault->text[utf8_cut(span_of(fault->text), sizeof fault->text - 1)] = '\0';
}

void faults_sort(struct faults *faults)
{
        for (size_t i = 1; i < faults->count; i++) {
                struct fault moving = faults->list[i];
                size_t at = i;

                for (; at > 0 && faults->list[at - 1].line > moving.line; at--)
                        faults->list[at] = faults->list[at - 1];
                faults->list[at] = moving;
        }
}

void faults_print(const struct faults *faults, struct buffer *out)
{
        for (size_t i = 0; i < faults->count; i++) {
                const struct fault *fault = &faults->list[i];

                if (*faults->file)
                        buffer_printf(out, "%s:", faults->file);
                if (fault->line)
                        buffer_printf(out, "%u:", fault->line);
                buffer_printf(out, "%s%s\n", *faults->file || fault->line ? " " : "", fault->text);
        }
        if (faults->dropped)
                buffer_printf(out, "and %zu more\n", faults->dropped);
}

const char *faults_show(struct span foreign, char shown[FAULTS_SHOWN_BYTES])
{
        size_t n = foreign.len < FAULTS_SHOWN_BYTES - 1 ? foreign.len : FAULTS_SHOWN_BYTES - 1;

        for (size_t i = 0; i < n; i++)
                shown[i] = foreign.data[i] >= ' ' && foreign.data[i] < 0x7f && foreign.data[i] != '"' ? foreign.data[i] : '?';
        shown[n] = '\0';
        return shown;
}
