/* mixer_parts.h -- what both mixers do. */
#ifndef MIXER_PARTS_H
#define MIXER_PARTS_H

#include "device.h"
#include "kernels.h"
#include "params.h"

#include <assert.h>

/* Bytes of an activation [batch][seq][heads][head_dim]. */
static inline size_t wide_bytes(const struct ttt_shape *s)
{
    return sizeof(real) * (size_t)s->batch * s->seq * s->heads * s->head_dim;
}

/* A convolution's history [][3][width]: that of sequences first..first+batch-1 becomes what follows
   x [batch][seq][width] or, where that is NULL, nothing. */
static inline void history_begin(real *history, int first, const real *x, const struct ttt_shape *s)
{
    enum { PAST = CONV_WIDTH - 1 };
    size_t width = (size_t)s->heads * s->head_dim, known = x ? (size_t)s->seq : 0;
    size_t taken = known < PAST ? known : PAST;
    history += (size_t)first * PAST * width;
    if (taken < PAST)
        device_zero(history, sizeof *history * (size_t)s->batch * PAST * width);
    for (size_t b = 0; taken && b < (size_t)s->batch; b++)
        device_copy(history + (b * PAST + PAST - taken) * width,
                    x + ((b + 1) * known - taken) * width, sizeof *history * taken * width);
}

/* conv_fwd of sequences that begin where past is NULL; else of one that has at least so many tokens
   as a history and goes on behind that of past, [3][width], which is used up. y is not residual
   then. zero: [1] on the device. */
static inline void conv_read(real *y, const real *x, const float *kernel, const float *bias,
                             const real *residual, real *past, const int32_t *zero, int batch,
                             int seq, int width)
{
    conv_fwd(y, x, kernel, bias, residual, batch, seq, width);
    assert(!past || (batch == 1 && seq >= CONV_WIDTH - 1 && y != residual));
    for (size_t at = 0; past && at < (size_t)(CONV_WIDTH - 1) * (size_t)width; at += (size_t)width)
        conv_step(y + at, past, x + at, kernel, bias, residual ? residual + at : NULL, zero, 1,
                  width);
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
