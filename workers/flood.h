/* The flood guard: a flood of dependency failures is an outage, not so many bad requests. Past a ratio the intake of that kind
 * and provider stops, and one record at a time is let through as a probe until one goes well.
 *
 *               failures ≥ min and failures/ends ≥ ratio, over window_s
 *        OPEN ──────────────────────────────────────────────────────────► TRIPPED ─ every 1, 2, 4, 8, 15 s ─► PROBING
 *          ▲                                                                 ▲                                │   │
 *          │                                                                 └─ fails, or does not report ────┘   │
 *          └──────────────────── goes well: the window is emptied ────────────────────────────────────────────────┘
 *
 * What counts (flood_end_of): ends that are ok, and failures of the class dependency or serving.internal. All else — data.*,
 * model.*, deadline, cancelled, budget — is silent: neither failure nor part of the ends. So one producer's bad records can't
 * trip the guard, and can't thin out the failures of all others until it never trips either.
 *
 * Pure: the time is an argument. A table of FLOOD_ENTRIES_MAX, least recently used goes first (tripped ones last). Loop thread. */
#ifndef WORKERS_FLOOD_H
#define WORKERS_FLOOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/base/error.h"
#include "config/settings.h"

enum { FLOOD_ENTRIES_MAX = 256, FLOOD_PROBE_LIMIT_MS = 60000 };

enum flood_end { FLOOD_OK, FLOOD_FAILED, FLOOD_SILENT };
enum flood_verdict { FLOOD_PASS, FLOOD_WAIT, FLOOD_PROBE };

struct flood;

struct flood_pass {
        int64_t wait_ms; /* with FLOOD_WAIT: ask again after so long, ≥ 1 */
        uint64_t probe;  /* with FLOOD_PROBE: for flood_probe_done(); otherwise 0 */
};

/* What flood_each() shows of a kind and provider whose guard has tripped. */
struct flood_view {
        enum kind kind;
        const char *provider;    /* borrowed for the call; may be "" */
        int64_t since;           /* when it tripped */
        uint64_t failures, ends; /* of the window when it tripped, and since then */
        uint64_t probes;         /* sent since it tripped */
        bool probing;            /* one is under way */
        int64_t next_probe;      /* the earliest */
};

/* NULL: no memory. */
struct flood *flood_new(void);
void flood_free(struct flood *flood); /* NULL is fine */

/* Takes over settings->flood; at the start and after each reload. What has been counted stays, unless window_s changes. */
void flood_configure(struct flood *flood, const struct settings *settings);

/* CODE_NONE is ok. */
enum flood_end flood_end_of(enum error_code code);

/* Once per record that ends or would end, just before its letter or result. kind: of the step that ended it; provider: the name
 * of its model's provider, "" where there was none (1…64 characters are told apart). True: this one has tripped the guard (log
 * it). A record whose end the guard turns into a wait is noted at its real end again. */
bool flood_note(struct flood *flood, enum kind kind, const char *provider, enum flood_end end, int64_t now);

/* Has the guard tripped? Changes nothing. */
bool flood_tripped(const struct flood *flood, enum kind kind, const char *provider);

/* Before a record's call. FLOOD_PROBE hands out the one slot: the record goes on, and must report. */
enum flood_verdict flood_gate(struct flood *flood, enum kind kind, const char *provider, int64_t now, struct flood_pass *ret_pass);

/* The probe's report, as soon as its first call has ended (not after its repeats): ok opens the guard, a failure doubles the
 * interval, silent (it left without a call, or died of its own data) frees the slot for another at once. A report later than
 * FLOOD_PROBE_LIMIT_MS: the slot was freed as if it had failed, and only an ok still counts. True: this has opened the guard
 * (log it). */
bool flood_probe_done(struct flood *flood, enum kind kind, const char *provider, uint64_t probe, enum flood_end end, int64_t now);

/* Calls each for every tripped kind and provider; returns how many. each NULL: only counts. */
size_t flood_each(const struct flood *flood, void (*each)(void *user, const struct flood_view *view), void *user);

#endif
