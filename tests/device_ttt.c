/* device_ttt.c -- the TTT operations against their definition, written token by token in double.

   The definition used here has no mini-batch matrices: token i of a mini-batch learns from its key
   at the mini-batch's first state, and reads with that state less t_i times everything learned so
   far. Gradients are checked by differences of this definition along random directions. */
#include "numbers.h"

/* ---- the definition ------------------------------------------------------------------------ */

enum { MAX_F = 32, MAX_K = 64 };

/* Host arrays of one layer; sizes as in kernels.h. */
enum { Q, K, V, SIGMA, TOKEN_IDX, SCALE, BIAS, W1, B1, INPUTS };
static const char *const input_names[] = {"q",     "k",    "v",  "sigma", "token_idx",
                                          "scale", "bias", "w1", "b1"};

struct layer {
    struct ttt_shape s;
    size_t count[INPUTS];
    double *in[INPUTS];
};

struct result {
    double *out;   /* as q */
    double *last;  /* [batch][heads][state] */
    double *curve; /* [3][steps] */
};

static void lay_norm(double *xh, double *r, const double *z, int f, double eps)
{
    double mean = 0, variance = 0;
    for (int c = 0; c < f; c++)
        mean += z[c] / f;
    for (int c = 0; c < f; c++)
        variance += (z[c] - mean) * (z[c] - mean) / f;
    *r = 1 / sqrt(variance + eps);
    for (int c = 0; c < f; c++)
        xh[c] = (z[c] - mean) * *r;
}

/* y = scale * norm(x W + b) + bias, with state w then b; xh and r on the side */
static void read_out(double *y, double *xh, double *r, const double *x, const double *state,
                     const double *scale, const double *bias, int f, double eps)
{
    double z[MAX_F];
    for (int c = 0; c < f; c++) {
        z[c] = state[f * f + c];
        for (int i = 0; i < f; i++)
            z[c] += x[i] * state[i * f + c];
    }
    lay_norm(xh, r, z, f, eps);
    for (int c = 0; c < f; c++)
        y[c] = scale[c] * xh[c] + bias[c];
}

/* mean over the head of (model(k) - (v - k))^2 */
static double misfit(const double *k, const double *v, const double *state, const double *scale,
                     const double *bias, int f, double eps)
{
    double y[MAX_F], xh[MAX_F], r, sum = 0;
    read_out(y, xh, &r, k, state, scale, bias, f, eps);
    for (int c = 0; c < f; c++)
        sum += (y[c] - v[c] + k[c]) * (y[c] - v[c] + k[c]) / f;
    return sum;
}

static void chain(const struct layer *l, const struct result *to, int b, int h)
{
    const struct ttt_shape *s = &l->s;
    int f = s->head_dim, size = f * f + f, tokens = s->mini_batch, steps = s->seq / tokens;
    double state[MAX_F * MAX_F + MAX_F], learned[MAX_F * MAX_F + MAX_F],
        first[MAX_F * MAX_F + MAX_F];
    double now[MAX_F * MAX_F + MAX_F], y[MAX_F], xh[MAX_F], r, t = 0;
    const double *scale = l->in[SCALE] + h * f, *bias = l->in[BIAS] + h * f;
    memcpy(state, l->in[W1] + h * f * f, sizeof *state * f * f);
    memcpy(state + f * f, l->in[B1] + h * f, sizeof *state * f);
    memcpy(first, state, sizeof *state * size);
    double share = 1.0 / (s->batch * s->heads);
    for (int at = 0; at < s->seq; at++) {
        int i = at % tokens, c = at / tokens;
        size_t row = (((size_t)b * s->seq + at) * s->heads + h) * f;
        const double *q = l->in[Q] + row, *k = l->in[K] + row, *v = l->in[V] + row;
        if (i == 0)
            memset(learned, 0, sizeof *learned * size);
        t = fmax(0, l->in[TOKEN_IDX][i] + 1.0 / (i + 1));
        double g = s->rate * l->in[SIGMA][((size_t)b * s->heads + h) * s->seq + at];
        /* the gradient of half the squared misfit with respect to k W + b */
        double u[MAX_F], mean = 0, dot = 0;
        read_out(y, xh, &r, k, state, scale, bias, f, s->eps);
        for (int x = 0; x < f; x++) {
            u[x] = scale[x] * (y[x] - v[x] + k[x]);
            mean += u[x] / f;
            dot += u[x] * xh[x] / f;
        }
        for (int x = 0; x < f; x++) {
            double gradient = r * (u[x] - mean - xh[x] * dot);
            for (int j = 0; j < f; j++)
                learned[j * f + x] += g * k[j] * gradient;
            learned[f * f + x] += g * gradient;
        }
        for (int x = 0; x < size; x++)
            now[x] = state[x] - t * learned[x];
        read_out(y, xh, &r, q, now, scale, bias, f, s->eps);
        for (int x = 0; x < f; x++)
            to->out[row + x] = q[x] + y[x];
        if (i == tokens - 1) {
            if (to->curve) {
                to->curve[c] += share * misfit(k, v, first, scale, bias, f, s->eps);
                to->curve[steps + c] += share * misfit(k, v, state, scale, bias, f, s->eps);
                to->curve[2 * steps + c] += share * misfit(k, v, now, scale, bias, f, s->eps);
            }
            memcpy(state, now, sizeof *state * size);
        }
    }
    memcpy(to->last + ((size_t)b * s->heads + h) * size, state, sizeof *state * size);
}

static void definition(const struct layer *l, const struct result *to)
{
    for (int b = 0; b < l->s.batch; b++)
        for (int h = 0; h < l->s.heads; h++)
            chain(l, to, b, h);
}

/* ---- a layer on both sides ----------------------------------------------------------------- */

/* The same numbers on the device. */
struct on_device {
    real *q, *k, *v;
    float *sigma;
    struct ttt_params p;
};

static struct ttt_shape shape(int batch, int seq, int heads, int f, int mini_batch, int keep_every)
{
    return (struct ttt_shape){.batch = batch,
                              .seq = seq,
                              .heads = heads,
                              .head_dim = f,
                              .mini_batch = mini_batch,
                              .keep_every = keep_every,
                              .rate = 1.0f / (float)f,
                              .eps = 1e-6f};
}

/* A layer of random inputs; some token_idx are so low that their weight is clipped. */
static void make_layer(struct layer *l, struct on_device *d, struct ttt_shape s)
{
    size_t width = (size_t)s.heads * s.head_dim, n = (size_t)s.batch * s.seq * width;
    const float *host[INPUTS];
    l->s = s;
    d->q = random_reals(&host[Q], n);
    d->k = random_reals(&host[K], n);
    d->v = random_reals(&host[V], n);
    d->sigma = random_floats(&host[SIGMA], n / s.head_dim, 0.5f, 0.4f);
    float *idx = lot_malloc(sizeof *idx * s.mini_batch);
    for (int i = 0; i < s.mini_batch; i++)
        idx[i] = i % 4 == 2 ? -1 : 0.3f * number();
    host[TOKEN_IDX] = idx;
    d->p.token_idx = put_floats(idx, s.mini_batch);
    d->p.norm_scale = random_floats(&host[SCALE], width, 1, 0.3f);
    d->p.norm_bias = random_floats(&host[BIAS], width, 0, 0.3f);
    d->p.w1 = random_floats(&host[W1], width * s.head_dim, 0, 0.3f);
    d->p.b1 = random_floats(&host[B1], width, 0, 0.3f);
    d->p.w2 = d->p.b2 = NULL;
    const size_t counts[INPUTS] = {
        n, n, n, n / s.head_dim, s.mini_batch, width, width, width * s.head_dim, width};
    for (int i = 0; i < INPUTS; i++) {
        l->count[i] = counts[i];
        l->in[i] = doubles(host[i], counts[i]);
    }
}

static struct result result_room(const struct ttt_shape *s)
{
    size_t chains = (size_t)s->batch * s->heads;
    struct result r;
    r.out = lot_malloc(sizeof(double) * chains * s->seq * s->head_dim);
    r.last = lot_malloc(sizeof(double) * chains * ttt_linear_state_floats(s->head_dim));
    r.curve = lot_malloc(sizeof(double) * 3 * (s->seq / s->mini_batch));
    return r;
}

static size_t last_floats(const struct ttt_shape *s)
{
    return (size_t)s->batch * s->heads * ttt_linear_state_floats(s->head_dim);
}

/* ---- forward, decoding, statistics --------------------------------------------------------- */

static void forward_case(struct ttt_shape s)
{
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, s);
    struct result want = result_room(&s);
    definition(&l, &want);
    size_t n = l.count[Q];
    float *kept = lot_alloc(sizeof *kept * ttt_linear_kept_floats(&s));
    float *last = lot_alloc(sizeof *last * last_floats(&s));
    real *out = lot_alloc(sizeof *out * n), *alone = lot_alloc(sizeof *alone * n);
    ttt_linear_fwd(out, kept, last, d.q, d.k, d.v, d.sigma, &d.p, &s);
    near_reals("out", out, want.out, n);
    near_floats("last", last, want.last, last_floats(&s));
    ttt_linear_fwd(alone, NULL, NULL, d.q, d.k, d.v, d.sigma, &d.p, &s);
    CHECK(same_bits(out, alone, sizeof *out * n));

    int steps = s.seq / s.mini_batch;
    float *curve = lot_alloc(sizeof *curve * 3 * steps);
    ttt_linear_stats(curve, d.k, d.v, d.sigma, &d.p, &s);
    near_floats("stats", curve, want.curve, 3 * steps);

    /* The same tokens one at a time. */
    size_t width = (size_t)s.heads * s.head_dim;
    size_t bytes = ttt_linear_decode_bytes(s.head_dim, s.mini_batch) * s.batch * s.heads;
    void *state = lot_alloc(bytes);
    ttt_linear_decode_begin(state, &d.p, &s);
    float *got = lot_malloc(sizeof *got * n),
          *sigmas = lot_malloc(sizeof *sigmas * s.batch * s.heads);
    real *q = lot_alloc(sizeof *q * s.batch * width), *k = lot_alloc(sizeof *k * s.batch * width);
    real *v = lot_alloc(sizeof *v * s.batch * width), *o = lot_alloc(sizeof *o * s.batch * width);
    float *staged = lot_alloc(sizeof *staged * s.batch * width),
          *sigma = lot_alloc(sizeof *sigma * s.batch * s.heads);
    for (int t = 0; t < s.seq; t++) {
        for (int b = 0; b < s.batch; b++) {
            size_t at = ((size_t)b * s.seq + t) * width;
            device_copy(q + b * width, d.q + at, sizeof *q * width);
            device_copy(k + b * width, d.k + at, sizeof *k * width);
            device_copy(v + b * width, d.v + at, sizeof *v * width);
            for (int h = 0; h < s.heads; h++)
                sigmas[b * s.heads + h] = (float)l.in[SIGMA][((size_t)b * s.heads + h) * s.seq + t];
        }
        device_put(sigma, sigmas, sizeof *sigmas * s.batch * s.heads);
        ttt_linear_decode(o, state, q, k, v, sigma, t, &d.p, &s);
        float_from_real(staged, o, s.batch * width);
        for (int b = 0; b < s.batch; b++)
            device_get(got + ((size_t)b * s.seq + t) * width, staged + b * width,
                       sizeof *got * width);
    }
    near_host("decode", got, want.out, n);
}

static void test_forward(void)
{
    static const struct {
        int batch, steps, heads, f, mini_batch;
    } cases[] = {{1, 1, 1, 16, 1},  {2, 3, 2, 16, 5},  {1, 2, 3, 32, 16},
                 {1, 2, 1, 16, 20}, {1, 2, 1, 16, 64}, {2, 5, 1, 16, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        forward_case(shape(cases[i].batch, cases[i].steps * cases[i].mini_batch, cases[i].heads,
                           cases[i].f, cases[i].mini_batch, 2));
        lot_free();
    }
}

static void test_target_variance(void)
{
    struct ttt_shape s = shape(2, 12, 3, 16, 4, 1);
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, s);
    double want[3] = {0};
    int width = s.heads * s.head_dim;
    for (int b = 0; b < s.batch; b++)
        for (int x = 0; x < width; x++) {
            const double *v = l.in[V] + b * s.seq * width + x, *k = l.in[K] + b * s.seq * width + x;
            double mean = 0;
            for (int t = 0; t < s.seq; t++)
                mean += (v[t * width] - k[t * width]) / s.seq;
            for (int c = 0; c < 3; c++)
                want[c] += pow(v[4 * c * width] - k[4 * c * width] - mean, 2) / (s.batch * width);
        }
    float *curve = lot_alloc(sizeof *curve * 3);
    ttt_target_variance(curve, d.k, d.v, &s);
    near_floats("curve", curve, want, 3);
}

/* ---- backward ------------------------------------------------------------------------------ */

struct gradients {
    real *q, *k, *v;
    float *sigma;
    struct ttt_params p;
};

/* Zeroed, or each parameter's filled with `there`. */
static struct gradients gradient_room(const struct layer *l, float there)
{
    struct gradients g = {.q = lot_alloc(sizeof(real) * l->count[Q]),
                          .k = lot_alloc(sizeof(real) * l->count[Q]),
                          .v = lot_alloc(sizeof(real) * l->count[Q]),
                          .sigma = lot_alloc(sizeof(float) * l->count[SIGMA])};
    float **parts[] = {&g.p.token_idx, &g.p.norm_scale, &g.p.norm_bias, &g.p.w1, &g.p.b1};
    for (int i = 0; i < 5; i++) {
        float *fill = lot_malloc(sizeof *fill * l->count[TOKEN_IDX + i]);
        for (size_t j = 0; j < l->count[TOKEN_IDX + i]; j++)
            fill[j] = there;
        *parts[i] = put_floats(fill, l->count[TOKEN_IDX + i]);
    }
    return g;
}

static const float *gradient_of(const struct gradients *g, int input, const struct layer *l)
{
    const float *const floats[] = {g->sigma,       g->p.token_idx, g->p.norm_scale,
                                   g->p.norm_bias, g->p.w1,        g->p.b1};
    const real *const reals[] = {g->q, g->k, g->v};
    return input < SIGMA ? get_reals(reals[input], l->count[input])
                         : get_floats(floats[input - SIGMA], l->count[input]);
}

static void backward(const struct gradients *g, const struct on_device *d, const real *dout,
                     const float *dlast, const struct ttt_shape *s)
{
    float *kept = lot_alloc(sizeof *kept * ttt_linear_kept_floats(s));
    real *out = lot_alloc(sizeof *out * s->batch * s->seq * s->heads * s->head_dim);
    ttt_linear_fwd(out, kept, NULL, d->q, d->k, d->v, d->sigma, &d->p, s);
    ttt_linear_bwd(g->q, g->k, g->v, g->sigma, &g->p, dout, dlast, d->q, d->k, d->v, d->sigma, kept,
                   &d->p, s);
}

/* The loss whose gradient with respect to the outputs is dout and dlast. */
static double loss(const struct layer *l, const float *dout, const float *dlast,
                   const struct result *room)
{
    double sum = 0;
    definition(l, room);
    for (size_t i = 0; i < l->count[Q]; i++)
        sum += dout[i] * room->out[i];
    for (size_t i = 0; i < last_floats(&l->s); i++)
        sum += dlast[i] * room->last[i];
    return sum;
}

/* The slope along a direction, against the gradient's. The difference of the two, over the lengths
   of gradient and direction, is at most the relative L2 error of the gradient. */
static void differences_case(struct ttt_shape s)
{
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, s);
    const float *dout, *dlast;
    real *dev_dout = random_reals(&dout, l.count[Q]);
    float *dev_dlast = random_floats(&dlast, last_floats(&s), 0, 1);
    struct gradients g = gradient_room(&l, 0);
    struct result room = result_room(&s);
    room.curve = NULL;
    backward(&g, &d, dev_dout, dev_dlast, &s);
    const double h = 1e-5;
    for (int i = 0; i < INPUTS; i++) {
        const float *gradient = gradient_of(&g, i, &l);
        double *x = l.in[i], *at = lot_malloc(sizeof *at * l.count[i]);
        double length = 0, size = 0, slope = 0;
        for (size_t j = 0; j < l.count[i]; j++) {
            double direction = number();
            at[j] = x[j];
            x[j] += h * direction;
            length += direction * direction;
            size += (double)gradient[j] * gradient[j];
            slope += gradient[j] * direction;
        }
        double up = loss(&l, dout, dlast, &room);
        for (size_t j = 0; j < l.count[i]; j++)
            x[j] = at[j] - (x[j] - at[j]);
        double down = loss(&l, dout, dlast, &room);
        memcpy(x, at, sizeof *x * l.count[i]);
        worst_take(input_names[i], fabs((up - down) / (2 * h) - slope) / sqrt(length * size),
                   tolerance());
    }
    const float *idx = gradient_of(&g, TOKEN_IDX, &l);
    for (int i = 2; i < s.mini_batch; i += 4)
        CHECK(idx[i] == 0); /* clipped */
}

static void test_differences(void)
{
    differences_case(shape(2, 12, 2, 16, 4, 2));
    lot_free();
    differences_case(shape(1, 10, 3, 32, 5, 1));
    lot_free();
    differences_case(shape(1, 40, 1, 16, 20, 2));
}

/* Keeping fewer states changes nothing, nor does a missing dlast that would be zero. */
static void test_keep_every(void)
{
    struct ttt_shape s = shape(2, 28, 2, 16, 4, 1);
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, s);
    real *dout = random_reals(NULL, l.count[Q]);
    float *zero = lot_alloc(sizeof *zero * last_floats(&s));
    struct gradients first = gradient_room(&l, 0);
    backward(&first, &d, dout, zero, &s);
    static const int every[] = {1, 2, 3, 7, 100};
    for (int i = 0; i < 5; i++) {
        s.keep_every = every[i];
        struct gradients g = gradient_room(&l, 0);
        backward(&g, &d, dout, NULL, &s);
        for (int j = 0; j < INPUTS; j++)
            near_host(input_names[j], gradient_of(&g, j, &l),
                      doubles(gradient_of(&first, j, &l), l.count[j]), l.count[j]);
    }
}

static void test_adds(void)
{
    struct ttt_shape s = shape(2, 8, 2, 16, 4, 2);
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, s);
    real *dout = random_reals(NULL, l.count[Q]);
    struct gradients zero = gradient_room(&l, 0), two = gradient_room(&l, 2);
    backward(&zero, &d, dout, NULL, &s);
    backward(&two, &d, dout, NULL, &s);
    for (int i = TOKEN_IDX; i < INPUTS; i++) {
        double *want = doubles(gradient_of(&zero, i, &l), l.count[i]);
        for (size_t j = 0; j < l.count[i]; j++)
            want[j] += 2;
        near_host(input_names[i], gradient_of(&two, i, &l), want, l.count[i]);
    }
}

/* ---- step sizes ---------------------------------------------------------------------------- */

static void test_gate(void)
{
    enum { B = 2, N = 37, H = 3, D = 72, ROWS = B * N };
    const float *h, *w, *bias, *dsigma, *dh0, *dw0, *db0;
    real *dev_h = random_reals(&h, ROWS * D), *dh = random_reals(&dh0, ROWS * D);
    float *dev_w = random_floats(&w, H * D, 0, 0.3f), *dw = random_floats(&dw0, H * D, 0, 1);
    float *dev_b = random_floats(&bias, H, 0, 1), *db = random_floats(&db0, H, 0, 1);
    float *ds = random_floats(&dsigma, ROWS * H, 0, 1),
          *sigma = lot_alloc(sizeof *sigma * ROWS * H);
    double want[ROWS * H], *want_dh = doubles(dh0, ROWS * D), *want_dw = doubles(dw0, H * D);
    double *want_db = doubles(db0, H);
    for (int r = 0; r < ROWS; r++)
        for (int a = 0; a < H; a++) {
            double z = bias[a];
            for (int c = 0; c < D; c++)
                z += (double)h[r * D + c] * w[a * D + c];
            int at = (r / N * H + a) * N + r % N;
            want[at] = 1 / (1 + exp(-z));
            double dz = dsigma[at] * want[at] * (1 - want[at]);
            want_db[a] += dz;
            for (int c = 0; c < D; c++) {
                want_dh[r * D + c] += dz * w[a * D + c];
                want_dw[a * D + c] += dz * h[r * D + c];
            }
        }
    ttt_gate_fwd(sigma, dev_h, dev_w, dev_b, B, N, H, D);
    near_floats("sigma", sigma, want, ROWS * H);
    ttt_gate_bwd(dh, dw, db, ds, sigma, dev_h, dev_w, B, N, H, D);
    near_reals("dh +=", dh, want_dh, ROWS * D);
    near_floats("dw +=", dw, want_dw, H * D);
    near_floats("dbias +=", db, want_db, H);
}

static void run(const char *name, void (*test)(void))
{
    case_begin(name);
    worst_begin();
    test();
    const char *broken = device_sync();
    CHECK(!broken);
    lot_free();
    case_end(worst_note());
}

int main(void)
{
    const char *broken = device_open(0);
    if (broken) {
        fprintf(stderr, "device_ttt: %s\n", broken);
        return 1;
    }
    run("ttt_gate", test_gate);
    run("ttt_linear forward, decode, stats", test_forward);
    run("ttt_target_variance", test_target_variance);
    run("ttt_linear gradient by differences", test_differences);
    run("ttt_linear whatever keep_every", test_keep_every);
    run("ttt_linear parameter gradients add", test_adds);
    device_close();
    return check_finish();
}
