/* The typed, immutable settings of a process (contract §7): what config/load makes of a YAML file. Reference-counted: a reload makes a
 * new one, requests under way keep theirs. Every string is owned by the settings. Indices refer to the arrays beside them. */
#ifndef CONFIG_SETTINGS_H
#define CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind { KIND_INGEST, KIND_EMBED, KIND_RETRIEVE, KIND_RERANK, KIND_LLM, KIND_COUNT };
enum lane { LANE_INTERACTIVE, LANE_BULK, LANE_COUNT };
extern const char *const kind_names[KIND_COUNT];
extern const char *const lane_names[LANE_COUNT];
int kind_of(const char *name, size_t len); /* -1: none */
int lane_of(const char *name, size_t len); /* -1: none */

struct setting_pair {
        char *key, *value;
};

enum provider_type { PROVIDER_OPENAI, PROVIDER_ANTHROPIC, PROVIDER_COHERE, PROVIDER_JINA, PROVIDER_TEI, PROVIDER_OLLAMA, PROVIDER_LOCAL };
enum encoding { ENCODING_FLOAT, ENCODING_BASE64 };

struct provider_settings {
        char *name;
        enum provider_type type;
        char *base_url; /* without a trailing slash */
        char *api_key;  /* NULL: none; a secret */
        int64_t timeout_ms, connect_timeout_ms, response_bytes_max;
        int concurrency_max; /* calls under way */
        int64_t rpm, tpm;    /* 0: unlimited */
        enum encoding encoding;
        bool http2;
};

struct price {
        double input_per_mtok, output_per_mtok, cached_input_per_mtok; /* USD; cached < 0: as input */
};

struct model_settings {
        char *name; /* the alias that requests use */
        enum kind kind; /* KIND_EMBED, KIND_RERANK or KIND_LLM */
        size_t provider; /* index */
        char *model;
        int dimensions, input_tokens_max, batch_max, max_tokens_default;
        int64_t batch_wait_ms;
        char **fallback;
        size_t fallback_count;
        struct price price;
};

enum chunk_strategy { CHUNK_RECURSIVE, CHUNK_FIXED, CHUNK_SENTENCE, CHUNK_NONE };
struct chunking {
        enum chunk_strategy strategy;
        int size, overlap; /* tokens: UAX #29 words with a letter or digit */
};

enum fusion_method { FUSION_CROSS, FUSION_RRF, FUSION_ZSCORE };
struct fusion_settings {
        enum fusion_method method;
        double alpha;
        int depth;
};

enum vectors_type { VECTORS_AUTO, VECTORS_FLAT, VECTORS_HNSW };
enum vectors_metric { METRIC_COSINE, METRIC_INNER_PRODUCT };
enum backend { BACKEND_LOCAL, BACKEND_OPENSEARCH };

struct collection_settings {
        char *name;
        size_t model; /* index of an embed model */
        char *language;
        double k1, b;
        struct chunking chunking;
        struct fusion_settings fusion;
        enum vectors_type vectors_type;
        bool sq8;
        enum vectors_metric metric;
        enum backend backend;
        char **shared_from; /* tenants */
        size_t shared_from_count;
};

struct budget_settings {
        int64_t window_ms; /* 60000, 3600000, 86400000; 0: a month */
        double usd;        /* < 0: none */
        int64_t tokens;    /* < 0: none */
        bool rolling;
};
enum on_exhausted { EXHAUSTED_PARK, EXHAUSTED_REJECT, EXHAUSTED_FALLBACK };

struct tenant_settings {
        char *name, *prefix; /* prefix NULL: the common one */
        struct budget_settings *budgets;
        size_t budget_count;
        enum on_exhausted on_exhausted;
};

struct settings {
        int references; /* settings_ref, settings_unref; atomic */
        struct {
                char *brokers, *prefix;
                int partitions, replication;
                struct setting_pair *options;
                size_t option_count;
        } kafka;
        struct {
                char *url, *prefix, *username, *password; /* password: a secret */
                int64_t result_ttl_s, dedupe_ttl_s, ledger_ttl_s;
                int wait_replicas;
                int64_t timeout_ms;
                bool cluster;
                struct {
                        char *master, *username, *password; /* password: a secret */
                        char **nodes;                       /* "host:port" */
                        size_t node_count;                  /* 0: no Sentinel */
                } sentinel;
        } redis;
        struct {
                char *listen; /* "" = no admin port */
                char *token;  /* a secret; NULL: none */
        } admin;
        char *data_dir;
        struct {
                char *name;
                char *instance_id; /* NULL: dynamic membership */
                bool kinds[KIND_COUNT], lanes[LANE_COUNT];
                int inflight_max;
                int64_t inflight_bytes_max, drain_ms, payload_bytes_max, claim_lease_ms;
                int search_threads;
        } worker;
        struct {
                int attempts_max;
                int64_t base_ms, cap_ms;
                char **delays;      /* as written: "5s" */
                int64_t *delays_ms; /* ascending */
                size_t delay_count;
                double budget_ratio;
        } retry;
        struct {
                double ratio;
                int min;
                int64_t window_s;
        } flood;
        struct {
                double share;
                int64_t timeout_ms, fetch_wait_ms;
        } lanes[LANE_COUNT];
        struct provider_settings *providers; /* [provider_count]; the last one is always the built-in "local" */
        size_t provider_count;
        struct model_settings *models; /* configured ones, then local-embed, local-rerank, local-answer */
        size_t model_count;
        size_t default_model[KIND_COUNT]; /* index; of the kinds embed, rerank, llm */
        struct collection_settings *collections;
        size_t collection_count;
        struct tenant_settings *tenants;
        size_t tenant_count;
        char *folder; /* where the configuration file lies (prompts/ beside it); "." without a file */
        struct {
                char *url, *username, *password; /* password: a secret; NULL: none */
                char *ca;                        /* a file of PEM certificates; NULL: the system's */
        } opensearch;                            /* for collections with BACKEND_OPENSEARCH */
        struct settings_block *blocks;           /* the memory of all this; settings.c's own */
};

struct settings *settings_ref(struct settings *settings);
void settings_unref(struct settings *settings);

/* NULL where there is none. */
const struct model_settings *settings_model(const struct settings *settings, const char *name, size_t len);
const struct collection_settings *settings_collection(const struct settings *settings, const char *name, size_t len);

#endif
