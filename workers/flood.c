#include "workers/flood.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64, SLOTS = 12, INTERVAL_MIN_MS = 1000, INTERVAL_MAX_MS = 15000, WAIT_MIN_MS = 50, PROBING_WAIT_MS = 250 };

struct slot {
        int64_t turn; /* which twelfth of a window since the clock's zero, plus 1; 0: never used */
        uint64_t failures, ends;
};

struct entry {
        enum kind kind;
        char provider[NAME_BYTES + 1];
        uint64_t used; /* when last, in look-ups */
        struct slot slots[SLOTS];
        bool tripped;
        int64_t since, opened; /* when it tripped, and opened, last; opened -1: never */
        uint64_t failures, ends, probes;
        int64_t interval_ms, next_probe;
        uint64_t probe; /* the one under way; 0: none */
        int64_t probe_until;
};

struct flood {
        double ratio;
        uint64_t min;
        int64_t window_ms;
        uint64_t uses, last_probe;
        size_t count;
        struct entry entries[FLOOD_ENTRIES_MAX];
};

struct flood *flood_new(void)
{
        struct flood *flood = calloc(1, sizeof *flood);

        if (!flood)
                return NULL;
        flood->ratio = 0.5;
        flood->min = 100;
        flood->window_ms = 60000;
        return flood;
}

void flood_free(struct flood *flood)
{
        free(flood);
}

void flood_configure(struct flood *flood, const struct settings *settings)
{
        int64_t window_ms = settings->flood.window_s * 1000;

        flood->ratio = settings->flood.ratio;
        flood->min = settings->flood.min > 0 ? (uint64_t)settings->flood.min : 1;
        if (window_ms == flood->window_ms)
                return;
        flood->window_ms = window_ms; /* its twelfths are others now: count anew */
        for (size_t i = 0; i < flood->count; i++)
                memset(flood->entries[i].slots, 0, sizeof flood->entries[i].slots);
}

enum flood_end flood_end_of(enum error_code code)
{
        if (code == CODE_NONE)
                return FLOOD_OK;
        return error_code_class(code) == ERR_DEPENDENCY || code == CODE_INTERNAL ? FLOOD_FAILED : FLOOD_SILENT;
}

/* ---- the table ---- */

static struct entry *find(const struct flood *flood, enum kind kind, const char *provider)
{
        for (size_t i = 0; i < flood->count; i++) {
                const struct entry *entry = &flood->entries[i];

                if (entry->kind == kind && strncmp(entry->provider, provider, NAME_BYTES) == 0)
                        return (struct entry *)entry;
        }
        return NULL;
}

/* A place for a new one: free, or of the least recently used; of a tripped one only where all have tripped. */
static struct entry *make_room(struct flood *flood)
{
        struct entry *oldest = &flood->entries[0];

        if (flood->count < FLOOD_ENTRIES_MAX)
                return &flood->entries[flood->count++];
        for (size_t i = 1; i < flood->count; i++) {
                struct entry *entry = &flood->entries[i];

                if (entry->tripped != oldest->tripped ? oldest->tripped : entry->used < oldest->used)
                        oldest = entry;
        }
        return oldest;
}

static struct entry *find_or_make(struct flood *flood, enum kind kind, const char *provider)
{
        struct entry *entry = find(flood, kind, provider);

        if (!entry) {
                entry = make_room(flood);
                *entry = (struct entry){.kind = kind, .opened = -1, .interval_ms = INTERVAL_MIN_MS};
                memcpy(entry->provider, provider, strnlen(provider, NAME_BYTES));
        }
        entry->used = ++flood->uses;
        return entry;
}

/* ---- counting ---- */

static int64_t turn_of(const struct flood *flood, int64_t now)
{
        int64_t slot_ms = flood->window_ms / SLOTS;

        return (now > 0 ? now : 0) / (slot_ms > 0 ? slot_ms : 1) + 1;
}

static void count(struct flood *flood, struct entry *entry, bool failed, int64_t now)
{
        int64_t turn = turn_of(flood, now);
        struct slot *slot = &entry->slots[turn % SLOTS];

        if (slot->turn != turn)
                *slot = (struct slot){.turn = turn};
        slot->ends++;
        slot->failures += failed;
}

static void sum(const struct flood *flood, const struct entry *entry, int64_t now, uint64_t *ret_failures, uint64_t *ret_ends)
{
        int64_t turn = turn_of(flood, now);

        *ret_failures = *ret_ends = 0;
        for (size_t i = 0; i < SLOTS; i++) {
                const struct slot *slot = &entry->slots[i];

                if (!slot->turn || slot->turn > turn || slot->turn <= turn - SLOTS)
                        continue;
                *ret_failures += slot->failures;
                *ret_ends += slot->ends;
        }
}

static void trip(struct flood *flood, struct entry *entry, int64_t now)
{
        /* One that opened a moment ago is not well: its probes go on where they were. */
        if (entry->opened < 0 || now - entry->opened > flood->window_ms)
                entry->interval_ms = INTERVAL_MIN_MS;
        entry->tripped = true;
        entry->since = now;
        entry->next_probe = now + entry->interval_ms;
        entry->probes = entry->probe = 0;
}

bool flood_note(struct flood *flood, enum kind kind, const char *provider, enum flood_end end, int64_t now)
{
        struct entry *entry;
        uint64_t failures, ends;

        if (end == FLOOD_SILENT)
                return false;
        entry = find_or_make(flood, kind, provider);
        if (entry->tripped) { /* what was under way when it tripped: shown, but only a probe opens */
                entry->ends++;
                entry->failures += end == FLOOD_FAILED;
                return false;
        }
        count(flood, entry, end == FLOOD_FAILED, now);
        if (end != FLOOD_FAILED)
                return false;
        sum(flood, entry, now, &failures, &ends);
        if (failures < flood->min || (double)failures < flood->ratio * (double)ends)
                return false;
        entry->failures = failures;
        entry->ends = ends;
        trip(flood, entry, now);
        return true;
}

/* ---- the gate ---- */

bool flood_tripped(const struct flood *flood, enum kind kind, const char *provider)
{
        const struct entry *entry = find(flood, kind, provider);

        return entry && entry->tripped;
}

static void probe_failed(struct entry *entry, int64_t now)
{
        entry->probe = 0;
        entry->interval_ms = entry->interval_ms * 2 < INTERVAL_MAX_MS ? entry->interval_ms * 2 : INTERVAL_MAX_MS;
        entry->next_probe = now + entry->interval_ms;
}

enum flood_verdict flood_gate(struct flood *flood, enum kind kind, const char *provider, int64_t now, struct flood_pass *ret_pass)
{
        struct entry *entry = find(flood, kind, provider);

        *ret_pass = (struct flood_pass){0};
        if (!entry || !entry->tripped)
                return FLOOD_PASS;
        entry->used = ++flood->uses;
        if (entry->probe && now >= entry->probe_until)
                probe_failed(entry, now);
        if (entry->probe) {
                ret_pass->wait_ms = PROBING_WAIT_MS;
                return FLOOD_WAIT;
        }
        if (now < entry->next_probe) {
                ret_pass->wait_ms = entry->next_probe - now > WAIT_MIN_MS ? entry->next_probe - now : WAIT_MIN_MS;
                return FLOOD_WAIT;
        }
        entry->probe = ++flood->last_probe;
        entry->probe_until = now + FLOOD_PROBE_LIMIT_MS;
        entry->probes++;
        ret_pass->probe = entry->probe;
        return FLOOD_PROBE;
}

static void open_gate(struct entry *entry, int64_t now)
{
        memset(entry->slots, 0, sizeof entry->slots);
        entry->tripped = false;
        entry->probe = 0;
        entry->opened = now;
}

bool flood_probe_done(struct flood *flood, enum kind kind, const char *provider, uint64_t probe, enum flood_end end, int64_t now)
{
        struct entry *entry = find(flood, kind, provider);

        if (!probe || !entry || !entry->tripped)
                return false;
        if (end == FLOOD_OK) {
                open_gate(entry, now);
                return true;
        }
        if (probe != entry->probe)
                return false; /* late: its slot is another's */
        if (end == FLOOD_FAILED)
                probe_failed(entry, now);
        else
                entry->probe = 0;
        return false;
}

size_t flood_each(const struct flood *flood, void (*each)(void *user, const struct flood_view *view), void *user)
{
        size_t tripped = 0;

        for (size_t i = 0; i < flood->count; i++) {
                const struct entry *entry = &flood->entries[i];

                if (!entry->tripped)
                        continue;
                tripped++;
                if (each)
                        each(user, &(struct flood_view){.kind = entry->kind,
                                                        .provider = entry->provider,
                                                        .since = entry->since,
                                                        .failures = entry->failures,
                                                        .ends = entry->ends,
                                                        .probes = entry->probes,
                                                        .probing = entry->probe != 0,
                                                        .next_probe = entry->next_probe});
        }
        return tripped;
}
