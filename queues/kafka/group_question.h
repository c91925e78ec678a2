/* Asks, beside the loop, for what a consumer's own group has committed. Not for other rooms. */
#ifndef QUEUES_KAFKA_GROUP_QUESTION_H
#define QUEUES_KAFKA_GROUP_QUESTION_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

struct group_question;

/* Borrows the consumer until it is freed, copies the list. Raises wakeup_fd (an eventfd) when it is done: within a second,
 * answered or not. NULL: no memory, no thread. Loop thread, as all below. */
struct group_question *group_question_new(rd_kafka_t *kafka, const rd_kafka_topic_partition_list_t *list, uint64_t number,
                                          int wakeup_fd);
bool group_question_done(const struct group_question *question);
/* Only when it is done: the list with offsets, metadata and each partition's own error, valid until it is freed; NULL and the
 * code. */
const rd_kafka_topic_partition_list_t *group_question_answer(const struct group_question *question, rd_kafka_resp_err_t *ret_code);
/* As given. */
uint64_t group_question_number(const struct group_question *question);
/* Waits for it, a second at most. NULL is fine. */
void group_question_free(struct group_question *question);

#endif
