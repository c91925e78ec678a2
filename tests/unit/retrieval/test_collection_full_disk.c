/* A disk that is full, or that fails, while a snapshot is written: the old one stays whole or the new one is, and the collection goes on. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/unit/retrieval/test_collection_rig.h"

enum { STEP_BYTES = 7 };

static char dir[64];
static struct rig rig;
static int fsyncs_before_failure = -1, renames_before_failure = -1;

/* In place of the C library's, for this program. */
int fsync(int fd)
{
        if (fsyncs_before_failure >= 0 && fsyncs_before_failure-- == 0) {
                errno = EIO;
                return -1;
        }
        return (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to)
{
        if (renames_before_failure >= 0 && renames_before_failure-- == 0) {
                errno = ENOSPC;
                return -1;
        }
        return (int)syscall(SYS_rename, from, to);
}

static void setup(void)
{
        signal(SIGXFSZ, SIG_IGN);
        snprintf(dir, sizeof dir, "/tmp/millrace-test-XXXXXX");
        cr_assert(mkdtemp(dir));
        rig_init(&rig, dir, NULL);
}

static const char *in_dir(const char *name)
{
        static char path[128];

        snprintf(path, sizeof path, "%s/%s", dir, name);
        return path;
}

static void teardown(void)
{
        rig_fini(&rig);
        remove(in_dir("snapshot"));
        remove(in_dir("snapshot.part"));
        remove(dir);
}

TestSuite(full_disk, .init = setup, .fini = teardown);

/* Files may grow to so many bytes; what is more is refused in the middle of a write. */
static void allow(rlim_t bytes)
{
        struct rlimit limit;

        cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = bytes;
        cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static rlim_t snapshot_bytes(void)
{
        struct stat st;

        return stat(in_dir("snapshot"), &st) == 0 ? (rlim_t)st.st_size : 0;
}

static int write_snapshot(void)
{
        return collection_snapshot(rig.collection, "c", &rig.err);
}

/* What a new process finds. */
static const char *found_after_restart(const char *query)
{
        static char found[64];
        struct rig again;
        bool loaded;

        rig_init(&again, dir, NULL);
        cr_assert_eq(collection_open_snapshot(again.collection, "c", &loaded, &again.err), 0, "%s", again.err.message);
        snprintf(found, sizeof found, "%s", rig_find(&again, query));
        rig_fini(&again);
        return found;
}

Test(full_disk, every_place_where_it_can_be_full_leaves_the_old_snapshot_whole)
{
        rlim_t whole;

        rig_put(&rig, "t", "a", 1, "the old fox", NULL);
        cr_assert_eq(write_snapshot(), 0);
        rig_put(&rig, "t", "b", 1, "the new fox with a longer text than the old one had", NULL);
        allow(RLIM_INFINITY);
        whole = 2 * snapshot_bytes() + 256;
        for (rlim_t bytes = 0; bytes < whole; bytes += STEP_BYTES) {
                int result;

                allow(bytes);
                result = write_snapshot();
                allow(RLIM_INFINITY);
                if (result == 0)
                        break;
                cr_assert(rig.err.message[0]);
                cr_assert_neq(access(in_dir("snapshot.part"), F_OK), 0, "nothing is left of it, at %zu bytes", (size_t)bytes);
                cr_assert_str_eq(found_after_restart("old"), "a#0", "at %zu bytes", (size_t)bytes);
                cr_assert_str_eq(found_after_restart("new"), "", "at %zu bytes", (size_t)bytes);
                cr_assert_str_eq(rig_find(&rig, "new"), "b#0", "what runs goes on");
        }
        cr_assert_eq(write_snapshot(), 0, "%s", rig.err.message);
        cr_assert_str_eq(found_after_restart("new"), "b#0");
}

Test(full_disk, a_failing_fsync_or_rename_leaves_one_of_the_two_whole)
{
        rig_put(&rig, "t", "a", 1, "the old fox", NULL);
        cr_assert_eq(write_snapshot(), 0);
        rig_put(&rig, "t", "b", 1, "the new fox", NULL);
        fsyncs_before_failure = 0;
        cr_assert_eq(write_snapshot(), -1);
        cr_assert_str_eq(found_after_restart("new"), "", "the file's own failed: the old one");
        renames_before_failure = 0;
        cr_assert_eq(write_snapshot(), -1);
        cr_assert_str_eq(found_after_restart("new"), "");
        fsyncs_before_failure = 1;
        cr_assert_eq(write_snapshot(), -1);
        cr_assert_str_eq(found_after_restart("new"), "b#0", "the folder's failed: the new one has its name already");
        cr_assert_eq(write_snapshot(), 0);
        cr_assert_str_eq(found_after_restart("old"), "a#0");
}
