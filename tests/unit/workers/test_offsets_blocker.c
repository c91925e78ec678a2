#include "workers/cli/offsets_blocker.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { NOW = 1000000 };

static struct blocker taken(const char *status, int64_t lease_wall_ms)
{
        struct blocker blocker = {.found = true, .readable = true, .id = "q1", .tenant = "acme", .claimed = true};

        snprintf(blocker.claim.status, sizeof blocker.claim.status, "%s", status);
        blocker.claim.lease_wall_ms = lease_wall_ms;
        return blocker;
}

static void check(struct blocker blocker, bool claims_known, const char *wanted)
{
        const char *reason = blocker_reason(&blocker, NOW, claims_known);

        cr_assert(strstr(reason, wanted), "\"%s\" has no \"%s\"", reason, wanted);
}

Test(offsets_blocker, says_why_by_what_is_known)
{
        struct blocker b = taken("running", NOW + 1000);

        check(b, true, "a worker is at it");
        b.not_before_wall_ms = NOW + 5000;
        check(b, true, "not due yet");
        check(taken("running", NOW - 1), true, "lapsed");
        check(taken("waiting", 0), true, "given back");
        check(taken("ok", 0), true, "has ended");
        check(taken("failed", 0), true, "has ended");
        b = taken("running", NOW + 1000);
        b.claimed = false;
        check(b, true, "no worker has taken it up");
        check(b, false, "Redis does not answer");
        b.id[0] = '\0';
        check(b, true, "cannot be read");
        b.found = false;
        check(b, true, "nothing waits");
}
