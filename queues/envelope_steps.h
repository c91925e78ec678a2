/* The fields of each kind, as tables: the part of the decoder that a new kind extends. */
#ifndef QUEUES_ENVELOPE_STEPS_H
#define QUEUES_ENVELOPE_STEPS_H

#include "queues/envelope.h"

/* What every request may hold beside its kind's own fields. */
struct common_fields {
        struct span id, tenant, deadline, job, traceparent;
        int64_t timeout_ms, result_ttl_s; /* 0: absent */
        json_t *metadata, *then;
        int reply; /* 0: "list"; −1: absent */
};

/* Reads the whole object: common fields, the kind's own, the steps under `then`. Fills request->steps and step_count. */
int envelope_read_steps(const json_t *object, struct arena *arena, struct request *request, struct common_fields *ret_common,
                        struct error *err);

#endif
