/* `millrace dev`: the embedded fleet. librdkafka's mock cluster in this process, a private redis-server as a child that dies with it,
 * and one worker of all kinds. Nothing outlives it but the index's snapshot, where --data-dir names a folder. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "config/base/own.h"
#include "config/settings_build.h"
#include "queues/kafka/mock_broker.h"
#include "queues/kafka/topics.h"
#include "workers/cli/client_settings.h"
#include "workers/cli/commands.h"
#include "workers/worker.h"

enum { REDIS_TRIES = 5, REDIS_START_MS = 5000, LOOK_MS = 20, FOLDER_BYTES = 64 };

struct dev {
        const struct arguments *arguments;
        struct settings *settings;
        struct mock_broker *broker;
        pid_t redis;
        char folder[FOLDER_BYTES]; /* a temporary one, "" where --data-dir names it */
};

/* A port that nobody had a moment ago. */
static int free_port(void)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof address;
        AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0)
                return -1;
        return ntohs(address.sin_port);
}

static bool answers(int port)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
        AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

static void run_redis(int port, pid_t parent)
{
        char number[16];
        int null = open("/dev/null", O_RDWR);

        setpgid(0, 0); /* Ctrl-C is for the worker, which needs Redis to the end */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(1);
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        snprintf(number, sizeof number, "%d", port);
        execlp("redis-server", "redis-server", "--port", number, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxmemory-policy",
               "noeviction", "--dir", "/tmp", (char *)NULL);
        _exit(127);
}

/* Starts a private redis-server and waits until it answers; another one may have taken the port in between. */
static int start_redis(struct dev *dev, int *ret_port)
{
        const struct timespec look = {.tv_nsec = LOOK_MS * 1000000L};
        pid_t self = getpid();

        for (int i = 0; i < REDIS_TRIES; i++) {
                int port = free_port();

                dev->redis = fork();
                if (dev->redis < 0)
                        return -1;
                if (dev->redis == 0)
                        run_redis(port, self);
                for (int ms = 0; ms < REDIS_START_MS; ms += LOOK_MS) {
                        if (waitpid(dev->redis, NULL, WNOHANG) == dev->redis) {
                                dev->redis = 0;
                                break;
                        }
                        if (answers(port)) {
                                *ret_port = port;
                                return 0;
                        }
                        nanosleep(&look, NULL);
                }
        }
        return -1;
}

static void stop_redis(struct dev *dev)
{
        if (dev->redis <= 0)
                return;
        kill(dev->redis, SIGTERM);
        while (waitpid(dev->redis, NULL, 0) < 0 && errno == EINTR)
                ;
}

static int make_topics(struct dev *dev, struct error *err)
{
        AUTO_FREE struct topic_wanted *wanted = NULL;
        int count = topics_wanted(dev->settings, &wanted, err);

        for (int i = 0; i < count; i++)
                if (mock_broker_topic(dev->broker, wanted[i].name, wanted[i].partitions, err) < 0)
                        return -1;
        return count < 0 ? -1 : 0;
}

/* All kinds and lanes, its own servers, an admin port of its own. */
static int adapt_settings(struct dev *dev, int redis_port, struct error *err)
{
        struct settings *s = dev->settings;
        const char *admin = argument_string(dev->arguments, "admin");
        char url[64];

        snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", redis_port);
        for (int kind = 0; kind < KIND_COUNT; kind++)
                s->worker.kinds[kind] = true;
        for (int lane = 0; lane < LANE_COUNT; lane++)
                s->worker.lanes[lane] = true;
        s->kafka.replication = 1;
        s->kafka.option_count = 0; /* they are for the configured brokers */
        s->kafka.brokers = settings_copy(s, span_of(mock_broker_address(dev->broker)));
        s->redis.url = settings_copy(s, span_of(url));
        s->redis.username = s->redis.password = NULL;
        s->redis.cluster = false;
        s->redis.sentinel.node_count = 0;
        s->redis.wait_replicas = 0;
        s->admin.listen = settings_copy(s, admin ? span_of(admin) : SPAN("127.0.0.1:0"));
        if (dev->folder[0])
                s->data_dir = settings_copy(s, span_of(dev->folder));
        return s->kafka.brokers && s->redis.url && s->admin.listen && s->data_dir ? 0 : error_set(err, CODE_INTERNAL, "out of memory");
}

static void on_started(void *user, const char *admin)
{
        const struct dev *dev = user;
        const struct settings *s = dev->settings;

        if (argument_given(dev->arguments, "json")) {
                printf("{\"kafka\":\"%s\",\"redis\":\"%s\",\"admin\":\"%s\"}\n", s->kafka.brokers, s->redis.url, admin);
        } else {
                printf("An embedded fleet is running; nothing outlives it. The broker is librdkafka's mock, in memory: it keeps some 5 MB a\n"
                       "partition and drops the oldest silently, so it is for trying out, never for data that matters.\n\n"
                       "  kafka  %s\n  redis  %s\n  admin  http://%s/ready\n\nTry, in another terminal:\n"
                       "  millrace submit embed --input 'hello' --wait --kafka %s --redis %s\n\nCtrl-C ends it.\n",
                       s->kafka.brokers, s->redis.url, admin, s->kafka.brokers, s->redis.url);
        }
        fflush(stdout);
}

static int run_fleet(struct dev *dev, struct error *err)
{
        struct worker_options options = {.on_started = on_started, .user = dev};
        int redis_port;

        if (!(dev->broker = mock_broker_new(err)))
                return -1;
        if (start_redis(dev, &redis_port) < 0)
                return error_set(err, CODE_CONNECT, "redis-server could not be started: is it installed?");
        if (adapt_settings(dev, redis_port, err) < 0 || make_topics(dev, err) < 0)
                return -1;
        options.settings = dev->settings;
        return worker_run(&options, err);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *walk)
{
        (void)st;
        (void)type;
        (void)walk;
        return remove(path);
}

int cli_dev(struct arguments *arguments)
{
        AUTO_SETTINGS *settings = client_settings(arguments);
        struct dev dev = {.arguments = arguments, .settings = settings};
        struct error err;
        int failed;

        if (!settings)
                return EXIT_USAGE;
        if (!argument_given(arguments, "data-dir")) {
                snprintf(dev.folder, sizeof dev.folder, "/tmp/millrace-dev-XXXXXX");
                if (!mkdtemp(dev.folder))
                        return argument_fail(arguments, EXIT_FAILED, "can't make a temporary folder in /tmp");
        }
        error_clear(&err);
        failed = run_fleet(&dev, &err);
        stop_redis(&dev);
        mock_broker_free(dev.broker);
        if (dev.folder[0])
                nftw(dev.folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        return failed < 0 ? argument_fail(arguments, EXIT_FAILED, "%s", err.message) : EXIT_DONE;
}
