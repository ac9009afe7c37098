// pending.cu -- operations of kernels.h that have no CUDA twin yet: each breaks the device with a
// sentence, so that a run of such a model ends at its first device_sync.
//
// ttt_mlp_fwd, ttt_mlp_bwd, ttt_mlp_stats, ttt_mlp_decode_begin, ttt_mlp_decode. The sizes of
// TTT-MLP's state are those of the CPU.
#include "kernels.h"
#include "launch.cuh"

static void refuse(const char *what)
{
    device_fail(what, "has no CUDA twin in this version; use the CPU build");
}

bool has_ttt_mlp(void)
{
    return false;
}

size_t ttt_mlp_state_floats(int head_dim)
{
    size_t f = head_dim;
    return 8 * f * f + 5 * f;
}

size_t ttt_mlp_kept_floats(const struct ttt_shape *s)
{
    size_t steps = (size_t)s->seq / s->mini_batch;
    size_t groups = (steps + s->keep_every - 1) / s->keep_every;
    return (size_t)s->batch * s->heads * groups * ttt_mlp_state_floats(s->head_dim);
}

size_t ttt_mlp_bwd_workspace_bytes(const struct ttt_shape *)
{
    return 0;
}

size_t ttt_mlp_decode_bytes(int head_dim, int mini_batch)
{
    return sizeof(float) * (ttt_mlp_state_floats(head_dim) + 10 * (size_t)mini_batch * head_dim);
}

void ttt_mlp_fwd(real *, float *, float *, const real *, const real *, const real *, const float *,
                 const struct ttt_params *, const struct ttt_shape *)
{
    refuse("ttt_mlp_fwd");
}

void ttt_mlp_bwd(real *, real *, real *, float *, const struct ttt_params *, const real *,
                 const float *, const real *, const real *, const real *, const float *,
                 const float *, const struct ttt_params *, const struct ttt_shape *)
{
    refuse("ttt_mlp_bwd");
}

void ttt_mlp_stats(float *, const real *, const real *, const float *, const struct ttt_params *,
                   const struct ttt_shape *)
{
    refuse("ttt_mlp_stats");
}

void ttt_mlp_decode_begin(void *, const struct ttt_params *, const struct ttt_shape *)
{
    refuse("ttt_mlp_decode_begin");
}

void ttt_mlp_decode(real *, void *, const real *, const real *, const real *, const float *, int,
                    const struct ttt_params *, const struct ttt_shape *)
{
    refuse("ttt_mlp_decode");
}
