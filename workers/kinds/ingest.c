/* ingest: lock the document → chunk (pool) → embed in batches, each kept in the ledger → publish the chunks, then the document record → null what an earlier
 * version had more → note what was applied.
 *
 * The lock is a lease in Redis: one writer a document over the whole fleet. It is renewed before it can lapse, and asked for anew whenever
 * that was too late, so that nothing is published under a lost one. A version below the last applied writes nothing. Readers
 * switch when the document record comes, so a death half-way leaves the old version standing; the next delivery writes all again under
 * the same keys. At most SEND_WINDOW records are under way. Redis or Kafka that is down is waited for, until the deadline: that is no
 * attempt. */
#include <pthread.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/digest.h"
#include "queues/redis/documents.h"
#include "retrieval/chunking/chunker.h"
#include "workers/kinds/kinds.h"
#include "workers/kinds/paid_embedding.h"

enum { SEND_WINDOW = 64, RECORD_BYTES_MAX = 8 << 20, BUSY_WAIT_MS = 100, LEASES = 4, KEY_BYTES = 512, PAGES_MAX = 1000000000 };
enum phase { PHASE_BEGIN, PHASE_CHUNK, PHASE_LOCK, PHASE_LOCKED, PHASE_EMBED, PHASE_SEND, PHASE_DOCUMENT, PHASE_TOMBSTONES, PHASE_APPLY, PHASE_UNLOCK };

struct sending {
        struct op op;
        struct task *task;
        size_t n;   /* of its phase's records */
        bool again; /* it was not written: once more */
        struct producer_ack ack;
};

struct ingestion {
        struct shelf *shelf;
        const struct collection_settings *collection;
        struct chunk_source source;
        struct chunk *chunks;
        size_t chunk_count;
        struct arena *arena;
        struct document_claim claim;
        struct document_answer answer;
        struct document_change change;
        bool locked, superseded;
        int64_t locked_at;  /* when the lock was last taken or renewed */
        enum phase resume;  /* the phase that goes on once it has been */
        int64_t chunks_before; /* numbers that an earlier version may have used; −1: unknown */
        int32_t partition;
        size_t model;
        const char *embedder;
        float **vectors; /* [chunk_count], each of `dimensions` */
        int dimensions;
        struct span *texts; /* of the batch under way */
        size_t embedded, batch;
        bool embedding;     /* a batch is under way */
        size_t sent, ended; /* records of the phase under way */
        struct sending sendings[SEND_WINDOW];
        int64_t position; /* behind the last record written */
        struct error why; /* it is being unlocked */
};

static int no_memory(const struct task *task, struct error *err)
{
        return error_set(err, arena_ok(task->arena) ? buffer_fault(&task->out) : arena_fault(task->arena), "the document needs more memory than one request may take");
}

static void on_sent(struct op *op)
{
        task_ready(CONTAINER_OF(op, struct sending, op)->task);
}

static struct chunking chunking_of(const struct ingest_fields *fields, const struct collection_settings *collection, int tokens_max)
{
        struct chunking c = collection->chunking;

        if (fields->chunking_set) {
                if ((int)fields->chunking.strategy >= 0)
                        c.strategy = fields->chunking.strategy;
                if (fields->chunking.size > 0)
                        c.size = fields->chunking.size;
                if (fields->chunking.overlap >= 0)
                        c.overlap = fields->chunking.overlap;
        }
        if (tokens_max > 0 && c.size > tokens_max)
                c.size = tokens_max;
        if (c.overlap >= c.size)
                c.overlap = c.size - 1;
        return c;
}

static struct span metadata_string(const json_t *metadata, const char *name)
{
        const json_t *value = json_object_get(metadata, name);

        return (struct span){json_string_value(value), json_string_length(value)};
}

/* metadata.page_number where it is a number of a page; 0: none. */
static int page_of(const json_t *metadata)
{
        json_int_t page = json_integer_value(json_object_get(metadata, "page_number"));

        return page > 0 && page <= PAGES_MAX ? (int)page : 0;
}

static int begin(struct task *task, struct error *err)
{
        const struct ingest_fields *fields = &task->request.steps[task->step].ingest;
        struct ingestion *work = arena_alloc(task->arena, sizeof *work);

        if (!work)
                return no_memory(task, err);
        work->shelf = workshop_shelf(task->shop, fields->collection);
        work->collection = settings_collection(task->settings, fields->collection.data, fields->collection.len);
        if (!work->shelf || !work->collection)
                return error_set(err, CODE_UNKNOWN_COLLECTION, "collection: there is none of that name");
        work->model = work->collection->model;
        work->arena = task->arena;
        work->source = (struct chunk_source){
                .text = fields->text,
                .format = (enum chunk_format)fields->format,
                .chunking = chunking_of(fields, work->collection, task->settings->models[work->model].input_tokens_max),
                .page_first = page_of(fields->metadata),
                .section_heading = metadata_string(fields->metadata, "section_heading")};
        work->claim = (struct document_claim){.tenant = task->request.tenant,
                                              .collection = fields->collection,
                                              .document = fields->document,
                                              .holder = task->request.id, /* its claim sees to it that one worker speaks for it */
                                              .version = fields->version_set ? fields->version : task->request.origin_timestamp_ms,
                                              .tie_partition = fields->version_set ? 0 : task->request.origin_partition,
                                              .tie_offset = fields->version_set ? 0 : task->request.origin_offset};
        work->partition = collection_partition(task->request.tenant, fields->document, work->shelf->partitions);
        for (size_t i = 0; i < SEND_WINDOW; i++) {
                op_init(&work->sendings[i].op, on_sent);
                work->sendings[i].task = task;
        }
        task->work = work;
        return 0;
}

static pthread_key_t chunker_key;
static pthread_once_t chunker_once = PTHREAD_ONCE_INIT;

static void free_chunker(void *chunker)
{
        chunker_free(chunker);
}

static void make_chunker_key(void)
{
        if (pthread_key_create(&chunker_key, free_chunker) != 0)
                abort(); /* no more than 1,024 keys in a process: not a matter of load */
}

/* One a thread; it lives as long. */
static struct chunker *thread_chunker(struct error *err)
{
        struct chunker *chunker;

        pthread_once(&chunker_once, make_chunker_key);
        chunker = pthread_getspecific(chunker_key);
        if (chunker || !(chunker = chunker_new(err)))
                return chunker;
        if (pthread_setspecific(chunker_key, chunker) == 0)
                return chunker;
        chunker_free(chunker);
        error_set(err, CODE_INTERNAL, "out of memory");
        return NULL;
}

/* On a pool thread. */
static int chunk(void *argument, struct error *err)
{
        struct ingestion *work = argument;
        struct chunker *chunker = thread_chunker(err);

        if (!chunker)
                return -1;
        return chunker_run(chunker, &work->source, work->arena, &work->chunks, &work->chunk_count, err);
}

static int prepare_vectors(struct task *task, struct error *err)
{
        struct ingestion *work = task->work;
        const struct model_settings *model = &task->settings->models[work->model];

        work->batch = model->batch_max > 0 ? (size_t)model->batch_max : 32;
        work->vectors = arena_alloc(task->arena, (work->chunk_count + 1) * sizeof *work->vectors);
        work->texts = arena_alloc(task->arena, work->batch * sizeof *work->texts);
        return work->vectors && work->texts ? 0 : no_memory(task, err);
}

/* What is embedded is what is indexed: title and text. */
static int embed_batch(struct task *task, struct error *err)
{
        struct ingestion *work = task->work;
        const struct ingest_fields *fields = &task->request.steps[task->step].ingest;
        size_t count = work->chunk_count - work->embedded < work->batch ? work->chunk_count - work->embedded : work->batch;

        for (size_t i = 0; i < count; i++) {
                buffer_reset(&task->out);
                collection_indexed_text(&task->out, fields->title, work->chunks[work->embedded + i].text);
                work->texts[i] = (struct span){arena_copy(task->arena, buffer_view(&task->out)), task->out.len};
                if (!buffer_ok(&task->out) || !work->texts[i].data)
                        return no_memory(task, err);
        }
        task->call = (struct call){.op = task->call.op};
        task->call.embed.texts = work->texts;
        task->call.embed.count = count;
        task->call.embed.input_type = INPUT_DOCUMENT;
        task->call.embed.dimensions = task->settings->models[work->model].dimensions;
        work->embedding = true;
        return 0;
}

static void take_batch(struct task *task)
{
        struct ingestion *work = task->work;
        const struct call *call = &task->call;

        work->dimensions = call->dimensions;
        work->embedder = call->model_name;
        for (size_t i = 0; i < call->embed.count; i++)
                work->vectors[work->embedded + i] = call->vectors + i * (size_t)call->dimensions;
        work->embedded += call->embed.count;
        work->embedding = false;
}

static void send(struct task *task, struct sending *sending, struct span key, struct span value)
{
        struct ingestion *work = task->work;

        producer_send(task->shop->producer, &sending->op,
                      &(struct outgoing){.topic = work->shelf->topic, .partition = work->partition, .key = key, .value = value}, &sending->ack);
}

static int send_chunk(struct task *task, struct sending *sending, size_t n, struct error *err)
{
        struct ingestion *work = task->work;
        const struct ingest_fields *fields = &task->request.steps[task->step].ingest;
        const struct chunk *chunk = &work->chunks[n];
        struct chunk_record record = {.tenant = task->request.tenant,
                                      .document = fields->document,
                                      .n = (int64_t)n,
                                      .version = work->claim.version,
                                      .title = fields->title,
                                      .text = chunk->text,
                                      .span_from = (int64_t)chunk->from,
                                      .span_to = (int64_t)chunk->to,
                                      .metadata = fields->metadata,
                                      .section_heading = chunk->section_heading,
                                      .page_number = chunk->page_number,
                                      .vector = work->vectors[n],
                                      .dimensions = (size_t)work->dimensions,
                                      .embedder = span_of(work->embedder)};
        AUTO_BUFFER key = {0};

        buffer_init(&key, KEY_BYTES);
        collection_chunk_key(&key, record.tenant, record.document, record.n);
        if (!buffer_ok(&key))
                return error_set(err, buffer_fault(&key), "no room for a record's key");
        buffer_reset(&task->out);
        if (collection_encode_chunk(&task->out, &record, err) < 0)
                return -1;
        send(task, sending, buffer_view(&key), buffer_view(&task->out));
        return 0;
}

static int send_tombstone(struct task *task, struct sending *sending, size_t n, struct error *err)
{
        const struct ingest_fields *fields = &task->request.steps[task->step].ingest;
        AUTO_BUFFER key = {0};

        buffer_init(&key, KEY_BYTES);
        collection_chunk_key(&key, task->request.tenant, fields->document, (int64_t)n);
        if (!buffer_ok(&key)) /* half a key would be another record's */
                return error_set(err, buffer_fault(&key), "no room for a record's key");
        send(task, sending, buffer_view(&key), (struct span){NULL, 0});
        return 0;
}

static int send_document(struct task *task, struct sending *sending, struct error *err)
{
        struct ingestion *work = task->work;
        const struct ingest_fields *fields = &task->request.steps[task->step].ingest;
        struct span value = {NULL, 0};
        AUTO_BUFFER key = {0};

        buffer_init(&key, KEY_BYTES);
        collection_document_key(&key, task->request.tenant, fields->document);
        if (!buffer_ok(&key))
                return error_set(err, buffer_fault(&key), "no room for a record's key");
        if (!fields->delete_document) {
                buffer_reset(&task->out);
                if (collection_encode_document(&task->out, task->request.tenant, fields->document, work->claim.version,
                                               (int64_t)work->chunk_count, err) < 0)
                        return -1;
                value = buffer_view(&task->out);
        }
        send(task, sending, buffer_view(&key), value);
        return 0;
}

/* The answer to one record. False: it can't be written, and *err says why. */
static bool take_sending(struct task *task, struct sending *sending, struct error *err)
{
        struct ingestion *work = task->work;
        struct error failure = sending->op.err;

        op_reset(&sending->op);
        if (failure.code != CODE_NONE) {
                sending->again = true;
                return task_waits_for_store(task, &failure, err);
        }
        if (sending->ack.offset + 1 > work->position)
                work->position = sending->ack.offset + 1;
        work->ended++;
        return true;
}

/* Sends records [0, count) of this phase within the window; true when all are acknowledged, or *err says what failed. */
static bool send_all(struct task *task, size_t count, size_t first, struct error *err)
{
        struct ingestion *work = task->work;

        for (size_t i = 0; i < SEND_WINDOW; i++) {
                struct sending *sending = &work->sendings[i];
                int failed;

                if (sending->op.state == OP_DONE && !take_sending(task, sending, err))
                        return true;
                if (sending->op.state != OP_IDLE || ev_is_active(&task->timer) || (!sending->again && work->sent == count))
                        continue;
                if (!sending->again)
                        sending->n = first + work->sent++;
                sending->again = false;
                failed = task->phase == PHASE_SEND       ? send_chunk(task, sending, sending->n, err)
                         : task->phase == PHASE_DOCUMENT ? send_document(task, sending, err)
                                                         : send_tombstone(task, sending, sending->n, err);
                if (failed < 0)
                        return true;
        }
        return work->ended == count;
}

static void next_phase(struct task *task, enum phase phase)
{
        struct ingestion *work = task->work;

        op_reset(&task->op);
        work->sent = work->ended = 0;
        task->phase = (int)phase;
}

static enum step lock(struct task *task)
{
        struct ingestion *work = task->work;

        task->phase = PHASE_LOCKED;
        document_lock(task->shop->redis, &task->op, &work->claim, task->settings->worker.claim_lease_ms * LEASES, (int64_t)work->chunk_count,
                      &work->answer);
        return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
}

static enum step locked(struct task *task, struct error *err)
{
        struct ingestion *work = task->work;
        const struct ingest_fields *fields = &task->request.steps[task->step].ingest;
        struct error failure;

        if (task->op.state != OP_DONE)
                return STEP_WAIT;
        if (task->op.err.code != CODE_NONE) {
                failure = task->op.err;
                op_reset(&task->op);
                task->phase = PHASE_LOCK;
                return task_waits_for_store(task, &failure, err) ? STEP_WAIT : STEP_DONE;
        }
        switch (work->answer.verdict) {
        case DOCUMENT_SUPERSEDED:
                work->superseded = true;
                return STEP_DONE;
        case DOCUMENT_BUSY:
                if (task_remaining_ms(task) <= 0) {
                        error_set(err, CODE_DEADLINE, "another version of the document was being written until the deadline");
                        return STEP_DONE;
                }
                op_reset(&task->op);
                task->phase = PHASE_LOCK;
                task_wait(task, work->answer.remaining_ms < BUSY_WAIT_MS ? work->answer.remaining_ms : BUSY_WAIT_MS);
                return STEP_WAIT;
        case DOCUMENT_LOCKED:
        default:
                work->locked = true;
                work->locked_at = clock_now_ms();
                if (work->answer.chunks > work->chunks_before)
                        work->chunks_before = work->answer.chunks;
                op_reset(&task->op);
                task->phase = (int)work->resume;
                if (!fields->delete_document && !work->vectors && prepare_vectors(task, err) < 0)
                        return STEP_DONE;
                return STEP_MORE;
        }
}

/* Half of the lease has gone: it is renewed before the phase goes on. */
static bool renew(struct task *task)
{
        struct ingestion *work = task->work;

        if (clock_now_ms() - work->locked_at < task->settings->worker.claim_lease_ms * LEASES / 2)
                return false;
        work->resume = (enum phase)task->phase;
        task->phase = PHASE_LOCK;
        return true;
}

static enum step embed(struct task *task, struct error *err)
{
        struct ingestion *work = task->work;
        enum step step;

        if (!work->embedding) {
                if (renew(task))
                        return STEP_MORE;
                if (work->embedded == work->chunk_count) {
                        next_phase(task, PHASE_SEND);
                        return STEP_MORE;
                }
                if (embed_batch(task, err) < 0)
                        return STEP_DONE;
        }
        step = paid_embedding(task, work->model, err);
        if (step != STEP_DONE)
                return step;
        if (err->code != CODE_NONE) {
                err->input = -1;
                return STEP_DONE;
        }
        take_batch(task);
        return STEP_MORE;
}

/* The numbers that an earlier version had and this one has not. */
static size_t left_over(const struct ingestion *work)
{
        return work->chunks_before > (int64_t)work->chunk_count ? (size_t)work->chunks_before - work->chunk_count : 0;
}

static enum step apply(struct task *task, struct error *err)
{
        struct ingestion *work = task->work;
        struct error failure;

        if (task->op.state == OP_BUSY || ev_is_active(&task->timer))
                return STEP_WAIT;
        if (task->op.state == OP_IDLE) {
                document_applied(task->shop->redis, &task->op, &work->claim, (int64_t)work->chunk_count, &work->change);
                return task->op.state == OP_DONE ? STEP_MORE : STEP_WAIT;
        }
        if (task->op.err.code != CODE_NONE) {
                failure = task->op.err;
                op_reset(&task->op);
                return task_waits_for_store(task, &failure, err) ? STEP_WAIT : STEP_DONE;
        }
        work->locked = false;
        if (work->change.lost)
                error_set(err, CODE_INTERNAL, "the document's lease was lost while it was written");
        return STEP_DONE;
}

static enum step chunked(struct task *task, struct error *err)
{
        struct ingestion *work = task->work;

        if (task->op.state != OP_DONE)
                return STEP_WAIT;
        if (task->op.err.code != CODE_NONE)
                *err = task->op.err;
        else if (work->chunk_count == 0)
                error_set(err, CODE_SCHEMA, "document.text: holds no text");
        if (err->code != CODE_NONE)
                return STEP_DONE;
        next_phase(task, PHASE_LOCK);
        work->resume = PHASE_EMBED;
        return STEP_MORE;
}

static enum step start(struct task *task, struct error *err)
{
        if (begin(task, err) < 0)
                return STEP_DONE;
        if (task->request.steps[task->step].ingest.delete_document) {
                task->phase = PHASE_LOCK;
                ((struct ingestion *)task->work)->resume = PHASE_DOCUMENT;
                return STEP_MORE;
        }
        task->phase = PHASE_CHUNK;
        if (pool_run(task->shop->pool, &task->op, chunk, task->work) < 0) {
                error_set(err, CODE_RATE_LIMITED, "too many documents are waiting to be cut");
                return STEP_DONE;
        }
        return STEP_WAIT;
}

static enum step run_phase(struct task *task, struct error *err)
{
        struct ingestion *work = task->work;

        switch ((enum phase)task->phase) {
        case PHASE_BEGIN:
                return start(task, err);
        case PHASE_CHUNK:
                return chunked(task, err);
        case PHASE_LOCK:
                return ev_is_active(&task->timer) ? STEP_WAIT : lock(task);
        case PHASE_LOCKED:
                return locked(task, err);
        case PHASE_EMBED:
                return embed(task, err);
        case PHASE_SEND:
                if (renew(task))
                        return STEP_MORE;
                if (!send_all(task, work->chunk_count, 0, err))
                        return STEP_WAIT;
                next_phase(task, PHASE_DOCUMENT);
                return err->code == CODE_NONE ? STEP_MORE : STEP_DONE;
        case PHASE_DOCUMENT:
                if (work->sendings[0].op.state == OP_IDLE && work->ended == 0 && renew(task))
                        return STEP_MORE;
                if (!send_all(task, 1, 0, err))
                        return STEP_WAIT;
                next_phase(task, PHASE_TOMBSTONES);
                return err->code == CODE_NONE ? STEP_MORE : STEP_DONE;
        case PHASE_TOMBSTONES:
                if (!send_all(task, left_over(work), work->chunk_count, err))
                        return STEP_WAIT;
                next_phase(task, PHASE_APPLY);
                return err->code == CODE_NONE ? STEP_MORE : STEP_DONE;
        case PHASE_APPLY:
        default:
                return apply(task, err);
        }
}

/* A failure gives the document back at once; where that fails too, the lease lapses. */
static enum step unlock(struct task *task, struct error *err)
{
        struct ingestion *work = task->work;

        if (task->phase != PHASE_UNLOCK) {
                ingest_abort(task);
                op_abort(&task->op);
                op_abort(&task->call.op);
                work->why = *err;
                work->locked = false;
                task->phase = PHASE_UNLOCK;
                error_clear(err);
                document_unlock(task->shop->redis, &task->op, &work->claim, &work->change);
        }
        if (task->op.state == OP_BUSY)
                return STEP_WAIT;
        *err = work->why;
        return STEP_DONE;
}

enum step ingest_run(struct task *task, struct error *err)
{
        enum step step;

        if (task->phase == PHASE_UNLOCK)
                return unlock(task, err);
        step = run_phase(task, err);
        if (step == STEP_DONE && err->code != CODE_NONE && task->phase > PHASE_LOCK && ((struct ingestion *)task->work)->locked)
                return unlock(task, err);
        return step;
}

/* Records under way are let go; the document's lease lapses by itself. */
void ingest_abort(struct task *task)
{
        struct ingestion *work = task->work;

        for (size_t i = 0; task->phase > PHASE_BEGIN && work && i < SEND_WINDOW; i++)
                op_abort(&work->sendings[i].op);
}

void ingest_render(struct task *task, struct buffer *out)
{
        const struct ingestion *work = task->work;
        const struct ingest_fields *fields = &task->request.steps[task->step].ingest;

        buffer_string(out, "{\"collection\":");
        buffer_json_string(out, fields->collection);
        buffer_string(out, ",\"document\":");
        buffer_json_string(out, fields->document);
        buffer_string(out, ",\"chunks\":");
        buffer_int(out, work->superseded ? 0 : (int64_t)work->chunk_count);
        buffer_string(out, ",\"version\":");
        buffer_int(out, work->superseded ? work->answer.version : work->claim.version);
        buffer_string(out, ",\"positions\":{");
        if (!work->superseded)
                buffer_printf(out, "\"%d\":%lld", work->partition, (long long)work->position);
        buffer_string(out, work->superseded ? "},\"superseded\":true}" : "},\"superseded\":false}");
}

bool ingest_model(const struct task *task, size_t *ret_model)
{
        const struct ingest_fields *fields = &task->request.steps[task->step].ingest;
        const struct collection_settings *collection = settings_collection(task->settings, fields->collection.data, fields->collection.len);

        if (!collection || fields->delete_document)
                return false;
        *ret_model = collection->model;
        return true;
}
