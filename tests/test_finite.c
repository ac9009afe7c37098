/* test_finite.c -- the model's loss and gradient against a plain model in double and its finite
   differences: every block, every tensor; and the same bits where blocks are recomputed. */
#include "check.h"
#include "device.h"
#include "plain_model.h"
#include "random.h"

enum { BATCH = 2, SEQ = 12, VOCAB = 13 };

static const double NEAR_LOSS = 1e-6; /* what float32 leaves of a loss of about 3 */
static const double NEAR_GRAD = 1e-5; /* of the norm of the tensor's gradient */
static const double STEP = 1e-5;      /* an error of its square, 1e-10 */

static const struct kind {
    const char *name, *update;
} kinds[] = {
    {"self_attention", "dict(seq_modeling_block='self_attention', pre_conv=False)"},
    {"self_attention, pre_conv, untied",
     "dict(seq_modeling_block='self_attention', tie_word_embeddings=False)"},
    {"ttt_linear", "dict(seq_modeling_block='ttt_linear')"},
    {"ttt_linear, no pre_conv, mini-batch 1, head of 32",
     "dict(seq_modeling_block='ttt_linear', pre_conv=False, mini_batch_size=1, "
     "num_attention_heads=1)"},
    {"ttt_linear_base", "dict(seq_modeling_block='ttt_linear_base', pre_conv=False)"},
    {"ttt_linear_base, pre_conv, untied",
     "dict(seq_modeling_block='ttt_linear_base', tie_word_embeddings=False)"},
    {"ttt_mlp", "dict(seq_modeling_block='ttt_mlp')"},
    {"ttt_mlp, no pre_conv, mini-batch 3, states kept at every second",
     "dict(seq_modeling_block='ttt_mlp', pre_conv=False, mini_batch_size=3, "
     "remat_mini_batch_group_size=2)"},
    {"ttt_mlp_base", "dict(seq_modeling_block='ttt_mlp_base', pre_conv=False)"},
    {"ttt_mlp_base, pre_conv, mini-batch 12",
     "dict(seq_modeling_block='ttt_mlp_base', mini_batch_size=12)"},
};

/* A point where everything matters: start values leave norms at one and biases at zero. */
static void shake(struct params *p, double *value)
{
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        float *x = malloc(2 * sizeof *x * q->count), *noise = x + q->count;
        device_get(x, param_master(p, i), sizeof *x * q->count);
        random_normal(noise, q->count, 5, random_stream(q->name), 0, 0.1f);
        for (size_t j = 0; j < q->count; j++)
            value[q->offset + j] = x[j] += noise[j];
        device_put(param_master(p, i), x, sizeof *x * q->count);
        free(x);
    }
}

/* Entry j of a tensor; returns how far the gradient is from the difference. */
static double error_at(struct plain *m, const struct tokens *t, const struct param *q, size_t j,
                       float grad)
{
    double *x = m->value + q->offset + j, before = *x;
    *x = before + STEP;
    double above = plain_loss(m, t);
    *x = before - STEP;
    double below = plain_loss(m, t);
    *x = before;
    return fabs((above - below) / (2 * STEP) - grad);
}

/* The largest entry and some others of every tensor. Returns the worst error in shares of a norm.
 */
static double check_gradient(struct plain *m, const struct tokens *t, const struct params *p)
{
    enum { OTHERS = 2 };
    double worst = 0;
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        float *grad = malloc(sizeof *grad * q->count);
        device_get(grad, param_grad(p, i), sizeof *grad * q->count);
        double square = 0;
        size_t largest = 0;
        for (size_t j = 0; j < q->count; j++) {
            square += (double)grad[j] * grad[j];
            largest = fabsf(grad[j]) > fabsf(grad[largest]) ? j : largest;
        }
        CHECK(square > 0);
        for (int k = -1; k < OTHERS; k++) {
            double chance = random_uniform(7, random_stream(q->name), (uint64_t)(k + 1));
            size_t j = k < 0 ? largest : (size_t)(chance * (double)q->count);
            double error = error_at(m, t, q, j, grad[j]) / sqrt(square);
            if (!(error <= NEAR_GRAD)) {
                fprintf(stderr, "%s[%zu]: off by %.2e of the norm\n", q->name, j, error);
                CHECK(!"gradient");
            }
            worst = error <= worst ? worst : error;
        }
        free(grad);
    }
    return worst;
}

static void test_kind(const struct kind *k)
{
    const float LR_MULT = 0.5f;
    struct plain plain = {.ttt_lr_mult = LR_MULT, .batch = BATCH, .seq = SEQ};
    struct params p = {0};
    struct model m = {0};
    case_begin(k->name);
    if (config_load(&plain.config, "125m-TTT") ||
        config_update(&plain.config,
                      "dict(vocab_size=13, hidden_size=32, intermediate_size=20, "
                      "num_hidden_layers=2, num_attention_heads=2, mini_batch_size=4)") ||
        config_update(&plain.config, k->update) || params_list(&p, &plain.config) ||
        params_alloc(&p, true) || model_open(&m, &plain.config, &p, BATCH, SEQ, true)) {
        fprintf(stderr, "%s: %s\n", k->name, why());
        CHECK(!"a model");
        params_close(&p);
        case_end("");
        return;
    }
    params_init(&p, 1, 0.1);
    plain.params = &p;
    plain.value = plain_alloc(p.floats);
    shake(&p, plain.value);
    int32_t ids[BATCH * (SEQ + 1)];
    float mask[BATCH * SEQ];
    for (int i = 0; i < BATCH * (SEQ + 1); i++)
        ids[i] = (int32_t)(random_uniform(2, 3, (uint64_t)i) * VOCAB);
    for (int i = 0; i < BATCH * SEQ; i++)
        mask[i] = i % 5 != 3;
    struct tokens t = {ids, ids + 1, mask};
    struct score score = {0};
    model_zero_grad(&m);
    CHECK(model_train(&m, &t, LR_MULT, 1, &score, NULL) == 0);
    double loss = fabs(score.loss - plain_loss(&plain, &t));
    CHECK(loss <= NEAR_LOSS);
    double grad = check_gradient(&plain, &t, &p);
    char note[96];
    snprintf(note, sizeof note, "%d tensors, gradient %.1e, loss %.1e", p.count, grad, loss);
    free(plain.value);
    model_close(&m);
    params_close(&p);
    case_end(note);
}

/* The gradient of two micro-batches, the first with its curves, of a model with blocks recomputed
   or not: [floats], to free. */
static float *gradient_of(struct config *c, struct params *p, bool recomputing,
                          const struct tokens *t, struct score *score, double *curves)
{
    struct model m;
    float *grad = malloc(sizeof *grad * p->floats);
    config_recompute_blocks(c, recomputing);
    CHECK(model_open(&m, c, p, BATCH, SEQ, true) == 0);
    model_zero_grad(&m);
    CHECK(model_train(&m, t, 0.5f, 0.5, score, curves) == 0);
    CHECK(model_train(&m, t, 0.5f, 0.5, score, NULL) == 0);
    device_get(grad, p->grad, sizeof *grad * p->floats);
    model_close(&m);
    return grad;
}

/* What is computed again is the same to the last bit: loss, gradient and curves. */
static void test_recomputed(const struct kind *k)
{
    enum { LAYERS = 3, CURVES = LAYERS * 4 * SEQ };
    struct config c;
    struct params p = {0};
    char name[128];
    snprintf(name, sizeof name, "blocks recomputed: %s", k->name);
    case_begin(name);
    CHECK(config_load(&c, "125m-TTT") == 0 &&
          config_update(&c,
                        "dict(vocab_size=13, hidden_size=32, intermediate_size=20, "
                        "num_hidden_layers=3, num_attention_heads=2, mini_batch_size=4)") == 0 &&
          config_update(&c, k->update) == 0 && params_list(&p, &c) == 0 &&
          params_alloc(&p, true) == 0);
    params_init(&p, 1, 0.1);
    double *value = malloc(sizeof *value * p.floats);
    shake(&p, value);
    params_refresh(&p);
    free(value);
    int32_t ids[BATCH * SEQ + 1];
    float mask[BATCH * SEQ];
    for (int i = 0; i <= BATCH * SEQ; i++)
        ids[i] = (int32_t)(random_uniform(2, 3, (uint64_t)i) * VOCAB);
    for (int i = 0; i < BATCH * SEQ; i++)
        mask[i] = i % 5 != 3;
    struct tokens t = {ids, ids + 1, mask};
    struct score kept = {0}, again = {0};
    double kept_curves[CURVES] = {0}, again_curves[CURVES] = {0};
    float *kept_grad = gradient_of(&c, &p, false, &t, &kept, kept_curves);
    float *again_grad = gradient_of(&c, &p, true, &t, &again, again_curves);
    CHECK(kept.loss > 0 && kept.loss == again.loss && kept.accuracy == again.accuracy);
    CHECK(!memcmp(kept_grad, again_grad, sizeof *kept_grad * p.floats));
    CHECK(!memcmp(kept_curves, again_curves, sizeof kept_curves));
    CHECK((kept_curves[0] > 0) == mixer_is_ttt(c.seq_modeling_block));
    free(again_grad);
    free(kept_grad);
    params_close(&p);
    case_end("");
}

int main(void)
{
    const char *closed = device_open(1);
    if (closed) {
        fprintf(stderr, "test_finite: %s\n", closed);
        return 1;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        test_kind(&kinds[i]);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        test_recomputed(&kinds[i]);
    device_close();
    return check_finish();
}
