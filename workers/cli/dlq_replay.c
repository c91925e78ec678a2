/* The happy path: a letter is copied into the batch; a full batch is published, each record to its origin topic with its own key,
 * value and foreign headers, mr-replays + 1 and a deadline of the lane's length from now.
 * Invariants: a letter goes to a request topic of this configuration or nowhere; at most BATCH_LETTERS or BATCH_BYTES_MAX in
 * memory.
 * Failure modes: a letter that can't be replayed is told and passed over; a broker that fails ends it, with the number that went
 * out.
 * Replaying a letter twice is harmless: its mr-replays is the same, and a worker does no work for a second one. */
#include "workers/cli/dlq_replay.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/base/arena.h"
#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/envelope.h"
#include "workers/cli/terminal.h"

enum {
        BATCH_LETTERS = 256,
        BATCH_BYTES_MAX = 8 << 20,
        ARENA_BYTES_MAX = 128 << 20,
        STALL_MS = 30000,
        TOLD_MAX = 20,
        NUMBER_BYTES = 24
};

struct replay {
        const struct arguments *arguments;
        const struct dlq_walk *walk;
        struct kafka_client *kafka; /* of its own: the walk's is reading meanwhile */
        struct arena *arena;        /* the batch's copies */
        struct outgoing batch[BATCH_LETTERS];
        size_t batch_count, batch_at, batch_bytes;
        int64_t left, replayed, refused, started_ms;
        double rate; /* a second; 0: unbounded */
        bool dry_run, failed;
        struct error err;
        struct progress progress;
};

static struct span copy(struct replay *replay, struct span bytes)
{
        char *room;

        if (!bytes.data)
                return bytes;
        room = arena_alloc_raw(replay->arena, bytes.len + 1);
        if (!room)
                return (struct span){NULL, 0};
        memcpy(room, bytes.data, bytes.len);
        return (struct span){room, bytes.len};
}

static void put_number(struct replay *replay, struct outgoing_header *header, const char *name, int64_t value)
{
        *header = (struct outgoing_header){name, span_of(arena_printf(replay->arena, "%" PRId64, value))};
}

/* The letter as a new request of its lane, copied into the arena. */
static void copy_letter(struct replay *replay, const struct letter *letter, const char *topic, enum lane lane,
                        struct outgoing *outgoing)
{
        struct outgoing_header *headers = arena_alloc(replay->arena, OUTGOING_HEADERS_MAX * sizeof *headers);
        struct span value;
        const char *name;
        size_t count = 0;

        if (!headers)
                return;
        for (size_t i = 0; record_header_at(letter->record, i, &name, &value) && count + 2 < OUTGOING_HEADERS_MAX; i++)
                if (!envelope_own_header(name))
                        headers[count++] = (struct outgoing_header){arena_strdup(replay->arena, name), copy(replay, value)};
        put_number(replay, &headers[count++], "mr-replays", letter->replays + 1);
        put_number(replay, &headers[count++], "mr-deadline", clock_wall_ms() + replay->walk->settings->lanes[lane].timeout_ms);
        *outgoing = (struct outgoing){.topic = arena_strdup(replay->arena, topic),
                                      .partition = -1,
                                      .key = copy(replay, letter->record->key),
                                      .value = copy(replay, letter->record->value),
                                      .headers = headers,
                                      .header_count = count};
}

/* Sleeps so long that the rate holds. */
static void keep_pace(const struct replay *replay, int64_t number)
{
        const int64_t due_ms = replay->rate > 0 ? replay->started_ms + (int64_t)((double)number * 1000 / replay->rate) : 0;
        const int64_t wait_ms = due_ms - clock_now_ms();
        const struct timespec pause = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000};

        if (wait_ms > 0)
                nanosleep(&pause, NULL);
}

static bool next_outgoing(void *user, struct outgoing *outgoing)
{
        struct replay *replay = user;

        if (replay->batch_at == replay->batch_count)
                return false;
        *outgoing = replay->batch[replay->batch_at++];
        return true;
}

static int flush(struct replay *replay)
{
        int64_t acknowledged = 0;
        int rc = 0;

        if (replay->batch_count > 0 && !replay->dry_run) {
                replay->batch_at = 0;
                rc = kafka_publish_all(replay->kafka, next_outgoing, NULL, replay, STALL_MS, &acknowledged, &replay->err);
                replay->replayed += acknowledged;
                progress_show(&replay->progress, -1, replay->replayed, NULL);
        }
        replay->batch_count = replay->batch_bytes = 0;
        arena_reset(replay->arena);
        replay->failed = replay->failed || rc < 0;
        return rc;
}

static void refuse(struct replay *replay, const struct letter *letter, const char *reason)
{
        if (++replay->refused <= TOLD_MAX)
                argument_fail(replay->arguments, EXIT_FAILED, "%s:%d:%" PRId64 " can't be replayed: %s", letter->record->topic,
                              (int)letter->record->partition, letter->record->offset, reason);
}

static void print_dry(const struct letter *letter, const char *topic)
{
        AUTO_BUFFER line = {0};

        buffer_init(&line, 1024);
        buffer_printf(&line, "%s:%d:%" PRId64 " would go to %s, mr-replays %" PRId64 ", id ", letter->record->topic,
                      (int)letter->record->partition, letter->record->offset, topic, letter->replays + 1);
        terminal_line(&line, letter->id.len > 0 ? letter->id : SPAN("(none)"), 0);
        printf("%s\n", line.data ? line.data : "");
}

static bool replay_letter(void *user, const struct letter *letter)
{
        struct replay *replay = user;
        struct topic_meaning meaning;
        char topic[TOPIC_NAME_BYTES];
        const char *reason;

        if (!letter_destination(letter, replay->walk->settings, topic, &meaning, &reason)) {
                refuse(replay, letter, reason);
                return true;
        }
        if (replay->dry_run) {
                if (!argument_given(replay->arguments, "json"))
                        print_dry(letter, topic);
                replay->replayed++;
                return --replay->left > 0;
        }
        copy_letter(replay, letter, topic, meaning.lane, &replay->batch[replay->batch_count]);
        if (!arena_ok(replay->arena)) {
                error_set(&replay->err, CODE_INTERNAL, "out of memory");
                replay->failed = true;
                return false;
        }
        replay->batch_count++;
        replay->batch_bytes += letter->record->value.len + letter->record->key.len;
        if (replay->batch_count == BATCH_LETTERS || replay->batch_bytes > BATCH_BYTES_MAX || replay->rate > 0) {
                if (flush(replay) < 0)
                        return false;
                keep_pace(replay, replay->replayed);
        }
        return --replay->left > 0;
}

static int replay_named(struct replay *replay, const struct arguments *arguments, struct error *err)
{
        bool found;

        for (size_t i = 1; i < arguments->word_count && !replay->failed && replay->left > 0; i++) {
                if (dlq_find(replay->walk, arguments->words[i], replay_letter, replay, &found, err) < 0)
                        return -1;
                if (!found) {
                        argument_fail(arguments, EXIT_FAILED, "there is no letter %s", arguments->words[i]);
                        replay->refused++;
                }
        }
        return 0;
}

static int run_replay(struct replay *replay, const struct arguments *arguments)
{
        struct error err;
        int rc;

        replay->kafka = kafka_client_new(replay->walk->settings, &err);
        replay->arena = arena_new(ARENA_BYTES_MAX);
        if (!replay->kafka || !replay->arena)
                return argument_fail(arguments, EXIT_FAILED, "%s", replay->arena ? err.message : "out of memory");
        progress_init(&replay->progress, stderr, "replay");
        rc = arguments->word_count > 1 ? replay_named(replay, arguments, &err)
                                       : dlq_walk(replay->walk, replay_letter, replay, &err);
        if (!replay->failed)
                flush(replay);
        if (replay->progress.drawn)
                progress_end(&replay->progress, -1, replay->replayed, NULL);
        if (argument_given(arguments, "json"))
                printf("{\"replayed\":%" PRId64 ",\"refused\":%" PRId64 ",\"dry_run\":%s}\n", replay->replayed, replay->refused,
                       replay->dry_run ? "true" : "false");
        else
                printf("%" PRId64 " letter%s %s\n", replay->replayed, replay->replayed == 1 ? "" : "s",
                       replay->dry_run ? "would be replayed" : "replayed");
        if (replay->failed)
                return dlq_fail(arguments, replay->walk, &replay->err);
        if (rc < 0)
                return err.code == CODE_SCHEMA ? argument_fail(arguments, EXIT_USAGE, "%s", err.message)
                                               : dlq_fail(arguments, replay->walk, &err);
        return replay->refused > 0 ? EXIT_FAILED : EXIT_DONE;
}

int dlq_replay(const struct arguments *arguments, const struct dlq_walk *walk)
{
        struct replay *replay = calloc(1, sizeof *replay);
        int status;

        if (!replay)
                return argument_fail(arguments, EXIT_FAILED, "out of memory");
        replay->arguments = arguments;
        replay->walk = walk;
        replay->left = argument_integer(arguments, "max", INT64_MAX);
        replay->rate = argument_number(arguments, "rate", 0);
        replay->dry_run = argument_given(arguments, "dry-run");
        replay->started_ms = clock_now_ms();
        status = run_replay(replay, arguments);
        kafka_client_free(replay->kafka);
        arena_free(replay->arena);
        free(replay);
        return status;
}
