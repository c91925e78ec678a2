#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "providers/formats/local.h"
#include "tests/unit/providers/call_rig.h"

static struct rig rig;

static const float *embed(struct span text, int dimensions)
{
        struct call call;

        if (!rig.arena)
                rig_init(&rig, 1);
        rig_call_init(&rig, &call, RIG_EMBED);
        call.embed.texts = &text;
        call.embed.count = 1;
        call.embed.dimensions = dimensions;
        cr_assert_eq(local_run(&call, NULL), 0);
        cr_assert_eq(call.dimensions, dimensions ? dimensions : LOCAL_DIMENSIONS);
        return call.vectors;
}

static double dot(const float *a, const float *b, int dimensions)
{
        double sum = 0;

        for (int i = 0; i < dimensions; i++)
                sum += (double)a[i] * (double)b[i];
        return sum;
}

static double likeness(const char *a, const char *b)
{
        return dot(embed(span_of(a), 0), embed(span_of(b), 0), LOCAL_DIMENSIONS);
}

Test(local_embed, gives_unit_vectors_in_all_widths)
{
        for (int dimensions = 1; dimensions <= LOCAL_DIMENSIONS; dimensions += 37) {
                const float *vector = embed(SPAN("The quick brown fox jumps over the lazy dog."), dimensions);

                cr_assert_float_eq(dot(vector, vector, dimensions), 1, 1e-6, "%d", dimensions);
        }
}

Test(local_embed, gives_a_vector_to_any_text)
{
        static const char *const texts[] = {"", " ", "...", "\xe2\x80\xa6", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", "the of and", "1", "a"};

        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
                const float *vector = embed(span_of(texts[i]), 0);

                cr_assert_float_eq(dot(vector, vector, LOCAL_DIMENSIONS), 1, 1e-6, "%s", texts[i]);
        }
}

Test(local_embed, shorter_vectors_begin_as_the_long_ones_do)
{
        const float *whole = embed(SPAN("some words that matter"), 0), *part = embed(SPAN("some words that matter"), 64);
        double scale = sqrt(dot(whole, whole, 64));

        for (int i = 0; i < 64; i++)
                cr_assert_float_eq((double)part[i], (double)whole[i] / scale, 1e-6);
}

Test(local_embed, finds_like_texts_alike)
{
        const char *query = "How do I configure write-ahead logging?";

        cr_assert_gt(likeness(query, "Configuring the write-ahead log of a database"), likeness(query, "A recipe for sourdough bread") + 0.2);
        cr_assert_gt(likeness("concurrency of readers", "concurrent reader"), likeness("concurrency of readers", "flange torque") + 0.2);
        cr_assert_float_eq(likeness("Same text.", "same TEXT"), 1, 1e-6, "case and stops don't count");
        cr_assert_lt(fabs(likeness("turbine gearbox bolts", "cheese and wine")), 0.25);
}

static void *embed_on_a_thread(void *user)
{
        struct arena *arena = arena_new(1 << 20);
        struct span text = SPAN("The same on every thread, run and machine: deterministic.");
        struct call call;

        rig_call_init(&rig, &call, RIG_EMBED);
        call.arena = arena;
        call.embed.texts = &text;
        call.embed.count = 1;
        for (int i = 0; i < 50; i++) {
                arena_reset(arena);
                if (local_run(&call, NULL) < 0)
                        return NULL;
                if (i && memcmp(user, call.vectors, LOCAL_DIMENSIONS * sizeof(float)) != 0)
                        return NULL;
                memcpy(user, call.vectors, LOCAL_DIMENSIONS * sizeof(float));
        }
        arena_free(arena);
        return user;
}

Test(local_embed, is_the_same_on_every_thread)
{
        const float *mine = embed(SPAN("The same on every thread, run and machine: deterministic."), 0);
        float theirs[4][LOCAL_DIMENSIONS];
        pthread_t threads[4];
        void *ended;

        for (int i = 0; i < 4; i++)
                pthread_create(&threads[i], NULL, embed_on_a_thread, theirs[i]);
        for (int i = 0; i < 4; i++) {
                pthread_join(threads[i], &ended);
                cr_assert_not_null(ended);
                cr_assert_eq(memcmp(mine, theirs[i], sizeof theirs[i]), 0);
        }
}

/* Should this fail after a change of the features: indexes built before no longer fit. Give the model a new name then. */
Test(local_embed, has_not_changed)
{
        const float *vector = embed(SPAN("millrace"), 0);
        uint64_t hash = 0xcbf29ce484222325u;

        for (int i = 0; i < LOCAL_DIMENSIONS; i++) {
                int32_t rounded = (int32_t)lround((double)vector[i] * 1e6);

                for (int shift = 0; shift < 32; shift += 8)
                        hash = (hash ^ ((uint32_t)rounded >> shift & 0xff)) * 0x100000001b3u;
        }
        cr_assert_eq(hash, UINT64_C(0x7fb952b62fdaf0bd), "%llx", (unsigned long long)hash);
}

Test(local_embed, counts_words_and_keeps_its_bounds)
{
        enum { HUGE_BYTES = 3 << 20 };
        struct span texts[2] = {SPAN("three short words"), SPAN("and three more")};
        char *huge = malloc(HUGE_BYTES);
        struct call call;
        struct error err;

        embed(SPAN(""), 0);
        rig_call_init(&rig, &call, RIG_EMBED);
        call.embed.texts = texts;
        call.embed.count = 2;
        cr_assert_eq(local_run(&call, NULL), 0);
        cr_assert_eq(call.usage.input_tokens, 6);
        call.embed.dimensions = LOCAL_DIMENSIONS + 1;
        cr_assert_eq(local_run(&call, &err), -1);
        cr_assert_eq(err.code, CODE_DIMENSION_MISMATCH);
        for (size_t i = 0; i < HUGE_BYTES; i++)
                huge[i] = (char)(i % 7 ? 'a' + (i * 7919) % 26 : ' ');
        cr_assert_not_null(embed((struct span){huge, HUGE_BYTES}, 0));
        free(huge);
}
