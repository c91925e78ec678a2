#include "retrieval/fusion.h"

#include <math.h>

/* x' = (x - shift) / scale over the items that are scored on the side; scale 0: all are equal. */
static void shift_and_scale(enum fusion_method method, enum fusion_side side, const struct fusion_item *items, size_t count,
                            double *ret_shift, double *ret_scale)
{
        double min = INFINITY, max = -INFINITY, sum = 0, squares = 0;
        size_t scored = 0;

        for (size_t i = 0; i < count; i++) {
                double x = items[i].side[side].score;

                if (!items[i].side[side].scored)
                        continue;
                min = x < min ? x : min;
                max = x > max ? x : max;
                sum += x;
                scored++;
        }
        *ret_shift = min;
        *ret_scale = scored && max > min ? max - min : 0;
        if (method != FUSION_ZSCORE || *ret_scale <= 0)
                return;
        *ret_shift = sum / (double)scored;
        for (size_t i = 0; i < count; i++)
                if (items[i].side[side].scored)
                        squares += (items[i].side[side].score - *ret_shift) * (items[i].side[side].score - *ret_shift);
        *ret_scale = sqrt(squares / (double)scored);
}

static void score_side(const struct fusion_settings *settings, enum fusion_side side, struct fusion_item *items, size_t count)
{
        double weight = side == FUSION_DENSE ? settings->alpha : 1 - settings->alpha, shift, scale;

        shift_and_scale(settings->method, side, items, count, &shift, &scale);
        for (size_t i = 0; i < count; i++) {
                struct fusion_item *item = &items[i];

                if (settings->method == FUSION_RRF) {
                        item->side[side].normalised = item->side[side].rank > 0 ? 1.0 / (FUSION_RRF_K + item->side[side].rank) : 0;
                        item->side[side].part = item->side[side].normalised;
                } else {
                        item->side[side].normalised = item->side[side].scored && scale > 0
                                                            ? (item->side[side].score - shift) / scale
                                                            : 0;
                        item->side[side].part = weight * item->side[side].normalised;
                }
        }
}

void fusion_score(const struct fusion_settings *settings, const bool active[FUSION_SIDES], struct fusion_item *items, size_t count)
{
        for (int side = 0; side < FUSION_SIDES; side++)
                if (active[side])
                        score_side(settings, (enum fusion_side)side, items, count);
        for (size_t i = 0; i < count; i++) {
                items[i].score = 0;
                for (int side = 0; side < FUSION_SIDES; side++) {
                        if (!active[side])
                                items[i].side[side].normalised = items[i].side[side].part = 0;
                        items[i].score += items[i].side[side].part;
                }
        }
}
