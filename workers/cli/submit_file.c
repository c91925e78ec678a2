/* One loop: publish a batch of lines, look for results, show progress.
 *
 *      file ─ read_line ─ request_from_line ─ kafka_publish_all (a batch) ─► Kafka
 *                                └─ with --wait: results_client ◄─ results ─ count, tell of failures, forget
 *
 * Invariants: in memory are one line, the client's bounded queue and, with --wait, OUTSTANDING_MAX ids; a faulty line stops no other.
 * Failure modes: the broker does not acknowledge, Ctrl-C (stop; what was published is said), no result comes (exit 3). */
#include "workers/cli/submit_file.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "config/base/buffer.h"
#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/kafka/kafka_client.h"
#include "queues/kafka/topics.h"
#include "queues/outcome.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/request_build.h"
#include "workers/cli/results_client.h"
#include "workers/cli/terminal.h"

enum {
        BATCH_LINES = 2048, /* with --wait: results are looked for in between */
        BATCH_BYTES_MAX = 4 << 20,
        OUTSTANDING_MAX = 4096,
        OUTSTANDING_BYTES_MAX = 16 << 20, /* a mock broker keeps 5 MiB a partition */
        TOLD_MAX = 10,
        STALL_MS = 30000,
        POLL_EVERY_MS = 40,
        HINT_AFTER_MS = 15000,
        GRACE_MS = 15000,
        PARTITIONS_MAX = 4096,
};

struct bulk {
        const struct arguments *arguments;
        enum kind kind;
        enum lane lane;
        struct settings *settings;
        const char *path;
        FILE *file;
        int64_t line, bytes_read, bytes_total; /* bytes_total 0: unknown */
        int64_t batch_lines, batch_bytes;
        int64_t sent, sent_bytes, published, refused, ended[STATUS_COUNT];
        double cost;
        bool at_end;
        struct buffer text;
        struct request_text request;
        char topic[TOPIC_NAME_BYTES];
        struct kafka_client *kafka;
        struct results_client *results; /* NULL: nobody waits */
        struct error fault;             /* of results_client_add, inside a batch */
        bool faulty;
        int64_t started_ms, last_ended_ms;
        struct progress progress;
        int64_t positions[PARTITIONS_MAX]; /* of the ingests that ended ok: behind the last record; 0: none */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
        (void)signal_number;
        interrupted = 1;
}

static int64_t total_ended(const struct bulk *bulk)
{
        int64_t total = 0;

        for (size_t i = 0; i < STATUS_COUNT; i++)
                total += bulk->ended[i];
        return total;
}

static void show(struct bulk *bulk, bool last)
{
        const double read = bulk->at_end ? 1 : bulk->bytes_total > 0 ? (double)bulk->bytes_read / (double)bulk->bytes_total : -1;
        const int64_t ended = total_ended(bulk), counted = bulk->results ? ended : bulk->published;
        double share = read;
        char note[160] = "";

        if (share > 1)
                share = 1;
        if (bulk->results && share >= 0)
                share = bulk->published > 0 ? share * (double)ended / (double)bulk->published : 0;
        if (bulk->results)
                snprintf(note, sizeof note, "published %" PRId64 ", failed %" PRId64 "%s", bulk->published,
                         ended - bulk->ended[STATUS_OK],
                         !last && ended == 0 && clock_now_ms() - bulk->started_ms > HINT_AFTER_MS ? "; is a worker running?" : "");
        if (last)
                progress_end(&bulk->progress, share, counted, note);
        else
                progress_show(&bulk->progress, share, counted, note);
}

/* A message beside the progress line. */
static void tell(struct bulk *bulk, const char *what)
{
        AUTO_BUFFER shown = {0};

        buffer_init(&shown, 4096);
        terminal_line(&shown, span_of(what), 0);
        fprintf(stderr, "%s%s\n", bulk->progress.terminal.is_terminal ? "\r\033[K" : "", shown.data ? shown.data : "");
}

/* The next line that is not blank into bulk->text. False at the end. */
static bool read_line(struct bulk *bulk)
{
        int c = 0;
        bool blank = true;

        for (;;) {
                buffer_reset(&bulk->text);
                bulk->line++;
                while ((c = getc_unlocked(bulk->file)) != EOF && c != '\n') {
                        bulk->bytes_read++;
                        blank = blank && (c == ' ' || c == '\t' || c == '\r');
                        buffer_char(&bulk->text, (char)c); /* past the maximum: sticky failure, the rest of the line is skipped */
                }
                bulk->bytes_read += c == '\n';
                if (!blank)
                        return true;
                if (c == EOF)
                        return false;
        }
}

static void refuse_line(struct bulk *bulk, const struct error *err)
{
        char text[ERROR_MESSAGE_MAX + 400];

        if (++bulk->refused <= TOLD_MAX) {
                snprintf(text, sizeof text, "%.300s:%" PRId64 ": %s", bulk->path, bulk->line, err->message);
                tell(bulk, text);
        } else if (bulk->refused == TOLD_MAX + 1) {
                tell(bulk, "further faulty lines are only counted");
        }
}

static bool has_room(const struct bulk *bulk)
{
        const int64_t mean = bulk->sent > 0 ? bulk->sent_bytes / bulk->sent + 1 : 1;
        size_t room = OUTSTANDING_BYTES_MAX / (size_t)mean;

        if (!bulk->results)
                return true;
        room = room > OUTSTANDING_MAX ? OUTSTANDING_MAX : room < 1 ? 1 : room;
        return results_client_outstanding(bulk->results) < room;
}

static bool batch_goes_on(const struct bulk *bulk)
{
        return !bulk->results || (bulk->batch_lines < BATCH_LINES && bulk->batch_bytes < BATCH_BYTES_MAX && has_room(bulk));
}

static void on_ack(void *user, int64_t number, const struct producer_ack *ack)
{
        struct bulk *bulk = user;

        (void)number;
        (void)ack;
        bulk->published++;
        show(bulk, false);
}

/* kafka_publish_all's source: the next good line of this batch. */
static bool next_request(void *user, struct outgoing *outgoing)
{
        struct bulk *bulk = user;
        struct error err;

        while (!bulk->at_end && !interrupted && batch_goes_on(bulk)) {
                if (!read_line(bulk)) {
                        bulk->at_end = true;
                        break;
                }
                error_clear(&err);
                if (!buffer_ok(&bulk->text)) {
                        error_set(&err, CODE_TOO_LARGE, "the line has more than %zu bytes", bulk->text.bytes_max);
                        refuse_line(bulk, &err);
                        continue;
                }
                if (request_from_line(bulk->arguments, bulk->kind, bulk->lane, bulk->settings, buffer_view(&bulk->text),
                                      &bulk->request, &err) < 0) {
                        refuse_line(bulk, &err);
                        continue;
                }
                if (topic_request(bulk->topic, client_prefix(bulk->settings, bulk->request.tenant), bulk->kind, bulk->lane) < 0 ||
                    (bulk->results &&
                     results_client_add(bulk->results, bulk->request.tenant, bulk->request.id, &bulk->fault) < 0)) {
                        bulk->faulty = true;
                        return false;
                }
                bulk->batch_lines++;
                bulk->batch_bytes += (int64_t)bulk->request.value.len;
                bulk->sent++;
                bulk->sent_bytes += (int64_t)bulk->request.value.len;
                *outgoing = (struct outgoing){.topic = bulk->topic,
                                              .partition = -1,
                                              .key = span_of(bulk->request.key),
                                              .value = buffer_view(&bulk->request.value)};
                return true;
        }
        return false;
}

static void note_positions(struct bulk *bulk, const json_t *result)
{
        json_t *positions = json_object_get(json_object_get(result, "result"), "positions"), *offset;
        const char *name;
        char *end;
        long partition;

        json_object_foreach (positions, name, offset) {
                partition = strtol(name, &end, 10);
                if (end == name || *end || partition < 0 || partition >= PARTITIONS_MAX || !json_is_integer(offset))
                        continue;
                if (json_integer_value(offset) > bulk->positions[partition])
                        bulk->positions[partition] = json_integer_value(offset);
        }
}

static void on_result(void *user, const char *tenant, const char *id, struct span json)
{
        struct bulk *bulk = user;
        json_t *result = json_loadb(json.data, json.len, 0, NULL);
        const json_t *error = json_object_get(result, "error");
        const char *status = json_string_value(json_object_get(result, "status"));
        enum outcome_status outcome = STATUS_FAILED;
        char text[1024];

        for (size_t i = 0; status && i < STATUS_COUNT; i++)
                if (strcmp(status, outcome_status_names[i]) == 0)
                        outcome = (enum outcome_status)i;
        bulk->ended[outcome]++;
        bulk->last_ended_ms = clock_now_ms();
        bulk->cost += json_number_value(json_object_get(json_object_get(result, "cost"), "amount"));
        if (outcome == STATUS_OK) {
                note_positions(bulk, result);
        } else if (total_ended(bulk) - bulk->ended[STATUS_OK] <= TOLD_MAX) {
                const char *class = json_string_value(json_object_get(error, "class")),
                           *code = json_string_value(json_object_get(error, "code"));
                const char *message = json_string_value(json_object_get(error, "message"));

                snprintf(text, sizeof text, "%s (tenant %s): %s: %s.%s: %.300s", id, tenant, outcome_status_names[outcome],
                         class ? class : "?", code ? code : "?", message ? message : "");
                tell(bulk, text);
        }
        json_decref(result);
}

/* One batch of lines to the broker. */
static int publish_batch(struct bulk *bulk, struct error *err)
{
        int rc;

        bulk->batch_lines = bulk->batch_bytes = 0;
        rc = kafka_publish_all(bulk->kafka, next_request, on_ack, bulk, STALL_MS, NULL, err);
        if (rc == 0 && bulk->faulty) {
                *err = bulk->fault;
                return -1;
        }
        return rc;
}

/* Until when results are waited for, and how long one may be in coming. */
static bool patience_ends(const struct bulk *bulk)
{
        const int64_t now = clock_now_ms(), limit_ms = argument_integer(bulk->arguments, "wait", -1);
        const int64_t lasts_ms = argument_integer(bulk->arguments, "timeout", bulk->settings->lanes[bulk->lane].timeout_ms);

        if (limit_ms >= 0)
                return now - bulk->started_ms > limit_ms;
        return now - bulk->last_ended_ms > lasts_ms + GRACE_MS;
}

/* One look at the outstanding results. */
static int follow(struct bulk *bulk, struct error *err)
{
        size_t found;

        if (!bulk->results)
                return 0;
        if (results_client_poll(bulk->results, on_result, bulk, &found, err) < 0)
                return -1;
        if (found < RESULTS_BATCH / 2 && (bulk->at_end || !has_room(bulk)))
                results_client_sleep(bulk->results, POLL_EVERY_MS);
        return 0;
}

static int transfer(struct bulk *bulk, struct error *err)
{
        while (!interrupted && (!bulk->at_end || (bulk->results && results_client_outstanding(bulk->results) > 0))) {
                if (!bulk->at_end && has_room(bulk) && publish_batch(bulk, err) < 0)
                        return -1;
                if (follow(bulk, err) < 0)
                        return -1;
                show(bulk, false);
                if (bulk->results && patience_ends(bulk))
                        break;
        }
        show(bulk, true);
        return 0;
}

static void print_json(const struct bulk *bulk, size_t outstanding, double seconds)
{
        AUTO_BUFFER out = {0};
        bool first = true;

        buffer_init(&out, 1u << 20);
        buffer_printf(&out, "{\"kind\":\"%s\",\"lane\":\"%s\",\"published\":%" PRId64 ",\"refused\":%" PRId64,
                      kind_names[bulk->kind], lane_names[bulk->lane], bulk->published, bulk->refused);
        if (bulk->results) {
                for (size_t i = 0; i < STATUS_COUNT; i++)
                        buffer_printf(&out, ",\"%s\":%" PRId64, outcome_status_names[i], bulk->ended[i]);
                buffer_printf(&out, ",\"outstanding\":%zu,\"cost\":{\"currency\":\"USD\",\"amount\":", outstanding);
                buffer_json_double(&out, bulk->cost);
                buffer_string(&out, "},\"positions\":{");
                for (int i = 0; i < PARTITIONS_MAX; i++)
                        if (bulk->positions[i] > 0) {
                                buffer_printf(&out, "%s\"%d\":%" PRId64, first ? "" : ",", i, bulk->positions[i]);
                                first = false;
                        }
                buffer_char(&out, '}');
        }
        buffer_printf(&out, ",\"seconds\":%.3f}\n", seconds);
        fputs(out.data ? out.data : "", stdout);
}

static int summarise(const struct bulk *bulk)
{
        const size_t outstanding = bulk->results ? results_client_outstanding(bulk->results) : 0;
        const int64_t ended = total_ended(bulk), counted = bulk->results ? ended : bulk->published;
        const double seconds = (double)(clock_now_ms() - bulk->started_ms) / 1000;

        if (argument_given(bulk->arguments, "json")) {
                print_json(bulk, outstanding, seconds);
        } else {
                printf("%" PRId64 " requests published in %.1f s (%.0f/s)", bulk->published, seconds,
                       seconds > 0 ? (double)counted / seconds : 0);
                for (size_t i = 0; i < STATUS_COUNT; i++)
                        if (bulk->results && bulk->ended[i] > 0)
                                printf("; %" PRId64 " %s", bulk->ended[i], outcome_status_names[i]);
                if (bulk->results && ended > 0)
                        printf("; cost $%.8g", bulk->cost);
                printf("\n");
        }
        if (interrupted)
                return argument_fail(bulk->arguments, EXIT_FAILED,
                                     "interrupted; submit the file again to go on: what is done is not done twice");
        if (bulk->refused > 0)
                argument_fail(bulk->arguments, EXIT_FAILED, "%" PRId64 " faulty line%s not published", bulk->refused,
                              bulk->refused == 1 ? " was" : "s were");
        if (bulk->refused > 0 || ended > bulk->ended[STATUS_OK])
                return EXIT_FAILED;
        if (outstanding > 0)
                return argument_fail(bulk->arguments, EXIT_NO_RESULT,
                                     "%zu requests have no result yet; is a worker running? Submit the file again to follow them",
                                     outstanding);
        return EXIT_DONE;
}

static int run_bulk(struct bulk *bulk)
{
        const struct sigaction on_int = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
        struct error err;

        bulk->kafka = kafka_client_new(bulk->settings, &err);
        if (!bulk->kafka)
                return argument_fail(bulk->arguments, EXIT_FAILED, "Kafka: %s", err.message);
        if (argument_given(bulk->arguments, "wait")) {
                bulk->results = results_client_new(bulk->settings, OUTSTANDING_MAX, &err);
                if (!bulk->results)
                        return argument_fail(bulk->arguments, EXIT_FAILED, "Redis: %s", err.message);
        }
        sigaction(SIGINT, &on_int, NULL);
        sigaction(SIGTERM, &on_int, NULL);
        bulk->started_ms = bulk->last_ended_ms = clock_now_ms();
        progress_init(&bulk->progress, stderr, kind_names[bulk->kind]);
        if (transfer(bulk, &err) < 0) {
                show(bulk, true);
                return argument_fail(bulk->arguments, EXIT_FAILED,
                                     "after %" PRId64 " published requests: %s; submit the file again to go on", bulk->published,
                                     err.message);
        }
        return summarise(bulk);
}

int submit_file(const struct arguments *arguments, enum kind kind, enum lane lane, struct settings *settings, const char *path)
{
        static struct bulk bulk; /* 50 KB */
        const size_t bytes_max = (size_t)settings->worker.payload_bytes_max;
        struct stat status;
        int exit_code;

        bulk = (struct bulk){.arguments = arguments, .kind = kind, .lane = lane, .settings = settings, .path = path};
        bulk.file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
        if (!bulk.file)
                return argument_fail(arguments, EXIT_USAGE, "%s: %s", path, strerror(errno));
        if (fstat(fileno(bulk.file), &status) == 0 && S_ISREG(status.st_mode))
                bulk.bytes_total = status.st_size;
        buffer_init(&bulk.text, bytes_max);
        request_text_init(&bulk.request, bytes_max);
        exit_code = run_bulk(&bulk);
        results_client_free(bulk.results);
        kafka_client_free(bulk.kafka);
        request_text_fini(&bulk.request);
        buffer_fini(&bulk.text);
        if (bulk.file != stdin)
                fclose(bulk.file);
        return exit_code;
}
