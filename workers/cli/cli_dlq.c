/* Dead letters: ls, stats, show, export, replay. Every action but show is one walk over the dlq topics of the kinds asked for, each
 * from its beginning to the end it has now, with the filters applied; replaying is in dlq_replay.c.
 * Invariants: nothing is written but by replay; at most LIST_MAX letters or one of them are in memory. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/kafka/kafka_client.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"
#include "workers/cli/dlq_letter.h"
#include "workers/cli/dlq_replay.h"
#include "workers/cli/dlq_walk.h"

enum { LIST_MAX = 10000, LIST_OTHERWISE = 100, GROUPS_MAX = 512, LINE_BYTES_MAX = 4096, SHOWN_BYTES_MAX = 64 << 20 };

static const struct argument_row rows[] = {
        LETTER_FILTER_ROWS,
        {.name = "max",
         .type = ARGUMENT_INTEGER,
         .min = 1,
         .max = 1e9,
         .help = "ls: the newest N (100, at most 10000); export, replay: stop after N"},
        {.name = "rate",
         .type = ARGUMENT_NUMBER,
         .value = "N",
         .min = 0.01,
         .max = 1e6,
         .help = "replay: at most N letters a second"},
        {.name = "dry-run", .type = ARGUMENT_FLAG, .help = "replay: say what would be done, do nothing"},
        CLIENT_KAFKA_ROW,
        CLIENT_REDIS_ROW, /* not needed here, but dev's line can be given as it is */
};

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
                printf("%-28s  %-20s  %-24s  %3s  %-24s  %s\n", "letter", "failed at", "error", "try", "id",
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

static int list_letters(const struct arguments *arguments, const struct dlq_walk *walk)
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
        int64_t total;
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
        if (json)
                printf("]}\n");
        else
                printf("%" PRId64 " letters in all\n", histogram->total);
}

static int count_letters(const struct arguments *arguments, const struct dlq_walk *walk)
{
        static struct histogram histogram; /* 50 KB */
        struct error err;

        if (dlq_walk(walk, count_letter, &histogram, &err) < 0)
                return dlq_fail(arguments, walk, &err);
        qsort(histogram.groups, histogram.count, sizeof histogram.groups[0], by_count);
        histogram_print(&histogram, argument_given(arguments, "json"));
        return EXIT_DONE;
}

/* ---- export: JSON lines, each letter with all it holds */

struct export
{
        int64_t left;
        bool failed;
};

static bool export_letter(void *user, const struct letter *letter)
{
        struct export *export = user;
        AUTO_BUFFER line = {0};

        buffer_init(&line, SHOWN_BYTES_MAX);
        letter_render(&line, letter, true);
        buffer_char(&line, '\n');
        export->failed = !buffer_ok(&line) || fwrite(line.data, 1, line.len, stdout) != line.len;
        return !export->failed && --export->left > 0;
}

static int export_letters(const struct arguments *arguments, const struct dlq_walk *walk)
{
        struct export export = {.left = argument_integer(arguments, "max", INT64_MAX)};
        struct error err;

        if (dlq_walk(walk, export_letter, &export, &err) < 0)
                return dlq_fail(arguments, walk, &err);
        if (export.failed)
                return argument_fail(arguments, EXIT_FAILED, "standard output could not be written");
        return EXIT_DONE;
}

/* ---- show: one letter */

static bool show_letter(void *user, const struct letter *letter)
{
        const struct arguments *arguments = user;
        const struct terminal terminal = terminal_of(stdout);
        AUTO_BUFFER out = {0};

        buffer_init(&out, SHOWN_BYTES_MAX);
        if (argument_given(arguments, "json")) {
                letter_render(&out, letter, true);
                buffer_char(&out, '\n');
        } else {
                letter_show(&out, &terminal, letter);
        }
        fwrite(out.data ? out.data : "", 1, out.len, stdout);
        return true;
}

static int show_one(struct arguments *arguments, const struct dlq_walk *walk)
{
        struct error err;
        bool found;

        if (arguments->word_count != 2)
                return argument_fail(arguments, EXIT_USAGE, "show wants one letter as dlq ls names it: TOPIC:PARTITION:OFFSET");
        if (dlq_find(walk, arguments->words[1], show_letter, arguments, &found, &err) < 0)
                return err.code == CODE_SCHEMA ? argument_fail(arguments, EXIT_USAGE, "%s", err.message)
                                               : dlq_fail(arguments, walk, &err);
        if (!found)
                return argument_fail(arguments, EXIT_FAILED, "there is no letter %s; see millrace dlq ls", arguments->words[1]);
        return EXIT_DONE;
}

/* ---- the command */

static void free_kafka(struct kafka_client **client)
{
        kafka_client_free(*client);
}

static int run(struct arguments *arguments)
{
        static const char *const actions[] = {"ls", "stats", "show", "export", "replay"};
        AUTO_SETTINGS *settings = NULL;
        AUTO(free_kafka) struct kafka_client *kafka = NULL;
        const char *action = arguments->words[0], *near;
        struct dlq_walk walk;
        struct error err;
        size_t i;

        for (i = 0; i < COUNT_OF(actions); i++)
                if (strcmp(actions[i], action) == 0)
                        break;
        if (i == COUNT_OF(actions)) {
                near = argument_nearest(action, actions, COUNT_OF(actions));
                return argument_fail(arguments, EXIT_USAGE, "unknown action; %s%s%s",
                                     near ? "did you mean dlq " : "one of: ", near ? near : "ls stats show export replay",
                                     near ? "?" : "");
        }
        if (arguments->word_count > 1 && i != 2 && i != 4)
                return argument_fail(arguments, EXIT_USAGE, "dlq %s takes options only", action);
        settings = client_settings(arguments);
        if (!settings)
                return EXIT_USAGE;
        client_quiet();
        kafka = kafka_client_new(settings, &err);
        if (!kafka)
                return argument_fail(arguments, EXIT_FAILED, "Kafka: %s", err.message);
        walk = (struct dlq_walk){.settings = settings, .kafka = kafka};
        letter_filter_read(&walk.filter, arguments);
        switch (i) {
        case 0:
                return list_letters(arguments, &walk);
        case 1:
                return count_letters(arguments, &walk);
        case 2:
                return show_one(arguments, &walk);
        case 3:
                return export_letters(arguments, &walk);
        default:
                return dlq_replay(arguments, &walk);
        }
}

const struct command command_dlq = {
        .name = "dlq",
        .summary = "Dead letters: list, count, look at, export and replay what failed.",
        .usage = "ls|stats|show|export|replay [LETTER…] [filters]",
        .details = "ls       the newest letters, a line each: its place (TOPIC:PARTITION:OFFSET), when it failed, error, attempts, "
                   "id\n"
                   "stats    how many by kind and error\n"
                   "show     one letter: headers, key and payload\n"
                   "export   all letters that fit as JSON lines, payloads and headers included\n"
                   "replay   publishes letters (those named, or all that fit) to the topic they came from, with their key, payload "
                   "and foreign\n"
                   "         headers, mr-replays one higher and a fresh deadline. A result that is ok stays; a failed one may be "
                   "bettered.\n",
        .example = "  millrace dlq ls --kind embed --class dependency --since 2h\n"
                   "  millrace dlq show enrich.embed.dlq:3:17\n"
                   "  millrace dlq replay --code timeout --since 2h --rate 50 --dry-run\n",
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .words_min = 1,
        .words_max = ARGUMENT_WORDS_MAX,
        .run = run,
};
