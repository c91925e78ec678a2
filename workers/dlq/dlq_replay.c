/* The happy path: open the transactional id (which ends what another replay has under way), read the states, count what fits,
 * then walk once more: a letter is copied into the batch, a full batch goes out in one transaction, and the pace is kept.
 * Invariants: a letter goes to a request topic of this configuration or nowhere, and at most once: a letter that has its
 * `replayed` record is never chosen again, however this process ends.
 * Failure modes: a letter that can't be replayed is told and passed over; a broker that fails, another replay, a flood of
 * letters that come back, or SIGINT end it, with what was done noted: the same command goes on with the rest. */
#include "workers/dlq/dlq_replay.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "workers/dlq/dlq_batch.h"
#include "workers/dlq/dlq_echo.h"
#include "workers/dlq/dlq_plan.h"
#include "workers/cli/terminal.h"

enum {
        OPEN_MS = 30000,
        TOLD_MAX = 20,
        LOOK_MS = 500,
        RECHECK_MS = 2000,
        NAP_MS = 200,
        VISIBLE_MS = 5000,
        VISIBLE_NAP_MS = 20,
        ID_BYTES = TOPIC_NAME_BYTES + 16
};

enum stopped { STOPPED_NOT, STOPPED_FAULT, STOPPED_FENCED, STOPPED_FLOOD, STOPPED_SIGNAL };
static const char *const stopped_names[] = {"", "fault", "another replay", "flood", "signal"};

struct replay {
        const struct arguments *arguments;
        struct dlq_walk walk;
        struct replay_rules rules;
        struct dlq_act act;
        struct kafka_client *kafka;              /* of its own: the walk's is reading meanwhile */
        struct kafka_transactions *transactions; /* NULL: a dry run, or the mock broker */
        struct dlq_echo *echo;                   /* NULL: too few letters, or --force */
        struct batch batch;
        struct replay_plan plan;
        size_t batch_max;
        double rate; /* a second */
        int64_t max, replayed, parked, refused, changed, started_ms, looked_ms, rechecked_ms;
        bool sent; /* the batch has gone out */
        bool named, dry_run, json;
        enum stopped stopped;
        struct error err;
        struct progress progress;
};

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
        (void)number;
        signalled = 1;
}

static bool stop(struct replay *replay, enum stopped stopped)
{
        if (replay->stopped == STOPPED_NOT)
                replay->stopped = stopped;
        return false;
}

/* ---- the count, and the dry run */

static void refuse(struct replay *replay, const struct letter *letter, const char *reason)
{
        if (++replay->refused <= TOLD_MAX)
                argument_fail(replay->arguments, EXIT_FAILED, "%s:%d:%" PRId64 " can't be replayed: %s", letter->record->topic,
                              (int)letter->record->partition, letter->record->offset, reason);
}

static bool plan_letter(void *user, const struct letter *letter)
{
        struct replay *replay = user;
        struct topic_meaning meaning;
        char topic[TOPIC_NAME_BYTES];
        const char *reason;

        switch (replay_choose(&replay->rules, letter, topic, &meaning, &reason)) {
        case REPLAY_GO:
                if (!replay->dry_run) {
                        replay->plan.letters++;
                } else if (!replay_plan_add(&replay->plan, letter, replay->walk.settings, meaning.lane)) {
                        error_set(&replay->err, CODE_INTERNAL, "out of memory");
                        return stop(replay, STOPPED_FAULT);
                }
                break;
        case REPLAY_PARK:
                replay->plan.parked++;
                break;
        default:
                if (replay->dry_run)
                        refuse(replay, letter, reason);
                replay->plan.refused++;
        }
        return replay->plan.letters < replay->max;
}

/* ---- sending */

/* Sleeps so long that the rate holds, or until a signal comes. */
static void keep_pace(const struct replay *replay)
{
        const int64_t due_ms = replay->started_ms + (int64_t)((double)replay->replayed * 1000 / replay->rate);
        int64_t wait_ms;

        while (!signalled && (wait_ms = due_ms - clock_now_ms()) > 0) {
                const int64_t nap_ms = wait_ms < NAP_MS ? wait_ms : NAP_MS;
                const struct timespec nap = {.tv_nsec = nap_ms * 1000000};

                nanosleep(&nap, NULL);
        }
}

/* What others have parked, purged or replayed meanwhile stays as it is. */
static int recheck(struct replay *replay)
{
        const size_t before = replay->batch.count;
        const int64_t now = clock_now_ms();

        if (now - replay->rechecked_ms < RECHECK_MS)
                return 0;
        replay->rechecked_ms = now;
        if (dlq_states_read(replay->walk.states, replay->kafka, &replay->err) < 0)
                return -1;
        batch_recheck(&replay->batch, replay->walk.states, replay->rules.states);
        replay->changed += (int64_t)(before - replay->batch.count);
        return 0;
}

static bool look_for_flood(struct replay *replay)
{
        bool flood;

        if (!replay->echo || clock_now_ms() - replay->looked_ms < LOOK_MS)
                return true;
        if (dlq_echo_look(replay->echo, &flood, &replay->err) < 0)
                return stop(replay, STOPPED_FAULT);
        replay->looked_ms = clock_now_ms();
        return !flood || stop(replay, STOPPED_FLOOD);
}

static bool flush(struct replay *replay)
{
        struct batch *batch = &replay->batch;

        if (recheck(replay) < 0)
                return stop(replay, STOPPED_FAULT);
        if (batch_send(batch, replay->transactions, replay->kafka, &replay->err) < 0)
                return stop(replay, replay->transactions && kafka_transactions_fenced(replay->transactions) ? STOPPED_FENCED
                                                                                                            : STOPPED_FAULT);
        for (size_t i = 0; i < batch->count; i++) {
                const struct batch_item *item = &batch->items[i];

                replay->replayed += item->goes;
                replay->parked += !item->goes;
                if (item->goes && replay->echo)
                        dlq_echo_sent(replay->echo, item->request.topic, &item->ack, item->class);
        }
        replay->sent = true;
        progress_show(&replay->progress, replay->plan.letters > 0 ? (double)replay->replayed / (double)replay->plan.letters : 1,
                      replay->replayed, NULL);
        return true;
}

/* A batch, and what comes between two. */
static bool flush_and_go_on(struct replay *replay)
{
        if (!flush(replay))
                return false;
        if (replay->replayed < replay->plan.letters)
                keep_pace(replay);
        if (signalled)
                return stop(replay, STOPPED_SIGNAL);
        return look_for_flood(replay);
}

static size_t goes_in_batch(const struct replay *replay)
{
        size_t count = 0;

        for (size_t i = 0; i < replay->batch.count; i++)
                count += replay->batch.items[i].goes;
        return count;
}

static bool replay_letter(void *user, const struct letter *letter)
{
        struct replay *replay = user;
        struct batch *batch = &replay->batch;
        /* The first ones are a trial: what fails at once shows before the rest is out. */
        const size_t trial = replay->echo && replay->replayed < ECHO_JUDGED_MIN ? ECHO_JUDGED_MIN : BATCH_LETTERS;
        struct topic_meaning meaning;
        char topic[TOPIC_NAME_BYTES];
        const char *reason = NULL;
        enum replay_choice choice = replay_choose(&replay->rules, letter, topic, &meaning, &reason);
        int64_t deadline = choice == REPLAY_GO ? clock_wall_ms() + replay->walk.settings->lanes[meaning.lane].timeout_ms : 0;

        if (choice == REPLAY_REFUSE) {
                refuse(replay, letter, reason);
                return true;
        }
        if (replay->sent)
                batch_reset(batch);
        replay->sent = false;
        if ((replay->echo && dlq_echo_watch(replay->echo, letter->record->topic, &replay->err) < 0) ||
            batch_add(batch, &replay->act, letter, choice == REPLAY_GO ? topic : NULL, deadline, reason, &replay->err) < 0)
                return stop(replay, STOPPED_FAULT);
        if (replay->replayed + (int64_t)goes_in_batch(replay) >= replay->max)
                return false; /* the last batch goes out behind the walk */
        if (batch->count < replay->batch_max && batch->count < trial && batch->bytes < BATCH_BYTES_MAX)
                return true;
        return flush_and_go_on(replay);
}

/* A commit is acknowledged a moment before it can be read: whoever asks next shall see what we say. */
static void await_visible(struct replay *replay)
{
        const int64_t until = clock_now_ms() + VISIBLE_MS;
        const struct timespec nap = {.tv_nsec = VISIBLE_NAP_MS * 1000000};

        while (replay->sent && replay->transactions && clock_now_ms() < until &&
               dlq_states_read(replay->walk.states, replay->kafka, NULL) == 0 &&
               !batch_visible(&replay->batch, replay->walk.states))
                nanosleep(&nap, NULL);
}

/* ---- the whole */

static int open_all(struct replay *replay)
{
        char id[ID_BYTES];
        bool mock = false;

        replay->kafka = kafka_client_new(replay->walk.settings, &replay->err);
        if (!replay->kafka || batch_init(&replay->batch, &replay->err) < 0)
                return -1;
        if (replay->dry_run)
                return 0;
        if (dlq_act_ensure(&replay->act, replay->walk.settings, &mock, &replay->err) < 0)
                return -1;
        if (mock) {
                argument_fail(replay->arguments, EXIT_FAILED,
                              "this broker has no transactions: a replay that is killed may send its last letters twice");
        } else {
                snprintf(id, sizeof id, "%s.dlq.replay", replay->walk.settings->kafka.prefix);
                replay->transactions = kafka_transactions_new(replay->walk.settings, id, OPEN_MS, &replay->err);
                if (!replay->transactions)
                        return -1;
        }
        /* Only now: what another replay had committed is seen, and it commits nothing more. */
        return dlq_states_read(replay->walk.states, replay->kafka, &replay->err);
}

static void print_summary(const struct replay *replay)
{
        AUTO_BUFFER out = {0};

        buffer_init(&out, 4096);
        if (replay->json) {
                buffer_printf(&out, "{\"replay\":\"%s\",\"by\":", replay->act.id);
                buffer_json_string(&out, span_of(replay->act.by));
                buffer_printf(&out,
                              ",\"replayed\":%" PRId64 ",\"parked\":%" PRId64 ",\"refused\":%" PRId64 ",\"changed\":%" PRId64
                              ",\"left\":%" PRId64 ",\"dry_run\":false,\"stopped\":",
                              replay->replayed, replay->parked, replay->refused, replay->changed,
                              replay->plan.letters - replay->replayed - replay->changed);
                if (replay->stopped == STOPPED_NOT)
                        buffer_string(&out, "null");
                else
                        buffer_json_string(&out, span_of(stopped_names[replay->stopped]));
                buffer_string(&out, "}");
        } else {
                buffer_printf(&out, "%" PRId64 " letter%s replayed as %s by ", replay->replayed, replay->replayed == 1 ? "" : "s",
                              replay->act.id);
                terminal_line(&out, span_of(replay->act.by), 0);
                if (replay->parked > 0)
                        buffer_printf(&out, "; %" PRId64 " parked, having been replayed %" PRId64 " times (--replays-max)",
                                      replay->parked, replay->rules.replays_max);
                if (replay->changed > 0)
                        buffer_printf(&out, "; %" PRId64 " passed over, changed by others meanwhile", replay->changed);
        }
        printf("%s\n", out.data ? out.data : "");
}

static int explain(const struct replay *replay)
{
        int64_t returned, judged;

        switch (replay->stopped) {
        case STOPPED_FLOOD:
                dlq_echo_counts(replay->echo, &returned, &judged);
                return argument_fail(replay->arguments, EXIT_FAILED,
                                     "stopped: of the first %" PRId64 " replayed letters %" PRId64
                                     " came back with the class of error they had; the rest stays as it was, --force goes on",
                                     judged, returned);
        case STOPPED_SIGNAL:
                return argument_fail(replay->arguments, EXIT_FAILED, "interrupted; the same command goes on with what is left");
        case STOPPED_FENCED:
                return argument_fail(replay->arguments, EXIT_FAILED,
                                     "stopped: another replay of this prefix has begun and goes on with what is left");
        default:
                if (replay->batch.unknown)
                        argument_fail(replay->arguments, EXIT_FAILED,
                                      "whether the last %zu letters went out is not known; the same command settles it",
                                      replay->batch.count);
                return dlq_fail(replay->arguments, &replay->walk, &replay->err);
        }
}

static int send_all(struct replay *replay)
{
        const struct sigaction action = {.sa_handler = on_signal};
        struct error err;
        int64_t missing = 0;
        int rc;

        if (replay->plan.letters >= ECHO_JUDGED_MIN && !argument_given(replay->arguments, "force")) {
                replay->echo = dlq_echo_new(replay->kafka, &replay->err);
                if (!replay->echo)
                        return dlq_fail(replay->arguments, &replay->walk, &replay->err);
        }
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        replay->sent = true;
        replay->act.count = replay->plan.letters + replay->plan.parked;
        replay->started_ms = replay->looked_ms = replay->rechecked_ms = clock_now_ms();
        progress_init(&replay->progress, stderr, "replay");
        rc = dlq_each(&replay->walk, replay->arguments, replay_letter, replay, &missing, &err);
        if (rc < 0 && replay->stopped == STOPPED_NOT) {
                replay->err = err;
                replay->stopped = STOPPED_FAULT;
        }
        if (replay->stopped == STOPPED_NOT && !replay->sent)
                flush(replay);
        await_visible(replay);
        if (replay->progress.drawn)
                progress_end(&replay->progress, -1, replay->replayed, NULL);
        print_summary(replay);
        if (replay->stopped != STOPPED_NOT)
                return explain(replay);
        return replay->refused + missing > 0 ? EXIT_FAILED : EXIT_DONE;
}

static int run_replay(struct replay *replay)
{
        int64_t missing = 0;

        if (open_all(replay) < 0 ||
            dlq_each(&replay->walk, replay->arguments, plan_letter, replay, replay->dry_run ? &missing : NULL, &replay->err) < 0 ||
            replay->stopped != STOPPED_NOT)
                return dlq_fail(replay->arguments, &replay->walk, &replay->err);
        if (!replay->dry_run)
                return send_all(replay);
        replay_plan_print(&replay->plan, replay->rate, replay->json);
        return replay->plan.refused + missing > 0 ? EXIT_FAILED : EXIT_DONE;
}

static int set_up(struct replay *replay, const struct arguments *arguments, const struct dlq_walk *walk)
{
        unsigned *states = &replay->walk.filter.states;

        replay->arguments = arguments;
        replay->walk = *walk;
        replay->named = arguments->word_count > 1;
        if (*states == 0)
                *states = 1u << LETTER_OPEN | (replay->named ? 1u << LETTER_PARKED : 0);
        if (replay_rules_read(&replay->rules, arguments, walk->settings, &replay->err) < 0 ||
            dlq_act_begin(&replay->act, arguments, walk->settings, true, &replay->err) < 0)
                return -1;
        replay->rules.states = *states;
        if (replay->rules.to) {
                const uint64_t kind = UINT64_C(1) << replay->rules.to_meaning.kind;

                if (replay->walk.filter.kinds && !(replay->walk.filter.kinds & kind))
                        return error_set(&replay->err, CODE_SCHEMA, "--to is a topic of another kind than --kind");
                replay->walk.filter.kinds = kind;
        }
        replay->max = argument_integer(arguments, "max", INT64_MAX);
        replay->rate = argument_number(arguments, "rate", REPLAY_RATE_OTHERWISE);
        replay->batch_max = replay->rate >= 2 * BATCH_LETTERS ? BATCH_LETTERS : replay->rate >= 4 ? (size_t)(replay->rate / 2) : 1;
        replay->dry_run = argument_given(arguments, "dry-run");
        replay->json = argument_given(arguments, "json");
        return 0;
}

int dlq_replay(const struct arguments *arguments, const struct dlq_walk *walk)
{
        struct replay *replay = calloc(1, sizeof *replay);
        int status;

        if (!replay)
                return argument_fail(arguments, EXIT_FAILED, "out of memory");
        status = set_up(replay, arguments, walk) < 0 ? dlq_fail(arguments, walk, &replay->err) : run_replay(replay);
        kafka_transactions_free(replay->transactions);
        kafka_client_free(replay->kafka);
        dlq_echo_free(replay->echo);
        batch_fini(&replay->batch);
        free(replay);
        return status;
}
