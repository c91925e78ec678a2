/* A request's wire form (contract §2): the decoder of a record, strict and bounded, and the headers that millrace adds.
 *
 *      record (value, headers, coordinates) ─ envelope_decode ─► struct request        every fault: class, code, a message that names
 *                                                                                      the member, and the id where one can be read
 * Pure: no clock, no I/O. All memory comes from the caller's arena but the JSON tree, which envelope_release() gives back.
 * A fault never hides the id: a lenient scanner finds top-level "id" and "tenant" in what the strict parser refuses. */
#ifndef QUEUES_ENVELOPE_H
#define QUEUES_ENVELOPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/arena.h"
#include "config/base/buffer.h"
#include "config/base/digest.h"
#include "config/base/error.h"
#include "config/base/span.h"
#include "config/settings.h"

enum {
        ID_BYTES_MAX = 128,
        TENANT_BYTES_MAX = 64,
        DOCUMENT_ID_BYTES_MAX = 256,
        METADATA_BYTES_MAX = 4096,
        STEPS_MAX = 9, /* the request itself and eight under `then` */
        DEPTH_MAX = 32,
        EMBED_INPUTS_MAX = 2048,
        TOP_K_MAX = 1000,
        RERANK_DOCUMENTS_MAX = 4096,
        DOCUMENT_METADATA_BYTES_MAX = 65536,
        HEADERS_MAX = 256, /* of a record, millrace's own included; further ones are not carried on */
};

struct header {
        const char *name;
        struct span value;
};

/* A record as it came: all borrowed. */
struct delivery {
        const char *topic;
        int32_t partition;
        int64_t offset, timestamp_ms;
        struct span key, value; /* data NULL: null */
        const struct header *headers;
        size_t header_count;
};

/* The last header of that name; data NULL: none. */
struct span delivery_header(const struct delivery *delivery, const char *name);

enum retrieve_mode { RETRIEVE_HYBRID, RETRIEVE_DENSE, RETRIEVE_SPARSE };
enum text_format { FORMAT_TEXT, FORMAT_MARKDOWN, FORMAT_HTML };
enum input_role { ROLE_UNSAID, ROLE_DOCUMENT, ROLE_QUERY };

struct position {
        int32_t partition;
        int64_t offset; /* behind the last record that counts */
};

struct embed_fields {
        struct span *inputs;
        size_t input_count;
        bool input_is_array;
        struct span model; /* len 0: the default */
        int input_role;    /* enum input_role */
        int64_t dimensions; /* 0: the model's own */
        int encoding;       /* enum encoding */
};

struct ingest_fields {
        struct span collection, document, text, title;
        int format; /* enum text_format */
        bool version_set;
        int64_t version;
        json_t *metadata; /* NULL: none */
        bool chunking_set;
        struct chunking chunking; /* fields not given are −1 */
        bool delete_document;
};

struct retrieve_fields {
        struct span collection, query;
        int mode; /* enum retrieve_mode */
        int64_t top_k;
        json_t *filter; /* NULL: none; checked by the retrieval room */
        int fusion_method; /* −1: the collection's */
        double alpha;      /* < 0: the collection's */
        int64_t depth;     /* 0: the collection's */
        bool collapse, explain;
        float *query_vector; /* NULL: none */
        size_t query_dimensions;
        struct position *at_least;
        size_t at_least_count;
};

struct rerank_document {
        struct span id, text;
};

struct rerank_fields {
        struct span query; /* len 0 in a chain: the query before it */
        struct rerank_document *documents;
        size_t document_count; /* 0 in a chain: the hits before it */
        int64_t top_n;
        struct span model;
};

struct llm_message {
        struct span role, content;
};

struct llm_fields {
        struct llm_message *messages;
        size_t message_count;
        struct span prompt; /* name@version; len 0: messages, or grounded-answer@1 in a chain */
        json_t *variables;  /* NULL: none */
        struct span model;
        int64_t max_tokens; /* 0: the model's default */
        bool temperature_set;
        double temperature;
        json_t *response_schema; /* NULL: none */
};

struct request_step {
        enum kind kind;
        union {
                struct ingest_fields ingest;
                struct embed_fields embed;
                struct retrieve_fields retrieve;
                struct rerank_fields rerank;
                struct llm_fields llm;
        };
};

struct request {
        /* Readable even when decoding failed, where id.len > 0. */
        struct span id, tenant, job;
        bool reply_list;
        int64_t result_ttl_s; /* 0: the configured one */

        enum kind kind;
        enum lane lane;
        struct request_step steps[STEPS_MAX];
        size_t step_count;
        json_t *metadata;        /* NULL: none */
        struct span traceparent;
        char fingerprint[SHA256_HEX_BYTES];

        /* From millrace's own headers, or the first delivery's. */
        int64_t deadline_wall_ms;
        int attempts, replays;
        size_t first_step; /* mr-step: the step to go on with */
        int64_t not_before_wall_ms; /* 0: at once */
        int64_t first_failed_wall_ms; /* 0: it has not failed yet */
        const char *origin_topic;
        int32_t origin_partition;
        int64_t origin_offset, origin_timestamp_ms;
        int64_t job_seq; /* mr-job-seq: the record's number within its job; -1: none */

        json_t *tree; /* owns the strings; envelope_release() */
};

/* What the decoder must know of the configuration. */
struct envelope_limits {
        size_t payload_bytes_max;
        int64_t lane_timeout_ms[LANE_COUNT];
        bool ignore_origin; /* this is the first delivery, whatever mr-origin-… say */
};

/* kind, lane: of the topic that the record's first delivery came by (for retry topics: of mr-origin-topic). Fills *request from the
 * arena; on −1 too, as far as it could be read (id.len 0: no id). Borrows the delivery's memory until envelope_release(). scratch is
 * overwritten: it holds what the fingerprint is taken of, the kind and the compact sorted JSON. */
int envelope_decode(const struct delivery *delivery, enum kind kind, enum lane lane, const struct envelope_limits *limits,
                    struct arena *arena, struct buffer *scratch, struct request *request, struct error *err);
void envelope_release(struct request *request);

/* An id, a tenant, a document id by the contract's alphabets and lengths. */
bool envelope_valid_id(struct span id);
bool envelope_valid_tenant(struct span tenant);
bool envelope_valid_document_id(struct span id);

/* Finds id and tenant in text that need not be valid: each at most once, at the top level, unescaped and well-formed. True when an id
 * was found and the tenant is known (given, or certainly absent: then "default"). */
bool envelope_peek(struct span text, struct span *ret_id, struct span *ret_tenant);

/* What the next hop of a request must know: a retry, a hand-over to another kind. */
struct hop {
        int attempts;
        size_t step;
        int64_t not_before_wall_ms;                        /* 0: none */
        int64_t first_failed_wall_ms, last_failed_wall_ms; /* 0: none */
        const char *last_code;                             /* NULL: none */
};

/* The headers for the next hop: millrace's own replace those that came with the record, foreign ones are carried on.
 * From the arena; NULL when it is full. */
struct header *envelope_hop_headers(const struct delivery *delivery, const struct request *request, const struct hop *hop,
                                    struct arena *arena, size_t *ret_count);

/* A header's decimal number of up to 18 digits, else the fallback. */
int64_t envelope_header_int(struct span value, int64_t fallback);

/* Is it one that millrace writes (mr-…)? */
bool envelope_own_header(const char *name);
/* Does a replay carry it on: a foreign one, and of millrace's own the record's number within its job? */
bool envelope_replayed_header(const char *name);

#endif
