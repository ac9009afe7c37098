/* memory.h -- what a model remembers of a text, kept in a file.

   A safetensors file, notes and tensors:

     format      "ttt-memory 1"
     model       XXH3-128 of the checkpoint's params.safetensors
     tokenizer   XXH3-128 of the tokenizer's model file
     ids         I32 [N]      the tokens that were read
     logits      F32 [vocab]  for the token after them
     L/conv      the convolution before the mixer of layer L, [3][width]; with pre_conv
     L/conv_q, L/conv_k, L/inner     of TTT: convolutions, inner model and the mini-batch so far
     L/k, L/v    of attention: [N][width] */
#ifndef MEMORY_H
#define MEMORY_H

#include "checksum.h"
#include "decode.h"
#include "tensors.h"

/* Whose memory. */
struct memory_owner {
    struct xxh3 model, tokenizer;
};

/* Write what d remembers of its sequence `row` and the logits [vocab] that came of it.
   ids [count] are the tokens it was told. -1 with why(). */
must_check int memory_save(const char *path, const struct memory_owner *owner,
                           const struct decode *d, int row, const uint32_t *ids, size_t count,
                           const float *logits);

/* An open file. Zero means closed. */
struct memory {
    struct tensors file;
    const int32_t *id; /* [count], in the file */
    size_t count;
    const float *logits; /* [vocab], in the file */
};

/* Open and check it against the owner and the model's configuration. -1 with why(). */
must_check int memory_open(struct memory *m, const char *path, const struct memory_owner *owner,
                           const struct config *c);
void memory_close(struct memory *m); /* harmless when closed */

/* Every sequence of d, which has been opened with room for m->count tokens and more, goes on from
   there. */
must_check int memory_load(const struct memory *m, struct decode *d, const char *path);

#endif
