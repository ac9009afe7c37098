/* device_ttt.c -- the TTT operations against their definition in double, inner_model.h.

   Gradients are checked by differences of the definition along random directions. */
#include "inner_model.h"

/* ---- forward, decoding, statistics --------------------------------------------------------- */

static void forward_case(struct ttt_shape s, bool mlp)
{
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, s, mlp);
    struct result want = result_room(&l);
    define(&l, &want);
    size_t n = l.count[Q];
    float *kept = kept_room(&l), *last = lot_alloc(sizeof *last * last_floats(&l));
    real *out = lot_alloc(sizeof *out * n), *alone = lot_alloc(sizeof *alone * n);
    inner_fwd(out, kept, last, &l, &d);
    near_reals("out", out, want.out, n);
    near_floats("last", last, want.last, last_floats(&l));
    inner_fwd(alone, NULL, NULL, &l, &d);
    CHECK(same_bits(out, alone, sizeof *out * n));

    int steps = s.seq / s.mini_batch;
    float *curve = lot_alloc(sizeof *curve * 3 * steps);
    (mlp ? ttt_mlp_stats : ttt_linear_stats)(curve, d.k, d.v, d.sigma, &d.p, &s);
    near_floats("stats", curve, want.curve, 3 * steps);

    /* The same tokens one at a time. */
    size_t width = (size_t)s.heads * s.head_dim;
    size_t bytes = (mlp ? ttt_mlp_decode_bytes : ttt_linear_decode_bytes)(s.head_dim, s.mini_batch);
    void *state = lot_alloc(bytes * s.batch * s.heads);
    (mlp ? ttt_mlp_decode_begin : ttt_linear_decode_begin)(state, NULL, &d.p, &s);
    float *got = lot_malloc(sizeof *got * n),
          *sigmas = lot_malloc(sizeof *sigmas * s.batch * s.heads);
    real *q = lot_alloc(sizeof *q * s.batch * width), *k = lot_alloc(sizeof *k * s.batch * width);
    real *v = lot_alloc(sizeof *v * s.batch * width), *o = lot_alloc(sizeof *o * s.batch * width);
    float *staged = lot_alloc(sizeof *staged * s.batch * width),
          *sigma = lot_alloc(sizeof *sigma * s.batch * s.heads);
    int32_t *position = lot_alloc(8 * sizeof *position);
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
        int32_t places[8] = {t, t, t, t, t, t, t, t};
        assert(s.batch <= 8);
        device_put(position, places, sizeof places);
        (mlp ? ttt_mlp_decode : ttt_linear_decode)(o, state, q, k, v, sigma, position, &d.p, &s);
        float_from_real(staged, o, s.batch * width);
        for (int b = 0; b < s.batch; b++)
            device_get(got + ((size_t)b * s.seq + t) * width, staged + b * width,
                       sizeof *got * width);
    }
    near_host("decode", got, want.out, n);
}

static void test_forward(bool mlp)
{
    static const struct {
        int batch, steps, heads, f, mini_batch;
    } cases[] = {{1, 1, 1, 16, 1},  {2, 3, 2, 16, 5},  {1, 2, 3, 32, 16},
                 {1, 2, 1, 16, 20}, {1, 2, 1, 16, 64}, {2, 5, 1, 16, 4},
                 {1, 2, 1, 64, 8},  {1, 2, 1, 96, 16}, {1, 2, 2, 16, 200}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].mini_batch > ttt_mini_batch_most())
            continue; /* refused by the configuration */
        forward_case(shape(cases[i].batch, cases[i].steps * cases[i].mini_batch, cases[i].heads,
                           cases[i].f, cases[i].mini_batch, 2),
                     mlp);
        lot_free();
    }
}

static void test_target_variance(void)
{
    struct ttt_shape s = shape(2, 12, 3, 16, 4, 1);
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, s, false);
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
    float **parts[] = {&g.p.token_idx, &g.p.norm_scale, &g.p.norm_bias, &g.p.w1,
                       &g.p.b1,        &g.p.w2,         &g.p.b2};
    for (int i = TOKEN_IDX; i < INPUTS; i++) {
        float *fill = lot_malloc(sizeof *fill * l->count[i]);
        for (size_t j = 0; j < l->count[i]; j++)
            fill[j] = there;
        *parts[i - TOKEN_IDX] = l->count[i] ? put_floats(fill, l->count[i]) : NULL;
    }
    return g;
}

static const float *gradient_of(const struct gradients *g, int input, const struct layer *l)
{
    const float *const floats[] = {g->sigma, g->p.token_idx, g->p.norm_scale, g->p.norm_bias,
                                   g->p.w1,  g->p.b1,        g->p.w2,         g->p.b2};
    const real *const reals[] = {g->q, g->k, g->v};
    return input < SIGMA ? get_reals(reals[input], l->count[input])
                         : get_floats(floats[input - SIGMA], l->count[input]);
}

static void backward(const struct gradients *g, const struct layer *l, const struct on_device *d,
                     const real *dout, const float *dlast)
{
    float *kept = kept_room(l);
    real *out = lot_alloc(sizeof *out * l->count[Q]);
    inner_fwd(out, kept, NULL, l, d);
    (l->mlp ? ttt_mlp_bwd : ttt_linear_bwd)(g->q, g->k, g->v, g->sigma, &g->p, dout, dlast, d->q,
                                            d->k, d->v, d->sigma, kept, &d->p, &l->s);
}

/* The loss whose gradient with respect to the outputs is dout and dlast. */
static double loss(const struct layer *l, const float *dout, const float *dlast,
                   const struct result *room)
{
    double sum = 0;
    define(l, room);
    for (size_t i = 0; i < l->count[Q]; i++)
        sum += dout[i] * room->out[i];
    for (size_t i = 0; i < last_floats(l); i++)
        sum += dlast[i] * room->last[i];
    return sum;
}

/* The slope along a direction, against the gradient's. The difference of the two, over the lengths
   of gradient and direction, is at most the relative L2 error of the gradient. */
static void differences_case(struct ttt_shape s, bool mlp)
{
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, s, mlp);
    const float *dout, *dlast;
    real *dev_dout = random_reals(&dout, l.count[Q]);
    float *dev_dlast = random_floats(&dlast, last_floats(&l), 0, 1);
    struct gradients g = gradient_room(&l, 0);
    struct result room = result_room(&l);
    room.curve = NULL;
    backward(&g, &l, &d, dev_dout, dev_dlast);
    const double h = 1e-5;
    for (int i = 0; i < INPUTS && l.count[i]; i++) {
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

static void test_differences(bool mlp)
{
    differences_case(shape(2, 12, 2, 16, 4, 2), mlp);
    lot_free();
    differences_case(shape(1, 10, 3, 32, 5, 1), mlp);
    lot_free();
    differences_case(shape(1, 40, 1, 16, 20, 2), mlp);
    lot_free();
    if (ttt_mini_batch_most() > 100)
        differences_case(shape(1, 200, 1, 16, 100, 2), mlp);
}

/* Keeping fewer states changes nothing, nor does a missing dlast that would be zero. */
static void test_keep_every(bool mlp)
{
    struct ttt_shape s = shape(2, 28, 2, 16, 4, 1);
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, s, mlp);
    real *dout = random_reals(NULL, l.count[Q]);
    float *zero = lot_alloc(sizeof *zero * last_floats(&l));
    struct gradients first = gradient_room(&l, 0);
    backward(&first, &l, &d, dout, zero);
    static const int every[] = {1, 2, 3, 7, 100};
    for (int i = 0; i < 5; i++) {
        l.s.keep_every = every[i];
        struct gradients g = gradient_room(&l, 0);
        backward(&g, &l, &d, dout, NULL);
        for (int j = 0; j < INPUTS && l.count[j]; j++)
            near_host(input_names[j], gradient_of(&g, j, &l),
                      doubles(gradient_of(&first, j, &l), l.count[j]), l.count[j]);
    }
}

static void test_adds(bool mlp)
{
    struct ttt_shape s = shape(2, 8, 2, 16, 4, 2);
    struct layer l;
    struct on_device d;
    make_layer(&l, &d, s, mlp);
    real *dout = random_reals(NULL, l.count[Q]);
    struct gradients zero = gradient_room(&l, 0), two = gradient_room(&l, 2);
    backward(&zero, &l, &d, dout, NULL);
    backward(&two, &l, &d, dout, NULL);
    for (int i = TOKEN_IDX; i < INPUTS && l.count[i]; i++) {
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

/* ---- running ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*test)(bool mlp);
} tests[] = {
    {"forward, decode, stats", test_forward},
    {"gradient by differences", test_differences},
    {"whatever keep_every", test_keep_every},
    {"parameter gradients add", test_adds},
};

static void begin(const char *name)
{
    case_begin(name);
    worst_begin();
}

static void end(void)
{
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
    begin("ttt_gate");
    test_gate();
    end();
    begin("ttt_target_variance");
    test_target_variance();
    end();
    for (int mlp = 0; mlp < 2; mlp++)
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s %s", mlp ? "ttt_mlp" : "ttt_linear", tests[i].name);
            begin(name);
            tests[i].test(mlp);
            end();
        }
    device_close();
    return check_finish();
}
