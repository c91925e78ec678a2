/* The registry: families in order of registration, each with its series. A mutex guards the lists; the values are atomics, updated
 * without it. Series live as long as the process, so that a pointer to one is good for ever. Failure modes: past METRICS_SERIES_MAX
 * series or without memory a registration answers NULL, and updates of NULL do nothing. */
#include "config/base/metrics.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { METRICS_SERIES_MAX = 4096, LABELS_BYTES_MAX = 512, BUCKETS = 16 };
enum type { COUNTER, GAUGE, HISTOGRAM };

static const char *const type_names[] = {"counter", "gauge", "histogram"};

static const struct {
        int64_t ms;
        const char *seconds;
} buckets[BUCKETS] = {
        {1, "0.001"}, {2, "0.002"}, {5, "0.005"}, {10, "0.01"}, {20, "0.02"},  {50, "0.05"},  {100, "0.1"},  {200, "0.2"},
        {500, "0.5"}, {1000, "1"},  {2000, "2"},  {5000, "5"},  {10000, "10"}, {20000, "20"}, {50000, "50"}, {100000, "100"},
};

struct metric {
        struct metric *next;
        enum type type;
        char *labels;
        uint64_t bits;                /* counter, gauge: the double's bits; atomic */
        uint64_t counts[BUCKETS + 1]; /* histogram: observations per bucket, not cumulated; the last is +Inf; atomic */
        int64_t sum_ms;               /* histogram; atomic */
};

struct family {
        struct family *next;
        enum type type;
        char *name, *help;
        struct metric *first, *last;
};

static struct {
        pthread_mutex_t lock;
        struct family *first, *last;
        size_t series;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double get_value(const uint64_t *bits)
{
        uint64_t now = __atomic_load_n(bits, __ATOMIC_RELAXED);
        double value;

        memcpy(&value, &now, sizeof value);
        return value;
}

static uint64_t bits_of(double value)
{
        uint64_t bits;

        memcpy(&bits, &value, sizeof bits);
        return bits;
}

static struct family *family_get(const char *name, const char *help, enum type type)
{
        struct family *family;

        for (family = registry.first; family; family = family->next)
                if (strcmp(family->name, name) == 0)
                        return family;
        family = registry.series < METRICS_SERIES_MAX ? calloc(1, sizeof *family) : NULL;
        if (!family)
                return NULL;
        family->type = type;
        family->name = strdup(name);
        family->help = strdup(help);
        if (!family->name || !family->help) {
                free(family->name);
                free(family->help);
                free(family);
                return NULL;
        }
        if (registry.last)
                registry.last->next = family;
        else
                registry.first = family;
        registry.last = family;
        return family;
}

static struct metric *series_get(struct family *family, const char *labels)
{
        struct metric *metric;

        for (metric = family->first; metric; metric = metric->next)
                if (strcmp(metric->labels, labels) == 0)
                        return metric;
        if (registry.series >= METRICS_SERIES_MAX || strlen(labels) > LABELS_BYTES_MAX)
                return NULL;
        metric = calloc(1, sizeof *metric);
        if (!metric)
                return NULL;
        metric->type = family->type;
        metric->labels = strdup(labels);
        if (!metric->labels) {
                free(metric);
                return NULL;
        }
        if (family->last)
                family->last->next = metric;
        else
                family->first = metric;
        family->last = metric;
        registry.series++;
        return metric;
}

static struct metric *metric_get(const char *name, const char *help, const char *labels, enum type type)
{
        struct family *family;
        struct metric *metric;

        pthread_mutex_lock(&registry.lock);
        family = family_get(name, help, type);
        assert(!family || family->type == type);
        metric = family ? series_get(family, labels ? labels : "") : NULL;
        pthread_mutex_unlock(&registry.lock);
        return metric;
}

struct metric *metrics_counter(const char *name, const char *help, const char *labels)
{
        return metric_get(name, help, labels, COUNTER);
}

struct metric *metrics_gauge(const char *name, const char *help, const char *labels)
{
        return metric_get(name, help, labels, GAUGE);
}

struct metric *metrics_histogram(const char *name, const char *help, const char *labels)
{
        return metric_get(name, help, labels, HISTOGRAM);
}

void metrics_add(struct metric *metric, double amount)
{
        uint64_t before, after;

        if (!metric || metric->type == HISTOGRAM || !isfinite(amount))
                return;
        before = __atomic_load_n(&metric->bits, __ATOMIC_RELAXED);
        do {
                double value;

                memcpy(&value, &before, sizeof value);
                after = bits_of(value + amount);
        } while (!__atomic_compare_exchange_n(&metric->bits, &before, after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

void metrics_set(struct metric *metric, double value)
{
        if (metric && metric->type == GAUGE && isfinite(value))
                __atomic_store_n(&metric->bits, bits_of(value), __ATOMIC_RELAXED);
}

void metrics_observe_ms(struct metric *metric, int64_t ms)
{
        size_t bucket = 0;

        if (!metric || metric->type != HISTOGRAM)
                return;
        if (ms < 0)
                ms = 0; /* clocks of two machines */
        while (bucket < BUCKETS && ms > buckets[bucket].ms)
                bucket++;
        __atomic_fetch_add(&metric->counts[bucket], 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&metric->sum_ms, ms, __ATOMIC_RELAXED);
}

double metrics_value(const struct metric *metric)
{
        uint64_t count = 0;

        if (!metric)
                return 0;
        if (metric->type != HISTOGRAM)
                return get_value(&metric->bits);
        for (size_t i = 0; i <= BUCKETS; i++)
                count += __atomic_load_n(&metric->counts[i], __ATOMIC_RELAXED);
        return (double)count;
}

static void render_help(struct buffer *out, const char *help)
{
        for (; *help; help++) {
                if (*help == '\\')
                        buffer_string(out, "\\\\");
                else if (*help == '\n')
                        buffer_string(out, "\\n");
                else
                        buffer_char(out, *help);
        }
}

static void render_name(struct buffer *out, const char *name, const char *suffix, const char *labels, const char *le)
{
        buffer_string(out, name);
        buffer_string(out, suffix);
        if (*labels || le) {
                buffer_char(out, '{');
                buffer_string(out, labels);
                if (le)
                        buffer_printf(out, "%sle=\"%s\"", *labels ? "," : "", le);
                buffer_char(out, '}');
        }
        buffer_char(out, ' ');
}

/* Integers without an exponent, so that people can read them. */
static void render_value(struct buffer *out, double value)
{
        if (value == floor(value) && fabs(value) < 9007199254740992.0)
                buffer_printf(out, "%.0f", value);
        else
                buffer_json_double(out, value);
        buffer_char(out, '\n');
}

static void render_histogram(struct buffer *out, const struct family *family, const struct metric *metric)
{
        int64_t sum_ms = __atomic_load_n(&metric->sum_ms, __ATOMIC_RELAXED);
        uint64_t count = 0;

        for (size_t i = 0; i <= BUCKETS; i++) {
                count += __atomic_load_n(&metric->counts[i], __ATOMIC_RELAXED);
                render_name(out, family->name, "_bucket", metric->labels, i < BUCKETS ? buckets[i].seconds : "+Inf");
                render_value(out, (double)count);
        }
        render_name(out, family->name, "_sum", metric->labels, NULL);
        buffer_printf(out, "%lld.%03d\n", (long long)(sum_ms / 1000), (int)(sum_ms % 1000));
        render_name(out, family->name, "_count", metric->labels, NULL);
        render_value(out, (double)count);
}

void metrics_render(struct buffer *out)
{
        pthread_mutex_lock(&registry.lock);
        for (const struct family *family = registry.first; family; family = family->next) {
                if (!family->first)
                        continue;
                buffer_printf(out, "# HELP %s ", family->name);
                render_help(out, family->help);
                buffer_printf(out, "\n# TYPE %s %s\n", family->name, type_names[family->type]);
                for (const struct metric *metric = family->first; metric; metric = metric->next) {
                        if (metric->type == HISTOGRAM) {
                                render_histogram(out, family, metric);
                        } else {
                                render_name(out, family->name, "", metric->labels, NULL);
                                render_value(out, get_value(&metric->bits));
                        }
                }
        }
        pthread_mutex_unlock(&registry.lock);
}
