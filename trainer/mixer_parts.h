/* mixer_parts.h -- what both mixers do. */
#ifndef MIXER_PARTS_H
#define MIXER_PARTS_H

#include "kernels.h"
#include "params.h"

/* Bytes of an activation [batch][seq][heads][head_dim]. */
static inline size_t wide_bytes(const struct ttt_shape *s)
{
    return sizeof(real) * (size_t)s->batch * s->seq * s->heads * s->head_dim;
}

/* Through one projection y = h w: dh = dy w^T + beta dh, dw += h^T dy. h, dh [rows][full]; y, dy
   [rows][width], the columns of this rank's heads. */
static inline void project_bwd(real *dh, const real *dy, const real *h, struct params *p, int w,
                               int rows, int width, int full, float beta)
{
    matmul(dh, dy, param_work(p, w), NT, rows, full, width, beta);
    matmul_f32(param_grad(p, w), h, dy, TN, full, width, rows, 1);
}

#endif
