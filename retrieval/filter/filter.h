/* Metadata filters (contract §2): parsed once from a request's JSON, then asked of every candidate's metadata.
 *      leaf   {"field": "a.b", "operator": "==", "value": 3}       == != > >= < <= in "not in"
 *      group  {"operator": "AND", "conditions": [ … ]}            AND OR NOT (one condition)
 * A missing field or another type makes a leaf false, but != and not in true; an array matches where any element does (and != /
 * not in negate == / in). Two dates compare as instants, other strings by bytes, numbers by value; empty AND is true, empty OR
 * false. A parsed filter is immutable: any thread may ask it. */
#ifndef RETRIEVAL_FILTER_FILTER_H
#define RETRIEVAL_FILTER_FILTER_H

#include <jansson.h>
#include <stdbool.h>

#include "config/base/arena.h"
#include "config/base/error.h"

enum { FILTER_DEPTH_MAX = 16, FILTER_LEAVES_MAX = 256, FILTER_NODES_MAX = 1024, FILTER_VALUES_MAX = 4096 };

struct filter;

/* From the arena; borrows the strings of value, which must live as long. Faults: data.schema naming the place, e.g.
 * "filter.conditions[2].operator: unknown operator". */
int filter_parse(const json_t *value, struct arena *arena, const struct filter **ret_filter, struct error *err);

/* metadata: a chunk's metadata object; NULL counts as empty. filter NULL matches everything. */
bool filter_matches(const struct filter *filter, const json_t *metadata);

#endif
