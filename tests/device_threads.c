/* device_threads.c -- the same bits for every number of threads, where kernels.h promises it.

   A process opens the device once, so each number of threads gets a process of its own, which runs
   the operations on the same numbers and writes a fingerprint of each result into a pipe. */
#include "numbers.h"

#include <sys/wait.h>
#include <unistd.h>

enum { B = 2, N = 48, H = 3, F = 16, D = H * F, ROWS = B * N, VOCAB = 530, OPS_MAX = 32 };

struct prints {
    int count;
    char name[OPS_MAX][24];
    uint64_t print[OPS_MAX];
};
static struct prints prints;

/* FNV-1a of an array on the device, under the operation's name; several arrays of one are mixed. */
static void print_bytes(const char *name, const void *device, size_t bytes)
{
    int i = prints.count - 1;
    if (i < 0 || strcmp(prints.name[i], name) != 0) {
        i = prints.count++;
        assert(i < OPS_MAX);
        snprintf(prints.name[i], sizeof prints.name[i], "%s", name);
        prints.print[i] = 0xcbf29ce484222325;
    }
    const unsigned char *host = lot_malloc(bytes);
    device_get((void *)host, device, bytes);
    for (size_t j = 0; j < bytes; j++)
        prints.print[i] = (prints.print[i] ^ host[j]) * 0x100000001b3;
}

static void run_rows(void)
{
    real *x = random_reals(NULL, ROWS * D), *dy = random_reals(NULL, ROWS * D);
    real *y = lot_alloc(sizeof *y * ROWS * D), *dx = lot_alloc(sizeof *dx * ROWS * D);
    float *gain = random_floats(NULL, D, 1, 0.3f), *bias = random_floats(NULL, D, 0, 1);
    float *dg = random_floats(NULL, D, 0, 1), *db = random_floats(NULL, D, 0, 1);
    float *a = lot_alloc(sizeof *a * ROWS), *b = lot_alloc(sizeof *b * ROWS);
    float *kernel = random_floats(NULL, CONV_WIDTH * D, 0, 1);
    float *dk = lot_alloc(sizeof *dk * CONV_WIDTH * D);
    rmsnorm_fwd(y, a, x, gain, ROWS, D, 1e-6f);
    rmsnorm_bwd(dx, dg, dy, x, a, gain, ROWS, D);
    print_bytes("rmsnorm", y, sizeof *y * ROWS * D);
    print_bytes("rmsnorm", dx, sizeof *dx * ROWS * D);
    print_bytes("rmsnorm", dg, sizeof *dg * D);
    layernorm_fwd(y, a, b, x, gain, bias, ROWS, D, 1e-6f);
    layernorm_bwd(dx, dg, db, dy, x, a, b, gain, ROWS, D);
    print_bytes("layernorm", y, sizeof *y * ROWS * D);
    print_bytes("layernorm", dx, sizeof *dx * ROWS * D);
    print_bytes("layernorm", dg, sizeof *dg * D);
    print_bytes("layernorm", db, sizeof *db * D);
    conv_fwd(y, x, kernel, bias, NULL, B, N, D);
    conv_bwd(dx, dk, db, dy, x, kernel, true, B, N, D);
    print_bytes("conv", y, sizeof *y * ROWS * D);
    print_bytes("conv", dx, sizeof *dx * ROWS * D);
    print_bytes("conv", dk, sizeof *dk * CONV_WIDTH * D);
    print_bytes("conv", db, sizeof *db * D);
    rope(x, B, N, H, F, 0, 16, 10000, false);
    print_bytes("rope", x, sizeof *x * ROWS * D);
    swiglu_fwd(y, x, dy, ROWS * D);
    print_bytes("gates", y, sizeof *y * ROWS * D);
    gelu_gate_bwd(y, dx, dy, x, dy, ROWS * D);
    print_bytes("gates", y, sizeof *y * ROWS * D);
}

static void run_vocab(void)
{
    float *logits = random_floats(NULL, ROWS * VOCAB, 0, 5),
          *weight = random_floats(NULL, ROWS, 1, 0.5f);
    int32_t *ids = random_ids(NULL, ROWS, VOCAB);
    float *loss = lot_alloc(sizeof *loss * ROWS), *correct = lot_alloc(sizeof *correct * ROWS);
    real *dlogits = lot_alloc(sizeof *dlogits * ROWS * VOCAB), *dx = random_reals(NULL, ROWS * D);
    float *dtable = lot_alloc(sizeof *dtable * VOCAB * D);
    cross_entropy(loss, correct, dlogits, logits, ids, weight, ROWS, VOCAB);
    print_bytes("cross_entropy", loss, sizeof *loss * ROWS);
    print_bytes("cross_entropy", dlogits, sizeof *dlogits * ROWS * VOCAB);
    embedding_bwd(dtable, dx, ids, ROWS, D, VOCAB);
    print_bytes("embedding", dtable, sizeof *dtable * VOCAB * D);
}

static void run_inner(void)
{
    struct ttt_shape s = {.batch = B,
                          .seq = N,
                          .heads = H,
                          .head_dim = F,
                          .mini_batch = 16,
                          .keep_every = 2,
                          .rate = 1.0f / F,
                          .eps = 1e-6f};
    size_t reals = ROWS * D * sizeof(real), floats = ROWS * H * sizeof(float);
    size_t last_bytes = B * H * ttt_linear_state_floats(F) * sizeof(float);
    real *h = random_reals(NULL, ROWS * D), *dh = random_reals(NULL, ROWS * D);
    float *w = random_floats(NULL, H * D, 0, 0.2f), *bias = random_floats(NULL, H, 0, 0.2f);
    float *dw = lot_alloc(sizeof *dw * H * D), *dbias = lot_alloc(sizeof *dbias * H);
    float *sigma = lot_alloc(floats), *dsigma = lot_alloc(floats), *last = lot_alloc(last_bytes);
    real *q = random_reals(NULL, ROWS * D), *k = random_reals(NULL, ROWS * D);
    real *v = random_reals(NULL, ROWS * D), *out = lot_alloc(reals);
    real *dq = lot_alloc(reals), *dk = lot_alloc(reals), *dv = lot_alloc(reals);
    float *kept = lot_alloc(sizeof *kept * ttt_linear_kept_floats(&s));
    float *curve = lot_alloc(sizeof *curve * 3 * N / 16);
    struct ttt_params p = {.token_idx = random_floats(NULL, 16, 0, 0.01f),
                           .norm_scale = random_floats(NULL, D, 1, 0.2f),
                           .norm_bias = random_floats(NULL, D, 0, 0.2f),
                           .w1 = random_floats(NULL, D * F, 0, 0.2f),
                           .b1 = random_floats(NULL, D, 0, 0.2f)};
    struct ttt_params d = {.token_idx = lot_alloc(16 * sizeof(float)),
                           .norm_scale = lot_alloc(D * sizeof(float)),
                           .norm_bias = lot_alloc(D * sizeof(float)),
                           .w1 = lot_alloc(D * F * sizeof(float)),
                           .b1 = lot_alloc(D * sizeof(float))};
    ttt_gate_fwd(sigma, h, w, bias, B, N, H, D);
    print_bytes("ttt_gate", sigma, floats);
    ttt_linear_fwd(out, kept, last, q, k, v, sigma, &p, &s);
    print_bytes("ttt_linear", out, reals);
    print_bytes("ttt_linear", last, last_bytes);
    ttt_linear_bwd(dq, dk, dv, dsigma, &d, out, last, q, k, v, sigma, kept, &p, &s);
    print_bytes("ttt_linear_bwd", dq, reals);
    print_bytes("ttt_linear_bwd", dk, reals);
    print_bytes("ttt_linear_bwd", dv, reals);
    print_bytes("ttt_linear_bwd", dsigma, floats);
    print_bytes("ttt_linear_bwd", d.token_idx, 16 * sizeof(float));
    print_bytes("ttt_linear_bwd", d.norm_scale, D * sizeof(float));
    print_bytes("ttt_linear_bwd", d.norm_bias, D * sizeof(float));
    print_bytes("ttt_linear_bwd", d.w1, D * F * sizeof(float));
    print_bytes("ttt_linear_bwd", d.b1, D * sizeof(float));
    ttt_gate_bwd(dh, dw, dbias, dsigma, sigma, h, w, B, N, H, D);
    print_bytes("ttt_gate_bwd", dh, reals);
    print_bytes("ttt_gate_bwd", dw, sizeof *dw * H * D);
    print_bytes("ttt_gate_bwd", dbias, sizeof *dbias * H);
    ttt_linear_stats(curve, k, v, sigma, &p, &s);
    print_bytes("ttt_linear_stats", curve, sizeof *curve * 3 * N / 16);
    ttt_target_variance(curve, k, v, &s);
    print_bytes("ttt_target_variance", curve, sizeof *curve * N / 16);
}

static void run_attention(void)
{
    size_t reals = ROWS * D * sizeof(real);
    real *q = random_reals(NULL, ROWS * D), *k = random_reals(NULL, ROWS * D);
    real *v = random_reals(NULL, ROWS * D), *dout = random_reals(NULL, ROWS * D);
    real *out = lot_alloc(reals), *dq = lot_alloc(reals), *dk = lot_alloc(reals);
    real *dv = lot_alloc(reals);
    float *lse = lot_alloc(sizeof *lse * ROWS * H);
    /* One sequence of all the rows: longer than a tile. */
    attention_fwd(out, lse, q, k, v, 1, ROWS, H, F);
    print_bytes("attention_fwd", out, reals);
    print_bytes("attention_fwd", lse, sizeof *lse * ROWS * H);
    attention_bwd(dq, dk, dv, dout, out, lse, q, k, v, 1, ROWS, H, F);
    print_bytes("attention_bwd", dq, reals);
    print_bytes("attention_bwd", dk, reals);
    print_bytes("attention_bwd", dv, reals);
    int32_t last[B];
    for (int b = 0; b < B; b++)
        last[b] = ROWS / B - 1;
    attention_decode(out, k, v, q, dout, dq, put_ints(last, B), ROWS / B, B, H, F);
    print_bytes("attention_decode", out, B * D * sizeof(real));
}

static void run_mlp(void)
{
    struct ttt_shape s = {.batch = B,
                          .seq = N,
                          .heads = H,
                          .head_dim = F,
                          .mini_batch = 16,
                          .keep_every = 2,
                          .rate = 1.0f / F,
                          .eps = 1e-6f};
    size_t reals = ROWS * D * sizeof(real), wide = 4 * D;
    size_t last_bytes = B * H * ttt_mlp_state_floats(F) * sizeof(float);
    real *q = random_reals(NULL, ROWS * D), *k = random_reals(NULL, ROWS * D);
    real *v = random_reals(NULL, ROWS * D), *out = lot_alloc(reals);
    real *dq = lot_alloc(reals), *dk = lot_alloc(reals), *dv = lot_alloc(reals);
    float *sigma = random_floats(NULL, ROWS * H, 0.5f, 0.4f), *last = lot_alloc(last_bytes);
    float *dsigma = lot_alloc(sizeof *dsigma * ROWS * H);
    float *kept = lot_alloc(sizeof *kept * ttt_mlp_kept_floats(&s));
    float *curve = lot_alloc(sizeof *curve * 3 * N / 16);
    struct ttt_params p = {.token_idx = random_floats(NULL, 16, 0, 0.01f),
                           .norm_scale = random_floats(NULL, D, 1, 0.2f),
                           .norm_bias = random_floats(NULL, D, 0, 0.2f),
                           .w1 = random_floats(NULL, wide * F, 0, 0.2f),
                           .b1 = random_floats(NULL, wide, 0, 0.2f),
                           .w2 = random_floats(NULL, wide * F, 0, 0.2f),
                           .b2 = random_floats(NULL, D, 0, 0.2f)};
    struct ttt_params d = {.token_idx = lot_alloc(16 * sizeof(float)),
                           .norm_scale = lot_alloc(D * sizeof(float)),
                           .norm_bias = lot_alloc(D * sizeof(float)),
                           .w1 = lot_alloc(wide * F * sizeof(float)),
                           .b1 = lot_alloc(wide * sizeof(float)),
                           .w2 = lot_alloc(wide * F * sizeof(float)),
                           .b2 = lot_alloc(D * sizeof(float))};
    ttt_mlp_fwd(out, kept, last, q, k, v, sigma, &p, &s);
    print_bytes("ttt_mlp", out, reals);
    print_bytes("ttt_mlp", last, last_bytes);
    ttt_mlp_bwd(dq, dk, dv, dsigma, &d, out, last, q, k, v, sigma, kept, &p, &s);
    print_bytes("ttt_mlp_bwd", dq, reals);
    print_bytes("ttt_mlp_bwd", dk, reals);
    print_bytes("ttt_mlp_bwd", dv, reals);
    print_bytes("ttt_mlp_bwd", dsigma, sizeof *dsigma * ROWS * H);
    print_bytes("ttt_mlp_bwd", d.token_idx, 16 * sizeof(float));
    print_bytes("ttt_mlp_bwd", d.w1, wide * F * sizeof(float));
    print_bytes("ttt_mlp_bwd", d.b2, D * sizeof(float));
    ttt_mlp_stats(curve, k, v, sigma, &p, &s);
    print_bytes("ttt_mlp_stats", curve, sizeof *curve * 3 * N / 16);
}

static void run_optimiser(void)
{
    enum { COUNT = 140001 };
    float *grad = random_floats(NULL, COUNT, 0, 1), *param = random_floats(NULL, COUNT, 0, 1);
    float *m = random_floats(NULL, COUNT, 0, 1), *v = random_floats(NULL, COUNT, 1, 0.5f);
    double *sum = lot_alloc(sizeof *sum);
    struct adamw a = {.lr = 0.01f,
                      .beta1 = 0.9f,
                      .beta2 = 0.95f,
                      .eps = 1e-8f,
                      .weight_decay = 0.1f,
                      .correct1 = 0.1f,
                      .correct2 = 0.05f,
                      .clip = 1};
    square_sum(sum, grad, COUNT);
    print_bytes("square_sum", sum, sizeof *sum);
    adamw_step(param, m, v, grad, sum, COUNT, &a);
    print_bytes("adamw", param, sizeof *param * COUNT);
}

/* Everything with this many threads, in a process of its own. */
static bool prints_of(struct prints *to, int threads)
{
    int ends[2];
    if (pipe(ends))
        return false;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        const char *broken = device_open(threads);
        if (broken) {
            fprintf(stderr, "device_threads: %s\n", broken);
            _exit(1);
        }
        run_rows();
        lot_free();
        run_vocab();
        lot_free();
        run_inner();
        lot_free();
        run_attention();
        lot_free();
        run_mlp();
        lot_free();
        run_optimiser();
        lot_free();
        _exit(write(ends[1], &prints, sizeof prints) != (ssize_t)sizeof prints);
    }
    close(ends[1]);
    bool whole = child > 0 && read(ends[0], to, sizeof *to) == (ssize_t)sizeof *to;
    close(ends[0]);
    int status = 1;
    waitpid(child, &status, 0);
    return whole && status == 0;
}

int main(void)
{
    static struct prints one, other;
    bool ran = prints_of(&one, 1);
    static const int threads[] = {1, 2, 5};
    for (int i = 0; i < 3; i++) {
        char name[64], note[64];
        snprintf(name, sizeof name, "1 thread and %d", threads[i]);
        case_begin(name);
        CHECK(ran && prints_of(&other, threads[i]));
        CHECK(one.count > 0 && one.count == other.count);
        for (int j = 0; j < one.count && j < other.count; j++)
            if (one.print[j] != other.print[j]) {
                fprintf(stderr, "%s: %s differs\n", name, one.name[j]);
                CHECK(!"same bits");
            }
        snprintf(note, sizeof note, "%d operations", one.count);
        case_end(note);
    }
    return check_finish();
}
