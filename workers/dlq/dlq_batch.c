#include "workers/dlq/dlq_batch.h"

#include <inttypes.h>
#include <string.h>

#include "config/base/clock.h"
#include "queues/envelope.h"
#include "workers/dlq/dlq_echo.h"

enum { ARENA_BYTES_MAX = 128 << 20, STALL_MS = 30000 };

int batch_init(struct batch *batch, struct error *err)
{
        *batch = (struct batch){.arena = arena_new(ARENA_BYTES_MAX)};
        return batch->arena ? 0 : error_set(err, CODE_INTERNAL, "out of memory");
}

void batch_fini(struct batch *batch)
{
        arena_free(batch->arena);
        batch->arena = NULL;
}

void batch_reset(struct batch *batch)
{
        batch->count = batch->bytes = 0;
        arena_reset(batch->arena);
}

static struct span copy(struct batch *batch, struct span bytes)
{
        char *room;

        if (!bytes.data)
                return bytes;
        room = arena_alloc_raw(batch->arena, bytes.len + 1);
        if (!room)
                return (struct span){NULL, 0};
        memcpy(room, bytes.data, bytes.len);
        return (struct span){room, bytes.len};
}

static void put_number(struct batch *batch, struct outgoing_header *header, const char *name, int64_t value)
{
        *header = (struct outgoing_header){name, span_of(arena_printf(batch->arena, "%" PRId64, value))};
}

static void copy_request(struct batch *batch, const struct letter *letter, const char *topic, int64_t deadline_wall_ms,
                         struct outgoing *outgoing)
{
        struct outgoing_header *headers = arena_alloc(batch->arena, OUTGOING_HEADERS_MAX * sizeof *headers);
        struct span value;
        const char *name;
        size_t count = 0;

        if (!headers)
                return;
        for (size_t i = 0; record_header_at(letter->record, i, &name, &value) && count + 3 < OUTGOING_HEADERS_MAX; i++)
                if (envelope_replayed_header(name))
                        headers[count++] = (struct outgoing_header){arena_strdup(batch->arena, name), copy(batch, value)};
        put_number(batch, &headers[count++], "mr-replays", letter->replays + 1);
        put_number(batch, &headers[count++], "mr-attempts", 0);
        put_number(batch, &headers[count++], "mr-deadline", deadline_wall_ms);
        *outgoing = (struct outgoing){.topic = arena_strdup(batch->arena, topic),
                                      .partition = -1,
                                      .key = copy(batch, letter->record->key),
                                      .value = copy(batch, letter->record->value),
                                      .headers = headers,
                                      .header_count = count};
}

int batch_add(struct batch *batch, const struct dlq_act *act, const struct letter *letter, const char *topic,
              int64_t deadline_wall_ms, const char *reason, struct error *err)
{
        const struct record *record = letter->record;
        struct batch_item *item = &batch->items[batch->count];

        *item = (struct batch_item){.dlq = arena_strdup(batch->arena, record->topic),
                                    .partition = record->partition,
                                    .offset = record->offset,
                                    .timestamp_ms = record->timestamp_ms,
                                    .class = dlq_echo_class(letter->class),
                                    .goes = topic != NULL};
        if (item->goes)
                copy_request(batch, letter, topic, deadline_wall_ms, &item->request);
        dlq_act_record(act, batch->arena, letter, item->goes ? LETTER_REPLAYED : LETTER_PARKED, topic, reason, &item->state);
        if (!arena_ok(batch->arena))
                return error_set(err, CODE_INTERNAL, "out of memory");
        batch->count++;
        batch->bytes += record->value.len + record->key.len;
        return 0;
}

void batch_recheck(struct batch *batch, const struct dlq_states *states, unsigned allowed)
{
        size_t kept = 0;

        for (size_t i = 0; i < batch->count; i++) {
                const struct batch_item *item = &batch->items[i];

                if (allowed >> dlq_states_of(states, item->dlq, item->partition, item->offset, item->timestamp_ms, NULL) & 1)
                        batch->items[kept++] = *item;
        }
        batch->count = kept;
}

bool batch_visible(const struct batch *batch, const struct dlq_states *states)
{
        for (size_t i = 0; i < batch->count; i++) {
                const struct batch_item *item = &batch->items[i];

                if (dlq_states_of(states, item->dlq, item->partition, item->offset, item->timestamp_ms, NULL) !=
                    (item->goes ? LETTER_REPLAYED : LETTER_PARKED))
                        return false;
        }
        return true;
}

/* The broker has no transactions: the requests, then the states. */
struct plain {
        struct batch *batch;
        size_t at, order[BATCH_LETTERS];
        bool states;
};

static bool next_plain(void *user, struct outgoing *outgoing)
{
        struct plain *plain = user;

        for (; plain->at < plain->batch->count; plain->at++) {
                const struct batch_item *item = &plain->batch->items[plain->at];

                if (plain->states || item->goes) {
                        *outgoing = plain->states ? item->state : item->request;
                        plain->at++;
                        return true;
                }
        }
        return false;
}

static void keep_ack(void *user, int64_t number, const struct producer_ack *ack)
{
        struct plain *plain = user;

        plain->batch->items[plain->order[number]].ack = *ack;
}

static int send_plain(struct batch *batch, struct kafka_client *client, struct error *err)
{
        struct plain requests = {.batch = batch}, states = {.batch = batch, .states = true};
        size_t count = 0;

        for (size_t i = 0; i < batch->count; i++)
                if (batch->items[i].goes)
                        requests.order[count++] = i;
        batch->unknown = true;
        if (kafka_publish_all(client, next_plain, keep_ack, &requests, STALL_MS, NULL, err) < 0 ||
            kafka_publish_all(client, next_plain, NULL, &states, STALL_MS, NULL, err) < 0)
                return -1;
        batch->unknown = false;
        return 0;
}

int batch_send(struct batch *batch, struct kafka_transactions *transactions, struct kafka_client *client, struct error *err)
{
        struct outgoing records[2 * BATCH_LETTERS];
        struct producer_ack acks[2 * BATCH_LETTERS];
        size_t count = 0, at = 0;

        if (batch->count == 0)
                return 0;
        if (!transactions)
                return send_plain(batch, client, err);
        for (size_t i = 0; i < batch->count; i++) {
                if (batch->items[i].goes)
                        records[count++] = batch->items[i].request;
                records[count++] = batch->items[i].state;
        }
        if (kafka_transactions_publish(transactions, records, count, STALL_MS, acks, &batch->unknown, err) < 0)
                return -1;
        for (size_t i = 0; i < batch->count; i++) {
                if (batch->items[i].goes)
                        batch->items[i].ack = acks[at++];
                at++;
        }
        return 0;
}
