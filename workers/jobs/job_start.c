/* file or folder ─ job_input ─ request_build ─► a batch ─ job_publisher ─► the kind's bulk topic, and the position behind it
 *
 * The position is published with the records, so that whoever opens the job next reads exactly how far it is, and goes on there.
 *
 * Invariants: in memory are one item and one batch (JOB_BATCH_MAX requests, about BATCH_BYTES); what was done with is the same on each
 * run, or the job is refused (size and digest of the items).
 * Failure modes: the broker is away (waited for, PATIENCE_MS); another `job start` of the same job (the earlier one ends); a faulty item
 * (told, counted, left out, and left out again on the next run); paused (waits), cancelled (ends); Redis away (the progress line lacks
 * what ended, nothing else). */
#include "workers/jobs/job_start.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/arena.h"
#include "config/base/clock.h"
#include "config/base/own.h"
#include "config/base/utf8.h"
#include "workers/jobs/job_input.h"
#include "workers/jobs/job_publisher.h"
#include "workers/cli/request_build.h"
#include "workers/cli/terminal.h"

enum {
        BATCH_BYTES = 4 << 20,
        BATCH_MS = 1000, /* with --rate: a transaction holds up its partitions' readers for as long as it is open */
        ARENA_BYTES_MAX = 256 << 20,
        PATIENCE_MS = 120000,
        AGAIN_MS = 1000,
        PAUSED_TURN_MS = 200,
        TOLD_MAX = 10,
        NUMBER_BYTES = 24,
};
static const int64_t timeout_otherwise_ms = 86400000;

struct start {
        const struct arguments *arguments;
        struct settings *settings;
        enum kind kind;
        const char *tenant, *path;
        char name[ID_BYTES_MAX + 1];
        struct job_input *input;
        struct job_publisher *publisher;
        struct job_watch *watch;
        struct job_records records; /* what the control topic says; position: of what is published */
        struct job_position next;   /* behind the batch being made */
        struct request_text request;
        struct arena *arena;    /* the batch's copies */
        struct outgoing *batch; /* [JOB_BATCH_MAX] */
        size_t batch_count, batch_bytes;
        int64_t begun_ms, begun_at; /* this run */
        int64_t try_until;          /* a broker that fails is waited for so long */
        double rate;                /* records a second; 0: unbounded */
        bool at_end, cancelled;
        struct progress progress;
};

/* ---- what is shown */

static double share_of(const struct job_position *p)
{
        return p->total > 0 ? (double)(p->published + p->refused) / (double)p->total : 1;
}

static void show(struct start *start, const char *note, bool last)
{
        const struct job_position *p = &start->records.position;
        const struct job_progress *seen = job_watch_progress(start->watch);
        const double share = share_of(p);
        char text[160];
        int64_t ended = 0;

        for (size_t i = 0; i < JOB_ENDED_COUNT; i++)
                ended += seen->ended[i];
        if (seen->found)
                snprintf(text, sizeof text, "%s%sended %" PRId64 ", not ok %" PRId64, note, *note ? "; " : "", ended,
                         ended - seen->ended[JOB_ENDED_OK]);
        else
                snprintf(text, sizeof text, "%s", note);
        if (last && start->progress.drawn)
                progress_end(&start->progress, share, p->published, text);
        else if (!last)
                progress_show(&start->progress, share, p->published, text);
}

static void tell(const struct start *start, const char *what)
{
        AUTO_BUFFER shown = {0};

        buffer_init(&shown, 4096);
        terminal_line(&shown, span_of(what), 0);
        fprintf(stderr, "%s%s\n", start->progress.drawn && start->progress.terminal.is_terminal ? "\r\033[K" : "",
                shown.data ? shown.data : "");
}

static int fail_kafka(const struct start *start, const struct error *err)
{
        return argument_fail(start->arguments, EXIT_FAILED,
                             "Kafka (%s): %s; --kafka HOST:PORT names another broker; the same command goes on",
                             start->settings->kafka.brokers, err->message);
}

/* ---- one item → one record of the batch */

static void refuse(struct start *start, const struct job_item *item, const struct error *err)
{
        char text[ERROR_MESSAGE_MAX + 600];

        start->next.refused++;
        if (start->next.refused > TOLD_MAX + 1)
                return;
        if (start->next.refused > TOLD_MAX)
                snprintf(text, sizeof text, "further faulty ones are only counted");
        else if (item->name)
                snprintf(text, sizeof text, "%.500s: %s", item->name, err->message);
        else
                snprintf(text, sizeof text, "%.300s:%" PRId64 ": %s", start->path, item->number, err->message);
        tell(start, text);
}

/* <job>-<number>; a long name is cut, and its digest put in. */
static void make_id(const struct start *start, int64_t number, char id[REQUEST_ID_BYTES])
{
        char hex[SHA256_HEX_BYTES];

        if ((size_t)snprintf(id, REQUEST_ID_BYTES, "%s-%" PRId64, start->name, number) < REQUEST_ID_BYTES)
                return;
        digest_sha256_hex(span_of(start->name), hex);
        snprintf(id, REQUEST_ID_BYTES, "%.80s-%.16s-%" PRId64, start->name, hex, number);
}

static int build(struct start *start, const struct job_item *item, struct error *err)
{
        char id[REQUEST_ID_BYTES];
        AUTO_BUFFER document = {0};
        struct span line = item->content;
        int rc;

        buffer_init(&document, 8 * item->content.len + 65536);
        if (item->too_large)
                return error_set(err, CODE_TOO_LARGE, "has more than %" PRId64 " bytes", start->settings->worker.payload_bytes_max);
        if (item->name) {
                if (!utf8_valid(item->content) || !utf8_valid(span_of(item->name)))
                        return error_set(err, CODE_INVALID_UTF8, "not UTF-8 text");
                job_document(&document, item);
                line = buffer_view(&document);
                if (!buffer_ok(&document))
                        return error_set(err, CODE_TOO_LARGE, "takes more memory than one may");
        }
        make_id(start, item->number, id);
        start->request.otherwise_id = id;
        rc = request_from_line(start->arguments, start->kind, LANE_BULK, start->settings, line, &start->request, err);
        start->request.otherwise_id = NULL;
        if (rc == 0 && strcmp(start->request.tenant, start->tenant) != 0)
                return error_set(err, CODE_SCHEMA, "tenant: the line names another than the job's (--tenant)");
        return rc;
}

static struct span copy(struct start *start, struct span bytes)
{
        char *room = arena_alloc_raw(start->arena, bytes.len + 1);

        if (!room)
                return (struct span){NULL, 0};
        memcpy(room, bytes.data, bytes.len);
        return (struct span){room, bytes.len};
}

static void add_request(struct start *start, int64_t number)
{
        struct outgoing_header *header = arena_alloc(start->arena, sizeof *header);
        char text[NUMBER_BYTES];

        if (!header)
                return; /* sticky: seen when the batch is full */
        snprintf(text, sizeof text, "%" PRId64, number);
        *header = (struct outgoing_header){"mr-job-seq", copy(start, span_of(text))};
        start->batch[start->batch_count++] = (struct outgoing){.topic = job_publisher_topic(start->publisher),
                                                               .partition = -1,
                                                               .key = copy(start, span_of(start->request.key)),
                                                               .value = copy(start, buffer_view(&start->request.value)),
                                                               .headers = header,
                                                               .header_count = 1};
        start->batch_bytes += start->request.value.len;
        start->next.published++;
}

/* Items until the batch is full. */
static int fill(struct start *start, size_t records_max, struct error *err)
{
        struct job_item item;
        struct error why;
        int found;

        arena_reset(start->arena);
        start->batch_count = start->batch_bytes = 0;
        start->next = start->records.position;
        while (!start->at_end && start->batch_count < records_max && start->batch_bytes < BATCH_BYTES && !job_interrupted()) {
                found = job_input_next(start->input, &item, err);
                if (found < 0)
                        return -1;
                start->at_end = found == 0;
                if (found == 0)
                        break;
                start->next.at = item.number;
                error_clear(&why);
                if (build(start, &item, &why) < 0) {
                        if (why.code == CODE_INTERNAL) {
                                *err = why;
                                return -1;
                        }
                        refuse(start, &item, &why);
                } else {
                        add_request(start, item.number);
                }
        }
        start->next.complete = start->at_end;
        start->next.at_wall_ms = clock_wall_ms();
        memcpy(start->next.hash, job_input_digest(start->input), sizeof start->next.hash);
        return arena_ok(start->arena) ? 0 : error_set(err, CODE_INTERNAL, "out of memory");
}

/* ---- publishing */

static bool try_on(void *user)
{
        struct start *start = user;

        show(start, "the broker does not answer as it should", false);
        job_watch_run(start->watch, AGAIN_MS);
        return !job_interrupted() && clock_now_ms() < start->try_until;
}

/* The batch, and start->next as the position behind it. */
static int publish(struct start *start, const struct job_state_record *state, struct error *err)
{
        start->try_until = clock_now_ms() + PATIENCE_MS;
        if (job_publisher_publish(start->publisher, start->batch, start->batch_count, state, &start->next, try_on, start, err) < 0)
                return -1;
        start->records.position = start->next;
        start->records.has_position = true;
        return 0;
}

/* ---- the run */

/* True: go on. Waits while the job is paused. */
static bool may_go_on(struct start *start)
{
        job_watch_run(start->watch, 0);
        while (job_watch_state(start->watch) == JOB_PAUSED && !job_interrupted()) {
                show(start, "paused", false);
                job_watch_run(start->watch, PAUSED_TURN_MS);
                start->begun_at = start->records.position.published; /* the rate holds from here on */
                start->begun_ms = clock_now_ms();
        }
        start->cancelled = job_watch_state(start->watch) == JOB_CANCELLED;
        return !start->cancelled && !job_interrupted();
}

static void keep_pace(struct start *start)
{
        const int64_t done = start->records.position.published - start->begun_at;
        const int64_t due_ms = start->rate > 0 ? start->begun_ms + (int64_t)((double)done * 1000 / start->rate) : 0;

        while (clock_now_ms() < due_ms && !job_interrupted() && job_watch_state(start->watch) == JOB_RUNNING) {
                const int64_t left = due_ms - clock_now_ms();

                job_watch_run(start->watch, left < PAUSED_TURN_MS ? left : PAUSED_TURN_MS);
                show(start, "", false);
        }
}

static size_t batch_size(const struct start *start)
{
        const double wanted = start->rate > 0 ? start->rate * BATCH_MS / 1000 : JOB_BATCH_MAX;

        return wanted >= JOB_BATCH_MAX ? JOB_BATCH_MAX : wanted > 1 ? (size_t)wanted : 1;
}

static int transfer(struct start *start, struct error *err)
{
        while (!start->records.position.complete && may_go_on(start)) {
                if (fill(start, batch_size(start), err) < 0)
                        return -1;
                if (job_interrupted() && start->batch_count == 0 && !start->at_end)
                        return 0;
                if (publish(start, NULL, err) < 0)
                        return -1;
                job_watch_published(start->watch, start->records.position.total, start->records.position.published);
                show(start, "", false);
                keep_pace(start);
        }
        return 0;
}

/* A job that is not there yet: its position 0 and its state, together. */
static int begin(struct start *start, struct error *err)
{
        struct job_position *p = &start->records.position;
        const char *slash = strrchr(start->path, '/');
        const struct job_state_record running = {.state = JOB_RUNNING, .at_wall_ms = clock_wall_ms()};

        *p = (struct job_position){.kind = start->kind,
                                   .lane = LANE_BULK,
                                   .folder = argument_given(start->arguments, "dir"),
                                   .size = job_input_bytes(start->input),
                                   .started_wall_ms = clock_wall_ms(),
                                   .at_wall_ms = clock_wall_ms()};
        snprintf(p->source, sizeof p->source, "%.200s", slash && slash[1] ? slash + 1 : start->path);
        memcpy(p->hash, job_input_digest(start->input), sizeof p->hash);
        if (!utf8_valid(span_of(p->source)))
                snprintf(p->source, sizeof p->source, "?");
        if (job_input_count(start->input, &p->total, err) < 0)
                return -1;
        start->next = *p;
        start->batch_count = 0;
        return publish(start, start->records.has_state ? NULL : &running, err);
}

/* Reads again what is published already; it must be the same. */
static int catch_up(struct start *start, struct error *err)
{
        const struct job_position *p = &start->records.position;
        struct job_item item = {0};
        int found = 1;

        if (p->kind != start->kind)
                return error_set(err, CODE_SCHEMA, "the job %s was begun with %s requests", start->name, kind_names[p->kind]);
        if (p->folder != argument_given(start->arguments, "dir") || p->size != job_input_bytes(start->input))
                return error_set(err, CODE_SCHEMA, "the job %s was begun with another %s; give this one another name with --job",
                                 start->name, p->folder ? "folder" : "file");
        while (item.number < p->at && found > 0 && !job_interrupted())
                if ((found = job_input_next(start->input, &item, err)) < 0)
                        return -1;
        if (p->complete && found > 0 && !job_interrupted())
                found = job_input_next(start->input, &item, err) < 0 ? -1 : 1;
        if (found < 0)
                return -1;
        if (!job_interrupted() && strcmp(job_input_digest(start->input), p->hash) != 0)
                return error_set(err, CODE_SCHEMA,
                                 "%.100s has changed since the job %s was begun: what is published already is another text; "
                                 "give it another name with --job",
                                 start->path, start->name);
        return 0;
}

static int finish(struct start *start)
{
        const struct job_position *p = &start->records.position;

        job_watch_flush(start->watch);
        show(start, start->cancelled ? "cancelled" : job_interrupted() ? "interrupted" : "", true);
        if (start->cancelled)
                return argument_fail(start->arguments, EXIT_FAILED,
                                     "the job %s is cancelled; %" PRId64 " requests had been published", start->name, p->published);
        if (!p->complete)
                return argument_fail(start->arguments, EXIT_FAILED,
                                     "interrupted after %" PRId64 " published requests; the same command goes on behind them",
                                     p->published);
        if (p->refused > 0)
                argument_fail(start->arguments, EXIT_FAILED, "%" PRId64 " faulty %s left out", p->refused,
                              p->refused == 1 ? "one was" : "ones were");
        if (argument_given(start->arguments, "follow")) {
                const int status = job_follow(start->arguments, start->settings, start->tenant, start->name);

                return status == EXIT_DONE && p->refused > 0 ? EXIT_FAILED : status;
        }
        if (argument_given(start->arguments, "json"))
                printf("{\"job\":\"%s\",\"tenant\":\"%s\",\"published\":%" PRId64 ",\"refused\":%" PRId64 ",\"total\":%" PRId64
                       "}\n",
                       start->name, start->tenant, p->published, p->refused, p->total);
        else
                printf("%s: %" PRId64 " request%s published; millrace job show %s tells how far it is\n", start->name,
                       p->published, p->published == 1 ? "" : "s", start->name);
        return p->refused > 0 ? EXIT_FAILED : EXIT_DONE;
}

static int run(struct start *start)
{
        struct error err;

        start->publisher = job_publisher_open(start->settings, start->kind, start->tenant, start->name, &start->records, &err);
        if (!start->publisher || !(start->watch = job_watch_new(start->settings, start->tenant, start->name, true, &err)) ||
            job_watch_settle(start->watch, &err) < 0)
                return fail_kafka(start, &err);
        if (job_publisher_mock(start->publisher))
                tell(start, "This is the embedded broker: it knows no transactions, so a job that is killed may publish its last "
                            "batch twice "
                            "(the workers do nothing twice), and nothing outlives it.");
        if (start->records.has_state && start->records.state.state == JOB_CANCELLED)
                return argument_fail(start->arguments, EXIT_FAILED,
                                     "the job %s is cancelled, for good; give the new one another name with --job", start->name);
        if (start->records.has_position && catch_up(start, &err) < 0)
                return argument_fail(start->arguments, EXIT_FAILED, "%s", err.message);
        if (start->records.has_position && start->records.position.published > 0)
                fprintf(stderr,
                        start->records.position.complete ? "the job %s is published already: %" PRId64 " requests\n"
                                                         : "the job %s goes on behind %" PRId64 " published requests\n",
                        start->name, start->records.position.published);
        progress_init(&start->progress, stderr, start->name);
        if (!start->records.has_position && begin(start, &err) < 0)
                return fail_kafka(start, &err);
        start->begun_ms = clock_now_ms();
        start->begun_at = start->progress.from_count = start->records.position.published;
        start->progress.from_share = share_of(&start->records.position);
        job_watch_published(start->watch, start->records.position.total, start->records.position.published);
        if (transfer(start, &err) < 0) {
                show(start, "", true);
                if (job_publisher_fenced(start->publisher))
                        return argument_fail(start->arguments, EXIT_FAILED,
                                             "another `job start` of %s has taken over; this one published nothing more",
                                             start->name);
                return fail_kafka(start, &err);
        }
        return finish(start);
}

/* <kind>-<the file's name>, in the alphabet. */
static void name_otherwise(struct start *start)
{
        const char *end = start->path + strlen(start->path), *from;
        size_t n;

        while (end > start->path + 1 && end[-1] == '/')
                end--;
        for (from = end; from > start->path && from[-1] != '/'; from--)
                ;
        snprintf(start->name, sizeof start->name, "%s-%.*s", kind_names[start->kind], (int)(end - from < 80 ? end - from : 80),
                 from);
        n = strlen(start->name);
        for (size_t i = 0; i < n; i++)
                if (!job_valid_name((struct span){start->name + i, 1}))
                        start->name[i] = '_';
}

static int prepare(struct start *start)
{
        const struct arguments *a = start->arguments;
        const char *word = a->word_count > 1 ? a->words[1] : "", *near;
        const char *file = argument_string(a, "file"), *dir = argument_string(a, "dir"), *name = argument_string(a, "job");
        const int kind = kind_of(word, strlen(word));

        if (kind < 0) {
                near = argument_nearest(word, kind_names, KIND_COUNT);
                return argument_fail(a, EXIT_USAGE, "job start wants a kind; %s%s%s",
                                     near ? "did you mean " : "one of: ", near ? near : "ingest embed retrieve rerank llm",
                                     near ? "?" : "");
        }
        start->kind = (enum kind)kind;
        if (!file == !dir)
                return argument_fail(a, EXIT_USAGE, "job start wants either --file F.jsonl or --dir DIR");
        if (dir && (kind != KIND_INGEST || !argument_given(a, "collection")))
                return argument_fail(a, EXIT_USAGE, "--dir makes documents of files: job start ingest --collection NAME --dir DIR");
        if (argument_given(a, "id"))
                return argument_fail(a, EXIT_USAGE, "--id is for one request: put ids into the file");
        start->path = file ? file : dir;
        start->tenant = argument_given(a, "tenant") ? argument_string(a, "tenant") : "default";
        if (!envelope_valid_tenant(span_of(start->tenant)))
                return argument_fail(a, EXIT_USAGE, "--tenant: 1 to %d of a-z 0-9 _ -", TENANT_BYTES_MAX);
        if (!name)
                name_otherwise(start);
        else if (!job_valid_name(span_of(name)))
                return argument_fail(a, EXIT_USAGE, "--job: 1 to %d of A-Z a-z 0-9 . _ : -", ID_BYTES_MAX);
        else
                snprintf(start->name, sizeof start->name, "%s", name);
        start->rate = argument_number(a, "rate", 0);
        return EXIT_DONE;
}

int job_start(const struct arguments *arguments, struct settings *settings)
{
        struct start *start = calloc(1, sizeof *start);
        const size_t bytes_max = (size_t)settings->worker.payload_bytes_max;
        struct error err;
        int status;

        if (!start)
                return argument_fail(arguments, EXIT_FAILED, "out of memory");
        start->arguments = arguments;
        start->settings = settings;
        request_text_init(&start->request, bytes_max);
        start->request.job = start->name;
        start->request.otherwise_timeout_ms = timeout_otherwise_ms;
        job_interrupted();
        status = prepare(start);
        if (status == EXIT_DONE) {
                start->input = job_input_open(start->path, argument_given(arguments, "dir"), bytes_max, &err);
                start->arena = arena_new(ARENA_BYTES_MAX);
                start->batch = calloc(JOB_BATCH_MAX, sizeof *start->batch);
                status = !start->input                ? argument_fail(arguments, EXIT_USAGE, "%s", err.message)
                       : start->arena && start->batch ? run(start)
                                                      : argument_fail(arguments, EXIT_FAILED, "out of memory");
        }
        job_watch_free(start->watch);
        job_publisher_close(start->publisher);
        job_input_close(start->input);
        request_text_fini(&start->request);
        arena_free(start->arena);
        free(start->batch);
        free(start);
        return status;
}
