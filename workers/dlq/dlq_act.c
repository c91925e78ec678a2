#include "workers/dlq/dlq_act.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "config/base/clock.h"
#include "config/base/own.h"
#include "config/base/utf8.h"

enum { VALUE_BYTES_MAX = 4096, ENSURE_MS = 20000, NAME_BYTES = 80 };

void dlq_act_caller(char by[ACT_BY_BYTES])
{
        const char *sudo = geteuid() == 0 ? getenv("SUDO_USER") : NULL;
        char host[NAME_BYTES] = "", room[1024];
        struct passwd entry, *found = NULL;

        if (gethostname(host, sizeof host - 1) != 0 || !host[0])
                snprintf(host, sizeof host, "localhost");
        host[sizeof host - 1] = '\0';
        if (sudo && sudo[0])
                snprintf(by, ACT_BY_BYTES, "%.80s@%s", sudo, host);
        else if (getpwuid_r(geteuid(), &entry, room, sizeof room, &found) == 0 && found)
                snprintf(by, ACT_BY_BYTES, "%.80s@%s", found->pw_name, host);
        else
                snprintf(by, ACT_BY_BYTES, "uid %lu@%s", (unsigned long)geteuid(), host);
        if (!utf8_valid(span_of(by)))
                snprintf(by, ACT_BY_BYTES, "uid %lu", (unsigned long)geteuid());
}

/* r-20261120T100000-3f9a01c2 */
static void make_id(char id[ACT_ID_BYTES])
{
        char when[CLOCK_RFC3339_BYTES];
        uint32_t chance = 0;

        clock_format_rfc3339(clock_wall_ms(), when);
        if (getrandom(&chance, sizeof chance, 0) != sizeof chance)
                chance = (uint32_t)clock_now_us();
        snprintf(id, ACT_ID_BYTES, "r-%.4s%.2s%.5s%.2s%.2s-%08" PRIx32, when, when + 5, when + 8, when + 14, when + 17, chance);
}

int dlq_act_begin(struct dlq_act *act, const struct arguments *arguments, const struct settings *settings, bool is_replay,
                  struct error *err)
{
        const char *by = argument_string(arguments, "by");

        *act = (struct dlq_act){.count = 0};
        if (topic_dlq_state(act->topic, settings->kafka.prefix) < 0)
                return error_set(err, CODE_SCHEMA, "a topic's name is too long; shorten kafka.prefix");
        if (by && !utf8_valid(span_of(by)))
                return error_set(err, CODE_SCHEMA, "--by: must be UTF-8");
        if (by)
                snprintf(act->by, sizeof act->by, "%s", by);
        else
                dlq_act_caller(act->by);
        if (is_replay)
                make_id(act->id);
        return 0;
}

int dlq_act_ensure(const struct dlq_act *act, const struct settings *settings, bool *ret_mock, struct error *err)
{
        struct topic_wanted wanted = {.role = TOPIC_DLQ_STATE, .partitions = settings->kafka.partitions};

        memcpy(wanted.name, act->topic, sizeof wanted.name);
        return topics_ensure(settings, &wanted, 1, ENSURE_MS, ret_mock, err);
}

static void put_member(struct buffer *out, const char *name, const char *text)
{
        if (!text || !text[0])
                return;
        buffer_printf(out, ",\"%s\":", name);
        buffer_json_string(out, span_of(text));
}

void dlq_act_record(const struct dlq_act *act, struct arena *arena, const struct letter *letter, enum letter_state state,
                    const char *to, const char *reason, struct outgoing *ret_outgoing)
{
        char when[CLOCK_RFC3339_BYTES];
        AUTO_BUFFER value = {0};
        const char *key = arena_printf(arena, "%s:%d:%" PRId64, letter->record->topic, (int)letter->record->partition,
                                       letter->record->offset);
        const char *text;

        buffer_init(&value, VALUE_BYTES_MAX);
        clock_format_rfc3339(clock_wall_ms(), when);
        buffer_printf(&value, "{\"v\":1,\"state\":\"%s\",\"by\":", letter_state_names[state]);
        buffer_json_string(&value, span_of(act->by));
        buffer_printf(&value, ",\"at\":\"%s\",\"count\":%" PRId64 ",\"timestamp\":%" PRId64, when, act->count,
                      letter->record->timestamp_ms);
        put_member(&value, "replay", act->id);
        if (act->id[0])
                buffer_printf(&value, ",\"replays\":%" PRId64, letter->replays + (state == LETTER_REPLAYED));
        put_member(&value, "to", to);
        put_member(&value, "reason", reason);
        buffer_char(&value, '}');
        text = buffer_ok(&value) ? arena_copy(arena, buffer_view(&value)) : NULL;
        *ret_outgoing = (struct outgoing){
                .topic = act->topic, .partition = -1, .key = span_of(key ? key : ""), .value = span_of(text ? text : "")};
}
