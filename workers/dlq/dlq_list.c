/* Both are one walk over the topics of the kinds asked for. */
#include "workers/dlq/dlq_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"

enum { LIST_MAX = 10000, LIST_OTHERWISE = 100, GROUPS_MAX = 512, LINE_BYTES_MAX = 4096 };

/* ---- ls: the newest letters, oldest first */

struct listed {
        int64_t failed_wall_ms;
        char *text;
};

struct list {
        const struct arguments *arguments;
        bool json;
        int columns;
        size_t wanted, count;
        int64_t seen;
        struct listed *letters; /* [2 × wanted] */
};

static int by_time(const void *a, const void *b)
{
        const struct listed *x = a, *y = b;

        return (x->failed_wall_ms > y->failed_wall_ms) - (x->failed_wall_ms < y->failed_wall_ms);
}

/* Sorts, and drops the oldest past the wanted number. */
static void list_trim(struct list *list)
{
        const size_t extra = list->count > list->wanted ? list->count - list->wanted : 0;

        qsort(list->letters, list->count, sizeof *list->letters, by_time);
        for (size_t i = 0; i < extra; i++)
                free(list->letters[i].text);
        memmove(list->letters, list->letters + extra, (list->count - extra) * sizeof *list->letters);
        list->count -= extra;
}

static bool list_letter(void *user, const struct letter *letter)
{
        struct list *list = user;
        AUTO_BUFFER line = {0};

        buffer_init(&line, LINE_BYTES_MAX);
        if (list->json)
                letter_render(&line, letter, false);
        else
                letter_show_line(&line, letter, list->columns);
        if (list->count == 2 * list->wanted)
                list_trim(list);
        if (buffer_ok(&line) && line.data)
                list->letters[list->count++] = (struct listed){.failed_wall_ms = letter->failed_wall_ms, .text = TAKE(line.data)};
        list->seen++;
        return true;
}

static void list_print(struct list *list)
{
        char seen[32];

        list_trim(list);
        if (list->json)
                putchar('[');
        else if (list->count > 0)
                printf("%-28s  %-20s  %-8s  %-24s  %3s  %-24s  %s\n", "letter", "failed at", "state", "error", "try", "id",
                       list->columns > 130 ? "message" : "");
        for (size_t i = 0; i < list->count; i++)
                printf("%s%s%s", list->json && i > 0 ? ",\n" : "", list->letters[i].text, list->json ? "" : "\n");
        if (list->json) {
                printf("]\n");
        } else if (list->seen == 0) {
                printf("no dead letters%s\n", list->arguments->value_count > 0 ? " that fit" : "");
        } else {
                terminal_count(seen, sizeof seen, list->seen);
                printf("%s letter%s%s\n", seen, list->seen == 1 ? "" : "s",
                       (size_t)list->seen > list->count ? "; the newest are shown" : "");
        }
}

int dlq_list(const struct arguments *arguments, const struct dlq_walk *walk)
{
        const struct terminal terminal = terminal_of(stdout);
        const int64_t wanted = argument_integer(arguments, "max", LIST_OTHERWISE);
        struct list list = {.arguments = arguments,
                            .json = argument_given(arguments, "json"),
                            .columns = terminal.is_terminal ? terminal.width : 200};
        struct error err;
        int rc;

        list.wanted = wanted < LIST_MAX ? (size_t)wanted : LIST_MAX;
        list.letters = calloc(2 * list.wanted, sizeof *list.letters);
        if (!list.letters)
                return argument_fail(arguments, EXIT_FAILED, "out of memory");
        rc = dlq_walk(walk, list_letter, &list, &err);
        if (rc == 0)
                list_print(&list);
        for (size_t i = 0; i < list.count; i++)
                free(list.letters[i].text);
        free(list.letters);
        return rc == 0 ? EXIT_DONE : dlq_fail(arguments, walk, &err);
}

/* ---- stats: how many by kind and error */

struct group {
        enum kind kind;
        char class[80], code[144]; /* 16 and 32 columns of UTF-8 */
        int64_t count, oldest_ms, newest_ms;
};

struct histogram {
        struct group groups[GROUPS_MAX + 1]; /* the last one: whatever finds no room */
        size_t count;
        int64_t total, states[LETTER_STATES]; /* states: of all letters that fit but for --state */
        unsigned wanted;                      /* bit mask of states */
};

static void copy_name(char *to, size_t size, int columns, struct span name)
{
        AUTO_BUFFER shown = {0};

        buffer_init(&shown, 1024);
        terminal_line(&shown, name.data ? name : SPAN("?"), columns);
        snprintf(to, size, "%s", shown.data ? shown.data : "?");
}

static bool count_letter(void *user, const struct letter *letter)
{
        struct histogram *histogram = user;
        struct group group = {.kind = letter->kind, .oldest_ms = letter->failed_wall_ms, .newest_ms = letter->failed_wall_ms},
                     *found;
        size_t i;

        histogram->states[letter->state]++;
        if (!(histogram->wanted >> letter->state & 1))
                return true;
        copy_name(group.class, sizeof group.class, 16, letter->class);
        copy_name(group.code, sizeof group.code, 32, letter->code);
        for (i = 0; i < histogram->count; i++) {
                found = &histogram->groups[i];
                if (found->kind == group.kind && strcmp(found->class, group.class) == 0 && strcmp(found->code, group.code) == 0)
                        break;
        }
        found = &histogram->groups[i];
        if (i == GROUPS_MAX) {
                snprintf(group.class, sizeof group.class, "others");
                group.code[0] = '\0';
        }
        if (found->count == 0)
                *found = group;
        if (i == histogram->count && i < GROUPS_MAX)
                histogram->count++;
        found->count++;
        found->oldest_ms = letter->failed_wall_ms < found->oldest_ms ? letter->failed_wall_ms : found->oldest_ms;
        found->newest_ms = letter->failed_wall_ms > found->newest_ms ? letter->failed_wall_ms : found->newest_ms;
        histogram->total++;
        return true;
}

static int by_count(const void *a, const void *b)
{
        const struct group *x = a, *y = b;

        return (y->count > x->count) - (y->count < x->count);
}

static void print_states(const struct histogram *histogram, bool json)
{
        if (json)
                printf("],\"states\":{");
        else
                printf("%" PRId64 " letter%s; by state: ", histogram->total, histogram->total == 1 ? "" : "s");
        for (int i = 0; i < LETTER_STATES; i++) {
                if (json)
                        printf("%s\"%s\":%" PRId64, i > 0 ? "," : "", letter_state_names[i], histogram->states[i]);
                else
                        printf("%s%" PRId64 " %s", i > 0 ? ", " : "", histogram->states[i], letter_state_names[i]);
        }
        printf(json ? "}}\n" : "\n");
}

static void histogram_print(const struct histogram *histogram, bool json)
{
        char oldest[CLOCK_RFC3339_BYTES], newest[CLOCK_RFC3339_BYTES];
        const size_t rows_count = histogram->count + (histogram->groups[GROUPS_MAX].count > 0 && histogram->count == GROUPS_MAX);

        if (json)
                printf("{\"letters\":%" PRId64 ",\"groups\":[", histogram->total);
        else
                printf("%-9s %-34s %9s  %-24s  %-24s\n", "kind", "error", "letters", "oldest", "newest");
        for (size_t i = 0; i < rows_count; i++) {
                const struct group *group = &histogram->groups[i];
                AUTO_BUFFER out = {0};

                buffer_init(&out, LINE_BYTES_MAX);
                clock_format_rfc3339(group->oldest_ms, oldest);
                clock_format_rfc3339(group->newest_ms, newest);
                if (json) {
                        buffer_printf(&out, "%s{\"kind\":\"%s\",\"class\":", i > 0 ? "," : "", kind_names[group->kind]);
                        buffer_json_string(&out, span_of(group->class));
                        buffer_string(&out, ",\"code\":");
                        buffer_json_string(&out, span_of(group->code));
                        buffer_printf(&out, ",\"letters\":%" PRId64 ",\"oldest\":\"%s\",\"newest\":\"%s\"}", group->count, oldest,
                                      newest);
                } else {
                        char error[240];

                        snprintf(error, sizeof error, "%s.%s", group->class, group->code);
                        buffer_printf(&out, "%-9s %-34s %9" PRId64 "  %-24s  %-24s\n", kind_names[group->kind], error, group->count,
                                      oldest, newest);
                }
                fputs(out.data ? out.data : "", stdout);
        }
        print_states(histogram, json);
}

int dlq_stats(const struct arguments *arguments, const struct dlq_walk *walk)
{
        static struct histogram histogram; /* 140 KB */
        struct dlq_walk all = *walk;
        struct error err;

        histogram = (struct histogram){.wanted = walk->filter.states ? walk->filter.states : LETTER_ANY_STATE};
        all.filter.states = 0;
        if (dlq_walk(&all, count_letter, &histogram, &err) < 0)
                return dlq_fail(arguments, walk, &err);
        qsort(histogram.groups, histogram.count, sizeof histogram.groups[0], by_count);
        histogram_print(&histogram, argument_given(arguments, "json"));
        return EXIT_DONE;
}
