/* The glue: parts are built from the ground up and taken down in reverse.
 *
 *      redis, producer, providers, prompts, pool ─► topics are checked ─► shelves (index replicas) ─► intake (sources)
 *
 * A broker or Redis that can't be reached at the start is waited for; /ready says so meanwhile. SIGTERM and SIGINT drain: intake stops,
 * tasks end within worker.drain_ms, the rest is redelivered; a second signal ends the drain. */
#include "workers/worker.h"

#include <ev.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/kafka/kafka_client.h"
#include "queues/kafka/topics.h"
#include "workers/admin/admin_http.h"
#include "workers/admin/health.h"
#include "workers/intake.h"
#include "workers/jobs/running_jobs.h"
#include "workers/task/admit.h"

enum {
        REDIS_PENDING_MAX = 65536,
        READY_TURN_MAX = 1024,
        POOL_QUEUE_MAX = 4096,
        TICK_MS = 500,
        FLUSH_MS = 5000,
        LEAVE_MS = 3000,
        LET_GO_MS = 1000,
        ASK_BROKER_MS = 5000,
        JOBS_WAIT_MS = 5000,
};

struct worker {
        const struct worker_options *options;
        struct workshop shop;
        struct intake intake;
        struct admin_http *admin;
        struct topics_watch *topics;
        struct health health;
        int64_t jobs_asked_ms; /* when the jobs' states were begun to be read */
        ev_signal on_term, on_int, on_hup;
        ev_timer tick;
        bool open, draining, letting_go;
        int64_t drain_until;
        int lock_fd;
        int failed; /* −1: ends because a part failed for good; why in err */
        struct error err;
};

struct shelf *workshop_shelf(struct workshop *shop, struct span name)
{
        for (size_t i = 0; i < shop->shelf_count; i++)
                if (span_is(name, shop->shelves[i].name))
                        return &shop->shelves[i];
        return NULL;
}

static struct worker *the_worker; /* the ready list runs tasks without a user pointer */

static void run_ready(struct task *task)
{
        intake_run(&the_worker->intake, task);
}

static void give_up(struct worker *worker, const struct error *err)
{
        if (worker->failed == 0)
                worker->err = *err;
        worker->failed = -1;
        log_error("worker_failed", "reason=%s", err->message);
        ev_break(worker->shop.loop, EVBREAK_ALL);
}

/* ---- Opening what needs the topics */

static int make_dir(const char *path, struct error *err)
{
        char *copy = strdup(path);
        int failed = !copy;

        for (char *at = copy; copy && *at; at++) {
                if (*at != '/' || at == copy)
                        continue;
                *at = '\0';
                mkdir(copy, 0755);
                *at = '/';
        }
        if (copy && mkdir(copy, 0755) != 0) {
                struct stat st;

                failed = stat(copy, &st) != 0 || !S_ISDIR(st.st_mode);
        }
        free(copy);
        return failed ? error_set(err, CODE_INTERNAL, "can't make the folder %s", path) : 0;
}

/* One writer a data folder. */
static int lock_data_dir(struct worker *worker, struct error *err)
{
        const char *dir = worker->shop.settings->data_dir;
        char path[4096];

        if (make_dir(dir, err) < 0)
                return -1;
        snprintf(path, sizeof path, "%s/lock", dir);
        worker->lock_fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
        if (worker->lock_fd < 0)
                return error_set(err, CODE_INTERNAL, "can't write to %s", dir);
        if (flock(worker->lock_fd, LOCK_EX | LOCK_NB) != 0)
                return error_set(err, CODE_INTERNAL, "%s is in use by another worker: give this one a --data-dir of its own", dir);
        return 0;
}

static int open_shelf(struct worker *worker, size_t index, struct kafka_client *client, struct error *err)
{
        struct workshop *shop = &worker->shop;
        const struct collection_settings *collection = &shop->settings->collections[index];
        struct shelf *shelf = &shop->shelves[index];
        char dir[4096], identity[512];

        shelf->name = strdup(collection->name);
        shelf->version = 1;
        if (!shelf->name || topic_index(shelf->topic, shop->settings->kafka.prefix, collection->name, shelf->version) < 0)
                return error_set(err, CODE_INTERNAL, "no room for the collection's name");
        shelf->partitions = kafka_partition_count(client, shelf->topic, ASK_BROKER_MS, err);
        if (shelf->partitions <= 0)
                return shelf->partitions < 0 ? -1 : error_set(err, CODE_UNAVAILABLE, "topic %s is missing", shelf->topic);
        if (!shop->settings->worker.kinds[KIND_RETRIEVE])
                return 0;
        if (kafka_cluster_identity(client, shelf->topic, ASK_BROKER_MS, identity, sizeof identity, err) < 0)
                return -1;
        snprintf(dir, sizeof dir, "%s/collections/%s.v%d", shop->settings->data_dir, collection->name, shelf->version);
        if (make_dir(dir, err) < 0)
                return -1;
        return shelf_open(shelf, shop->loop, shop->pool, shop->settings, collection, dir, identity, err);
}

static void close_shelves(struct workshop *shop)
{
        for (size_t i = 0; i < shop->shelf_count; i++) {
                shelf_close(&shop->shelves[i]);
                free(shop->shelves[i].name);
        }
        free(shop->shelves);
        shop->shelves = NULL;
        shop->shelf_count = 0;
}

static int open_shelves(struct worker *worker, struct error *err)
{
        struct workshop *shop = &worker->shop;
        const struct settings *s = shop->settings;
        struct kafka_client *client;
        int failed = 0;

        if (!s->worker.kinds[KIND_RETRIEVE] && !s->worker.kinds[KIND_INGEST])
                return 0;
        client = kafka_client_new(s, err);
        if (!client)
                return -1;
        shop->shelves = calloc(s->collection_count + 1, sizeof *shop->shelves);
        for (size_t i = 0; shop->shelves && i < s->collection_count && failed == 0; i++) {
                shop->shelf_count = i + 1;
                failed = open_shelf(worker, i, client, err);
        }
        kafka_client_free(client);
        if (failed < 0)
                close_shelves(shop);
        return failed;
}

static void on_topics(void *user);

/* What the control topic says of jobs is read before their records are; a topic that can't be read holds nothing up for long. */
static bool jobs_are_known(struct worker *worker, struct error *err)
{
        struct workshop *shop = &worker->shop;

        if (!shop->jobs) {
                shop->jobs = running_jobs_new(shop->loop, shop->settings, on_topics, worker, err);
                worker->jobs_asked_ms = clock_now_ms();
                if (!shop->jobs)
                        log_warn("not_open_yet", "reason=%s", err->message);
        }
        return shop->jobs && (running_jobs_known(shop->jobs) || clock_now_ms() - worker->jobs_asked_ms > JOBS_WAIT_MS);
}

/* Begins to work once the topics have been checked. A fault that will pass is tried again at the next tick. */
static void open_when_ready(struct worker *worker)
{
        struct error err;

        if (worker->open || worker->draining || topics_watch_verdict(worker->topics, &err) < 0 || !jobs_are_known(worker, &err))
                return;
        if (open_shelves(worker, &err) < 0) {
                if (!err.retriable || err.code == CODE_INTERNAL)
                        give_up(worker, &err);
                else
                        log_warn("not_open_yet", "reason=%s", err.message);
                return;
        }
        if (intake_open(&worker->intake, &worker->shop, &err) < 0) {
                give_up(worker, &err);
                return;
        }
        worker->open = worker->health.open = true;
        log_info("worker_open", "name=%s", worker->shop.settings->worker.name);
}

static void on_topics(void *user)
{
        open_when_ready(user);
}

/* ---- Signals, drain, reload */

/* All tasks have ended; or the time is up, and those left have given their claims back. */
static void end_if_drained(struct worker *worker)
{
        bool first = !worker->letting_go;

        if (!worker->draining)
                return;
        if (worker->intake.task_count > 0 && clock_now_ms() >= worker->drain_until) {
                if (first)
                        worker->drain_until = clock_now_ms() + LET_GO_MS;
                worker->letting_go = true;
                if (!intake_let_go(&worker->intake, first) && clock_now_ms() < worker->drain_until)
                        return;
        }
        if (worker->intake.task_count == 0 || clock_now_ms() >= worker->drain_until || worker->letting_go)
                ev_break(worker->shop.loop, EVBREAK_ALL);
}

static void drain(struct worker *worker)
{
        if (worker->draining) {
                worker->drain_until = 0;
        } else {
                worker->draining = worker->health.draining = true;
                worker->drain_until = clock_now_ms() + worker->shop.settings->worker.drain_ms;
                log_info("draining", "in_flight=%zu", worker->intake.task_count);
                intake_stop(&worker->intake);
        }
        end_if_drained(worker);
}

static void on_stop_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
        (void)loop;
        (void)events;
        drain(watcher->data);
}

static bool same(const char *a, const char *b)
{
        return strcmp(a ? a : "", b ? b : "") == 0;
}

/* What a running worker can't change: the first such key that differs, NULL when there is none. */
static const char *fixed_difference(const struct settings *a, const struct settings *b)
{
        if (!same(a->kafka.brokers, b->kafka.brokers) || !same(a->kafka.prefix, b->kafka.prefix))
                return "kafka";
        if (!same(a->worker.instance_id, b->worker.instance_id))
                return "worker.instance_id";
        if (!same(a->redis.url, b->redis.url) || !same(a->redis.prefix, b->redis.prefix) || a->redis.cluster != b->redis.cluster ||
            !same(a->redis.sentinel.master, b->redis.sentinel.master))
                return "redis";
        if (memcmp(a->worker.kinds, b->worker.kinds, sizeof a->worker.kinds) != 0 || memcmp(a->worker.lanes, b->worker.lanes, sizeof a->worker.lanes) != 0)
                return "worker.kinds or worker.lanes";
        if (!same(a->data_dir, b->data_dir) || !same(a->admin.listen, b->admin.listen))
                return "data_dir or admin.listen";
        if (a->retry.delay_count != b->retry.delay_count || memcmp(a->retry.delays_ms, b->retry.delays_ms, a->retry.delay_count * sizeof *a->retry.delays_ms) != 0)
                return "retry.delays";
        for (size_t i = 0; i < a->tenant_count || i < b->tenant_count; i++)
                if (i >= a->tenant_count || i >= b->tenant_count || !same(a->tenants[i].name, b->tenants[i].name) ||
                    !same(a->tenants[i].prefix, b->tenants[i].prefix))
                        return "tenants";
        for (size_t i = 0; i < a->collection_count || i < b->collection_count; i++) {
                const struct model_settings *one, *two;

                if (i >= a->collection_count || i >= b->collection_count || !same(a->collections[i].name, b->collections[i].name))
                        return "collections";
                one = &a->models[a->collections[i].model];
                two = &b->models[b->collections[i].model];
                if (!same(one->model, two->model) || one->dimensions != two->dimensions)
                        return "collections (a model)";
        }
        return NULL;
}

static void on_hup(struct ev_loop *loop, ev_signal *watcher, int events)
{
        struct worker *worker = watcher->data;
        struct workshop *shop = &worker->shop;
        struct settings *fresh = worker->options->reload ? worker->options->reload(worker->options->user) : NULL;
        struct prompts *prompts;
        const char *fixed;
        struct error err;

        (void)loop;
        (void)events;
        if (!fresh) {
                log_warn("reload_refused", "reason=the new configuration is faulty or there is none; the old one stays");
                return;
        }
        fixed = fixed_difference(shop->settings, fresh);
        if (fixed) {
                log_warn("reload_refused", "reason=a running worker can't change %s: restart it", fixed);
                settings_unref(fresh);
                return;
        }
        prompts = prompts_new(fresh->folder, &err);
        if (!prompts || providers_reload(shop->providers, fresh, &err) < 0) {
                log_warn("reload_refused", "reason=%s", err.message);
                prompts_free(prompts);
                settings_unref(fresh);
                return;
        }
        if (gates_configure(shop->gates, fresh) < 0)
                log_warn("reload_incomplete", "reason=no memory: new models and providers share a gate");
        prompts_free(shop->prompts); /* messages were rendered into the tasks' own memory */
        shop->prompts = prompts;
        settings_unref(shop->settings);
        shop->settings = fresh;
        log_info("reloaded", NULL);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
        struct worker *worker = timer->data;
        struct error err;

        (void)loop;
        (void)events;
        open_when_ready(worker); /* a topic just made may be unknown to some broker for a moment */
        for (size_t i = 0; i < worker->shop.shelf_count; i++)
                shelf_tick(&worker->shop.shelves[i]);
        intake_tick(&worker->intake);
        if (worker->intake.out_of_memory && worker->failed == 0) {
                error_set(&err, CODE_INTERNAL, "out of memory");
                give_up(worker, &err);
        }
        if (worker->failed == 0 && health_failed(&worker->health, &err))
                give_up(worker, &err);
        end_if_drained(worker);
}

static void watch_signal(struct worker *worker, ev_signal *watcher, int number, void (*on)(struct ev_loop *, ev_signal *, int))
{
        ev_signal_init(watcher, on, number);
        watcher->data = worker;
        ev_signal_start(worker->shop.loop, watcher);
}

/* ---- Building and taking down */

static int run_on_pool(void *pool, struct op *op, int (*work)(void *argument, struct error *err), void *argument)
{
        return pool_run(pool, op, work, argument);
}

/* Settings that are read but not acted on yet must not look as if they were. */
static int refuse_unbuilt(const struct settings *s, struct error *err)
{
        for (size_t i = 0; i < s->collection_count; i++)
                if (s->collections[i].backend != BACKEND_LOCAL)
                        return error_set(err, CODE_SCHEMA, "collections: the backend opensearch is not built yet");
        for (size_t i = 0; i < s->tenant_count; i++)
                if (s->tenants[i].budget_count)
                        log_warn("budgets_not_enforced", "tenant=%s reason=budgets are not built yet: this tenant can spend without a bound",
                                 s->tenants[i].name);
        return 0;
}

static int build(struct worker *worker, struct error *err)
{
        struct workshop *shop = &worker->shop;
        struct settings *s = shop->settings;
        struct call_runner runner = {.run = run_on_pool};
        struct topic_wanted *wanted = NULL;
        int wanted_count;

        if (refuse_unbuilt(s, err) < 0)
                return -1;
        snprintf(shop->holder, sizeof shop->holder, "%.32s/%d/%" PRIx64, s->worker.name, getpid(), (uint64_t)clock_wall_ms());
        snprintf(shop->release, sizeof shop->release, "millrace-%s", MILLRACE_VERSION);
        ready_init(&shop->ready, shop->loop, READY_TURN_MAX, run_ready);
        if (s->worker.kinds[KIND_RETRIEVE] && lock_data_dir(worker, err) < 0)
                return -1;
        if (!(shop->prompts = prompts_new(s->folder, err)))
                return -1;
        if (!(shop->gates = gates_new(s)))
                return error_set(err, CODE_INTERNAL, "no memory for the gates");
        if (!(shop->pool = pool_new(shop->loop, s->worker.search_threads > 0 ? s->worker.search_threads : 1, POOL_QUEUE_MAX, err)))
                return -1;
        runner.pool = shop->pool;
        if (!(shop->providers = providers_new(shop->loop, s, &runner, err)) ||
            !(shop->redis = redis_connection_new(shop->loop, s, REDIS_PENDING_MAX, err)) ||
            !(shop->producer = producer_new(shop->loop, s, err)))
                return -1;
        worker->health = (struct health){.shop = shop, .intake = &worker->intake};
        if (s->admin.listen && *s->admin.listen &&
            !(worker->admin = admin_http_new(shop->loop, s->admin.listen, s->admin.token, health_answer, &worker->health, err)))
                return -1;
        wanted_count = topics_wanted(s, &wanted, err);
        if (wanted_count >= 0)
                worker->topics = topics_watch_new(shop->loop, s, wanted, (size_t)wanted_count, on_topics, worker, err);
        free(wanted);
        worker->health.topics = worker->topics;
        return worker->topics ? 0 : -1;
}

static void take_down(struct worker *worker)
{
        struct workshop *shop = &worker->shop;

        topics_watch_free(worker->topics);
        admin_http_free(worker->admin);
        intake_close(&worker->intake, LEAVE_MS);
        if (shop->producer)
                producer_flush(shop->producer, FLUSH_MS);
        close_shelves(shop);
        running_jobs_free(shop->jobs);
        producer_free(shop->producer);
        redis_connection_free(shop->redis);
        providers_free(shop->providers);
        pool_free(shop->pool);
        prompts_free(shop->prompts);
        task_spares_free(shop);
        gates_free(shop->gates);
        ready_fini(&shop->ready);
        if (worker->lock_fd >= 0)
                close(worker->lock_fd);
}

/* Two arenas serve the loop and librdkafka's threads, and what a burst took is kept for the next one: giving pages back and faulting them in
 * again was 3 % of a record. Peak RSS was the same or less. */
static void tune_malloc(void)
{
        mallopt(M_ARENA_MAX, 2);
        mallopt(M_TRIM_THRESHOLD, 32 << 20);
        mallopt(M_MMAP_THRESHOLD, 4 << 20);
}

int worker_run(const struct worker_options *options, struct error *err)
{
        struct worker worker = {.options = options, .lock_fd = -1};
        struct workshop *shop = &worker.shop;

        signal(SIGPIPE, SIG_IGN);
        tune_malloc();
        shop->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
        if (!shop->loop)
                return error_set(err, CODE_INTERNAL, "no event loop");
        shop->settings = settings_ref(options->settings);
        the_worker = &worker;
        error_clear(&worker.err);
        if (build(&worker, &worker.err) < 0) {
                worker.failed = -1;
        } else {
                watch_signal(&worker, &worker.on_term, SIGTERM, on_stop_signal);
                watch_signal(&worker, &worker.on_int, SIGINT, on_stop_signal);
                watch_signal(&worker, &worker.on_hup, SIGHUP, on_hup);
                ev_timer_init(&worker.tick, on_tick, TICK_MS / 1000.0, TICK_MS / 1000.0);
                worker.tick.data = &worker;
                ev_timer_start(shop->loop, &worker.tick);
                if (options->on_started)
                        options->on_started(options->user, worker.admin ? admin_http_address(worker.admin) : "");
                ev_run(shop->loop, 0);
                ev_signal_stop(shop->loop, &worker.on_term);
                ev_signal_stop(shop->loop, &worker.on_int);
                ev_signal_stop(shop->loop, &worker.on_hup);
                ev_timer_stop(shop->loop, &worker.tick);
                log_info("worker_closing", "ended=%" PRIu64 " left=%zu", worker.intake.ended, worker.intake.task_count);
        }
        take_down(&worker);
        settings_unref(shop->settings);
        ev_loop_destroy(shop->loop);
        the_worker = NULL;
        if (worker.failed < 0 && err)
                *err = worker.err;
        return worker.failed;
}
