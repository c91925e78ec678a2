/* begin → produce all → flush → commit; any fault before the commit was sent aborts.
 * Failure modes: fenced (fatal, kept); a commit without an answer (unknown: the coordinator decides when the id is opened
 * again); the process dies (the broker aborts after KAFKA_TRANSACTION_TIMEOUT_MS, or at once when the id is opened again). */
#include "queues/kafka/kafka_transaction.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "queues/kafka/kafka_conf.h"

enum { HEADROOM_BYTES = 262144, STEP_MS = 2000, ABORT_MS = 10000, ATTEMPTS_MAX = 10000 };

struct kafka_transactions {
        rd_kafka_t *kafka;
        struct producer_ack *acks; /* of the publish under way; may be NULL */
        size_t answered;
        bool failed, fenced;
        struct error err; /* the first failed record's */
};

static void on_delivery(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *user)
{
        struct kafka_transactions *transactions = user;

        (void)kafka;
        transactions->answered++;
        if (message->err) {
                if (!transactions->failed)
                        kafka_error(&transactions->err, message->err, "publish");
                transactions->failed = true;
        } else if (transactions->acks) {
                transactions->acks[(size_t)(uintptr_t)message->_private] = (struct producer_ack){message->offset,
                                                                                                 message->partition};
        }
}

/* Takes the error; notes a fence. 0 where there is none. */
static int fault(struct kafka_transactions *transactions, rd_kafka_error_t *error, const char *what, struct error *err)
{
        const rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;

        if (code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
            code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH)
                transactions->fenced = true;
        return kafka_error_object(err, error, what);
}

static rd_kafka_t *open_producer(struct kafka_transactions *transactions, const struct settings *settings, const char *id,
                                 struct error *err)
{
        char message_max[24], timeout[24];
        const struct kafka_default defaults[] = {
                {"transactional.id", id}, {"transaction.timeout.ms", timeout}, {"partitioner", "murmur2_random"},
                {"linger.ms", "5"},       {"compression.codec", "lz4"},        {"message.max.bytes", message_max},
        };
        /* Must not exceed the transaction's time-out; over kafka.options, which mean the worker's. */
        static const char *const bounded[] = {"socket.timeout.ms", "message.timeout.ms"};
        rd_kafka_conf_t *conf;

        snprintf(message_max, sizeof message_max, "%" PRId64, settings->worker.payload_bytes_max + HEADROOM_BYTES);
        snprintf(timeout, sizeof timeout, "%d", KAFKA_TRANSACTION_TIMEOUT_MS);
        conf = kafka_conf(settings, "transaction", defaults, COUNT_OF(defaults), err);
        if (!conf)
                return NULL;
        for (size_t i = 0; i < COUNT_OF(bounded); i++)
                rd_kafka_conf_set(conf, bounded[i], "10000", NULL, 0);
        rd_kafka_conf_set_opaque(conf, transactions);
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
        return kafka_open(RD_KAFKA_PRODUCER, conf, err);
}

/* Repeats a call that may be repeated until it is through, fails for good, or time is up. */
static rd_kafka_error_t *repeat(rd_kafka_error_t *(*call)(rd_kafka_t *, int), rd_kafka_t *kafka, int64_t timeout_ms)
{
        const int64_t deadline = clock_now_ms() + timeout_ms;

        for (int i = 0;; i++) {
                rd_kafka_error_t *error = call(kafka, STEP_MS);

                if (!error || !rd_kafka_error_is_retriable(error) || clock_now_ms() >= deadline || i >= ATTEMPTS_MAX)
                        return error;
                rd_kafka_error_destroy(error);
                rd_kafka_poll(kafka, 10);
        }
}

struct kafka_transactions *kafka_transactions_new(const struct settings *settings, const char *id, int64_t timeout_ms,
                                                  struct error *err)
{
        struct kafka_transactions *transactions = calloc(1, sizeof *transactions);

        if (!transactions) {
                error_set(err, CODE_INTERNAL, "no memory for a Kafka client");
                return NULL;
        }
        transactions->kafka = open_producer(transactions, settings, id, err);
        if (!transactions->kafka ||
            fault(transactions, repeat(rd_kafka_init_transactions, transactions->kafka, timeout_ms), "transactions", err) < 0) {
                kafka_transactions_free(transactions);
                return NULL;
        }
        return transactions;
}

void kafka_transactions_free(struct kafka_transactions *transactions)
{
        if (!transactions)
                return;
        if (transactions->kafka)
                rd_kafka_destroy(transactions->kafka);
        free(transactions);
}

bool kafka_transactions_fenced(const struct kafka_transactions *transactions)
{
        return transactions->fenced;
}

/* All records are acknowledged, or one failed. */
static int produce_all(struct kafka_transactions *transactions, const struct outgoing *records, size_t count, int64_t deadline,
                       struct error *err)
{
        for (size_t i = 0; i < count; i++) {
                while (outgoing_produce(transactions->kafka, &records[i], (void *)(uintptr_t)i, err) < 0) {
                        if (err->code != CODE_UNAVAILABLE || transactions->failed || transactions->answered == i ||
                            clock_now_ms() >= deadline)
                                return -1;
                        rd_kafka_poll(transactions->kafka, 50); /* the queue is full */
                }
                rd_kafka_poll(transactions->kafka, 0);
        }
        while (transactions->answered < count && !transactions->failed && clock_now_ms() < deadline)
                rd_kafka_flush(transactions->kafka, 200);
        if (transactions->failed)
                *err = transactions->err;
        else if (transactions->answered < count)
                return error_set(err, CODE_TIMEOUT, "publish: not acknowledged in time");
        return transactions->failed ? -1 : 0;
}

/* Leaves nothing of the transaction behind; what is fatal stays so. */
static void abort_all(struct kafka_transactions *transactions)
{
        struct error err;
        char text[8];
        rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(transactions->kafka, text, sizeof text);

        if (fatal == RD_KAFKA_RESP_ERR__FENCED || fatal == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
            fatal == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH)
                transactions->fenced = true;
        if (!fatal)
                fault(transactions, repeat(rd_kafka_abort_transaction, transactions->kafka, ABORT_MS), "abort", &err);
        transactions->acks = NULL;
}

int kafka_transactions_publish(struct kafka_transactions *transactions, const struct outgoing *records, size_t count,
                               int64_t timeout_ms, struct producer_ack *ret_acks, bool *ret_unknown, struct error *err)
{
        const int64_t deadline = clock_now_ms() + timeout_ms;
        struct error kept;
        rd_kafka_error_t *error;
        bool retriable, aborts;

        error_clear(&kept);
        *ret_unknown = false;
        transactions->acks = ret_acks;
        transactions->answered = 0;
        transactions->failed = false;
        if (fault(transactions, rd_kafka_begin_transaction(transactions->kafka), "transaction", err) < 0)
                return -1;
        if (produce_all(transactions, records, count, deadline, &kept) < 0 && !transactions->failed) {
                abort_all(transactions);
                if (err)
                        *err = kept;
                return -1;
        }
        /* After a failed record librdkafka refuses to commit, and says why it failed; the record itself was just purged. */
        error = repeat(rd_kafka_commit_transaction, transactions->kafka, timeout_ms);
        if (!error) {
                transactions->acks = NULL;
                return 0;
        }
        retriable = rd_kafka_error_is_retriable(error);
        aborts = rd_kafka_error_txn_requires_abort(error);
        fault(transactions, error, "commit", &kept);
        aborts |= transactions->failed;
        *ret_unknown = !transactions->fenced && !transactions->failed && (retriable || !aborts);
        if (aborts)
                abort_all(transactions);
        transactions->acks = NULL;
        if (err)
                *err = kept;
        return -1;
}
