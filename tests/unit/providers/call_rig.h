/* For tests of calls: hand-made settings with an HTTP provider and the local one, a loop, and running until a call is done. */
#ifndef TESTS_UNIT_PROVIDERS_CALL_RIG_H
#define TESTS_UNIT_PROVIDERS_CALL_RIG_H

#include <ev.h>

#include "config/settings.h"
#include "providers/call.h"

enum { RIG_HTTP, RIG_LOCAL, RIG_PROVIDERS };
enum { RIG_MINILM, RIG_CHAT, RIG_EMBED, RIG_RERANK, RIG_ANSWER, RIG_MODELS };

struct rig {
        struct ev_loop *loop;
        struct provider_settings providers[RIG_PROVIDERS];
        struct model_settings models[RIG_MODELS];
        struct settings settings;
        char url[128];
        struct arena *arena;
        struct providers *room;
};

/* RIG_MINILM has `dimensions` 4; prices are 1 USD in, 2 out, .5 cached a million tokens. base_url: http://127.0.0.1:<port>/v1. */
void rig_init(struct rig *rig, int port);
/* providers_new; asserts that it works. */
void rig_open(struct rig *rig, const struct call_runner *runner);
void rig_fini(struct rig *rig);

/* A call of that model with a deadline in 5 s, its op ready. */
void rig_call_init(struct rig *rig, struct call *call, size_t model);
/* Runs the loop until the call is done, at most 5 s. */
void rig_wait(struct rig *rig, struct call *call);
/* One turn that does not block. */
void rig_turn(struct rig *rig);

#endif
