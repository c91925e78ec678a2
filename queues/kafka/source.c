/* Records on their way from librdkafka to the receiver. Partitions and what waits in them: source_place.c; the group:
 * source_group.c.
 *
 * A turn: serve the group queue; show parked records that are due; read a batch from the record queue and show it, record by
 * record. A full batch raises the wake-up once more, so that the rest comes in the next loop turn and others have theirs between.
 *
 * Invariants:
 * - a place's records are shown in ascending order of offset, each once a generation;
 * - waiting non-empty: nothing of that place is shown but from the list's head;
 * - what an earlier run has done (source_map.c) is started and ended in its turn, and not shown;
 * - an offset is started in the watermark when its record is first shown, so that a parked record holds the mark. */
#include "queues/kafka/source_private.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "config/base/own.h"
#include "queues/kafka/kafka_conf.h"

enum {
        TURN_MAX = 128,
        WINDOW = 65536,
        COMMIT_INTERVAL_MS = 1000,
        REVOKE_DRAIN_MS = 2000,
        DUE_CHECK_MS = 500,
        LEAVING_CHECK_MS = 20,
        CLOSE_POLL_MS = 10,
        DESTROY_S = 5,           /* for a consumer that has left its group: milliseconds, as a rule */
        DESTROY_SILENT_MS = 200, /* for one that could not */
        IDLE_FETCH_MS = 250, /* an eager fetch ends with the first record; without one it is repeated that often */
};

#define PATIENT_FETCH_BYTES "262144"

static const struct kafka_default common_defaults[] = {
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "earliest"},
        {"partition.assignment.strategy", "cooperative-sticky"},
        {"enable.partition.eof", "false"}, /* rd_kafka_consume_batch_queue() takes such a notice for a record: the position goes one too
                                              far, and where a rebalance or pause begins to fetch again, a record is left out */
        {"check.crcs", "true"},
        {"fetch.error.backoff.ms", "200"},
        {"fetch.queue.backoff.ms", "20"}, /* the default second would leave a drained queue idle */
        {"session.timeout.ms", "10000"},  /* the default 45 s would leave a killed worker's partitions alone for as long */
        {"heartbeat.interval.ms", "2000"},
};

/* Bounds on memory: about queued.max.messages.kbytes + fetch.max.bytes (the latter times what compression saved) a source. A
 * record larger than a fetch still comes, alone. */
static const struct kafka_default profiles[3][4] = {
        [SOURCE_BULK] = {{"fetch.max.bytes", "1048576"},
                         {"fetch.message.max.bytes", "131072"},
                         {"queued.max.messages.kbytes", "1024"},
                         {"queued.min.messages", "4000"}},
        [SOURCE_INTERACTIVE] = {{"fetch.max.bytes", "1048576"},
                                {"fetch.message.max.bytes", "65536"},
                                {"queued.max.messages.kbytes", "512"},
                                {"queued.min.messages", "1000"}},
        [SOURCE_RETRY] = {{"fetch.max.bytes", "1048576"},
                          {"fetch.message.max.bytes", "65536"},
                          {"queued.max.messages.kbytes", "512"},
                          {"queued.min.messages", "500"}},
};

/* ---- showing ---- */

/* False: it may not be shown yet (no room in the window or the map); the record remains the caller's. */
static bool hand_out(struct place *place, struct record *record, bool started)
{
        struct source *source = place->source;
        bool known = !started && source_known(place, record);

        if (!started && (!source_may_start(place, record->offset) ||
                         !(known ? watermark_skip : watermark_start)(&place->marks, record->offset)))
                return false;
        if (place->first < 0)
                place->first = record->offset;
        if (known) { /* an earlier run has done it */
                source->skipped_count++;
                source->last_record = source->last_poll;
                source_record_give(source, record);
                return true;
        }
        if (!started)
                source_started(place);
        record->next = record->prev = NULL;
        place->outstanding++;
        source->outstanding++;
        source->last_record = source->last_poll;
        source->showing = record;
        source->config.on_record(source->config.user, record);
        source->showing = NULL;
        return true;
}

/* An offset that has come already in this generation. A rebalance's pause may make librdkafka read the newest batch again: a
 * duplicate, skipped. Anything else is a log that was cut or made anew: it counts as a new assignment of the partition. True =
 * skip. */
static bool seen_before(struct place *place, const rd_kafka_message_t *message)
{
        int32_t epoch = rd_kafka_message_leader_epoch(message);

        if (message->offset >= place->batch_first && epoch == place->epoch)
                return true;
        log_warn("partition goes back", "partition=%d from=%lld to=%lld topic=%s", (int)place->partition,
                 (long long)place->marks.next, (long long)message->offset, place->topic);
        source_forget_waiting(place);
        watermark_reset(&place->marks);
        place->generation = ++place->source->generation;
        place->committed = place->first = place->eof = -1;
        place->outstanding = 0;
        place->broken = place->resting = false;
        place->ended_sent = place->ended_acked = 0;
        return false;
}

static int64_t newest(const struct place *place)
{
        return place->waiting_last && place->waiting_last->offset >= place->marks.next ? place->waiting_last->offset + 1
                                                                                       : place->marks.next;
}

void source_show(struct source *source, rd_kafka_message_t *message)
{
        struct place *place = source_place_of(source, message);
        struct record *record;

        if (!place || place->state != PLACE_HERE || place->broken ||
            (message->offset < newest(place) && seen_before(place, message))) {
                rd_kafka_message_destroy(message);
                return;
        }
        if (place->batch != source->batch_number) {
                place->batch = source->batch_number;
                place->batch_first = message->offset;
        }
        place->epoch = rd_kafka_message_leader_epoch(message);
        record = source_wait_reserve(source) < 0 ? NULL : source_record_take(source);
        if (!record) { /* nothing behind it is shown, and so never committed, until the partition is assigned anew */
                place->broken = true;
                error_set(&source->last_error, CODE_INTERNAL, "no memory for a record");
                rd_kafka_message_destroy(message);
                return;
        }
        record_view(record, message);
        record->generation = place->generation;
        record->source = source;
        record->place = place;
        if (place->waiting || !hand_out(place, record, false))
                source_wait_push(place, record, false);
}

static bool may_show(const struct place *place, int64_t now)
{
        return place->waiting && place->state == PLACE_HERE && place->due_ms <= now &&
               (place->head_started || (source_may_start(place, place->waiting->offset) &&
                                        watermark_fits(&place->marks, place->waiting->offset)));
}

/* Shows what has waited long enough, at most `budget` records; returns what is left of the budget. Sets the timer for the rest. */
static size_t show_waiting(struct source *source, size_t budget)
{
        int64_t now = clock_now_ms(), sleep_ms = DUE_CHECK_MS;
        bool timed = false;

        for (size_t i = source->waiting_count; i-- > 0 && !source->held;) {
                struct place *place = i < source->waiting_count ? source->waiting[i] : NULL;

                if (!place)
                        continue;
                while (budget > 0 && !source->held && may_show(place, now)) {
                        struct record *record = source_wait_pop(place);
                        bool started = place->head_started;

                        place->head_started = false;
                        place->due_ms = 0;
                        hand_out(place, record, started);
                        budget--;
                }
                if (budget == 0 && may_show(place, now))
                        kafka_wakeup_raise(source->wakeup_fd);
                if (place->waiting && place->due_ms > now) {
                        timed = true;
                        if (place->due_ms - now < sleep_ms)
                                sleep_ms = place->due_ms - now;
                }
        }
        if (timed) {
                source->due.repeat = (double)sleep_ms / 1000;
                ev_timer_again(source->loop, &source->due);
        } else {
                ev_timer_stop(source->loop, &source->due);
        }
        return budget;
}

static void show_batch(struct source *source)
{
        while (source->batch_at < source->batch_len && !source->held && !source->stopped) {
                rd_kafka_message_t *message = source->batch[source->batch_at++];

                if (!message->err) {
                        source_show(source, message);
                        continue;
                }
                if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                        source_end_reached(source, message);
                        rd_kafka_message_destroy(message);
                        continue;
                }
                kafka_error(&source->last_error, message->err, "fetch");
                log_warn("fetch fault", "group=%s error=%s", source->group, rd_kafka_err2name(message->err));
                rd_kafka_message_destroy(message);
        }
}

static void turn(struct source *source)
{
        bool more = source_serve_group(source);
        size_t budget = (size_t)source->config.turn_max;

        source_leave(source);
        source_serve_answers(source);
        if (!source->held && !source->stopped) {
                show_batch(source); /* what a hold left over */
                budget = show_waiting(source, budget);
                if (source->batch_at == source->batch_len && budget > 0 && !source->held) {
                        ssize_t count = rd_kafka_consume_batch_queue(source->record_queue, 0, source->batch, budget);

                        source->batch_number++;
                        source->batch_at = 0;
                        source->batch_len = count > 0 ? (size_t)count : 0;
                        more |= source->batch_len == budget;
                        if (source->batch_len > 0 && !source->committing && source->last_error.code)
                                error_clear(&source->last_error);
                        show_batch(source);
                        if (source->waiting_count > 0)
                                show_waiting(source, 0); /* the timer for what was parked just now */
                }
                more |= budget == 0;
        }
        if (more)
                kafka_wakeup_raise(source->wakeup_fd);
}

static void on_wakeup(struct ev_loop *loop, ev_io *watcher, int events)
{
        struct source *source = watcher->data;

        (void)loop;
        (void)events;
        kafka_wakeup_clear(source->wakeup_fd);
        turn(source);
}

static void on_due(struct ev_loop *loop, ev_timer *watcher, int events)
{
        (void)loop;
        (void)events;
        turn(watcher->data);
}

static void on_leaving(struct ev_loop *loop, ev_timer *watcher, int events)
{
        struct source *source = watcher->data;

        (void)loop;
        (void)events;
        source_serve_group(source);
        source_leave(source);
}

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
        struct source *source = watcher->data;

        (void)loop;
        (void)events;
        source_map_tick(source);
        source_commit(source);
        turn(source);
        source_watch_tick(source);
        source_gauges(source);
}

/* ---- life ---- */

static int open_consumer(struct source *source, const struct settings *settings, struct error *err)
{
        struct kafka_default defaults[COUNT_OF(common_defaults) + COUNT_OF(profiles[0]) + 4];
        int64_t patience_ms = source->config.fetch_wait_ms;
        char wait_ms[16];
        size_t count = 0;
        rd_kafka_conf_t *conf;

        for (size_t i = 0; i < COUNT_OF(common_defaults); i++)
                defaults[count++] = common_defaults[i];
        for (size_t i = 0; i < COUNT_OF(profiles[0]); i++)
                defaults[count++] = profiles[source->config.profile][i];
        snprintf(wait_ms, sizeof wait_ms, "%d", (int)(patience_ms > 0 ? patience_ms : IDLE_FETCH_MS));
        defaults[count++] = (struct kafka_default){"fetch.min.bytes", patience_ms > 0 ? PATIENT_FETCH_BYTES : "1"};
        defaults[count++] = (struct kafka_default){"fetch.wait.max.ms", wait_ms};
        defaults[count++] = (struct kafka_default){"group.id", source->group};
        if (settings->worker.instance_id && *settings->worker.instance_id)
                defaults[count++] = (struct kafka_default){"group.instance.id", settings->worker.instance_id};
        conf = kafka_conf(settings, source->group, defaults, count, err);
        if (!conf)
                return -1;
        rd_kafka_conf_set_opaque(conf, source);
        rd_kafka_conf_set_rebalance_cb(conf, source_on_rebalance);
        rd_kafka_conf_set_error_cb(conf, source_on_error);
        rd_kafka_conf_interceptor_add_on_new(conf, "millrace", source_on_new, source);
        source->kafka = kafka_open_intercepted(RD_KAFKA_CONSUMER, conf, err);
        if (!source->kafka)
                return -1;
        rd_kafka_poll_set_consumer(source->kafka);
        source->group_queue = rd_kafka_queue_get_consumer(source->kafka);
        source->record_queue = rd_kafka_queue_new(source->kafka);
        kafka_wakeup_attach(source->wakeup_fd, source->group_queue);
        kafka_wakeup_attach(source->wakeup_fd, source->record_queue);
        source->answers = rd_kafka_queue_new(source->kafka);
        kafka_wakeup_attach(source->wakeup_fd, source->answers);
        return 0;
}

static int subscribe(struct source *source, struct error *err)
{
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)source->topic_count);
        rd_kafka_resp_err_t code;

        for (size_t t = 0; t < source->topic_count; t++)
                rd_kafka_topic_partition_list_add(list, source->topics[t].name, RD_KAFKA_PARTITION_UA);
        code = rd_kafka_subscribe(source->kafka, list);
        rd_kafka_topic_partition_list_destroy(list);
        return code ? kafka_error(err, code, "subscribe") : 0;
}

static int copy_config(struct source *source, const struct source_config *config)
{
        source->config = *config;
        if (source->config.turn_max <= 0)
                source->config.turn_max = TURN_MAX;
        if (source->config.window == 0)
                source->config.window = WINDOW;
        if (source->config.commit_interval_ms <= 0)
                source->config.commit_interval_ms = COMMIT_INTERVAL_MS;
        if (source->config.revoke_drain_ms <= 0)
                source->config.revoke_drain_ms = REVOKE_DRAIN_MS;
        source->group = strdup(config->group);
        source->topics = calloc(config->topic_count, sizeof *source->topics);
        source->batch = calloc((size_t)source->config.turn_max, sizeof(rd_kafka_message_t *));
        if (!source->group || !source->topics || !source->batch)
                return -1;
        for (size_t t = 0; t < config->topic_count; t++) {
                source->topics[t].name = strdup(config->topics[t]);
                if (!source->topics[t].name)
                        return -1;
                source->topic_count++;
        }
        source->config.topics = NULL;
        source->config.group = source->group;
        return 0;
}

struct source *source_new(struct ev_loop *loop, const struct settings *settings, const struct source_config *config,
                          struct error *err)
{
        struct source *source = calloc(1, sizeof *source);

        assert(config->topic_count > 0 && config->topic_count <= SOURCE_TOPICS_MAX && config->on_record);
        if (!source) {
                error_set(err, CODE_INTERNAL, "no memory for a source");
                return NULL;
        }
        source->loop = loop;
        source->wakeup_fd = -1;
        source->last_record = -1;
        source->last_poll = clock_now_ms();
        source->watch = (struct source_watch){.moved = source->last_poll, .ended = -1, .behind_since = -1, .away_since = -1, .leaders_at = -1,
                                              .coordinator_at = -1, .asked = source->last_poll};
        error_clear(&source->last_error);
        if (copy_config(source, config) < 0) {
                error_set(err, CODE_INTERNAL, "no memory for a source");
                source_free(source, 0);
                return NULL;
        }
        ev_init(&source->due, on_due);
        ev_init(&source->leaving, on_leaving);
        source->leaving.repeat = LEAVING_CHECK_MS / 1000.0;
        source->due.data = source->leaving.data = source->tick.data = source->wakeup.data = source;
        source->wakeup_fd = kafka_wakeup_new(err);
        if (source->wakeup_fd < 0 || open_consumer(source, settings, err) < 0 || subscribe(source, err) < 0) {
                source_free(source, 0);
                return NULL;
        }
        ev_io_init(&source->wakeup, on_wakeup, source->wakeup_fd, EV_READ);
        ev_io_start(loop, &source->wakeup);
        ev_timer_init(&source->tick, on_tick, (double)source->config.commit_interval_ms / 1000,
                      (double)source->config.commit_interval_ms / 1000);
        ev_timer_start(loop, &source->tick);
        return source;
}

static bool forget_place(struct place *place, void *user)
{
        (void)user;
        source_forget_waiting(place);
        return true;
}

static void *destroy_run(void *user)
{
        struct source *source = user;

        rd_kafka_destroy_flags(source->kafka, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        atomic_store(&source->destroyed, true);
        return NULL;
}

/* librdkafka's end waits for a commit that a silent broker does not answer, for minutes. False: it was left to itself, and goes on
 * using the source's memory; the process is about to end. */
static bool destroy_consumer(struct source *source, bool closed)
{
        int64_t until = clock_now_ms() + (closed ? DESTROY_S * 1000 : 0) + DESTROY_SILENT_MS;
        pthread_t thread;

        if (pthread_create(&thread, NULL, destroy_run, source) != 0) {
                destroy_run(source);
                return true;
        }
        while (!atomic_load(&source->destroyed) && clock_now_ms() < until)
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (atomic_load(&source->destroyed)) {
                pthread_join(thread, NULL);
                return true;
        }
        pthread_detach(thread);
        log_warn("consumer left behind", "group=%s reason=the broker does not answer", source->group);
        return false;
}

/* Commits, leaves the group, and gives it up when that takes too long: the group then notices by the session's time-out. False: as
 * destroy_consumer(). */
static bool close_consumer(struct source *source, int64_t timeout_ms)
{
        bool closed;
        struct error err;
        int64_t waited = 0;

        source->stopped = source->closing = true;
        source->revoke_deadline = 0;
        for (size_t i = source->batch_at; i < source->batch_len; i++)
                rd_kafka_message_destroy(source->batch[i]);
        source->batch_at = source->batch_len = 0;
        source_each_place(source, forget_place, NULL);
        source_commit(source);
        source_assign_blind(source);
        group_question_free(TAKE(source->question));
        if (kafka_error_object(&err, rd_kafka_consumer_close_queue(source->kafka, source->group_queue), "close") < 0) {
                log_warn("consumer close failed", "group=%s error=%s", source->group, err.message);
                timeout_ms = 0;
        }
        while (!rd_kafka_consumer_closed(source->kafka) && waited < timeout_ms) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(source->kafka, CLOSE_POLL_MS);

                if (message)
                        rd_kafka_message_destroy(message);
                else
                        waited += CLOSE_POLL_MS;
                source_leave(source);
        }
        if (source->assigning)
                rd_kafka_topic_partition_list_destroy(source->assigning);
        if (source->revoked)
                rd_kafka_topic_partition_list_destroy(source->revoked);
        closed = rd_kafka_consumer_closed(source->kafka) != 0;
        kafka_wakeup_detach(source->group_queue);
        kafka_wakeup_detach(source->record_queue);
        kafka_wakeup_detach(source->answers);
        rd_kafka_queue_destroy(source->answers);
        rd_kafka_queue_destroy(source->record_queue);
        rd_kafka_queue_destroy(source->group_queue);
        return destroy_consumer(source, closed);
}

void source_free(struct source *source, int64_t timeout_ms)
{
        static struct source *volatile left_behind; /* kept in sight: no leak */
        bool gone;

        if (!source)
                return;
        assert(source->outstanding == 0 && "every record is given back before source_free()");
        gone = !source->kafka || close_consumer(source, timeout_ms);
        ev_io_stop(source->loop, &source->wakeup);
        ev_timer_stop(source->loop, &source->tick);
        ev_timer_stop(source->loop, &source->due);
        ev_timer_stop(source->loop, &source->leaving);
        if (source->wakeup_fd >= 0)
                close(source->wakeup_fd);
        for (size_t t = 0; t < source->topic_count; t++) {
                for (int32_t p = 0; p < source->topics[t].place_count; p++)
                        if (source->topics[t].places[p]) {
                                watermark_fini(&source->topics[t].places[p]->marks);
                                free(source->topics[t].places[p]);
                        }
                free(source->topics[t].places);
                free(source->topics[t].name);
        }
        while (source->pool) {
                struct record *record = source->pool;

                source->pool = record->next;
                free(record);
        }
        free(source->waiting);
        free(source->batch);
        free(source->topics);
        free(source->group);
        if (gone)
                free(source);
        else
                left_behind = source;
        (void)left_behind;
}

void source_hold(struct source *source, bool hold)
{
        if (source->held == hold)
                return;
        source->held = hold;
        if (!hold)
                kafka_wakeup_raise(source->wakeup_fd);
}

bool source_held(const struct source *source)
{
        return source->held;
}

void source_stop(struct source *source)
{
        source->stopped = true;
        source_commit(source);
}
