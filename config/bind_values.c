/* Scalars and lists of scalars: from a node to a variable by the row's type. A value that is wrong is noted and left out. */
#include "config/bind_values.h"

#include <string.h>

#include "config/base/clock.h"
#include "config/secrets.h"
#include "config/settings_build.h"

enum { SCRATCH_BYTES_MAX = BIND_SCRATCH_BYTES_MAX, NAME_BYTES_MAX = 64, DURATION_MS_MIN = 100, DURATION_MS_MAX = 7 * 86400000 };

void bind_no_memory(struct binder *binder)
{
        faults_add(binder->faults, 0, "", "memory is out");
}

struct place *bind_keep_place(struct binder *binder, const struct target *target, const void *variable)
{
        struct place *place;

        if (target->node->line == 0 && target->option->type != OPTION_REFERENCE)
                return NULL; /* nothing can be wrong with a default */
        place = arena_alloc(binder->arena, sizeof *place);
        if (!place)
                return NULL;
        place->variable = variable;
        place->option = target->option;
        place->line = target->node->line;
        place->path = target->where;
        if (binder->last)
                binder->last->next = place;
        else
                binder->first = place;
        binder->last = place;
        return place;
}

static bool has_filling(struct span text)
{
        for (size_t i = 0; i + 1 < text.len; i++)
                if (text.data[i] == '$' && text.data[i + 1] == '{')
                        return true;
        return false;
}

/* The string of a node with its secrets filled in, in memory of the settings. */
char *bind_take_string(struct binder *binder, const struct target *target, bool *ret_filled)
{
        const struct node *node = target->node;
        struct span text = node->text;
        struct error err;
        char *copy;

        if (!node_is_string(node)) {
                FAULT(binder, target, node_is_null(node) ? "has no value" : "must be a string%s",
                      node->type == NODE_SCALAR ? " (in quotes)" : "");
                return NULL;
        }
        *ret_filled = false;
        if (has_filling(text)) {
                buffer_reset(&binder->scratch);
                /* All at once, so that growing leaves no copies behind. */
                if (!buffer_reserve(&binder->scratch, SCRATCH_BYTES_MAX) ||
                    secrets_fill(text, &binder->scratch, ret_filled, &err) < 0) {
                        FAULT(binder, target, "%s", binder->scratch.failed ? "is too long" : err.message);
                        return NULL;
                }
                text = buffer_view(&binder->scratch);
        }
        for (size_t i = 0; i < text.len; i++) {
                if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f) {
                        FAULT(binder, target, "holds a control character (a line break?)");
                        return NULL;
                }
        }
        copy = settings_copy(binder->settings, text);
        if (!copy)
                bind_no_memory(binder);
        return copy;
}

static bool check_length(struct binder *binder, const struct target *target, const char *s)
{
        const struct option *option = target->option;
        size_t len = strlen(s);

        if ((double)len >= option->min && (double)len <= option->max &&
            (!option->alphabet || options_spelt(option->alphabet, span_of(s))))
                return true;
        if (option->alphabet)
                FAULT(binder, target, "must be %.0f…%.0f characters of %s", option->min, option->max, option->alphabet);
        else if (len == 0)
                FAULT(binder, target, "must not be empty");
        else
                FAULT(binder, target, "must be at most %.0f bytes long", option->max);
        return false;
}

static const struct option_choice *find_choice(const struct option_choice *choices, struct span given)
{
        for (; choices->name; choices++)
                if (span_is(given, choices->name))
                        return choices;
        return NULL;
}

static void refuse_choice(struct binder *binder, const struct target *target)
{
        const struct option_choice *choices = target->option->choices;
        const char *near = options_suggest_choice(choices, target->node->text);
        AUTO_BUFFER names = {0};

        buffer_init(&names, FAULT_TEXT_BYTES);
        for (size_t i = 0; choices[i].name; i++)
                buffer_printf(&names, "%s%s", i ? ", " : "", choices[i].name);
        if (near)
                FAULT(binder, target, "must be one of %s; did you mean %s?", names.data, near);
        else
                FAULT(binder, target, "must be one of %s", names.data);
}

static void bind_string(struct binder *binder, const struct target *target)
{
        const struct option *option = target->option;
        bool filled;
        char *s = bind_take_string(binder, target, &filled);

        if (!s || !check_length(binder, target, s))
                return;
        if (option->choices && !find_choice(option->choices, span_of(s))) {
                refuse_choice(binder, target);
                return;
        }
        *(char **)bind_variable(target) = s;
        if (target->place)
                target->place->filled = filled;
}

static void bind_reference(struct binder *binder, const struct target *target)
{
        bool filled;
        char *s = bind_take_string(binder, target, &filled);

        if (!s || !target->place)
                return;
        target->place->text = span_of(s);
        target->place->filled = filled;
}

void bind_store_integer(const struct option *option, void *variable, int64_t value)
{
        if (option->size == sizeof(int64_t))
                *(int64_t *)variable = value;
        else
                *(int *)variable = (int)value;
}

static void bind_integer(struct binder *binder, const struct target *target)
{
        const struct option *option = target->option;
        int64_t value;

        if (!node_is_integer(target->node, &value)) {
                FAULT(binder, target, node_is_null(target->node) ? "has no value" : "must be an integer%s",
                      target->node->type == NODE_SCALAR && !target->node->plain ? " (without quotes)" : "");
                return;
        }
        if ((double)value < option->min || (double)value > option->max) {
                FAULT(binder, target, "must be %.0f…%.0f", option->min, option->max);
                return;
        }
        bind_store_integer(option, bind_variable(target), value);
}

static void bind_number(struct binder *binder, const struct target *target)
{
        const struct option *option = target->option;
        double value;

        if (!node_is_number(target->node, &value)) {
                FAULT(binder, target, node_is_null(target->node) ? "has no value" : "must be a number%s",
                      target->node->type == NODE_SCALAR && !target->node->plain ? " (without quotes)" : "");
                return;
        }
        if (value < option->min || value > option->max) {
                FAULT(binder, target, "must be %.15g…%.15g", option->min, option->max);
                return;
        }
        *(double *)bind_variable(target) = value;
}

static void bind_bool(struct binder *binder, const struct target *target)
{
        bool value;

        if (!node_is_bool(target->node, &value)) {
                FAULT(binder, target, "must be true or false");
                return;
        }
        *(bool *)bind_variable(target) = value;
}

static void bind_choice(struct binder *binder, const struct target *target)
{
        const struct option_choice *choice;

        if (!node_is_string(target->node) || !(choice = find_choice(target->option->choices, target->node->text))) {
                refuse_choice(binder, target);
                return;
        }
        bind_store_integer(target->option, bind_variable(target), choice->value);
}

/* ---- lists of scalars ---- */

/* The node as a list within the row's bounds; false with a fault noted otherwise. */
bool bind_check_list(struct binder *binder, const struct target *target)
{
        const struct option *option = target->option;

        if (target->node->type != NODE_LIST) {
                FAULT(binder, target, "must be a list");
                return false;
        }
        if ((double)target->node->count >= option->min && (double)target->node->count <= option->max)
                return true;
        if (option->min > 0)
                FAULT(binder, target, "must hold %.0f…%.0f entries", option->min, option->max);
        else
                FAULT(binder, target, "must hold at most %.0f entries", option->max);
        return false;
}

const char *bind_element_path(struct binder *binder, const char *where, size_t i)
{
        const char *path = arena_printf(binder->arena, "%s[%zu]", where, i);

        return path ? path : where;
}

static void bind_names(struct binder *binder, const struct target *target)
{
        size_t *count = bind_count(target);
        char **names;
        size_t i = 0;

        if (!bind_check_list(binder, target))
                return;
        names = settings_alloc(binder->settings, (target->node->count + 1) * sizeof *names);
        if (!names) {
                bind_no_memory(binder);
                return;
        }
        *(char ***)bind_variable(target) = names;
        *count = 0;
        for (const struct node *node = target->node->first; node; node = node->next, i++) {
                struct target element = {target->option, node, bind_element_path(binder, target->where, i), target->into, NULL};
                bool filled;
                char *s = node->type == NODE_BAD ? NULL : bind_take_string(binder, &element, &filled);
                struct place *place;

                if (!s)
                        continue;
                if (target->option->alphabet &&
                    (*s == '\0' || strlen(s) > NAME_BYTES_MAX || !options_spelt(target->option->alphabet, span_of(s)))) {
                        FAULT(binder, &element, "must be 1…%d characters of %s", NAME_BYTES_MAX, target->option->alphabet);
                        continue;
                }
                names[*count] = s;
                place = bind_keep_place(binder, &element, &names[*count]);
                ++*count;
                if (place) {
                        place->text = span_of(s);
                        place->filled = filled;
                }
        }
}

static void bind_durations(struct binder *binder, const struct target *target)
{
        size_t *count = bind_count(target);
        char **texts;
        int64_t *values;
        size_t i = 0;

        if (!bind_check_list(binder, target))
                return;
        texts = settings_alloc(binder->settings, target->node->count * sizeof *texts);
        values = settings_alloc(binder->settings, target->node->count * sizeof *values);
        if (!texts || !values) {
                bind_no_memory(binder);
                return;
        }
        *(char ***)bind_variable(target) = texts;
        *(int64_t **)(void *)((char *)target->into + target->option->values_at) = values;
        *count = 0;
        for (const struct node *node = target->node->first; node; node = node->next, i++) {
                struct target element = {target->option, node, bind_element_path(binder, target->where, i), target->into, NULL};
                int64_t ms;

                if (node->type == NODE_BAD)
                        continue;
                if (!node_is_string(node) || !clock_parse_duration(node->text, &ms) || ms < DURATION_MS_MIN ||
                    ms > DURATION_MS_MAX) {
                        FAULT(binder, &element, "must be a duration of 100ms…7d, such as 5s or 10m");
                        continue;
                }
                if (*count > 0 && ms <= values[*count - 1]) {
                        FAULT(binder, &element, "must be longer than the one before it");
                        continue;
                }
                texts[*count] = settings_copy(binder->settings, node->text);
                if (!texts[*count]) {
                        bind_no_memory(binder);
                        return;
                }
                values[*count] = ms;
                ++*count;
        }
}

static void bind_flags(struct binder *binder, const struct target *target)
{
        bool *flags = bind_variable(target);
        size_t i = 0;

        if (target->node->type != NODE_LIST || target->node->count == 0) {
                FAULT(binder, target, target->node->type == NODE_LIST ? "must name one at least" : "must be a list");
                return;
        }
        memset(flags, 0, target->option->size);
        for (const struct node *node = target->node->first; node; node = node->next, i++) {
                struct target element = {target->option, node, bind_element_path(binder, target->where, i), target->into, NULL};
                const struct option_choice *choice = node_is_string(node) ? find_choice(target->option->choices, node->text) : NULL;

                if (node->type == NODE_BAD)
                        continue;
                if (!choice)
                        refuse_choice(binder, &element);
                else if (flags[choice->value])
                        FAULT(binder, &element, "is named twice");
                else
                        flags[choice->value] = true;
        }
}

void bind_simple(struct binder *binder, const struct target *target)
{
        switch (target->option->type) {
        case OPTION_STRING:
        case OPTION_NAME:
                bind_string(binder, target);
                break;
        case OPTION_INTEGER:
                bind_integer(binder, target);
                break;
        case OPTION_NUMBER:
                bind_number(binder, target);
                break;
        case OPTION_BOOL:
                bind_bool(binder, target);
                break;
        case OPTION_CHOICE:
                bind_choice(binder, target);
                break;
        case OPTION_REFERENCE:
                bind_reference(binder, target);
                break;
        case OPTION_NAMES:
        case OPTION_MODELS:
                bind_names(binder, target);
                break;
        case OPTION_DURATIONS:
                bind_durations(binder, target);
                break;
        case OPTION_FLAGS:
                bind_flags(binder, target);
                break;
        default:
                break;
        }
}
