/* What has this group committed? The member's own connection to its coordinator is asked, which follows the coordinator wherever
 * it goes.
 *
 * Why not the admin interface, which would need no thread: librdkafka 2.8 remembers a group's coordinator there for ever, as long
 * as it is asked for (NOT_COORDINATOR removes nothing), and aborts when such a request has timed out and the coordinator comes
 * back later (rd_kafka_admin_coord_request gives its reference back, rd_kafka_coord_req_fail once more).
 *
 * rd_kafka_committed() blocks, so each question has a thread for its short life; nothing else of the source is touched there. */
#include "queues/kafka/group_question.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "queues/kafka/kafka_conf.h"

enum { ANSWER_MS = 1000 };

struct group_question {
        rd_kafka_t *kafka;
        rd_kafka_topic_partition_list_t *list;
        rd_kafka_resp_err_t code;
        uint64_t number;
        int wakeup_fd;
        pthread_t thread;
        atomic_bool done; /* code and list are the loop thread's from here on */
};

static void *ask(void *user)
{
        struct group_question *question = user;

        question->code = rd_kafka_committed(question->kafka, question->list, ANSWER_MS);
        atomic_store(&question->done, true);
        kafka_wakeup_raise(question->wakeup_fd);
        return NULL;
}

struct group_question *group_question_new(rd_kafka_t *kafka, const rd_kafka_topic_partition_list_t *list, uint64_t number,
                                          int wakeup_fd)
{
        struct group_question *question = calloc(1, sizeof *question);
        sigset_t all, before;
        int failed;

        if (!question)
                return NULL;
        *question = (struct group_question){.kafka = kafka, .number = number, .wakeup_fd = wakeup_fd};
        question->list = rd_kafka_topic_partition_list_copy(list);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
        failed = pthread_create(&question->thread, NULL, ask, question);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (failed) {
                rd_kafka_topic_partition_list_destroy(question->list);
                free(question);
                return NULL;
        }
        return question;
}

bool group_question_done(const struct group_question *question)
{
        return atomic_load(&question->done);
}

uint64_t group_question_number(const struct group_question *question)
{
        return question->number;
}

const rd_kafka_topic_partition_list_t *group_question_answer(const struct group_question *question, rd_kafka_resp_err_t *ret_code)
{
        *ret_code = question->code;
        return question->code ? NULL : question->list;
}

void group_question_free(struct group_question *question)
{
        if (!question)
                return;
        pthread_join(question->thread, NULL);
        rd_kafka_topic_partition_list_destroy(question->list);
        free(question);
}
