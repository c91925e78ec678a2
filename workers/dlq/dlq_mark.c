/* Two walks: the first counts, so that every state record can say of how many at once it is one; the second writes the records, in
 * batches. Nothing else is written, and a letter's record stays where it is unless purge --all deletes it.
 * Failure modes: a broker that fails ends it with the number done; the same command goes on. */
#include "workers/dlq/dlq_mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/base/own.h"
#include "workers/dlq/dlq_act.h"
#include "workers/dlq/dlq_sweep.h"

enum { BATCH_LETTERS = 256, ARENA_BYTES_MAX = 8 << 20, STALL_MS = 30000, TOLD_MAX = 20 };

struct marking {
        const struct arguments *arguments;
        struct dlq_walk walk;
        struct dlq_act act;
        struct kafka_client *kafka; /* of its own: the walk's is reading meanwhile */
        enum letter_state to;
        struct arena *arena;
        struct outgoing batch[BATCH_LETTERS];
        size_t batch_count, batch_at;
        int64_t max, marked, refused, hidden, deleted;
        bool named, all, mock, failed;
        struct error err;
};

static bool fits(const struct marking *marking, const struct letter *letter)
{
        return letter->state != marking->to && marking->walk.filter.states >> letter->state & 1;
}

static bool count_letter(void *user, const struct letter *letter)
{
        struct marking *marking = user;

        marking->act.count += fits(marking, letter);
        return marking->act.count < marking->max;
}

static bool next_outgoing(void *user, struct outgoing *outgoing)
{
        struct marking *marking = user;

        if (marking->batch_at == marking->batch_count)
                return false;
        *outgoing = marking->batch[marking->batch_at++];
        return true;
}

static bool flush(struct marking *marking)
{
        int64_t acknowledged = 0;

        marking->batch_at = 0;
        if (marking->batch_count > 0 && !marking->failed)
                marking->failed = kafka_publish_all(marking->kafka, next_outgoing, NULL, marking, STALL_MS, &acknowledged,
                                                    &marking->err) < 0;
        marking->marked += acknowledged;
        marking->batch_count = 0;
        arena_reset(marking->arena);
        return !marking->failed;
}

static bool mark_letter(void *user, const struct letter *letter)
{
        struct marking *marking = user;

        if (!fits(marking, letter)) {
                if (marking->named && ++marking->refused <= TOLD_MAX)
                        argument_fail(marking->arguments, EXIT_FAILED, "%s:%d:%" PRId64 " stays as it is: it is %s",
                                      letter->record->topic, (int)letter->record->partition, letter->record->offset,
                                      letter_state_names[letter->state]);
                return true;
        }
        dlq_act_record(&marking->act, marking->arena, letter, marking->to, NULL, argument_string(marking->arguments, "reason"),
                       &marking->batch[marking->batch_count]);
        if (!arena_ok(marking->arena)) {
                error_set(&marking->err, CODE_INTERNAL, "out of memory");
                marking->failed = true;
                return false;
        }
        marking->batch_count++;
        if (marking->marked + (int64_t)marking->batch_count >= marking->max)
                return false; /* the last batch goes out behind the walk */
        return marking->batch_count < BATCH_LETTERS || flush(marking);
}

/* On a terminal a question, else --yes. */
static bool confirmed(const struct marking *marking)
{
        char answer[16] = "";

        if (argument_given(marking->arguments, "yes"))
                return true;
        if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
                argument_fail(marking->arguments, EXIT_USAGE,
                              "purge --all deletes letters for good; --yes says that this is meant");
                return false;
        }
        fprintf(stderr, "%" PRId64 " letters will be purged, and all that are purged deleted for good. Go on? (yes/no) ",
                marking->act.count);
        if (!fgets(answer, sizeof answer, stdin) || strcmp(answer, "yes\n") != 0) {
                argument_fail(marking->arguments, EXIT_FAILED, "nothing was done");
                return false;
        }
        return true;
}

static int sweep(struct marking *marking)
{
        struct swept swept;

        if (marking->mock) {
                argument_fail(marking->arguments, EXIT_FAILED, "this broker can't delete records: the letters are hidden only");
                return 0;
        }
        if (dlq_states_read(marking->walk.states, marking->kafka, &marking->err) < 0 ||
            dlq_sweep(&marking->walk, marking->act.topic, marking->kafka, &swept, &marking->err) < 0)
                return -1;
        marking->deleted = swept.deleted;
        marking->hidden = swept.hidden;
        return 0;
}

static void print_summary(const struct marking *marking)
{
        const char *done = marking->to == LETTER_OPEN ? "opened" : letter_state_names[marking->to];
        AUTO_BUFFER out = {0};

        buffer_init(&out, 4096);
        if (argument_given(marking->arguments, "json")) {
                buffer_printf(&out, "{\"%s\":%" PRId64 ",\"refused\":%" PRId64 ",\"by\":", done, marking->marked, marking->refused);
                buffer_json_string(&out, span_of(marking->act.by));
                if (marking->all)
                        buffer_printf(&out, ",\"deleted\":%" PRId64 ",\"hidden\":%" PRId64, marking->deleted, marking->hidden);
                buffer_char(&out, '}');
        } else {
                buffer_printf(&out, "%" PRId64 " letter%s %s by ", marking->marked, marking->marked == 1 ? "" : "s", done);
                terminal_line(&out, span_of(marking->act.by), 0);
                if (marking->all)
                        buffer_printf(&out, "; %" PRId64 " deleted for good", marking->deleted);
                if (marking->hidden > 0)
                        buffer_printf(&out,
                                      "; %" PRId64 " purged ones lie behind letters that are not, and stay hidden until those go",
                                      marking->hidden);
        }
        printf("%s\n", out.data ? out.data : "");
}

static int run_mark(struct marking *marking)
{
        int64_t missing = 0;

        marking->kafka = kafka_client_new(marking->walk.settings, &marking->err);
        marking->arena = arena_new(ARENA_BYTES_MAX);
        if (!marking->kafka || !marking->arena)
                return argument_fail(marking->arguments, EXIT_FAILED, "out of memory");
        if (dlq_act_ensure(&marking->act, marking->walk.settings, &marking->mock, &marking->err) < 0 ||
            dlq_each(&marking->walk, marking->arguments, count_letter, marking, NULL, &marking->err) < 0)
                return dlq_fail(marking->arguments, &marking->walk, &marking->err);
        if (marking->all && !confirmed(marking))
                return argument_given(marking->arguments, "yes") || isatty(STDIN_FILENO) ? EXIT_FAILED : EXIT_USAGE;
        marking->failed = dlq_each(&marking->walk, marking->arguments, mark_letter, marking, &missing, &marking->err) < 0 ||
                          marking->failed;
        flush(marking);
        if (!marking->failed && marking->all)
                marking->failed = sweep(marking) < 0;
        print_summary(marking);
        if (marking->failed)
                return dlq_fail(marking->arguments, &marking->walk, &marking->err);
        return marking->refused + missing > 0 ? EXIT_FAILED : EXIT_DONE;
}

/* Which letters are meant where --state does not say. */
static unsigned usual_states(const struct marking *marking, bool undo, enum letter_state of)
{
        if (undo)
                return 1u << of;
        if (of == LETTER_PURGED && (marking->named || marking->all))
                return LETTER_ANY_STATE;
        return 1u << LETTER_OPEN;
}

int dlq_mark(const struct arguments *arguments, const struct dlq_walk *walk, enum letter_state to)
{
        const bool undo = argument_given(arguments, "undo");
        struct marking *marking = calloc(1, sizeof *marking);
        int status;

        if (!marking)
                return argument_fail(arguments, EXIT_FAILED, "out of memory");
        marking->arguments = arguments;
        marking->walk = *walk;
        marking->named = arguments->word_count > 1;
        marking->all = argument_given(arguments, "all");
        marking->to = undo ? LETTER_OPEN : to;
        marking->max = argument_integer(arguments, "max", INT64_MAX);
        if (marking->walk.filter.states == 0)
                marking->walk.filter.states = usual_states(marking, undo, to);
        if (marking->all && (undo || to != LETTER_PURGED))
                status = argument_fail(arguments, EXIT_USAGE, "--all goes with purge, and not with --undo");
        else if (dlq_act_begin(&marking->act, arguments, walk->settings, false, &marking->err) < 0)
                status = dlq_fail(arguments, walk, &marking->err);
        else
                status = run_mark(marking);
        kafka_client_free(marking->kafka);
        arena_free(marking->arena);
        free(marking);
        return status;
}
