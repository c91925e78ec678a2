/* A place's tag is 1 + its state (0: the record was a tombstone), `at` the time of the state, `number` the letter's timestamp. */
#include "workers/dlq/dlq_states.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "config/base/strict_json.h"
#include "config/base/utf8.h"

enum { PARTITIONS_MAX = 4096, VALUE_BYTES_MAX = 16384, KEY_BYTES = TOPIC_NAME_BYTES + 32, DEPTH = 4, TIMEOUT_MS = 60000 };

struct dlq_states {
        char topic[TOPIC_NAME_BYTES];
        struct places *places;
        int64_t next[PARTITIONS_MAX]; /* where each partition is read on from */
        const char *watched;          /* NULL: none; borrowed */
        struct buffer watched_value;
        int64_t strange;
        bool full, take_part;
};

struct dlq_states *dlq_states_new(const struct settings *settings, struct error *err)
{
        struct dlq_states *states = calloc(1, sizeof *states);

        if (states) {
                buffer_init(&states->watched_value, VALUE_BYTES_MAX + 1);
                states->places = places_new(STATES_MAX);
        }
        if (!states || !states->places)
                error_set(err, CODE_INTERNAL, "out of memory");
        else if (topic_dlq_state(states->topic, settings->kafka.prefix) == 0)
                return states;
        else
                error_set(err, CODE_SCHEMA, "a topic's name is too long; shorten kafka.prefix");
        dlq_states_free(states);
        return NULL;
}

void dlq_states_free(struct dlq_states *states)
{
        if (!states)
                return;
        places_free(states->places);
        buffer_fini(&states->watched_value);
        free(states);
}

/* The state that the value names; LETTER_STATES: none. */
static enum letter_state read_value(struct span value, int64_t *ret_at_ms, int64_t *ret_timestamp_ms)
{
        enum letter_state state = LETTER_STATES;
        const char *text;
        struct error err;
        json_t *tree;

        if (value.len > VALUE_BYTES_MAX || !utf8_valid(value) || !(tree = strict_parse(value, DEPTH, &err)))
                return LETTER_STATES;
        *ret_at_ms = 0;
        *ret_timestamp_ms = -1;
        text = json_string_value(json_object_get(tree, "state"));
        for (int i = 0; text && i < LETTER_STATES; i++)
                if (strcmp(text, letter_state_names[i]) == 0)
                        state = (enum letter_state)i;
        text = json_string_value(json_object_get(tree, "at"));
        if (text)
                clock_parse_rfc3339(span_of(text), false, ret_at_ms);
        if (json_is_integer(json_object_get(tree, "timestamp")))
                *ret_timestamp_ms = json_integer_value(json_object_get(tree, "timestamp"));
        json_decref(tree);
        return state;
}

bool dlq_states_apply(struct dlq_states *states, const char *key, struct span value)
{
        char topic[TOPIC_NAME_BYTES];
        enum letter_state state = LETTER_OPEN;
        int64_t offset, at_ms = 0, timestamp_ms = -1;
        int32_t partition;
        struct place *place;

        if (!letter_parse_place(key, topic, &partition, &offset) ||
            (value.data && (state = read_value(value, &at_ms, &timestamp_ms)) == LETTER_STATES)) {
                states->strange++;
                return true;
        }
        if (states->watched && strcmp(states->watched, key) == 0) {
                buffer_reset(&states->watched_value);
                buffer_span(&states->watched_value, value);
        }
        if (!value.data && !places_find(states->places, topic, partition, offset))
                return true;
        place = places_put(states->places, topic, partition, offset);
        if (!place)
                return false;
        place->tag = value.data ? (uint8_t)(1 + state) : 0;
        place->at = at_ms;
        place->number = timestamp_ms;
        return true;
}

static bool on_record(void *user, const struct record *record)
{
        struct dlq_states *states = user;
        char key[KEY_BYTES];

        if (record->partition >= 0 && record->partition < PARTITIONS_MAX)
                states->next[record->partition] = record->offset + 1;
        if (!record->key.data || record->key.len >= sizeof key) {
                states->strange++;
                return true;
        }
        memcpy(key, record->key.data, record->key.len);
        key[record->key.len] = '\0';
        states->full = !dlq_states_apply(states, key, record->value);
        return !states->full;
}

int dlq_states_read(struct dlq_states *states, struct kafka_client *kafka, struct error *err)
{
        if (kafka_read_topic(kafka, states->topic, -1, states->next, on_record, states, TIMEOUT_MS, err) < 0)
                return -1;
        if (states->full && !states->take_part)
                return error_set(err, CODE_TOO_LARGE,
                                 "%.120s has more than %d letters, or memory is out; millrace dlq purge --all clears up",
                                 states->topic, STATES_MAX);
        return 0;
}

enum letter_state dlq_states_of(const struct dlq_states *states, const char *topic, int32_t partition, int64_t offset,
                                int64_t timestamp_ms, int64_t *ret_at_ms)
{
        const struct place *place = places_find(states->places, topic, partition, offset);

        if (ret_at_ms)
                *ret_at_ms = 0;
        if (!place || place->tag == 0 || (place->number >= 0 && timestamp_ms >= 0 && place->number != timestamp_ms))
                return LETTER_OPEN;
        if (ret_at_ms)
                *ret_at_ms = place->at;
        return (enum letter_state)(place->tag - 1);
}

void dlq_states_tell(const struct dlq_states *states, struct letter *letter)
{
        if (states)
                letter->state = dlq_states_of(states, letter->record->topic, letter->record->partition, letter->record->offset,
                                              letter->record->timestamp_ms, &letter->state_wall_ms);
}

void dlq_states_take_part(struct dlq_states *states)
{
        states->take_part = true;
}

void dlq_states_watch(struct dlq_states *states, const char *place)
{
        states->watched = place;
}

struct span dlq_states_watched(const struct dlq_states *states)
{
        return buffer_view(&states->watched_value);
}

const struct places *dlq_states_places(const struct dlq_states *states)
{
        return states->places;
}

int64_t dlq_states_strange(const struct dlq_states *states)
{
        return states->strange;
}
