/* What /health, /ready and /metrics say about this worker. */
#ifndef WORKERS_ADMIN_HEALTH_H
#define WORKERS_ADMIN_HEALTH_H

#include "queues/kafka/topics.h"
#include "workers/intake.h"
#include "workers/workshop.h"

struct health {
        struct workshop *shop;
        const struct intake *intake;
        const struct topics_watch *topics;
        bool open, draining;
};

/* An admin_answer (admin_http.h) over a struct health. /health: 200 while records move, 503 when one has been under way for minutes past its
 * deadline, or a consumer polls and gets nowhere though its broker answers (queues/kafka/source_watch.h), with the group and why. /ready: 200 or 503 with the parts that are not, as JSON. */
int health_answer(void *health, const char *path, struct buffer *body, const char **ret_content_type);

/* True: a consumer can't go on in this process (fenced by another with the same worker.instance_id); *err says why. To be asked now and
 * then: the worker ends with it rather than idle. */
bool health_failed(const struct health *health, struct error *err);

#endif
