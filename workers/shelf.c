/* index topic ─ index_reader ─► a batch copied ─ pool ─► collection_apply … ─► the next batch
 *
 * One batch is on its way to the collection at a time; meanwhile the reader is held, so that memory stays bounded. */
#include "workers/shelf.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/base/buffer.h"
#include "config/base/completion.h"
#include "config/base/log.h"
#include "config/base/own.h"
#include "queues/kafka/index_reader.h"

enum { BATCH_RECORDS_MAX = 512, BATCH_BYTES_MAX = 64 << 20 };

struct fed_record {
        int32_t partition;
        int64_t offset, timestamp_ms;
        size_t key_len, value_len; /* key and value lie one after the other in the batch's bytes */
        bool tombstone;
};

struct feed {
        struct shelf *shelf;
        struct pool *pool;
        struct index_reader *reader;
        char *identity;
        bool keeps_snapshot;
        bool ended, ready; /* the topic's end was reached; and all up to it is applied */
        struct op op;
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
        if (feed->ready || !feed->ended || feed->op.state != OP_IDLE)
                return;
        feed->ready = true;
        log_info("index_caught_up", "collection=%s", feed->shelf->name);
}

static void on_applied(struct op *op)
{
        struct feed *feed = CONTAINER_OF(op, struct feed, op);

        if (op->err.code != CODE_NONE) {
                log_error("index_feed_failed", "collection=%s reason=%s", feed->shelf->name, op->err.message);
                abort(); /* out of memory: what was read must not be skipped */
        }
        feed->count = 0;
        buffer_reset(&feed->bytes);
        op_reset(op);
        look_whether_ready(feed);
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

        if (feed->op.state != OP_IDLE)
                return 0;
        while (taken < count && add(feed, records[taken]))
                taken++;
        if (feed->count == 0)
                return taken;
        if (pool_run(feed->pool, &feed->op, apply, feed) < 0) {
                feed->count = 0;
                buffer_reset(&feed->bytes);
                return 0;
        }
        index_reader_hold(feed->reader, true);
        return taken;
}

static void on_end(void *user)
{
        struct feed *feed = user;

        feed->ended = true;
        look_whether_ready(feed);
}

static int start_reader(struct shelf *shelf, struct ev_loop *loop, struct settings *settings, struct error *err)
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
        feed->reader = index_reader_new(loop, settings, &config, err);
        return feed->reader ? 0 : -1;
}

int shelf_open(struct shelf *shelf, struct ev_loop *loop, struct pool *pool, struct settings *settings,
               const struct collection_settings *collection, const char *dir, const char *identity, struct error *err)
{
        const struct model_settings *model = &settings->models[collection->model];
        struct feed *feed = calloc(1, sizeof *feed);
        char embedder[512];
        struct error why;
        bool loaded;

        if (!feed)
                return error_set(err, CODE_INTERNAL, "out of memory");
        shelf->feed = feed;
        *feed = (struct feed){.shelf = shelf, .pool = pool, .identity = strdup(identity), .keeps_snapshot = dir != NULL};
        op_init(&feed->op, on_applied);
        buffer_init(&feed->bytes, BATCH_BYTES_MAX);
        snprintf(embedder, sizeof embedder, "%s/%s", settings->providers[model->provider].name, model->model);
        shelf->collection = collection_new(shelf->name, shelf->version, collection, (size_t)model->dimensions, embedder, dir, err);
        if (!shelf->collection)
                return -1;
        if (dir && collection_open_snapshot(shelf->collection, identity, &loaded, &why) < 0)
                log_warn("index_snapshot_refused", "collection=%s reason=%s", shelf->name, why.message);
        return start_reader(shelf, loop, settings, err);
}

void shelf_close(struct shelf *shelf)
{
        struct feed *feed = shelf->feed;
        struct error err;

        if (!feed)
                return;
        op_abort(&feed->op); /* waits for a batch that is being applied */
        index_reader_free(feed->reader);
        if (shelf->collection && feed->keeps_snapshot && collection_snapshot(shelf->collection, feed->identity, &err) < 0)
                log_warn("index_snapshot_failed", "collection=%s reason=%s", shelf->name, err.message);
        collection_free(shelf->collection);
        buffer_fini(&feed->bytes);
        free(feed->identity);
        free(feed);
        shelf->collection = NULL;
        shelf->feed = NULL;
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
