/* bench_ops.c -- every large operation at the 125m model's shape, beside its floor.

   The floor is the larger of two times: the bytes of its arrays, each read and written once, at the
   bandwidth of a copy; and its arithmetic at the rate of the matrix library. */
#include "bench_parts.h"

enum { WIDTH = 768, HEADS = 12, INTERMEDIATE = 2048, VOCAB = 32000, HEAD_DIM = 64 };

/* Everything an operation may need; made once. */
static struct {
    int batch, seq, rows, width, heads, inner, vocab, chunk;
    real *x[6], *wide[3], *table;
    float *gain, *bias, *column[2], *dgain, *dbias, *lse, *sigma, *dsigma, *logits, *dtable;
    float *loss, *correct, *weight, *kernel, *kept;
    int32_t *ids, *target, *position;
    float *param[4];
    size_t params;
    double *sum, *draw;
    struct ttt_params linear, dlinear, mlp, dmlp;
    struct ttt_shape shape;
    void *state;
    real *row[4];
} o;

static void embedding_f(void *a)
{
    (void)a;
    embedding_fwd(o.x[0], o.table, o.ids, o.rows, o.width);
}

static void embedding_b(void *a)
{
    (void)a;
    embedding_bwd(o.dtable, o.x[0], o.ids, o.rows, o.width, o.vocab);
}

static void entropy(void *a)
{
    (void)a;
    cross_entropy(o.loss, o.correct, (real *)o.dtable, o.logits, o.target, o.weight, o.chunk,
                  o.vocab);
}

static void rms_f(void *a)
{
    (void)a;
    rmsnorm_fwd(o.x[1], o.column[0], o.x[0], o.gain, o.rows, o.width, 1e-6f);
}

static void rms_b(void *a)
{
    (void)a;
    rmsnorm_bwd(o.x[2], o.dgain, o.x[1], o.x[0], o.column[0], o.gain, o.rows, o.width);
}

static void layer_f(void *a)
{
    (void)a;
    layernorm_fwd(o.x[1], o.column[0], o.column[1], o.x[0], o.gain, o.bias, o.rows, o.width, 1e-6f);
}

static void layer_b(void *a)
{
    (void)a;
    layernorm_bwd(o.x[2], o.dgain, o.dbias, o.x[1], o.x[0], o.column[0], o.column[1], o.gain,
                  o.rows, o.width);
}

static void conv_f(void *a)
{
    (void)a;
    conv_fwd(o.x[1], o.x[0], o.kernel, o.bias, NULL, o.batch, o.seq, o.width);
}

static void conv_b(void *a)
{
    (void)a;
    conv_bwd(o.x[2], o.dgain, o.dbias, o.x[1], o.x[0], o.kernel, false, o.batch, o.seq, o.width);
}

static void turn(void *a)
{
    (void)a;
    rope(o.x[0], o.batch, o.seq, o.heads, o.width / o.heads, 0, 16, 10000, false);
}

static void swiglu_f(void *a)
{
    (void)a;
    swiglu_fwd(o.wide[2], o.wide[0], o.wide[1], (size_t)o.rows * o.inner);
}

static void swiglu_b(void *a)
{
    (void)a;
    swiglu_bwd(o.wide[0], o.wide[1], o.wide[2], o.wide[0], o.wide[1], (size_t)o.rows * o.inner);
}

static void gelu_f(void *a)
{
    (void)a;
    gelu_gate_fwd(o.x[2], o.x[0], o.x[1], (size_t)o.rows * o.width);
}

static void gelu_b(void *a)
{
    (void)a;
    gelu_gate_bwd(o.x[3], o.x[4], o.x[2], o.x[0], o.x[1], (size_t)o.rows * o.width);
}

static void attention_f(void *a)
{
    (void)a;
    attention_fwd(o.x[3], o.lse, o.x[0], o.x[1], o.x[2], o.batch, o.seq, o.heads,
                  o.width / o.heads);
}

static void attention_b(void *a)
{
    (void)a;
    attention_bwd(o.wide[0], o.wide[1], o.wide[2], o.x[4], o.x[3], o.lse, o.x[0], o.x[1], o.x[2],
                  o.batch, o.seq, o.heads, o.width / o.heads);
}

static void gate_f(void *a)
{
    (void)a;
    ttt_gate_fwd(o.sigma, o.x[0], o.gain, o.bias, o.batch, o.seq, o.heads, o.width);
}

static void gate_b(void *a)
{
    (void)a;
    ttt_gate_bwd(o.x[1], o.dgain, o.dbias, o.dsigma, o.sigma, o.x[0], o.gain, o.batch, o.seq,
                 o.heads, o.width);
}

static void linear_f(void *a)
{
    (void)a;
    ttt_linear_fwd(o.x[3], o.kept, NULL, o.x[0], o.x[1], o.x[2], o.sigma, &o.linear, &o.shape);
}

static void linear_b(void *a)
{
    (void)a;
    ttt_linear_bwd(o.wide[0], o.wide[1], o.wide[2], o.dsigma, &o.dlinear, o.x[4], NULL, o.x[0],
                   o.x[1], o.x[2], o.sigma, o.kept, &o.linear, &o.shape);
}

static void mlp_f(void *a)
{
    (void)a;
    ttt_mlp_fwd(o.x[3], o.kept, NULL, o.x[0], o.x[1], o.x[2], o.sigma, &o.mlp, &o.shape);
}

static void mlp_b(void *a)
{
    (void)a;
    ttt_mlp_bwd(o.wide[0], o.wide[1], o.wide[2], o.dsigma, &o.dmlp, o.x[4], NULL, o.x[0], o.x[1],
                o.x[2], o.sigma, o.kept, &o.mlp, &o.shape);
}

static void linear_d(void *a)
{
    (void)a;
    ttt_linear_decode(o.row[3], o.state, o.row[0], o.row[1], o.row[2], o.sigma, o.position,
                      &o.linear, &o.shape);
}

static void mlp_d(void *a)
{
    (void)a;
    ttt_mlp_decode(o.row[3], o.state, o.row[0], o.row[1], o.row[2], o.sigma, o.position, &o.mlp,
                   &o.shape);
}

static void pick_any(void *a)
{
    static const struct pick_rule rule = {.temperature = 0.8, .top_p = 1};
    (void)a;
    pick(o.ids, o.logits, o.draw, &rule, 1, o.vocab, o.vocab);
}

static void pick_likely(void *a)
{
    static const struct pick_rule rule = {.temperature = 0.8, .top_p = 0.95, .top_k = 50};
    (void)a;
    pick(o.ids, o.logits, o.draw, &rule, 1, o.vocab, o.vocab);
}

static void norm(void *a)
{
    (void)a;
    square_sum(o.sum, o.param[3], o.params);
}

static void adam(void *a)
{
    static const struct adamw step = {.lr = 1e-4f,
                                      .beta1 = 0.9f,
                                      .beta2 = 0.95f,
                                      .eps = 1e-8f,
                                      .weight_decay = 0.1f,
                                      .correct1 = 0.5f,
                                      .correct2 = 0.5f,
                                      .clip = 1};
    (void)a;
    adamw_step(o.param[0], o.param[1], o.param[2], o.param[3], o.sum, o.params, &step);
}

/* ---- arrays -----------------------------------------------------------------------------------
 */

static struct ttt_params inner_params(bool mlp, float spread)
{
    size_t f = (size_t)o.width / o.heads, heads = (size_t)o.heads, hidden = mlp ? 4 * f : f;
    return (struct ttt_params){
        .token_idx = bench_floats((size_t)o.shape.mini_batch, 0),
        .norm_scale = bench_floats(heads * f, 1),
        .norm_bias = bench_floats(heads * f, spread),
        .w1 = bench_floats(heads * f * hidden, spread),
        .b1 = bench_floats(heads * hidden, spread),
        .w2 = mlp ? bench_floats(heads * hidden * f, spread) : NULL,
        .b2 = mlp ? bench_floats(heads * f, spread) : NULL,
    };
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void make(void)
{
    bool tiny = bench.tiny;
    o.batch = bench.batch;
    o.seq = bench.seq;
    o.rows = o.batch * o.seq;
    o.width = tiny ? 32 : WIDTH;
    o.heads = tiny ? 2 : HEADS;
    o.inner = tiny ? 80 : INTERMEDIATE;
    o.vocab = tiny ? 64 : VOCAB;
    o.chunk = tiny ? 8 : o.rows / 16;
    o.params = tiny ? 1000 : (size_t)134 << 20;
    o.shape = (struct ttt_shape){.batch = o.batch,
                                 .seq = o.seq,
                                 .heads = o.heads,
                                 .head_dim = o.width / o.heads,
                                 .mini_batch = 16,
                                 .keep_every = 4,
                                 .rate = 1.0f / (float)(o.width / o.heads),
                                 .eps = 1e-6f};
    size_t n = (size_t)o.rows * o.width, sigmas = (size_t)o.batch * o.heads * o.seq;
    for (int i = 0; i < 6; i++)
        o.x[i] = bench_reals(n, 0.5f);
    for (int i = 0; i < 3; i++)
        o.wide[i] = bench_reals((size_t)o.rows * o.inner, 0.5f);
    o.table = bench_reals((size_t)o.vocab * o.width, 0.02f);
    o.dtable = bench_floats(larger((size_t)o.vocab * o.width, (size_t)o.chunk * o.vocab), 0);
    o.logits = bench_floats((size_t)o.chunk * o.vocab, 3);
    o.gain = bench_floats((size_t)o.heads * o.width, 0.05f);
    o.bias = bench_floats((size_t)o.width, 0.5f);
    o.kernel = bench_floats((size_t)CONV_WIDTH * o.width, 0.5f);
    o.dgain = bench_floats(larger((size_t)o.heads, CONV_WIDTH) * o.width, 0);
    o.dbias = bench_floats((size_t)o.width, 0);
    for (int i = 0; i < 2; i++)
        o.column[i] = bench_floats((size_t)o.rows, 1);
    o.lse = bench_floats(sigmas, 1);
    o.sigma = bench_floats(sigmas, 0.5f);
    o.dsigma = bench_floats(sigmas, 0.5f);
    o.loss = bench_floats((size_t)o.rows, 0);
    o.correct = bench_floats((size_t)o.rows, 0);
    o.weight = bench_floats((size_t)o.rows, 1);
    o.ids = bench_ids((size_t)o.rows, o.vocab);
    o.target = bench_ids((size_t)o.rows, o.vocab);
    o.kept =
        bench_floats(larger(ttt_linear_kept_floats(&o.shape), ttt_mlp_kept_floats(&o.shape)), 0);
    o.linear = inner_params(false, 0.05f);
    o.dlinear = inner_params(false, 0);
    o.mlp = inner_params(true, 0.05f);
    o.dmlp = inner_params(true, 0);
    for (int i = 0; i < 4; i++)
        o.param[i] = bench_floats(o.params, i == 2 ? 0 : 0.02f);
    o.sum = bench_alloc(sizeof *o.sum);
    o.draw = bench_alloc(sizeof *o.draw);
    for (int i = 0; i < 4; i++)
        o.row[i] = bench_reals((size_t)o.batch * o.width, 0.5f);
    o.position = bench_ids((size_t)o.batch, 1);
    o.state = bench_alloc((size_t)o.batch * o.heads *
                          larger(ttt_linear_decode_bytes(o.shape.head_dim, o.shape.mini_batch),
                                 ttt_mlp_decode_bytes(o.shape.head_dim, o.shape.mini_batch)));
    device_reserve(
        larger(ttt_linear_bwd_workspace_bytes(&o.shape), ttt_mlp_bwd_workspace_bytes(&o.shape)));
}

/* ---- the table --------------------------------------------------------------------------------
 */

static void line(const char *name, void (*run)(void *), double bytes, double flops)
{
    double ms = bench_ms(run, NULL);
    double moving = bench.bandwidth > 0 ? 1e3 * bytes / bench.bandwidth : 0;
    double computing = bench.peak > 0 ? 1e3 * flops / bench.peak : 0;
    double floor = moving > computing ? moving : computing;
    printf("| %s | %.3f | %.3f | %s | %.1f |\n", name, ms, floor,
           moving > computing ? "memory" : "arithmetic", floor > 0 ? ms / floor : 0);
    fflush(stdout);
}

void bench_ops(void)
{
    make();
    double wide = (double)sizeof(real) * o.rows * o.width, f = o.shape.head_dim, k = 16;
    double inner = (double)sizeof(real) * o.rows * o.inner, tokens = (double)o.rows * o.heads;
    double column = 4.0 * o.rows, sigma = 4.0 * tokens;
    double pairs = tokens * (o.seq + 1) / 2, chunk = (double)o.chunk * o.vocab;
    double linear = tokens * (6 * f * f + 6 * k * f), mlp = tokens * (56 * f * f + 30 * k * f);
    double kept1 = 4.0 * (double)ttt_linear_kept_floats(&o.shape);
    double kept2 = 4.0 * (double)ttt_mlp_kept_floats(&o.shape);
    double chains = (double)o.batch * o.heads;

    printf("\nOperations of the 125m model at %d x %d, %s; the floor is what the bytes or the "
           "arithmetic\nask for at the rates above.\n\n"
           "| operation | ms | floor, ms | of | times the floor |\n|---|---|---|---|---|\n",
           o.batch, o.seq, REAL_NAME);
    line("embedding_fwd", embedding_f, 2 * wide, 0);
    line("embedding_bwd", embedding_b, wide + 2 * 4.0 * o.vocab * o.width, 0);
    line("cross_entropy, a chunk", entropy, chunk * (4 + sizeof(real)), 0);
    line("rmsnorm_fwd", rms_f, 2 * wide + column, 0);
    line("rmsnorm_bwd", rms_b, 4 * wide + column, 0);
    line("layernorm_fwd", layer_f, 2 * wide + 2 * column, 0);
    line("layernorm_bwd", layer_b, 3 * wide + 2 * column, 0);
    line("conv_fwd", conv_f, 2 * wide, 0);
    line("conv_bwd", conv_b, 3 * wide, 0);
    line("rope", turn, 2 * wide, 0);
    line("swiglu_fwd", swiglu_f, 3 * inner, 0);
    line("swiglu_bwd", swiglu_b, 5 * inner, 0);
    line("gelu_gate_fwd", gelu_f, 3 * wide, 0);
    line("gelu_gate_bwd", gelu_b, 5 * wide, 0);
    line("ttt_gate_fwd", gate_f, wide + sigma, 2 * tokens * o.width);
    line("ttt_gate_bwd", gate_b, 3 * wide + 2 * sigma, 4 * tokens * o.width);
    line("attention_fwd", attention_f, 4 * wide + sigma, 4 * pairs * f);
    line("attention_bwd", attention_b, 8 * wide + sigma, 10 * pairs * f);
    line("ttt_linear_fwd", linear_f, 4 * wide + sigma + kept1, linear);
    line("ttt_linear_bwd", linear_b, 7 * wide + 2 * sigma + kept1, 3 * linear);
    line("ttt_mlp_fwd", mlp_f, 4 * wide + sigma + kept2, mlp);
    line("ttt_mlp_bwd", mlp_b, 7 * wide + 2 * sigma + kept2, 3 * mlp);
    ttt_linear_decode_begin(o.state, NULL, &o.linear, &o.shape);
    line("ttt_linear_decode", linear_d, 4 * chains * (f * f + f), 4 * chains * f * f);
    ttt_mlp_decode_begin(o.state, NULL, &o.mlp, &o.shape);
    line("ttt_mlp_decode", mlp_d, 4 * chains * (8 * f * f + 5 * f), 40 * chains * f * f);
    if (has_pick()) {
        line("pick, temperature", pick_any, 4.0 * o.vocab, 0);
        line("pick, top_k and top_p", pick_likely, 4.0 * o.vocab, 0);
    }
    line("square_sum", norm, 4.0 * (double)o.params, 0);
    line("adamw_step", adam, 28.0 * (double)o.params, 0);
    bench_free_all();
}
