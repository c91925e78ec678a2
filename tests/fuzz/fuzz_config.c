/* The configuration loader on arbitrary bytes: it must neither crash nor leak, must say what is wrong when it refuses, and what it
 * accepts must be whole. */
#include <stdint.h>
#include <stdlib.h>

#include "config/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct faults faults;
        struct settings *settings = settings_load_text((struct span){(const char *)data, size}, "fuzz.yaml", &faults);

        if ((settings == NULL) != (faults_total(&faults) > 0))
                abort();
        if (!settings)
                return 0;
        for (size_t i = 0; i < settings->model_count; i++)
                if (settings->models[i].provider >= settings->provider_count || !settings->models[i].name)
                        abort();
        for (size_t i = 0; i < settings->collection_count; i++)
                if (settings->collections[i].model >= settings->model_count || !settings->collections[i].name)
                        abort();
        for (size_t i = 0; i < settings->tenant_count; i++)
                if (!settings->tenants[i].name)
                        abort();
        settings_unref(settings);
        return 0;
}
