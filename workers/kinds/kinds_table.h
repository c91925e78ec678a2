/* One row a kind: how it works at a step, and how it shows what came out. A new kind is one file and one row. */
#ifndef WORKERS_KINDS_KINDS_TABLE_H
#define WORKERS_KINDS_KINDS_TABLE_H

#include "workers/task/task.h"

struct kind_row {
        /* Works at task->step: STEP_MORE (call again at once), STEP_WAIT, or STEP_DONE with 0 or an error in *err. task->phase is 0 at
         * its begin; every further attempt begins at 0 again. */
        enum step (*run)(struct task *task, struct error *err);
        /* The step's `result` object. Called once, after run ended well. */
        void (*render)(struct task *task, struct buffer *out);
        /* Rebuilds task->passages from a finished step's result, as run would have left them. NULL: nothing to hand on. */
        int (*recall)(struct task *task, const json_t *result, struct error *err);
        /* The model whose provider the step will call; false: none, or what is named does not exist (run says so). NULL: none ever. */
        bool (*model)(const struct task *task, size_t *ret_model);
        /* Gives up what it has under way beside task->op and task->call. NULL: nothing. */
        void (*abort)(struct task *task);
};

extern const struct kind_row kinds_table[KIND_COUNT];

/* The model that a step asks for: the alias, or the kind's default. */
int kind_model(const struct task *task, struct span alias, enum kind kind, size_t *ret_model, struct error *err);
/* Starts task->call (kind's part filled in) and accounts for it when it is done. */
void kind_call(struct task *task, enum kind kind, size_t model);
/* After the call's op is DONE: adds usage, cost, model and time to the step. -1: it failed. */
int kind_called(struct task *task, struct error *err);

#endif
