/* A worker without a broker: the parts that workers/worker.c builds, on one loop in this thread, over the fake broker, a private
 * redis-server and the provider stub. */
#ifndef TESTS_TORTURE_TORTURE_RIG_H
#define TESTS_TORTURE_TORTURE_RIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/settings.h"

/* Once, in the parent: the servers, which die with it, and the settings. */
void rig_servers(void);
void rig_servers_end(void);
struct settings *rig_settings(void);

/* Builds the parts; -1: one could not be built, and what had been is taken down again. `dir`: where collections keep their snapshots;
 * NULL: nowhere. */
int rig_open(const char *dir, struct error *err);
void rig_close(void); /* tasks under way are given up */

/* Turns the loop until `until` says yes; false: not within the time. */
bool rig_run(bool (*until)(void *user), void *user, int64_t timeout_ms);
bool rig_redis_ready(void *user);
bool rig_index_ready(void *user); /* every collection has applied what its topic holds */

bool rig_out_of_memory(void); /* the worker would end itself */
/* What is wrong with the counts of an idle worker; NULL: nothing. Static. */
const char *rig_residue(void);

/* A result as it stands in Redis: a new reference, NULL: none. Asked for on a connection of its own. */
json_t *rig_result(const char *tenant, const char *id);

struct shelf *rig_shelf(const char *name);
int64_t rig_now_ms(void);

#endif
