/* The watchdog of a source. When nothing has moved for WATCH_ASK_MS it asks the leaders for the ends of its partitions (what the
 * fetcher last heard proves nothing about a fetcher that stands still), and when commits or an assignment do not come, the coordinator.
 * A partition has records waiting when its end lies behind all that came from it, and behind librdkafka's position (control
 * records at the end of a log are never shown). */
#include "queues/kafka/source_watch.h"

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/kafka/kafka_conf.h"
#include "queues/kafka/source_private.h"

/* ---- judging ---- */

static bool longer(int64_t since, int64_t now, int64_t ms)
{
        return since >= 0 && now - since >= ms;
}

static bool fresh(int64_t answered, int64_t now)
{
        return answered >= 0 && now - answered <= WATCH_FRESH_MS;
}

enum source_verdict source_judge(const struct source_sight *sight)
{
        int64_t now = sight->now;

        if (sight->fenced)
                return SOURCE_FENCED;
        if (sight->broken)
                return SOURCE_BROKEN;
        if (!sight->excused && sight->waiting > 0 && longer(sight->moved, now, WATCH_STALL_MS) && fresh(sight->leaders_at, now) &&
            sight->leaders_at - sight->moved >= WATCH_ASK_MS)
                return SOURCE_STALLED;
        if (longer(sight->behind_since, now, WATCH_COMMIT_MS) && fresh(sight->coordinator_at, now))
                return SOURCE_COMMITS_STUCK;
        if (longer(sight->away_since, now, WATCH_JOIN_MS) && fresh(sight->coordinator_at, now))
                return SOURCE_NOT_JOINED;
        return SOURCE_MOVES;
}

const char *source_verdict_text(enum source_verdict verdict)
{
        switch (verdict) {
        case SOURCE_STALLED:
                return "records wait in the topic and none has been handed out or has ended for a minute, though the broker "
                       "answers";
        case SOURCE_COMMITS_STUCK:
                return "records have ended and no commit has been acknowledged for three minutes, though the coordinator answers";
        case SOURCE_NOT_JOINED:
                return "the group has given no assignment for ten minutes, though the coordinator answers";
        case SOURCE_BROKEN:
                return "a partition stands still because memory was out for a record";
        case SOURCE_FENCED:
                return "the consumer has failed for good (fenced: another process runs with this worker.instance_id?)";
        default:
                return "";
        }
}

/* ---- looking ---- */

/* Where librdkafka has come to: behind the control records, too. */
static int64_t position(const struct place *place, int64_t came)
{
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_add(list, place->topic, place->partition);

        if (rd_kafka_position(place->source->kafka, list) == RD_KAFKA_RESP_ERR_NO_ERROR && !entry->err && entry->offset > came)
                came = entry->offset;
        rd_kafka_topic_partition_list_destroy(list);
        return came;
}

static bool add_waiting(struct place *place, void *user)
{
        struct source *source = user;
        int64_t came = place->marks.next;

        source->watch.broken |= place->broken;
        if (place->state != PLACE_HERE || place->resting || place->due_ms > 0)
                return true;
        if (place->waiting_last && place->waiting_last->offset >= came)
                came = place->waiting_last->offset + 1;
        if (!place->waiting && place->asked_end > came)
                came = position(place, came);
        if (place->waiting && watermark_fits(&place->marks, place->waiting->offset))
                source->watch.waiting++;
        if (!place->waiting && place->asked_end > came)
                source->watch.waiting += place->asked_end - (came > 0 ? came : 0);
        return true;
}

static bool is_behind(struct place *place, void *user)
{
        bool *behind = user;

        *behind |= source_needs_commit(place);
        return !*behind;
}

/* Brings what time has to be counted for up to date. */
static void look(struct source *source, int64_t now)
{
        struct source_watch *watch = &source->watch;
        bool behind = false, away = !source->joined || source->awaiting || source->assigning || atomic_load(&source->joining);
        int64_t moved = source->last_record > watch->ended ? source->last_record : watch->ended;

        source_each_place(source, is_behind, &behind);
        if (!behind || source->commits_acked > watch->commits_seen || watch->behind_since < 0)
                watch->behind_since = behind ? now : -1;
        watch->commits_seen = source->commits_acked;
        watch->away_since = !away ? -1 : watch->away_since < 0 ? now : watch->away_since;
        if (source->held || source->stopped || source->revoked || watch->assigned_seen != source->assigned_count)
                moved = now;
        watch->assigned_seen = source->assigned_count;
        if (moved > watch->moved)
                watch->moved = moved;
}

static bool add_end_wanted(struct place *place, void *user)
{
        rd_kafka_topic_partition_list_t *list = user;

        if (place->state == PLACE_HERE)
                rd_kafka_topic_partition_list_add(list, place->topic, place->partition)->offset = RD_KAFKA_OFFSET_SPEC_LATEST;
        return true;
}

static void ask_leaders(struct source *source)
{
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
        rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(source->kafka, RD_KAFKA_ADMIN_OP_LISTOFFSETS);
        char reason[128];

        source_each_place(source, add_end_wanted, list);
        if (options && list->cnt > 0) {
                rd_kafka_AdminOptions_set_request_timeout(options, WATCH_ASK_MS / 2, reason, sizeof reason);
                rd_kafka_ListOffsets(source->kafka, list, options, source->answers);
                source->answers_due++;
        }
        if (options)
                rd_kafka_AdminOptions_destroy(options);
        rd_kafka_topic_partition_list_destroy(list);
}

static void ask_coordinator(struct source *source)
{
        rd_kafka_topic_partition_list_t *list;

        if (source->question) /* the assignment's: its answer tells as much */
                return;
        list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(list, source->topics[0].name, 0);
        source->question = group_question_new(source->kafka, list, 0, source->wakeup_fd);
        rd_kafka_topic_partition_list_destroy(list);
}

void source_watch_answer(struct source *source, rd_kafka_event_t *event)
{
        const rd_kafka_ListOffsets_result_t *result = rd_kafka_event_ListOffsets_result(event);
        const rd_kafka_ListOffsetsResultInfo_t **infos;
        size_t count = 0, good = 0;

        if (rd_kafka_event_error(event) || !result)
                return;
        infos = rd_kafka_ListOffsets_result_infos(result, &count);
        for (size_t i = 0; i < count; i++) {
                const rd_kafka_topic_partition_t *entry = rd_kafka_ListOffsetsResultInfo_topic_partition(infos[i]);
                struct place *place = source_place(source, entry->topic, entry->partition, false);

                if (!place)
                        continue;
                place->asked_end = entry->err ? -1 : entry->offset;
                good += !entry->err;
        }
        if (good > 0)
                source->watch.leaders_at = clock_now_ms();
}

void source_watch_coordinator(struct source *source)
{
        source->watch.coordinator_at = clock_now_ms();
}

static struct source_sight sight_of(const struct source *source, int64_t now)
{
        const struct source_watch *watch = &source->watch;

        return (struct source_sight){
                .now = now,
                .moved = watch->moved,
                .behind_since = watch->behind_since,
                .away_since = watch->away_since,
                .leaders_at = watch->leaders_at,
                .coordinator_at = watch->coordinator_at,
                .waiting = watch->waiting,
                .excused = source->held || source->stopped || source->revoked,
                .broken = watch->broken,
                .fenced = source->fenced,
        };
}

void source_watch_tick(struct source *source)
{
        struct source_watch *watch = &source->watch;
        int64_t now = clock_now_ms();
        enum source_verdict verdict;
        struct source_sight sight;

        look(source, now);
        watch->waiting = 0;
        watch->broken = false;
        source_each_place(source, add_waiting, source);
        if (now - watch->asked >= WATCH_ASK_MS && !source->closing) {
                if (now - watch->moved >= WATCH_ASK_MS)
                        ask_leaders(source);
                if (longer(watch->behind_since, now, WATCH_ASK_MS) || longer(watch->away_since, now, WATCH_ASK_MS))
                        ask_coordinator(source);
                watch->asked = now;
        }
        sight = sight_of(source, now);
        verdict = source_judge(&sight);
        if (verdict != watch->verdict && verdict != SOURCE_MOVES)
                log_error("source stands still", "group=%s waiting=%lld reason=%s", source->group, (long long)watch->waiting,
                          source_verdict_text(verdict));
        else if (verdict != watch->verdict)
                log_info("source moves again", "group=%s", source->group);
        watch->verdict = verdict;
}
