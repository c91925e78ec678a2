/* A request's life in this process: one struct owns everything, one table says how it may go on (task_run.c).
 *
 *                 ┌──────────────── claim lost ────────────────┐
 *                 ▼                                            │
 *   DECODE ─► CLAIM ─► RECALL ─► ADMIT ─► ATTEMPT ─► CALL ─► KEEP ─► (next step: ADMIT) ─► STORE ─► (COUNT) ─► COMMIT ─► DONE
 *     │         │                  ▲                   │ │                                   ▲         ▲
 *     │         │                  └─BACKOFF◄──────────┘ ├─► RELEASE ─► RETRY | HANDOVER ────┼─────────┤
 *     └─────────┴────────────────────────────────────────┴─► LETTER ─────────────────────────┴─────────┘
 *
 * COUNT is for records of a job (task_job.c). Those of a paused one go from DECODE to RETRY, those of a cancelled one from CLAIM or ADMIT to
 * CANCEL: a cancelled result, and COUNT.
 *
 * Each state is one short function that goes on (STEP_MORE), waits for an op or a timer (STEP_WAIT), or ends (STEP_DONE). Nothing but the
 * loop's ready list runs a task. What a provider was paid for is never thrown away: steps and embeddings go to the ledger at once, and a task
 * whose result could not be written under its claim keeps its answer and claims again. Failures of our own stores (Redis, Kafka) are waited out in the state they struck: bounded, as intake
 * stops at inflight_max; a task leaves without an end only when the process drains or its partition is lost. */
#ifndef WORKERS_TASK_TASK_H
#define WORKERS_TASK_TASK_H

#include <ev.h>

#include "config/base/buffer.h"
#include "config/base/completion.h"
#include "providers/call.h"
#include "providers/prompt.h"
#include "queues/envelope.h"
#include "queues/kafka/producer.h"
#include "queues/kafka/source.h"
#include "queues/outcome.h"
#include "queues/redis/claims.h"
#include "queues/redis/jobs.h"
#include "queues/redis/ledger.h"
#include "queues/redis/results.h"

struct workshop;

enum task_state {
        TASK_DECODE,   /* the record is read */
        TASK_CLAIM,    /* we want to be the one who works at it */
        TASK_RECALL,   /* what earlier deliveries finished is read from the ledger */
        TASK_ADMIT,    /* may its provider be called now: task/admit.h */
        TASK_ATTEMPT,  /* one more attempt is counted */
        TASK_CALL,     /* the step's kind works */
        TASK_KEEP,     /* a chain's finished step goes to the ledger */
        TASK_BACKOFF,  /* a short wait before the next attempt */
        TASK_RELEASE,  /* the claim is given back, for another worker or a later time */
        TASK_RETRY,    /* into a retry topic */
        TASK_HANDOVER, /* into the next kind's topic */
        TASK_LETTER,   /* into the dead letters */
        TASK_CANCEL,   /* its job is cancelled: a result that says so */
        TASK_STORE,    /* the result is written */
        TASK_COUNT,    /* its job's progress: task_job.c */
        TASK_COMMIT,   /* durably ended: the offset counts */
        TASK_DONE,
        TASK_STATES
};

enum step { STEP_MORE, STEP_WAIT, STEP_DONE };
enum paid_phase { PAID_BEGIN, PAID_RECALL, PAID_CALL, PAID_KEEP, PAID_ENDED };

/* What one step of a chain hands to the next: the query and the passages found. */
struct passages {
        bool given;
        struct span query;
        struct passage *list;
        size_t count;
};

struct task {
        struct task *next_ready, *prev, *next; /* the ready list; the list of all tasks */
        bool ready, from_bulk;
        enum kind source_kind; /* of the topic it came by: a chain's may be another than its step's */
        size_t bytes; /* of key, value and headers: what it counts for in the intake's bound */
        size_t weight; /* what its answer may take, an estimate */
        bool admitted; /* the weight is counted */
        enum task_state state;
        struct workshop *shop;
        struct settings *settings; /* a reference */
        struct record *record;
        struct delivery delivery;
        struct arena *arena;
        struct arena *scratch; /* what one state's op borrows: emptied at each move and each new try, so that an end always has room */
        struct request request;
        int64_t deadline;                          /* clock_now_ms() */
        int64_t started_ms, queued_ms;
        struct op op;                              /* Redis, Kafka, the pool: one at a time */
        ev_timer timer;
        bool timed;                                /* the timer has fired since it was set */

        char holder[CLAIM_HOLDER_MAX + 1];         /* names this process and this record */
        struct claim claim;
        int64_t take;                              /* the number under which the claim is being asked for; 0: it is not */
        struct claim_answer claim_answer;
        struct claim_renewal renewal;
        struct op renew_op;
        struct claim_renewal renew_answer;
        int64_t renewed_ms;
        bool claimed, claim_lost;

        size_t step;                               /* under work */
        int phase;                                 /* of its kind; 0 at its begin */
        void *work;                                /* the kind's own, from the arena */
        struct call call;
        struct {
                enum paid_phase phase;
                char field[64];
        } paid; /* an embedding under way: kinds/paid_embedding.c */
        struct {
                bool known;              /* a provider is called, or was: */
                size_t provider;         /* its index */
                bool served;             /* its provider has answered well in this attempt: not a ledger, nor nobody */
                bool flooded, repeating; /* it waits for the flood guard; it has taken a token of the retry budget */
                uint64_t probe;          /* it is the guard's probe; 0: it is not */
                int64_t budget_since_ms; /* when the retry budget first said no; 0: it has not */
        } admission; /* admit.c */
        bool may_recall; /* an earlier attempt or delivery may have left answers in the ledger */
        struct passages passages;
        struct outcome_step steps[STEPS_MAX];
        struct outcome outcome;
        int attempts, uncount, limited;            /* counted ones; to take back; rate-limited ones in a row */
        int refusals;                              /* answers of our own stores that no waiting mends */
        bool doomed;                               /* its end is settled: it fails with `last` as soon as it is claimed */
        bool failed;                               /* its end is a failure */
        bool answered;                             /* its end is an answer, and paid for: it is kept until it is stored */
        bool counted;                              /* the attempt that comes next is counted already */
        bool leaving;                              /* its partition goes: it gives its claim back and is dropped */
        bool duplicate;                            /* another delivery of it has ended */
        bool cancelled;                            /* its end is that of its job */
        struct {
                int phase;
                struct job_end end;
                struct result_read read;
                struct job_counted counted;
        } tally; /* task_job.c */
        struct error last;                         /* why it failed, or the last attempt did */
        int64_t first_failed_wall_ms, last_failed_wall_ms;
        int64_t not_before_wall_ms;
        int omitted;                               /* what the letter goes without, enum omission: too large */
        bool no_result;                            /* its end is a letter alone: another result stands, or the id can't be read */

        struct buffer out;                         /* result or record being rendered; kept over tasks */
        struct producer_ack ack;
        struct ledger_read recall;
        struct ledger_answer kept;
        struct result_answer stored;
        struct span text;                          /* what an op borrows while it is under way */
};

/* Takes the record over. NULL when memory is out (the record stays the caller's). */
struct task *task_new(struct workshop *shop, struct record *record);
/* Gives up whatever is under way and frees it; the record is dropped unless the task had ended. A bounded number of freed tasks is kept
 * for the next ones, until task_spares_free(). */
void task_free(struct task *task);
void task_spares_free(struct workshop *shop);

/* Runs the task until it waits or ends. Returns true when it is DONE, or has left (task->leaving), and may be freed. */
bool task_run(struct task *task);
/* Its partition goes to another worker, and it has not called anyone: it gives its claim back, so that the other need not wait for the
 * lease, and ends without an end. */
void task_leave(struct task *task);

/* Puts it on the ready list; from any callback on the loop thread. */
void task_ready(struct task *task);
/* Wakes the task after delay_ms; its state then sees task->timed. */
void task_wait(struct task *task, int64_t delay_ms);
void task_unwait(struct task *task);

/* Milliseconds to the deadline; ≤ 0: past. */
int64_t task_remaining_ms(const struct task *task);

/* For a kind, when an operation of our own stores (Redis, Kafka; not a provider) ended with `failure`. True: it will pass, so the operation is
 * to be started again when the task's timer, set now, has fired. False: *err says why the step ends (refused for good, or the deadline has
 * passed meanwhile). */
bool task_waits_for_store(struct task *task, const struct error *failure, struct error *err);
/* Will waiting help? A store that is down, full or not ours to use comes back; an operation that is refused does not change. */
bool task_store_will_pass(const struct error *failure);

/* Moves on along the table (asserted). */
enum step task_move(struct task *task, enum task_state next);
const char *task_state_name(enum task_state state);

/* The claim was lost or the request cancelled: stop the call, look again. */
void task_claim_lost(struct task *task);

/* Gives up what is under way and, where the task is claimed, gives the claim back: for a drain that leaves it. Its op is renew_op. */
void task_let_go(struct task *task);

/* Renews the claim when a third of its lease has gone; for the loop's slow timer. */
void task_renew(struct task *task);

#endif
