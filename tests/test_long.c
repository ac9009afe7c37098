/* test_long.c -- 33000 tokens of one head through attention and both inner loops: sampled results
   against plain loops in double. */
#include "inner_model.h"

enum { N = 33000, F = 16 };

/* Tokens at the ends of tiles and of the whole, and between. */
static const int sampled[] = {0, 1, 63, 64, 4095, 12345, 20000, 32767, 32768, 32998, 32999};
enum { SAMPLES = sizeof sampled / sizeof *sampled };

static double row_dot(const float *a, const float *b)
{
    double sum = 0;
    for (int c = 0; c < F; c++)
        sum += (double)a[c] * b[c];
    return sum;
}

/* The rows of x that are sampled. */
static float *rows_of(const float *x)
{
    float *rows = lot_malloc(sizeof *rows * SAMPLES * F);
    for (int i = 0; i < SAMPLES; i++)
        memcpy(rows + i * F, x + (size_t)sampled[i] * F, sizeof *rows * F);
    return rows;
}

/* q is a few times larger than k: weights that differ, and long sums that do not. */
static void test_attention(void)
{
    const float *q, *k, *v, *dout;
    const double scale = 0.25;
    size_t count = (size_t)N * F;
    float *dev_q = random_floats(&q, count, 0, 3), *dev_k = random_floats(&k, count, 0, 1);
    float *dev_v = random_floats(&v, count, 0, 1), *dev_dout = random_floats(&dout, count, 0, 1);
    float *out = lot_alloc(sizeof *out * count), *lse = lot_alloc(sizeof *lse * N);
    float *dq = lot_alloc(sizeof *dq * count), *dk = lot_alloc(sizeof *dk * count);
    float *dv = lot_alloc(sizeof *dv * count);
    attention_fwd(out, lse, dev_q, dev_k, dev_v, 1, N, 1, F);
    attention_bwd(dq, dk, dv, dev_dout, out, lse, dev_q, dev_k, dev_v, 1, N, 1, F);

    double *want_out = lot_malloc(sizeof(double) * SAMPLES * F), want_lse[SAMPLES];
    double *want_dq = lot_malloc(sizeof(double) * SAMPLES * F);
    double *want_dk = lot_malloc(sizeof(double) * SAMPLES * F);
    double *want_dv = lot_malloc(sizeof(double) * SAMPLES * F);
    float got_lse[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        int t = sampled[i];
        double sum = 0, dot = 0;
        for (int u = 0; u <= t; u++) /* |q . k| / 4 is at most 12: no maximum is needed */
            sum += exp(scale * row_dot(q + t * F, k + u * F));
        want_lse[i] = log(sum);
        got_lse[i] = lse[t];
        for (int u = 0; u <= t; u++)
            for (int c = 0; c < F; c++)
                want_out[i * F + c] +=
                    exp(scale * row_dot(q + t * F, k + u * F)) / sum * v[u * F + c];
        for (int c = 0; c < F; c++)
            dot += dout[t * F + c] * want_out[i * F + c];
        for (int u = 0; u <= t; u++) {
            double p = exp(scale * row_dot(q + t * F, k + u * F)) / sum;
            double ds = scale * p * (row_dot(dout + t * F, v + u * F) - dot);
            for (int c = 0; c < F; c++)
                want_dq[i * F + c] += ds * k[u * F + c];
        }
        /* The same token as a key, from the lse and the outputs of all later ones. */
        for (int s = t; s < N; s++) {
            double p = exp(scale * row_dot(q + s * F, k + t * F) - lse[s]);
            double ds =
                scale * p * (row_dot(dout + s * F, v + t * F) - row_dot(dout + s * F, out + s * F));
            for (int c = 0; c < F; c++) {
                want_dk[i * F + c] += ds * q[s * F + c];
                want_dv[i * F + c] += p * dout[s * F + c];
            }
        }
    }
    near_host("lse", got_lse, want_lse, SAMPLES);
    near_host("out", rows_of(out), want_out, SAMPLES * F);
    near_host("dq", rows_of(dq), want_dq, SAMPLES * F);
    near_host("dk", rows_of(dk), want_dk, SAMPLES * F);
    near_host("dv", rows_of(dv), want_dv, SAMPLES * F);
}

/* The whole definition once, and its slope along one direction of all inputs together. */
static void test_inner(bool mlp)
{
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, shape(1, N, 1, F, 20, 50), mlp);
    struct result room = result_room(&l);
    room.curve = NULL;
    const float *dout;
    real *dev_dout = random_reals(&dout, l.count[Q]);
    real *out = lot_alloc(sizeof *out * l.count[Q]);
    float *kept = kept_room(&l), *last = lot_alloc(sizeof *last * last_floats(&l));
    inner_fwd(out, kept, last, &l, &d);
    define(&l, &room);
    near_reals("out", out, room.out, l.count[Q]);
    near_floats("last", last, room.last, last_floats(&l));

    float *gradient[INPUTS];
    for (int i = 0; i < INPUTS; i++)
        gradient[i] = l.count[i] ? lot_alloc(sizeof(float) * l.count[i]) : NULL;
    struct ttt_params to = {.token_idx = gradient[TOKEN_IDX],
                            .norm_scale = gradient[SCALE],
                            .norm_bias = gradient[BIAS],
                            .w1 = gradient[W1],
                            .b1 = gradient[B1],
                            .w2 = gradient[W2],
                            .b2 = gradient[B2]};
    (mlp ? ttt_mlp_bwd : ttt_linear_bwd)(gradient[Q], gradient[K], gradient[V], gradient[SIGMA],
                                         &to, dev_dout, NULL, d.q, d.k, d.v, d.sigma, kept, &d.p,
                                         &l.s);
    const double h = 1e-6;
    double length = 0, size = 0, slope = 0, loss[2] = {0};
    uint64_t seed = numbers_state;
    for (int side = 0; side < 2; side++) {
        numbers_state = seed; /* the same direction again */
        for (int i = 0; i < INPUTS; i++)
            for (size_t j = 0; j < l.count[i]; j++) {
                double direction = number();
                l.in[i][j] += side ? -2 * h * direction : h * direction;
                if (side)
                    continue;
                length += direction * direction;
                size += (double)gradient[i][j] * gradient[i][j];
                slope += gradient[i][j] * direction;
            }
        define(&l, &room);
        for (size_t j = 0; j < l.count[Q]; j++)
            loss[side] += dout[j] * room.out[j];
    }
    worst_take("gradient", fabs((loss[0] - loss[1]) / (2 * h) - slope) / sqrt(length * size),
               tolerance());
}

int main(void)
{
    const char *broken = device_open(0);
    if (broken) {
        fprintf(stderr, "test_long: %s\n", broken);
        return 1;
    }
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"ttt_linear", "ttt_mlp", "attention"};
        char name[64];
        snprintf(name, sizeof name, "%s over %d tokens", names[i], N);
        case_begin(name);
        worst_begin();
        if (i < 2)
            test_inner(i == 1);
        else
            test_attention();
        lot_free();
        case_end(worst_note());
    }
    device_close();
    return check_finish();
}
