#include "config/base/completion.h"

#include <assert.h>
#include <stddef.h>

void op_init(struct op *op, void (*on_done)(struct op *))
{
        *op = (struct op){.state = OP_IDLE, .on_done = on_done};
        error_clear(&op->err);
}

void op_begin(struct op *op, void (*abort)(struct op *), void *work)
{
        assert(op->state == OP_IDLE);
        op->state = OP_BUSY;
        op->abort = abort;
        op->work = work;
        error_clear(&op->err);
}

void op_done(struct op *op, const struct error *err)
{
        assert(op->state == OP_BUSY);
        op->state = OP_DONE;
        op->abort = NULL;
        op->work = NULL;
        if (err)
                op->err = *err;
        if (op->on_done)
                op->on_done(op);
}

void op_reset(struct op *op)
{
        assert(op->state != OP_BUSY);
        op->state = OP_IDLE;
        error_clear(&op->err);
}

void op_abort(struct op *op)
{
        if (op->state == OP_BUSY) {
                void (*on_abort)(struct op *) = op->abort;

                assert(on_abort);
                op->state = OP_IDLE;
                op->abort = NULL;
                on_abort(op);
                op->work = NULL;
        }
        op_reset(op);
}
