#include <criterion/criterion.h>
#include <stdatomic.h>

#include "workers/loop/pool.h"

static struct ev_loop *loop;
static struct pool *pool;
static int ended;

static void on_done(struct op *op)
{
        (void)op;
        if (++ended == 100)
                ev_break(loop, EVBREAK_ALL);
}

static int square(void *argument, struct error *err)
{
        int *value = argument;

        if (*value == 13)
                return error_set(err, CODE_INTERNAL, "unlucky");
        *value *= *value;
        return 0;
}

Test(pool, runs_jobs_and_hands_back_their_errors)
{
        static struct op ops[100];
        static int values[100];

        loop = ev_loop_new(0);
        pool = pool_new(loop, 2, 100, NULL);
        for (int i = 0; i < 100; i++) {
                values[i] = i;
                op_init(&ops[i], on_done);
                cr_assert_eq(pool_run(pool, &ops[i], square, &values[i]), 0);
        }
        ev_run(loop, 0);
        cr_assert_eq(ended, 100);
        cr_assert_eq(values[9], 81);
        cr_assert_eq(ops[13].err.code, CODE_INTERNAL);
        cr_assert_eq(ops[14].err.code, CODE_NONE);
        pool_free(pool);
        ev_loop_destroy(loop);
}

static _Atomic int gate;

static int wait_for_gate(void *argument, struct error *err)
{
        (void)argument;
        (void)err;
        while (!atomic_load(&gate))
                ;
        return 0;
}

Test(pool, is_bounded_and_takes_queued_jobs_back)
{
        struct op busy, queued, refused;
        int value = 3;

        loop = ev_loop_new(0);
        pool = pool_new(loop, 1, 1, NULL);
        op_init(&busy, NULL);
        op_init(&queued, NULL);
        op_init(&refused, NULL);
        cr_assert_eq(pool_run(pool, &busy, wait_for_gate, NULL), 0);
        while (pool_queued(pool))
                ;
        cr_assert_eq(pool_run(pool, &queued, square, &value), 0);
        cr_assert_eq(pool_run(pool, &refused, square, &value), -1);
        cr_assert_eq(refused.state, OP_IDLE);
        op_abort(&queued);
        cr_assert_eq(pool_queued(pool), 0);
        atomic_store(&gate, 1);
        op_abort(&busy);
        pool_free(pool);
        cr_assert_eq(value, 3);
        ev_loop_destroy(loop);
}
