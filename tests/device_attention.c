/* device_attention.c -- causal attention against its definition in double. */
#include "numbers.h"

/* Arrays of one call on both sides, [batch][seq][heads][f]. */
struct call {
    int batch, seq, heads, f;
    size_t count, rows; /* floats of an array; of lse */
    real *q, *k, *v, *dout, *out;
    float *lse;
    const float *hq, *hk, *hv, *hdout;
};

struct truth {
    double *out, *lse, *dq, *dk, *dv;
};

/* spread: of the scores, so that softmax is nearly flat or nearly a choice of one key. */
static struct call make_call(int batch, int seq, int heads, int f, float spread)
{
    struct call c = {.batch = batch, .seq = seq, .heads = heads, .f = f};
    c.rows = (size_t)batch * seq * heads;
    c.count = c.rows * f;
    float *x = lot_malloc(sizeof *x * c.count);
    for (size_t i = 0; i < c.count; i++)
        x[i] = spread * number();
    c.q = put_reals(x, c.count);
    c.hq = get_reals(c.q, c.count);
    c.k = random_reals(&c.hk, c.count);
    c.v = random_reals(&c.hv, c.count);
    c.dout = random_reals(&c.hdout, c.count);
    c.out = lot_alloc(sizeof *c.out * c.count);
    c.lse = lot_alloc(sizeof *c.lse * c.rows);
    return c;
}

static double row_dot(const float *a, const float *b, int f)
{
    double sum = 0;
    for (int c = 0; c < f; c++)
        sum += (double)a[c] * b[c];
    return sum;
}

/* Token t of one head; base and stride: where its tokens lie. */
static void define_token(const struct truth *w, const struct call *c, size_t base, size_t stride,
                         int t, double *lse)
{
    const int f = c->f;
    const size_t at = base + t * stride;
    const double scale = 1 / sqrt((double)f);
    double *p = lot_malloc(sizeof *p * (t + 1)), max = -INFINITY, sum = 0, dot = 0;
    for (int u = 0; u <= t; u++) {
        p[u] = scale * row_dot(c->hq + at, c->hk + base + u * stride, f);
        max = fmax(max, p[u]);
    }
    for (int u = 0; u <= t; u++)
        sum += exp(p[u] - max);
    *lse = max + log(sum);
    for (int u = 0; u <= t; u++) {
        p[u] = exp(p[u] - *lse);
        for (int x = 0; x < f; x++)
            w->out[at + x] += p[u] * c->hv[base + u * stride + x];
    }
    for (int x = 0; x < f; x++)
        dot += c->hdout[at + x] * w->out[at + x];
    for (int u = 0; u <= t; u++) {
        size_t key = base + u * stride;
        double ds = scale * p[u] * (row_dot(c->hdout + at, c->hv + key, f) - dot);
        for (int x = 0; x < f; x++) {
            w->dq[at + x] += ds * c->hk[key + x];
            w->dk[key + x] += ds * c->hq[at + x];
            w->dv[key + x] += p[u] * c->hdout[at + x];
        }
    }
    free(lot_host[--lot_hosts]); /* p: there are more tokens than the lot holds */
}

static struct truth define(const struct call *c)
{
    struct truth w = {.out = lot_malloc(sizeof(double) * c->count),
                      .lse = lot_malloc(sizeof(double) * c->rows),
                      .dq = lot_malloc(sizeof(double) * c->count),
                      .dk = lot_malloc(sizeof(double) * c->count),
                      .dv = lot_malloc(sizeof(double) * c->count)};
    size_t stride = (size_t)c->heads * c->f;
    for (int chain = 0; chain < c->batch * c->heads; chain++)
        for (int t = 0; t < c->seq; t++)
            define_token(&w, c, chain / c->heads * c->seq * stride + chain % c->heads * c->f,
                         stride, t, w.lse + (size_t)chain * c->seq + t);
    return w;
}

/* The gradients are set, whatever was there. */
static real *garbage(size_t count)
{
    float *x = lot_malloc(sizeof *x * count);
    for (size_t i = 0; i < count; i++)
        x[i] = NAN;
    return put_reals(x, count);
}

static void compare_case(int batch, int seq, int heads, int f, float spread)
{
    struct call c = make_call(batch, seq, heads, f, spread);
    struct truth w = define(&c);
    real *dq = garbage(c.count), *dk = garbage(c.count), *dv = garbage(c.count);
    attention_fwd(c.out, c.lse, c.q, c.k, c.v, batch, seq, heads, f);
    attention_bwd(dq, dk, dv, c.dout, c.out, c.lse, c.q, c.k, c.v, batch, seq, heads, f);
    near_reals("out", c.out, w.out, c.count);
    near_floats("lse", c.lse, w.lse, c.rows);
    near_reals("dv", dv, w.dv, c.count);
    if (seq > 1) { /* one key: the truth is 0 */
        near_reals("dq", dq, w.dq, c.count);
        near_reals("dk", dk, w.dk, c.count);
    }
}

static void test_lengths(void)
{
    static const int lengths[] = {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        compare_case(2, lengths[i], 3, 16, 1);
        lot_free();
    }
}

static void test_head_dims(void)
{
    static const int dims[] = {16, 32, 64, 96};
    for (int i = 0; i < 4; i++) {
        compare_case(1, 70, 2, dims[i], 1);
        lot_free();
    }
}

/* Scores in the hundreds: most weights are nothing, and maxima change from tile to tile. */
static void test_sharp(void)
{
    struct call c = make_call(1, 150, 2, 64, 400);
    struct truth w = define(&c);
    real *dq = garbage(c.count), *dk = garbage(c.count), *dv = garbage(c.count);
    attention_fwd(c.out, c.lse, c.q, c.k, c.v, 1, 150, 2, 64);
    attention_bwd(dq, dk, dv, c.dout, c.out, c.lse, c.q, c.k, c.v, 1, 150, 2, 64);
    /* A score of 200 is known to 1e-5, and its weight as well: the products' own rounding. */
    const double share = sizeof(real) == sizeof(float) ? 1e-4 : 5e-2;
    const struct {
        const char *name;
        const real *got;
        const double *want;
    } results[] = {{"out", c.out, w.out}, {"dq", dq, w.dq}, {"dk", dk, w.dk}, {"dv", dv, w.dv}};
    for (int i = 0; i < 4; i++)
        worst_take(results[i].name,
                   relative_l2(get_reals(results[i].got, c.count), results[i].want, c.count),
                   share);
}

/* Later tokens change nothing before them: not a NaN in their keys, nor any finite value. */
static void test_causal(void)
{
    enum { N = 100, CUT = 70, H = 2, F = 32, WIDTH = H * F };
    struct call c = make_call(1, N, H, F, 1);
    real *late = garbage(N * WIDTH), *out = lot_alloc(sizeof *out * N * WIDTH);
    real *k = copy_of(c.k, sizeof *k * N * WIDTH), *v = copy_of(c.v, sizeof *v * N * WIDTH);
    float *x = lot_malloc(sizeof *x * N * WIDTH);
    for (int i = 0; i < N * WIDTH; i++)
        x[i] = 1e30f;
    real *huge = put_reals(x, N * WIDTH);
    attention_fwd(c.out, c.lse, c.q, c.k, c.v, 1, N, H, F);
    device_copy(k + CUT * WIDTH, late, sizeof *k * (N - CUT) * WIDTH);
    attention_fwd(out, c.lse, c.q, k, c.v, 1, N, H, F);
    CHECK(same_bits(out, c.out, sizeof *out * CUT * WIDTH));
    device_copy(k, c.k, sizeof *k * N * WIDTH);
    device_copy(v + CUT * WIDTH, huge, sizeof *v * (N - CUT) * WIDTH);
    attention_fwd(out, c.lse, c.q, k, v, 1, N, H, F);
    CHECK(same_bits(out, c.out, sizeof *out * CUT * WIDTH));
}

static void test_decode(void)
{
    enum { B = 2, N = 150, CAPACITY = 160, H = 3, F = 32, WIDTH = H * F };
    struct call c = make_call(B, N, H, F, 2);
    struct truth w = define(&c);
    real *k_cache = garbage(B * CAPACITY * WIDTH), *v_cache = garbage(B * CAPACITY * WIDTH);
    real *row[3], *out = lot_alloc(sizeof *out * B * WIDTH);
    float *staged = lot_alloc(sizeof *staged * B * WIDTH);
    float *got = lot_malloc(sizeof *got * c.count);
    for (int i = 0; i < 3; i++)
        row[i] = lot_alloc(sizeof *out * B * WIDTH);
    int32_t *position = lot_alloc(B * sizeof *position);
    for (int t = 0; t < N; t++) {
        const real *from[] = {c.q, c.k, c.v};
        for (int i = 0; i < 3; i++)
            for (int b = 0; b < B; b++)
                device_copy(row[i] + b * WIDTH, from[i] + (b * N + t) * WIDTH, sizeof *out * WIDTH);
        device_put(position, (int32_t[B]){t, t}, B * sizeof *position);
        attention_decode(out, k_cache, v_cache, row[0], row[1], row[2], position, CAPACITY, B, H,
                         F);
        float_from_real(staged, out, B * WIDTH);
        for (int b = 0; b < B; b++)
            device_get(got + (b * N + t) * WIDTH, staged + b * WIDTH, sizeof *got * WIDTH);
    }
    near_host("decode", got, w.out, c.count);
}

static const struct {
    const char *name;
    void (*test)(void);
} tests[] = {
    {"attention, every length", test_lengths},
    {"attention, every head_dim", test_head_dims},
    {"attention, scores in the hundreds", test_sharp},
    {"attention reads nothing that comes later", test_causal},
    {"attention_decode", test_decode},
};

int main(void)
{
    const char *broken = device_open(0);
    if (broken) {
        fprintf(stderr, "device_attention: %s\n", broken);
        return 1;
    }
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        case_begin(tests[i].name);
        worst_begin();
        tests[i].test();
        broken = device_sync();
        CHECK(!broken);
        lot_free();
        case_end(worst_note());
    }
    device_close();
    return check_finish();
}
