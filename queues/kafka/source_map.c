/* What has ended above the mark, across restarts: the commit carries it (offset_codec), the next one to get the partition reads it.
 *
 * The happy path: the group proposes partitions; their committed offsets and metadata are asked for beside the loop
 * (group_question), and only with the answer are the partitions taken, at explicit offsets, with what is known in their watermarks; known records
 * are skipped when they come. The loop runs on meanwhile, and librdkafka waits for the assignment as for any slow receiver.
 *
 * Asking ourselves has a second reason: librdkafka asks once, and when the coordinator refuses (it has just moved, say) the partition is
 * never read again until somebody else joins or leaves. We ask until there is an answer.
 *
 * Failure modes:
 * - no answer: asked again at each tick; last_error and the log say so; the watchdog knows that there is no assignment yet;
 * - the log was cut and written anew (an unclean election): a record of a later leader epoch than the map's is not skipped;
 * - metadata that is not ours: a warning; what it said is redone (claims know finished requests), never lost;
 * - the map grows: past OFFSET_TEXT_FULL, or when it could outgrow the metadata by what is under way, nothing new of that partition is
 *   handed out until it has shrunk (an older record ended). So the map always fits and is never cut. */
#include "queues/kafka/source_private.h"

#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/kafka/kafka_conf.h"
#include "queues/kafka/offset_codec.h"

enum {
        WEIGH_EVERY = 64, /* records */
        WORST_MAX = OFFSET_TEXT_MAX - 2 * WEIGH_EVERY,
        LIGHT_SPAN = 12288, /* a bitmap of so many offsets is below OFFSET_TEXT_FULL */
        COMPLAINTS_MAX = 8, /* a minute and source: the rest is counted */
        COMPLAINTS_MS = 60000,
};

/* ---- how much the map may hold ---- */

void source_weigh(struct place *place)
{
        struct offset_weight weight = offset_codec_weigh(&place->marks);
        bool rest = place->resting ? weight.now > OFFSET_TEXT_MAX / 2 || weight.worst > OFFSET_TEXT_FULL
                                   : weight.now >= OFFSET_TEXT_FULL || weight.worst > WORST_MAX;

        place->unweighed = 0;
        if (rest == place->resting)
                return;
        place->resting = rest;
        if (!rest) {
                log_info("partition goes on", "partition=%d topic=%s", (int)place->partition, place->topic);
                kafka_wakeup_raise(place->source->wakeup_fd);
                return;
        }
        log_warn("partition rests",
                 "partition=%d blocked_by=%lld map_chars=%zu topic=%s reason=too much has ended above its oldest record",
                 (int)place->partition, (long long)place->marks.mark, weight.now, place->topic);
}

bool source_may_start(const struct place *place, int64_t offset)
{
        /* What the map spans already makes it no longer; with nothing under way the mark moves along. */
        return !place->resting || place->marks.outstanding == 0 || offset < place->marks.top;
}

bool source_known(const struct place *place, const struct record *record)
{
        return watermark_known(&place->marks, record->offset) &&
               (place->known_epoch < 0 || rd_kafka_message_leader_epoch(record->message) <= place->known_epoch);
}

void source_started(struct place *place)
{
        if (place->resting || (++place->unweighed >= WEIGH_EVERY && place->marks.top - place->marks.mark > LIGHT_SPAN))
                source_weigh(place);
}

/* ---- assignments: asking first ---- */

static void complain(struct place *place, int64_t committed)
{
        struct source *source = place->source;
        int64_t now = clock_now_ms();

        source->foreign_count++;
        if (source->complaints_from == 0 || now - source->complaints_from >= COMPLAINTS_MS) {
                source->complaints_from = now;
                source->complaints = 0;
        }
        if (++source->complaints <= COMPLAINTS_MAX)
                log_warn("commit metadata ignored",
                         "group=%s partition=%d offset=%lld topic=%s reason=it is not this program's or it is damaged: what had "
                         "ended above "
                         "the committed offset is looked at again",
                         source->group, (int)place->partition, (long long)committed, place->topic);
}

void source_map_take(struct place *place, rd_kafka_topic_partition_t *entry)
{
        struct span text = {entry->metadata ? entry->metadata : "", entry->metadata ? entry->metadata_size : 0};

        place->known_epoch = rd_kafka_topic_partition_get_leader_epoch(entry);
        rd_kafka_topic_partition_set_leader_epoch(entry, -1);
        if (entry->offset >= 0) {
                place->committed = entry->offset;
                if (offset_codec_decode(text, entry->offset, &place->marks) == OFFSET_TEXT_FOREIGN)
                        complain(place, entry->offset);
                else if (text.len > 0)
                        log_info("commit metadata read", "group=%s partition=%d offset=%lld above=%lld topic=%s",
                                 place->source->group, (int)place->partition, (long long)entry->offset,
                                 (long long)(place->marks.top - entry->offset), place->topic);
        }
        free(entry->metadata);
        entry->metadata = NULL;
        entry->metadata_size = 0;
}

static void ask(struct source *source)
{
        source->ask_number++; /* an earlier one's answer is no longer wanted */
        source->ask_again = true;
        if (source->question)
                return;
        source->question = group_question_new(source->kafka, source->assigning, source->ask_number, source->wakeup_fd);
        source->ask_again = !source->question;
}

/* The answer's offsets and texts into the list that is to be assigned; the code of the first partition that has none. */
static rd_kafka_resp_err_t fill(rd_kafka_topic_partition_list_t *list, const rd_kafka_topic_partition_list_t *answer)
{
        for (int i = 0; i < list->cnt; i++) {
                rd_kafka_topic_partition_t *entry = &list->elems[i];
                const rd_kafka_topic_partition_t *found = rd_kafka_topic_partition_list_find(
                        (rd_kafka_topic_partition_list_t *)(uintptr_t)answer, entry->topic, entry->partition);

                if (!found || found->err)
                        return found ? found->err : RD_KAFKA_RESP_ERR__NO_OFFSET;
                entry->offset = found->offset >= 0 ? found->offset : RD_KAFKA_OFFSET_BEGINNING;
                rd_kafka_topic_partition_set_leader_epoch(entry, rd_kafka_topic_partition_get_leader_epoch(found));
                free(entry->metadata);
                entry->metadata_size = found->metadata ? found->metadata_size : 0;
                entry->metadata = entry->metadata_size > 0 ? malloc(entry->metadata_size) : NULL;
                if (entry->metadata)
                        memcpy(entry->metadata, found->metadata, entry->metadata_size);
        }
        return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void on_answer(struct source *source, struct group_question *question)
{
        rd_kafka_resp_err_t code;
        const rd_kafka_topic_partition_list_t *answer = group_question_answer(question, &code);

        if (answer)
                source_watch_coordinator(source);
        if (!source->assigning)
                return; /* the watchdog's, or of an assignment that has gone */
        if (group_question_number(question) != source->ask_number) {
                ask(source);
                return;
        }
        if (answer)
                code = fill(source->assigning, answer);
        if (!code) {
                source_assign(source);
                return;
        }
        kafka_error(&source->last_error, code, "committed offsets");
        log_warn("committed offsets not read", "group=%s error=%s", source->group, rd_kafka_err2name(code));
        source->ask_again = true;
}

void source_assign_begin(struct source *source, const rd_kafka_topic_partition_list_t *list)
{
        rd_kafka_topic_partition_list_t *earlier = source->assigning;

        source->assigning = rd_kafka_topic_partition_list_copy(list);
        if (earlier) { /* eager: the new list is the whole; cooperative: an addition */
                for (int i = 0; i < earlier->cnt && source_cooperative(source); i++)
                        if (!rd_kafka_topic_partition_list_find(source->assigning, earlier->elems[i].topic,
                                                                earlier->elems[i].partition))
                                rd_kafka_topic_partition_list_add(source->assigning, earlier->elems[i].topic,
                                                                  earlier->elems[i].partition);
                rd_kafka_topic_partition_list_destroy(earlier);
        }
        if (source->assigning->cnt == 0)
                source_assign(source);
        else if (source->closing)
                source_assign_blind(source);
        else
                ask(source);
}

/* Where librdkafka finds them committed, without the map: they may well stay when others are revoked. When closing nothing is read. */
void source_assign_blind(struct source *source)
{
        if (!source->assigning)
                return;
        for (int i = 0; i < source->assigning->cnt; i++)
                source->assigning->elems[i].offset = source->closing ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_INVALID;
        source_assign(source);
}

static bool weigh_resting(struct place *place, void *user)
{
        (void)user;
        if (place->resting)
                source_weigh(place);
        return true;
}

void source_map_tick(struct source *source)
{
        source_each_place(source, weigh_resting, NULL);
        if (source->assigning && source->ask_again)
                ask(source);
}

void source_serve_answers(struct source *source)
{
        struct group_question *question = source->question;
        rd_kafka_event_t *event;

        if (question && group_question_done(question)) {
                source->question = NULL;
                on_answer(source, question);
                group_question_free(question);
        }
        while (source->answers_due > 0 && (event = rd_kafka_queue_poll(source->answers, 0)) != NULL) {
                source->answers_due--;
                if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LISTOFFSETS_RESULT)
                        source_watch_answer(source, event);
                rd_kafka_event_destroy(event);
        }
}

/* ---- what a commit carries ---- */

int source_map_add(struct place *place, rd_kafka_topic_partition_t *entry)
{
        char text[OFFSET_TEXT_MAX + 1];
        int len = place->source->bare_commits ? 0 : offset_codec_encode(&place->marks, text);
        int32_t epoch = place->epoch > place->known_epoch ? place->epoch : place->known_epoch;

        if (epoch >= 0)
                rd_kafka_topic_partition_set_leader_epoch(entry, epoch);
        if (len <= 0)
                return len;
        entry->metadata = malloc((size_t)len + 1);
        if (!entry->metadata)
                return -1;
        memcpy(entry->metadata, text, (size_t)len + 1);
        entry->metadata_size = (size_t)len;
        return 0;
}
