/* Gates are kept by name, so that a reload keeps what was observed; the newest settings' indices lead to them without comparing names. */
#include "workers/task/admit.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/base/clock.h"
#include "config/base/log.h"
#include "config/base/own.h"
#include "providers/latency.h"
#include "providers/retry_budget.h"
#include "workers/flood.h"
#include "workers/kinds/kinds_table.h"
#include "workers/task/task.h"
#include "workers/workshop.h"

enum { GATES_MAX = 1024, BUDGET_MEMORY_WAIT_MS = 2000, BUDGET_MEMORY_SHARE = 8 };

struct gate {
        char *name;
        struct latency latency;     /* a model's */
        struct retry_budget budget; /* a provider's */
};

struct gate_list {
        struct gate *gates[GATES_MAX];
        size_t count;
        size_t *by_index; /* settings' index → position in gates */
};

struct gates {
        struct settings *settings; /* a reference: the newest, which by_index is of */
        struct gate_list models, providers;
        struct flood *flood;
};

/* ---- Gates by name */

static size_t find(const struct gate_list *list, const char *name)
{
        size_t i = 0;

        while (i < list->count && strcmp(list->gates[i]->name, name) != 0)
                i++;
        return i;
}

static int add(struct gate_list *list, const char *name, size_t *ret_at)
{
        struct gate *gate;

        *ret_at = find(list, name);
        if (*ret_at < list->count)
                return 0;
        if (list->count == GATES_MAX) { /* so many reloads: the last one is shared */
                *ret_at = GATES_MAX - 1;
                return 0;
        }
        gate = calloc(1, sizeof *gate);
        if (!gate || !(gate->name = strdup(name))) {
                free(gate);
                return -1;
        }
        retry_budget_init(&gate->budget, clock_now_ms());
        list->gates[list->count++] = gate;
        return 0;
}

static void list_free(struct gate_list *list)
{
        for (size_t i = 0; i < list->count; i++) {
                free(list->gates[i]->name);
                free(list->gates[i]);
        }
        free(list->by_index);
}

int gates_configure(struct gates *gates, struct settings *settings)
{
        AUTO_FREE size_t *models = calloc(settings->model_count + 1, sizeof *models);
        AUTO_FREE size_t *providers = calloc(settings->provider_count + 1, sizeof *providers);

        if (!models || !providers)
                return -1;
        for (size_t i = 0; i < settings->model_count; i++)
                if (add(&gates->models, settings->models[i].name, &models[i]) < 0)
                        return -1;
        for (size_t i = 0; i < settings->provider_count; i++)
                if (add(&gates->providers, settings->providers[i].name, &providers[i]) < 0)
                        return -1;
        free(gates->models.by_index);
        gates->models.by_index = TAKE(models);
        free(gates->providers.by_index);
        gates->providers.by_index = TAKE(providers);
        settings_unref(gates->settings);
        gates->settings = settings_ref(settings);
        flood_configure(gates->flood, settings);
        return 0;
}

struct gates *gates_new(struct settings *settings)
{
        struct gates *gates = calloc(1, sizeof *gates);

        if (!gates || !(gates->flood = flood_new()) || gates_configure(gates, settings) < 0) {
                gates_free(gates);
                return NULL;
        }
        return gates;
}

void gates_free(struct gates *gates)
{
        if (!gates)
                return;
        list_free(&gates->models);
        list_free(&gates->providers);
        flood_free(gates->flood);
        settings_unref(gates->settings);
        free(gates);
}

static struct gate *gate_of(const struct gates *gates, const struct gate_list *list, const struct settings *settings, size_t index, const char *name)
{
        size_t at = settings == gates->settings ? list->by_index[index] : find(list, name);

        return at < list->count ? list->gates[at] : list->gates[list->count - 1];
}

static struct gate *model_gate(const struct task *task, size_t model)
{
        const struct gates *gates = task->shop->gates;

        return gate_of(gates, &gates->models, task->settings, model, task->settings->models[model].name);
}

static struct gate *provider_gate(const struct task *task)
{
        const struct gates *gates = task->shop->gates;

        return gate_of(gates, &gates->providers, task->settings, task->admission.provider, task->settings->providers[task->admission.provider].name);
}

/* ---- Asking */

static enum kind kind_of_step(const struct task *task)
{
        return task->request.steps[task->step].kind;
}

static const char *provider_name(const struct task *task)
{
        return task->admission.known ? task->settings->providers[task->admission.provider].name : "";
}

static void set_flooded(struct task *task, bool flooded)
{
        if (task->admission.flooded == flooded)
                return;
        task->admission.flooded = flooded;
        if (flooded)
                task->shop->flooded[task->source_kind]++;
        else
                task->shop->flooded[task->source_kind]--;
}

/* Repeats are what a failing provider is sent once more. A call after our own crash, a hand-over or a replay is none, nor is one after a 429,
 * which was not served. */
static bool is_repeat(const struct task *task)
{
        if (task->last.code == CODE_NONE)
                return task->request.attempts > 0 && task->request.not_before_wall_ms > 0;
        return task->last.class == ERR_DEPENDENCY && task->last.code != CODE_RATE_LIMITED;
}

/* Those who wait for the budget in memory are few: the places are for first calls, which pay for the repeats. */
static void leave_queue(struct task *task)
{
        if (task->admission.budget_since_ms)
                retry_budget_unqueue(&provider_gate(task)->budget);
        task->admission.budget_since_ms = 0;
}

static enum admission ask_budget(struct task *task, int64_t now, int64_t *ret_wait_ms)
{
        struct gate *gate = provider_gate(task);
        double chance = (double)random() / ((double)RAND_MAX + 1.0);

        if (!is_repeat(task)) {
                retry_budget_earn(&gate->budget, task->settings->retry.budget_ratio);
                return ADMIT_GO;
        }
        if (task->admission.repeating)
                return ADMIT_GO;
        if (retry_budget_take(&gate->budget, now)) {
                task->admission.repeating = true;
                leave_queue(task);
                return ADMIT_GO;
        }
        *ret_wait_ms = retry_budget_wait_ms(&gate->budget, now, chance);
        if (!task->admission.budget_since_ms) {
                if (!retry_budget_queue(&gate->budget, 1 + (size_t)task->settings->worker.inflight_max / BUDGET_MEMORY_SHARE))
                        return ADMIT_LATER;
                task->admission.budget_since_ms = now;
        }
        return now - task->admission.budget_since_ms >= BUDGET_MEMORY_WAIT_MS ? ADMIT_LATER : ADMIT_WAIT;
}

static enum admission ask_time(struct task *task, size_t model, int64_t now, struct error *err)
{
        struct latency *latency = &model_gate(task, model)->latency;

        if (latency_fits(latency, now, task->deadline - now))
                return ADMIT_GO;
        error_set(err, CODE_DEADLINE, "refused before the call: the model's p95 is %lld ms, %lld ms are left",
                  (long long)latency_p95(latency, now, NULL), (long long)(task->deadline - now));
        return ADMIT_REFUSE;
}

/* Do those who wait for the guard take the places of other kinds? Intake stops for theirs at half of all places, but those who were under
 * way come on top. */
static bool flood_crowds(const struct task *task)
{
        size_t waiting = 0;

        for (size_t kind = 0; kind < KIND_COUNT; kind++)
                waiting += task->shop->flooded[kind];
        return waiting > (size_t)task->settings->worker.inflight_max * 3 / 4;
}

enum admission admit_call(struct task *task, int64_t *ret_wait_ms, struct error *err)
{
        const struct kind_row *kind = &kinds_table[kind_of_step(task)];
        const struct settings *s = task->settings;
        int64_t now = clock_now_ms();
        struct flood_pass pass;
        enum admission verdict;
        size_t model;

        task->admission.known = task->admission.served = false;
        if (!s->worker.kinds[kind_of_step(task)] || !kind->model || !kind->model(task, &model) ||
            s->providers[s->models[model].provider].type == PROVIDER_LOCAL)
                return ADMIT_GO;
        task->admission.known = true;
        task->admission.provider = s->models[model].provider;
        if (!task->admission.probe) {
                switch (flood_gate(task->shop->gates->flood, kind_of_step(task), provider_name(task), now, &pass)) {
                case FLOOD_WAIT:
                        set_flooded(task, true);
                        *ret_wait_ms = flood_crowds(task) ? 1 : pass.wait_ms;
                        return flood_crowds(task) ? ADMIT_LATER : ADMIT_WAIT;
                case FLOOD_PROBE:
                        task->admission.probe = pass.probe;
                        break;
                case FLOOD_PASS:
                default:
                        break;
                }
        }
        set_flooded(task, false);
        verdict = ask_time(task, model, now, err);
        return verdict == ADMIT_GO ? ask_budget(task, now, ret_wait_ms) : verdict;
}

/* ---- What calls tell */

void admit_called(struct task *task)
{
        const struct call *call = &task->call;
        enum error_code code = call->op.err.code;
        bool cut = code == CODE_TIMEOUT || (code == CODE_DEADLINE && call->provider_ms > 0); /* it would have taken longer: a lower bound */

        if (call->served_from != SERVED_PROVIDER || (code != CODE_NONE && !cut) ||
            task->settings->providers[task->settings->models[call->model].provider].type == PROVIDER_LOCAL)
                return;
        task->admission.served |= code == CODE_NONE;
        latency_note(&model_gate(task, call->model)->latency, clock_now_ms(), call->provider_ms);
}

static void show_guard(enum kind kind, const char *provider, bool tripped)
{
        char labels[128];

        snprintf(labels, sizeof labels, "kind=\"%s\",provider=\"%.64s\"", kind_names[kind], provider);
        metrics_set(metrics_gauge("millrace_flood_guard_tripped", "1: a flood of failures has stopped the intake of this kind and provider", labels),
                    tripped ? 1 : 0);
}

/* What an end says of the provider: nothing, where it was not asked (an answer from the ledger, a superseded document). */
static enum flood_end end_of(const struct task *task, enum error_code code)
{
        return code == CODE_NONE && !task->admission.served ? FLOOD_SILENT : flood_end_of(code);
}

static void end_probe(struct task *task, enum flood_end end)
{
        uint64_t probe = task->admission.probe;

        task->admission.probe = 0;
        if (!probe || !flood_probe_done(task->shop->gates->flood, kind_of_step(task), provider_name(task), probe, end, clock_now_ms()))
                return;
        show_guard(kind_of_step(task), provider_name(task), false);
        log_info("flood_guard_opened", "kind=%s provider=%s", kind_names[kind_of_step(task)], provider_name(task));
}

bool admit_attempt_ended(struct task *task, const struct error *err)
{
        if (!task->admission.known)
                return false;
        if (task->admission.repeating)
                retry_budget_ended(&provider_gate(task)->budget, clock_now_ms(), err->class == ERR_DEPENDENCY);
        task->admission.repeating = false;
        end_probe(task, end_of(task, err->code));
        return flood_end_of(err->code) == FLOOD_FAILED && flood_tripped(task->shop->gates->flood, kind_of_step(task), provider_name(task));
}

void admit_left(struct task *task)
{
        set_flooded(task, false);
        if (!task->admission.known)
                return;
        if (task->admission.repeating)
                retry_budget_return(&provider_gate(task)->budget);
        task->admission.repeating = false;
        leave_queue(task);
        end_probe(task, FLOOD_SILENT);
}

void admit_ended(struct task *task, enum error_code code)
{
        static struct metric *trips;
        enum kind kind = task->request.kind;

        if (task->request.step_count > 0)
                kind = kind_of_step(task);
        admit_left(task);
        if (!task->admission.known)
                return;
        if (!flood_note(task->shop->gates->flood, kind, provider_name(task), end_of(task, code), clock_now_ms()))
                return;
        if (!trips)
                trips = metrics_counter("millrace_flood_guard_trips_total", "Times that a flood of failures stopped the intake of a kind and provider", NULL);
        metrics_add(trips, 1);
        show_guard(kind, provider_name(task), true);
        log_error("flood_guard_tripped", "kind=%s provider=%s reason=too many dependency failures: intake stops, one record at a time is tried",
                  kind_names[kind], provider_name(task));
}

/* ---- Telling */

struct telling {
        const struct settings *settings;
        struct buffer *out;
        int64_t now;
        size_t count;
};

/* Of providers that a reload has taken away nobody is asked any more. */
static bool is_configured(const struct settings *settings, const char *provider)
{
        for (size_t i = 0; i < settings->provider_count; i++)
                if (strcmp(settings->providers[i].name, provider) == 0)
                        return true;
        return false;
}

static void tell(void *user, const struct flood_view *view)
{
        struct telling *t = user;

        if (!is_configured(t->settings, view->provider)) {
                show_guard(view->kind, view->provider, false);
                return;
        }
        t->count++;
        if (t->out->len)
                buffer_string(t->out, "; ");
        buffer_printf(t->out, "%s at %s has stopped %lld s ago (%llu of %llu failed), %s", kind_names[view->kind], view->provider,
                      (long long)(t->now - view->since) / 1000, (unsigned long long)view->failures, (unsigned long long)view->ends,
                      view->probing ? "a probe is under way" : "waits to try again");
}

size_t gates_tripped(const struct gates *gates, struct buffer *out)
{
        struct telling telling = {.settings = gates->settings, .out = out, .now = clock_now_ms()};

        flood_each(gates->flood, tell, &telling);
        return telling.count;
}
