/* Memory fails at every place of a request's life: the n-th allocation, for every n, one process a life.
 *
 *      torture [--sample N] [--seed S] [--only LIFE] [--at N] [--run K] [--jobs J] [--verbose]
 *
 * Without --sample every n of every life; with it N lives drawn over all. Each n is failed alone, and (--run, default 1 and 12) with those
 * that follow it. Ends with "N passed, N failed"; a life is a test. Traces are addresses: run.sh turns them into lines of source. */
#include <dlfcn.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/base/log.h"
#include "config/base/own.h"
#include "tests/torture/one_life.h"
#include "tests/torture/torture_rig.h"

enum { JOBS_MAX = 16, LIVES_MAX = 64, RUN_LONG = 12, CHILD_S = 60, FINDINGS_SHOWN = 12, CRASH_AT = 2 /* behind the handler and the signal's own frame */, KINDS_MAX = 64 };

static struct {
        long sample, seed, at, run, jobs;
        const char *only;
        bool verbose;
} options = {.jobs = 2};

struct job {
        pid_t pid;
        size_t life;
        int64_t first, run;
        struct verdict *verdict; /* shared */
        char stderr_path[64];
};

struct tally {
        int64_t lives, struck, as_in_peace, ours, dropped, not_built, library, findings, took_ms;
        void *shown[KINDS_MAX]; /* the callers of failures already told of */
        size_t shown_count;
};

static struct verdict *peace; /* [life_count], shared */
static struct job jobs[JOBS_MAX];
static struct tally tallies[LIVES_MAX];
static int64_t numbered;

static void *shared(size_t bytes)
{
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED) {
                fprintf(stderr, "torture: no memory\n");
                exit(2);
        }
        return memory;
}

static void begin(struct job *job, size_t life, int64_t first, int64_t run, struct verdict *verdict, const struct verdict *quiet)
{
        int64_t number = ++numbered + getpid() * 1000000LL;

        job->life = life;
        job->first = first;
        job->run = run;
        job->verdict = verdict;
        memset(verdict, 0, sizeof *verdict);
        snprintf(job->stderr_path, sizeof job->stderr_path, "/tmp/millrace-torture-%d-%lld", getpid(), (long long)number);
        job->pid = fork();
        if (job->pid != 0)
                return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(CHILD_S);
        if (!options.verbose) {
                int fd = open(job->stderr_path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

                dup2(fd, 2);
        }
        one_life(&lives[life], number, first, run, quiet, verdict);
        _exit(0);
}

static void show_file(const char *path)
{
        char line[512];
        FILE *file = fopen(path, "r");

        for (int n = 0; file && n < 60 && fgets(line, sizeof line, file); n++)
                printf("    | %s%s", line, strchr(line, '\n') ? "" : "\n");
        if (file)
                fclose(file);
}

static void show_trace(const char *what, void *const *trace, int depth)
{
        Dl_info info;

        printf("    %s:\n", what);
        for (int i = 0; i < depth; i++) {
                if (dladdr(trace[i], &info) && info.dli_sname)
                        printf("        %s %s\n", info.dli_sname, info.dli_fname);
                else
                        printf("        @%p\n", trace[i]);
        }
}

/* It died inside a library that can't bear to be out of memory: libcurl 7.88 divides by zero once its table of sockets can't grow, ICU 72
 * follows a null pointer or locks a lock twice while it sets the default locale. The record had not ended, and comes again elsewhere. */
static bool of_library(const struct verdict *verdict)
{
        Dl_info info;

        for (int i = CRASH_AT; i < verdict->crash_depth && dladdr(verdict->crash[i], &info) && info.dli_fname; i++) {
                if (strstr(info.dli_fname, "libcurl") || strstr(info.dli_fname, "libicu"))
                        return true;
                if (!strstr(info.dli_fname, "libc.so"))
                        return false;
        }
        return false;
}

/* The same fault for the same reason is told of once. */
static bool told(struct tally *tally, const struct verdict *verdict)
{
        void *key = verdict->depth > 3 ? verdict->trace[3] : NULL;

        for (size_t i = 0; i < tally->shown_count; i++)
                if (tally->shown[i] == key)
                        return true;
        if (tally->shown_count < KINDS_MAX)
                tally->shown[tally->shown_count++] = key;
        return tally->shown_count > FINDINGS_SHOWN;
}

static void tell(const struct job *job, int status, const char *what)
{
        const struct verdict *v = job->verdict;

        if (told(&tallies[job->life], v))
                return;
        printf("%s at %lld for %lld: %s\n", lives[job->life].name, (long long)job->first, (long long)job->run, what);
        if (WIFSIGNALED(status))
                printf("    ended by signal %d\n", WTERMSIG(status));
        show_trace("memory failed at", v->trace, v->depth);
        if (v->crash_depth)
                show_trace("crashed at", v->crash, v->crash_depth);
        for (size_t i = 0; strstr(what, "left over") && i < v->leak_count; i++)
                show_trace("left", v->leaks[i].trace, v->leaks[i].depth);
        if (!v->complete || strstr(what, "sanitizer"))
                show_file(job->stderr_path);
        fflush(stdout);
}

static void finish(struct job *job, int status)
{
        struct verdict *v = job->verdict;
        struct tally *tally = &tallies[job->life];
        const char *fault = v->fault[0] ? v->fault : NULL;

        if (!v->complete || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
                fault = "the process did not come to its end";
        job->pid = 0;
        if (WIFSIGNALED(status) && of_library(v)) {
                fault = NULL;
                tally->library++;
        }
        tally->lives++;
        tally->took_ms += v->took_ms;
        if (v->failed > 0) {
                tally->struck++;
                tally->dropped += v->dropped;
                tally->not_built += v->not_built;
                if (!v->dropped && !v->not_built)
                        *(strcmp(v->ending, lives[job->life].ending) == 0 ? &tally->as_in_peace : &tally->ours) += 1;
        }
        if (fault) {
                tally->findings++;
                tell(job, status, fault);
        }
        unlink(job->stderr_path);
}

/* A free place; waits for one. all: until none is taken. */
static struct job *place(bool all)
{
        for (;;) {
                bool taken = false;
                int status;
                pid_t pid;

                for (long i = 0; i < options.jobs; i++) {
                        if (!jobs[i].pid && !all)
                                return &jobs[i];
                        taken |= jobs[i].pid != 0;
                }
                if (!taken)
                        return NULL;
                pid = waitpid(-1, &status, 0);
                for (long i = 0; i < options.jobs; i++)
                        if (jobs[i].pid == pid)
                                finish(&jobs[i], status);
        }
}

/* Each life in peace: how many allocations, and what comes of it. */
static bool go_in_peace(void)
{
        struct job job = {0};
        bool good = true;

        for (size_t i = 0; i < life_count; i++) {
                int status;

                if (options.only && strcmp(options.only, lives[i].name) != 0)
                        continue;
                begin(&job, i, 0, 0, &peace[i], NULL);
                waitpid(job.pid, &status, 0);
                if (!peace[i].complete || peace[i].fault[0] || strcmp(peace[i].ending, lives[i].ending) != 0) {
                        printf("%s in peace: %s (%s)\n", lives[i].name, peace[i].fault[0] ? peace[i].fault : "another end", peace[i].ending);
                        show_file(job.stderr_path);
                        good = false;
                }
                unlink(job.stderr_path);
        }
        return good;
}

static void go_through_life(size_t life, int64_t first, int64_t run)
{
        struct job *job = place(false);

        begin(job, life, first, run, job->verdict, &peace[life]);
}

static void go_through_all(void)
{
        for (size_t i = 0; i < life_count; i++)
                for (int64_t n = 1; n <= peace[i].count; n++) {
                        if (options.at && n != options.at)
                                continue;
                        if (options.run != RUN_LONG)
                                go_through_life(i, n, 1);
                        if (options.run != 1)
                                go_through_life(i, n, options.run ? options.run : RUN_LONG);
                }
}

/* Every life has its share; the places are drawn. */
static void go_through_sample(void)
{
        size_t count = 0;

        srandom((unsigned)options.seed);
        for (size_t i = 0; i < life_count; i++)
                count += peace[i].count > 0;
        for (long drawn = 0; drawn < options.sample;)
                for (size_t i = 0; i < life_count && drawn < options.sample; i++)
                        if (peace[i].count > 0) {
                                go_through_life(i, 1 + random() % peace[i].count, random() % 2 ? 1 : RUN_LONG);
                                drawn++;
                        }
}

static int report(void)
{
        int passed = 0, failed = 0;

        printf("\n%-14s %11s %6s %6s %6s %6s %6s %7s %7s %8s %8s\n", "life", "allocations", "lives", "struck", "same", "ours", "again", "unbuilt", "library", "ms/life",
               "findings");
        for (size_t i = 0; i < life_count; i++) {
                const struct tally *t = &tallies[i];

                if (!t->lives)
                        continue;
                printf("%-14s %11lld %6lld %6lld %6lld %6lld %6lld %7lld %7lld %8lld %8lld\n", lives[i].name, (long long)peace[i].count, (long long)t->lives,
                       (long long)t->struck, (long long)t->as_in_peace, (long long)t->ours, (long long)t->dropped, (long long)t->not_built, (long long)t->library,
                       (long long)(t->took_ms / t->lives), (long long)t->findings);
                *(t->findings ? &failed : &passed) += 1;
        }
        printf("same: ended as in peace; ours: as a fault of ours, with a letter, then replayed; again: given back undone, then done again\n");
        printf("%d passed, %d failed\n", passed, failed);
        return failed ? 1 : 0;
}

static long number(const char *text)
{
        char *end;
        long value = strtol(text, &end, 10);

        if (*end || value < 0) {
                fprintf(stderr, "torture: %s is no number\n", text);
                exit(2);
        }
        return value;
}

static void read_options(int argc, char **argv)
{
        static const struct option longs[] = {{"sample", 1, NULL, 's'}, {"seed", 1, NULL, 'e'}, {"only", 1, NULL, 'o'}, {"at", 1, NULL, 'a'},
                                              {"run", 1, NULL, 'r'},    {"jobs", 1, NULL, 'j'}, {"verbose", 0, NULL, 'v'}, {NULL, 0, NULL, 0}};
        int option;

        options.seed = (long)(rig_now_ms() & 0xffffff);
        while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
                switch (option) {
                case 's':
                        options.sample = number(optarg);
                        break;
                case 'e':
                        options.seed = number(optarg);
                        break;
                case 'o':
                        options.only = optarg;
                        break;
                case 'a':
                        options.at = number(optarg);
                        break;
                case 'r':
                        options.run = number(optarg);
                        break;
                case 'j':
                        options.jobs = number(optarg);
                        break;
                case 'v':
                        options.verbose = true;
                        break;
                default:
                        exit(2);
                }
        }
        if (options.jobs < 1 || options.jobs > JOBS_MAX)
                options.jobs = 1;
}

int main(int argc, char **argv)
{
        read_options(argc, argv);
        signal(SIGPIPE, SIG_IGN);
        log_setup(options.verbose ? LOG_DEBUG : LOG_ERROR, LOG_FORMAT_TEXT);
        memory_hook_libraries();
        memory_trace_all(options.at != 0);
        peace = shared(life_count * sizeof *peace);
        for (size_t i = 0; i < JOBS_MAX; i++)
                jobs[i].verdict = shared(sizeof *jobs[i].verdict);
        rig_servers();
        if (!go_in_peace()) {
                rig_servers_end();
                printf("0 passed, 1 failed\n");
                return 1;
        }
        if (options.sample) {
                printf("seed %ld\n", options.seed);
                go_through_sample();
        } else {
                go_through_all();
        }
        place(true);
        rig_servers_end();
        return report();
}
