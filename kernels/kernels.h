/* kernels.h -- the one list of operations.

   cpu/ and cuda/ each define every function here; a program links one of them. The formulas are
   derived in docs/model.md.

   Arrays live on the device, row-major, [slowest]...[fastest]. `real` is the build's storage type
   (real.h); everything computed is float. Ops never fail: they assert their shapes, and a broken
   device is reported by device_sync(). Outputs come first, then inputs, then sizes. Arrays do not
   overlap unless the contract says "may be". "+=" adds to what is there. Sizes are positive;
   offsets are 64-bit inside. Reductions have a fixed order: the same call gives the same bits,
   whatever the number of CPU threads unless the contract says otherwise.

   rows = batch * seq everywhere; tokens of one sequence are adjacent. A width is heads * head_dim,
   head by head. Names: x an input, y an output, dx the gradient of the loss with respect to x. */
#ifndef KERNELS_H
#define KERNELS_H

#include "real.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- whole arrays ------------------------------------------------------------------------- */

/* y[i] += x[i]                                                    y, x [count] */
void add(real *y, const real *x, size_t count);

/* y[i] = x[i], rounded to nearest even                            y, x [count]; y may be x when
 * real is float */
void real_from_float(real *y, const float *x, size_t count);
void float_from_real(float *y, const real *x, size_t count);

/* ---- matrix products ---------------------------------------------------------------------- */

enum transpose { NN, NT, TN };

/* matmul -- c = op(a) op(b) + beta c, accumulated in float.

     NN: c[m][n] = sum_k a[m][k] b[k][n]
     NT: c[m][n] = sum_k a[m][k] b[n][k]
     TN: c[m][n] = sum_k a[k][m] b[k][n]

     c [m][n]; a, b as above; beta 0 (c is not read) or 1
   matmul_f32 stores float: parameter gradients and logits.
   Deterministic for a given library and thread count. */
void matmul(real *c, const real *a, const real *b, enum transpose t, int m, int n, int k,
            float beta);
void matmul_f32(float *c, const real *a, const real *b, enum transpose t, int m, int n, int k,
                float beta);

/* ---- vocabulary --------------------------------------------------------------------------- */

/* embedding_fwd -- x[r][:] = table[ids[r]][:]
   A negative id makes a row of zeros: its row of the table is on another rank.
     x [rows][width]; table [vocab][width]; ids [rows], each below vocab (the caller checked) */
void embedding_fwd(real *x, const real *table, const int32_t *ids, int rows, int width);

/* embedding_bwd -- dtable[ids[r]][:] += dx[r][:], rows of one id in ascending order; those of
   negative ids nowhere. */
void embedding_bwd(float *dtable, const real *dx, const int32_t *ids, int rows, int width,
                   int vocab);

/* cross_entropy -- the loss of each row, and its gradient.

       p = softmax(logits[r])
       loss[r]    = -log p[target[r]]               (0 where weight[r] is 0)
       correct[r] = argmax(logits[r]) == target[r]  (first maximum; 0 where weight[r] is 0)
       dlogits[r][v] = weight[r] * (p[v] - [v == target[r]])

     loss, correct [rows]; dlogits [rows][vocab], or NULL for evaluation; may be logits itself when
     real is float; logits [rows][vocab]; target [rows]; weight [rows], the row's share of the mean:
     mask / (batch * valid tokens of its sequence). */
void cross_entropy(float *loss, float *correct, real *dlogits, const float *logits,
                   const int32_t *target, const float *weight, int rows, int vocab);

/* pick -- choose a token of each row by chance, as sample.h does where nothing is penalised.

       weight[v] = e^((logits[r][v] - the largest of them) / temperature), in units of 2^-44

     Likeliest first, the lower id first among equals, those count that are among top_k (0: all),
     then the fewest that reach top_p of the weight (1: all), then those of at least min_p of the
     largest weight. id[r] is the first at which the weights, added up in this order, exceed draw[r]
     of their sum; where no rule leaves any out, in the order of ids. temperature 0: the likeliest.
     -1 where a logit is not finite.

     id [rows]; logits [rows][stride], of which the first vocab (at most 2^18) count; draw [rows],
     at least 0 and below 1
   has_pick: whether it may be called; only where logits are not in the host's memory, which
   sample.h chooses from. */
struct pick_rule {
    double temperature, top_p, min_p;
    int top_k;
};
bool has_pick(void);
size_t pick_workspace_bytes(int rows, int vocab);
void pick(int32_t *id, const float *logits, const double *draw, const struct pick_rule *rule,
          int rows, int vocab, int stride);

/* ---- normalisation ------------------------------------------------------------------------ */

/* rmsnorm_fwd -- bring each row to unit root mean square, then apply a gain.

       inv_rms[r] = 1 / sqrt(mean_c x[r][c]^2 + eps)
       y[r][c]    = x[r][c] * inv_rms[r] * gain[c]

     y [rows][width]; inv_rms [rows], kept for rmsnorm_bwd; x [rows][width]; gain [width] */
void rmsnorm_fwd(real *y, float *inv_rms, const real *x, const float *gain, int rows, int width,
                 float eps);

/* rmsnorm_bwd -- with a = dy * gain and xh = x * inv_rms:

       dx    += inv_rms * (a - xh * mean(a * xh))
       dgain += sum over rows of dy * xh

     dx [rows][width], holds the gradient of the residual stream; dgain [width] */
void rmsnorm_bwd(real *dx, float *dgain, const real *dy, const real *x, const float *inv_rms,
                 const float *gain, int rows, int width);

/* layernorm_fwd -- y = (x - mean) * inv_std * scale + bias, biased variance, two passes.
     y [rows][width]; mean, inv_std [rows], kept for the backward; scale, bias [width] */
void layernorm_fwd(real *y, float *mean, float *inv_std, const real *x, const float *scale,
                   const float *bias, int rows, int width, float eps);

/* layernorm_bwd -- with u = dy * scale and xh = (x - mean) * inv_std:

       dx     = inv_std * (u - mean(u) - xh * mean(u * xh))
       dscale += sum over rows of dy * xh;  dbias += sum over rows of dy

     dx [rows][width], may be dy */
void layernorm_bwd(real *dx, float *dscale, float *dbias, const real *dy, const real *x,
                   const float *mean, const float *inv_std, const float *scale, int rows,
                   int width);

/* ---- short causal convolution ------------------------------------------------------------- */

enum { CONV_WIDTH = 4 };

/* conv_fwd -- depthwise, causal: y[b][t][d] = bias[d] + sum_j kernel[j][d] * x[b][t-3+j][d] +
   residual where x before the row's start is 0 and tap 3 meets the current token. y
   [batch][seq][width], may be residual; x likewise; kernel [4][width]; bias [width]; residual
   [batch][seq][width], or NULL for none */
void conv_fwd(real *y, const real *x, const float *kernel, const float *bias, const real *residual,
              int batch, int seq, int width);

/* conv_bwd -- dx[t] (+)= sum_j kernel[j] * dy[t+3-j];  dkernel[j] += sum_t dy[t] * x[t-3+j];
   dbias += sum_t dy[t].  add: whether dx is added to (true) or set (false). */
void conv_bwd(real *dx, float *dkernel, float *dbias, const real *dy, const real *x,
              const float *kernel, bool add, int batch, int seq, int width);

/* conv_step -- one token of batch sequences, resting as below ("Decoding"). Shifts x into
   the history, then convolves.
     y [batch][width]; history [batch][3][width], oldest first; x [batch][width]; residual or NULL
 */
void conv_step(real *y, real *history, const real *x, const float *kernel, const float *bias,
               const real *residual, const int32_t *position, int batch, int width);

/* ---- rotary positions --------------------------------------------------------------------- */

/* rope -- rotate interleaved pairs in place by the angle pos * theta^(-2c/head_dim):

       (x[2c], x[2c+1]) = (x[2c] cos - x[2c+1] sin, x[2c] sin + x[2c+1] cos)

     pos = (first + t) mod period (period 0: no modulus). inverse turns by the negative angle: the
     backward. x [batch][seq][heads][head_dim]; cos and sin are computed in double, once. */
void rope(real *x, int batch, int seq, int heads, int head_dim, int first, int period, float theta,
          bool inverse);

/* Decoding. Where an operation takes `position` [batch], on the device, it reads one token of each
   of batch sequences: position[b] is its place in sequence b, counted from 0. Sequence b rests
   where it is negative: what is remembered of it stays as it is, its row of outputs is anything.
   Being on the device, positions may change under a recording (device.h). */

/* rope_step -- rope for one token of each sequence, pos = position[b] mod period.
     x [batch][heads][head_dim]; limit: positions, mod period, are below it */
void rope_step(real *x, const int32_t *position, int batch, int heads, int head_dim, int period,
               int limit, float theta);

/* ---- gates -------------------------------------------------------------------------------- */

/* swiglu: y = silu(gate) * up. y may be gate or up.                     all [count] */
void swiglu_fwd(real *y, const real *gate, const real *up, size_t count);
/* With S = sigmoid(gate): dup = dy * gate * S; dgate = dy * up * S (1 + gate (1 - S)).
   dgate may be gate, dup may be up. */
void swiglu_bwd(real *dgate, real *dup, const real *dy, const real *gate, const real *up,
                size_t count);

/* gelu_gate: y = gelu(gate) * z, the tanh form. y may be gate or z.     all [count] */
void gelu_gate_fwd(real *y, const real *gate, const real *z, size_t count);
/* dz = dy * gelu(gate); dgate = dy * z * gelu'(gate). dz may be dy; dgate may be gate. */
void gelu_gate_bwd(real *dgate, real *dz, const real *dy, const real *gate, const real *z,
                   size_t count);

/* ---- causal attention --------------------------------------------------------------------- */

/* attention_fwd -- each token reads those before it and itself, head by head.

       p[t][u] = softmax over u <= t of (q[t] . k[u]) / sqrt(head_dim);  out[t] = sum_u p[t][u] v[u]
       lse[t]  = log sum_u exp((q[t] . k[u]) / sqrt(head_dim))

     out, q, k, v [batch][seq][heads][head_dim], q and k after rope
     lse [batch][heads][seq], kept for attention_bwd
   Works in blocks: nothing of seq * seq is stored. head_dim 16, 32, 64 or 96. */
void attention_fwd(real *out, float *lse, const real *q, const real *k, const real *v, int batch,
                   int seq, int heads, int head_dim);

/* attention_bwd -- dq, dk, dv are set. Recomputes p from lse, with D[t] = dout[t] . out[t]:
       ds[t][u] = p[t][u] (dout[t] . v[u] - D[t]) / sqrt(head_dim)
       dq[t] = sum_u ds[t][u] k[u];  dk[u] = sum_t ds[t][u] q[t];  dv[u] = sum_t p[t][u] dout[t] */
void attention_bwd(real *dq, real *dk, real *dv, const real *dout, const real *out,
                   const float *lse, const real *q, const real *k, const real *v, int batch,
                   int seq, int heads, int head_dim);

/* attention_decode -- one token of batch sequences. Appends k and v at position[b] of the caches,
   then reads positions 0..position[b], which is below capacity: the caller checked.
     out, q, k, v [batch][heads][head_dim]; k_cache, v_cache [batch][capacity][heads][head_dim] */
void attention_decode(real *out, real *k_cache, real *v_cache, const real *q, const real *k,
                      const real *v, const int32_t *position, int capacity, int batch, int heads,
                      int head_dim);

/* ---- TTT: the inner loop ------------------------------------------------------------------ */

/* The sizes and constants of a TTT layer. */
struct ttt_shape {
    int batch, seq, heads, head_dim;
    int mini_batch; /* tokens per inner step; divides seq */
    int keep_every; /* the forward keeps the inner state before every keep_every-th mini-batch */
    float rate;     /* ttt_base_lr * ttt_lr_mult / head_dim */
    float eps;      /* of the inner layer norm, 1e-6 */
};

/* What the inner loop learns from, shared by both inner models. Gradients use the same struct:
   each member is then "+=". w2 and b2 are NULL for the linear model. */
struct ttt_params {
    float *token_idx; /* [mini_batch]: learnable_token_idx; 1/(i+1) is added inside, clipped at 0 */
    float *norm_scale; /* [heads][head_dim] */
    float *norm_bias;  /* [heads][head_dim] */
    float *w1;         /* [heads][head_dim][head_dim], mlp: [heads][head_dim][4 head_dim] */
    float *b1;         /* [heads][head_dim],           mlp: [heads][4 head_dim] */
    float *w2;         /* mlp: [heads][4 head_dim][head_dim] */
    float *b2;         /* mlp: [heads][head_dim] */
};

/* Floats of inner state per sequence and head: f^2 + f, laid out w1 then b1. */
size_t ttt_linear_state_floats(int head_dim);

/* Kept states for a shape: [batch][heads][ceil(seq / mini_batch / keep_every)][state]. */
size_t ttt_linear_kept_floats(const struct ttt_shape *s);

/* ttt_gate_fwd -- the step size of each token and head.

       sigma[b][a][t] = sigmoid( sum_d h[b][t][d] w[a][d] + bias[a] )

     sigma [batch][heads][seq]; h [batch][seq][width]; w [heads][width]; bias [heads] */
void ttt_gate_fwd(float *sigma, const real *h, const float *w, const float *bias, int batch,
                  int seq, int heads, int width);

/* ttt_gate_bwd -- with dz = dsigma * sigma (1 - sigma):
       dh += sum_a dz_a w[a];  dw[a] += sum_rows dz_a h;  dbias[a] += sum_rows dz_a */
void ttt_gate_bwd(real *dh, float *dw, float *dbias, const float *dsigma, const float *sigma,
                  const real *h, const float *w, int batch, int seq, int heads, int width);

/* ttt_linear_fwd -- read the sequence by mini-batches, training a linear model as it goes.

   For each sequence and head, from W = w1, b = b1; t_i = max(0, token_idx[i] + 1/(i+1));
   g_j = rate * sigma_j; E[i][j] = t_i g_j for j <= i, else 0; s_j = t_last g_j; X are the keys:
       Z  = X W + b;  xh, r = normalised rows and inverse deviations of Z
       e  = scale * xh + bias - (V - X)
       G  = LNV(scale * e; xh, r),  LNV(u) = r (u - mean(u) - xh mean(u xh))
       Zb = Q W + b - (E * (Q X^T + 1)) G
       out = Q + scale * normalised(Zb) + bias
       W -= (s * X)^T G;  b -= sum_j s_j G_j

     out, q, k, v [batch][seq][heads][head_dim], q and k after rope; sigma [batch][heads][seq]
     kept   ttt_linear_kept_floats, or NULL when there will be no backward
     last   [batch][heads][state], the state after the last mini-batch, or NULL
   head_dim 16, 32, 64 or 96; mini_batch at most ttt_mini_batch_most(). Arrays of tokens and the
   decoding state begin at multiples of 16 bytes. */
void ttt_linear_fwd(real *out, float *kept, float *last, const real *q, const real *k,
                    const real *v, const float *sigma, const struct ttt_params *p,
                    const struct ttt_shape *s);

/* ttt_linear_bwd -- gradients of everything ttt_linear_fwd read. Replays each kept group.

     dq, dk, dv [batch][seq][heads][head_dim]; dsigma [batch][heads][seq]; all set
     d      "+=" every member (summed over sequences in ascending order)
     dout   [batch][seq][heads][head_dim]; dlast [batch][heads][state], or NULL for zero
     kept   as ttt_linear_fwd wrote it */
void ttt_linear_bwd(real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d,
                    const real *dout, const float *dlast, const real *q, const real *k,
                    const real *v, const float *sigma, const float *kept,
                    const struct ttt_params *p, const struct ttt_shape *s);

/* The most tokens of a mini-batch that this backend takes. */
int ttt_mini_batch_most(void);

/* Workspace that ttt_linear_bwd asks for: the largest of any op, so the memory plan names it. */
size_t ttt_linear_bwd_workspace_bytes(const struct ttt_shape *s);

/* ttt_linear_stats -- how well the inner model fits, for people: means over batch, heads and
   head_dim of squared errors at the last token of mini-batch c (target v - k):

       curve[0][c] with the initial state; curve[1][c] with the state before mini-batch c;
       curve[2][c] with the state after it

     curve [3][seq / mini_batch]; k after rope */
void ttt_linear_stats(float *curve, const real *k, const real *v, const float *sigma,
                      const struct ttt_params *p, const struct ttt_shape *s);

/* ttt_target_variance -- curve[c] = mean over batch, heads, head_dim of (d_c - mean_t d_t)^2 where
   d = v - k before rope and d_c is taken at the FIRST token of mini-batch c.   curve
   [seq/mini_batch] */
void ttt_target_variance(float *curve, const real *k, const real *v, const struct ttt_shape *s);

/* Bytes of decoding state per sequence and head: the inner state, as ttt_linear_fwd leaves it in
   `last`, and then the rows of the current mini-batch. */
size_t ttt_linear_decode_bytes(int head_dim, int mini_batch);

/* Set the decoding state of batch sequences to the initial inner model, or to what ttt_linear_fwd
   left in `last` where that is not NULL: the next token then begins a mini-batch (s->seq is not
   read). */
void ttt_linear_decode_begin(void *state, const float *last, const struct ttt_params *p,
                             const struct ttt_shape *s);

/* ttt_linear_decode -- one token of batch sequences (s->seq is not read): the outputs equal
   ttt_linear_fwd's at every position. W stays fixed inside a mini-batch; the rows k_j, g_j G_j of
   the current mini-batch are kept and applied at its end.
     out, q, k, v [batch][heads][head_dim]; sigma [batch][heads]; position [batch], of which the
     place in the mini-batch counts; rope has already been applied with position mod mini_batch */
void ttt_linear_decode(real *out, void *state, const real *q, const real *k, const real *v,
                       const float *sigma, const int32_t *position, const struct ttt_params *p,
                       const struct ttt_shape *s);

/* ---- TTT-MLP: the same operations for an inner model of two layers ------------------------- */

/* Floats of inner state per sequence and head, 8 f^2 + 5 f: w1, b1, w2, b2 in that order. */
size_t ttt_mlp_state_floats(int head_dim);
size_t ttt_mlp_kept_floats(const struct ttt_shape *s);

/* ttt_mlp_fwd -- as ttt_linear_fwd, with the inner model gelu(X W1 + b1) W2 + b2:
       Z1 = X W1 + b1;  X2 = gelu(Z1);  Z2 = X2 W2 + b2;  xh, r = normalised rows of Z2
       e  = scale * xh + bias - (V - X);  G2 = LNV(scale * e; xh, r);  G1 = (G2 W2^T) * gelu'(Z1)
       Z1b = Q W1 + b1 - (E * (Q X^T + 1)) G1;  X2b = gelu(Z1b)
       Z2b = X2b W2 + b2 - (E * (X2b X2^T + 1)) G2
       out = Q + scale * normalised(Z2b) + bias
       W1 -= (s * X)^T G1;  b1 -= sum_j s_j G1_j;  W2 -= (s * X2)^T G2;  b2 -= sum_j s_j G2_j */
void ttt_mlp_fwd(real *out, float *kept, float *last, const real *q, const real *k, const real *v,
                 const float *sigma, const struct ttt_params *p, const struct ttt_shape *s);
void ttt_mlp_bwd(real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d,
                 const real *dout, const float *dlast, const real *q, const real *k, const real *v,
                 const float *sigma, const float *kept, const struct ttt_params *p,
                 const struct ttt_shape *s);
size_t ttt_mlp_bwd_workspace_bytes(const struct ttt_shape *s);
void ttt_mlp_stats(float *curve, const real *k, const real *v, const float *sigma,
                   const struct ttt_params *p, const struct ttt_shape *s);
size_t ttt_mlp_decode_bytes(int head_dim, int mini_batch);
void ttt_mlp_decode_begin(void *state, const float *last, const struct ttt_params *p,
                          const struct ttt_shape *s);
void ttt_mlp_decode(real *out, void *state, const real *q, const real *k, const real *v,
                    const float *sigma, const int32_t *position, const struct ttt_params *p,
                    const struct ttt_shape *s);

/* ---- rows whose other columns are on other ranks ------------------------------------------- */

/* Where mp splits a row, each rank sums over its part, the ranks add up (comm.h), and each goes on
   with what all have found. width, vocab: this rank's columns; ranks: those that share a row, in
   the order of their columns, of equal width. */

/* layernorm_part_fwd -- layernorm_fwd of such rows.
     layernorm_part_moments: moments[r] = (mean of the part, sum of squares about it)
     y [rows][width]; moments [rows][2], and of all ranks [ranks][rows][2] */
void layernorm_part_moments(float *moments, const real *x, int rows, int width);
void layernorm_part_fwd(real *y, float *mean, float *inv_std, const real *x, const float *moments,
                        const float *scale, const float *bias, int rows, int width, int ranks,
                        float eps);

/* layernorm_part_bwd -- layernorm_bwd of such rows.
     layernorm_part_sums: sums[r] = (sum of u, sum of u * xh) over the part, u and xh as there
     sums [rows][2], of all ranks added up for the backward; dx may be dy */
void layernorm_part_sums(float *sums, const real *dy, const real *x, const float *mean,
                         const float *inv_std, const float *scale, int rows, int width);
void layernorm_part_bwd(real *dx, float *dscale, float *dbias, const real *dy, const real *x,
                        const float *mean, const float *inv_std, const float *scale,
                        const float *sums, int rows, int width, int ranks);

/* cross_entropy_part -- cross_entropy of such rows.
     cross_entropy_sums: sums[r] = (greatest logit here; sum of e^(logit - greatest) without the
     target's; the target's logit; whether the target is the first greatest), of which the last two
     are -infinity and 0 where the target is on another rank, and target[r] then is negative
     sums [rows][4], of all ranks [ranks][rows][4] */
void cross_entropy_sums(float *sums, const float *logits, const int32_t *target, int rows,
                        int vocab);
void cross_entropy_part(float *loss, float *correct, real *dlogits, const float *logits,
                        const float *sums, const int32_t *target, const float *weight, int rows,
                        int vocab, int ranks);

/* ---- optimiser ---------------------------------------------------------------------------- */

/* square_sum -- sum[0] = sum over i of x[i]^2, accumulated in double in a fixed order.
     sum [1] on the device; x [count] */
void square_sum(double *sum, const float *x, size_t count);

/* spoil_unless_finite -- to[0] becomes NaN where some x is not finite, and is left alone else: a
   gradient spoilt by its loss has no finite norm, and its update is left out.   x [count] */
void spoil_unless_finite(float *to, const float *x, size_t count);

/* The constants of one AdamW update. */
struct adamw {
    float lr, beta1, beta2, eps, weight_decay;
    float correct1, correct2; /* 1 - beta1^(c+1), 1 - beta2^(c+1), c = updates done before */
    float clip;               /* threshold of the global norm; 0: no clipping */
    bool bf16_momentum;       /* m is kept rounded to bf16, and meets beta1 in bf16 arithmetic */
};

/* adamw_step -- clip, update the moments, move the parameters.

       n = sqrt(square_sum[0]);  g = grad * (n < clip ? 1 : clip / n)
       m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
       param -= lr * ( (m / correct1) / (sqrt(v / correct2) + eps) + weight_decay * param )

     param, m, v, grad [count]; square_sum [1] on the device, of the gradients of ALL parameters;
     where that is not finite nothing is changed
   Source: optax.clip_by_global_norm and optax.adamw, as the reference chains them. */
void adamw_step(float *param, float *m, float *v, const float *grad, const double *square_sum,
                size_t count, const struct adamw *a);

/* The constants of one update of Adafactor with whole second moments. */
struct adafactor {
    float lr, beta1;
    float decay;        /* of the second moment: 1 - (c+1)^-b2, c = updates done before */
    float weight_decay; /* what of the parameter goes, the learning rate included */
    float clip;         /* threshold of the global norm; 0: no clipping */
    bool bf16_momentum; /* as in struct adamw */
};

/* adafactor_step -- one parameter, stepping by its own size.

       n = sqrt(square_sum[0]);  g = grad * (n < clip ? 1 : clip / n)
       v = decay v + (1 - decay) (g^2 + 1e-30);  size = max(1e-3, sqrt(param_sum[0] / count))
       m = beta1 m + (1 - beta1) lr size g / sqrt(v)
       param -= m + weight_decay * param

     param, m, v, grad [count], of one tensor; square_sum [1] of ALL gradients and param_sum [1] of
     this param, both on the device; where square_sum is not finite nothing is changed
   Source: optax.adafactor with momentum and without factoring, as the reference chains it. */
void adafactor_step(float *param, float *m, float *v, const float *grad, const double *square_sum,
                    const double *param_sum, size_t count, const struct adafactor *a);

/* mean_add -- mean[i] += (x[i] - mean[i]) / (before + 1): the mean of before + 1 arrays, one at a
   time.   mean, x [count] */
void mean_add(float *mean, const float *x, int before, size_t count);

/* average_step -- average[i] += rate (x[i] - average[i]); where square_sum[0] is not finite, as in
   adamw_step, nothing is changed.   average, x [count] */
void average_step(float *average, const float *x, const double *square_sum, float rate,
                  size_t count);

#ifdef __cplusplus
}
#endif
#endif
