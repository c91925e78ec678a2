#include <curl/curl.h>
#include <ev.h>
#include <hiredis/hiredis.h>
#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <unicode/uversion.h>

#include "retrieval/vectors/faiss_index.h"
#include "workers/cli/commands.h"

void version_print(void)
{
        printf("millrace %s\n", MILLRACE_VERSION);
        printf("faiss %s (%s build)\n", vector_index_version(), vector_index_build());
        printf("librdkafka %s\n", rd_kafka_version_str());
        printf("hiredis %d.%d.%d\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
        printf("%s\n", curl_version());
        printf("jansson %s\n", jansson_version_str());
        printf("libev %d.%d\n", ev_version_major(), ev_version_minor());
        printf("icu %s\n", U_ICU_VERSION);
}
