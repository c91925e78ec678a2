#include "config/reference.h"

#include <string.h>

#include "config/options.h"

static const char preamble[] =
        "# Configuration reference\n"
        "\n"
        "Generated from the table in `config/options.c`; do not edit. `example.yaml` beside it is a file to start from, and\n"
        "`millrace check-config FILE` names every fault of a file with its line.\n"
        "\n"
        "- One YAML document of at most 1 MiB; unknown and repeated keys are faults; aliases and tags are not read.\n"
        "- A quoted scalar is a string. Booleans are `true` and `false` only; numbers are decimal.\n"
        "- `${env:NAME}` and `${file:PATH}` anywhere within a string are filled in when the file is read: a variable's value,\n"
        "  or a file's content without the line break at its end (relative to the working directory; at most 64 KiB). `$${`\n"
        "  stands for `${`.\n"
        "- A section or list that is left empty counts as absent.\n"
        "- `[]` in a path stands for each element of a list.\n";

static void render_span(struct buffer *out, struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                if (s.data[i] == '|')
                        buffer_char(out, '\\');
                buffer_char(out, s.data[i]);
        }
}

static void render_choices(struct buffer *out, const struct option_choice *choices)
{
        for (size_t i = 0; choices[i].name; i++)
                buffer_printf(out, "%s`%s`", i ? ", " : "", choices[i].name);
}

static void render_bytes(struct buffer *out, const struct option *option, const char *what)
{
        if (option->min > 0)
                buffer_printf(out, ", %.0f…%.0f %s", option->min, option->max, what);
        else
                buffer_printf(out, ", at most %.0f %s", option->max, what);
}

static void render_type(struct buffer *out, const struct option *option)
{
        switch (option->type) {
        case OPTION_STRING:
                if (option->choices) {
                        buffer_string(out, "one of ");
                        render_choices(out, option->choices);
                } else {
                        buffer_string(out, option->secret ? "string (a secret)" : "string");
                        render_bytes(out, option, "bytes");
                }
                break;
        case OPTION_NAME:
                buffer_printf(out, "name, %.0f…%.0f of `%s`", option->min, option->max, option->alphabet);
                break;
        case OPTION_INTEGER:
        case OPTION_NUMBER:
                buffer_string(out, option->type == OPTION_INTEGER ? "integer" : "number");
                if (option->unit)
                        buffer_printf(out, ", %s", option->unit);
                buffer_printf(out, ", %.15g…%.15g", option->min, option->max);
                break;
        case OPTION_BOOL:
                buffer_string(out, "`true` or `false`");
                break;
        case OPTION_CHOICE:
                buffer_string(out, "one of ");
                render_choices(out, option->choices);
                break;
        case OPTION_REFERENCE:
                buffer_string(out, strstr(option->path, ".provider") ? "a provider's name" : "a model's name");
                break;
        case OPTION_NAMES:
                buffer_printf(out, "list of names, at most %.0f", option->max);
                break;
        case OPTION_MODELS:
                buffer_printf(out, "list of models' names, at most %.0f", option->max);
                break;
        case OPTION_DURATIONS:
                buffer_printf(out, "list of durations, %.0f…%.0f", option->min, option->max);
                break;
        case OPTION_FLAGS:
                buffer_string(out, "list of ");
                render_choices(out, option->choices);
                break;
        case OPTION_PAIRS:
                buffer_printf(out, "map, at most %.0f entries", option->max);
                break;
        case OPTION_SECTION:
                buffer_string(out, "map");
                break;
        case OPTION_LIST:
                buffer_printf(out, "list of maps, at most %.0f", option->max);
                break;
        case OPTION_REFUSED:
                buffer_string(out, "—");
                break;
        }
}

static void render_row(struct buffer *out, const struct option *option)
{
        buffer_printf(out, "| `%s` | ", option->path);
        render_type(out, option);
        buffer_string(out, " | ");
        if (option->fallback && *option->fallback)
                buffer_printf(out, "`%s`", option->fallback);
        else if (option->required)
                buffer_string(out, "**required**");
        else if (option->absent)
                buffer_string(out, option->absent);
        buffer_string(out, " | ");
        render_span(out, span_of(option->prose));
        buffer_string(out, " |\n");
}

void reference_render(struct buffer *out)
{
        size_t top_len = 0;
        const char *top = "";

        buffer_string(out, preamble);
        for (size_t i = 0; i < option_count; i++) {
                const struct option *option = &options[i];
                size_t len = strcspn(option->path, ".[");
                bool heading = len != top_len || strncmp(option->path, top, len) != 0;

                if (heading) {
                        top = option->path;
                        top_len = len;
                        buffer_printf(out, "\n## %s\n\n", option->path);
                        if (option->type == OPTION_SECTION)
                                buffer_printf(out, "%s\n\n", option->prose);
                        buffer_string(out, "| key | value | default | meaning |\n|---|---|---|---|\n");
                }
                if (!heading || option->type != OPTION_SECTION)
                        render_row(out, option);
        }
}
