/* Names of topics and groups, their meaning, and the list of those that a worker needs. Pure. */
#include "queues/kafka/topics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WANTED_MAX = 4096 };

__attribute__((format(printf, 2, 3))) static int name(char *ret_name, const char *format, ...)
{
        char text[TOPIC_NAME_BYTES];
        va_list args;
        int len;

        va_start(args, format);
        len = vsnprintf(text, sizeof text, format, args);
        va_end(args);
        if (len < 0 || len >= TOPIC_NAME_BYTES)
                return -1;
        memcpy(ret_name, text, (size_t)len + 1);
        return 0;
}

int topic_request(char *ret_name, const char *prefix, enum kind kind, enum lane lane)
{
        return name(ret_name, "%s.%s.%s", prefix, kind_names[kind], lane_names[lane]);
}

int topic_retry(char *ret_name, const char *prefix, enum kind kind, const char *delay)
{
        return name(ret_name, "%s.%s.retry.%s", prefix, kind_names[kind], delay);
}

int topic_dlq(char *ret_name, const char *prefix, enum kind kind)
{
        return name(ret_name, "%s.%s.dlq", prefix, kind_names[kind]);
}

int topic_dlq_state(char *ret_name, const char *prefix)
{
        return name(ret_name, "%s.dlq.state", prefix);
}

int topic_index(char *ret_name, const char *prefix, const char *collection, int version)
{
        return name(ret_name, "%s.index.%s.v%d", prefix, collection, version);
}

int topic_control(char *ret_name, const char *prefix)
{
        return name(ret_name, "%s.control", prefix);
}

void group_request(char *ret_name, enum kind kind, enum lane lane)
{
        snprintf(ret_name, GROUP_NAME_BYTES, "millrace.%s.%s", kind_names[kind], lane_names[lane]);
}

void group_retry(char *ret_name, enum kind kind)
{
        snprintf(ret_name, GROUP_NAME_BYTES, "millrace.%s.retry", kind_names[kind]);
}

/* "docs.v12" → docs, 12. No leading zeros: a version has one name. */
static bool parse_index(struct span rest, struct topic_meaning *meaning)
{
        size_t at = rest.len;
        int version = 0;

        while (at > 0 && rest.data[at - 1] >= '0' && rest.data[at - 1] <= '9')
                at--;
        if (at == rest.len || rest.len - at > 9 || rest.data[at] == '0' || at < 3 || rest.data[at - 1] != 'v' ||
            rest.data[at - 2] != '.')
                return false;
        for (size_t i = at; i < rest.len; i++)
                version = version * 10 + (rest.data[i] - '0');
        meaning->role = TOPIC_INDEX;
        meaning->collection = (struct span){rest.data, at - 2};
        meaning->version = version;
        return true;
}

/* "embed.bulk", "embed.dlq", "embed.retry.5s". */
static bool parse_kind(struct span rest, struct topic_meaning *meaning)
{
        const char *dot = memchr(rest.data, '.', rest.len);
        struct span tail;
        int kind, lane;

        if (!dot)
                return false;
        kind = kind_of(rest.data, (size_t)(dot - rest.data));
        if (kind < 0)
                return false;
        tail = (struct span){dot + 1, rest.len - (size_t)(dot + 1 - rest.data)};
        meaning->kind = (enum kind)kind;
        lane = lane_of(tail.data, tail.len);
        if (lane >= 0) {
                meaning->role = TOPIC_REQUEST;
                meaning->lane = (enum lane)lane;
                return true;
        }
        if (span_is(tail, "dlq")) {
                meaning->role = TOPIC_DLQ;
                return true;
        }
        if (tail.len > 6 && memcmp(tail.data, "retry.", 6) == 0) {
                meaning->role = TOPIC_RETRY;
                meaning->delay = (struct span){tail.data + 6, tail.len - 6};
                return true;
        }
        return false;
}

bool topic_parse(const char *name_, const char *prefix, struct topic_meaning *ret_meaning)
{
        size_t prefix_len = strlen(prefix);
        struct topic_meaning meaning = {0};
        struct span rest;

        if (strncmp(name_, prefix, prefix_len) != 0 || name_[prefix_len] != '.')
                return false;
        rest = span_of(name_ + prefix_len + 1);
        if (span_is(rest, "dlq.state"))
                meaning.role = TOPIC_DLQ_STATE;
        else if (span_is(rest, "control"))
                meaning.role = TOPIC_CONTROL;
        else if (rest.len > 6 && memcmp(rest.data, "index.", 6) == 0) {
                if (!parse_index((struct span){rest.data + 6, rest.len - 6}, &meaning))
                        return false;
        } else if (!parse_kind(rest, &meaning))
                return false;
        *ret_meaning = meaning;
        return true;
}

/* ---- what a worker needs ---- */

struct list {
        struct topic_wanted *items;
        int count, cap, bad;
};

/* The next entry to fill in, NULL (and bad) past the bound. */
static struct topic_wanted *more(struct list *list, enum topic_role role, int partitions)
{
        struct topic_wanted *entry;

        if (list->count == list->cap) {
                int cap = list->cap ? 2 * list->cap : 32;
                struct topic_wanted *items = cap <= WANTED_MAX ? realloc(list->items, (size_t)cap * sizeof *items) : NULL;

                if (!items) {
                        list->bad = 1;
                        return NULL;
                }
                list->items = items;
                list->cap = cap;
        }
        entry = &list->items[list->count++];
        *entry = (struct topic_wanted){.role = role, .partitions = partitions};
        return entry;
}

static void add_kind(struct list *list, const struct settings *settings, const char *prefix, enum kind kind)
{
        int partitions = settings->kafka.partitions;
        struct topic_wanted *entry;

        for (enum lane lane = 0; lane < LANE_COUNT; lane++)
                if ((entry = more(list, TOPIC_REQUEST, partitions)))
                        list->bad |= topic_request(entry->name, prefix, kind, lane);
        for (size_t d = 0; d < settings->retry.delay_count; d++)
                if ((entry = more(list, TOPIC_RETRY, partitions)))
                        list->bad |= topic_retry(entry->name, prefix, kind, settings->retry.delays[d]);
        if ((entry = more(list, TOPIC_DLQ, partitions)))
                list->bad |= topic_dlq(entry->name, prefix, kind);
}

static void add_prefix(struct list *list, const struct settings *settings, const char *prefix)
{
        for (enum kind kind = 0; kind < KIND_COUNT; kind++)
                if (settings->worker.kinds[kind])
                        add_kind(list, settings, prefix, kind);
}

static bool prefix_is_new(const struct settings *settings, size_t tenant)
{
        const char *prefix = settings->tenants[tenant].prefix;

        if (!prefix || strcmp(prefix, settings->kafka.prefix) == 0)
                return false;
        for (size_t t = 0; t < tenant; t++)
                if (settings->tenants[t].prefix && strcmp(settings->tenants[t].prefix, prefix) == 0)
                        return false;
        return true;
}

int topics_wanted(const struct settings *settings, struct topic_wanted **ret_wanted, struct error *err)
{
        const char *prefix = settings->kafka.prefix;
        struct list list = {0};
        struct topic_wanted *entry;

        add_prefix(&list, settings, prefix);
        for (size_t t = 0; t < settings->tenant_count; t++)
                if (prefix_is_new(settings, t))
                        add_prefix(&list, settings, settings->tenants[t].prefix);
        if ((entry = more(&list, TOPIC_DLQ_STATE, settings->kafka.partitions)))
                list.bad |= topic_dlq_state(entry->name, prefix);
        if ((entry = more(&list, TOPIC_CONTROL, 1))) /* one partition: jobs and versions have one order */
                list.bad |= topic_control(entry->name, prefix);
        if (settings->worker.kinds[KIND_INGEST] || settings->worker.kinds[KIND_RETRIEVE])
                for (size_t c = 0; c < settings->collection_count; c++)
                        if (settings->collections[c].backend == BACKEND_LOCAL &&
                            (entry = more(&list, TOPIC_INDEX, settings->kafka.partitions)))
                                list.bad |= topic_index(entry->name, prefix, settings->collections[c].name, 1);
        if (list.bad) {
                free(list.items);
                return error_set(err, CODE_INTERNAL,
                                 "a topic's name would be longer than Kafka's 249 characters, or there are too many");
        }
        *ret_wanted = list.items;
        return list.count;
}
