/* Does what was just replayed come back as letters? A letter of this very replay says that it came from where the replayed record
 * lies, so that nothing else is counted. Blocks while it reads. */
#ifndef WORKERS_DLQ_DLQ_ECHO_H
#define WORKERS_DLQ_DLQ_ECHO_H

#include "queues/kafka/kafka_client.h"
#include "workers/dlq/dlq_letter.h"

enum { ECHO_JUDGED_MIN = 20, ECHO_SENT_MAX = 1000000 };

struct dlq_echo;

/* Reads with a client of its own user's: not the one whose walk is under way. */
struct dlq_echo *dlq_echo_new(struct kafka_client *kafka, struct error *err);
void dlq_echo_free(struct dlq_echo *echo); /* NULL is fine */

/* Before the first letter of this dead letter topic is sent: what lies in it now is of no interest. */
int dlq_echo_watch(struct dlq_echo *echo, const char *dlq, struct error *err);
/* A letter with an error of that class was replayed to that place. Past ECHO_SENT_MAX they are not followed any more. */
void dlq_echo_sent(struct dlq_echo *echo, const char *topic, const struct producer_ack *ack, enum error_class class);
/* Reads the new letters. *ret_flood: of at least ECHO_JUDGED_MIN replayed letters half or more came back with the class they had;
 * judged are those up to the latest one that came back. */
int dlq_echo_look(struct dlq_echo *echo, bool *ret_flood, struct error *err);
/* How many came back with the same class, and of how many. */
void dlq_echo_counts(const struct dlq_echo *echo, int64_t *ret_returned, int64_t *ret_judged);

/* The class of a letter's header; ERR_NONE: none that we know. */
enum error_class dlq_echo_class(struct span class);

#endif
