/* flight.h -- micro-batches on their way to the device, and what it makes of them on its way back.

   A micro-batch is sent, arrives (its tokens become those that the ops read), and departs (its
   scores are queued to come back); then all that departed are collected. Only that waits for the
   device. */
#ifndef FLIGHT_H
#define FLIGHT_H

#include "err.h"
#include "plan.h"

#include <stdint.h>

/* One micro-batch on the host, [batch][seq] each. Ids are below vocab_size: the caller checked.
   Rows whose mask is 0 do not count. */
struct tokens {
    const int32_t *input, *target;
    const float *mask;
};

/* Means over rows of the means over a row's counted tokens; the share-weighted sum of
   micro-batches is the step's. Start from {0}. */
struct score {
    double loss, accuracy;
};

/* Micro-batches that may be queued before their scores are collected. */
enum { MODEL_AHEAD = 64 };

/* Micro-batches that may be queued before their scores are collected. */
enum { FLIGHT_AHEAD = 64 };

/* Zero means closed. Arrays are on the device, taken from an arena, unless said. */
struct flight {
    int batch, seq;
    int32_t *arrival;         /* [3][rows]: input, target and weight of the next micro-batch */
    int32_t *input, *target;  /* [rows], of the present one, as is weight */
    float *weight;            /* a row's share of the mean */
    float *loss, *correct;    /* [rows], set by the ops */
    char *slot[FLIGHT_AHEAD]; /* on the host, owned, [5][rows]: input, target, weight; loss, correct
                               */
    int sent, queued;         /* of the slots: filled and under way; departed */
};

/* Take the arrays of a micro-batch of [batch][seq] tokens. */
void flight_take(struct flight *f, int batch, int seq, struct arena *from);
void flight_close(struct flight *f); /* harmless when closed */

/* Begin to move a micro-batch; its rows weigh `share` together. Ids become id - first, or -1 where
   that is not below `vocab`; with vocab 0 they stay. None other is sent and has not arrived. -1
   with why() when the host is out of memory. */
must_check int flight_send(struct flight *f, const struct tokens *t, double share, int first,
                           int vocab);

/* Queue that what was sent is what the ops read from now on; and that loss and correct come back.
 */
void flight_arrive(struct flight *f);
void flight_depart(struct flight *f);

/* Wait for the device and add the scores of all that departed, in their order. One that was sent
   and has not arrived stays on its way. -1 with why() when the device broke. */
must_check int flight_collect(struct flight *f, struct score *score);

/* Wait, and drop all that is on its way. */
void flight_forget(struct flight *f);

/* Loss and correct [rows], on the host, of a micro-batch that was sent and collected alone, until
   the next one is sent. */
void flight_rows(const struct flight *f, const float **loss, const float **correct);

#endif
