#include "workers/dlq/dlq_letter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/clock.h"
#include "config/base/digest.h"
#include "config/base/own.h"
#include "config/base/utf8.h"
#include "queues/envelope.h"

enum { COORDINATES_BYTES = 300, PAYLOAD_SHOWN_MAX = 1 << 20 };

const char *const letter_state_names[LETTER_STATES] = {"open", "replayed", "parked", "purged"};

static struct span header(const struct record *record, const char *name)
{
        struct span value;

        return record_header(record, name, &value) ? value : (struct span){NULL, 0};
}

static int64_t integer(struct span text)
{
        char digits[24], *end;
        long long value;

        if (!text.data || text.len == 0 || text.len >= sizeof digits)
                return 0;
        memcpy(digits, text.data, text.len);
        digits[text.len] = '\0';
        value = strtoll(digits, &end, 10);
        return *end || value < 0 ? 0 : value;
}

void letter_read(struct letter *letter, const struct record *record, enum kind kind)
{
        int64_t replays;

        *letter = (struct letter){.record = record, .kind = kind, .failed_wall_ms = record->timestamp_ms};
        letter->class = header(record, "mr-dlq-error-class");
        letter->code = header(record, "mr-dlq-error-code");
        letter->message = header(record, "mr-dlq-error-message");
        letter->attempts = integer(header(record, "mr-dlq-attempts"));
        letter->replays = integer(header(record, "mr-dlq-replays"));
        replays = integer(header(record, "mr-replays"));
        if (replays > letter->replays)
                letter->replays = replays;
        letter->original_topic = header(record, "mr-dlq-original-topic");
        letter->step = integer(header(record, "mr-dlq-step"));
        clock_parse_rfc3339(header(record, "mr-dlq-failed-at"), false, &letter->failed_wall_ms);
        if (!record->value.data || !envelope_peek(record->value, &letter->id, &letter->tenant))
                letter->id = letter->tenant = (struct span){"", 0};
}

void letter_filter_read(struct letter_filter *filter, const struct arguments *arguments)
{
        *filter = (struct letter_filter){
                .kinds = (uint64_t)argument_integer(arguments, "kind", 0),
                .class = argument_string(arguments, "class"),
                .code = argument_string(arguments, "code"),
                .tenant = argument_string(arguments, "tenant"),
                .grep = argument_string(arguments, "grep"),
                .since_ms = argument_integer(arguments, "since", 0),
                .until_ms = argument_integer(arguments, "until", 0),
        };
        filter->states = (unsigned)argument_integer(arguments, "state", 0);
        if (filter->states >> LETTER_STATES)
                filter->states = LETTER_ANY_STATE;
}

static bool contains(struct span text, const char *what)
{
        return text.data && memmem(text.data, text.len, what, strlen(what)) != NULL;
}

bool letter_matches(const struct letter *letter, const struct letter_filter *filter)
{
        if (filter->kinds && !(filter->kinds >> letter->kind & 1))
                return false;
        if (filter->states && !(filter->states >> letter->state & 1))
                return false;
        if (filter->class && !span_is(letter->class, filter->class))
                return false;
        if (filter->code && !span_is(letter->code, filter->code))
                return false;
        if (filter->tenant && !span_is(letter->tenant, filter->tenant))
                return false;
        if ((filter->since_ms && letter->failed_wall_ms < filter->since_ms) ||
            (filter->until_ms && letter->failed_wall_ms >= filter->until_ms))
                return false;
        return !filter->grep || contains(letter->record->value, filter->grep) || contains(letter->record->key, filter->grep) ||
               contains(letter->message, filter->grep);
}

bool letter_parse_place(const char *text, char *ret_topic, int32_t *ret_partition, int64_t *ret_offset)
{
        const char *last = strrchr(text, ':'), *middle = last ? memrchr(text, ':', (size_t)(last - text)) : NULL;
        char *end;
        long long partition, offset;

        if (!middle || middle == text || middle - text >= TOPIC_NAME_BYTES)
                return false;
        partition = strtoll(middle + 1, &end, 10);
        if (end != last || end == middle + 1 || partition < 0 || partition > INT32_MAX)
                return false;
        offset = strtoll(last + 1, &end, 10);
        if (*end || end == last + 1 || offset < 0)
                return false;
        snprintf(ret_topic, TOPIC_NAME_BYTES, "%.*s", (int)(middle - text), text);
        *ret_partition = (int32_t)partition;
        *ret_offset = offset;
        return true;
}

static void place(const struct letter *letter, char text[COORDINATES_BYTES])
{
        snprintf(text, COORDINATES_BYTES, "%s:%d:%" PRId64, letter->record->topic, (int)letter->record->partition,
                 letter->record->offset);
}

void letter_show_line(struct buffer *out, const struct letter *letter, int columns)
{
        char coordinates[COORDINATES_BYTES], when[CLOCK_RFC3339_BYTES], error[80];
        int used;

        place(letter, coordinates);
        clock_format_rfc3339(letter->failed_wall_ms, when);
        when[19] = '\0'; /* to the second */
        snprintf(error, sizeof error, "%.*s.%.*s", (int)(letter->class.len < 16 ? letter->class.len : 16),
                 letter->class.data ? letter->class.data : "?", (int)(letter->code.len < 32 ? letter->code.len : 32),
                 letter->code.data ? letter->code.data : "?");
        buffer_printf(out, "%-28s  %sZ  %-8s  ", coordinates, when, letter_state_names[letter->state]);
        used = terminal_line(out, span_of(error), 28);
        buffer_printf(out, "%*s  %3" PRId64 "  ", used < 24 ? 24 - used : 0, "", letter->attempts);
        used = letter->id.len > 0 ? terminal_line(out, letter->id, 40) : terminal_line(out, SPAN("(no id)"), 40);
        buffer_printf(out, "%*s  ", used < 24 ? 24 - used : 0, "");
        if (columns > 130)
                terminal_line(out, letter->message.data ? letter->message : SPAN(""), columns - 122);
}

static void show_row(struct buffer *out, const char *name, struct span value)
{
        buffer_string(out, "  ");
        buffer_printf(out, "%*s", 30 - terminal_line(out, span_of(name), 30), "");
        buffer_string(out, " ");
        if (value.data)
                terminal_line(out, value, 2000);
        else
                buffer_string(out, "(null)");
        buffer_char(out, '\n');
}

void letter_show(struct buffer *out, const struct terminal *terminal, const struct letter *letter)
{
        struct span payload = letter->record->value, value;
        char coordinates[COORDINATES_BYTES];
        const char *name;

        place(letter, coordinates);
        terminal_tone(out, terminal, TONE_BOLD);
        buffer_string(out, coordinates);
        terminal_tone(out, terminal, TONE_PLAIN);
        buffer_string(out, "\n\nHeaders\n");
        for (size_t i = 0; record_header_at(letter->record, i, &name, &value); i++)
                show_row(out, name, value);
        buffer_string(out, "\nKey\n  ");
        if (letter->record->key.data)
                terminal_line(out, letter->record->key, 2000);
        else
                buffer_string(out, "(null)");
        buffer_printf(out, "\n\nValue, %zu bytes\n", payload.len);
        if (!payload.data) {
                buffer_string(out, "  (null)\n");
                return;
        }
        if (payload.len > PAYLOAD_SHOWN_MAX)
                payload.len = PAYLOAD_SHOWN_MAX;
        terminal_paragraph(out, terminal, payload, 2);
        if (payload.len < letter->record->value.len)
                buffer_string(out, "  … (dlq export gives all of it)\n");
}

/* "name": "text", or "name_base64" where it is not UTF-8; null where there is none. */
static void render_bytes(struct buffer *out, const char *name, struct span bytes)
{
        char *room;

        if (!bytes.data) {
                buffer_printf(out, "\"%s\":null", name);
        } else if (utf8_valid(bytes)) {
                buffer_printf(out, "\"%s\":", name);
                buffer_json_string(out, bytes);
        } else {
                buffer_printf(out, "\"%s_base64\":\"", name);
                room = buffer_reserve(out, digest_base64_bytes(bytes.len));
                if (room) {
                        digest_base64_encode(bytes.data, bytes.len, room);
                        buffer_advance(out, digest_base64_bytes(bytes.len));
                }
                buffer_char(out, '"');
        }
}

static void render_headers(struct buffer *out, const struct record *record)
{
        struct span value;
        const char *name;

        buffer_string(out, ",\"headers\":[");
        for (size_t i = 0; record_header_at(record, i, &name, &value); i++) {
                buffer_string(out, i > 0 ? ",{" : "{");
                render_bytes(out, "name", span_of(name));
                buffer_char(out, ',');
                render_bytes(out, "value", value);
                buffer_char(out, '}');
        }
        buffer_char(out, ']');
}

void letter_render(struct buffer *out, const struct letter *letter, bool with_payload)
{
        const struct record *record = letter->record;
        char coordinates[COORDINATES_BYTES], when[CLOCK_RFC3339_BYTES];

        place(letter, coordinates);
        clock_format_rfc3339(letter->failed_wall_ms, when);
        buffer_printf(out, "{\"at\":\"%s\",\"topic\":\"%s\",\"partition\":%d,\"offset\":%" PRId64 ",\"timestamp\":%" PRId64,
                      coordinates, record->topic, (int)record->partition, record->offset, record->timestamp_ms);
        buffer_printf(out, ",\"kind\":\"%s\",\"failed_at\":\"%s\",\"state\":\"%s\",", kind_names[letter->kind], when,
                      letter_state_names[letter->state]);
        if (letter->state_wall_ms > 0) {
                clock_format_rfc3339(letter->state_wall_ms, when);
                buffer_printf(out, "\"state_at\":\"%s\",", when);
        }
        render_bytes(out, "class", letter->class);
        buffer_char(out, ',');
        render_bytes(out, "code", letter->code);
        buffer_char(out, ',');
        render_bytes(out, "message", letter->message);
        buffer_printf(out, ",\"attempts\":%" PRId64 ",\"replays\":%" PRId64 ",", letter->attempts, letter->replays);
        render_bytes(out, "id", letter->id.len > 0 ? letter->id : (struct span){NULL, 0});
        buffer_char(out, ',');
        render_bytes(out, "tenant", letter->tenant.len > 0 ? letter->tenant : (struct span){NULL, 0});
        buffer_char(out, ',');
        render_bytes(out, "original_topic", letter->original_topic);
        if (with_payload) {
                buffer_char(out, ',');
                render_bytes(out, "key", record->key);
                buffer_char(out, ',');
                render_bytes(out, "value", record->value);
                render_headers(out, record);
        }
        buffer_char(out, '}');
}

static bool is_request_topic(const char *topic, const char *prefix, struct topic_meaning *ret_meaning)
{
        return prefix && topic_parse(topic, prefix, ret_meaning) && ret_meaning->role == TOPIC_REQUEST;
}

bool letter_destination(const struct letter *letter, const struct settings *settings, char *ret_topic,
                        struct topic_meaning *ret_meaning, const char **ret_reason)
{
        const struct span topic = letter->original_topic;

        *ret_reason = "it does not say which topic it came from";
        if (!topic.data || topic.len == 0 || topic.len >= TOPIC_NAME_BYTES || memchr(topic.data, '\0', topic.len))
                return false;
        memcpy(ret_topic, topic.data, topic.len);
        ret_topic[topic.len] = '\0';
        *ret_reason = "its payload is not in the letter";
        if (!letter->record->value.data)
                return false;
        if (is_request_topic(ret_topic, settings->kafka.prefix, ret_meaning))
                return true;
        for (size_t i = 0; i < settings->tenant_count; i++)
                if (is_request_topic(ret_topic, settings->tenants[i].prefix, ret_meaning))
                        return true;
        *ret_reason = "it says it came from a topic that is no request topic of this configuration";
        return false;
}
