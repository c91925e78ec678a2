/* Private to workers/task/: the states that task_begin.c and task_end.c have, and what all stand on. */
#ifndef WORKERS_TASK_TASK_STEPS_H
#define WORKERS_TASK_TASK_STEPS_H

#include "workers/task/task.h"

enum step task_step_decode(struct task *task);
enum step task_step_claim(struct task *task);
enum step task_step_release(struct task *task);
enum step task_step_retry(struct task *task);
enum step task_step_handover(struct task *task);
enum step task_step_letter(struct task *task);
enum step task_step_cancel(struct task *task);
enum step task_step_store(struct task *task);
enum step task_step_count(struct task *task);
enum step task_step_commit(struct task *task);

/* The part of a state that waits for task->op: false when the caller must return *ret. A failure of our own stores is waited out here. */
bool task_op_ended(struct task *task, enum step *ret);
/* The same state once more, a little later. */
enum step task_try_again(struct task *task);
/* The end: a letter, and a result that says so. */
enum step task_fail(struct task *task, const struct error *err);
/* The deadline has passed. */
enum step task_expire(struct task *task);

/* It has durably ended: on to COUNT where it belongs to a job, else to COMMIT. */
enum step task_end(struct task *task);
/* Its job is cancelled, and the task has its claim. */
enum step task_cancel(struct task *task);
bool task_job_is_cancelled(const struct task *task);
/* True: its job is paused; the record waits in a retry topic until *ret_not_before_wall_ms. */
bool task_job_is_paused(const struct task *task, int64_t wall_ms, int64_t *ret_not_before_wall_ms);
/* The outcome as JSON into task->out. False: it takes more memory than one may. */
bool task_render_result(struct task *task);

/* The prefix of the topics that the record came by: the common one or a tenant's own. */
const char *task_prefix(const struct task *task);
int64_t task_result_ttl_s(const struct task *task);

#endif
