/* The ready list: tasks that have something to do, run once a loop turn, a bounded number of them. */
#ifndef WORKERS_LOOP_READY_H
#define WORKERS_LOOP_READY_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

struct task;

struct ready_list {
        struct ev_loop *loop;
        struct task *first, *last;
        size_t turn_max;
        bool running;
        ev_prepare before_wait; /* runs what is ready before the loop would sleep */
        ev_idle not_yet;        /* keeps the loop from sleeping while some are left, or have come since */
        void (*run)(struct task *task);
};

void ready_init(struct ready_list *list, struct ev_loop *loop, size_t turn_max, void (*run)(struct task *task));
void ready_fini(struct ready_list *list);
/* Each task at most once: the caller checks task->ready. */
void ready_add(struct ready_list *list, struct task *task);
void ready_remove(struct ready_list *list, struct task *task);

#endif
