// inner_bwd.cuh -- what the backwards of both inner models share: states under replay, and partial
// gradients of the parameters.
#ifndef INNER_BWD_CUH
#define INNER_BWD_CUH

#include "inner.cuh"

// What one chain adds to the parameters' gradients, in the workspace: that of the initial state,
// then of the norm's scale and bias, then of the token weights.
static inline __device__ __host__ size_t partial_floats(size_t state, const ttt_shape &s)
{
    return (state + 2 * (size_t)s.head_dim + s.mini_batch + 3) / 4 * 4;
}

// States of a group under replay, one before each of its mini-batches.
static inline __device__ __host__ int replay_slots(const ttt_shape &s)
{
    return min(s.keep_every, s.seq / s.mini_batch);
}

// d += the chains' partials, `each` floats apart, sequences in ascending order. Whether there is a
// w2 tells the inner model.
void fold_partials(const struct ttt_params *d, const float *partials, size_t each,
                   const float *token_idx, const struct ttt_shape *s);

#endif
