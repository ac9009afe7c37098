/* profile_ops.c -- the operations of kernels.h as ttt-train calls them, timed while a step is.

   ttt-train is linked with --wrap for each name of this table (Makefile): its calls of matmul come
   to __wrap_matmul here, and __real_matmul is the operation itself. Other programs call operations
   as they are.

   An entry is a name, its parameters, the arguments to pass on, and what the operation does, in
   floating-point operations and in bytes: the model's mathematics as docs/model.md counts them, and
   each array once. 0: not counted. */
#include "comm.h"
#include "device.h"
#include "kernels.h"
#include "profile.h"

#define OP(op, params, args, flop, bytes)    \
    __typeof__(op) __real_##op, __wrap_##op; \
    void __wrap_##op params                  \
    {                                        \
        bool timed = profile_op_begin(#op);  \
        __real_##op args;                    \
        if (timed)                           \
            profile_op_end((flop), (bytes)); \
    }

enum { R = sizeof(real), F = sizeof(float) };

/* Numbers in the arrays of tokens of a TTT layer, and in its step sizes. */
static double tokens_of(const struct ttt_shape *s)
{
    return (double)s->batch * s->seq * s->heads * s->head_dim;
}

static double steps_of(const struct ttt_shape *s)
{
    return (double)s->batch * s->seq * s->heads;
}

static double linear_flop(const struct ttt_shape *s)
{
    double f = s->head_dim, k = s->mini_batch;
    return steps_of(s) * (6 * f * f + 4 * k * f);
}

static double mlp_flop(const struct ttt_shape *s)
{
    double f = s->head_dim, k = s->mini_batch;
    return steps_of(s) * (56 * f * f + 20 * k * f);
}

/* Of width columns in rows. */
static double cells(int rows, int width)
{
    return (double)rows * width;
}

static double product_flop(int m, int n, int k)
{
    return 2.0 * m * n * k;
}

static double product_bytes(int m, int n, int k, float beta, int stored)
{
    return R * (cells(m, k) + cells(k, n)) + stored * (1 + beta) * cells(m, n);
}

/* clang-format off */

/* ---- whole arrays ------------------------------------------------------------------------- */

OP(add, (real *y, const real *x, size_t count), (y, x, count), 0, 3.0 * R * count)
OP(real_from_float, (real *y, const float *x, size_t count), (y, x, count), 0, (R + F) * (double)count)
OP(float_from_real, (float *y, const real *x, size_t count), (y, x, count), 0, (R + F) * (double)count)

/* ---- matrix products ---------------------------------------------------------------------- */

OP(matmul,
   (real *c, const real *a, const real *b, enum transpose t, int m, int n, int k, float beta),
   (c, a, b, t, m, n, k, beta),
   product_flop(m, n, k), product_bytes(m, n, k, beta, R))
OP(matmul_f32,
   (float *c, const real *a, const real *b, enum transpose t, int m, int n, int k, float beta),
   (c, a, b, t, m, n, k, beta),
   product_flop(m, n, k), product_bytes(m, n, k, beta, F))

/* ---- vocabulary --------------------------------------------------------------------------- */

OP(embedding_fwd, (real *x, const real *table, const int32_t *ids, int rows, int width),
   (x, table, ids, rows, width), 0, 2.0 * R * cells(rows, width))
OP(embedding_bwd,
   (float *dtable, const real *dx, const int32_t *ids, int rows, int width, int vocab),
   (dtable, dx, ids, rows, width, vocab), 0, (R + 2.0 * F) * cells(rows, width))
OP(cross_entropy,
   (float *loss, float *correct, real *dlogits, const float *logits, const int32_t *target,
    const float *weight, int rows, int vocab),
   (loss, correct, dlogits, logits, target, weight, rows, vocab),
   0, (F + (dlogits ? R : 0)) * cells(rows, vocab))
OP(cross_entropy_sums,
   (float *sums, const float *logits, const int32_t *target, int rows, int vocab),
   (sums, logits, target, rows, vocab), 0, F * cells(rows, vocab))
OP(cross_entropy_part,
   (float *loss, float *correct, real *dlogits, const float *logits, const float *sums,
    const int32_t *target, const float *weight, int rows, int vocab, int ranks),
   (loss, correct, dlogits, logits, sums, target, weight, rows, vocab, ranks),
   0, (F + (dlogits ? R : 0)) * cells(rows, vocab))

/* ---- normalisation ------------------------------------------------------------------------ */

OP(rmsnorm_fwd,
   (real *y, float *inv_rms, const real *x, const float *gain, int rows, int width, float eps),
   (y, inv_rms, x, gain, rows, width, eps), 0, 2.0 * R * cells(rows, width))
OP(rmsnorm_bwd,
   (real *dx, float *dgain, const real *dy, const real *x, const float *inv_rms,
    const float *gain, int rows, int width),
   (dx, dgain, dy, x, inv_rms, gain, rows, width), 0, 4.0 * R * cells(rows, width))
OP(layernorm_fwd,
   (real *y, float *mean, float *inv_std, const real *x, const float *scale, const float *bias,
    int rows, int width, float eps),
   (y, mean, inv_std, x, scale, bias, rows, width, eps), 0, 2.0 * R * cells(rows, width))
OP(layernorm_bwd,
   (real *dx, float *dscale, float *dbias, const real *dy, const real *x, const float *mean,
    const float *inv_std, const float *scale, int rows, int width),
   (dx, dscale, dbias, dy, x, mean, inv_std, scale, rows, width),
   0, 3.0 * R * cells(rows, width))
OP(layernorm_part_moments, (float *moments, const real *x, int rows, int width),
   (moments, x, rows, width), 0, R * cells(rows, width))
OP(layernorm_part_fwd,
   (real *y, float *mean, float *inv_std, const real *x, const float *moments,
    const float *scale, const float *bias, int rows, int width, int ranks, float eps),
   (y, mean, inv_std, x, moments, scale, bias, rows, width, ranks, eps),
   0, 2.0 * R * cells(rows, width))
OP(layernorm_part_sums,
   (float *sums, const real *dy, const real *x, const float *mean, const float *inv_std,
    const float *scale, int rows, int width),
   (sums, dy, x, mean, inv_std, scale, rows, width), 0, 2.0 * R * cells(rows, width))
OP(layernorm_part_bwd,
   (real *dx, float *dscale, float *dbias, const real *dy, const real *x, const float *mean,
    const float *inv_std, const float *scale, const float *sums, int rows, int width, int ranks),
   (dx, dscale, dbias, dy, x, mean, inv_std, scale, sums, rows, width, ranks),
   0, 3.0 * R * cells(rows, width))

/* ---- convolution, positions, gates -------------------------------------------------------- */

OP(conv_fwd,
   (real *y, const real *x, const float *kernel, const float *bias, const real *residual,
    int batch, int seq, int width),
   (y, x, kernel, bias, residual, batch, seq, width),
   2.0 * CONV_WIDTH * batch * cells(seq, width),
   (residual ? 3.0 : 2.0) * R * batch * cells(seq, width))
OP(conv_bwd,
   (real *dx, float *dkernel, float *dbias, const real *dy, const real *x, const float *kernel,
    bool add, int batch, int seq, int width),
   (dx, dkernel, dbias, dy, x, kernel, add, batch, seq, width),
   4.0 * CONV_WIDTH * batch * cells(seq, width), (add ? 4.0 : 3.0) * R * batch * cells(seq, width))
OP(rope,
   (real *x, int batch, int seq, int heads, int head_dim, int first, int period, float theta,
    bool inverse),
   (x, batch, seq, heads, head_dim, first, period, theta, inverse),
   0, 2.0 * R * cells(batch, seq) * cells(heads, head_dim))
OP(swiglu_fwd, (real *y, const real *gate, const real *up, size_t count), (y, gate, up, count),
   0, 3.0 * R * count)
OP(swiglu_bwd,
   (real *dgate, real *dup, const real *dy, const real *gate, const real *up, size_t count),
   (dgate, dup, dy, gate, up, count), 0, 5.0 * R * count)
OP(gelu_gate_fwd, (real *y, const real *gate, const real *z, size_t count), (y, gate, z, count),
   0, 3.0 * R * count)
OP(gelu_gate_bwd,
   (real *dgate, real *dz, const real *dy, const real *gate, const real *z, size_t count),
   (dgate, dz, dy, gate, z, count), 0, 5.0 * R * count)

/* ---- attention ---------------------------------------------------------------------------- */

OP(attention_fwd,
   (real *out, float *lse, const real *q, const real *k, const real *v, int batch, int seq,
    int heads, int head_dim),
   (out, lse, q, k, v, batch, seq, heads, head_dim),
   2.0 * (seq + 1.0) * cells(batch, seq) * cells(heads, head_dim),
   4.0 * R * cells(batch, seq) * cells(heads, head_dim))
OP(attention_bwd,
   (real *dq, real *dk, real *dv, const real *dout, const real *out, const float *lse,
    const real *q, const real *k, const real *v, int batch, int seq, int heads, int head_dim),
   (dq, dk, dv, dout, out, lse, q, k, v, batch, seq, heads, head_dim),
   4.0 * (seq + 1.0) * cells(batch, seq) * cells(heads, head_dim),
   8.0 * R * cells(batch, seq) * cells(heads, head_dim))

/* ---- TTT ---------------------------------------------------------------------------------- */

OP(ttt_gate_fwd,
   (float *sigma, const real *h, const float *w, const float *bias, int batch, int seq,
    int heads, int width),
   (sigma, h, w, bias, batch, seq, heads, width),
   2.0 * cells(batch, seq) * cells(heads, width), R * batch * cells(seq, width))
OP(ttt_gate_bwd,
   (real *dh, float *dw, float *dbias, const float *dsigma, const float *sigma, const real *h,
    const float *w, int batch, int seq, int heads, int width),
   (dh, dw, dbias, dsigma, sigma, h, w, batch, seq, heads, width),
   4.0 * cells(batch, seq) * cells(heads, width), 3.0 * R * batch * cells(seq, width))
OP(ttt_linear_fwd,
   (real *out, float *kept, float *last, const real *q, const real *k, const real *v,
    const float *sigma, const struct ttt_params *p, const struct ttt_shape *s),
   (out, kept, last, q, k, v, sigma, p, s), linear_flop(s),
   4.0 * R * tokens_of(s) + F * (steps_of(s) + (kept ? (double)ttt_linear_kept_floats(s) : 0)))
OP(ttt_linear_bwd,
   (real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d, const real *dout,
    const float *dlast, const real *q, const real *k, const real *v, const float *sigma,
    const float *kept, const struct ttt_params *p, const struct ttt_shape *s),
   (dq, dk, dv, dsigma, d, dout, dlast, q, k, v, sigma, kept, p, s), 2 * linear_flop(s),
   7.0 * R * tokens_of(s) + F * (2 * steps_of(s) + (double)ttt_linear_kept_floats(s)))
OP(ttt_linear_stats,
   (float *curve, const real *k, const real *v, const float *sigma, const struct ttt_params *p,
    const struct ttt_shape *s),
   (curve, k, v, sigma, p, s), 0, 0)
OP(ttt_target_variance,
   (float *curve, const real *k, const real *v, const struct ttt_shape *s), (curve, k, v, s),
   0, 2.0 * R * tokens_of(s))
OP(ttt_mlp_fwd,
   (real *out, float *kept, float *last, const real *q, const real *k, const real *v,
    const float *sigma, const struct ttt_params *p, const struct ttt_shape *s),
   (out, kept, last, q, k, v, sigma, p, s), mlp_flop(s),
   4.0 * R * tokens_of(s) + F * (steps_of(s) + (kept ? (double)ttt_mlp_kept_floats(s) : 0)))
OP(ttt_mlp_bwd,
   (real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d, const real *dout,
    const float *dlast, const real *q, const real *k, const real *v, const float *sigma,
    const float *kept, const struct ttt_params *p, const struct ttt_shape *s),
   (dq, dk, dv, dsigma, d, dout, dlast, q, k, v, sigma, kept, p, s), 2 * mlp_flop(s),
   7.0 * R * tokens_of(s) + F * (2 * steps_of(s) + (double)ttt_mlp_kept_floats(s)))
OP(ttt_mlp_stats,
   (float *curve, const real *k, const real *v, const float *sigma, const struct ttt_params *p,
    const struct ttt_shape *s),
   (curve, k, v, sigma, p, s), 0, 0)

/* ---- optimiser ---------------------------------------------------------------------------- */

OP(square_sum, (double *sum, const float *x, size_t count), (sum, x, count),
   2.0 * count, F * (double)count)
OP(spoil_unless_finite, (float *to, const float *x, size_t count), (to, x, count),
   0, F * (double)count)
OP(adamw_step,
   (float *param, float *m, float *v, const float *grad, const double *sum, size_t count,
    const struct adamw *a),
   (param, m, v, grad, sum, count, a), 0, 7.0 * F * count)
OP(adafactor_step,
   (float *param, float *m, float *v, const float *grad, const double *sum,
    const double *param_sum, size_t count, const struct adafactor *a),
   (param, m, v, grad, sum, param_sum, count, a), 0, 7.0 * F * count)
OP(mean_add, (float *mean, const float *x, int before, size_t count), (mean, x, before, count),
   0, 3.0 * F * count)
OP(average_step,
   (float *average, const float *x, const double *sum, float rate, size_t count),
   (average, x, sum, rate, count), 0, 3.0 * F * count)

/* ---- what else takes time on the device's queue ------------------------------------------- */

OP(device_copy, (void *to, const void *from, size_t bytes), (to, from, bytes), 0, 2.0 * bytes)
OP(device_zero, (void *p, size_t bytes), (p, bytes), 0, (double)bytes)

/* ---- other ranks -------------------------------------------------------------------------- */

OP(comm_wait, (uint64_t ticket), (ticket), 0, 0)

#define COLLECTIVE(op, params, args)            \
    __typeof__(op) __real_##op, __wrap_##op;    \
    uint64_t __wrap_##op params                 \
    {                                           \
        bool timed = profile_op_begin(#op);     \
        uint64_t ticket = __real_##op args;     \
        if (timed)                              \
            profile_op_end(0, 0);               \
        return ticket;                          \
    }

COLLECTIVE(comm_all_reduce,
           (void *x, size_t count, enum comm_type type, enum comm_axis axis), (x, count, type, axis))
COLLECTIVE(comm_all_gather,
           (void *to, const void *from, size_t count, enum comm_type type, enum comm_axis axis),
           (to, from, count, type, axis))
COLLECTIVE(comm_reduce_scatter,
           (void *to, const void *from, size_t count, enum comm_type type, enum comm_axis axis),
           (to, from, count, type, axis))

/* clang-format on */

/* A recording has no marks between its ops, so while they are timed they are called one by one. */
__typeof__(device_replay) __real_device_replay, __wrap_device_replay;
bool __wrap_device_replay(struct device_recording *r, uint64_t key)
{
    return !profile_is_on() && __real_device_replay(r, key);
}
