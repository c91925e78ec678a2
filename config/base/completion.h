/* An asynchronous call's completion record. The one who waits embeds a struct op; the one who does the work marks it BUSY, fills in
 * error or result, and ends it with op_done(), on the loop thread only. on_done must do no work of its own: it puts its owner on the
 * ready list, which the loop drains once a turn.
 *
 *      IDLE ──op_begin──► BUSY ──op_done──► DONE ──op_reset──► IDLE
 *
 * abort: given by the worker at op_begin(): how it is told to let go of a call (op->work still names its record). The waiter gives up
 * with op_abort(): after that the op is IDLE, the worker never touches it again, and on_done is not called. */
#ifndef CONFIG_BASE_COMPLETION_H
#define CONFIG_BASE_COMPLETION_H

#include "config/base/error.h"

enum op_state { OP_IDLE, OP_BUSY, OP_DONE };

struct op {
        enum op_state state;
        struct error err;             /* valid when DONE; err.code CODE_NONE = success */
        void (*on_done)(struct op *); /* set once by the waiter */
        void (*abort)(struct op *);   /* set by the worker at op_begin; NULL: cannot be given up */
        void *work;                   /* the worker's own record of this call */
};

void op_init(struct op *op, void (*on_done)(struct op *));
void op_begin(struct op *op, void (*abort)(struct op *), void *work); /* asserts IDLE */
/* err NULL or code CODE_NONE: success. Asserts BUSY. */
void op_done(struct op *op, const struct error *err);
void op_reset(struct op *op); /* DONE or IDLE → IDLE */
/* BUSY → IDLE without on_done (a worker that can't give up detaches itself instead). IDLE, DONE: as op_reset. */
void op_abort(struct op *op);

#endif
