/* See torture_rig.h. Times that a task waits are cut to a tenth: the test has thousands of lives to go through. */
#include "tests/torture/torture_rig.h"

#include <arpa/inet.h>
#include <ev.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "config/load.h"
#include "tests/torture/failing_memory.h"
#include "tests/torture/fake_broker.h"
#include "workers/intake.h"
#include "workers/task/admit.h"
#include "workers/workshop.h"

enum { TEXT_MAX = 4096, WAIT_MS = 20000, BEAT_MS = 1, TICK_MS = 50, PENDING_MAX = 1024, QUEUE_MAX = 256, TURN_MAX = 1024, PARTITIONS = 4 };

static struct {
        pid_t redis, stub;
        int redis_port, stub_port;
        struct settings *settings;
        redisContext *raw;
        struct workshop shop;
        struct intake intake;
        ev_timer beat, tick;
        bool open;
} rig;

int64_t rig_now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void fail(const char *what)
{
        fprintf(stderr, "torture: %s\n", what);
        exit(2);
}

/* ---- Servers */

static int free_port(void)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof address;
        AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0)
                fail("no free port");
        return ntohs(address.sin_port);
}

static bool answers(int port)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
        AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

static pid_t start(int port, char *const *argv)
{
        const struct timespec moment = {0, 10000000};
        int64_t until = rig_now_ms() + WAIT_MS;
        pid_t pid = fork();

        if (pid == 0) {
                int null = open("/dev/null", O_RDWR);

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                dup2(null, 0);
                dup2(null, 1);
                execvp(argv[0], argv);
                _exit(127);
        }
        while (!answers(port)) {
                if (rig_now_ms() > until || waitpid(pid, NULL, WNOHANG) != 0)
                        fail("a server does not start");
                nanosleep(&moment, NULL);
        }
        return pid;
}

static void load_settings(void)
{
        static struct faults faults;
        char text[TEXT_MAX];

        snprintf(text, sizeof text,
                 "kafka: {brokers: \"127.0.0.1:1\", partitions: %d}\n"
                 "redis: {url: \"redis://127.0.0.1:%d/0\", timeout_ms: 5000}\n"
                 "worker: {name: torture, inflight_max: 64, payload_bytes_max: 65536, claim_lease_ms: 1000}\n"
                 "retry: {attempts_max: 3, base_ms: 2, cap_ms: 20, delays: [100ms, 200ms]}\n"
                 "providers:\n"
                 "  - {name: stub, type: openai, base_url: \"http://127.0.0.1:%d/v1\", timeout_ms: 5000}\n"
                 "  - {name: floats, type: openai, base_url: \"http://127.0.0.1:%d/v1\", timeout_ms: 5000, encoding: float}\n"
                 "models:\n"
                 "  - {name: minilm, kind: embed, provider: stub, model: all-MiniLM-L6-v2, dimensions: 8, price: {input_per_mtok: 0.02, output_per_mtok: 0}}\n"
                 "  - {name: floats, kind: embed, provider: floats, model: all-MiniLM-L6-v2, dimensions: 8}\n"
                 "  - {name: chat, kind: llm, provider: stub, model: echo, price: {input_per_mtok: 1, output_per_mtok: 2}}\n"
                 "collections:\n"
                 "  - {name: docs, model: local-embed}\n"
                 "  - {name: paid, model: minilm}\n",
                 PARTITIONS, rig.redis_port, rig.stub_port, rig.stub_port);
        rig.settings = settings_load_text(span_of(text), "torture.yaml", &faults);
        if (!rig.settings)
                fail(faults_total(&faults) ? faults.list[0].text : "settings");
}

void rig_servers(void)
{
        char redis_port[16], stub_port[16];
        char *redis[] = {"redis-server", "--port", redis_port, "--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction", "--dir", "/tmp", NULL};
        char *stub_path = getenv("MILLRACE_STUB"),
             *stub[] = {stub_path ? stub_path : "build/tests/fakes/provider_stub", "--port", stub_port, "--retry-after", "3", "--dimensions", "8", NULL};

        rig.redis_port = free_port();
        snprintf(redis_port, sizeof redis_port, "%d", rig.redis_port);
        rig.redis = start(rig.redis_port, redis);
        rig.stub_port = free_port();
        snprintf(stub_port, sizeof stub_port, "%d", rig.stub_port);
        rig.stub = start(rig.stub_port, stub);
        load_settings();
}

void rig_servers_end(void)
{
        kill(rig.redis, SIGKILL);
        kill(rig.stub, SIGKILL);
        waitpid(rig.redis, NULL, 0);
        waitpid(rig.stub, NULL, 0);
        settings_unref(rig.settings);
}

struct settings *rig_settings(void)
{
        return rig.settings;
}

/* ---- Times */

void __real_task_wait(struct task *task, int64_t delay_ms);
void __wrap_task_wait(struct task *task, int64_t delay_ms);
void __wrap_task_wait(struct task *task, int64_t delay_ms)
{
        __real_task_wait(task, delay_ms > 10 ? delay_ms / 10 : delay_ms);
}

/* What is registered stays for the process's life: no leak. */
#define LASTING(function, parameters, arguments)                                                                                 \
        struct metric *__real_##function parameters;                                                                            \
        struct metric *__wrap_##function parameters;                                                                            \
        struct metric *__wrap_##function parameters                                                                             \
        {                                                                                                                       \
                struct metric *result;                                                                                          \
                                                                                                                                \
                memory_untrack(true);                                                                                           \
                result = __real_##function arguments;                                                                           \
                memory_untrack(false);                                                                                          \
                return result;                                                                                                  \
        }
LASTING(metrics_counter, (const char *name, const char *help, const char *labels), (name, help, labels))
LASTING(metrics_gauge, (const char *name, const char *help, const char *labels), (name, help, labels))
LASTING(metrics_histogram, (const char *name, const char *help, const char *labels), (name, help, labels))

/* ---- The worker */

struct shelf *workshop_shelf(struct workshop *shop, struct span name)
{
        for (size_t i = 0; i < shop->shelf_count; i++)
                if (span_is(name, shop->shelves[i].name))
                        return &shop->shelves[i];
        return NULL;
}

struct shelf *rig_shelf(const char *name)
{
        return workshop_shelf(&rig.shop, span_of(name));
}

static void run_ready(struct task *task)
{
        intake_run(&rig.intake, task);
}

static int run_on_pool(void *pool, struct op *op, int (*work)(void *argument, struct error *err), void *argument)
{
        return pool_run(pool, op, work, argument);
}

static void on_beat(struct ev_loop *loop, ev_timer *timer, int events)
{
        (void)loop;
        (void)timer;
        (void)events;
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
        (void)loop;
        (void)timer;
        (void)events;
        for (size_t i = 0; i < rig.shop.shelf_count; i++)
                shelf_tick(&rig.shop.shelves[i]);
        intake_tick(&rig.intake);
}

static int open_shelf(size_t index, const char *dir, struct error *err)
{
        struct workshop *shop = &rig.shop;
        const struct collection_settings *collection = &shop->settings->collections[index];
        struct shelf *shelf = &shop->shelves[index];
        char folder[4096];

        shelf->name = strdup(collection->name);
        shelf->version = 1;
        shelf->partitions = PARTITIONS;
        if (!shelf->name || topic_index(shelf->topic, shop->settings->kafka.prefix, collection->name, shelf->version) < 0)
                return error_set(err, CODE_INTERNAL, "no room for the collection's name");
        snprintf(folder, sizeof folder, "%s/%s", dir ? dir : "", collection->name);
        return shelf_open(shelf, shop->loop, shop->pool, shop->settings, collection, dir ? folder : NULL, "torture", err);
}

static int build(const char *dir, struct error *err)
{
        struct workshop *shop = &rig.shop;
        struct settings *s = rig.settings;
        struct call_runner runner = {.run = run_on_pool};

        snprintf(shop->holder, sizeof shop->holder, "torture/%d/%llx", getpid(), (unsigned long long)rig_now_ms());
        snprintf(shop->release, sizeof shop->release, "millrace-torture");
        ready_init(&shop->ready, shop->loop, TURN_MAX, run_ready);
        if (!(shop->gates = gates_new(s)))
                return error_set(err, CODE_INTERNAL, "no memory for the gates");
        if (!(shop->prompts = prompts_new(s->folder, err)) || !(shop->pool = pool_new(shop->loop, 1, QUEUE_MAX, err)))
                return -1;
        runner.pool = shop->pool;
        if (!(shop->providers = providers_new(shop->loop, s, &runner, err)) ||
            !(shop->redis = redis_connection_new(shop->loop, s, PENDING_MAX, err)))
                return -1;
        shop->producer = broker_producer();
        shop->shelves = calloc(s->collection_count + 1, sizeof *shop->shelves);
        if (!shop->shelves)
                return error_set(err, CODE_INTERNAL, "out of memory");
        for (size_t i = 0; i < s->collection_count; i++) {
                shop->shelf_count = i + 1;
                if (open_shelf(i, dir, err) < 0)
                        return -1;
        }
        return intake_open(&rig.intake, shop, err);
}

int rig_open(const char *dir, struct error *err)
{
        memset(&rig.shop, 0, sizeof rig.shop);
        memset(&rig.intake, 0, sizeof rig.intake);
        rig.shop.loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
        if (!rig.shop.loop)
                fail("no loop");
        rig.shop.settings = settings_ref(rig.settings);
        ev_timer_init(&rig.beat, on_beat, BEAT_MS / 1000.0, BEAT_MS / 1000.0);
        ev_timer_init(&rig.tick, on_tick, TICK_MS / 1000.0, TICK_MS / 1000.0);
        rig.open = true;
        if (build(dir, err) < 0) {
                rig_close();
                return -1;
        }
        ev_timer_start(rig.shop.loop, &rig.beat);
        ev_timer_start(rig.shop.loop, &rig.tick);
        return 0;
}

void rig_close(void)
{
        struct workshop *shop = &rig.shop;

        if (!rig.open)
                return;
        ev_timer_stop(shop->loop, &rig.beat);
        ev_timer_stop(shop->loop, &rig.tick);
        intake_close(&rig.intake, 0);
        for (size_t i = 0; i < shop->shelf_count; i++) {
                shelf_close(&shop->shelves[i]);
                free(shop->shelves[i].name);
        }
        free(shop->shelves);
        redis_connection_free(shop->redis);
        providers_free(shop->providers);
        pool_free(shop->pool);
        prompts_free(shop->prompts);
        task_spares_free(shop);
        gates_free(shop->gates);
        ready_fini(&shop->ready);
        settings_unref(shop->settings);
        ev_loop_destroy(shop->loop);
        rig.open = false;
}

bool rig_run(bool (*until)(void *user), void *user, int64_t timeout_ms)
{
        int64_t end = rig_now_ms() + timeout_ms;

        while (!until(user)) {
                if (rig_now_ms() >= end)
                        return false;
                while (broker_turn())
                        ;
                ev_run(rig.shop.loop, EVRUN_ONCE);
        }
        return true;
}

bool rig_redis_ready(void *user)
{
        (void)user;
        return redis_connection_ready(rig.shop.redis, NULL);
}

bool rig_index_ready(void *user)
{
        (void)user;
        for (size_t i = 0; i < rig.shop.shelf_count; i++)
                if (!shelf_ready(&rig.shop.shelves[i]) || shelf_lag(&rig.shop.shelves[i]) != 0)
                        return false;
        return broker_index_read();
}

bool rig_out_of_memory(void)
{
        return rig.intake.out_of_memory;
}

const char *rig_residue(void)
{
        static char text[160];

        if (!rig.intake.task_count && !rig.intake.bytes && !rig.intake.bulk_count && !rig.shop.weight &&
            !providers_running(rig.shop.providers) && !providers_waiting(rig.shop.providers) && !pool_queued(rig.shop.pool))
                return NULL;
        snprintf(text, sizeof text, "tasks %zu, bytes %zu, bulk %zu, weight %zu, calls %zu, waiting %zu, queued %zu", rig.intake.task_count,
                 rig.intake.bytes, rig.intake.bulk_count, rig.shop.weight, providers_running(rig.shop.providers),
                 providers_waiting(rig.shop.providers), pool_queued(rig.shop.pool));
        return text;
}

json_t *rig_result(const char *tenant, const char *id)
{
        redisReply *reply;
        json_t *tree;

        if (!rig.raw)
                rig.raw = redisConnect("127.0.0.1", rig.redis_port);
        if (!rig.raw || rig.raw->err)
                fail("redis is gone");
        reply = redisCommand(rig.raw, "GET mr:{%s:%s}:result", tenant, id);
        if (!reply)
                fail("redis is gone");
        tree = reply->str ? json_loadb(reply->str, reply->len, 0, NULL) : NULL;
        freeReplyObject(reply);
        return tree;
}
