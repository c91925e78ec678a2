/* A dead letter as `dlq` sees it: the record with its mr-dlq-… headers read, the filters, and its forms for people and programs.
 * Pure. Everything in a letter is hostile: headers may be missing, repeated or nonsense. Spans are borrowed from the record. */
#ifndef WORKERS_DLQ_DLQ_LETTER_H
#define WORKERS_DLQ_DLQ_LETTER_H

#include <stdbool.h>
#include <stdint.h>

#include "config/base/buffer.h"
#include "config/settings.h"
#include "queues/kafka/producer.h"
#include "queues/kafka/record.h"
#include "queues/kafka/topics.h"
#include "workers/cli/arguments.h"
#include "workers/cli/terminal.h"

enum letter_state { LETTER_OPEN, LETTER_REPLAYED, LETTER_PARKED, LETTER_PURGED, LETTER_STATES };
extern const char *const letter_state_names[LETTER_STATES];
enum { LETTER_ANY_STATE = (1 << LETTER_STATES) - 1 };

struct letter {
        const struct record *record;
        enum kind kind;                   /* of the dlq it lies in */
        struct span class, code, message; /* data NULL: no such header */
        struct span id, tenant;           /* from the value; len 0: none can be read */
        int64_t attempts, replays;        /* 0 where none is said */
        int64_t failed_wall_ms;           /* its mr-dlq-failed-at, else the record's time */
        struct span original_topic;
        int64_t step;            /* the one it failed in; 0 where none is said */
        enum letter_state state; /* open, until dlq_states_tell() */
        int64_t state_wall_ms;   /* since when; 0: not said */
};
void letter_read(struct letter *letter, const struct record *record, enum kind kind);

/* What the filter options ask; strings borrowed from the arguments. */
struct letter_filter {
        uint64_t kinds; /* bit mask; 0: all */
        const char *class, *code, *tenant, *grep;
        int64_t since_ms, until_ms; /* Unix ms; 0: unbounded */
        unsigned states;            /* bit mask; 0: any. --state all, or what the command sets where it is not given */
};
#define LETTER_FILTER_ROWS                                                                                                         \
        {.name = "kind",                                                                                                           \
         .type = ARGUMENT_LIST,                                                                                                    \
         .value = "A,B",                                                                                                           \
         .choices = "ingest embed retrieve rerank llm",                                                                            \
         .help = "of these kinds"},                                                                                                \
                {.name = "class",                                                                                                  \
                 .type = ARGUMENT_CHOICE,                                                                                          \
                 .choices = "data model dependency serving",                                                                       \
                 .help = "with an error of this class"},                                                                           \
                {.name = "code",                                                                                                   \
                 .type = ARGUMENT_STRING,                                                                                          \
                 .value = "CODE",                                                                                                  \
                 .max = 64,                                                                                                        \
                 .help = "with this error code, such as timeout"},                                                                 \
                {.name = "tenant", .type = ARGUMENT_STRING, .value = "NAME", .max = 64, .help = "of this tenant"},                 \
                {.name = "since", .type = ARGUMENT_TIME, .help = "that failed at or after this time"},                             \
                {.name = "until", .type = ARGUMENT_TIME, .help = "that failed before this time"},                                  \
                {.name = "state",                                                                                                  \
                 .type = ARGUMENT_LIST,                                                                                            \
                 .value = "A,B",                                                                                                   \
                 .choices = "open replayed parked purged all",                                                                     \
                 .help = "in these states, or all (default: open)"},                                                               \
        {                                                                                                                          \
                .name = "grep", .type = ARGUMENT_STRING, .value = "TEXT", .min = 1, .max = 1000,                                   \
                .help = "with this text in payload, key or error message"                                                          \
        }
void letter_filter_read(struct letter_filter *filter, const struct arguments *arguments);
bool letter_matches(const struct letter *letter, const struct letter_filter *filter);

/* "<topic>:<partition>:<offset>"; topic is cut out into topic[TOPIC_NAME_BYTES]. */
bool letter_parse_place(const char *text, char *ret_topic, int32_t *ret_partition, int64_t *ret_offset);

/* One line, without a line end, at most `columns` wide. */
void letter_show_line(struct buffer *out, const struct letter *letter, int columns);
/* Everything. */
void letter_show(struct buffer *out, const struct terminal *terminal, const struct letter *letter);
/* As a JSON object; with_payload: with key, value and headers. Bytes that are not UTF-8 come as "…_base64". */
void letter_render(struct buffer *out, const struct letter *letter, bool with_payload);

/* Whether and whither the letter can be replayed: its origin must be a request topic under one of the settings' prefixes (a letter
 * must not choose any topic at all). False with the reason. *ret_prefix is borrowed. */
bool letter_destination(const struct letter *letter, const struct settings *settings, char *ret_topic,
                        struct topic_meaning *ret_meaning, const char **ret_reason);

#endif
