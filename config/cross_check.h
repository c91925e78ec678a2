/* What no single key can tell: names that refer to others, fallbacks that go round, sums, addresses. */
#ifndef CONFIG_CROSS_CHECK_H
#define CONFIG_CROSS_CHECK_H

#include "config/bind.h"

/* Completes the settings that bind_all left: appends the built-in provider and models, the collection `docs` where none was
 * configured, turns names into indices, derives what depends on other keys. Faults go to binder->faults. */
void cross_check(struct binder *binder);

#endif
