/* mixer.h -- the sequence mixer of a block: attention or TTT, as config->seq_modeling_block says.

   y = mixer(h), [rows][width] both; the block multiplies y by wo. */
#ifndef MIXER_H
#define MIXER_H

#include "mixer_attention.h"
#include "mixer_ttt.h"

/* Of each struct only the member that the configuration asks for is in use. */
struct mixer_ids {
    struct mixer_attention_ids attention;
    struct mixer_ttt_ids ttt;
};

struct mixer_acts {
    real *y; /* one of theirs */
    struct mixer_attention_acts attention;
    struct mixer_ttt_acts ttt;
};

struct mixer_scratch {
    struct mixer_attention_scratch attention;
    struct mixer_ttt_scratch ttt;
};

struct mixer_memory {
    struct mixer_attention_memory attention;
    struct mixer_ttt_memory ttt;
};

void mixer_find(struct mixer_ids *ids, const struct params *p, const struct config *c, int l);

/* Take a layer's arrays, or the scratch, from an arena. training: a backward follows; reading: the
   sequences will be decoded on. */
void mixer_take_acts(struct mixer_acts *a, const struct config *c, const struct ttt_shape *s,
                     bool training, bool reading, struct arena *from);
void mixer_take_scratch(struct mixer_scratch *t, const struct config *c, const struct ttt_shape *s,
                        struct arena *from);

/* The largest scratch that an operation of the backward asks the device for. */
size_t mixer_workspace_bytes(const struct config *c, const struct ttt_shape *s);

/* acts->y from h. curves: NULL, or with TTT [4][seq / mini_batch] on the device to set. */
void mixer_fwd(struct mixer_acts *a, const real *h, const struct mixer_ids *ids,
               const struct params *p, const struct config *c, const struct ttt_shape *s,
               float *curves);

/* The forward that follows is of one sequence, which goes on from that of place b in a memory,
   after whole mini-batches; m NULL: of sequences that begin. Of TTT alone, acts taken for reading.
 */
void mixer_go_on(struct mixer_acts *a, const struct mixer_memory *m, int b, const struct config *c,
                 const struct ttt_shape *s);

/* dh is set, gradients of the mixer's parameters are added to. dy is overwritten. */
void mixer_bwd(real *dh, real *dy, const real *h, struct mixer_acts *a, struct mixer_scratch *t,
               const struct mixer_ids *ids, struct params *p, const struct config *c,
               const struct ttt_shape *s);

/* One token of each sequence: shape has seq 1, acts were taken with it. capacity: tokens that
   attention will remember; TTT does not read it. */
void mixer_take_memory(struct mixer_memory *m, const struct config *c, const struct ttt_shape *s,
                       int capacity, struct arena *from);

/* Sequences first..first+batch-1 start anew; or, where `read` is not NULL, after the seq tokens of
   each that mixer_fwd has read into it. */
void mixer_begin(struct mixer_memory *m, int first, const struct mixer_acts *read,
                 const struct mixer_ids *ids, const struct params *p, const struct config *c,
                 const struct ttt_shape *s);

/* position [batch], on the device: a token's place in its sequence, of which TTT reads the place in
   the mini-batch alone; negative: the sequence rests. */
void mixer_step(struct mixer_acts *a, struct mixer_memory *m, const real *h,
                const int32_t *position, const struct mixer_ids *ids, const struct params *p,
                const struct config *c, const struct ttt_shape *s);

#endif
