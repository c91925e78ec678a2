/* Dead letters: ls, stats, show, export, replay, park, purge. Every action but show is one or two walks over the dlq topics of
 * the kinds asked for, each from its beginning to the end it has then, with the filters applied; what became of the letters is
 * read from <prefix>.dlq.state first.
 * Invariants: nothing is written but by replay, park and purge; every state record says who, when and of how many at once. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config/base/own.h"
#include "queues/kafka/kafka_client.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"
#include "workers/dlq/dlq_list.h"
#include "workers/dlq/dlq_mark.h"
#include "workers/dlq/dlq_plan.h"
#include "workers/dlq/dlq_replay.h"

enum { SHOWN_BYTES_MAX = 64 << 20, ASK_MS = 15000 };

static const struct argument_row rows[] = {
        LETTER_FILTER_ROWS,
        {.name = "max",
         .type = ARGUMENT_INTEGER,
         .min = 1,
         .max = 1e9,
         .help = "ls: the newest N (100, at most 10000); export, replay, park, purge: stop after N"},
        {.name = "rate",
         .type = ARGUMENT_NUMBER,
         .value = "N",
         .min = 0.01,
         .max = 1e6,
         .help = "replay: at most N letters a second (100)"},
        {.name = "dry-run", .type = ARGUMENT_FLAG, .help = "replay: say what would be done, what it costs and how long it takes"},
        {.name = "to",
         .type = ARGUMENT_STRING,
         .value = "TOPIC",
         .min = 1,
         .max = 249,
         .help = "replay: to the other lane's topic"},
        {.name = "replays-max",
         .type = ARGUMENT_INTEGER,
         .min = 1,
         .max = 1000,
         .help = "replay: park what has been replayed so often (3)"},
        {.name = "force", .type = ARGUMENT_FLAG, .help = "replay: go on though the letters come back"},
        {.name = "by", .type = ARGUMENT_STRING, .value = "NAME", .min = 1, .max = 128, .help = "who does it (default: user@host)"},
        {.name = "reason", .type = ARGUMENT_STRING, .value = "TEXT", .min = 1, .max = 500, .help = "park, purge: noted with it"},
        {.name = "undo", .type = ARGUMENT_FLAG, .help = "park, purge: open them again"},
        {.name = "all", .type = ARGUMENT_FLAG, .help = "purge: in any state, and delete the records for good"},
        {.name = "yes", .type = ARGUMENT_FLAG, .help = "purge --all: do not ask"},
        CLIENT_KAFKA_ROW,
        CLIENT_REDIS_ROW, /* not needed here, but dev's line can be given as it is */
};

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
        if (buffer_ok(&line))
                terminal_json(stdout, buffer_view(&line));
        export->failed = !buffer_ok(&line) || ferror(stdout);
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

/* ---- show: one letter, and what became of it */

struct show {
        const struct arguments *arguments;
        struct span state; /* the state record's value; len 0: none */
};

static bool show_letter(void *user, const struct letter *letter)
{
        const struct show *show = user;
        const struct terminal terminal = terminal_of(stdout);
        AUTO_BUFFER out = {0};

        buffer_init(&out, SHOWN_BYTES_MAX);
        if (argument_given(show->arguments, "json")) {
                letter_render(&out, letter, true);
                if (show->state.len > 0 && letter->state_wall_ms > 0 && out.len > 0) { /* checked to be JSON when it was read */
                        out.len--;
                        buffer_string(&out, ",\"state_record\":");
                        buffer_span(&out, show->state);
                        buffer_char(&out, '}');
                }
                terminal_json(stdout, buffer_view(&out));
        } else {
                letter_show(&out, &terminal, letter);
                buffer_printf(&out, "\nState\n  %s\n", letter_state_names[letter->state]);
                if (show->state.len > 0 && letter->state_wall_ms > 0)
                        terminal_paragraph(&out, &terminal, show->state, 2);
                fwrite(out.data ? out.data : "", 1, out.len, stdout);
        }
        return true;
}

static int show_one(struct arguments *arguments, const struct dlq_walk *walk)
{
        struct show show = {.arguments = arguments};
        struct error err;
        bool found;

        if (arguments->word_count != 2)
                return argument_fail(arguments, EXIT_USAGE, "show wants one letter as dlq ls names it: TOPIC:PARTITION:OFFSET");
        dlq_states_watch(walk->states, arguments->words[1]);
        if (dlq_states_read(walk->states, walk->kafka, &err) < 0)
                return dlq_fail(arguments, walk, &err);
        show.state = dlq_states_watched(walk->states);
        if (dlq_find(walk, arguments->words[1], show_letter, &show, &found, &err) < 0)
                return dlq_fail(arguments, walk, &err);
        if (!found)
                return argument_fail(arguments, EXIT_FAILED, "there is no letter %s; see millrace dlq ls", arguments->words[1]);
        return EXIT_DONE;
}

/* ---- the command */

/* States of its own accord: replay, park and purge read them when they have made sure of the topic. */
static const struct action {
        const char *name;
        bool names, reads, open; /* takes letters' names; wants the states read; shows open letters where --state is not given */
} actions[] = {
        {"ls", false, true, true},     {"stats", false, true, true}, {"show", true, false, false}, {"export", false, true, true},
        {"replay", true, true, false}, {"park", true, true, false},  {"purge", true, true, false},
};

static const struct action *action_of(const struct arguments *arguments)
{
        const char *names[COUNT_OF(actions)], *word = arguments->words[0], *near;

        for (size_t i = 0; i < COUNT_OF(actions); i++) {
                names[i] = actions[i].name;
                if (strcmp(actions[i].name, word) == 0)
                        return &actions[i];
        }
        near = argument_nearest(word, names, COUNT_OF(actions));
        argument_fail(arguments, EXIT_USAGE, "unknown action; %s%s%s",
                      near ? "did you mean dlq " : "one of: ", near ? near : "ls stats show export replay park purge",
                      near ? "?" : "");
        return NULL;
}

/* An option that an action would not heed is refused: `park --dry-run` must not park. */
static const struct
{
        const char *option, *actions;
} heeded[] = {
        {"max", "ls export replay park purge"},
        {"rate", "replay"},
        {"dry-run", "replay"},
        {"to", "replay"},
        {"replays-max", "replay"},
        {"force", "replay"},
        {"by", "replay park purge"},
        {"reason", "park purge"},
        {"undo", "park purge"},
        {"all", "purge"},
        {"yes", "purge"},
};

static bool options_fit(const struct arguments *arguments, const struct action *action)
{
        for (size_t i = 0; i < COUNT_OF(heeded); i++)
                if (argument_given(arguments, heeded[i].option) && !strstr(heeded[i].actions, action->name)) {
                        argument_fail(arguments, EXIT_USAGE, "--%s is not for %s (%s only); see millrace dlq --help",
                                      heeded[i].option, action->name, heeded[i].actions);
                        return false;
                }
        return true;
}

static int act(struct arguments *arguments, const struct dlq_walk *walk, const struct action *action)
{
        switch (action - actions) {
        case 0:
                return dlq_list(arguments, walk);
        case 1:
                return dlq_stats(arguments, walk);
        case 2:
                return show_one(arguments, walk);
        case 3:
                return export_letters(arguments, walk);
        case 4:
                return dlq_replay(arguments, walk);
        case 5:
                return dlq_mark(arguments, walk, LETTER_PARKED);
        default:
                return dlq_mark(arguments, walk, LETTER_PURGED);
        }
}

static void free_kafka(struct kafka_client **client)
{
        kafka_client_free(*client);
}

static void free_states(struct dlq_states **states)
{
        dlq_states_free(*states);
}

/* Is there a broker at all? A walk waits for one for longer than a person would. */
static bool answers(struct kafka_client *kafka, const struct settings *settings, struct error *err)
{
        char topic[TOPIC_NAME_BYTES];

        return topic_dlq_state(topic, settings->kafka.prefix) < 0 || kafka_partition_count(kafka, topic, ASK_MS, err) >= 0;
}

static int run(struct arguments *arguments)
{
        AUTO_SETTINGS *settings = NULL;
        AUTO(free_kafka) struct kafka_client *kafka = NULL;
        AUTO(free_states) struct dlq_states *states = NULL;
        const struct action *action = action_of(arguments);
        struct dlq_walk walk;
        struct error err;

        if (!action)
                return EXIT_USAGE;
        if (arguments->word_count > 1 && !action->names)
                return argument_fail(arguments, EXIT_USAGE, "%s takes options only; one letter: millrace dlq show %s", action->name,
                                     arguments->words[1]);
        if (!options_fit(arguments, action))
                return EXIT_USAGE;
        settings = client_settings(arguments);
        if (!settings)
                return EXIT_USAGE;
        client_quiet();
        kafka = kafka_client_new(settings, &err);
        states = kafka ? dlq_states_new(settings, &err) : NULL;
        if (!states)
                return argument_fail(arguments, EXIT_FAILED, "Kafka: %s", err.message);
        walk = (struct dlq_walk){.settings = settings, .kafka = kafka, .states = states};
        letter_filter_read(&walk.filter, arguments);
        if (action->open && walk.filter.states == 0)
                walk.filter.states = 1u << LETTER_OPEN;
        if (argument_given(arguments, "all"))
                dlq_states_take_part(states);
        if (!answers(kafka, settings, &err))
                return dlq_fail(arguments, &walk, &err);
        if (action->reads && dlq_states_read(states, kafka, &err) < 0)
                return dlq_fail(arguments, &walk, &err);
        return act(arguments, &walk, action);
}

const struct command command_dlq = {
        .name = "dlq",
        .summary = "Dead letters: list, count, look at, export, replay, park and purge what failed.",
        .usage = "ls|stats|show|export|replay|park|purge [LETTER…] [filters]",
        .details = "ls       the newest letters, a line each: its place (TOPIC:PARTITION:OFFSET), when it failed, error, attempts, "
                   "id\n"
                   "stats    how many by kind and error, and by state\n"
                   "show     one letter: headers, key, payload, and what became of it\n"
                   "export   all letters that fit as JSON lines, payloads and headers included\n"
                   "replay   publishes letters (those named, or all that fit) to the topic they came from, with their key, payload "
                   "and foreign\n"
                   "         headers, mr-replays one higher and a fresh deadline. A result that is ok stays; a failed one may be "
                   "bettered.\n"
                   "         Interrupted, the same command goes on with the rest; letters of requests that have failed anew are new ones: "
                   "--until TIME\n"
                   "         leaves them out. It stops when half of what it replayed comes back.\n"
                   "park     sets letters aside: nothing shows or replays them unless it is asked for\n"
                   "purge    hides letters; with --all their records are deleted, as far as no letter that is not purged lies "
                   "before\n"
                   "\n"
                   "A letter is open, replayed, parked or purged; without --state the open ones are meant.\n",
        .example = "  millrace dlq ls --kind embed --class dependency --since 2h\n"
                   "  millrace dlq show enrich.embed.dlq:3:17\n"
                   "  millrace dlq replay --code timeout --since 2h --rate 50 --dry-run\n"
                   "  millrace dlq park --class data --reason 'asked the producer'\n",
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .words_min = 1,
        .words_max = ARGUMENT_WORDS_MAX,
        .run = run,
};
