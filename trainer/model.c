/* model.c -- the language model: embedding, blocks, head; forward and backward. */
#include "model.h"
#include "comm.h"
#include "device.h"
#include "kernels.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

/* ---- memory ------------------------------------------------------------------------------- */

static int find(const struct params *p, int l, const char *name)
{
    char path[PARAM_NAME_BYTES];
    snprintf(path, sizeof path, "model/h/%d/%s", l, name);
    return params_find(p, path);
}

void model_find_block(struct block_ids *ids, const struct params *p, const struct config *c, int l)
{
    ids->conv_norm = find(p, l, "conv/conv_norm/kernel");
    ids->conv_kernel = find(p, l, "conv/conv1/kernel");
    ids->conv_bias = find(p, l, "conv/conv1/bias");
    ids->seq_norm = find(p, l, "seq_norm/kernel");
    ids->ffn_norm = find(p, l, "ffn_norm/kernel");
    ids->wo = find(p, l, "seq_modeling_block/wo/kernel");
    ids->w1 = find(p, l, "feed_forward/w1/kernel");
    ids->w2 = find(p, l, "feed_forward/w2/kernel");
    ids->w3 = find(p, l, "feed_forward/w3/kernel");
    mixer_find(&ids->mixer, p, c, l);
}

/* The sizes of a mixer: the heads are those of this rank. */
static struct ttt_shape shape_of(const struct model *m, float ttt_lr_mult)
{
    struct ttt_shape s = mixer_ttt_shape(&m->config, m->batch, m->seq, ttt_lr_mult);
    s.heads /= m->params->mesh.mp;
    return s;
}

/* Without a backward the stream is changed in place and norms share one array. */
static void take_block(struct model *m, struct block_acts *a, struct arena *from)
{
    static const char line[] = "activations";
    const struct config *c = &m->config;
    struct ttt_shape s = shape_of(m, 1);
    size_t column = sizeof(float) * (size_t)m->rows;
    size_t wide = sizeof(real) * (size_t)m->rows * c->hidden_size;
    size_t inner = sizeof(real) * (size_t)m->rows * m->inner;
    bool keep = m->training;

    a->x = arena_take(from, line, wide);
    a->x_mixer = keep && c->pre_conv ? arena_take(from, line, wide) : a->x;
    a->x_ffn = keep ? arena_take(from, line, wide) : a->x;
    a->h_mixer = arena_take(from, line, wide);
    a->h_ffn = keep ? arena_take(from, line, wide) : a->h_mixer;
    a->conv_in = keep && c->pre_conv ? arena_take(from, line, wide) : a->h_mixer;
    a->w1_out = arena_take(from, line, inner);
    a->w3_out = arena_take(from, line, inner);
    a->gated = keep ? arena_take(from, line, inner) : a->w1_out;
    a->rms_mixer = arena_take(from, line, column);
    a->rms_ffn = keep ? arena_take(from, line, column) : a->rms_mixer;
    a->rms_conv = keep && c->pre_conv ? arena_take(from, line, column) : a->rms_mixer;
    mixer_take_acts(&a->mixer, c, &s, keep, from);
}

static void take_all(struct model *m, struct arena *from)
{
    const struct config *c = &m->config;
    struct ttt_shape s = shape_of(m, 1);
    size_t rows = (size_t)m->rows, width = (size_t)c->hidden_size;
    size_t chunk = (size_t)m->chunk_rows * m->vocab;
    int mp = m->params->mesh.mp;

    m->input = arena_take(from, "tokens", sizeof *m->input * rows);
    m->target = arena_take(from, "tokens", sizeof *m->target * rows);
    m->weight = arena_take(from, "tokens", sizeof *m->weight * rows);
    m->loss = arena_take(from, "tokens", sizeof *m->loss * rows);
    m->correct = arena_take(from, "tokens", sizeof *m->correct * rows);
    for (int l = 0; l < c->num_hidden_layers; l++) {
        if (l == 0 || m->training)
            take_block(m, &m->acts[l], from);
        else
            m->acts[l] = m->acts[0];
    }
    m->x_out =
        m->training ? arena_take(from, "activations", sizeof(real) * rows * width) : m->acts[0].x;
    m->h_out = arena_take(from, "activations", sizeof(real) * rows * width);
    m->rms_out = arena_take(from, "activations", sizeof(float) * rows);
    if (mixer_is_ttt(c->seq_modeling_block))
        m->curves = arena_take(from, "activations",
                               sizeof *m->curves * 4 * (size_t)(m->seq / c->mini_batch_size));
    m->logits = arena_take(from, "logits", sizeof(float) * chunk);
    if (mp > 1)
        m->sums =
            arena_take(from, "logits", sizeof *m->sums * 4 * (size_t)(mp + 1) * m->chunk_rows);
    if (!m->training)
        return;

    static const char scratch[] = "scratch of the backward";
    m->dlogits = sizeof(real) == sizeof(float) ? (real *)m->logits
                                               : arena_take(from, "logits", sizeof(real) * chunk);
    m->dx = arena_take(from, scratch, sizeof(real) * rows * width);
    m->dh = arena_take(from, scratch, sizeof(real) * rows * width);
    m->dy = arena_take(from, scratch, sizeof(real) * rows * width);
    m->dgated = arena_take(from, scratch, sizeof(real) * rows * m->inner);
    mixer_take_scratch(&m->mixer, c, &s, from);
}

/* Rows of logits that exist at a time: 64 MiB of them, or a sixteenth of a large micro-batch. */
static int chunk_of(int rows, int vocab)
{
    const size_t CHUNK_FLOATS = (size_t)16 << 20;
    size_t chunk = CHUNK_FLOATS / (size_t)vocab;
    if (chunk < (size_t)rows / 16)
        chunk = (size_t)rows / 16;
    if (chunk < 1)
        chunk = 1;
    return chunk < (size_t)rows ? (int)chunk : rows;
}

/* Everything but device memory. */
static int shape_model(struct model *m, const struct config *c, struct params *p, int batch,
                       int seq, bool training)
{
    *m = (struct model){.config = *c, .params = p, .batch = batch, .seq = seq};
    if (config_check(c, seq))
        return -1;
    if (batch < 1 || seq < 1 || batch > INT_MAX / seq)
        return fail("a micro-batch of %d rows of %d tokens cannot be run", batch, seq);
    m->rows = batch * seq;
    m->training = training;
    m->inner = c->intermediate_size / p->mesh.mp;
    m->vocab = c->vocab_size / p->mesh.mp;
    m->chunk_rows = chunk_of(m->rows, m->vocab);
    size_t layers = (size_t)c->num_hidden_layers;
    m->ids = calloc(layers, sizeof *m->ids);
    m->acts = calloc(layers, sizeof *m->acts);
    m->host_rows = calloc((size_t)m->rows, 5 * sizeof *m->host_rows);
    if (!m->ids || !m->acts || !m->host_rows) {
        model_close(m);
        return fail("out of memory for a micro-batch of %d rows", batch);
    }
    return 0;
}

static size_t workspace_bytes(const struct model *m)
{
    struct ttt_shape s = shape_of(m, 1);
    return m->training ? mixer_workspace_bytes(&m->config, &s) : 0;
}

int model_plan(struct plan *plan, const struct config *c, struct params *p, int batch, int seq,
               bool training)
{
    struct model m;
    if (shape_model(&m, c, p, batch, seq, training))
        return -1;
    plan_add(plan, "parameters", sizeof(float) * p->floats);
    plan_add(plan, "working copies", sizeof(real) * p->work_reals);
    if (training) {
        plan_add(plan, "gradients", sizeof(float) * p->floats);
        plan_add(plan, "moments", 2 * sizeof(float) * p->floats);
    }
    struct arena counted = {.plan = plan};
    take_all(&m, &counted);
    plan_add(plan, "workspace", workspace_bytes(&m));
    shard_plan(plan, p, training);
    model_close(&m);
    return 0;
}

int model_open(struct model *m, const struct config *c, struct params *p, int batch, int seq,
               bool training)
{
    if (shape_model(m, c, p, batch, seq, training))
        return -1;
    m->wte = params_find(p, "model/wte/embedding");
    m->ln_f = params_find(p, "model/ln_f/kernel");
    m->lm_head = params_find(p, "lm_head/kernel");
    for (int l = 0; l < c->num_hidden_layers; l++)
        model_find_block(&m->ids[l], p, c, l);

    struct arena counted = {0}, taken = {0};
    take_all(m, &counted);
    m->memory = taken.base = device_alloc(counted.used);
    if (!taken.base) {
        model_close(m);
        return fail("activations need %.0f MiB, which the device does not have: a smaller batch, "
                    "or more --accum_steps",
                    (double)counted.used / (1 << 20));
    }
    take_all(m, &taken);
    device_reserve(workspace_bytes(m));
    m->last = true;
    if (shard_open(&m->shard, p, training)) {
        model_close(m);
        return -1;
    }
    return 0;
}

void model_close(struct model *m)
{
    shard_close(&m->shard);
    device_free(m->memory);
    free(m->ids);
    free(m->acts);
    free(m->host_rows);
    *m = (struct model){0};
}

/* ---- forward ------------------------------------------------------------------------------ */

/* The stream goes on to where a part of it is added; along mp one rank alone passes it on, for the
   ranks' streams are then added up. */
static void pass_on(real *to, const real *from, const struct model *m)
{
    size_t bytes = sizeof *to * (size_t)m->rows * m->config.hidden_size;
    if (mesh_mp_rank(&m->params->mesh))
        device_zero(to, bytes);
    else if (to != from)
        device_copy(to, from, bytes);
}

/* Add up what the ranks along mp have of [rows][width]. */
static void add_up(real *x, const struct model *m)
{
    size_t count = (size_t)m->rows * m->config.hidden_size;
    if (m->params->mesh.mp > 1)
        comm_wait(comm_all_reduce(x, count, COMM_REAL, COMM_MP));
}

static void rms_fwd(real *y, float *inv_rms, const real *x, int gain, const struct model *m)
{
    rmsnorm_fwd(y, inv_rms, x, param_master(m->params, gain), m->rows, m->config.hidden_size,
                (float)m->config.rms_norm_eps);
}

/* From acts->x to x_next, the next block's or x_out. */
static void block_fwd(struct model *m, int l, real *x_next, const struct ttt_shape *s,
                      float *curves)
{
    const struct params *p = m->params;
    const struct block_ids *w = &m->ids[l];
    struct block_acts *a = &m->acts[l];
    int rows = m->rows, width = m->config.hidden_size, inner = m->inner;
    int heads_width = width / p->mesh.mp;

    if (m->config.pre_conv) {
        rms_fwd(a->conv_in, a->rms_conv, a->x, w->conv_norm, m);
        conv_fwd(a->x_mixer, a->conv_in, param_master(p, w->conv_kernel),
                 param_master(p, w->conv_bias), a->x, m->batch, m->seq, width);
    }
    rms_fwd(a->h_mixer, a->rms_mixer, a->x_mixer, w->seq_norm, m);
    mixer_fwd(&a->mixer, a->h_mixer, &w->mixer, p, &m->config, s, curves);
    pass_on(a->x_ffn, a->x_mixer, m);
    matmul(a->x_ffn, a->mixer.y, param_work(p, w->wo), NN, rows, width, heads_width, 1);
    add_up(a->x_ffn, m);

    rms_fwd(a->h_ffn, a->rms_ffn, a->x_ffn, w->ffn_norm, m);
    matmul(a->w1_out, a->h_ffn, param_work(p, w->w1), NN, rows, inner, width, 0);
    matmul(a->w3_out, a->h_ffn, param_work(p, w->w3), NN, rows, inner, width, 0);
    swiglu_fwd(a->gated, a->w1_out, a->w3_out, (size_t)rows * inner);
    pass_on(x_next, a->x_ffn, m);
    matmul(x_next, a->gated, param_work(p, w->w2), NN, rows, width, inner, 1);
    add_up(x_next, m);
}

static void read_curves(struct model *m, int l, double share, double *curves)
{
    size_t count = 4 * (size_t)(m->seq / m->config.mini_batch_size);
    float *here = m->host_rows + m->rows;
    device_get(here, m->curves, sizeof *here * count);
    for (size_t i = 0; i < count; i++)
        curves[l * count + i] += share * here[i];
}

static void forward(struct model *m, float ttt_lr_mult, double share, double *curves)
{
    const struct params *p = m->params;
    struct ttt_shape s = shape_of(m, ttt_lr_mult);
    int layers = m->config.num_hidden_layers;
    if (!m->curves)
        curves = NULL;

    embedding_fwd(m->acts[0].x, param_work(p, m->wte), m->input, m->rows, m->config.hidden_size);
    add_up(m->acts[0].x, m);
    for (int l = 0; l < layers; l++) {
        shard_forward(&m->shard, l);
        block_fwd(m, l, l + 1 < layers ? m->acts[l + 1].x : m->x_out, &s,
                  curves ? m->curves : NULL);
        if (curves)
            read_curves(m, l, share, curves);
    }
    rms_fwd(m->h_out, m->rms_out, m->x_out, m->ln_f, m);
}

/* logits [count][vocab] of rows first.. */
static void head_fwd(struct model *m, int first, int count)
{
    const struct params *p = m->params;
    int width = m->config.hidden_size, vocab = m->vocab;
    const real *h = m->h_out + (size_t)first * width;
    if (m->lm_head < 0)
        matmul_f32(m->logits, h, param_work(p, m->wte), NT, count, vocab, width, 0);
    else
        matmul_f32(m->logits, h, param_work(p, m->lm_head), NN, count, vocab, width, 0);
}

/* ---- backward ----------------------------------------------------------------------------- */

/* The head, and the gradient of its weights and of h_out into dh. */
static void head_bwd(struct model *m, int first, int count)
{
    struct params *p = m->params;
    int width = m->config.hidden_size, vocab = m->vocab;
    const real *h = m->h_out + (size_t)first * width;
    real *dh = m->dh + (size_t)first * width;
    if (m->lm_head < 0) {
        matmul(dh, m->dlogits, param_work(p, m->wte), NN, count, width, vocab, 0);
        matmul_f32(param_grad(p, m->wte), m->dlogits, h, TN, vocab, width, count, 1);
    } else {
        matmul(dh, m->dlogits, param_work(p, m->lm_head), NT, count, width, vocab, 0);
        matmul_f32(param_grad(p, m->lm_head), h, m->dlogits, TN, width, vocab, count, 1);
    }
}

/* dx += the gradient through a norm. */
static void rms_bwd(struct model *m, const real *dy, const real *x, const float *inv_rms, int gain)
{
    rmsnorm_bwd(m->dx, param_grad(m->params, gain), dy, x, inv_rms, param_master(m->params, gain),
                m->rows, m->config.hidden_size);
}

/* dx becomes, from the gradient of the block's output, that of its input. */
static void block_bwd(struct model *m, int l, const struct ttt_shape *s)
{
    struct params *p = m->params;
    const struct block_ids *w = &m->ids[l];
    struct block_acts *a = &m->acts[l];
    int rows = m->rows, width = m->config.hidden_size, inner = m->inner;
    int heads_width = width / p->mesh.mp;
    size_t count = (size_t)rows * inner;

    matmul(m->dgated, m->dx, param_work(p, w->w2), NT, rows, inner, width, 0);
    matmul_f32(param_grad(p, w->w2), a->gated, m->dx, TN, inner, width, rows, 1);
    /* w1_out and w3_out have served: they become their own gradients. */
    swiglu_bwd(a->w1_out, a->w3_out, m->dgated, a->w1_out, a->w3_out, count);
    matmul(m->dh, a->w1_out, param_work(p, w->w1), NT, rows, width, inner, 0);
    matmul(m->dh, a->w3_out, param_work(p, w->w3), NT, rows, width, inner, 1);
    matmul_f32(param_grad(p, w->w1), a->h_ffn, a->w1_out, TN, width, inner, rows, 1);
    matmul_f32(param_grad(p, w->w3), a->h_ffn, a->w3_out, TN, width, inner, rows, 1);
    add_up(m->dh, m);
    rms_bwd(m, m->dh, a->x_ffn, a->rms_ffn, w->ffn_norm);

    matmul(m->dy, m->dx, param_work(p, w->wo), NT, rows, heads_width, width, 0);
    matmul_f32(param_grad(p, w->wo), a->mixer.y, m->dx, TN, heads_width, width, rows, 1);
    mixer_bwd(m->dh, m->dy, a->h_mixer, &a->mixer, &m->mixer, &w->mixer, p, &m->config, s);
    add_up(m->dh, m);
    rms_bwd(m, m->dh, a->x_mixer, a->rms_mixer, w->seq_norm);

    if (m->config.pre_conv) {
        conv_bwd(m->dh, param_grad(p, w->conv_kernel), param_grad(p, w->conv_bias), m->dx,
                 a->conv_in, param_master(p, w->conv_kernel), false, m->batch, m->seq, width);
        rms_bwd(m, m->dh, a->x, a->rms_conv, w->conv_norm);
    }
}

/* ---- a micro-batch ------------------------------------------------------------------------ */

void model_zero_grad(struct model *m)
{
    device_zero(m->params->grad, sizeof *m->params->grad * m->params->floats);
}

/* Ids as this rank's part of the vocabulary counts them: negative where they are in another. */
static void put_ids(struct model *m, int32_t *to, const int32_t *ids)
{
    size_t rows = (size_t)m->rows;
    int32_t *here = (int32_t *)(m->host_rows + rows);
    int32_t first = (int32_t)(m->vocab * mesh_mp_rank(&m->params->mesh));
    for (size_t i = 0; i < rows; i++)
        here[i] = ids[i] >= first && ids[i] < first + m->vocab ? ids[i] - first : -1;
    device_put(to, m->params->mesh.mp > 1 ? here : ids, sizeof *to * rows);
}

/* Each row of tokens weighs the same, however many of its tokens count. */
static void put_tokens(struct model *m, const struct tokens *t, double share)
{
    float *weight = m->host_rows;
    for (int b = 0; b < m->batch; b++) {
        const float *mask = t->mask + (size_t)b * m->seq;
        double valid = 0;
        for (int i = 0; i < m->seq; i++)
            valid += mask[i];
        double each = share / (m->batch * (valid > 1e-10 ? valid : 1e-10));
        for (int i = 0; i < m->seq; i++)
            weight[(size_t)b * m->seq + i] = mask[i] > 0 ? (float)each : 0;
    }
    size_t rows = (size_t)m->rows;
    device_put(m->weight, weight, sizeof *weight * rows);
    put_ids(m, m->input, t->input);
    put_ids(m, m->target, t->target);
}

/* The cross entropy of some rows; along mp each rank has the logits of some ids. */
static void entropy(struct model *m, int first, int count, bool backward)
{
    real *dlogits = backward ? m->dlogits : NULL;
    int mp = m->params->mesh.mp;
    float *own = m->sums + 4 * (size_t)mp * count;
    if (mp == 1) {
        cross_entropy(m->loss + first, m->correct + first, dlogits, m->logits, m->target + first,
                      m->weight + first, count, m->vocab);
        return;
    }
    cross_entropy_sums(own, m->logits, m->target + first, count, m->vocab);
    comm_wait(comm_all_gather(m->sums, own, 4 * (size_t)count, COMM_F32, COMM_MP));
    cross_entropy_part(m->loss + first, m->correct + first, dlogits, m->logits, m->sums,
                       m->target + first, m->weight + first, count, m->vocab, mp);
}

static void head_loss(struct model *m, bool backward)
{
    for (int first = 0, count; first < m->rows; first += count) {
        count = m->rows - first < m->chunk_rows ? m->rows - first : m->chunk_rows;
        head_fwd(m, first, count);
        entropy(m, first, count, backward);
        if (backward)
            head_bwd(m, first, count);
    }
    if (backward)
        add_up(m->dh, m);
}

/* Collect what the device found; this waits for it. */
static int get_score(struct model *m, struct score *score)
{
    size_t rows = (size_t)m->rows;
    const float *weight = m->host_rows;
    float *loss = m->host_rows + rows, *correct = loss + rows;
    const char *broken = device_sync();
    if (broken)
        return fail("%s", broken);
    device_get(loss, m->loss, sizeof *loss * rows);
    device_get(correct, m->correct, sizeof *correct * rows);
    for (size_t r = 0; r < rows; r++) {
        score->loss += (double)weight[r] * loss[r];
        score->accuracy += (double)weight[r] * correct[r];
    }
    return 0;
}

int model_train(struct model *m, const struct tokens *t, float ttt_lr_mult, double share,
                struct score *score, double *curves)
{
    assert(m->training);
    struct ttt_shape s = shape_of(m, ttt_lr_mult);
    put_tokens(m, t, share);
    shard_begin(&m->shard, true);
    forward(m, ttt_lr_mult, share, curves);
    head_loss(m, true);
    device_zero(m->dx, sizeof *m->dx * (size_t)m->rows * m->config.hidden_size);
    rms_bwd(m, m->dh, m->x_out, m->rms_out, m->ln_f);
    shard_gradients(&m->shard, m->config.num_hidden_layers + 1, m->last);
    for (int l = m->config.num_hidden_layers - 1; l >= 0; l--) {
        shard_backward(&m->shard, l);
        block_bwd(m, l, &s);
        shard_gradients(&m->shard, l + 1, m->last);
    }
    embedding_bwd(param_grad(m->params, m->wte), m->dx, m->input, m->rows, m->config.hidden_size,
                  m->vocab);
    shard_gradients(&m->shard, 0, m->last);
    shard_end(&m->shard, m->last);
    return get_score(m, score);
}

int model_score(struct model *m, const struct tokens *t, double share, struct score *score)
{
    put_tokens(m, t, share);
    shard_begin(&m->shard, false);
    forward(m, 1, share, NULL);
    head_loss(m, false);
    return get_score(m, score);
}

void model_row_scores(const struct model *m, const float **loss, const float **correct)
{
    *loss = m->host_rows + m->rows;
    *correct = *loss + m->rows;
}

/* ---- a look inside ------------------------------------------------------------------------ */

void model_logits(struct model *m, float *logits, int first, int count)
{
    assert(first >= 0 && count >= 0 && first <= m->rows - count);
    size_t vocab = (size_t)m->config.vocab_size;
    for (int at = 0, n; at < count; at += n) {
        n = count - at < m->chunk_rows ? count - at : m->chunk_rows;
        head_fwd(m, first + at, n);
        device_get(logits + (size_t)at * vocab, m->logits, sizeof *logits * n * vocab);
    }
}

void model_hidden(struct model *m, float *hidden, int l)
{
    int layers = m->config.num_hidden_layers;
    assert(l >= 0 && (l == layers || (l < layers && m->training)));
    const real *from = l == layers ? m->h_out : m->acts[l].x;
    size_t count = (size_t)m->rows * m->config.hidden_size;
    size_t room = (size_t)m->chunk_rows * m->config.vocab_size;
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < room ? count - at : room;
        float_from_real(m->logits, from + at, n);
        device_get(hidden + at, m->logits, sizeof *hidden * n);
    }
}
