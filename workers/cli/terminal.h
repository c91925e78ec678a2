/* What goes to a person's terminal: text from payloads made harmless, words wrapped, colour where it is wanted, and a progress
 * line.
 *
 * Invariant: whatever bytes a payload holds, the terminal sees printable characters, blanks and line ends only. Control characters,
 * bidirectional overrides, invisible characters and invalid UTF-8 appear as \x1b, \u202e, \xff. */
#ifndef WORKERS_CLI_TERMINAL_H
#define WORKERS_CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/base/buffer.h"
#include "config/base/span.h"

struct terminal {
        bool is_terminal, colour;
        int width; /* columns, 40…200; 100 where it is no terminal */
};

/* Of an open stream. Colour: on a terminal, unless NO_COLOR is set and not empty or TERM is dumb. */
struct terminal terminal_of(FILE *stream);

enum tone { TONE_PLAIN, TONE_BOLD, TONE_DIM, TONE_GOOD, TONE_BAD };
/* Begins a tone (TONE_PLAIN ends it); adds nothing where there is no colour. */
void terminal_tone(struct buffer *out, const struct terminal *terminal, enum tone tone);

/* JSON text and a line end. On a terminal everything but ASCII comes as \uXXXX, so that it is safe there, too. */
void terminal_json(FILE *out, struct span json);

/* text in one line: line ends and tabs appear as blanks. columns_max > 0: cut there, with "…". Returns the columns it takes. */
int terminal_line(struct buffer *out, struct span text, int columns_max);
/* text in its lines, wrapped between words; every line begins with indent blanks, and the last one ends with a line end. */
void terminal_paragraph(struct buffer *out, const struct terminal *terminal, struct span text, int indent);

/* 1234 → "1,234"; 83000 ms → "1 m 23 s", 12 ms → "12 ms"; bytes → "1.3 MB". Into text, cut to fit. */
void terminal_count(char *text, size_t size, int64_t count);
void terminal_duration(char *text, size_t size, int64_t ms);

/* Progress on stderr: a bar that is redrawn on a terminal, else a plain line every few seconds. */
struct progress {
        struct terminal terminal;
        FILE *out;
        const char *label; /* borrowed */
        int64_t started_ms, drawn_ms;
        double from_share;  /* what was done before: rate and ETA are of the rest */
        int64_t from_count;
        bool drawn;
};
void progress_init(struct progress *progress, FILE *out, const char *label);
/* share: 0…1 of the whole, < 0 unknown; count: of what (records so far); note: appended, may be NULL. Draws at most ten times a
 * second (every five seconds where it is no terminal). */
void progress_show(struct progress *progress, double share, int64_t count, const char *note);
/* The last state, drawn in any case, and a line end. */
void progress_end(struct progress *progress, double share, int64_t count, const char *note);

#endif
