/* A text's features are its stemmed words, pairs of neighbouring words, and groups of letters within words (which find "concurrency" from
 * "concurrent" where the stemmer doesn't). A feature's hash says where it goes: two of 384 places, each with a sign, so that features that
 * meet by chance cancel out on average. Its weight grows with the root of its count. The sum is brought to unit length.
 *
 *      feature ─ fnv1a ─ mix ─► place 1, sign 1, place 2, sign 2
 *      vector[place] += sign × kind's weight × √count
 *
 * All arithmetic is IEEE double, and of its functions only the root, in a fixed order: the same on every machine. A text without a word gets features of its bytes, so that
 * no vector is zero; only an empty text is refused. */
#include "providers/formats/local_embed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/base/digest.h"
#include "config/base/own.h"
#include "providers/formats/local.h"
#include "providers/formats/local_words.h"

enum {
        FEATURES_MAX = 1 << 16, /* distinct ones of a text; later ones don't count */
        SLOTS_MIN = 1 << 8,
        SLOTS_MAX = FEATURES_MAX * 2,
        GROUP_LETTERS = 4,
        WORD_LETTERS_MAX = 64, /* of a word in letter groups */
};

enum feature_kind { FEATURE_WORD, FEATURE_STOP_WORD, FEATURE_PAIR, FEATURE_GROUP, FEATURE_KINDS };

static const double weights[FEATURE_KINDS] = {[FEATURE_WORD] = 1.0, [FEATURE_STOP_WORD] = 0.05, [FEATURE_PAIR] = 0.5, [FEATURE_GROUP] = 0.25};

struct feature {
        uint64_t hash; /* 0: an empty slot */
        uint32_t count;
        enum feature_kind kind;
};

/* An open-addressed table; a power of two of slots. */
struct features {
        struct feature *slots;
        size_t slot_count, used;
};

static uint64_t mix(uint64_t x)
{
        x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
        x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
        return x ^ x >> 33;
}

static void features_add(struct features *features, uint64_t hash, enum feature_kind kind)
{
        size_t mask = features->slot_count - 1;

        hash = mix(hash ^ (uint64_t)(kind + 1) << 60);
        hash += !hash;
        for (size_t i = hash & mask;; i = (i + 1) & mask) {
                struct feature *feature = &features->slots[i];

                if (feature->hash == hash) {
                        feature->count++;
                        return;
                }
                if (feature->hash)
                        continue;
                if (features->used >= features->slot_count / 2)
                        return;
                *feature = (struct feature){hash, 1, kind};
                features->used++;
                return;
        }
}

/* ^word$ in groups of GROUP_LETTERS bytes; words of that length and less have none of their own. */
static void add_groups(struct features *features, struct span word)
{
        char edged[WORD_LETTERS_MAX + 2];
        size_t len = word.len < WORD_LETTERS_MAX ? word.len : WORD_LETTERS_MAX;

        if (len <= GROUP_LETTERS - 1)
                return;
        edged[0] = '^';
        memcpy(edged + 1, word.data, len);
        edged[len + 1] = '$';
        for (size_t i = 0; i + GROUP_LETTERS <= len + 2; i++)
                features_add(features, digest_fnv1a((struct span){edged + i, GROUP_LETTERS}), FEATURE_GROUP);
}

static size_t add_words(struct features *features, struct local_tools *tools, struct span text)
{
        struct local_word word;
        uint64_t previous = 0;
        struct span folded;
        size_t count = 0;

        text_cursor_set(tools->words, text);
        while (count < LOCAL_WORDS_MAX && local_word_next(tools, text, &word, &folded)) {
                count++;
                features_add(features, word.stem, word.stop ? FEATURE_STOP_WORD : FEATURE_WORD);
                if (word.stop)
                        continue;
                add_groups(features, folded);
                if (previous)
                        features_add(features, mix(previous) + word.stem, FEATURE_PAIR);
                previous = word.stem;
        }
        return count;
}

static void project(const struct features *features, double sums[LOCAL_DIMENSIONS])
{
        memset(sums, 0, LOCAL_DIMENSIONS * sizeof *sums);
        for (size_t i = 0; i < features->slot_count; i++) {
                const struct feature *feature = &features->slots[i];
                uint64_t bits = mix(feature->hash);
                double weight;

                if (!feature->hash)
                        continue;
                weight = weights[feature->kind] * sqrt((double)feature->count);
                sums[(bits & 0xffffffffu) % LOCAL_DIMENSIONS] += bits >> 62 & 1 ? weight : -weight;
                sums[(bits >> 32 & 0x3fffffffu) % LOCAL_DIMENSIONS] += bits >> 63 ? weight : -weight;
        }
}

/* The first `dimensions` sums at unit length. */
static void normalise(const double *sums, size_t dimensions, float *out)
{
        double square = 0, scale;

        for (size_t i = 0; i < dimensions; i++)
                square += sums[i] * sums[i];
        scale = square > 0 ? 1.0 / sqrt(square) : 0;
        for (size_t i = 0; i < dimensions; i++)
                out[i] = (float)(sums[i] * scale);
        if (square == 0)
                out[0] = 1.0f; /* everything cancelled out, or lies in the dimensions cut off */
}

/* One text; returns its number of words, or -1. */
static int64_t embed_text(struct local_tools *tools, struct span text, size_t dimensions, float *out, struct error *err)
{
        size_t slots = SLOTS_MIN, words;
        double sums[LOCAL_DIMENSIONS];
        AUTO_FREE struct feature *memory = NULL;
        struct features features;

        while (slots < text.len * 4 && slots < SLOTS_MAX) /* a byte makes less than two features */
                slots *= 2;
        memory = calloc(slots, sizeof *memory);
        if (!memory)
                return error_set(err, CODE_INTERNAL, "no memory for local-embed");
        features = (struct features){memory, slots, 0};
        words = add_words(&features, tools, text);
        if (!features.used)
                for (size_t i = 0; i < text.len; i++)
                        features_add(&features, (uint64_t)(unsigned char)text.data[i] + 1, FEATURE_GROUP);
        project(&features, sums);
        normalise(sums, dimensions, out);
        return (int64_t)words;
}

int local_embed(struct call *call, struct error *err)
{
        struct local_tools *tools = local_tools_get(err);
        size_t dimensions = call->embed.dimensions ? (size_t)call->embed.dimensions : LOCAL_DIMENSIONS;
        float *vectors;
        int64_t words, sum = 0;

        if (!tools)
                return -1;
        if (dimensions > LOCAL_DIMENSIONS)
                return error_set(err, CODE_DIMENSION_MISMATCH, "local-embed has %d dimensions, not %zu", LOCAL_DIMENSIONS, dimensions);
        vectors = arena_alloc_raw(call->arena, call->embed.count * dimensions * sizeof *vectors);
        if (!vectors)
                return error_set(err, CODE_INTERNAL, "no room for %zu vectors of %zu numbers", call->embed.count, dimensions);
        for (size_t i = 0; i < call->embed.count; i++) {
                words = embed_text(tools, call->embed.texts[i], dimensions, vectors + i * dimensions, err);
                if (words < 0)
                        return -1;
                sum += words;
        }
        call->vectors = vectors;
        call->dimensions = (int)dimensions;
        call->usage.input_tokens = sum;
        return 0;
}
