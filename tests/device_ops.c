/* device_ops.c -- operations outside the inner loop: against plain loops in double, and the
   promises of their contracts: what may be in place, what is added to, what stays the same. */
#include "numbers.h"

static void test_whole_arrays(void)
{
    enum { N = 1003 };
    const float *x, *y;
    float *floats = random_floats(&x, N, 0, 3);
    real *a = lot_alloc(sizeof *a * N), *b = random_reals(&y, N);
    real_from_float(a, floats, N);
    near_reals("real_from_float", a, doubles(x, N), N);
    double sum[N];
    const float *rounded = get_reals(a, N);
    for (int i = 0; i < N; i++)
        sum[i] = (double)rounded[i] + y[i];
    add(a, b, N);
    near_reals("add", a, sum, N);

    double *total = lot_alloc(sizeof *total), got, want = 0;
    square_sum(total, floats, N);
    device_get(&got, total, sizeof got);
    for (int i = 0; i < N; i++)
        want += (double)x[i] * x[i];
    CHECK(fabs(got - want) <= 1e-12 * want);

    void *from = put_floats(x, N), *to = lot_alloc(sizeof *x * N);
    device_copy(to, from, sizeof *x * N);
    CHECK(same_bits(to, from, sizeof *x * N));
    device_zero(to, sizeof *x * N);
    CHECK(same_bits(to, lot_alloc(sizeof *x * N), sizeof *x * N));
    CHECK((uintptr_t)to % 256 == 0);
}

static void test_square_sum_long(void)
{
    enum { N = 3 * 65536 + 17 };
    const float *x;
    float *floats = random_floats(&x, N, 0, 1);
    double *total = lot_alloc(sizeof *total), got, want = 0;
    square_sum(total, floats, N);
    device_get(&got, total, sizeof got);
    for (int i = 0; i < N; i++)
        want += (double)x[i] * x[i];
    CHECK(fabs(got - want) <= 1e-12 * want);
}

/* Element (i, k) of op(x), where x is stored [rows][columns] or transposed. */
static double element(const float *x, bool transposed, int i, int k, int rows, int columns)
{
    return transposed ? x[(size_t)k * rows + i] : x[(size_t)i * columns + k];
}

static void test_matmul(enum transpose t, int m, int n, int k)
{
    static const char *const names[] = {"NN", "NT", "TN"};
    const float *a, *b, *c0;
    real *da = random_reals(&a, (size_t)m * k), *db = random_reals(&b, (size_t)k * n);
    real *c = random_reals(&c0, (size_t)m * n);
    float *c32 = put_floats(c0, (size_t)m * n);
    double *want = lot_malloc(sizeof *want * m * n), *more = lot_malloc(sizeof *want * m * n);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int l = 0; l < k; l++)
                sum += element(a, t == TN, i, l, m, k) * element(b, t == NT, l, j, k, n);
            want[i * n + j] = sum;
            more[i * n + j] = sum + c0[i * n + j];
        }
    matmul(c, da, db, t, m, n, k, 1);
    near_reals(names[t], c, more, (size_t)m * n);
    matmul_f32(c32, da, db, t, m, n, k, 1);
    near_floats(names[t], c32, more, (size_t)m * n);
    /* beta 0 reads nothing: what is there may be anything */
    float *nan = lot_malloc(sizeof *nan * m * n);
    for (int i = 0; i < m * n; i++)
        nan[i] = NAN;
    real *fresh = put_reals(nan, (size_t)m * n);
    float *fresh32 = put_floats(nan, (size_t)m * n);
    matmul(fresh, da, db, t, m, n, k, 0);
    near_reals(names[t], fresh, want, (size_t)m * n);
    matmul_f32(fresh32, da, db, t, m, n, k, 0);
    near_floats(names[t], fresh32, want, (size_t)m * n);
}

static void test_matmuls(void)
{
    for (enum transpose t = NN; t <= TN; t++) {
        test_matmul(t, 1, 1, 1);
        test_matmul(t, 5, 7, 3);
        test_matmul(t, 33, 17, 20);
        test_matmul(t, 1, 40, 24);
    }
}

static void test_embedding(void)
{
    enum { ROWS = 37, WIDTH = 72, VOCAB = 11 };
    const float *table, *dx, *before;
    const int32_t *ids;
    real *dtable_in = random_reals(&table, VOCAB * WIDTH), *ddx = random_reals(&dx, ROWS * WIDTH);
    int32_t *dids = random_ids(&ids, ROWS, VOCAB);
    real *x = lot_alloc(sizeof *x * ROWS * WIDTH);
    float *dtable = random_floats(&before, VOCAB * WIDTH, 0, 1);
    double want[ROWS * WIDTH], sum[VOCAB * WIDTH];
    for (int i = 0; i < VOCAB * WIDTH; i++)
        sum[i] = before[i];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < WIDTH; c++) {
            want[r * WIDTH + c] = table[ids[r] * WIDTH + c];
            sum[ids[r] * WIDTH + c] += dx[r * WIDTH + c];
        }
    embedding_fwd(x, dtable_in, dids, ROWS, WIDTH);
    embedding_bwd(dtable, ddx, dids, ROWS, WIDTH, VOCAB);
    near_reals("x", x, want, ROWS * WIDTH);
    near_floats("dtable", dtable, sum, VOCAB * WIDTH);
}

/* Extreme logits, ties, rows without weight, evaluation, in place. */
static void test_cross_entropy(void)
{
    enum { ROWS = 9, VOCAB = 1300 };
    static const float weights[ROWS] = {0.25f, 0, 1, 0.5f, 0.125f, 1, 2, 1, 1};
    float logits[ROWS * VOCAB];
    int32_t target[ROWS];
    for (int i = 0; i < ROWS * VOCAB; i++)
        logits[i] = 4 * number();
    for (int r = 0; r < ROWS; r++)
        target[r] = (r * 331) % VOCAB;
    logits[3 * VOCAB + target[3]] = 60;               /* nearly certain and right */
    logits[4 * VOCAB + (target[4] + 1) % VOCAB] = 90; /* nearly certain and wrong */
    for (int v = 0; v < VOCAB; v++)
        logits[5 * VOCAB + v] = -3e4f + (float)(v == 7); /* far from zero */
    logits[6 * VOCAB + target[6]] = logits[6 * VOCAB + target[6] - 1] =
        50; /* the second of a tie */
    logits[7 * VOCAB + target[7]] = logits[7 * VOCAB + target[7] + 1] = 50; /* the first */

    double loss[ROWS], correct[ROWS], gradient[ROWS * VOCAB];
    for (int r = 0; r < ROWS; r++) {
        const float *x = logits + r * VOCAB;
        double sum = 0, most = x[0];
        int first = 0;
        for (int v = 0; v < VOCAB; v++)
            if (x[v] > most) {
                most = x[v];
                first = v;
            }
        for (int v = 0; v < VOCAB; v++)
            sum += exp(x[v] - most);
        loss[r] = weights[r] != 0 ? log(sum) + most - x[target[r]] : 0;
        correct[r] = weights[r] != 0 && first == target[r];
        for (int v = 0; v < VOCAB; v++)
            gradient[r * VOCAB + v] = weights[r] * (exp(x[v] - most) / sum - (v == target[r]));
    }
    CHECK(correct[6] == 0 && correct[7] == 1 && correct[3] == 1);
    float *x = put_floats(logits, ROWS * VOCAB), *w = put_floats(weights, ROWS);
    float *l = lot_alloc(sizeof *l * ROWS), *c = lot_alloc(sizeof *c * ROWS);
    real *dx = lot_alloc(sizeof *dx * ROWS * VOCAB);
    int32_t *t = put_ints(target, ROWS);
    cross_entropy(l, c, NULL, x, t, w, ROWS, VOCAB);
    near_floats("loss, evaluation", l, loss, ROWS);
    near_floats("correct, evaluation", c, correct, ROWS);
    cross_entropy(l, c, dx, x, t, w, ROWS, VOCAB);
    near_floats("loss", l, loss, ROWS);
    near_floats("correct", c, correct, ROWS);
    near_reals("dlogits", dx, gradient, ROWS * VOCAB);
    if (sizeof(real) == sizeof(float)) {
        cross_entropy(l, c, (real *)x, x, t, w, ROWS, VOCAB);
        near_reals("dlogits in place", (real *)x, gradient, ROWS * VOCAB);
    }
}

static void test_norms(void)
{
    enum { ROWS = 41, WIDTH = 50, N = ROWS * WIDTH };
    const float *x, *dy, *gain, *bias, *dx0, *dg0, *db0;
    real *dev_x = random_reals(&x, N), *dev_dy = random_reals(&dy, N), *dx = random_reals(&dx0, N);
    float *g = random_floats(&gain, WIDTH, 1, 0.5f), *b = random_floats(&bias, WIDTH, 0, 1);
    float *dg = random_floats(&dg0, WIDTH, 0, 1), *db = random_floats(&db0, WIDTH, 0, 1);
    float *dscale = put_floats(dg0, WIDTH);
    real *y = lot_alloc(sizeof *y * N), *z = lot_alloc(sizeof *z * N);
    float *inv = lot_alloc(sizeof *inv * ROWS), *mean = lot_alloc(sizeof *mean * ROWS);
    float *inv_std = lot_alloc(sizeof *inv_std * ROWS);
    double rms_y[N], rms_dx[N], rms_dg[WIDTH], ln_y[N], ln_dx[N], ln_ds[WIDTH], ln_db[WIDTH];
    for (int c = 0; c < WIDTH; c++) {
        rms_dg[c] = ln_ds[c] = dg0[c];
        ln_db[c] = db0[c];
    }
    for (int r = 0; r < ROWS; r++) {
        const float *xr = x + r * WIDTH, *dyr = dy + r * WIDTH;
        double squares = 0, sum = 0, variance = 0, dot = 0, u = 0, udot = 0;
        for (int c = 0; c < WIDTH; c++) {
            squares += (double)xr[c] * xr[c];
            sum += xr[c];
        }
        double mu = sum / WIDTH, rho = 1 / sqrt(squares / WIDTH + 1e-6);
        for (int c = 0; c < WIDTH; c++) {
            variance += (xr[c] - mu) * (xr[c] - mu);
            dot += (double)dyr[c] * gain[c] * xr[c] * rho;
        }
        double s = 1 / sqrt(variance / WIDTH + 1e-6);
        for (int c = 0; c < WIDTH; c++) {
            u += (double)dyr[c] * gain[c];
            udot += (double)dyr[c] * gain[c] * (xr[c] - mu) * s;
        }
        for (int c = 0; c < WIDTH; c++) {
            int i = r * WIDTH + c;
            double xh = (xr[c] - mu) * s;
            rms_y[i] = xr[c] * rho * gain[c];
            rms_dx[i] = dx0[i] + rho * ((double)dyr[c] * gain[c] - xr[c] * rho * dot / WIDTH);
            rms_dg[c] += dyr[c] * xr[c] * rho;
            ln_y[i] = xh * gain[c] + bias[c];
            ln_dx[i] = s * ((double)dyr[c] * gain[c] - u / WIDTH - xh * udot / WIDTH);
            ln_ds[c] += dyr[c] * xh;
            ln_db[c] += dyr[c];
        }
    }
    rmsnorm_fwd(y, inv, dev_x, g, ROWS, WIDTH, 1e-6f);
    rmsnorm_bwd(dx, dg, dev_dy, dev_x, inv, g, ROWS, WIDTH);
    near_reals("rms y", y, rms_y, N);
    near_reals("rms dx +=", dx, rms_dx, N);
    near_floats("rms dgain +=", dg, rms_dg, WIDTH);
    layernorm_fwd(z, mean, inv_std, dev_x, g, b, ROWS, WIDTH, 1e-6f);
    /* dx may be dy */
    layernorm_bwd(dev_dy, dscale, db, dev_dy, dev_x, mean, inv_std, g, ROWS, WIDTH);
    near_reals("layer y", z, ln_y, N);
    near_reals("layer dx in place", dev_dy, ln_dx, N);
    near_floats("layer dscale +=", dscale, ln_ds, WIDTH);
    near_floats("layer dbias +=", db, ln_db, WIDTH);
}

/* All of a convolution; the truth by looking at each tap. */
static void test_conv(int batch, int seq, int width)
{
    size_t n = (size_t)batch * seq * width;
    const float *x, *dy, *kernel, *bias, *res, *dx0, *dk0, *db0;
    real *dev_x = random_reals(&x, n), *dev_dy = random_reals(&dy, n);
    real *dev_res = random_reals(&res, n), *dx = random_reals(&dx0, n),
         *dx_set = copy_of(dx, n * sizeof *dx);
    float *k = random_floats(&kernel, CONV_WIDTH * width, 0, 1);
    float *b = random_floats(&bias, width, 0, 1);
    float *dk = random_floats(&dk0, CONV_WIDTH * width, 0, 1),
          *db = random_floats(&db0, width, 0, 1);
    double *y = doubles(x, n), *with = doubles(x, n), *gx = doubles(dx0, n),
           *gx_set = doubles(x, n);
    double *gk = doubles(dk0, CONV_WIDTH * width), *gb = doubles(db0, width);
    memset(gx_set, 0, sizeof *gx_set * n);
    for (size_t i = 0; i < n; i++) {
        int c = (int)(i % width), t = (int)(i / width % seq);
        y[i] = bias[c];
        gb[c] += dy[i];
        for (int j = 0; j < CONV_WIDTH; j++) {
            int from = t - 3 + j;
            if (from < 0)
                continue;
            size_t at = i - (size_t)(3 - j) * width;
            y[i] += (double)kernel[j * width + c] * x[at];
            gk[j * width + c] += (double)dy[i] * x[at];
            gx[at] += (double)kernel[j * width + c] * dy[i];
            gx_set[at] += (double)kernel[j * width + c] * dy[i];
        }
        with[i] = y[i] + res[i];
    }
    real *out = lot_alloc(n * sizeof *out);
    conv_fwd(out, dev_x, k, b, NULL, batch, seq, width);
    near_reals("y", out, y, n);
    conv_bwd(dx, dk, db, dev_dy, dev_x, k, true, batch, seq, width);
    near_reals("dx +=", dx, gx, n);
    near_floats("dkernel +=", dk, gk, CONV_WIDTH * width);
    near_floats("dbias +=", db, gb, width);
    conv_bwd(dx_set, dk, db, dev_dy, dev_x, k, false, batch, seq, width);
    near_reals("dx =", dx_set, gx_set, n);

    /* One token at a time gives what the whole sequence gave; with a residual, in place. */
    real *history = lot_alloc(sizeof *history * batch * 3 * width);
    real *token = lot_alloc(sizeof *token * batch * width),
         *rest = lot_alloc(sizeof *rest * batch * width);
    float *stepped = lot_malloc(sizeof *stepped * n);
    int32_t *position = put_ints((int32_t[3]){0}, 3);
    for (int t = 0; t < seq; t++) {
        for (int i = 0; i < batch; i++) {
            size_t at = ((size_t)i * seq + t) * width;
            device_copy(token + (size_t)i * width, dev_x + at, sizeof *token * width);
            device_copy(rest + (size_t)i * width, dev_res + at, sizeof *rest * width);
        }
        conv_step(rest, history, token, k, b, rest, position, batch, width);
        for (int i = 0; i < batch; i++)
            memcpy(stepped + ((size_t)i * seq + t) * width,
                   get_reals(rest + (size_t)i * width, width), sizeof *stepped * width);
    }
    near_host("step", stepped, with, n);
    /* A sequence that rests remembers what it did. */
    real *before = lot_alloc(sizeof *history * batch * 3 * width);
    device_copy(before, history, sizeof *history * batch * 3 * width);
    conv_step(rest, history, token, k, b, NULL, put_ints((int32_t[3]){-1, -1, -1}, 3), batch,
              width);
    CHECK(same_bits(before, history, sizeof *history * batch * 3 * width));
    /* y may be the residual */
    conv_fwd(dev_res, dev_x, k, b, dev_res, batch, seq, width);
    near_reals("y in place of the residual", dev_res, with, n);
}

static void test_convs(void)
{
    test_conv(1, 1, 5);
    lot_free();
    test_conv(2, 2, 8);
    lot_free();
    test_conv(3, 9, 24);
}

static void test_rope(void)
{
    enum { B = 2, N = 7, H = 2, F = 16, COUNT = B * N * H * F };
    static const int firsts[] = {0, 5, 0, 13}, periods[] = {0, 0, 4, 16};
    for (int i = 0; i < 4; i++) {
        const float *x;
        real *dev = random_reals(&x, COUNT);
        double want[COUNT], turned[COUNT];
        for (int at = 0; at < COUNT; at += 2) {
            int c = at % F / 2, pos = firsts[i] + at / (H * F) % N;
            pos = periods[i] ? pos % periods[i] : pos;
            double angle = pos * pow(10000, -2.0 * c / F);
            want[at] = x[at] * cos(angle) - x[at + 1] * sin(angle);
            want[at + 1] = x[at] * sin(angle) + x[at + 1] * cos(angle);
        }
        rope(dev, B, N, H, F, firsts[i], periods[i], 10000, false);
        near_reals("turned", dev, want, COUNT);
        rope(dev, B, N, H, F, firsts[i], periods[i], 10000, true);
        for (int at = 0; at < COUNT; at++)
            turned[at] = x[at];
        near_reals("and back", dev, turned, COUNT);
    }
}

/* Each token at its own place; one that rests is left alone. */
static void test_rope_step(void)
{
    enum { B = 4, H = 2, F = 16, ROW = H * F, LIMIT = 64 };
    const int32_t places[B] = {3, -1, 0, 61};
    for (int period = 0; period <= 16; period += 16) {
        real *x = random_reals(NULL, B * ROW), *y = lot_alloc(sizeof *y * B * ROW);
        device_copy(y, x, sizeof *x * B * ROW);
        rope_step(x, put_ints(places, B), B, H, F, period, LIMIT, 10000);
        for (int b = 0; b < B; b++)
            if (places[b] >= 0)
                rope(y + b * ROW, 1, 1, H, F, places[b], period, 10000, false);
        near_reals("as rope", x, doubles(get_reals(y, B * ROW), B * ROW), B * ROW);
    }
}

/* Gates over the whole range of their argument, and in place. */
static void test_gates(void)
{
    enum { N = 901 };
    const float *dy, *z;
    float x[N];
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) / 8; /* up to 56 both ways */
    real *dev_dy = random_reals(&dy, N), *dev_z = random_reals(&z, N), *dev_x = put_reals(x, N);
    const float *g = get_reals(dev_x, N);
    double silu[N], silu_dg[N], silu_dz[N], gelu[N], gelu_dg[N], gelu_dz[N];
    for (int i = 0; i < N; i++) {
        double s = 1 / (1 + exp(-(double)g[i])), a = sqrt(2 / acos(-1));
        double t = tanh(a * (g[i] + 0.044715 * pow(g[i], 3)));
        double slope = a * (1 + 3 * 0.044715 * g[i] * (double)g[i]);
        silu[i] = g[i] * s * z[i];
        silu_dz[i] = dy[i] * g[i] * s;
        silu_dg[i] = dy[i] * z[i] * s * (1 + g[i] * (1 - s));
        gelu[i] = 0.5 * g[i] * (1 + t) * z[i];
        gelu_dz[i] = dy[i] * 0.5 * g[i] * (1 + t);
        gelu_dg[i] = dy[i] * (double)z[i] * (0.5 * (1 + t) + 0.5 * g[i] * (1 - t * t) * slope);
    }
    real *y = lot_alloc(N * sizeof *y);
    size_t bytes = N * sizeof *y;
    real *a = copy_of(dev_x, bytes), *b = copy_of(dev_z, bytes);
    swiglu_fwd(y, dev_x, dev_z, N);
    near_reals("swiglu", y, silu, N);
    swiglu_fwd(a, a, dev_z, N);
    CHECK(same_bits(a, y, bytes));
    swiglu_fwd(b, dev_x, b, N);
    CHECK(same_bits(b, y, bytes));
    a = copy_of(dev_x, bytes), b = copy_of(dev_z, bytes);
    swiglu_bwd(a, b, dev_dy, a, b, N);
    near_reals("swiglu dgate", a, silu_dg, N);
    near_reals("swiglu dup", b, silu_dz, N);

    a = copy_of(dev_x, bytes), b = copy_of(dev_z, bytes);
    gelu_gate_fwd(y, dev_x, dev_z, N);
    near_reals("gelu_gate", y, gelu, N);
    gelu_gate_fwd(a, a, dev_z, N);
    CHECK(same_bits(a, y, bytes));
    gelu_gate_fwd(b, dev_x, b, N);
    CHECK(same_bits(b, y, bytes));
    a = copy_of(dev_x, bytes), b = copy_of(dev_dy, bytes);
    gelu_gate_bwd(a, b, b, a, dev_z, N);
    near_reals("gelu_gate dgate", a, gelu_dg, N);
    near_reals("gelu_gate dz", b, gelu_dz, N);
}

/* The threshold: below it nothing happens, at it and above the gradient has that norm. 0: never. */
static void test_adamw_clip(void)
{
    enum { N = 70 };
    static const double shares[] = {0, 1e6, 1.1, 0.9, 0.1}; /* of the norm */
    for (int i = 0; i < 5; i++) {
        const float *p0, *m0, *v0, *g;
        float *p = random_floats(&p0, N, 0, 1), *m = random_floats(&m0, N, 0, 1);
        float *v = random_floats(&v0, N, 1, 0.9f), *grad = random_floats(&g, N, 0, 1);
        double *sum = lot_alloc(sizeof *sum), norm = 0, want_p[N], want_m[N], want_v[N];
        struct adamw a = {.lr = 0.01f,
                          .beta1 = 0.75f,
                          .beta2 = 0.875f,
                          .eps = 1e-8f,
                          .weight_decay = 0.125f,
                          .correct1 = 0.5f,
                          .correct2 = 0.25f};
        for (int j = 0; j < N; j++)
            norm += (double)g[j] * g[j];
        norm = sqrt(norm);
        a.clip = (float)(shares[i] * norm);
        for (int j = 0; j < N; j++) {
            double gj = shares[i] == 0 || shares[i] > 1 ? g[j] : g[j] * shares[i];
            want_m[j] = a.beta1 * (double)m0[j] + (1 - a.beta1) * gj;
            want_v[j] = a.beta2 * (double)v0[j] + (1 - a.beta2) * gj * gj;
            want_p[j] =
                p0[j] - a.lr * (want_m[j] / a.correct1 / (sqrt(want_v[j] / a.correct2) + a.eps) +
                                a.weight_decay * p0[j]);
        }
        square_sum(sum, grad, N);
        adamw_step(p, m, v, grad, sum, N, &a);
        near_floats("m", m, want_m, N);
        near_floats("v", v, want_v, N);
        near_floats("param", p, want_p, N);
    }
}

/* Parameters of three sizes, the last below the least that counts; with clipping and without. */
static void test_adafactor(void)
{
    enum { N = 70 };
    static const float sizes[] = {3, 0.1f, 1e-4f};
    for (int i = 0; i < 3; i++) {
        const float *p0, *m0, *v0, *g;
        float *p = random_floats(&p0, N, 0, sizes[i]), *m = random_floats(&m0, N, 0, 1);
        float *v = random_floats(&v0, N, 1, 0.9f), *grad = random_floats(&g, N, 0, 1);
        double *sums = lot_alloc(2 * sizeof *sums), norm = 0, size = 0;
        double want_p[N], want_m[N], want_v[N];
        struct adafactor a = {.lr = 0.01f, .beta1 = 0.75f, .decay = 0.875f, .weight_decay = 0.125f};
        for (int j = 0; j < N; j++) {
            norm += (double)g[j] * g[j];
            size += (double)p0[j] * p0[j] / N;
        }
        norm = sqrt(norm);
        size = fmax(sqrt(size), (double)1e-3f);
        a.clip = i == 0 ? 0 : (float)(norm / 4);
        for (int j = 0; j < N; j++) {
            double gj = g[j] / (i == 0 ? 1 : 4.0);
            want_v[j] = a.decay * (double)v0[j] + (1 - a.decay) * (gj * gj + 1e-30);
            want_m[j] =
                a.beta1 * (double)m0[j] + (1 - a.beta1) * a.lr * size * gj / sqrt(want_v[j]);
            want_p[j] = p0[j] - want_m[j] - a.weight_decay * (double)p0[j];
        }
        square_sum(sums, grad, N);
        square_sum(sums + 1, p, N);
        adafactor_step(p, m, v, grad, sums, sums + 1, N, &a);
        near_floats("m", m, want_m, N);
        near_floats("v", v, want_v, N);
        near_floats("param", p, want_p, N);
    }
}

/* What bf16 cannot hold is not kept, by either optimiser; the update itself is of all bits. */
static void test_bf16_momentum(void)
{
    enum { N = 70 };
    for (int i = 0; i < 2; i++) {
        const float *p0, *g;
        float *p = random_floats(&p0, N, 1, 0), *grad = random_floats(&g, N, 0, 1);
        float *m = lot_alloc(sizeof *m * N), *v = lot_alloc(sizeof *v * N);
        double *sums = lot_alloc(2 * sizeof *sums), exact[N], want[N];
        struct adamw a = {.lr = 1, .beta1 = 0.5f, .eps = 1, .correct1 = 1, .correct2 = 1};
        struct adafactor f = {.lr = 1, .beta1 = 0.3f, .decay = 0.7f};
        a.bf16_momentum = f.bf16_momentum = true;
        for (int j = 0; j < N; j++) {
            /* From moments of zero; parameters of size one. */
            exact[j] = i ? (g[j] < 0 ? -1 : 1) * (1 - f.beta1) / sqrt(1 - f.decay) : 0.5 * g[j];
            want[j] = p0[j] - (i ? exact[j] : exact[j] / (fabs((double)g[j]) + 1));
        }
        square_sum(sums, grad, N);
        square_sum(sums + 1, p, N);
        if (i)
            adafactor_step(p, m, v, grad, sums, sums + 1, N, &f);
        else
            adamw_step(p, m, v, grad, sums, N, &a);
        near_floats("param", p, want, N);
        const float *kept = get_floats(m, N);
        for (int j = 0; j < N; j++) {
            uint32_t bits;
            memcpy(&bits, &kept[j], sizeof bits);
            CHECK((bits & 0xffff) == 0);
            CHECK(fabs(kept[j] - exact[j]) <= fabs(exact[j]) / 256);
        }
    }
}

/* Few rows have kernels of their own on some devices. */
static void test_thin_matmuls(void)
{
    for (enum transpose t = NN; t <= NT; t++) {
        for (int rows = 1; rows <= 5; rows++)
            test_matmul(t, rows, 141, 29);
        test_matmul(t, 4, 1061, 6);
    }
}

/* The mean of five arrays, one at a time. */
static void test_mean_add(void)
{
    enum { N = 1003, PARTS = 5 };
    float *mean = lot_alloc(sizeof *mean * N);
    double *want = lot_malloc(sizeof *want * N);
    for (int i = 0; i < PARTS; i++) {
        const float *x;
        mean_add(mean, random_floats(&x, N, 0, 1), i, N);
        for (int j = 0; j < N; j++)
            want[j] += (double)x[j] / PARTS;
    }
    near_floats("mean", mean, want, N);
}

/* The running average of arrays, but for one of a gradient that was not finite. */
static void test_average_step(void)
{
    enum { N = 1003, STEPS = 4, BROKEN = 2 };
    const float rate = 0.3f, *x;
    const double sums[] = {1, 0, NAN, 2};
    float *average = lot_alloc(sizeof *average * N);
    double *sum = lot_alloc(sizeof *sum), *want = lot_malloc(sizeof *want * N);
    for (int i = 0; i < STEPS; i++) {
        device_put(sum, &sums[i], sizeof *sum);
        average_step(average, random_floats(&x, N, 0, 1), sum, rate, N);
        for (int j = 0; j < N && i != BROKEN; j++)
            want[j] += (double)rate * (x[j] - want[j]);
    }
    near_floats("average", average, want, N);
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
        fprintf(stderr, "device_ops: %s\n", broken);
        return 1;
    }
    printf("      %s\n", device_describe());
    run("whole arrays", test_whole_arrays);
    run("square_sum of a long array", test_square_sum_long);
    run("matmul", test_matmuls);
    run("matmul of few rows", test_thin_matmuls);
    run("embedding", test_embedding);
    run("cross_entropy", test_cross_entropy);
    run("norms", test_norms);
    run("convolution", test_convs);
    run("rope", test_rope);
    run("rope_step", test_rope_step);
    run("gates", test_gates);
    run("adamw", test_adamw_clip);
    run("adafactor", test_adafactor);
    run("momentum in bf16", test_bf16_momentum);
    run("mean_add", test_mean_add);
    run("average_step", test_average_step);
    device_close();
    return check_finish();
}
