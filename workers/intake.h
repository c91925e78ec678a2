/* Intake: the sources of this worker's kinds and lanes, the tasks under way, and the bounds between them.
 *
 *      source ─ on_record ─► task ─► ready list ─► … ─► ended ─► freed, counted, room for the next
 *
 * Full (inflight_max tasks or inflight_bytes_max bytes) holds every source until an eighth is free again. While interactive records
 * come, bulk keeps to its share. A kind of which half of inflight_max waits for the flood guard is held alone: the others go on. */
#ifndef WORKERS_INTAKE_H
#define WORKERS_INTAKE_H

#include "queues/kafka/source.h"
#include "workers/task/task.h"
#include "workers/workshop.h"

enum { INTAKE_SOURCES_MAX = KIND_COUNT * (LANE_COUNT + 1) };

struct intake_source {
        struct source *source; /* NULL: not opened */
        enum kind kind;
        enum lane lane; /* of a retry source: bulk */
        bool retry;
        int64_t ahead_ms; /* how far the records of a retry topic were found to come from the future; 0: they do not */
        struct intake *intake;
};

struct intake {
        struct workshop *shop;
        struct intake_source sources[INTAKE_SOURCES_MAX];
        size_t source_count;
        struct task *tasks; /* all under way, newest first */
        size_t task_count, bulk_count, bytes;
        bool full;
        int64_t interactive_seen_ms; /* when the last interactive record came */
        int64_t ended_at_ms;         /* when the last task ended */
        uint64_t ended;
        bool out_of_memory;
};

/* Opens the sources of settings->worker's kinds and lanes, and the retry topics of each kind. */
int intake_open(struct intake *intake, struct workshop *shop, struct error *err);
/* No further records; what has ended is committed. */
void intake_stop(struct intake *intake);
/* Gives up every task and leaves the groups. */
void intake_close(struct intake *intake, int64_t timeout_ms);

/* Runs a task from the ready list. */
void intake_run(struct intake *intake, struct task *task);
/* For the slow timer: renews claims, looks at the bounds, refreshes gauges. */
void intake_tick(struct intake *intake);
/* Gives up all tasks and gives their claims back (first call), so that the next worker need not wait for leases to lapse; true once Redis
 * has answered for all. */
bool intake_let_go(struct intake *intake, bool first);
/* How long the task most overdue is past its deadline, ms; 0: none is. */
int64_t intake_overdue_ms(const struct intake *intake);
/* The age of the oldest task, ms; 0: none. */
int64_t intake_oldest_ms(const struct intake *intake);

#endif
