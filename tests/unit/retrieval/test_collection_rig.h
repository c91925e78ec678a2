/* A collection to feed and ask, for the tests of retrieval/collection. */
#ifndef TESTS_UNIT_RETRIEVAL_TEST_COLLECTION_RIG_H
#define TESTS_UNIT_RETRIEVAL_TEST_COLLECTION_RIG_H

#include <criterion/criterion.h>

#include "config/base/buffer.h"
#include "config/base/own.h"
#include "retrieval/collection.h"

enum { RIG_DIMENSIONS = 4, RIG_PARTITIONS = 4 };

struct rig {
        struct collection *collection;
        struct arena *arena;
        int64_t offsets[RIG_PARTITIONS];
        struct search_result result;
        struct error err;
};

/* dir NULL: no snapshots. shared_from NULL: none. */
void rig_init(struct rig *rig, const char *dir, const char *shared_from);
void rig_fini(struct rig *rig);

/* One record at its partition's next offset; value NULL: a tombstone. */
void rig_record(struct rig *rig, const char *tenant, const char *document, const char *key, const char *value);
/* vector NULL: none. metadata: JSON. */
void rig_chunk(struct rig *rig, const char *tenant, const char *document, int n, int version, const char *text, const float *vector,
               const char *metadata);
void rig_document(struct rig *rig, const char *tenant, const char *document, int version, int chunks);
void rig_delete(struct rig *rig, const char *tenant, const char *document);
/* A document of one chunk, at once. */
void rig_put(struct rig *rig, const char *tenant, const char *document, int version, const char *text, const float *vector);

/* The hits' ids in order, blanks between; "!" and the error's code where it fails. */
const char *rig_search(struct rig *rig, const struct search_request *request);
/* … by words alone, tenant t, top 10. */
const char *rig_find(struct rig *rig, const char *query);

#endif
