/* The group's side of a source: partitions come and go, watermarks are committed.
 *
 * The happy path of a revocation: the rebalance callback marks the partitions LEAVING and tells the receiver; the loop goes on;
 * when the last record of theirs is given back (or revoke_drain_ms are over) the watermarks are committed; when the answer is
 * there (or did not come within COMMIT_WAIT_MS) the partitions are let go. librdkafka waits for that call; meanwhile it fetches
 * nothing for this member.
 *
 * Failure modes:
 * - the assignment is lost (session lapsed, fenced): nothing is awaited, nothing committed; others have these partitions already;
 * - a commit is refused or not answered: counted, kept as last_error, tried again at the next tick; worst case a redelivery;
 * - the broker can't be reached: librdkafka reconnects for ever; last_error says so until records come again. */
#include "queues/kafka/source_private.h"

#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "queues/kafka/kafka_conf.h"

enum { GROUP_TURN_MAX = 64, COMMIT_WAIT_MS = 3000, COMMITS_REST_MS = 1000, API_JOIN_GROUP = 11, LIST_MAX = SOURCE_PARTITIONS_MAX };

void source_each_place(const struct source *source, bool (*visit)(struct place *place, void *user), void *user)
{
        for (size_t t = 0; t < source->topic_count; t++)
                for (int32_t p = 0; p < source->topics[t].place_count; p++) {
                        struct place *place = source->topics[t].places[p];

                        if (place && place->state != PLACE_AWAY && !visit(place, user))
                                return;
                }
}

/* The client has failed for good: fenced by another with its worker.instance_id, as a rule. */
static void note_fatal(struct source *source)
{
        char text[160];
        rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(source->kafka, text, sizeof text);

        source->fenced = true;
        if (fatal == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
                error_set(&source->fatal, CODE_UNAVAILABLE,
                          "group %s: fenced: another process has joined with this worker.instance_id; every process needs its own", source->group);
        else
                error_set(&source->fatal, CODE_UNAVAILABLE, "group %s: the consumer has failed for good: %s", source->group,
                          rd_kafka_err2name(fatal));
        log_error("consumer failed for good", "reason=%s", source->fatal.message);
}

static void note_error(struct source *source, rd_kafka_resp_err_t code, const char *what)
{
        if (code == RD_KAFKA_RESP_ERR__FATAL && !source->fenced)
                note_fatal(source);
        kafka_error(&source->last_error, code, what);
}

void source_on_error(rd_kafka_t *kafka, int code, const char *reason, void *user)
{
        (void)kafka;
        (void)reason; /* librdkafka's log has it */
        note_error(user, (rd_kafka_resp_err_t)code, "kafka");
}

/* ---- commits ----
 * A commit that waits behind a JoinGroup on the coordinator's connection carries the old generation and is refused; librdkafka
 * before 2.10 then gives up the whole assignment (its issue 4059). So nothing is committed while a JoinGroup is under way, which
 * only an interceptor can tell, nor in the moment before it. */

/* On a thread of librdkafka's. */
static rd_kafka_resp_err_t on_request_sent(rd_kafka_t *kafka, int socket, const char *broker, int32_t broker_id, int16_t api_key,
                                           int16_t api_version, int32_t correlation, size_t bytes, void *user)
{
        struct source *source = user;

        (void)kafka, (void)socket, (void)broker, (void)broker_id, (void)api_version, (void)correlation, (void)bytes;
        if (api_key == API_JOIN_GROUP)
                atomic_store(&source->joining, true);
        return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t source_on_new(rd_kafka_t *kafka, const rd_kafka_conf_t *conf, void *user, char *reason, size_t reason_bytes)
{
        (void)conf, (void)reason, (void)reason_bytes;
        return rd_kafka_interceptor_add_on_request_sent(kafka, "millrace", on_request_sent, user);
}

struct commit {
        struct source *source;
        rd_kafka_topic_partition_list_t *list;
        bool leaving_only;
};

bool source_needs_commit(const struct place *place)
{
        if (place->first < 0)
                return false;
        return (place->marks.mark > place->first && place->marks.mark > place->committed) || place->marks.ended != place->ended_acked;
}

static bool add_commit(struct place *place, void *user)
{
        struct commit *commit = user;
        rd_kafka_topic_partition_t *entry;

        if (!source_needs_commit(place) || (commit->leaving_only && place->state != PLACE_LEAVING))
                return true;
        entry = rd_kafka_topic_partition_list_add(commit->list, place->topic, place->partition);
        entry->offset = place->marks.mark;
        entry->opaque = (void *)(uintptr_t)place->generation;
        place->ended_sent = place->marks.ended;
        if (source_map_add(place, entry) < 0) /* what was committed before stays true */
                rd_kafka_topic_partition_list_del_by_idx(commit->list, commit->list->cnt - 1);
        return true;
}

/* The broker's offset.metadata.max.bytes is below what the contract of this format needs: offsets matter more than the map. */
static void commit_bare(struct source *source)
{
        if (!source->bare_commits)
                log_error("commit metadata refused",
                          "group=%s reason=the broker's offset.metadata.max.bytes is below 3000: what has ended above the committed offsets is "
                          "looked at again after a restart",
                          source->group);
        source->bare_commits = true;
}

static void on_committed(rd_kafka_t *kafka, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *user)
{
        struct source *source = user;

        (void)kafka;
        source->committing = false;
        for (int i = 0; list && i < list->cnt; i++) {
                const rd_kafka_topic_partition_t *entry = &list->elems[i];
                struct place *place = source_place(source, entry->topic, entry->partition, false);

                if (code || entry->err || !place || place->state == PLACE_AWAY ||
                    place->generation != (uint64_t)(uintptr_t)entry->opaque)
                        continue;
                if (entry->offset > place->committed)
                        place->committed = entry->offset;
                place->ended_acked = place->ended_sent;
        }
        for (int i = 0; list && i < list->cnt && !code; i++)
                code = list->elems[i].err;
        if (!code) {
                source->commits_acked++;
                error_clear(&source->last_error);
                return;
        }
        if (code == RD_KAFKA_RESP_ERR__NO_OFFSET)
                return;
        if (code == RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE)
                commit_bare(source);
        if (code == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS) {
                source->commits_resume = clock_now_ms() + COMMITS_REST_MS;
                return;
        }
        source->commit_failures++;
        note_error(source, code, "commit");
        log_warn("commit failed", "group=%s error=%s", source->group, rd_kafka_err2name(code));
}

/* True when a commit is under way after the call. */
static bool commit_start(struct source *source, bool leaving_only)
{
        struct commit commit = {.source = source, .leaving_only = leaving_only};
        rd_kafka_resp_err_t code;

        if (source->committing)
                return true;
        commit.list = rd_kafka_topic_partition_list_new(16);
        source_each_place(source, add_commit, &commit);
        if (commit.list->cnt > 0) {
                code = rd_kafka_commit_queue(source->kafka, commit.list, source->group_queue, on_committed, source);
                if (code)
                        kafka_error(&source->last_error, code, "commit");
                else
                        source->committing = true;
        }
        rd_kafka_topic_partition_list_destroy(commit.list);
        return source->committing;
}

void source_commit(struct source *source)
{
        if (!source->revoked && !atomic_load(&source->joining) && clock_now_ms() >= source->commits_resume)
                commit_start(source, false);
}

/* ---- assignments ---- */

static void tell(struct source *source, const rd_kafka_topic_partition_list_t *list, bool assigned, bool lost)
{
        struct source_partition *partitions;
        size_t count = (size_t)(list->cnt < LIST_MAX ? list->cnt : LIST_MAX);

        if (count == 0 || (assigned ? !source->config.on_assign : !source->config.on_revoke))
                return;
        partitions = calloc(count, sizeof *partitions);
        if (!partitions)
                return;
        for (size_t i = 0; i < count; i++)
                partitions[i] = (struct source_partition){list->elems[i].topic, list->elems[i].partition};
        if (assigned)
                source->config.on_assign(source->config.user, source, partitions, count);
        else
                source->config.on_revoke(source->config.user, source, partitions, count, lost);
        free(partitions);
}

/* Records of all partitions go to one queue of our own. The library undoes the forwarding when a partition goes, so it is set
 * with each assignment, before the fetcher starts. */
static int forward(struct source *source, const rd_kafka_topic_partition_t *entry)
{
        rd_kafka_queue_t *queue = rd_kafka_queue_get_partition(source->kafka, entry->topic, entry->partition);

        if (!queue)
                return -1;
        rd_kafka_queue_forward(queue, source->record_queue);
        rd_kafka_queue_destroy(queue);
        return 0;
}

/* Tells the library what it has proposed is done: by steps under the cooperative protocol, as a whole under the eager one. */
bool source_cooperative(const struct source *source)
{
        const char *protocol = rd_kafka_rebalance_protocol(source->kafka); /* NULL when the member has left already, at the end */

        return protocol && strcmp(protocol, "COOPERATIVE") == 0;
}

static int change(struct source *source, const rd_kafka_topic_partition_list_t *list, bool more, struct error *err)
{
        rd_kafka_resp_err_t code;

        if (source_cooperative(source))
                return kafka_error_object(err, (more ? rd_kafka_incremental_assign : rd_kafka_incremental_unassign)(source->kafka, list),
                                          more ? "assign" : "unassign");
        source->awaiting = !more;
        code = rd_kafka_assign(source->kafka, more ? list : NULL);
        return code ? kafka_error(err, code, more ? "assign" : "unassign") : 0;
}

void source_assign(struct source *source)
{
        rd_kafka_topic_partition_list_t *list = source->assigning;
        struct error err;

        source->assigning = NULL;
        for (int i = 0; i < list->cnt; i++) {
                rd_kafka_topic_partition_t *entry = &list->elems[i];
                struct place *place = source_place(source, entry->topic, entry->partition, true);

                if (!place || forward(source, entry) < 0) {
                        error_set(&source->last_error, CODE_INTERNAL, "no room for partition %.100s/%d", entry->topic,
                                  (int)entry->partition);
                        log_error("partition not served", "partition=%d topic=%s", (int)entry->partition, entry->topic);
                        continue; /* its records are discarded uncommitted: nothing is lost, and the status says so */
                }
                if (place->state == PLACE_AWAY)
                        source->here++;
                watermark_reset(&place->marks);
                place->state = PLACE_HERE;
                place->generation = ++source->generation;
                place->committed = place->first = -1;
                place->outstanding = 0;
                place->batch_first = INT64_MAX;
                place->epoch = -1;
                place->eof = place->asked_end = -1;
                place->broken = place->resting = false;
                place->ended_sent = place->ended_acked = 0;
                source_map_take(place, entry);
        }
        for (size_t t = 0; t < source->topic_count; t++)
                source->topics[t].handle = NULL;
        source->joined = true;
        source->awaiting = false;
        source->assigned_count++;
        log_info("partitions assigned", "group=%s new=%d", source->group, list->cnt);
        if (change(source, list, true, &err) < 0)
                source->last_error = err;
        tell(source, list, true, false);
        rd_kafka_topic_partition_list_destroy(list);
}

static void let_go(struct source *source, const rd_kafka_topic_partition_list_t *list)
{
        struct error err;

        for (int i = 0; i < list->cnt; i++) {
                struct place *place = source_place(source, list->elems[i].topic, list->elems[i].partition, false);

                if (!place || place->state == PLACE_AWAY)
                        continue;
                source_forget_waiting(place);
                place->state = PLACE_AWAY;
                place->resting = false;
                source->here--;
        }
        source->commits_resume = clock_now_ms() + COMMITS_REST_MS; /* joining again is next */
        if (source->closing && (rd_kafka_consumer_closed(source->kafka) || !rd_kafka_rebalance_protocol(source->kafka)))
                return; /* the member has left already: the library would wait for ever for an answer */
        if (change(source, list, false, &err) < 0)
                source->last_error = err;
}

static void take_away(struct source *source, const rd_kafka_topic_partition_list_t *list)
{
        bool lost = rd_kafka_assignment_lost(source->kafka) != 0;

        if (source->revoked) { /* the earlier ones are not waited for any longer */
                rd_kafka_topic_partition_list_t *earlier = source->revoked;

                source->revoked = NULL;
                let_go(source, earlier);
                rd_kafka_topic_partition_list_destroy(earlier);
        }
        for (int i = 0; i < list->cnt; i++) {
                struct place *place = source_place(source, list->elems[i].topic, list->elems[i].partition, false);

                if (!place || place->state == PLACE_AWAY)
                        continue;
                source_forget_batch(source, place);
                source_forget_waiting(place);
                place->state = PLACE_LEAVING;
        }
        log_info("partitions revoked", "group=%s count=%d lost=%s", source->group, list->cnt, lost ? "true" : "false");
        if (lost) {
                source->joined = false;
                error_set(&source->last_error, CODE_UNAVAILABLE, "the group's assignment was lost");
                tell(source, list, false, true);
                let_go(source, list);
                return;
        }
        source->revoked = rd_kafka_topic_partition_list_copy(list);
        source->revoke_committed = false;
        source->revoke_deadline = clock_now_ms() + (source->closing ? 0 : source->config.revoke_drain_ms);
        tell(source, list, false, false);
        ev_timer_again(source->loop, &source->leaving);
        kafka_wakeup_raise(source->wakeup_fd);
}

void source_on_rebalance(rd_kafka_t *kafka, rd_kafka_resp_err_t event, rd_kafka_topic_partition_list_t *partitions, void *user)
{
        struct source *source = user;

        source->commits_resume = 0;
        atomic_store(&source->joining, false);
        if (event == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
                source_assign_begin(source, partitions);
        } else if (event == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
                source_assign_blind(source); /* one step after the other, as the library expects */
                take_away(source, partitions);
        } else {
                kafka_error(&source->last_error, event, "rebalance");
                rd_kafka_assign(kafka, NULL);
        }
}

static bool count_leaving(struct place *place, void *user)
{
        size_t *outstanding = user;

        if (place->state == PLACE_LEAVING)
                *outstanding += place->outstanding;
        return true;
}

void source_leave(struct source *source)
{
        rd_kafka_topic_partition_list_t *list = source->revoked;
        int64_t now = clock_now_ms();
        size_t outstanding = 0;

        if (!list)
                return;
        if (!rd_kafka_assignment_lost(source->kafka)) {
                source_each_place(source, count_leaving, &outstanding);
                if (outstanding > 0 && now < source->revoke_deadline && !source->revoke_committed)
                        return;
                /* An earlier commit may still be under way; ours comes after it. */
                if (source->committing && now < source->revoke_deadline + COMMIT_WAIT_MS)
                        return;
                if (!source->revoke_committed) {
                        source->revoke_committed = true;
                        if (now >= source->revoke_deadline && outstanding > 0)
                                log_warn("partitions leave with records under way", "group=%s records=%zu", source->group,
                                         outstanding);
                        source->revoke_deadline = now; /* COMMIT_WAIT_MS count from here */
                        if (commit_start(source, true))
                                return;
                }
        }
        source->revoked = NULL;
        ev_timer_stop(source->loop, &source->leaving);
        let_go(source, list);
        rd_kafka_topic_partition_list_destroy(list);
}

bool source_serve_group(struct source *source)
{
        source->last_poll = clock_now_ms();
        for (int i = 0; i < GROUP_TURN_MAX; i++) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(source->kafka, 0);

                if (!message)
                        return false;
                if (!message->err) { /* came before its partition was forwarded: cannot be, but must not be lost */
                        source_show(source, message);
                        continue;
                }
                note_error(source, message->err, "consumer");
                log_warn("consumer fault", "group=%s error=%s topic=%s", source->group, rd_kafka_err2name(message->err),
                         message->rkt ? rd_kafka_topic_name(message->rkt) : "-");
                rd_kafka_message_destroy(message);
        }
        return true;
}
