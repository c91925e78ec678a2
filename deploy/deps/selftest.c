/*
 * Proves that one program can use all three built libraries together: hiredis with TLS over libev, librdkafka with its
 * mock cluster, FAISS through C. Prints their versions. Needs no server. Run by `deps.sh selftest`.
 */
#include <stdio.h>
#include <string.h>

#include <ev.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/Index_c.h>
#include <hiredis/adapters/libev.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

static int use_hiredis(void)
{
        redisSSLContextError why = REDIS_SSL_CTX_NONE;
        redisSSLContext *tls;
        redisAsyncContext *redis;

        redisInitOpenSSL();
        tls = redisCreateSSLContext(NULL, NULL, NULL, NULL, NULL, &why);
        redis = redisAsyncConnect("127.0.0.1", 1); /* nobody answers; the refusal comes later, by the loop */
        if (!tls || !redis || redisLibevAttach(EV_DEFAULT, redis) != REDIS_OK)
                return -1;
        redisAsyncFree(redis);
        redisFreeSSLContext(tls);
        printf("hiredis %d.%d.%d with TLS\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
        return 0;
}

static int use_librdkafka(void)
{
        static const char *const needed[] = {"ssl", "sasl_scram", "sasl_plain", "gzip", "zstd", "lz4"};
        char why[512], features[512];
        size_t len = sizeof features;
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        rd_kafka_mock_cluster_t *cluster;
        rd_kafka_t *producer;

        if (rd_kafka_conf_get(conf, "builtin.features", features, &len) != RD_KAFKA_CONF_OK)
                return -1;
        for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
                if (!strstr(features, needed[i])) {
                        fprintf(stderr, "selftest: librdkafka lacks %s: %s\n", needed[i], features);
                        return -1;
                }
        }
        rd_kafka_conf_set(conf, "log_level", "2", NULL, 0); /* it would miss its brokers aloud */
        producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
        if (!producer)
                return -1;
        cluster = rd_kafka_mock_cluster_new(producer, 1);
        if (!cluster || rd_kafka_mock_topic_create(cluster, "t", 1, 1) != RD_KAFKA_RESP_ERR_NO_ERROR)
                return -1;
        rd_kafka_mock_cluster_destroy(cluster);
        rd_kafka_destroy(producer);
        printf("librdkafka %s (%s)\n", rd_kafka_version_str(), features);
        return 0;
}

static int use_faiss(void)
{
        const float vectors[2][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}};
        FaissIndexFlatIP *index = NULL;
        float score;
        idx_t label;

        if (faiss_IndexFlatIP_new_with(&index, 4) || faiss_Index_add(index, 2, vectors[0]) ||
            faiss_Index_search(index, 1, vectors[1], 1, &score, &label) || label != 1)
                return -1;
        faiss_Index_free(index);
        return 0;
}

int main(void)
{
        if (use_hiredis() < 0 || use_librdkafka() < 0 || use_faiss() < 0) {
                fprintf(stderr, "selftest: failed\n");
                return 1;
        }
        return 0;
}
