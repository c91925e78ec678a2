#include "workers/dlq/dlq_walk.h"

#include <string.h>

#include "workers/cli/client_settings.h"

enum { READ_TIMEOUT_MS = 60000, FIND_TIMEOUT_MS = 15000 };

struct visit {
        const struct dlq_walk *walk;
        enum kind kind;
        bool (*on_letter)(void *user, const struct letter *letter);
        void *user;
        bool stopped;
};

static bool on_record(void *user, const struct record *record)
{
        struct visit *visit = user;
        struct letter letter;

        letter_read(&letter, record, visit->kind);
        dlq_states_tell(visit->walk->states, &letter);
        if (letter_matches(&letter, &visit->walk->filter))
                visit->stopped = !visit->on_letter(visit->user, &letter);
        return !visit->stopped;
}

/* Is the tenant's prefix another than the common one and those of the tenants before it? */
static bool is_new_prefix(const struct settings *settings, size_t tenant)
{
        const char *prefix = settings->tenants[tenant].prefix;

        if (!prefix || strcmp(prefix, settings->kafka.prefix) == 0)
                return false;
        for (size_t i = 0; i < tenant; i++)
                if (settings->tenants[i].prefix && strcmp(settings->tenants[i].prefix, prefix) == 0)
                        return false;
        return true;
}

static int walk_topic(const struct dlq_walk *walk, const char *prefix, struct visit *visit, struct error *err)
{
        char topic[TOPIC_NAME_BYTES];

        if (topic_dlq(topic, prefix, visit->kind) < 0)
                return error_set(err, CODE_SCHEMA, "a topic's name is too long; shorten kafka.prefix");
        return kafka_read_topic(walk->kafka, topic, -1, NULL, on_record, visit, READ_TIMEOUT_MS, err);
}

int dlq_walk(const struct dlq_walk *walk, bool (*on_letter)(void *user, const struct letter *letter), void *user, struct error *err)
{
        struct visit visit = {.walk = walk, .on_letter = on_letter, .user = user};

        for (int kind = 0; kind < KIND_COUNT && !visit.stopped; kind++) {
                if (walk->filter.kinds && !(walk->filter.kinds >> kind & 1))
                        continue;
                visit.kind = (enum kind)kind;
                if (walk_topic(walk, walk->settings->kafka.prefix, &visit, err) < 0)
                        return -1;
                for (size_t i = 0; i < walk->settings->tenant_count && !visit.stopped; i++)
                        if (is_new_prefix(walk->settings, i) &&
                            walk_topic(walk, walk->settings->tenants[i].prefix, &visit, err) < 0)
                                return -1;
        }
        return 0;
}

static void on_found(void *user, const struct record *record)
{
        struct visit *visit = user;
        struct letter letter;

        letter_read(&letter, record, visit->kind);
        dlq_states_tell(visit->walk->states, &letter);
        visit->stopped = !visit->on_letter(visit->user, &letter);
}

/* The kind whose dlq the topic is, under any of the settings' prefixes; -1: it is none. */
static int kind_of_dlq(const struct settings *settings, const char *topic)
{
        struct topic_meaning meaning;

        if (topic_parse(topic, settings->kafka.prefix, &meaning) && meaning.role == TOPIC_DLQ)
                return (int)meaning.kind;
        for (size_t i = 0; i < settings->tenant_count; i++)
                if (settings->tenants[i].prefix && topic_parse(topic, settings->tenants[i].prefix, &meaning) &&
                    meaning.role == TOPIC_DLQ)
                        return (int)meaning.kind;
        return -1;
}

int dlq_find(const struct dlq_walk *walk, const char *place, bool (*on_letter)(void *user, const struct letter *letter), void *user,
             bool *ret_found, struct error *err)
{
        struct visit visit = {.walk = walk, .on_letter = on_letter, .user = user};
        char topic[TOPIC_NAME_BYTES];
        int32_t partition;
        int64_t offset;
        int kind;

        if (!letter_parse_place(place, topic, &partition, &offset))
                return error_set(err, CODE_SCHEMA, "a letter is named as dlq ls names it: TOPIC:PARTITION:OFFSET");
        kind = kind_of_dlq(walk->settings, topic);
        if (kind < 0)
                return error_set(err, CODE_SCHEMA,
                                 "that is no dead letter topic of this configuration; they are called %s.<kind>.dlq",
                                 walk->settings->kafka.prefix);
        visit.kind = (enum kind)kind;
        return kafka_read_record(walk->kafka, topic, partition, offset, on_found, &visit, FIND_TIMEOUT_MS, ret_found, err);
}

struct each {
        bool (*on_letter)(void *user, const struct letter *letter);
        void *user;
        bool stopped;
};

static bool pass_on(void *user, const struct letter *letter)
{
        struct each *each = user;

        each->stopped = !each->on_letter(each->user, letter);
        return !each->stopped;
}

/* Is the letter named by an earlier word, too? */
static bool is_again(const struct arguments *arguments, size_t word)
{
        char topic[2][TOPIC_NAME_BYTES];
        int32_t partition[2];
        int64_t offset[2];

        if (!letter_parse_place(arguments->words[word], topic[0], &partition[0], &offset[0]))
                return false;
        for (size_t i = 1; i < word; i++)
                if (letter_parse_place(arguments->words[i], topic[1], &partition[1], &offset[1]) && offset[0] == offset[1] &&
                    partition[0] == partition[1] && strcmp(topic[0], topic[1]) == 0)
                        return true;
        return false;
}

int dlq_each(const struct dlq_walk *walk, const struct arguments *arguments,
             bool (*on_letter)(void *user, const struct letter *letter), void *user, int64_t *ret_missing, struct error *err)
{
        struct each each = {.on_letter = on_letter, .user = user};
        bool found;

        if (ret_missing)
                *ret_missing = 0;
        if (arguments->word_count < 2)
                return dlq_walk(walk, on_letter, user, err);
        for (size_t i = 1; i < arguments->word_count && !each.stopped; i++) {
                if (is_again(arguments, i))
                        continue;
                if (dlq_find(walk, arguments->words[i], pass_on, &each, &found, err) < 0)
                        return -1;
                if (!found && ret_missing) {
                        argument_fail(arguments, EXIT_FAILED, "there is no letter %s", arguments->words[i]);
                        ++*ret_missing;
                }
        }
        return 0;
}

int dlq_fail(const struct arguments *arguments, const struct dlq_walk *walk, const struct error *err)
{
        if (err->code == CODE_SCHEMA)
                return argument_fail(arguments, EXIT_USAGE, "%s", err->message);
        return argument_fail(arguments, EXIT_FAILED, "Kafka (%s): %s; --kafka HOST:PORT names another broker",
                             walk->settings->kafka.brokers, err->message);
}
