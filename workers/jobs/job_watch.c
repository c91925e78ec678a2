#include "workers/jobs/job_watch.h"

#include <ev.h>
#include <signal.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "workers/jobs/running_jobs.h"

enum { REFRESH_MS = 500, PATIENCE_MS = 10000, TURN_MS = 20, PENDING_MAX = 16 };

struct job_watch {
        const char *tenant, *name;
        struct settings *settings; /* a reference */
        struct ev_loop *loop;
        struct redis_connection *redis;
        struct running_jobs *jobs; /* NULL: not followed */
        struct op read_op, tell_op;
        struct job_progress progress, answer;
        struct job_counted told;
        int64_t asked_ms, told_ms; /* when last */
        int64_t total, published;  /* to be told */
        bool news;                 /* they are not told yet */
};

static void on_done(struct op *op)
{
        (void)op; /* its state is looked at after each turn of the loop */
}

struct job_watch *job_watch_new(struct settings *settings, const char *tenant, const char *name, bool follows, struct error *err)
{
        struct job_watch *watch = calloc(1, sizeof *watch);

        if (!watch) {
                error_set(err, CODE_INTERNAL, "out of memory");
                return NULL;
        }
        signal(SIGPIPE, SIG_IGN);
        watch->settings = settings_ref(settings);
        job_watch_turn_to(watch, tenant, name);
        op_init(&watch->read_op, on_done);
        op_init(&watch->tell_op, on_done);
        watch->asked_ms = watch->told_ms = -REFRESH_MS;
        watch->loop = ev_loop_new(EVFLAG_AUTO);
        if (watch->loop)
                watch->redis = redis_connection_new(watch->loop, settings, PENDING_MAX, err);
        else
                error_set(err, CODE_INTERNAL, "no event loop");
        if (watch->redis && follows)
                watch->jobs = running_jobs_new(watch->loop, settings, NULL, NULL, err);
        if (watch->redis && (!follows || watch->jobs))
                return watch;
        job_watch_free(watch);
        return NULL;
}

void job_watch_free(struct job_watch *watch)
{
        if (!watch)
                return;
        op_abort(&watch->read_op);
        op_abort(&watch->tell_op);
        running_jobs_free(watch->jobs);
        redis_connection_free(watch->redis);
        if (watch->loop)
                ev_loop_destroy(watch->loop);
        settings_unref(watch->settings);
        free(watch);
}

void job_watch_turn_to(struct job_watch *watch, const char *tenant, const char *name)
{
        watch->tenant = tenant;
        watch->name = name;
        watch->progress = (struct job_progress){.total = -1, .published = -1};
}

static void ask(struct job_watch *watch)
{
        watch->asked_ms = clock_now_ms();
        job_progress_get(watch->redis, &watch->read_op, span_of(watch->tenant), span_of(watch->name), &watch->answer);
}

static void tell(struct job_watch *watch)
{
        watch->told_ms = clock_now_ms();
        watch->news = false;
        job_published(watch->redis, &watch->tell_op, span_of(watch->tenant), span_of(watch->name), watch->total, watch->published,
                      &watch->told);
}

/* Takes what has come, asks for more when it is time. A Redis that fails is asked again later. */
static void look(struct job_watch *watch)
{
        const int64_t now = clock_now_ms();

        if (watch->read_op.state == OP_DONE) {
                if (watch->read_op.err.code == CODE_NONE)
                        watch->progress = watch->answer;
                op_reset(&watch->read_op);
        }
        if (watch->tell_op.state == OP_DONE) {
                watch->news |= watch->tell_op.err.code != CODE_NONE;
                op_reset(&watch->tell_op);
        }
        if (watch->read_op.state == OP_IDLE && now - watch->asked_ms >= REFRESH_MS)
                ask(watch);
        if (watch->tell_op.state == OP_IDLE && watch->news && now - watch->told_ms >= REFRESH_MS)
                tell(watch);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
        (void)timer;
        (void)events;
        ev_break(loop, EVBREAK_ONE);
}

void job_watch_run(struct job_watch *watch, int64_t ms)
{
        const int64_t until = clock_now_ms() + ms;
        int64_t left = ms;

        do {
                ev_timer timer;

                look(watch);
                ev_now_update(watch->loop);
                ev_timer_init(&timer, on_timer, (double)(left > TURN_MS ? TURN_MS : left) / 1000, 0);
                ev_timer_start(watch->loop, &timer);
                ev_run(watch->loop, left > 0 ? 0 : EVRUN_NOWAIT);
                ev_timer_stop(watch->loop, &timer);
                left = until - clock_now_ms();
        } while (left > 0);
        look(watch);
}

const struct job_progress *job_watch_progress(const struct job_watch *watch)
{
        return &watch->progress;
}

int job_watch_settle(struct job_watch *watch, struct error *err)
{
        const int64_t until = clock_now_ms() + PATIENCE_MS;

        while (!running_jobs_known(watch->jobs) && clock_now_ms() < until)
                job_watch_run(watch, TURN_MS);
        return running_jobs_known(watch->jobs) ? 0 : error_set(err, CODE_TIMEOUT, "the control topic can't be read");
}

enum job_state job_watch_state(const struct job_watch *watch)
{
        int64_t since;

        return running_jobs_state(watch->jobs, span_of(watch->tenant), span_of(watch->name), &since);
}

void job_watch_published(struct job_watch *watch, int64_t total, int64_t published)
{
        watch->news |= watch->total != total || watch->published != published;
        watch->total = total;
        watch->published = published;
}

int job_watch_read(struct job_watch *watch, struct job_progress *ret_progress, struct error *err)
{
        const int64_t until = clock_now_ms() + PATIENCE_MS;

        op_abort(&watch->read_op);
        for (;;) {
                ask(watch);
                while (watch->read_op.state == OP_BUSY)
                        ev_run(watch->loop, EVRUN_ONCE); /* each command has a time-out of its own */
                *err = watch->read_op.err;
                op_reset(&watch->read_op);
                if (err->code == CODE_NONE)
                        break;
                if (!err->retriable || clock_now_ms() >= until)
                        return -1;
                job_watch_run(watch, TURN_MS);
                op_abort(&watch->read_op);
        }
        *ret_progress = watch->progress = watch->answer;
        return 0;
}

void job_watch_flush(struct job_watch *watch)
{
        const int64_t until = clock_now_ms() + PATIENCE_MS / 2;

        while ((watch->news || watch->tell_op.state != OP_IDLE) && clock_now_ms() < until) {
                watch->told_ms -= REFRESH_MS;
                job_watch_run(watch, TURN_MS);
        }
}
