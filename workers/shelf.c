/* index topic ─ index_reader ─► a batch copied ─ pool ─► collection_apply … ─► the next batch
 *
 * One batch is on its way to the collection at a time; meanwhile the reader is held, so that memory stays bounded. What can't be applied
 * for lack of memory, or of a place in the pool's queue, is tried again: nothing that was read is skipped. */
#include "workers/shelf.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/base/buffer.h"
#include "config/base/clock.h"
#include "config/base/completion.h"
#include "config/base/log.h"
#include "config/base/own.h"
#include "queues/kafka/index_reader.h"

enum { BATCH_RECORDS_MAX = 512, BATCH_BYTES_MAX = 64 << 20, SNAPSHOT_INTERVAL_MS = 30000 };
#define RETRY_S 0.25

struct fed_record {
        int32_t partition;
        int64_t offset, timestamp_ms;
        size_t key_len, value_len; /* key and value lie one after the other in the batch's bytes */
        bool tombstone;
};

struct feed {
        struct shelf *shelf;
        struct ev_loop *loop;
        struct pool *pool;
        struct settings *settings; /* a reference */
        const struct collection_settings *collection_settings;
        char *dir;
        struct index_reader *reader;
        char *identity;
        bool ended, ready; /* the topic's end was reached; and all up to it is applied */
        struct op op, snapshot_op;
        ev_timer retry;
        uint64_t retries;
        int64_t snapshot_at;     /* when the last one was written, or tried */
        uint64_t snapshot_holds; /* records applied by then */
        struct buffer bytes;
        struct fed_record records[BATCH_RECORDS_MAX];
        size_t count;
};

static int apply(void *argument, struct error *err)
{
        struct feed *feed = argument;
        const char *at = feed->bytes.data;

        for (size_t i = 0; i < feed->count; i++) {
                const struct fed_record *r = &feed->records[i];
                struct span key = {at, r->key_len}, value = {r->tombstone ? NULL : at + r->key_len, r->value_len};

                if (collection_apply(feed->shelf->collection, r->partition, r->offset, r->timestamp_ms, key, value, err) < 0)
                        return -1;
                at += r->key_len + r->value_len;
        }
        return 0;
}

/* Searches may begin once what the topic held at the start is in the collection. */
static void look_whether_ready(struct feed *feed)
{
        if (feed->ready || !feed->ended || feed->op.state != OP_IDLE || feed->count)
                return;
        feed->ready = true;
        log_info("index_caught_up", "collection=%s", feed->shelf->name);
}

/* The batch waits where it is; the reader is held. */
static void try_later(struct feed *feed, const char *reason)
{
        uint64_t count = ++feed->retries;

        if ((count & (count - 1)) == 0) /* the first, second, fourth … */
                log_error("index_feed_waits", "collection=%s tries=%llu reason=%s", feed->shelf->name, (unsigned long long)count, reason);
        ev_timer_set(&feed->retry, RETRY_S, 0.0);
        ev_timer_start(feed->loop, &feed->retry);
}

static void begin_batch(struct feed *feed)
{
        if (pool_run(feed->pool, &feed->op, apply, feed) < 0)
                try_later(feed, "the pool takes no more work");
}

static void on_applied(struct op *op)
{
        struct feed *feed = CONTAINER_OF(op, struct feed, op);
        struct error err = op->err;

        op_reset(op);
        if (err.code != CODE_NONE) { /* records before the failing one are known to the collection, and passed over */
                try_later(feed, err.message);
                return;
        }
        feed->count = 0;
        feed->retries = 0;
        buffer_reset(&feed->bytes);
        look_whether_ready(feed);
        index_reader_hold(feed->reader, false);
}

static void on_retry(struct ev_loop *loop, ev_timer *timer, int events)
{
        struct feed *feed = timer->data;

        (void)loop;
        (void)events;
        if (feed->count) {
                begin_batch(feed);
                return;
        }
        buffer_reset(&feed->bytes);
        index_reader_hold(feed->reader, false);
}

static bool add(struct feed *feed, const struct record *record)
{
        struct fed_record *r = &feed->records[feed->count];

        if (feed->count == BATCH_RECORDS_MAX || feed->bytes.len + record->key.len + record->value.len > BATCH_BYTES_MAX)
                return feed->count == 0; /* a record larger than a batch may be is skipped: no worker writes one */
        *r = (struct fed_record){.partition = record->partition,
                                 .offset = record->offset,
                                 .timestamp_ms = record->timestamp_ms,
                                 .key_len = record->key.len,
                                 .value_len = record->value.len,
                                 .tombstone = !record->value.data};
        buffer_span(&feed->bytes, record->key);
        buffer_span(&feed->bytes, record->value);
        if (!buffer_ok(&feed->bytes))
                return false;
        feed->count++;
        return true;
}

static size_t on_batch(void *user, const struct record *const *records, size_t count)
{
        struct feed *feed = user;
        size_t taken = 0;

        if (feed->op.state != OP_IDLE || ev_is_active(&feed->retry))
                return 0;
        while (taken < count && add(feed, records[taken]))
                taken++;
        if (feed->count == 0 && taken == count)
                return taken;
        index_reader_hold(feed->reader, true);
        if (feed->count)
                begin_batch(feed);
        else
                try_later(feed, "no memory for a batch");
        return taken;
}

static void on_end(void *user)
{
        struct feed *feed = user;

        feed->ended = true;
        look_whether_ready(feed);
}

/* On a pool thread; and at the end on the loop's. */
static int write_snapshot(void *argument, struct error *err)
{
        struct feed *feed = argument;
        struct error why;

        if (collection_snapshot(feed->shelf->collection, feed->identity, &why) == 0)
                return 0;
        log_warn("index_snapshot_failed", "collection=%s reason=%s", feed->shelf->name, why.message);
        if (err)
                *err = why;
        return -1;
}

static void on_snapshot(struct op *op)
{
        op_reset(op);
}

static int start_reader(struct shelf *shelf, struct error *err)
{
        struct feed *feed = shelf->feed;
        struct collection_position known[COLLECTION_PARTITIONS_MAX];
        size_t known_count = collection_positions(shelf->collection, known, COLLECTION_PARTITIONS_MAX);
        AUTO_FREE int64_t *positions = calloc((size_t)shelf->partitions, sizeof *positions);
        struct index_reader_config config = {.topic = shelf->topic,
                                             .positions = positions,
                                             .partition_count = shelf->partitions,
                                             .batch_max = BATCH_RECORDS_MAX,
                                             .on_batch = on_batch,
                                             .on_end = on_end,
                                             .user = feed};

        if (!positions)
                return error_set(err, CODE_INTERNAL, "out of memory");
        for (size_t i = 0; i < known_count; i++)
                if (known[i].partition < shelf->partitions)
                        positions[known[i].partition] = known[i].offset;
        feed->reader = index_reader_new(feed->loop, feed->settings, &config, err);
        return feed->reader ? 0 : -1;
}

/* An empty replica, or what its snapshot holds. */
static int open_collection(struct shelf *shelf, bool from_snapshot, struct error *err)
{
        struct feed *feed = shelf->feed;
        const struct model_settings *model = &feed->settings->models[feed->collection_settings->model];
        char embedder[512];
        struct error why;
        bool loaded;

        snprintf(embedder, sizeof embedder, "%s/%s", feed->settings->providers[model->provider].name, model->model);
        shelf->collection =
                collection_new(shelf->name, shelf->version, feed->collection_settings, (size_t)model->dimensions, embedder, feed->dir, err);
        if (!shelf->collection)
                return -1;
        if (from_snapshot && feed->dir && collection_open_snapshot(shelf->collection, feed->identity, &loaded, &why) < 0)
                log_warn("index_snapshot_refused", "collection=%s reason=%s", shelf->name, why.message);
        return start_reader(shelf, err);
}

int shelf_open(struct shelf *shelf, struct ev_loop *loop, struct pool *pool, struct settings *settings,
               const struct collection_settings *collection, const char *dir, const char *identity, struct error *err)
{
        struct feed *feed = calloc(1, sizeof *feed);

        if (!feed)
                return error_set(err, CODE_INTERNAL, "out of memory");
        shelf->feed = feed;
        *feed = (struct feed){.shelf = shelf,
                              .loop = loop,
                              .pool = pool,
                              .settings = settings_ref(settings),
                              .collection_settings = collection,
                              .dir = dir ? strdup(dir) : NULL,
                              .identity = strdup(identity),
                              .snapshot_at = clock_now_ms()};
        op_init(&feed->op, on_applied);
        op_init(&feed->snapshot_op, on_snapshot);
        ev_timer_init(&feed->retry, on_retry, RETRY_S, 0.0);
        feed->retry.data = feed;
        buffer_init(&feed->bytes, BATCH_BYTES_MAX);
        if (!feed->identity || (dir && !feed->dir))
                return error_set(err, CODE_INTERNAL, "out of memory");
        return open_collection(shelf, true, err);
}

void shelf_close(struct shelf *shelf)
{
        struct feed *feed = shelf->feed;

        if (!feed)
                return;
        ev_timer_stop(feed->loop, &feed->retry);
        op_abort(&feed->op); /* waits for a batch that is being applied */
        op_abort(&feed->snapshot_op);
        index_reader_free(feed->reader);
        if (shelf->collection && feed->dir)
                write_snapshot(feed, NULL);
        collection_free(shelf->collection);
        buffer_fini(&feed->bytes);
        settings_unref(feed->settings);
        free(feed->dir);
        free(feed->identity);
        free(feed);
        shelf->collection = NULL;
        shelf->feed = NULL;
}

/* The snapshot's positions are not the topic's: it was deleted and made again, say. No search has begun yet. */
static void start_over(struct shelf *shelf)
{
        struct feed *feed = shelf->feed;
        struct error err;

        ev_timer_stop(feed->loop, &feed->retry);
        feed->count = 0;
        buffer_reset(&feed->bytes);
        index_reader_free(feed->reader);
        feed->reader = NULL;
        collection_free(shelf->collection);
        shelf->collection = NULL;
        if (open_collection(shelf, false, &err) < 0)
                log_error("index_not_opened", "collection=%s reason=%s", shelf->name, err.message);
}

void shelf_tick(struct shelf *shelf)
{
        struct feed *feed = shelf->feed;
        struct collection_stats stats;
        struct error err;

        if (!feed || !feed->reader)
                return;
        if (!feed->ready && feed->op.state == OP_IDLE && index_reader_error(feed->reader, &err) < 0 && err.code == CODE_INDEX_NOT_READY) {
                log_warn("index_starts_over", "collection=%s reason=%s", shelf->name, err.message);
                start_over(shelf);
                return;
        }
        if (!feed->ready || !feed->dir || feed->snapshot_op.state != OP_IDLE || clock_now_ms() - feed->snapshot_at < SNAPSHOT_INTERVAL_MS)
                return;
        feed->snapshot_at = clock_now_ms();
        collection_stats(shelf->collection, &stats);
        if (stats.applied == feed->snapshot_holds || pool_run(feed->pool, &feed->snapshot_op, write_snapshot, feed) < 0)
                return;
        feed->snapshot_holds = stats.applied;
}

bool shelf_ready(const struct shelf *shelf)
{
        return shelf->feed && shelf->feed->ready;
}

int64_t shelf_lag(const struct shelf *shelf)
{
        int64_t unread = shelf->feed && shelf->feed->reader ? index_reader_lag(shelf->feed->reader) : -1;

        return unread < 0 ? -1 : unread + (int64_t)shelf->feed->count;
}
