#include "workers/loop/ready.h"

#include "workers/task/task.h"

static void on_prepare(struct ev_loop *loop, ev_prepare *watcher, int events)
{
        struct ready_list *list = watcher->data;

        (void)events;
        list->running = true;
        for (size_t n = 0; list->first && n < list->turn_max; n++) {
                struct task *task = list->first;

                ready_remove(list, task);
                list->run(task);
        }
        list->running = false;
        if (list->first)
                ev_idle_start(loop, &list->not_yet);
        else
                ev_idle_stop(loop, &list->not_yet);
}

static void on_idle(struct ev_loop *loop, ev_idle *watcher, int events)
{
        (void)loop;
        (void)watcher;
        (void)events;
}

void ready_init(struct ready_list *list, struct ev_loop *loop, size_t turn_max, void (*run)(struct task *task))
{
        *list = (struct ready_list){.loop = loop, .turn_max = turn_max, .run = run};
        ev_prepare_init(&list->before_wait, on_prepare);
        list->before_wait.data = list;
        ev_prepare_start(loop, &list->before_wait);
        ev_idle_init(&list->not_yet, on_idle);
}

void ready_fini(struct ready_list *list)
{
        ev_prepare_stop(list->loop, &list->before_wait);
        ev_idle_stop(list->loop, &list->not_yet);
}

void ready_add(struct ready_list *list, struct task *task)
{
        task->ready = true;
        task->next_ready = NULL;
        if (list->last)
                list->last->next_ready = task;
        else
                list->first = task;
        list->last = task;
        if (!list->running)
                ev_idle_start(list->loop, &list->not_yet); /* it may have come between the drain and the sleep */
}

void ready_remove(struct ready_list *list, struct task *task)
{
        struct task *before = NULL;

        for (struct task *at = list->first; at; before = at, at = at->next_ready) {
                if (at != task)
                        continue;
                if (before)
                        before->next_ready = task->next_ready;
                else
                        list->first = task->next_ready;
                if (list->last == task)
                        list->last = before;
                break;
        }
        task->ready = false;
        task->next_ready = NULL;
}
