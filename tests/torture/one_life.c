/* See one_life.h. What must hold, wherever memory fails:
 *
 * - a record is done only once its end is durable: a letter before its result, a result or a record further on before done
 * - its end is the one it has in peace, or a fault of ours that it can be replayed after (dependency, serving): never the producer's fault
 * - a result is whole and right
 * - given back undone, it ends well when it comes again
 * - afterwards the same worker serves the next one, and holds nothing: no count, no block of memory */
#include "tests/torture/one_life.h"

#include <execinfo.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/torture/fake_broker.h"
#include "tests/torture/torture_rig.h"

enum { NAME_MAX = 64, VALUE_MAX = 8192, LIFE_MS = 20000, IDLE_MS = 2000 };

static const char *const kinds[] = {"ingest", "embed", "retrieve", "rerank", "llm"};

static struct {
        struct verdict *verdict;
        const struct life *life;
        const struct verdict *peace;
        int64_t number;
        int serial; /* of ids of their own */
        char tenant[NAME_MAX], id[NAME_MAX];
        char ending[ENDING_MAX]; /* of the record that ended last */
        char result[RESULT_TEXT_MAX];
        struct message *waited;
        bool watching;
} one;

static void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fault(const char *format, ...)
{
        va_list args;

        if (one.verdict->fault[0])
                return; /* the first says the most */
        va_start(args, format);
        vsnprintf(one.verdict->fault, sizeof one.verdict->fault, format, args);
        va_end(args);
}

/* The last words of a process that crashes. */
static void on_crash(int number)
{
        one.verdict->depth = memory_trace(one.verdict->trace);
        one.verdict->crash_depth = backtrace(one.verdict->crash, MEMORY_TRACE_MAX);
        signal(number, SIG_DFL);
        raise(number);
}

static void watch_for_crashes(void)
{
        static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};

        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
                signal(numbers[i], on_crash);
}

/* ---- What became of a record */

static bool of_origin(const struct message *message, const char *prefix, struct span topic, int64_t offset)
{
        char name[NAME_MAX];
        struct span is;

        snprintf(name, sizeof name, "%s-topic", prefix);
        is = message_header_of(message, name);
        if (is.len != topic.len || memcmp(is.data, topic.data, topic.len) != 0)
                return false;
        snprintf(name, sizeof name, "%s-offset", prefix);
        is = message_header_of(message, name);
        return is.data && strtoll(is.data, NULL, 10) == offset;
}

static bool same_span(struct span a, struct span b)
{
        return a.len == b.len && !a.data == !b.data && (!a.len || memcmp(a.data, b.data, a.len) == 0);
}

static const struct message *letter_of(const struct message *record, struct span topic, int64_t offset)
{
        char name[NAME_MAX];

        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
                snprintf(name, sizeof name, "enrich.%s.dlq", kinds[k]);
                for (struct message *m = broker_next(name, NULL); m; m = broker_next(name, m)) {
                        if (!m->acked || !of_origin(m, "mr-dlq-original", topic, offset))
                                continue;
                        if (!same_span(m->value, record->value) && !message_header_of(m, "mr-dlq-omitted").data)
                                fault("the letter's value is not the record's");
                        return m;
                }
        }
        return NULL;
}

/* Further on: a record of the same origin, acknowledged, that has not ended. */
static bool hop_of(const struct message *record, struct span topic, int64_t offset)
{
        static const char *const further[] = {"bulk", "interactive", "retry.100ms", "retry.200ms"};
        char name[NAME_MAX];

        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
                for (size_t f = 0; f < sizeof further / sizeof *further; f++) {
                        snprintf(name, sizeof name, "enrich.%s.%s", kinds[k], further[f]);
                        for (struct message *m = broker_next(name, NULL); m; m = broker_next(name, m))
                                if (m != record && m->acked && !m->ended && of_origin(m, "mr-origin", topic, offset)) {
                                        if (!same_span(m->value, record->value) || !same_span(m->key, record->key))
                                                fault("the record sent on is not the producer's");
                                        return true;
                                }
                }
        return false;
}

/* A result without what is different in every run; `ending` from status and error. False: it is not whole. */
static bool read_result(json_t *tree, char *ending, char *text)
{
        static const char *const different[] = {"id", "tenant", "timings_ms", "completed_at", "source", "attempts", "replays", "usage", "cost", "served_from"};
        const char *status = json_string_value(json_object_get(tree, "status")), *class = NULL, *code = NULL;
        json_t *result = json_object_get(tree, "result"), *step;
        size_t i, len;

        if (!status || json_integer_value(json_object_get(tree, "v")) != 1 || !json_is_object(json_object_get(tree, "source")))
                return false;
        json_unpack(tree, "{s:{s:s,s:s}}", "error", "class", &class, "code", &code);
        snprintf(ending, ENDING_MAX, class ? "%s %s.%s" : "%s", status, class, code);
        if ((strcmp(status, "ok") == 0) != json_is_object(result) || (strcmp(status, "ok") == 0) == (class != NULL))
                return false;
        for (i = 0; i < sizeof different / sizeof *different; i++)
                json_object_del(tree, different[i]);
        json_array_foreach(json_object_get(tree, "steps"), i, step) {
                for (size_t d = 0; d < sizeof different / sizeof *different; d++)
                        json_object_del(step, different[d]);
                json_object_del(json_object_get(step, "result"), "freshness");
        }
        json_object_del(json_object_get(tree, "error"), "message");
        json_object_del(result, "freshness");
        json_object_del(result, "positions");
        json_object_del(result, "version");
        len = json_dumpb(tree, text, RESULT_TEXT_MAX - 1, JSON_COMPACT | JSON_SORT_KEYS);
        text[len < RESULT_TEXT_MAX ? len : 0] = '\0';
        return len > 0 && len < RESULT_TEXT_MAX;
}

/* The id that a record speaks of; "" where none can be read. */
static void id_of(const struct message *record, char id[NAME_MAX])
{
        json_t *tree = record->value.data ? json_loadb(record->value.data, record->value.len, 0, NULL) : NULL;
        const char *is = json_string_value(json_object_get(tree, "id"));

        snprintf(id, NAME_MAX, "%s", is ? is : "");
        json_decref(tree);
}

static void judge_done(const struct message *record)
{
        struct span origin = message_header_of(record, "mr-origin-topic"), at = message_header_of(record, "mr-origin-offset");
        struct span topic = origin.data ? origin : span_of(record->topic);
        int64_t offset = origin.data && at.data ? strtoll(at.data, NULL, 10) : record->offset;
        const struct message *letter = letter_of(record, topic, offset);
        char id[NAME_MAX], dead[ENDING_MAX] = "";
        json_t *tree;

        id_of(record, id);
        tree = *id ? rig_result(one.tenant, id) : NULL;
        one.ending[0] = one.result[0] = '\0';
        if (letter)
                snprintf(dead, sizeof dead, "letter %s.%s", message_header_of(letter, "mr-dlq-error-class").data,
                         message_header_of(letter, "mr-dlq-error-code").data);
        if (hop_of(record, topic, offset)) {
                snprintf(one.ending, sizeof one.ending, "hop");
        } else if (!tree && letter) {
                snprintf(one.ending, sizeof one.ending, "%s", dead);
        } else if (tree) {
                if (!read_result(tree, one.ending, one.result))
                        fault("the result is not whole");
                if (letter && strcmp(one.ending, "ok") == 0) { /* another record's */
                        snprintf(one.ending, sizeof one.ending, "%s", dead);
                        one.result[0] = '\0';
                } else if (strcmp(one.ending, "ok") != 0 && !letter)
                        fault("a failed result without a letter: %s", one.ending);
        } else {
                snprintf(one.ending, sizeof one.ending, "nothing");
                fault("done without an end");
        }
        json_decref(tree);
}

static void on_end(void *user, struct message *record, bool done)
{
        (void)user;
        if (!one.watching)
                return;
        memory_pause();
        if (done)
                judge_done(record);
        memory_resume();
}

/* ---- Going through it */

static void expand(const char *template, const char *own, char text[VALUE_MAX])
{
        size_t len = 0;

        for (const char *at = template; *at && len < VALUE_MAX - NAME_MAX; at++) {
                const char *is = at[0] != '$' ? NULL : at[1] == 'T' ? one.tenant : at[1] == 'I' ? one.id : at[1] == 'U' ? own : NULL;

                if (!is) {
                        text[len++] = *at;
                        continue;
                }
                len += (size_t)snprintf(text + len, VALUE_MAX - len, "%s", is);
                at++;
        }
        text[len] = '\0';
}

static struct message *submit(const struct submission *it)
{
        char text[VALUE_MAX], own[NAME_MAX], number[NAME_MAX];
        const char *headers[2 * MESSAGE_HEADERS_MAX + 1] = {NULL};
        struct span value = {NULL, 0};
        struct message *message;

        memory_pause();
        snprintf(own, sizeof own, "own-%lld-%d", (long long)one.number, one.serial);
        snprintf(number, sizeof number, "%d", 900 + one.serial++);
        for (size_t i = 0; it->headers && it->headers[i] && i < 2 * MESSAGE_HEADERS_MAX; i++)
                headers[i] = strcmp(it->headers[i], "$N") == 0 ? number : it->headers[i];
        if (it->value) {
                expand(it->value, own, text);
                value = span_of(text);
        }
        message = broker_publish(it->topic, span_of(one.tenant), value, headers);
        memory_resume();
        return message;
}

static bool record_back(void *user)
{
        (void)user;
        return one.waited->ended || one.waited->dropped || rig_out_of_memory();
}

/* Nothing is under way any more, and what the record was sent on as has ended too, where it goes on here. */
static bool at_rest(void *user)
{
        return record_back(user) && (rig_out_of_memory() || (strcmp(one.life->ending, "hop") == 0 && strcmp(one.ending, "hop") == 0) ||
                                     (broker_outstanding() == 0 && broker_sent() == 0 && strcmp(one.ending, "hop") != 0) || one.waited->dropped);
}

/* True: it came to an end, which is in one.ending. */
static bool go_through(const struct submission *it, struct message *dropped, const char *what)
{
        one.ending[0] = '\0';
        one.waited = dropped ? dropped : submit(it);
        if (dropped)
                dropped->dropped = 0; /* delivered again */
        if (rig_run(at_rest, NULL, LIFE_MS))
                return true;
        fault("%s: neither done nor given back after %d s", what, LIFE_MS / 1000);
        return false;
}

static bool open_in_peace(void)
{
        struct error err;

        if (rig_open(NULL, &err) < 0) {
                fault("not built: %s", err.message);
                return false;
        }
        if (rig_run(rig_redis_ready, NULL, LIFE_MS))
                return true;
        fault("redis does not become ready");
        return false;
}

static bool prepare(void)
{
        const struct life *life = one.life;

        for (size_t i = 0; i < PREPARED_MAX && life->before[i].topic; i++)
                if (!go_through(&life->before[i], NULL, "before"))
                        return false;
        if (!life->index_held && !rig_run(rig_index_ready, NULL, LIFE_MS)) {
                fault("before: the index is not fed");
                return false;
        }
        return true;
}

static bool ours(const char *ending)
{
        return strstr(ending, " dependency.") || strstr(ending, " serving.internal") || strstr(ending, " serving.index_not_ready");
}

/* The end that it came to under failing memory. */
static void judge_ending(void)
{
        bool as_in_peace = strcmp(one.ending, one.life->ending) == 0;

        if (!as_in_peace && !ours(one.ending))
                fault("wrong verdict: %s", one.ending);
        if (strncmp(one.ending, "letter", 6) == 0 && !as_in_peace)
                fault("a letter without a result: %s", one.ending);
        if (as_in_peace && one.peace && one.result[0] && strcmp(one.result, one.peace->result) != 0 && !strstr(one.result, "\"degraded\":[\""))
                fault("the result differs: %.400s", one.result);
}

static bool nothing_left(void *user)
{
        (void)user;
        return !rig_residue();
}

/* Memory is back: the record comes again where it has not ended, is replayed where it failed; and another one like it. */
static void judge_after(void)
{
        static const char *const replay[] = {"mr-replays", "2", "mr-attempts", "0", NULL};
        struct submission again = one.life->it;

        if (one.verdict->not_built)
                return; /* it ends, and another process begins: nothing was read yet */
        if (one.verdict->out_of_memory) {
                rig_close();
                if (!open_in_peace())
                        return;
                broker_hold_index(false);
                if (!rig_run(rig_index_ready, NULL, LIFE_MS))
                        fault("after: the index is not fed");
        }
        if (one.verdict->dropped) {
                if (go_through(&again, one.verdict->dropped ? one.waited : NULL, "again") && strcmp(one.ending, one.life->ending) != 0)
                        fault("again: %s instead of %s", one.ending, one.life->ending);
        } else if (strcmp(one.ending, one.life->ending) != 0) {
                again.headers = replay;
                if (go_through(&again, NULL, "replayed") && strcmp(one.ending, one.life->ending) != 0)
                        fault("replayed: %s instead of %s", one.ending, one.life->ending);
        }
        if (!one.life->no_fresh) {
                snprintf(one.id, sizeof one.id, "next-%lld", (long long)one.number);
                if (go_through(&one.life->it, NULL, "the next one") && strcmp(one.ending, one.life->ending) != 0)
                        fault("the next one: %s instead of %s", one.ending, one.life->ending);
        }
        if (broker_outstanding() == 0 && !rig_run(nothing_left, NULL, IDLE_MS)) /* the index may be being fed just now */
                fault("left over: %s", rig_residue());
}

static void live(int64_t first, int64_t run)
{
        struct verdict *verdict = one.verdict;
        struct error err;

        if (one.life->at_start) {
                memory_arm(first, run);
                verdict->not_built = rig_open(NULL, &err) < 0;
                if (verdict->not_built && !memory_failed())
                        fault("not built in peace: %s", err.message);
                if (!verdict->not_built && !rig_run(rig_redis_ready, NULL, LIFE_MS))
                        fault("redis does not become ready");
        } else {
                broker_hold_index(one.life->index_held);
                if (!open_in_peace() || !prepare())
                        return;
                memory_arm(first, run);
        }
        broker_hold_index(false);
        if (!verdict->not_built)
                go_through(&one.life->it, NULL, "the record");
        memory_disarm();
        verdict->count = memory_count();
        verdict->failed = memory_failed();
        verdict->depth = memory_trace(verdict->trace);
        if (verdict->fault[0])
                return;
        memcpy(verdict->ending, one.ending, sizeof one.ending);
        memcpy(verdict->result, one.result, sizeof one.result);
        verdict->out_of_memory = !verdict->not_built && rig_out_of_memory();
        verdict->dropped = !verdict->not_built && (one.waited->dropped || !one.waited->ended);
        if (verdict->dropped && !verdict->failed)
                fault("given back undone in peace");
        if (verdict->dropped && !verdict->out_of_memory)
                fault("given back undone, and the worker goes on");
        if (!verdict->dropped && !verdict->not_built)
                judge_ending();
        judge_after();
}

void one_life(const struct life *life, int64_t number, int64_t first, int64_t run, const struct verdict *peace, struct verdict *verdict)
{
        int64_t began = rig_now_ms();

        memset(&one, 0, sizeof one);
        one.verdict = verdict;
        one.life = life;
        one.peace = peace;
        one.number = number;
        snprintf(one.tenant, sizeof one.tenant, "t%lld", (long long)number);
        snprintf(one.id, sizeof one.id, "it-%lld", (long long)number);
        if (life->without != KIND_COUNT)
                rig_settings()->worker.kinds[life->without] = false;
        watch_for_crashes();
        memory_mark();
        broker_watch(on_end, NULL);
        one.watching = true;
        live(first, run);
        one.watching = false;
        memory_disarm();
        if (!verdict->fault[0]) {
                rig_close();
                broker_reset();
                verdict->held = memory_held(verdict->leaks, MEMORY_LEAKS_MAX, &verdict->leak_count);
                if (peace && verdict->held > peace->held)
                        fault("%zu blocks left over, in peace %zu", verdict->held, peace->held);
        }
        verdict->took_ms = rig_now_ms() - began;
        verdict->complete = true;
}
