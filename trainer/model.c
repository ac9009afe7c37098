/* model.c -- the language model: embedding, blocks, head; forward and backward. */
#include "model.h"
#include "comm.h"
#include "device.h"
#include "kernels.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

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

/* Without a backward the stream is changed in place and norms share one array, as blocks share all;
   where the backward computes them again, all but their inputs. */
static void take_block(struct model *m, struct block_acts *a, struct arena *from)
{
    static const char line[] = "activations";
    const struct config *c = &m->config;
    struct ttt_shape s = shape_of(m, 1);
    size_t column = sizeof(float) * (size_t)m->rows;
    size_t wide = sizeof(real) * (size_t)m->rows * c->hidden_size;
    size_t inner = sizeof(real) * (size_t)m->rows * m->inner;
    bool keep = m->training;

    if (a != m->acts && (!keep || m->recomputing)) {
        *a = m->acts[0];
        a->x = keep ? arena_take(from, line, wide) : a->x;
        a->x_mixer = c->pre_conv ? a->x_mixer : a->x;
        return;
    }
    a->x = arena_take(from, line, wide);
    a->x_mixer = keep && c->pre_conv ? arena_take(from, line, wide) : a->x;
    a->x_ffn = keep ? arena_take(from, line, wide) : a->x;
    a->h_mixer = arena_take(from, line, wide);
    a->h_ffn = keep ? arena_take(from, line, wide) : a->h_mixer;
    a->conv_in = (keep || m->reading) && c->pre_conv ? arena_take(from, line, wide) : a->h_mixer;
    a->w1_out = arena_take(from, line, inner);
    a->w3_out = arena_take(from, line, inner);
    a->gated = keep ? arena_take(from, line, inner) : a->w1_out;
    a->rms_mixer = arena_take(from, line, column);
    a->rms_ffn = keep ? arena_take(from, line, column) : a->rms_mixer;
    a->rms_conv = keep && c->pre_conv ? arena_take(from, line, column) : a->rms_mixer;
    mixer_take_acts(&a->mixer, c, &s, keep, m->reading, from);
}

static void take_all(struct model *m, struct arena *from)
{
    const struct config *c = &m->config;
    struct ttt_shape s = shape_of(m, 1);
    size_t rows = (size_t)m->rows, width = (size_t)c->hidden_size;
    size_t chunk = (size_t)m->chunk_rows * m->vocab;
    int mp = m->params->mesh.mp;

    flight_take(&m->flight, m->batch, m->seq, from);
    for (int l = 0; l < c->num_hidden_layers; l++)
        take_block(m, &m->acts[l], from);
    m->x_out =
        m->training ? arena_take(from, "activations", sizeof(real) * rows * width) : m->acts[0].x;
    m->h_out = arena_take(from, "activations", sizeof(real) * rows * width);
    m->rms_out = arena_take(from, "activations", sizeof(float) * rows);
    if (mixer_is_ttt(c->seq_modeling_block))
        m->curves = arena_take(from, "activations",
                               sizeof *m->curves * 4 * (size_t)(m->seq / c->mini_batch_size));
    if (!m->reading)
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
    mixer_take_scratch(&m->mixer, c, &s, from);
}

/* Rows of logits that exist at a time: 32 MiB of them, or a sixteenth of a large micro-batch. */
static int chunk_of(int rows, int vocab)
{
    const size_t CHUNK_FLOATS = (size_t)8 << 20;
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
    m->recomputing = training && config_recomputes_blocks(c);
    m->inner = c->intermediate_size / p->mesh.mp;
    m->vocab = c->vocab_size / p->mesh.mp;
    m->chunk_rows = chunk_of(m->rows, m->vocab);
    size_t layers = (size_t)c->num_hidden_layers;
    m->ids = calloc(layers, sizeof *m->ids);
    m->acts = calloc(layers, sizeof *m->acts);
    if (!m->ids || !m->acts) {
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

/* What follows shape_model. */
static int open_shaped(struct model *m)
{
    const struct config *c = &m->config;
    struct params *p = m->params;
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
    if (shard_open(&m->shard, p, m->training)) {
        model_close(m);
        return -1;
    }
    return 0;
}

int model_open(struct model *m, const struct config *c, struct params *p, int batch, int seq,
               bool training)
{
    return shape_model(m, c, p, batch, seq, training) || open_shaped(m) ? -1 : 0;
}

int model_open_reader(struct model *m, const struct config *c, struct params *p, int batch, int seq)
{
    if (shape_model(m, c, p, batch, seq, false))
        return -1;
    m->reading = true;
    return open_shaped(m);
}

void model_close(struct model *m)
{
    shard_close(&m->shard);
    device_forget(&m->training_ops);
    device_forget(&m->scoring_ops);
    flight_close(&m->flight);
    device_free(m->memory);
    free(m->ids);
    free(m->acts);
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

/* From acts->x to x_next, the next block's or x_out; NULL: only what the backward needs. */
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
    if (!x_next)
        return;
    pass_on(x_next, a->x_ffn, m);
    matmul(x_next, a->gated, param_work(p, w->w2), NN, rows, width, inner, 1);
    add_up(x_next, m);
}

static void read_curves(struct model *m, int l, double share, double *curves)
{
    size_t count = 4 * (size_t)(m->seq / m->config.mini_batch_size);
    for (size_t at = 0, n; at < count; at += n) {
        float here[256];
        n = count - at < 256 ? count - at : 256;
        device_get(here, m->curves + at, sizeof *here * n);
        for (size_t i = 0; i < n; i++)
            curves[l * count + at + i] += share * here[i];
    }
}

static void forward(struct model *m, float ttt_lr_mult, double share, double *curves)
{
    const struct params *p = m->params;
    struct ttt_shape s = shape_of(m, ttt_lr_mult);
    int layers = m->config.num_hidden_layers;
    if (!m->curves)
        curves = NULL;

    embedding_fwd(m->acts[0].x, param_work(p, m->wte), m->flight.input, m->rows,
                  m->config.hidden_size);
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

    /* gated, w1_out and w3_out become their own gradients once they have served. */
    matmul_f32(param_grad(p, w->w2), a->gated, m->dx, TN, inner, width, rows, 1);
    matmul(a->gated, m->dx, param_work(p, w->w2), NT, rows, inner, width, 0);
    swiglu_bwd(a->w1_out, a->w3_out, a->gated, a->w1_out, a->w3_out, count);
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

/* With other ranks there are collectives among the ops, which are not recorded. */
static bool is_alone(void)
{
    return comm_ranks(COMM_WORLD) == 1;
}

/* ---- a micro-batch ------------------------------------------------------------------------ */

void model_zero_grad(struct model *m)
{
    device_zero(m->params->grad, sizeof *m->params->grad * m->params->floats);
}

/* The cross entropy of some rows; along mp each rank has the logits of some ids. */
static void entropy(struct model *m, int first, int count, bool backward)
{
    real *dlogits = backward ? m->dlogits : NULL;
    int mp = m->params->mesh.mp;
    float *own = m->sums + 4 * (size_t)mp * count;
    if (mp == 1) {
        cross_entropy(m->flight.loss + first, m->flight.correct + first, dlogits, m->logits,
                      m->flight.target + first, m->flight.weight + first, count, m->vocab);
        return;
    }
    cross_entropy_sums(own, m->logits, m->flight.target + first, count, m->vocab);
    comm_wait(comm_all_gather(m->sums, own, 4 * (size_t)count, COMM_F32, COMM_MP));
    cross_entropy_part(m->flight.loss + first, m->flight.correct + first, dlogits, m->logits,
                       m->sums, m->flight.target + first, m->flight.weight + first, count, m->vocab,
                       mp);
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

/* Every op of a micro-batch after its tokens have arrived. A loss that is not finite spoils the
   gradient, so that the update is left out; other ranks are told otherwise. */
static void train_ops(struct model *m, float ttt_lr_mult, double share, double *curves)
{
    struct ttt_shape s = shape_of(m, ttt_lr_mult);
    shard_begin(&m->shard, true);
    forward(m, ttt_lr_mult, share, curves);
    head_loss(m, true);
    device_zero(m->dx, sizeof *m->dx * (size_t)m->rows * m->config.hidden_size);
    rms_bwd(m, m->dh, m->x_out, m->rms_out, m->ln_f);
    shard_gradients(&m->shard, m->config.num_hidden_layers + 1, m->last);
    for (int l = m->config.num_hidden_layers - 1; l >= 0; l--) {
        shard_backward(&m->shard, l);
        if (m->recomputing && l + 1 < m->config.num_hidden_layers) /* the last one's are there */
            block_fwd(m, l, NULL, &s, NULL);
        block_bwd(m, l, &s);
        shard_gradients(&m->shard, l + 1, m->last);
    }
    embedding_bwd(param_grad(m->params, m->wte), m->dx, m->flight.input, m->rows,
                  m->config.hidden_size, m->vocab);
    shard_gradients(&m->shard, 0, m->last);
    shard_end(&m->shard, m->last);
    if (is_alone())
        spoil_unless_finite(m->params->grad, m->flight.loss, (size_t)m->rows);
}

static void score_ops(struct model *m)
{
    shard_begin(&m->shard, false);
    forward(m, 1, 1, NULL);
    head_loss(m, false);
}

/* What changes from step to step: the rate of the inner loop. */
static uint64_t key_of(float ttt_lr_mult)
{
    uint32_t bits;
    memcpy(&bits, &ttt_lr_mult, sizeof bits);
    return bits;
}

int model_send(struct model *m, const struct tokens *t, double share)
{
    int mp = m->params->mesh.mp;
    return flight_send(&m->flight, t, share, m->vocab * mesh_mp_rank(&m->params->mesh),
                       mp > 1 ? m->vocab : 0);
}

void model_queue(struct model *m, float ttt_lr_mult)
{
    assert(m->training);
    flight_arrive(&m->flight);
    if (!is_alone()) {
        train_ops(m, ttt_lr_mult, 1, NULL);
    } else if (!device_replay(&m->training_ops, key_of(ttt_lr_mult))) {
        train_ops(m, ttt_lr_mult, 1, NULL);
        device_replay_end(&m->training_ops);
    }
    flight_depart(&m->flight);
}

int model_collect(struct model *m, struct score *score)
{
    return flight_collect(&m->flight, score);
}

void model_forget(struct model *m)
{
    flight_forget(&m->flight);
}

int model_train(struct model *m, const struct tokens *t, float ttt_lr_mult, double share,
                struct score *score, double *curves)
{
    assert(m->training);
    if (model_send(m, t, share))
        return -1;
    if (!curves) {
        model_queue(m, ttt_lr_mult);
    } else { /* read layer by layer, which a recording cannot */
        flight_arrive(&m->flight);
        train_ops(m, ttt_lr_mult, share, curves);
        flight_depart(&m->flight);
    }
    return model_collect(m, score);
}

int model_score(struct model *m, const struct tokens *t, double share, struct score *score)
{
    if (model_send(m, t, share))
        return -1;
    flight_arrive(&m->flight);
    if (!is_alone()) {
        score_ops(m);
    } else if (!device_replay(&m->scoring_ops, 0)) {
        score_ops(m);
        device_replay_end(&m->scoring_ops);
    }
    flight_depart(&m->flight);
    return model_collect(m, score);
}

void model_row_scores(const struct model *m, const float **loss, const float **correct)
{
    flight_rows(&m->flight, loss, correct);
}

int model_read(struct model *m, const int32_t *ids, int batch, int seq,
               void (*each)(void *arg, int l, const struct block_acts *a,
                            const struct ttt_shape *s),
               void *arg)
{
    const struct params *p = m->params;
    int layers = m->config.num_hidden_layers;
    assert(m->reading && batch * seq <= m->batch * m->seq && batch <= m->batch);
    struct model part = *m; /* the same arrays, of which the first rows are used */
    part.batch = batch;
    part.seq = seq;
    part.rows = batch * seq;
    struct ttt_shape s = shape_of(&part, 1);

    device_put(m->flight.input, ids, sizeof *ids * (size_t)part.rows);
    embedding_fwd(m->acts[0].x, param_work(p, m->wte), m->flight.input, part.rows,
                  m->config.hidden_size);
    for (int l = 0; l < layers; l++) {
        block_fwd(&part, l, m->acts[0].x, &s, NULL);
        each(arg, l, &m->acts[l], &s);
    }
    const char *broken = device_sync();
    return broken ? fail("%s", broken) : 0;
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
