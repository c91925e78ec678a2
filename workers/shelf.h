/* A shelf holds this process's replica of one collection: it reads the index topic and feeds the collection, on the pool. */
#ifndef WORKERS_SHELF_H
#define WORKERS_SHELF_H

#include <ev.h>

#include "config/settings.h"
#include "queues/kafka/topics.h"
#include "retrieval/collection.h"
#include "workers/loop/pool.h"

struct feed;

struct shelf {
        char *name;
        int version;                   /* the live one */
        char topic[TOPIC_NAME_BYTES];  /* the version's index topic */
        int partitions;                /* of that topic; 0: not known yet */
        struct collection *collection; /* NULL: this process doesn't retrieve */
        struct feed *feed;
};

/* Opens the replica from its snapshot under dir (NULL: keeps none) and begins to read on. The shelf's name, version, topic and partitions
 * are set. identity: of the cluster, as collection_snapshot() wants it. */
int shelf_open(struct shelf *shelf, struct ev_loop *loop, struct pool *pool, struct settings *settings,
               const struct collection_settings *collection, const char *dir, const char *identity, struct error *err);
/* Writes the snapshot (where a dir was given) and frees everything. */
void shelf_close(struct shelf *shelf);

/* For the loop's slow timer: writes a snapshot (on the pool) when enough is new, and starts over with an empty replica when the snapshot
 * turns out to belong to another life of the topic. */
void shelf_tick(struct shelf *shelf);

/* Has the topic been read to its end once? */
bool shelf_ready(const struct shelf *shelf);
/* Records between what was read and the topic's end; -1: unknown. */
int64_t shelf_lag(const struct shelf *shelf);

#endif
