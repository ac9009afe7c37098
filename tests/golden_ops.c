/* golden_ops.c -- every operation against results computed elsewhere in float64.

   golden_ops DIR [CASE...]: runs DIR/CASE.safetensors, or every file of DIR. The first word of a
   file's name says which operation it is for. in/ are inputs, out/ results, dout/ the gradients of
   the loss with respect to the results, din/ with respect to the inputs. */
#include "compare.h"
#include "err.h"
#include "tensors.h"

#include <dirent.h>

static struct tensors file;

/* The floats of a tensor as an aligned array that lives as long as the case; *count is set. */
static const float *floats(const char *name, size_t *count)
{
    const struct tensor *t = tensors_find(&file, name);
    if (!t || t->dtype != TENSOR_F32) {
        fprintf(stderr, "%s: no float32 tensor %s\n", check_case, name);
        exit(1);
    }
    float *x = lot_malloc(t->bytes);
    memcpy(x, t->data, t->bytes);
    if (count)
        *count = t->count;
    return x;
}

static int64_t dim(const char *name, int i)
{
    const struct tensor *t = tensors_find(&file, name);
    if (!t || i >= t->dims || t->shape[i] <= 0 || t->shape[i] > 1 << 20) {
        fprintf(stderr, "%s: tensor %s is missing or has no axis %d\n", check_case, name, i);
        exit(1);
    }
    return t->shape[i];
}

/* Inputs on the device. */
static real *reals_in(const char *name)
{
    size_t count;
    const float *x = floats(name, &count);
    return put_reals(x, count);
}

static float *floats_in(const char *name)
{
    size_t count;
    const float *x = floats(name, &count);
    return put_floats(x, count);
}

/* Room for a result shaped like the tensor called name, zeroed. */
static void *room(const char *name, size_t element)
{
    size_t count;
    floats(name, &count);
    return lot_alloc(count * element);
}

static void expect_reals(const char *name, const real *got)
{
    size_t count;
    const float *want = floats(name, &count);
    near_reals(name, got, doubles(want, count), count);
}

static void expect_floats(const char *name, const float *got)
{
    size_t count;
    const float *want = floats(name, &count);
    near_floats(name, got, doubles(want, count), count);
}

static void expect_number(const char *name, double got)
{
    float f = (float)got;
    double want = floats(name, NULL)[0];
    near_host(name, &f, &want, 1);
}

/* ---- operations ---------------------------------------------------------------------------- */

static void run_rmsnorm(void)
{
    int width = dim("in/weight", 0), rows = dim("in/x", 0) * dim("in/x", 1);
    real *x = reals_in("in/x"), *y = room("out/y", sizeof *y), *dx = room("in/x", sizeof *dx);
    float *gain = floats_in("in/weight"), *dgain = room("in/weight", sizeof *dgain);
    float *inv = lot_alloc(sizeof *inv * rows);
    rmsnorm_fwd(y, inv, x, gain, rows, width, 1e-6f);
    rmsnorm_bwd(dx, dgain, reals_in("dout/y"), x, inv, gain, rows, width);
    expect_reals("out/y", y);
    expect_reals("din/x", dx);
    expect_floats("din/weight", dgain);
}

static void run_layernorm(void)
{
    int width = dim("in/scale", 0), rows = dim("in/x", 0) * dim("in/x", 1);
    real *x = reals_in("in/x"), *y = room("out/y", sizeof *y), *dx = room("in/x", sizeof *dx);
    float *scale = floats_in("in/scale"), *bias = floats_in("in/bias");
    float *dscale = room("in/scale", sizeof *dscale), *dbias = room("in/bias", sizeof *dbias);
    float *mean = lot_alloc(sizeof *mean * rows), *inv = lot_alloc(sizeof *inv * rows);
    layernorm_fwd(y, mean, inv, x, scale, bias, rows, width, 1e-6f);
    layernorm_bwd(dx, dscale, dbias, reals_in("dout/y"), x, mean, inv, scale, rows, width);
    expect_reals("out/y", y);
    expect_reals("din/x", dx);
    expect_floats("din/scale", dscale);
    expect_floats("din/bias", dbias);
}

static void run_conv(void)
{
    int batch = dim("in/x", 0), seq = dim("in/x", 1), width = dim("in/x", 2);
    real *x = reals_in("in/x"), *y = room("out/y", sizeof *y), *dx = room("in/x", sizeof *dx);
    float *kernel = floats_in("in/kernel"), *bias = floats_in("in/bias");
    float *dkernel = room("in/kernel", sizeof *dkernel), *dbias = room("in/bias", sizeof *dbias);
    conv_fwd(y, x, kernel, bias, NULL, batch, seq, width);
    conv_bwd(dx, dkernel, dbias, reals_in("dout/y"), x, kernel, false, batch, seq, width);
    expect_reals("out/y", y);
    expect_reals("din/x", dx);
    expect_floats("din/kernel", dkernel);
    expect_floats("din/bias", dbias);
}

static void run_rope(void)
{
    int batch = dim("in/x", 0), seq = dim("in/x", 1), heads = dim("in/x", 2), f = dim("in/x", 3);
    int period = strstr(check_case, "mod16") ? 16 : 0;
    real *x = reals_in("in/x"), *dy = reals_in("dout/y");
    rope(x, batch, seq, heads, f, 0, period, 10000, false);
    rope(dy, batch, seq, heads, f, 0, period, 10000, true);
    expect_reals("out/y", x);
    expect_reals("din/x", dy);
}

/* gelu alone is the gate of z = 1. */
static void run_gelu(void)
{
    size_t count = dim("in/x", 0);
    float *ones = lot_malloc(sizeof *ones * count);
    for (size_t i = 0; i < count; i++)
        ones[i] = 1;
    real *x = reals_in("in/x"), *z = put_reals(ones, count);
    real *y = room("out/y", sizeof *y), *dx = room("in/x", sizeof *dx);
    real *dz = room("in/x", sizeof *dz);
    gelu_gate_fwd(y, x, z, count);
    gelu_gate_bwd(dx, dz, reals_in("dout/y"), x, z, count);
    expect_reals("out/y", y);
    expect_reals("din/x", dx);
}

static void run_gelu_gate(void)
{
    size_t count;
    floats("in/gate", &count);
    real *gate = reals_in("in/gate"), *z = reals_in("in/z"), *y = room("out/y", sizeof *y);
    real *dgate = room("in/gate", sizeof *dgate), *dz = room("in/z", sizeof *dz);
    gelu_gate_fwd(y, gate, z, count);
    gelu_gate_bwd(dgate, dz, reals_in("dout/y"), gate, z, count);
    expect_reals("out/y", y);
    expect_reals("din/gate", dgate);
    expect_reals("din/z", dz);
}

static void run_swiglu(void)
{
    size_t count;
    floats("in/gate", &count);
    real *gate = reals_in("in/gate"), *up = reals_in("in/up"), *y = room("out/y", sizeof *y);
    real *dgate = room("in/gate", sizeof *dgate), *dup = room("in/up", sizeof *dup);
    swiglu_fwd(y, gate, up, count);
    swiglu_bwd(dgate, dup, reals_in("dout/y"), gate, up, count);
    expect_reals("out/y", y);
    expect_reals("din/gate", dgate);
    expect_reals("din/up", dup);
}

static void run_cross_entropy(void)
{
    int batch = dim("in/logits", 0), seq = dim("in/logits", 1), vocab = dim("in/logits", 2);
    int rows = batch * seq;
    const struct tensor *targets = tensors_find(&file, "in/targets");
    const float *mask = floats("in/loss_masks", NULL);
    int32_t *ids = lot_malloc(sizeof *ids * rows);
    float *weight = lot_malloc(sizeof *weight * rows);
    CHECK(targets && targets->dtype == TENSOR_I32 && targets->count == (size_t)rows);
    memcpy(ids, targets->data, sizeof *ids * rows);
    for (int b = 0; b < batch; b++) {
        double valid = 0;
        for (int t = 0; t < seq; t++)
            valid += mask[b * seq + t];
        for (int t = 0; t < seq; t++)
            weight[b * seq + t] = (float)(mask[b * seq + t] / (batch * fmax(valid, 1e-10)));
    }
    float *loss = lot_alloc(sizeof *loss * rows), *correct = lot_alloc(sizeof *correct * rows);
    real *dlogits = room("in/logits", sizeof *dlogits);
    cross_entropy(loss, correct, dlogits, floats_in("in/logits"), put_ints(ids, rows),
                  put_floats(weight, rows), rows, vocab);
    expect_reals("din/logits", dlogits);
    const float *l = get_floats(loss, rows), *c = get_floats(correct, rows);
    double total = 0, right = 0;
    for (int r = 0; r < rows; r++) {
        total += (double)weight[r] * l[r];
        right += (double)weight[r] * c[r];
    }
    expect_number("out/loss", total);
    expect_number("out/accuracy", right);
}

/* Six steps over two tensors that share one norm. */
static void run_adamw(void)
{
    static const char *const parts[] = {"a", "b"};
    float *param[2], *m[2], *v[2];
    char name[32];
    size_t count[2];
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "in/%s", parts[i]);
        floats(name, &count[i]);
        param[i] = floats_in(name);
        m[i] = room(name, sizeof *m[i]);
        v[i] = room(name, sizeof *v[i]);
    }
    double *sums = lot_alloc(2 * sizeof *sums);
    for (int step = 0; step < 6; step++) {
        double sum[2];
        float *grad[2];
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "grad%d/%s", step, parts[i]);
            grad[i] = floats_in(name);
            square_sum(sums + i, grad[i], count[i]);
        }
        device_get(sum, sums, sizeof sum);
        sum[0] += sum[1];
        device_put(sums, sum, sizeof *sum);
        snprintf(name, sizeof name, "norm%d", step);
        expect_number(name, sqrt(sum[0]));
        snprintf(name, sizeof name, "lr%d", step);
        struct adamw a = {.lr = floats(name, NULL)[0],
                          .beta1 = 0.9f,
                          .beta2 = 0.95f,
                          .eps = 1e-8f,
                          .weight_decay = 0.1f,
                          .correct1 = (float)(1 - pow(0.9, step + 1)),
                          .correct2 = (float)(1 - pow(0.95, step + 1)),
                          .clip = 1};
        for (int i = 0; i < 2; i++) {
            adamw_step(param[i], m[i], v[i], grad[i], sums, count[i], &a);
            snprintf(name, sizeof name, "after%d/%s", step, parts[i]);
            expect_floats(name, param[i]);
        }
    }
}

/* The files have these arrays as the operation does, [batch][seq][heads][f]. */
static void run_attention(void)
{
    int batch = dim("in/q", 0), seq = dim("in/q", 1), heads = dim("in/q", 2), f = dim("in/q", 3);
    real *q = reals_in("in/q"), *k = reals_in("in/k"), *v = reals_in("in/v");
    real *out = room("in/q", sizeof *out), *dq = room("in/q", sizeof *dq);
    real *dk = room("in/k", sizeof *dk), *dv = room("in/v", sizeof *dv);
    float *lse = lot_alloc(sizeof *lse * batch * heads * seq);
    attention_fwd(out, lse, q, k, v, batch, seq, heads, f);
    attention_bwd(dq, dk, dv, reals_in("dout/o"), out, lse, q, k, v, batch, seq, heads, f);
    expect_reals("out/o", out);
    expect_reals("din/q", dq);
    expect_reals("din/k", dk);
    expect_reals("din/v", dv);
}

/* ---- the inner loop ------------------------------------------------------------------------ */

/* The files have [batch][heads][seq][f], the operations [batch][seq][heads][f]. */
static float *tokens_first(const float *x, const struct ttt_shape *s, bool back)
{
    int f = s->head_dim;
    float *y = lot_malloc(sizeof *y * s->batch * s->seq * s->heads * f);
    for (int b = 0; b < s->batch; b++)
        for (int h = 0; h < s->heads; h++)
            for (int t = 0; t < s->seq; t++) {
                size_t heads_first = ((size_t)(b * s->heads + h) * s->seq + t) * f;
                size_t tokens = ((size_t)(b * s->seq + t) * s->heads + h) * f;
                memcpy(y + (back ? heads_first : tokens), x + (back ? tokens : heads_first),
                       sizeof *y * f);
            }
    return y;
}

static real *sequence_in(const char *name, const struct ttt_shape *s)
{
    size_t count;
    const float *x = floats(name, &count);
    return put_reals(tokens_first(x, s, false), count);
}

static void expect_sequence(const char *name, const real *got, const struct ttt_shape *s)
{
    size_t count;
    const float *want = floats(name, &count);
    near_host(name, tokens_first(get_reals(got, count), s, true), doubles(want, count), count);
}

/* The inner state is one array here, a tensor a part in the files: w1, b1 and the MLP's w2, b2. */
struct part {
    const char *name;
    size_t floats; /* of one sequence and head */
};

static int state_parts(struct part parts[4], const struct ttt_shape *s, bool mlp)
{
    size_t f = s->head_dim, hidden = mlp ? 4 * f : f;
    parts[0] = (struct part){"W1", f * hidden};
    parts[1] = (struct part){"b1", hidden};
    parts[2] = (struct part){"W2", hidden * f};
    parts[3] = (struct part){"b2", f};
    return mlp ? 4 : 2;
}

static size_t state_floats(const struct ttt_shape *s, bool mlp)
{
    return mlp ? ttt_mlp_state_floats(s->head_dim) : ttt_linear_state_floats(s->head_dim);
}

static void expect_state(const float *last, const struct ttt_shape *s, bool mlp)
{
    struct part parts[4];
    int n = state_parts(parts, s, mlp);
    size_t size = state_floats(s, mlp), chains = (size_t)s->batch * s->heads, at = 0;
    const float *state = get_floats(last, chains * size);
    for (int i = 0; i < n; i++) {
        char name[32];
        size_t count;
        snprintf(name, sizeof name, "out/final_%s", parts[i].name);
        const float *want = floats(name, &count);
        float *got = lot_malloc(sizeof *got * count);
        for (size_t c = 0; c < chains; c++)
            memcpy(got + c * parts[i].floats, state + c * size + at, sizeof *got * parts[i].floats);
        near_host(name, got, doubles(want, count), count);
        at += parts[i].floats;
    }
}

static float *state_gradient(const struct ttt_shape *s, bool mlp)
{
    struct part parts[4];
    int n = state_parts(parts, s, mlp);
    size_t size = state_floats(s, mlp), chains = (size_t)s->batch * s->heads, at = 0;
    float *state = lot_malloc(sizeof *state * chains * size);
    for (int i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "dout/final_%s", parts[i].name);
        const float *from = floats(name, NULL);
        for (size_t c = 0; c < chains; c++)
            memcpy(state + c * size + at, from + c * parts[i].floats,
                   sizeof *from * parts[i].floats);
        at += parts[i].floats;
    }
    return put_floats(state, chains * size);
}

/* The gradient of token_idx. With mini-batches of one token it is a single number, the sum of one
   term a step, and the terms may cancel: in the golden they are up to 5.9, their sum is 0.008, so
   that rounding each of them correctly to float already costs 7e-5 of the sum. There the error is
   measured against the terms, which the file tells through sigma: with E = t g the term of a step
   is dsigma sigma / t. */
static void expect_token_idx(const float *got, const struct ttt_shape *s)
{
    if (s->mini_batch > 1) {
        expect_floats("din/token_idx", got);
        return;
    }
    size_t count;
    const float *sigma = floats("in/sigma", &count), *dsigma = floats("din/sigma", &count);
    double t = floats("in/token_idx", NULL)[0] + 1.0, squares = 0;
    for (size_t i = 0; i < count; i++)
        squares += pow(sigma[i] * (double)dsigma[i] / t, 2);
    double error = fabs((double)get_floats(got, 1)[0] - floats("din/token_idx", NULL)[0]);
    worst_take("din/token_idx (against its terms)", error / sqrt(squares), tolerance());
}

static void run_ttt(bool mlp)
{
    struct ttt_shape s = {.batch = dim("in/q", 0),
                          .heads = dim("in/q", 1),
                          .seq = dim("in/q", 2),
                          .head_dim = dim("in/q", 3),
                          .mini_batch = dim("in/token_idx", 0),
                          .keep_every = 2,
                          .eps = 1e-6f};
    s.rate = floats("base_lr", NULL)[0] / (float)s.head_dim;
    size_t chains = (size_t)s.batch * s.heads;
    size_t kept_floats = mlp ? ttt_mlp_kept_floats(&s) : ttt_linear_kept_floats(&s);
    real *q = sequence_in("in/q", &s), *k = sequence_in("in/k", &s), *v = sequence_in("in/v", &s);
    real *out = room("in/q", sizeof *out), *dq = room("in/q", sizeof *dq);
    real *dk = room("in/k", sizeof *dk), *dv = room("in/v", sizeof *dv);
    real *dout = sequence_in("dout/o", &s);
    float *sigma = floats_in("in/sigma"), *dsigma = room("in/sigma", sizeof *dsigma);
    float *kept = lot_alloc(sizeof *kept * kept_floats);
    float *last = lot_alloc(sizeof *last * chains * state_floats(&s, mlp));
    float *dlast = state_gradient(&s, mlp);
    struct ttt_params p = {.token_idx = floats_in("in/token_idx"),
                           .norm_scale = floats_in("in/ttt_norm_scale"),
                           .norm_bias = floats_in("in/ttt_norm_bias"),
                           .w1 = floats_in("in/W1"),
                           .b1 = floats_in("in/b1")};
    struct ttt_params d = {.token_idx = room("in/token_idx", sizeof(float)),
                           .norm_scale = room("in/ttt_norm_scale", sizeof(float)),
                           .norm_bias = room("in/ttt_norm_bias", sizeof(float)),
                           .w1 = room("in/W1", sizeof(float)),
                           .b1 = room("in/b1", sizeof(float))};
    if (mlp) {
        p.w2 = floats_in("in/W2");
        p.b2 = floats_in("in/b2");
        d.w2 = room("in/W2", sizeof(float));
        d.b2 = room("in/b2", sizeof(float));
        ttt_mlp_fwd(out, kept, last, q, k, v, sigma, &p, &s);
        ttt_mlp_bwd(dq, dk, dv, dsigma, &d, dout, dlast, q, k, v, sigma, kept, &p, &s);
        expect_floats("din/W2", d.w2);
        expect_floats("din/b2", d.b2);
    } else {
        ttt_linear_fwd(out, kept, last, q, k, v, sigma, &p, &s);
        ttt_linear_bwd(dq, dk, dv, dsigma, &d, dout, dlast, q, k, v, sigma, kept, &p, &s);
    }
    expect_sequence("out/o", out, &s);
    expect_state(last, &s, mlp);
    expect_sequence("din/q", dq, &s);
    expect_sequence("din/k", dk, &s);
    expect_sequence("din/v", dv, &s);
    expect_floats("din/sigma", dsigma);
    expect_token_idx(d.token_idx, &s);
    expect_floats("din/ttt_norm_scale", d.norm_scale);
    expect_floats("din/ttt_norm_bias", d.norm_bias);
    expect_floats("din/W1", d.w1);
    expect_floats("din/b1", d.b1);
}

static void run_ttt_linear(void)
{
    run_ttt(false);
}

static void run_ttt_mlp(void)
{
    run_ttt(true);
}

/* ---- files --------------------------------------------------------------------------------- */

/* By the start of a name; the longer first. */
static const struct {
    const char *prefix;
    void (*run)(void);
} kinds[] = {
    {"rmsnorm", run_rmsnorm},     {"layernorm", run_layernorm},         {"conv", run_conv},
    {"rope", run_rope},           {"gelu_gate", run_gelu_gate},         {"gelu", run_gelu},
    {"swiglu", run_swiglu},       {"cross_entropy", run_cross_entropy}, {"adamw", run_adamw},
    {"attention", run_attention}, {"ttt_linear", run_ttt_linear},       {"ttt_mlp", run_ttt_mlp},
};

static void run_file(const char *dir, const char *name)
{
    char path[4096];
    size_t i = 0, n = sizeof kinds / sizeof *kinds;
    while (i < n && strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) != 0)
        i++;
    case_begin(name);
    worst_begin();
    snprintf(path, sizeof path, "%s/%s.safetensors", dir, name);
    if (i == n) {
        fprintf(stderr, "%s: no operation has a name that begins like this\n", path);
        CHECK(!"known operation");
    } else if (tensors_open(&file, path)) {
        fprintf(stderr, "%s\n", why());
        CHECK(!"readable");
    } else {
        kinds[i].run();
        const char *broken = device_sync();
        CHECK(!broken);
        tensors_close(&file);
    }
    lot_free();
    case_end(worst_note());
}

/* A file of goldens; on success its name has lost the suffix. */
static int is_case(const struct dirent *e)
{
    size_t n = strlen(e->d_name), suffix = strlen(".safetensors");
    return n > suffix && strcmp(e->d_name + n - suffix, ".safetensors") == 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: golden_ops DIR [CASE...]\n");
        return 2;
    }
    const char *broken = device_open(0);
    if (broken) {
        fprintf(stderr, "golden_ops: %s\n", broken);
        return 1;
    }
    printf("      %s\n", device_describe());
    for (int i = 2; i < argc; i++)
        run_file(argv[1], argv[i]);
    if (argc == 2) {
        struct dirent **list;
        int n = scandir(argv[1], &list, is_case, alphasort);
        if (n < 0) {
            fprintf(stderr, "golden_ops: cannot list %s\n", argv[1]);
            return 1;
        }
        for (int i = 0; i < n; i++) {
            list[i]->d_name[strlen(list[i]->d_name) - strlen(".safetensors")] = 0;
            run_file(argv[1], list[i]->d_name);
            free(list[i]);
        }
        free(list);
    }
    device_close();
    return check_finish();
}
