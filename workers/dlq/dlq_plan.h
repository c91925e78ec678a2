/* What a replay would do: which letters go, which are parked or refused, and what that costs. Pure but for what it prints. */
#ifndef WORKERS_DLQ_DLQ_PLAN_H
#define WORKERS_DLQ_DLQ_PLAN_H

#include "workers/dlq/dlq_estimate.h"
#include "workers/dlq/dlq_letter.h"

enum { REPLAYS_MAX_OTHERWISE = 3, PLAN_GROUPS_MAX = 512, PLAN_NAME_BYTES = 160 };

struct replay_rules {
        const struct settings *settings;
        unsigned states; /* bit mask: of letters in these states */
        const char *to;  /* NULL: where each came from */
        struct topic_meaning to_meaning;
        int64_t replays_max;
};

/* Reads --to and --replays-max; data.schema: --to is no request topic of this configuration. */
int replay_rules_read(struct replay_rules *rules, const struct arguments *arguments, const struct settings *settings,
                      struct error *err);

enum replay_choice { REPLAY_GO, REPLAY_PARK, REPLAY_REFUSE };
/* GO: *ret_topic (TOPIC_NAME_BYTES) and *ret_meaning say where to. Else the reason. */
enum replay_choice replay_choose(const struct replay_rules *rules, const struct letter *letter, char *ret_topic,
                                 struct topic_meaning *ret_meaning, const char **ret_reason);

struct plan_group {
        char class[PLAN_NAME_BYTES], code[PLAN_NAME_BYTES], tenant[PLAN_NAME_BYTES]; /* harmless text */
        int64_t letters, input_tokens, output_tokens;
        double usd;
        bool fails_again;
};

/* Start from a zeroed one, on the heap: 260 KB. */
struct replay_plan {
        struct plan_group groups[PLAN_GROUPS_MAX + 1]; /* the last one: whatever finds no room */
        size_t group_count;
        int64_t letters, parked, refused, fail_again, unreadable, input_tokens, output_tokens;
        double usd;
};

/* A letter that would go. False: no memory. */
bool replay_plan_add(struct replay_plan *plan, const struct letter *letter, const struct settings *settings, enum lane lane);
/* rate: letters a second. Sorts the groups. */
void replay_plan_print(struct replay_plan *plan, double rate, bool json);

#endif
