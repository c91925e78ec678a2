/* Jobs: start, ls, show, pause, resume, cancel. What a job is lies in two places: <prefix>.control (its state and how far it is
 * published) and Redis (what its records came to); every action but start reads both and at most writes the state. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/kafka/topics.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"
#include "workers/jobs/job_records.h"
#include "workers/jobs/job_start.h"
#include "workers/jobs/job_view.h"
#include "workers/jobs/job_watch.h"
#include "workers/cli/request_build.h"
#include "workers/cli/terminal.h"

enum {
        LIST_OTHERWISE = 100,
        SHOWN_BYTES_MAX = 64 << 20,
        LOOK_EVERY_MS = 500,
        RECORDS_EVERY_MS = 2000,
        NOTE_BYTES = 160,
        FAULTS_MAX = 20
};

#define FIELD_ROW(option, type_, value_, repeat_, kinds, path, choices_, help_)                                                    \
        {.name = option, .type = ARGUMENT_##type_, .value = value_, .help = help_, .choices = choices_, .repeat = repeat_},

static const struct argument_row rows[] = {
        CLIENT_TENANT_ROW,
        {.name = "file", .type = ARGUMENT_STRING, .value = "F.jsonl", .min = 1, .max = 4000, .help = "start: a request each line"},
        {.name = "dir",
         .type = ARGUMENT_STRING,
         .value = "DIR",
         .min = 1,
         .max = 4000,
         .help = "start ingest: a document each file below it"},
        {.name = "job",
         .type = ARGUMENT_STRING,
         .value = "NAME",
         .min = 1,
         .max = 128,
         .help = "start: what it is called (default <kind>-<name of the file>)"},
        {.name = "rate",
         .type = ARGUMENT_NUMBER,
         .value = "N",
         .min = 0.01,
         .max = 1e6,
         .help = "start: publish at most N requests a second"},
        {.name = "follow", .type = ARGUMENT_FLAG, .help = "start, show: show the progress until all requests have ended"},
        {.name = "max", .type = ARGUMENT_INTEGER, .min = 1, .max = JOB_RECORDS_MAX, .help = "ls: the newest N (100)"},
        {.name = "by",
         .type = ARGUMENT_STRING,
         .value = "WHO",
         .min = 1,
         .max = 100,
         .help = "pause, resume, cancel: who says so (default user@host)"},
        REQUEST_COMMON_ROWS,
        /* clang-format off */
        REQUEST_FIELDS(FIELD_ROW)
        /* clang-format on */
        CLIENT_KAFKA_ROW,
        CLIENT_REDIS_ROW,
};

static void free_kafka(struct kafka_client **client)
{
        kafka_client_free(*client);
}

static void free_watch(struct job_watch **watch)
{
        job_watch_free(*watch);
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
        (void)signal_number;
        interrupted = 1;
}

bool job_interrupted(void)
{
        static bool placed;
        const struct sigaction on_int = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};

        if (!placed) {
                sigaction(SIGINT, &on_int, NULL);
                sigaction(SIGTERM, &on_int, NULL);
                placed = true;
        }
        return interrupted != 0;
}

static int fail_kafka(const struct arguments *arguments, const struct settings *settings, const struct error *err)
{
        return argument_fail(arguments, EXIT_FAILED, "Kafka (%s): %s; --kafka HOST:PORT names another broker",
                             settings->kafka.brokers, err->message);
}

static void print_view(const struct arguments *arguments, const struct job_view *view)
{
        AUTO_BUFFER out = {0};

        buffer_init(&out, SHOWN_BYTES_MAX);
        if (argument_given(arguments, "json")) {
                job_view_json(&out, view);
                terminal_json(stdout, buffer_view(&out));
                return;
        }
        job_view_text(&out, view);
        fputs(out.data ? out.data : "", stdout);
}

/* ---- ls */

static int print_list(const struct arguments *arguments, struct job_watch *watch, const struct job_records *list, size_t count)
{
        static struct job_progress progress; /* 3 KB */
        const bool json = argument_given(arguments, "json");
        bool answers = true;
        struct error err;
        AUTO_BUFFER out = {0};

        buffer_init(&out, SHOWN_BYTES_MAX);
        if (json)
                buffer_char(&out, '[');
        else if (count)
                job_view_heading(&out);
        for (size_t i = 0; i < count; i++) {
                struct job_view view = {.records = &list[i]};

                job_watch_turn_to(watch, list[i].tenant, list[i].name);
                answers = answers &&
                          job_watch_read(watch, &progress, &err) == 0; /* once it does not, the others are not waited for */
                view.progress = answers ? &progress : NULL;
                if (json) {
                        buffer_string(&out, i ? ",\n" : "");
                        job_view_json(&out, &view);
                } else {
                        job_view_line(&out, &view);
                }
        }
        if (json) {
                buffer_char(&out, ']');
                terminal_json(stdout, buffer_view(&out));
        } else if (count == 0) {
                printf("no jobs; millrace job start begins one\n");
        } else {
                fputs(out.data ? out.data : "", stdout);
        }
        return answers ? EXIT_DONE : argument_fail(arguments, EXIT_FAILED, "Redis: %s; what ended is not shown", err.message);
}

static int list_jobs(const struct arguments *arguments, struct settings *settings, struct kafka_client *kafka)
{
        AUTO_FREE struct job_records *list = NULL;
        AUTO(free_watch) struct job_watch *watch = NULL;
        const size_t wanted = (size_t)argument_integer(arguments, "max", LIST_OTHERWISE);
        size_t count, first;
        struct error err;
        int status;
        bool more;

        if (job_records_list(kafka, settings, argument_string(arguments, "tenant"), &list, &count, &more, &err) < 0)
                return fail_kafka(arguments, settings, &err);
        watch = job_watch_new(settings, "", "", false, &err);
        if (!watch)
                return argument_fail(arguments, EXIT_FAILED, "Redis: %s", err.message);
        first = count > wanted ? count - wanted : 0;
        status = print_list(arguments, watch, list + first, count - first);
        if (more || first)
                argument_fail(arguments, EXIT_DONE, "only the newest are shown; --max N shows more");
        return status;
}

/* ---- show */

/* What both places say. 0, or a status: nobody knows the job. */
static int look_up(const struct arguments *arguments, struct settings *settings, struct kafka_client *kafka,
                   struct job_watch *watch, const char *tenant, const char *name, struct job_records *records,
                   struct job_view *view)
{
        static struct job_progress progress; /* 3 KB */
        struct error err;

        if (job_records_read(kafka, settings, tenant, name, records, &err) < 0)
                return fail_kafka(arguments, settings, &err);
        *view = (struct job_view){.records = records};
        if (job_watch_read(watch, &progress, &err) == 0)
                view->progress = &progress;
        else if (!records->has_position && !records->has_state)
                return argument_fail(arguments, EXIT_FAILED, "Redis: %s; --redis URL names another", err.message);
        if (!records->has_position && !records->has_state && !progress.found)
                return argument_fail(arguments, EXIT_FAILED, "there is no job %s of tenant %s; millrace job ls lists them", name,
                                     tenant);
        return EXIT_DONE;
}

static int follow_to_end(const struct arguments *arguments, struct settings *settings, struct kafka_client *kafka,
                         struct job_watch *watch, struct job_records *records, struct job_view *view)
{
        struct progress bar;
        char note[NOTE_BYTES];
        int64_t read_ms = clock_now_ms();
        struct error err;

        progress_init(&bar, stderr, records->name);
        bar.from_count = job_view_ended(view);
        bar.from_share = job_view_share(view) > 0 ? job_view_share(view) : 0;
        while (!job_view_is_over(view) && !job_interrupted()) {
                job_view_note(note, sizeof note, view);
                progress_show(&bar, job_view_share(view), job_view_ended(view), note);
                job_watch_run(watch, LOOK_EVERY_MS);
                view->progress = job_watch_progress(watch);
                if (clock_now_ms() - read_ms < RECORDS_EVERY_MS)
                        continue;
                read_ms = clock_now_ms();
                if (job_records_read(kafka, settings, records->tenant, records->name, records, &err) < 0)
                        return fail_kafka(arguments, settings, &err);
        }
        job_view_note(note, sizeof note, view);
        if (bar.drawn)
                progress_end(&bar, job_view_share(view), job_view_ended(view), note);
        print_view(arguments, view);
        if (!job_view_is_over(view))
                return argument_fail(arguments, EXIT_NO_RESULT,
                                     "not all requests have ended yet; millrace job show %s tells how far they are", records->name);
        return view->progress && job_view_ended(view) == view->progress->ended[JOB_ENDED_OK] ? EXIT_DONE : EXIT_FAILED;
}

static int show(const struct arguments *arguments, struct settings *settings, const char *tenant, const char *name, bool follow)
{
        AUTO(free_kafka) struct kafka_client *kafka = NULL;
        AUTO(free_watch) struct job_watch *watch = NULL;
        static struct job_records records;
        struct job_view view = {0};
        struct error err;
        int status;

        kafka = kafka_client_new(settings, &err);
        if (!kafka)
                return fail_kafka(arguments, settings, &err);
        watch = job_watch_new(settings, tenant, name, false, &err);
        if (!watch)
                return argument_fail(arguments, EXIT_FAILED, "Redis: %s", err.message);
        status = look_up(arguments, settings, kafka, watch, tenant, name, &records, &view);
        if (status != EXIT_DONE)
                return status;
        if (follow && !records.has_position)
                return argument_fail(arguments, EXIT_FAILED, "%s was not begun by job start: nobody knows when it is over", name);
        if (follow)
                return follow_to_end(arguments, settings, kafka, watch, &records, &view);
        print_view(arguments, &view);
        return view.progress ? EXIT_DONE : argument_fail(arguments, EXIT_FAILED, "Redis does not answer; --redis URL names another");
}

int job_follow(const struct arguments *arguments, struct settings *settings, const char *tenant, const char *name)
{
        return show(arguments, settings, tenant, name, true);
}

/* ---- pause, resume, cancel */

static int say(const struct arguments *arguments, struct settings *settings, const char *tenant, const char *name,
               enum job_state wanted)
{
        AUTO(free_kafka) struct kafka_client *kafka = NULL;
        AUTO(free_watch) struct job_watch *watch = NULL;
        static struct job_records records;
        struct job_state_record said = {.state = wanted};
        struct job_view view;
        struct error err;
        enum job_state now;
        int status;

        kafka = kafka_client_new(settings, &err);
        if (!kafka)
                return fail_kafka(arguments, settings, &err);
        watch = job_watch_new(settings, tenant, name, false, &err);
        if (!watch)
                return argument_fail(arguments, EXIT_FAILED, "Redis: %s", err.message);
        status = look_up(arguments, settings, kafka, watch, tenant, name, &records, &view);
        if (status != EXIT_DONE)
                return status;
        now = records.has_state ? records.state.state : JOB_RUNNING;
        if (now == JOB_CANCELLED && wanted != JOB_CANCELLED)
                return argument_fail(arguments, EXIT_FAILED, "the job %s is cancelled, for good", name);
        if (job_view_is_over(&view) && wanted != now)
                return argument_fail(arguments, EXIT_FAILED, "the job %s is done", name);
        if (argument_given(arguments, "by"))
                snprintf(said.by, sizeof said.by, "%s", argument_string(arguments, "by"));
        else
                job_records_whoami(said.by);
        said.at_wall_ms = clock_wall_ms();
        if (now != wanted && job_records_write(kafka, settings, tenant, name, &said, &err) < 0)
                return fail_kafka(arguments, settings, &err);
        if (argument_given(arguments, "json"))
                printf("{\"job\":\"%s\",\"tenant\":\"%s\",\"state\":\"%s\",\"changed\":%s}\n", name, tenant,
                       job_state_names[wanted], now != wanted ? "true" : "false");
        else
                printf("%s is %s%s\n", name, job_state_names[wanted], now != wanted ? "" : " already");
        return EXIT_DONE;
}

/* ---- the command */

static int run_named(const struct arguments *arguments, struct settings *settings, const char *action)
{
        const char *name = arguments->words[1], *tenant = argument_string(arguments, "tenant");

        tenant = tenant ? tenant : "default";
        if (!job_valid_name(span_of(name)) || !envelope_valid_tenant(span_of(tenant)))
                return argument_fail(arguments, EXIT_USAGE,
                                     "no job can have this name and tenant: names are 1 to 128 of A-Z a-z 0-9 . _ : -");
        if (strcmp(action, "show") == 0)
                return show(arguments, settings, tenant, name, argument_given(arguments, "follow"));
        return say(arguments, settings, tenant, name,
                   strcmp(action, "pause") == 0    ? JOB_PAUSED
                   : strcmp(action, "resume") == 0 ? JOB_RUNNING
                                                   : JOB_CANCELLED);
}

static int run(struct arguments *arguments)
{
        static const char *const actions[] = {"start", "ls", "show", "pause", "resume", "cancel"};
        static const size_t words[] = {2, 1, 2, 2, 2, 2};
        AUTO_SETTINGS *settings = NULL;
        AUTO(free_kafka) struct kafka_client *kafka = NULL;
        const char *action = arguments->words[0], *near;
        struct error err;
        size_t i;

        for (i = 0; i < COUNT_OF(actions) && strcmp(actions[i], action) != 0; i++)
                ;
        if (i == COUNT_OF(actions)) {
                near = argument_nearest(action, actions, COUNT_OF(actions));
                return argument_fail(arguments, EXIT_USAGE, "unknown action; %s%s%s",
                                     near ? "did you mean job " : "one of: ", near ? near : "start ls show pause resume cancel",
                                     near ? "?" : "");
        }
        if (arguments->word_count != words[i])
                return argument_fail(arguments, EXIT_USAGE,
                                     words[i] == 1 ? "job %s takes options only"
                                     : i == 0      ? "job %s wants a kind"
                                                   : "job %s wants the name of a job",
                                     action);
        settings = client_settings(arguments);
        if (!settings)
                return EXIT_USAGE;
        client_quiet();
        if (i == 0)
                return job_start(arguments, settings);
        if (i > 1)
                return run_named(arguments, settings, action);
        kafka = kafka_client_new(settings, &err);
        return kafka ? list_jobs(arguments, settings, kafka) : fail_kafka(arguments, settings, &err);
}

const struct command command_job = {
        .name = "job",
        .summary = "Backfills: publish a file or a folder of requests as one job, watch it, pause it, cancel it.",
        .usage = "start KIND --file F.jsonl | --dir DIR, ls, show|pause|resume|cancel NAME",
        .details = "start    publishes to the bulk lane, each line or file once: when it was interrupted or killed, the same "
                   "command goes on "
                   "where it\n"
                   "         stopped. The file must be the same then. An id that a line lacks is <job>-<line>. A line as in "
                   "millrace submit "
                   "--file;\n"
                   "         options hold for the lines that lack them. A request without a time limit gets one of a day "
                   "(--timeout says "
                   "another).\n"
                   "         With --dir each file is a document: its id is made of its path, its format of its ending.\n"
                   "ls       the jobs there are, the newest last\n"
                   "show     how far a job is, what failed, what it cost; --follow: until it is over (status 1 where not all went "
                   "well)\n"
                   "pause    start stops publishing, and workers put the job's requests off: they wait in the retry topics, a "
                   "quarter of "
                   "the time\n"
                   "         that the pause has lasted (bounded by retry.delays), so a resumed job takes up after at most that. "
                   "What is under "
                   "way\n"
                   "         ends. No attempt is burnt, but deadlines are not extended: what waits past its own expires.\n"
                   "resume   goes on\n"
                   "cancel   start stops; requests that have not ended end as cancelled, without dead letters. For good.\n",
        .example = "  millrace job start embed --file texts.jsonl --job texts-2026 --rate 500 --follow\n"
                   "  millrace job start ingest --collection docs --dir handbook/\n"
                   "  millrace job show texts-2026\n"
                   "  millrace job pause texts-2026\n",
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .words_min = 1,
        .words_max = 2,
        .run = run,
};
