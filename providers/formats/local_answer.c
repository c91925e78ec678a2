/* Steps: read the prompt's tags → cut the passages into sentences → weigh the question's words by how rare they are among the sentences
 * → take the best sentence, then up to two that cover more → check that enough of the question is covered, or say so.
 *
 * A sentence speaks in the context of its passage: words of the document's name and of headings above it count as covered too, but only
 * once the sentence itself covers something.
 *
 * Bounds: PASSAGES_MAX passages, SENTENCES_MAX sentences, ANSWER_BYTES_MAX a sentence; what is beyond is not looked at. */
#include "providers/formats/local_answer.h"

#include <math.h>
#include <string.h>

#include "config/base/buffer.h"
#include "config/base/own.h"
#include "config/base/utf8.h"
#include "providers/formats/local_rerank.h"
#include "providers/formats/local_words.h"
#include "providers/prompt.h"

enum {
        PASSAGES_MAX = 256,
        SENTENCES_MAX = 8192,
        CHOSEN_MAX = 3,
        SENTENCE_BYTES_MAX = 600,
        ANSWER_BYTES_MAX = 8192,
        BOUNDARY_BYTES = 16,
        WORDS_MIN = 4, /* of a sentence worth quoting */
        SCRATCH_BYTES_MAX = 256 << 20,
};

/* Set on the project's own questions and on foreign ones; see tests/unit/providers/test_local_answer.c. */
static const double covered_min = 0.55, first_min = 0.5, further_min = 0.12, context_share = 0.5;

struct source {
        struct span document, page, text; /* as they stand in the prompt, attributes escaped */
};

struct sentence {
        struct span text;
        size_t source;
        struct local_words words;
        bool quotable;
        uint64_t covers, context; /* the question's words: bit k */
};

struct material {
        struct local_tools *tools;
        struct arena *scratch;
        struct span question;
        struct source sources[PASSAGES_MAX];
        size_t source_count;
        struct sentence *sentences;
        size_t sentence_count, words;
        struct local_query query;
};

_Static_assert(LOCAL_QUERY_WORDS_MAX <= 64, "a bit for each of the question's words");

/* ---- the prompt ---- */

static struct span trim(struct span s)
{
        while (s.len && strchr(" \t\r\n", *s.data))
                s.data++, s.len--;
        while (s.len && strchr(" \t\r\n", s.data[s.len - 1]))
                s.len--;
        return s;
}

static struct span between(const char *from, const char *to)
{
        return (struct span){from, (size_t)(to - from)};
}

static const char *find(struct span in, struct span what)
{
        return in.len >= what.len ? memmem(in.data, in.len, what.data, what.len) : NULL;
}

static struct span behind(struct span text, const char *at)
{
        return between(at, text.data + text.len);
}

/* The value of ` name="…"` within a tag's attributes; empty: none. */
static struct span attribute(struct span tag, struct span name)
{
        const char *at = find(tag, name), *end;

        if (!at)
                return (struct span){"", 0};
        tag = behind(tag, at + name.len);
        end = memchr(tag.data, '"', tag.len);
        return end ? between(tag.data, end) : (struct span){"", 0};
}

/* A tag's name with the boundary: "<passage-0123456789abcdef". */
static struct span tag_text(char *memory, const char *start, const char *boundary)
{
        size_t len = strlen(start);

        memcpy(memory, start, len);
        memcpy(memory + len, boundary, BOUNDARY_BYTES);
        return (struct span){memory, len + BOUNDARY_BYTES};
}

static void read_passages(struct material *material, struct span text, const char *boundary, const char **ret_end)
{
        char open_memory[64], close_memory[64];
        struct span open = tag_text(open_memory, "<passage-", boundary), close = tag_text(close_memory, "\n</passage-", boundary);
        const char *at;

        while (material->source_count < PASSAGES_MAX && (at = find(text, open))) {
                struct span rest = behind(text, at + open.len);
                const char *head_end = find(rest, SPAN(">\n")), *end;
                struct source *source = &material->sources[material->source_count];

                if (!head_end)
                        return;
                end = find(behind(rest, head_end + 1), close);
                if (!end)
                        return;
                source->document = attribute(between(rest.data, head_end), SPAN(" document=\""));
                source->page = attribute(between(rest.data, head_end), SPAN(" page=\""));
                source->text = end > head_end + 2 ? between(head_end + 2, end) : (struct span){"", 0};
                material->source_count++;
                *ret_end = end + close.len + 1;
                text = behind(text, end + close.len);
        }
}

static const char *find_last(struct span in, struct span what)
{
        const char *last = NULL, *at;

        while ((at = find(in, what))) {
                last = at;
                in = behind(in, at + what.len);
        }
        return last;
}

/* False: the text has neither of our tags. */
static bool read_prompt(struct material *material, struct span text)
{
        static const struct span question_close = SPAN("</question-"), passage_open = SPAN("<passage-");
        const char *close = find_last(text, question_close), *at = close, *passages_end = text.data, *open;
        struct span name = close ? question_close : passage_open;
        char memory[64];

        if (!close)
                at = find(text, passage_open);
        if (!at || behind(text, at + name.len).len < BOUNDARY_BYTES)
                return false;
        read_passages(material, text, at + name.len, &passages_end);
        if (!close) {
                material->question = trim(behind(text, passages_end < text.data + text.len ? passages_end : text.data + text.len));
                if (!material->question.len)
                        material->question = trim(between(text.data, at));
                return material->source_count > 0;
        }
        open = find(between(text.data, close), tag_text(memory, "<question-", close + question_close.len));
        if (!open)
                return false;
        material->question = trim(between(open + strlen("<question-") + BOUNDARY_BYTES + 1, close));
        return true;
}

/* ---- sentences ---- */

static bool starts_block(struct span line)
{
        line = trim(line);
        if (!line.len)
                return true;
        return strchr("#|>-*+`", *line.data) != NULL || (line.data[0] >= '0' && line.data[0] <= '9' && line.len > 1 && strchr(".)", line.data[1]));
}

/* A line that was wrapped, not ended: no full stop, and one line break only. */
static bool goes_on(struct span unit, struct span rest)
{
        struct span text = trim(unit);
        size_t breaks = 0;

        for (size_t i = unit.len; i > 0 && strchr(" \t\r\n", unit.data[i - 1]); i--)
                breaks += unit.data[i - 1] == '\n';
        if (breaks != 1 || !text.len || *text.data == '#' || strchr(".!?:;", text.data[text.len - 1]))
                return false;
        return !starts_block(rest);
}

static int add_sentence(struct material *material, size_t source, struct span text, struct error *err)
{
        struct sentence *sentence = &material->sentences[material->sentence_count];

        text = trim(text);
        if (!text.len)
                return 0;
        *sentence = (struct sentence){.text = text, .source = source};
        if (local_words_of(material->tools, text, material->scratch, &sentence->words, err) < 0)
                return -1;
        sentence->quotable = sentence->words.count >= WORDS_MIN && !strchr("#|`", *text.data) && text.data[text.len - 1] != '?';
        material->words += sentence->words.count;
        material->sentence_count++;
        return 0;
}

static int cut_source(struct material *material, size_t source, struct error *err)
{
        struct span text = material->sources[source].text;
        size_t from, to, start = 0;
        bool open = false;

        text_cursor_set(material->tools->sentences, text);
        while (material->sentence_count < SENTENCES_MAX && text_cursor_next(material->tools->sentences, &from, &to)) {
                start = open ? start : from;
                open = goes_on(between(text.data + start, text.data + to), behind(text, text.data + to));
                if (!open && add_sentence(material, source, between(text.data + start, text.data + to), err) < 0)
                        return -1;
        }
        if (open && material->sentence_count < SENTENCES_MAX)
                return add_sentence(material, source, behind(text, text.data + start), err);
        return 0;
}

static uint64_t words_covered(const struct local_query *query, const struct local_words *words)
{
        uint64_t covers = 0;

        for (size_t i = 0; i < words->count; i++) {
                size_t k = local_query_find(query, words->list[i].stem);

                if (k < query->count)
                        covers |= UINT64_C(1) << k;
        }
        return covers;
}

/* What each sentence says of the question, and what its document's name and the last heading above it say. */
static int see_coverage(struct material *material, struct error *err)
{
        uint64_t document = 0, heading = 0;
        size_t source = SIZE_MAX;

        for (size_t i = 0; i < material->sentence_count; i++) {
                struct sentence *sentence = &material->sentences[i];
                struct local_words name;

                if (sentence->source != source) {
                        source = sentence->source;
                        heading = 0;
                        if (local_words_of(material->tools, material->sources[source].document, material->scratch, &name, err) < 0)
                                return -1;
                        document = words_covered(&material->query, &name);
                }
                sentence->covers = words_covered(&material->query, &sentence->words);
                if (*sentence->text.data == '#')
                        heading = sentence->covers;
                sentence->context = document | heading;
        }
        return 0;
}

/* ---- the question ---- */

/* Words of questions that ask for nothing in particular, beside the stop list's. */
static bool asks_only(struct span folded)
{
        static const char *const words[] = {"many",  "much",     "tell",  "explain", "describe", "please", "give",  "show", "mean", "means",
                                            "does",  "do",       "can",   "could",   "would",    "should", "may",   "might", "must", "shall",
                                            "will",  "using",    "use",   "used",    "happen",   "happens", "want", "need", "get",  "there"};

        for (size_t i = 0; i < COUNT_OF(words); i++)
                if (span_is(folded, words[i]))
                        return true;
        return false;
}

static int read_question(struct material *material, struct error *err)
{
        struct local_words words = {arena_alloc(material->scratch, LOCAL_QUERY_WORDS_MAX * 4 * sizeof *words.list), 0};
        struct span folded;

        if (!words.list)
                return error_set(err, CODE_INTERNAL, "no memory for local-answer");
        text_cursor_set(material->tools->words, material->question);
        while (words.count < LOCAL_QUERY_WORDS_MAX * 4 && local_word_next(material->tools, material->question, &words.list[words.count], &folded)) {
                material->words++;
                words.list[words.count].stop |= asks_only(folded);
                words.count++;
        }
        local_query_init(&material->query, &words);
        return 0;
}

/* From 1 for a word of all sentences to 2 for one that none has: rarity alone would let a missing word outweigh everything else where
 * there are few sentences. */
static void weigh(struct material *material)
{
        struct local_words *texts = arena_alloc(material->scratch, (material->sentence_count + 1) * sizeof *texts);
        struct local_query *query = &material->query;
        double rarest = log(1.0 + ((double)material->sentence_count + 0.5) / 0.5);

        for (size_t i = 0; texts && i < material->sentence_count; i++)
                texts[i] = material->sentences[i].words;
        local_query_weigh(query, texts, texts ? material->sentence_count : 0);
        query->weight_sum = 0;
        for (size_t k = 0; k < query->count; k++) {
                query->weights[k] = 1.0 + query->weights[k] / rarest;
                query->weight_sum += query->weights[k];
        }
}

/* ---- the choice ---- */

static double weight_of(const struct local_query *query, uint64_t words)
{
        double sum = 0;

        for (size_t k = 0; k < query->count; k++)
                if (words >> k & 1)
                        sum += query->weights[k];
        return sum;
}

/* What the sentence adds to what is covered: its own words in full, its context's in part; earlier passages and shorter sentences win ties. */
static double gain_of(const struct material *material, const struct sentence *sentence, uint64_t covered)
{
        const struct local_query *query = &material->query;
        double own = weight_of(query, sentence->covers & ~covered), context;

        if (!sentence->quotable || own == 0)
                return 0;
        context = weight_of(query, sentence->context & ~sentence->covers & ~covered);
        own += context_share * context;
        own /= query->weight_sum;
        own -= 0.01 * (double)sentence->source;
        if (sentence->words.count > 30)
                own -= 0.002 * (double)(sentence->words.count - 30);
        return own;
}

static size_t choose(const struct material *material, size_t chosen[CHOSEN_MAX], double *ret_covered)
{
        uint64_t covered = 0, with_context = 0;
        size_t count = 0;

        while (count < CHOSEN_MAX) {
                double best = count ? further_min : 0;
                size_t best_at = SIZE_MAX;

                for (size_t i = 0; i < material->sentence_count; i++) {
                        double gain = gain_of(material, &material->sentences[i], covered);

                        if (gain > best) {
                                best = gain;
                                best_at = i;
                        }
                }
                if (best_at == SIZE_MAX)
                        break;
                chosen[count++] = best_at;
                covered |= material->sentences[best_at].covers;
                with_context |= material->sentences[best_at].context;
        }
        *ret_covered = material->query.weight_sum > 0 ? weight_of(&material->query, covered | with_context) / material->query.weight_sum : 0;
        return count;
}

/* Enough of the question's weight (rare words weigh most, above all those that no passage has), all but a third of its words, and half of
 * it in one place: sentences from here and there that each hold a word of it answer nothing. */
static bool covers_enough(const struct material *material, const size_t *chosen, size_t count, double covered)
{
        const struct local_query *query = &material->query;
        uint64_t words = 0;
        size_t missing = 0;

        for (size_t i = 0; i < count; i++)
                words |= material->sentences[chosen[i]].covers | material->sentences[chosen[i]].context;
        for (size_t k = 0; k < query->count; k++)
                missing += !(words >> k & 1);
        if (!count || covered < covered_min || missing * 3 > query->count)
                return false;
        words = material->sentences[chosen[0]].covers | material->sentences[chosen[0]].context;
        return weight_of(query, words) >= first_min * query->weight_sum;
}

/* ---- the answer ---- */

static void add_unescaped(struct buffer *out, struct span s)
{
        static const struct {
                struct span entity;
                char c;
        } entities[] = {{SPAN("&quot;"), '"'}, {SPAN("&lt;"), '<'}, {SPAN("&gt;"), '>'}, {SPAN("&amp;"), '&'}};

        for (size_t i = 0; i < s.len; i++) {
                size_t e = 0;

                while (e < COUNT_OF(entities) &&
                       (s.len - i < entities[e].entity.len || memcmp(s.data + i, entities[e].entity.data, entities[e].entity.len) != 0))
                        e++;
                buffer_char(out, e < COUNT_OF(entities) ? entities[e].c : s.data[i]);
                if (e < COUNT_OF(entities))
                        i += entities[e].entity.len - 1;
        }
}

/* With white space folded to single blanks, list markers dropped, cut where it is too long. */
static void add_quote(struct buffer *out, struct span s)
{
        bool blank = false;

        while (s.len && strchr("-*+> ", *s.data))
                s.data++, s.len--;
        if (s.len > SENTENCE_BYTES_MAX)
                s.len = utf8_cut(s, SENTENCE_BYTES_MAX);
        for (size_t i = 0; i < s.len; i++) {
                if (strchr(" \t\r\n", s.data[i])) {
                        blank = true;
                        continue;
                }
                if (blank)
                        buffer_char(out, ' ');
                blank = false;
                buffer_char(out, s.data[i]);
        }
}

static void write_answer(const struct material *material, const size_t *chosen, size_t count, struct buffer *out)
{
        for (size_t i = 0; i < count; i++) {
                const struct sentence *sentence = &material->sentences[chosen[i]];
                const struct source *source = &material->sources[sentence->source];

                if (i)
                        buffer_char(out, ' ');
                add_quote(out, sentence->text);
                buffer_string(out, " [Source: ");
                add_unescaped(out, source->document.len ? source->document : SPAN("passage"));
                if (source->page.len) {
                        buffer_string(out, ", page ");
                        buffer_span(out, source->page);
                }
                buffer_char(out, ']');
        }
}

static int answer_question(struct material *material, struct buffer *out, struct error *err)
{
        size_t chosen[CHOSEN_MAX], count;
        double covered;

        material->sentences = arena_alloc(material->scratch, SENTENCES_MAX * sizeof *material->sentences);
        if (!material->sentences)
                return error_set(err, CODE_INTERNAL, "no memory for local-answer");
        for (size_t i = 0; i < material->source_count; i++)
                if (cut_source(material, i, err) < 0)
                        return -1;
        if (read_question(material, err) < 0)
                return -1;
        weigh(material);
        if (see_coverage(material, err) < 0)
                return -1;
        count = choose(material, chosen, &covered);
        if (covers_enough(material, chosen, count, covered))
                write_answer(material, chosen, count, out);
        else
                buffer_string(out, prompt_insufficient);
        return 0;
}

static int echo(struct material *material, struct span text, struct buffer *out)
{
        size_t from, to;

        material->words = text_token_count(text);
        text_cursor_set(material->tools->sentences, trim(text));
        if (text_cursor_next(material->tools->sentences, &from, &to))
                add_quote(out, trim(between(trim(text).data + from, trim(text).data + to)));
        return 0;
}

static inline void material_free(struct material **material)
{
        if (*material)
                arena_free((*material)->scratch);
        free(*material);
}

int local_answer(struct call *call, struct error *err)
{
        AUTO(material_free) struct material *material = calloc(1, sizeof *material);
        const struct call_message *last = &call->llm.messages[call->llm.count - 1];
        AUTO_BUFFER out = {0};
        char *text;

        buffer_init(&out, ANSWER_BYTES_MAX);
        if (!material || !(material->scratch = arena_new(SCRATCH_BYTES_MAX)))
                return error_set(err, CODE_INTERNAL, "no memory for local-answer");
        material->tools = local_tools_get(err);
        if (!material->tools)
                return -1;
        while (last > call->llm.messages && !span_is(last->role, "user"))
                last--;
        if ((read_prompt(material, last->content) ? answer_question(material, &out, err) : echo(material, last->content, &out)) < 0)
                return -1;
        text = arena_copy(call->arena, buffer_view(&out));
        if (!text || !buffer_ok(&out))
                return error_set(err, CODE_INTERNAL, "no room for the answer");
        call->text = (struct span){text, out.len};
        call->finish_reason = "stop";
        call->usage.input_tokens = (int64_t)material->words;
        call->usage.output_tokens = (int64_t)text_token_count(call->text);
        return 0;
}
