/* The steps: read the file (bounded) → tree of nodes (tree) → settings by the table of options (bind) → what keys mean together
 * (cross_check). Each step notes faults and goes on, so that one run names them all. Texts are wiped: they may hold secrets. */
#include "config/load.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "config/base/own.h"
#include "config/bind.h"
#include "config/cross_check.h"
#include "config/settings_build.h"
#include "config/tree.h"

enum { ARENA_BYTES_MAX = 32 * 1048576 };

static bool set_folder(struct settings *settings, const char *file)
{
        const char *slash = strrchr(file, '/');
        struct span folder = SPAN(".");

        if (slash)
                folder = slash == file ? SPAN("/") : (struct span){file, (size_t)(slash - file)};
        settings->folder = settings_copy(settings, folder);
        return settings->folder != NULL;
}

/* root NULL and partial false: nothing configured. */
static struct settings *build(const struct node *root, bool partial, const char *file, struct faults *faults)
{
        AUTO_ARENA *arena = arena_new(ARENA_BYTES_MAX);
        struct settings *settings = settings_new();
        struct binder binder;

        if (!arena || !settings || !set_folder(settings, file)) {
                faults_add(faults, 0, "", "memory is out");
                settings_unref(settings);
                return NULL;
        }
        bind_init(&binder, settings, faults, arena);
        binder.partial = partial;
        bind_all(&binder, root);
        if (!partial && arena_ok(arena))
                cross_check(&binder);
        bind_fini(&binder);
        if (faults_total(faults) > 0) {
                settings_unref(settings);
                return NULL;
        }
        return settings;
}

struct settings *settings_load_text(struct span text, const char *file, struct faults *faults)
{
        struct settings *settings;
        AUTO_TREE tree = {0};
        bool partial;

        faults_init(faults, file);
        partial = tree_parse(&tree, text, faults) < 0;
        settings = build(tree.root, partial, file, faults);
        faults_sort(faults);
        return settings;
}

/* The length read, TREE_TEXT_BYTES_MAX + 1 for a file that is larger than it may be; -1 with errno. */
static ssize_t read_file(const char *path, char *into)
{
        AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t len = 0;
        ssize_t n;

        if (fd < 0)
                return -1;
        do {
                n = read(fd, into + len, TREE_TEXT_BYTES_MAX + 1 - len);
                if (n > 0)
                        len += (size_t)n;
        } while ((n > 0 && len <= TREE_TEXT_BYTES_MAX) || (n < 0 && errno == EINTR));
        return n < 0 ? -1 : (ssize_t)len;
}

struct settings *settings_load(const char *path, struct faults *faults)
{
        struct settings *settings = NULL;
        AUTO_FREE char *text = NULL;
        ssize_t len;

        faults_init(faults, path ? path : "");
        if (!path)
                return build(NULL, false, "", faults);
        text = malloc(TREE_TEXT_BYTES_MAX + 1);
        if (!text) {
                faults_add(faults, 0, "", "memory is out");
                return NULL;
        }
        len = read_file(path, text);
        if (len < 0) {
                faults_add(faults, 0, "", "cannot be read: %s", strerror(errno));
                return NULL;
        }
        settings = settings_load_text((struct span){text, (size_t)len}, path, faults);
        explicit_bzero(text, (size_t)len);
        return settings;
}
