/* Threads take jobs from a bounded queue in order; ended jobs go to a list that an ev_async wakes the loop for. One mutex guards both
 * lists. A job lives in its op's work; op_abort() takes a queued one back and waits for a running one. */
#include "workers/loop/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "config/base/own.h"

enum { THREADS_MAX = 64 };

struct job {
        struct job *next;
        struct pool *pool;
        struct op *op; /* NULL: given up */
        int (*run)(void *argument, struct error *err);
        void *argument;
        struct error err;
        bool running, ended;
};

struct pool {
        struct ev_loop *loop;
        ev_async wake;
        pthread_mutex_t mutex;
        pthread_cond_t work, end;
        struct job *queue, **queue_tail, *ended, **ended_tail;
        size_t queued, queue_max;
        bool stopping;
        int thread_count;
        pthread_t threads[THREADS_MAX];
};

static void *work(void *argument)
{
        struct pool *pool = argument;

        pthread_mutex_lock(&pool->mutex);
        for (;;) {
                struct job *job = pool->queue;

                if (!job) {
                        if (pool->stopping)
                                break;
                        pthread_cond_wait(&pool->work, &pool->mutex);
                        continue;
                }
                pool->queue = job->next;
                if (!pool->queue)
                        pool->queue_tail = &pool->queue;
                pool->queued--;
                job->running = true;
                pthread_mutex_unlock(&pool->mutex);
                error_clear(&job->err);
                if (job->run(job->argument, &job->err) == 0)
                        error_clear(&job->err);
                else if (job->err.code == CODE_NONE)
                        error_set(&job->err, CODE_INTERNAL, "a job failed without a reason");
                pthread_mutex_lock(&pool->mutex);
                job->running = false;
                job->ended = true;
                job->next = NULL;
                *pool->ended_tail = job;
                pool->ended_tail = &job->next;
                pthread_cond_broadcast(&pool->end);
                ev_async_send(pool->loop, &pool->wake);
        }
        pthread_mutex_unlock(&pool->mutex);
        return NULL;
}

static void on_wake(struct ev_loop *loop, ev_async *async, int events)
{
        struct pool *pool = async->data;
        struct job *job;

        (void)loop;
        (void)events;
        pthread_mutex_lock(&pool->mutex);
        job = pool->ended;
        pool->ended = NULL;
        pool->ended_tail = &pool->ended;
        pthread_mutex_unlock(&pool->mutex);
        while (job) {
                struct job *next = job->next;

                if (job->op)
                        op_done(job->op, &job->err);
                free(job);
                job = next;
        }
}

struct pool *pool_new(struct ev_loop *loop, int threads, size_t queue_max, struct error *err)
{
        struct pool *pool = calloc(1, sizeof *pool);

        if (!pool) {
                error_set(err, CODE_INTERNAL, "out of memory");
                return NULL;
        }
        pool->loop = loop;
        pool->queue_max = queue_max;
        pool->queue_tail = &pool->queue;
        pool->ended_tail = &pool->ended;
        pthread_mutex_init(&pool->mutex, NULL);
        pthread_cond_init(&pool->work, NULL);
        pthread_cond_init(&pool->end, NULL);
        ev_async_init(&pool->wake, on_wake);
        pool->wake.data = pool;
        ev_async_start(loop, &pool->wake);
        for (int i = 0; i < threads && i < THREADS_MAX; i++) {
                if (pthread_create(&pool->threads[i], NULL, work, pool) != 0)
                        break;
                pool->thread_count++;
        }
        if (pool->thread_count == 0) {
                pool_free(pool);
                error_set(err, CODE_INTERNAL, "no thread could be started");
                return NULL;
        }
        return pool;
}

void pool_free(struct pool *pool)
{
        struct job *queued;
        struct error err;

        if (!pool)
                return;
        pthread_mutex_lock(&pool->mutex);
        pool->stopping = true;
        queued = pool->queue;
        pool->queue = NULL;
        pool->queue_tail = &pool->queue;
        pthread_cond_broadcast(&pool->work);
        pthread_mutex_unlock(&pool->mutex);
        for (int i = 0; i < pool->thread_count; i++)
                pthread_join(pool->threads[i], NULL);
        on_wake(pool->loop, &pool->wake, 0);
        error_set(&err, CODE_INTERNAL, "the process is ending");
        while (queued) {
                struct job *next = queued->next;

                if (queued->op)
                        op_done(queued->op, &err);
                free(queued);
                queued = next;
        }
        ev_async_stop(pool->loop, &pool->wake);
        pthread_mutex_destroy(&pool->mutex);
        pthread_cond_destroy(&pool->work);
        pthread_cond_destroy(&pool->end);
        free(pool);
}

static void unqueue(struct pool *pool, struct job *job)
{
        struct job **at = &pool->queue;

        while (*at && *at != job)
                at = &(*at)->next;
        if (!*at)
                return;
        *at = job->next;
        if (!*at)
                pool->queue_tail = at;
        pool->queued--;
}

static void give_up(struct op *op)
{
        struct job *job = op->work;
        struct pool *pool = job->pool;
        bool mine;

        pthread_mutex_lock(&pool->mutex);
        while (job->running)
                pthread_cond_wait(&pool->end, &pool->mutex);
        mine = !job->ended;
        if (mine)
                unqueue(pool, job);
        else
                job->op = NULL; /* on the list of ended ones, whose reader frees it */
        pthread_mutex_unlock(&pool->mutex);
        if (mine)
                free(job);
}

int pool_run(struct pool *pool, struct op *op, int (*run)(void *argument, struct error *err), void *argument)
{
        struct job *job;

        if (pool_queued(pool) >= pool->queue_max || !(job = calloc(1, sizeof *job)))
                return -1;
        *job = (struct job){.pool = pool, .op = op, .run = run, .argument = argument};
        op_begin(op, give_up, job);
        pthread_mutex_lock(&pool->mutex);
        *pool->queue_tail = job;
        pool->queue_tail = &job->next;
        pool->queued++;
        pthread_cond_signal(&pool->work);
        pthread_mutex_unlock(&pool->mutex);
        return 0;
}

size_t pool_queued(const struct pool *pool)
{
        struct pool *unlocked = (struct pool *)(uintptr_t)pool;
        size_t queued;

        pthread_mutex_lock(&unlocked->mutex);
        queued = pool->queued;
        pthread_mutex_unlock(&unlocked->mutex);
        return queued;
}
