/* The runner behind tests/sanitize/criterion/criterion.h: main() of the test programs in sanitizer builds.
 *
 * Every test runs in a child of its own, forked while the parent has one thread, with its output in an unlinked file that is shown when the
 * test failed. A test passed when its function and its suite's fini returned AND its process then ended with 0 through exit(): that is
 * where LeakSanitizer, ThreadSanitizer and the rest say what they found. Whatever a sanitizer objects to is thereby a crashed test.
 * A child is its own process group, swept when it ends and when its time is up; it dies with the parent.
 *
 *      program [--jobs N] [--filter GLOB] [--list]         GLOB is of suite/name, and may be given several times
 *
 * Exit 0: all passed; 1: not; 2: wrong usage. The last line is Criterion's. */
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sanitize/criterion/criterion.h"

enum {
        JOBS_MAX = 16,
        FILTERS_MAX = 16,
        TESTS_MAX = 4096,
        OUTPUT_BYTES_MAX = 1 << 18,
        TIMEOUT_S = 30,
        SLOWER_BY = 4,
        POLL_MS = 500
};

/* In memory that parent and child share. */
struct verdict {
        int failures;
        bool ended;
};

struct slot {
        pid_t pid; /* 0: free */
        const struct inprocess_test *test;
        struct verdict *verdict;
        int output;
        double began, until;
        bool timed_out;
};

static struct inprocess_suite *suites;
static struct inprocess_test *tests;
static struct slot slots[JOBS_MAX];
static struct verdict *current; /* in a child: its own */
static struct {
        int jobs, filter_count;
        const char *filters[FILTERS_MAX];
        bool list;
} options = {.jobs = 1};
static struct {
        int tested, passing, failing, crashing;
} counts;

/* Every sanitizer's runtime has it. Reports go where the output goes, also from a test that puts a pipe in the place of stderr. */
void __sanitizer_set_report_fd(void *fd) __attribute__((weak)); /* NOLINT: the runtime's name */

void inprocess_add_suite(struct inprocess_suite *suite)
{
        suite->next = suites;
        suites = suite;
}

void inprocess_add_test(struct inprocess_test *test)
{
        test->next = tests;
        tests = test;
}

static void say_failure(const char *file, int line, const char *what, const char *format, va_list args)
{
        current->failures++;
        fprintf(stdout, "[----] %s:%d: Assertion Failed\n[----]   The expression %s is false.\n", file, line, what);
        if (format[1]) {
                fputs("[----]  ", stdout);
                vfprintf(stdout, format, args);
                fputc('\n', stdout);
        }
        fflush(stdout);
}

void inprocess_expect(const char *file, int line, const char *what, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        say_failure(file, line, what, format, args);
        va_end(args);
}

_Noreturn void inprocess_assert(const char *file, int line, const char *what, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        say_failure(file, line, what, format, args);
        va_end(args);
        _exit(1);
}

static double now_s(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const struct inprocess_suite *suite_of(const struct inprocess_test *test)
{
        static const struct inprocess_suite none;

        for (const struct inprocess_suite *suite = suites; suite; suite = suite->next)
                if (strcmp(suite->suite, test->suite) == 0)
                        return suite;
        return &none;
}

static bool wanted(const struct inprocess_test *test)
{
        char name[512];

        if (test->disabled || suite_of(test)->disabled)
                return false;
        snprintf(name, sizeof name, "%s/%s", test->suite, test->name);
        for (int i = 0; i < options.filter_count; i++)
                if (fnmatch(options.filters[i], name, 0) == 0)
                        return true;
        return options.filter_count == 0;
}

static _Noreturn void run_child(const struct slot *slot)
{
        const struct inprocess_suite *suite = suite_of(slot->test);
        void (*init)(void) = slot->test->init ? slot->test->init : suite->init;
        void (*fini)(void) = slot->test->fini ? slot->test->fini : suite->fini;
        sigset_t none;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        dup2(slot->output, STDOUT_FILENO);
        dup2(slot->output, STDERR_FILENO);
        if (__sanitizer_set_report_fd)
                __sanitizer_set_report_fd((void *)(intptr_t)slot->output);
        current = slot->verdict;
        if (init)
                init();
        slot->test->run();
        if (fini)
                fini();
        slot->verdict->ended = true;
        exit(0); /* not _exit: here the sanitizers look for leaks and tell of races by the exit code */
}

static void start(struct slot *slot, const struct inprocess_test *test)
{
        double timeout = test->timeout > 0 ? test->timeout : suite_of(test)->timeout;

        *slot->verdict = (struct verdict){0};
        slot->test = test;
        slot->timed_out = false;
        slot->output = memfd_create("output", MFD_CLOEXEC);
        if (slot->output < 0) {
                perror("memfd_create");
                exit(1);
        }
        fflush(NULL);
        slot->began = now_s();
        slot->until = slot->began + SLOWER_BY * (timeout > 0 ? timeout : TIMEOUT_S);
        slot->pid = fork();
        if (slot->pid == 0)
                run_child(slot);
        if (slot->pid < 0) {
                perror("fork");
                exit(1);
        }
}

static void show_output(int fd)
{
        char part[4096];
        size_t shown = 0;
        ssize_t n;

        lseek(fd, 0, SEEK_SET);
        while (shown < OUTPUT_BYTES_MAX && (n = read(fd, part, sizeof part)) > 0) {
                fwrite(part, 1, (size_t)n, stdout);
                shown += (size_t)n;
        }
        if (shown >= OUTPUT_BYTES_MAX)
                puts("[----] (and more)");
}

static void end(struct slot *slot, int status)
{
        const struct inprocess_test *test = slot->test;
        bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        double seconds = now_s() - slot->began;

        kill(-slot->pid, SIGKILL); /* servers that it left behind */
        counts.tested++;
        if (clean && slot->verdict->ended && slot->verdict->failures == 0) {
                counts.passing++;
        } else {
                show_output(slot->output);
                if (slot->verdict->failures > 0 && !slot->timed_out) {
                        counts.failing++;
                } else {
                        counts.crashing++;
                        if (slot->timed_out)
                                printf("[----] %s::%s: timed out\n", test->suite, test->name);
                        else if (WIFSIGNALED(status))
                                printf("[----] %s::%s: signal %d\n", test->suite, test->name, WTERMSIG(status));
                        else if (slot->verdict->ended)
                                printf("[----] %s::%s: every assertion held, but the process ended with %d: see the sanitizer's "
                                       "report above\n",
                                       test->suite, test->name, WEXITSTATUS(status));
                        else
                                printf("[----] %s::%s: the process ended in mid-test with %d\n", test->suite, test->name,
                                       WEXITSTATUS(status));
                }
                printf("[FAIL] %s::%s: (%.2fs)\n", test->suite, test->name, seconds);
        }
        fflush(stdout);
        close(slot->output);
        slot->pid = 0;
}

/* Waits until a child ended or a time is up; how many still run. */
static int reap(void)
{
        const struct timespec poll = {.tv_nsec = POLL_MS * 1000000};
        sigset_t child;
        int status, running = 0;
        pid_t pid;

        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        sigtimedwait(&child, NULL, &poll);
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                for (int i = 0; i < options.jobs; i++)
                        if (slots[i].pid == pid)
                                end(&slots[i], status);
        for (int i = 0; i < options.jobs; i++) {
                if (slots[i].pid == 0)
                        continue;
                running++;
                if (now_s() >= slots[i].until && !slots[i].timed_out) {
                        slots[i].timed_out = true;
                        kill(-slots[i].pid, SIGKILL);
                }
        }
        return running;
}

static int read_options(int argc, char **argv)
{
        static const struct option longer[] = {{"jobs", required_argument, NULL, 'j'},
                                               {"filter", required_argument, NULL, 'f'},
                                               {"list", no_argument, NULL, 'l'},
                                               {NULL, 0, NULL, 0}};
        int option;

        while ((option = getopt_long(argc, argv, "j:f:l", longer, NULL)) != -1) {
                if (option == 'j')
                        options.jobs = (int)strtol(optarg, NULL, 10);
                else if (option == 'f' && options.filter_count < FILTERS_MAX)
                        options.filters[options.filter_count++] = optarg;
                else if (option == 'l')
                        options.list = true;
                else
                        return -1;
        }
        if (options.jobs < 1 || options.jobs > JOBS_MAX)
                return -1;
        return optind == argc ? 0 : -1;
}

static int by_name(const void *a, const void *b)
{
        const struct inprocess_test *x = *(const struct inprocess_test *const *)a, *y = *(const struct inprocess_test *const *)b;
        int suite = strcmp(x->suite, y->suite);

        return suite ? suite : strcmp(x->name, y->name);
}

static size_t choose(const struct inprocess_test **chosen)
{
        size_t count = 0;

        for (const struct inprocess_test *test = tests; test; test = test->next) {
                if (!wanted(test))
                        continue;
                if (count == TESTS_MAX) {
                        fprintf(stderr, "more than %d tests: raise TESTS_MAX\n", TESTS_MAX);
                        exit(1);
                }
                chosen[count++] = test;
        }
        qsort(chosen, count, sizeof *chosen, by_name);
        return count;
}

static void run_all(const struct inprocess_test **chosen, size_t count)
{
        struct verdict *shared = mmap(NULL, sizeof *shared * JOBS_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        size_t next = 0;
        sigset_t child;

        if (shared == MAP_FAILED) {
                perror("mmap");
                exit(1);
        }
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        sigprocmask(SIG_BLOCK, &child, NULL);
        for (int i = 0; i < options.jobs; i++)
                slots[i].verdict = &shared[i];
        do {
                for (int i = 0; i < options.jobs && next < count; i++)
                        if (slots[i].pid == 0)
                                start(&slots[i], chosen[next++]);
        } while (reap() > 0 || next < count);
}

int main(int argc, char **argv)
{
        static const struct inprocess_test *chosen[TESTS_MAX];
        size_t count;

        if (read_options(argc, argv) < 0) {
                fprintf(stderr, "usage: %s [--jobs 1-%d] [--filter GLOB-OF-SUITE/NAME]... [--list]\n", argv[0], JOBS_MAX);
                return 2;
        }
        count = choose(chosen);
        if (options.list) {
                for (size_t i = 0; i < count; i++)
                        printf("%s/%s\n", chosen[i]->suite, chosen[i]->name);
                return 0;
        }
        run_all(chosen, count);
        printf("[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d \n", counts.tested, counts.passing,
               counts.failing, counts.crashing);
        return counts.passing == counts.tested ? 0 : 1;
}
