/* What a source tells of itself. Ends of partitions are those librdkafka last heard of with a fetch: no request is made. */
#include <assert.h>
#include <stdio.h>

#include "config/base/clock.h"
#include "config/base/metrics.h"
#include "queues/kafka/source_private.h"

static int64_t end_of(const struct place *place)
{
        int64_t low, high;

        if (rd_kafka_get_watermark_offsets(place->source->kafka, place->topic, place->partition, &low, &high) || high < 0)
                return -1;
        return high;
}

static bool add_place(struct place *place, void *user)
{
        struct source_status *status = user;
        int64_t acknowledged = place->committed > place->first ? place->committed : place->first;
        int64_t end = end_of(place);

        if (place->marks.mark > acknowledged)
                status->uncommitted += place->marks.mark - acknowledged;
        status->resting += place->resting;
        if (place->marks.mark >= 0 && end > place->marks.mark)
                status->lag += end - place->marks.mark;
        return true;
}

void source_status(const struct source *source, struct source_status *ret_status)
{
        int64_t now = clock_now_ms();
        struct source_status status = {
                .group = source->group,
                .partitions = source->here,
                .joined = source->joined,
                .rebalancing = source->revoked != NULL,
                .outstanding = source->outstanding,
                .poll_age_ms = now - source->last_poll,
                .record_age_ms = source->last_record < 0 ? -1 : now - source->last_record,
                .assigned_count = source->assigned_count,
                .commit_failures = source->commit_failures,
                .skipped = source->skipped_count,
                .foreign = source->foreign_count,
                .verdict = source->watch.verdict,
                .last_error = source->fenced ? source->fatal : source->last_error,
        };

        for (size_t i = 0; i < source->waiting_count; i++)
                status.parked += source->waiting[i]->due_ms > 0;
        source_each_place(source, add_place, &status);
        *ret_status = status;
}

bool source_usable(const struct source *source, struct error *err)
{
        if (source->fenced)
                *err = source->fatal;
        return !source->fenced;
}

void source_gauges(struct source *source)
{
        struct source_status status;
        char labels[96];

        if (!source->gauges[0]) {
                snprintf(labels, sizeof labels, "group=\"%.80s\"", source->group);
                source->gauges[0] = metrics_gauge("millrace_group_lag_records",
                                                  "Records of the assigned partitions that have not ended", labels);
                source->gauges[1] = metrics_gauge("millrace_group_uncommitted_records",
                                                  "Offsets ended above the last acknowledged commit", labels);
                source->gauges[2] = metrics_gauge(
                        "millrace_group_resting_partitions",
                        "Partitions that rest because what has ended above their oldest record fills the metadata", labels);
                source->gauges[3] = metrics_gauge("millrace_group_commit_failures", "Commits that failed, so far", labels);
                source->gauges[4] = metrics_gauge("millrace_group_standing_still", "1: it polls and gets nowhere (see /health)",
                                                  labels);
        }
        source_status(source, &status);
        metrics_set(source->gauges[0], (double)status.lag);
        metrics_set(source->gauges[1], (double)status.uncommitted);
        metrics_set(source->gauges[2], (double)status.resting);
        metrics_set(source->gauges[3], (double)status.commit_failures);
        metrics_set(source->gauges[4], status.verdict == SOURCE_MOVES ? 0 : 1);
}

struct nth {
        size_t left;
        const struct place *found;
};

static bool find_nth(struct place *place, void *user)
{
        struct nth *nth = user;

        if (nth->left-- > 0)
                return true;
        nth->found = place;
        return false;
}

bool source_offsets_at(const struct source *source, size_t index, struct source_offsets *ret_offsets)
{
        struct nth nth = {.left = index};

        source_each_place(source, find_nth, &nth);
        if (!nth.found)
                return false;
        *ret_offsets = (struct source_offsets){
                .topic = nth.found->topic,
                .partition = nth.found->partition,
                .committed = nth.found->committed,
                .mark = nth.found->marks.mark,
                .next = nth.found->marks.next,
                .end = end_of(nth.found),
                .outstanding = nth.found->outstanding,
        };
        return true;
}
