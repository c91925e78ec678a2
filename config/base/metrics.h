/* The process's metrics in Prometheus' model. Series are registered once and then updated without locks from any thread.
 * Labels are written out by the registrant as `kind="embed",lane="bulk"` and must be of bounded cardinality: never an id. */
#ifndef CONFIG_BASE_METRICS_H
#define CONFIG_BASE_METRICS_H

#include <stdint.h>

#include "config/base/buffer.h"

struct metric;

/* The series of that name and labels (NULL or "" for none), made at first call. Names begin with millrace_, counters end in _total,
 * units are base units. Returns NULL past the registry's bound or when memory is out; updates of NULL do nothing. */
struct metric *metrics_counter(const char *name, const char *help, const char *labels);
struct metric *metrics_gauge(const char *name, const char *help, const char *labels);
/* Seconds; fixed buckets from 1 ms to 100 s. */
struct metric *metrics_histogram(const char *name, const char *help, const char *labels);

void metrics_add(struct metric *metric, double amount);
void metrics_set(struct metric *metric, double value);
void metrics_observe_ms(struct metric *metric, int64_t ms);
double metrics_value(const struct metric *metric);

/* The text exposition format 0.0.4, families in order of registration. */
void metrics_render(struct buffer *out);

#endif
