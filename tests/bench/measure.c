/* measure: runs a command and says what it cost: user and system CPU of its whole life, start and end included, its peak memory,
 * its time.
 *
 *      measure FILE COMMAND ARG…      writes {"user_s":…,"system_s":…,"rss_mb":…,"seconds":…,"exit":…} to FILE
 *
 * SIGTERM and SIGINT are handed on to the command. A program of its own because the kernel counts the memory that a process had
 * before exec towards its peak: started by this small one, the peak is the command's own. Exit: the command's, or 128 + its signal.
 * */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile pid_t child;

static void hand_on(int number)
{
        if (child > 0)
                kill(child, number);
}

static double seconds_of(struct timeval t)
{
        return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double now_s(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
        struct sigaction forward = {.sa_handler = hand_on, .sa_flags = SA_RESTART};
        struct rusage used;
        double from_s = now_s();
        int status, code;
        FILE *to;

        if (argc < 3) {
                fprintf(stderr, "usage: measure FILE COMMAND ARG…\n");
                return 2;
        }
        sigaction(SIGTERM, &forward, NULL);
        sigaction(SIGINT, &forward, NULL);
        child = fork();
        if (child == 0) {
                execvp(argv[2], argv + 2);
                perror(argv[2]);
                _exit(127);
        }
        if (child < 0 || wait4(child, &status, 0, &used) < 0) {
                perror("measure");
                return 1;
        }
        code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        to = fopen(argv[1], "we");
        if (!to) {
                perror(argv[1]);
                return 1;
        }
        fprintf(to, "{\"user_s\":%.4f,\"system_s\":%.4f,\"rss_mb\":%.1f,\"seconds\":%.3f,\"exit\":%d}\n", seconds_of(used.ru_utime),
                seconds_of(used.ru_stime), (double)used.ru_maxrss / 1024.0, now_s() - from_s, code);
        return fclose(to) ? 1 : code;
}
