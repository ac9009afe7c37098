/* model_block.h -- one block of the model (model.h): convolution, mixer, feed-forward. */
#ifndef MODEL_BLOCK_H
#define MODEL_BLOCK_H

#include "model.h"

/* Find the parameters of block l. */
void block_find(struct block_ids *ids, const struct params *p, const struct config *c, int l);

/* Take a block's arrays from an arena. Without a backward the stream is changed in place and norms
   share one array, as blocks share all; where the backward computes them again, all but their
   inputs. */
void block_take(struct model *m, struct block_acts *a, struct arena *from);

/* From acts->x to x_next, the next block's or x_out; NULL: only what the backward needs. */
void block_fwd(struct model *m, int l, real *x_next, const struct ttt_shape *s, float *curves);

/* m->dx becomes, from the gradient of the block's output, that of its input. */
void block_bwd(struct model *m, int l, const struct ttt_shape *s);

#endif
