/* Joins the dense and the sparse side's candidates into one score. Pure.
 *      cross   every member of the union U is scored exactly on both sides; x' = (x - min) / (max - min) over U, 0 when all are
 *              equal; score = alpha * dense' + (1 - alpha) * sparse'
 *      zscore  the same with x' = (x - mean) / standard deviation over U, 0 when all are equal
 *      rrf     1 / (60 + rank) summed over the sides whose best `depth` the item is among; rank from 1 */
#ifndef RETRIEVAL_FUSION_H
#define RETRIEVAL_FUSION_H

#include <stdbool.h>
#include <stddef.h>

#include "config/settings.h"

enum { FUSION_RRF_K = 60, FUSION_DEPTH_MIN = 50 };

enum fusion_side { FUSION_DENSE, FUSION_SPARSE, FUSION_SIDES };

struct fusion_item {
        struct {
                double score;      /* exact; a chunk that no query term hits has BM25 0 */
                bool scored;       /* false: it has no score on this side (no vector); its part is 0 and moves no bound */
                int rank;          /* from 1; 0: not among this side's candidates */
                double part;       /* out: what the side adds to the sum */
                double normalised; /* out: x' (rrf: 1 / (60 + rank) or 0) */
        } side[FUSION_SIDES];
        double score; /* out */
};

/* A side that is not active (no query vector, no candidates) contributes 0. */
void fusion_score(const struct fusion_settings *settings, const bool active[FUSION_SIDES], struct fusion_item *items, size_t count);

#endif
