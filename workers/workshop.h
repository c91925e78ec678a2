/* What tasks find in their process: the parts that worker.c builds, lent to every task. */
#ifndef WORKERS_WORKSHOP_H
#define WORKERS_WORKSHOP_H

#include <ev.h>

#include "config/base/metrics.h"
#include "config/settings.h"
#include "providers/call.h"
#include "providers/prompt.h"
#include "queues/kafka/producer.h"
#include "queues/redis/redis_connection.h"
#include "workers/loop/pool.h"
#include "workers/loop/ready.h"
#include "workers/shelf.h"

enum { RELEASE_BYTES = 64, HOLDER_PREFIX_BYTES = 72 };

struct running_jobs;

struct workshop {
        struct ev_loop *loop;
        struct settings *settings; /* the newest; a task keeps a reference of its own */
        struct redis_connection *redis;
        struct producer *producer;
        struct providers *providers;
        struct prompts *prompts;
        struct pool *pool;
        struct shelf *shelves; /* [shelf_count]: one a collection */
        size_t shelf_count;
        struct ready_list ready;
        char holder[HOLDER_PREFIX_BYTES]; /* worker, pid, start */
        char release[RELEASE_BYTES];
        struct gates *gates;        /* task/admit.h */
        struct running_jobs *jobs;  /* paused and cancelled ones; NULL: not known yet */
        size_t flooded[KIND_COUNT]; /* tasks that wait for the flood guard, by the topic they came by */
        size_t weight;       /* of the tasks admitted: their answers' bytes, an estimate */
        struct task *spares; /* freed tasks, kept for the next ones */
        size_t spare_count;
};

/* The collection's shelf; NULL: none of that name. */
struct shelf *workshop_shelf(struct workshop *shop, struct span name);

#endif
