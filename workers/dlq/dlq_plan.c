#include "workers/dlq/dlq_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/own.h"

enum { LINE_BYTES_MAX = 8192 };

static bool request_topic(const char *topic, const char *prefix, struct topic_meaning *ret_meaning)
{
        return prefix && topic_parse(topic, prefix, ret_meaning) && ret_meaning->role == TOPIC_REQUEST;
}

int replay_rules_read(struct replay_rules *rules, const struct arguments *arguments, const struct settings *settings,
                      struct error *err)
{
        bool found;

        *rules = (struct replay_rules){.settings = settings, .to = argument_string(arguments, "to")};
        rules->replays_max = argument_integer(arguments, "replays-max", REPLAYS_MAX_OTHERWISE);
        if (!rules->to)
                return 0;
        found = request_topic(rules->to, settings->kafka.prefix, &rules->to_meaning);
        for (size_t i = 0; i < settings->tenant_count && !found; i++)
                found = request_topic(rules->to, settings->tenants[i].prefix, &rules->to_meaning);
        return found ? 0
                     : error_set(err, CODE_SCHEMA,
                                 "--to: not a request topic of this configuration; they are called %.100s.<kind>.<lane>",
                                 settings->kafka.prefix);
}

static const char *state_reason(enum letter_state state)
{
        switch (state) {
        case LETTER_OPEN:
                return "it is open, and --state asks for others";
        case LETTER_REPLAYED:
                return "it has been replayed; had that failed, there would be a letter of its own (--state replayed sends it all "
                       "the same)";
        case LETTER_PARKED:
                return "it is parked; --state parked includes those";
        default:
                return "it is purged; millrace dlq purge --undo brings it back";
        }
}

/* "enrich.embed.": as much of a request topic as two lanes share. */
static size_t family_len(const char *topic)
{
        const char *dot = strrchr(topic, '.');

        return dot ? (size_t)(dot - topic) : 0;
}

enum replay_choice replay_choose(const struct replay_rules *rules, const struct letter *letter, char *ret_topic,
                                 struct topic_meaning *ret_meaning, const char **ret_reason)
{
        if (!(rules->states >> letter->state & 1)) {
                *ret_reason = state_reason(letter->state);
                return REPLAY_REFUSE;
        }
        if (!letter_destination(letter, rules->settings, ret_topic, ret_meaning, ret_reason))
                return REPLAY_REFUSE;
        if (rules->to) {
                const size_t len = family_len(rules->to);

                if (family_len(ret_topic) != len || strncmp(ret_topic, rules->to, len) != 0) {
                        *ret_reason = "--to is not of its kind and prefix: only the lane may change";
                        return REPLAY_REFUSE;
                }
                snprintf(ret_topic, TOPIC_NAME_BYTES, "%s", rules->to);
                *ret_meaning = rules->to_meaning;
        }
        *ret_reason = NULL;
        if (letter->replays < rules->replays_max)
                return REPLAY_GO;
        *ret_reason = "it has been replayed as often as --replays-max allows";
        return letter->state == LETTER_PARKED ? REPLAY_REFUSE : REPLAY_PARK;
}

static void copy_name(char to[PLAN_NAME_BYTES], int columns, struct span name)
{
        AUTO_BUFFER shown = {0};

        buffer_init(&shown, 1024);
        terminal_line(&shown, name.data && name.len > 0 ? name : SPAN("?"), columns);
        snprintf(to, PLAN_NAME_BYTES, "%s", shown.data ? shown.data : "?");
}

static struct plan_group *group_of(struct replay_plan *plan, const struct letter *letter, bool fails_again)
{
        struct plan_group wanted = {.fails_again = fails_again}, *group;
        size_t i;

        copy_name(wanted.class, 16, letter->class);
        copy_name(wanted.code, 32, letter->code);
        copy_name(wanted.tenant, 36, letter->tenant);
        for (i = 0; i < plan->group_count; i++) {
                group = &plan->groups[i];
                if (strcmp(group->class, wanted.class) == 0 && strcmp(group->code, wanted.code) == 0 &&
                    strcmp(group->tenant, wanted.tenant) == 0)
                        return group;
        }
        group = &plan->groups[i];
        if (i == PLAN_GROUPS_MAX) {
                wanted = (struct plan_group){.class = "others"};
                if (group->letters > 0)
                        return group;
        } else {
                plan->group_count++;
        }
        *group = wanted;
        return group;
}

bool replay_plan_add(struct replay_plan *plan, const struct letter *letter, const struct settings *settings, enum lane lane)
{
        struct letter_estimate estimate;
        struct plan_group *group;

        if (!letter_estimate(letter, settings, lane, &estimate))
                return false;
        group = group_of(plan, letter, estimate.fails_again);
        group->letters++;
        group->input_tokens += estimate.input_tokens;
        group->output_tokens += estimate.output_tokens;
        group->usd += estimate.usd;
        plan->letters++;
        plan->fail_again += estimate.fails_again;
        plan->unreadable += !estimate.readable;
        plan->input_tokens += estimate.input_tokens;
        plan->output_tokens += estimate.output_tokens;
        plan->usd += estimate.usd;
        return true;
}

static int by_letters(const void *a, const void *b)
{
        const struct plan_group *x = a, *y = b;

        return (y->letters > x->letters) - (y->letters < x->letters);
}

static void render_tokens(struct buffer *out, int64_t input, int64_t output, double usd)
{
        buffer_printf(out,
                      "\"tokens\":{\"input\":%" PRId64 ",\"output\":%" PRId64 "},\"cost\":{\"currency\":\"USD\",\"amount\":", input,
                      output);
        buffer_json_double(out, usd);
        buffer_char(out, '}');
}

static void render_group(struct buffer *out, const struct plan_group *group)
{
        buffer_string(out, "{\"class\":");
        buffer_json_string(out, span_of(group->class));
        buffer_string(out, ",\"code\":");
        buffer_json_string(out, span_of(group->code));
        buffer_string(out, ",\"tenant\":");
        buffer_json_string(out, span_of(group->tenant));
        buffer_printf(out, ",\"letters\":%" PRId64 ",\"fails_again\":%s,", group->letters, group->fails_again ? "true" : "false");
        render_tokens(out, group->input_tokens, group->output_tokens, group->usd);
        buffer_char(out, '}');
}

static void print_json(const struct replay_plan *plan, size_t rows, double rate)
{
        AUTO_BUFFER out = {0};

        buffer_init(&out, (rows + 1) * LINE_BYTES_MAX);
        buffer_printf(&out, "{\"dry_run\":true,\"letters\":%" PRId64 ",\"parked\":%" PRId64 ",\"refused\":%" PRId64 ",\"groups\":[",
                      plan->letters, plan->parked, plan->refused);
        for (size_t i = 0; i < rows; i++) {
                buffer_string(&out, i > 0 ? "," : "");
                render_group(&out, &plan->groups[i]);
        }
        buffer_string(&out, "],");
        render_tokens(&out, plan->input_tokens, plan->output_tokens, plan->usd);
        buffer_printf(&out, ",\"unreadable\":%" PRId64 ",\"fail_again\":{\"letters\":%" PRId64 ",\"share\":", plan->unreadable,
                      plan->fail_again);
        buffer_json_double(&out, plan->letters > 0 ? (double)plan->fail_again / (double)plan->letters : 0);
        buffer_string(&out, "},\"rate\":");
        buffer_json_double(&out, rate);
        buffer_string(&out, ",\"seconds\":");
        buffer_json_double(&out, (double)plan->letters / rate);
        buffer_string(&out, "}\n");
        fputs(buffer_ok(&out) && out.data ? out.data : "", stdout);
}

static void print_text(const struct replay_plan *plan, size_t rows, double rate)
{
        char letters[32], input[32], output[32], time[32], error[2 * PLAN_NAME_BYTES + 2];

        if (rows > 0)
                printf("%-34s  %-20s %9s %14s %12s  %s\n", "error", "tenant", "letters", "tokens", "USD", "fails again");
        for (size_t i = 0; i < rows; i++) {
                const struct plan_group *group = &plan->groups[i];

                snprintf(error, sizeof error, "%s.%s", group->class, group->code);
                printf("%-34s  %-20s %9" PRId64 " %14" PRId64 " %12.6f  %s\n", error, group->tenant, group->letters,
                       group->input_tokens + group->output_tokens, group->usd, group->fails_again ? "yes" : "");
        }
        terminal_count(letters, sizeof letters, plan->letters);
        terminal_count(input, sizeof input, plan->input_tokens);
        terminal_count(output, sizeof output, plan->output_tokens);
        terminal_duration(time, sizeof time, (int64_t)((double)plan->letters * 1000 / rate));
        printf("%s letter%s would be replayed", letters, plan->letters == 1 ? "" : "s");
        if (plan->letters > 0)
                printf(": up to %s tokens in and %s out, about %.6f USD; %.0f %% would fail again; %s at %g a second", input,
                       output, plan->usd, 100.0 * (double)plan->fail_again / (double)plan->letters, time, rate);
        printf("\n");
        if (plan->parked > 0)
                printf("%" PRId64 " would be parked, having been replayed --replays-max times\n", plan->parked);
        if (plan->refused > 0)
                printf("%" PRId64 " can't be replayed\n", plan->refused);
}

void replay_plan_print(struct replay_plan *plan, double rate, bool json)
{
        const size_t rows = plan->group_count + (plan->groups[PLAN_GROUPS_MAX].letters > 0);

        qsort(plan->groups, plan->group_count, sizeof plan->groups[0], by_letters);
        if (json)
                print_json(plan, rows, rate);
        else
                print_text(plan, rows, rate);
}
