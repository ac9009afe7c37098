/* model.c -- the language model: embedding, blocks, head; forward and backward. */
#include "model.h"
#include "comm.h"
#include "device.h"
#include "kernels.h"
#include "model_block.h"
#include "model_parts.h"
#include "profile.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ------------------------------------------------------------------------------- */

static void take_all(struct model *m, struct arena *from)
{
    const struct config *c = &m->config;
    struct ttt_shape s = model_shape(m, 1);
    size_t rows = (size_t)m->rows, width = (size_t)c->hidden_size;
    size_t chunk = (size_t)m->chunk_rows * m->vocab;
    int mp = m->params->mesh.mp;

    flight_take(&m->flight, m->batch, m->seq, from);
    for (int l = 0; l < c->num_hidden_layers; l++)
        block_take(m, &m->acts[l], from);
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
    struct ttt_shape s = model_shape(m, 1);
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
        block_find(&m->ids[l], p, c, l);

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
    struct ttt_shape s = model_shape(m, ttt_lr_mult);
    int layers = m->config.num_hidden_layers;
    if (!m->curves)
        curves = NULL;

    embedding_fwd(m->acts[0].x, param_work(p, m->wte), m->flight.input, m->rows,
                  m->config.hidden_size);
    model_add_up(m->acts[0].x, m);
    for (int l = 0; l < layers; l++) {
        profile_stage("forward", l);
        shard_forward(&m->shard, l);
        block_fwd(m, l, l + 1 < layers ? m->acts[l + 1].x : m->x_out, &s,
                  curves ? m->curves : NULL);
        if (curves)
            read_curves(m, l, share, curves);
    }
    model_rms_fwd(m->h_out, m->rms_out, m->x_out, m->ln_f, m);
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
        model_add_up(m->dh, m);
}

/* Every op of a micro-batch after its tokens have arrived. A loss that is not finite spoils the
   gradient, so that the update is left out; other ranks are told otherwise. */
static void train_ops(struct model *m, float ttt_lr_mult, double share, double *curves)
{
    struct ttt_shape s = model_shape(m, ttt_lr_mult);
    shard_begin(&m->shard, true);
    forward(m, ttt_lr_mult, share, curves);
    profile_stage("head", -1);
    head_loss(m, true);
    device_zero(m->dx, sizeof *m->dx * (size_t)m->rows * m->config.hidden_size);
    model_rms_bwd(m, m->dh, m->x_out, m->rms_out, m->ln_f);
    shard_gradients(&m->shard, m->config.num_hidden_layers + 1, m->last);
    for (int l = m->config.num_hidden_layers - 1; l >= 0; l--) {
        profile_stage("backward", l);
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
               const struct model_reader *r)
{
    const struct params *p = m->params;
    int layers = m->config.num_hidden_layers;
    assert(m->reading && batch * seq <= m->batch * m->seq && batch <= m->batch);
    struct model part = *m; /* the same arrays, of which the first rows are used */
    part.batch = batch;
    part.seq = seq;
    part.rows = batch * seq;
    struct ttt_shape s = model_shape(&part, 1);

    device_put(m->flight.input, ids, sizeof *ids * (size_t)part.rows);
    embedding_fwd(m->acts[0].x, param_work(p, m->wte), m->flight.input, part.rows,
                  m->config.hidden_size);
    model_add_up(m->acts[0].x, &part);
    for (int l = 0; l < layers && r->before(r->arg, l, &m->acts[l], &s); l++) {
        block_fwd(&part, l, m->acts[0].x, &s, NULL);
        r->after(r->arg, l, &m->acts[l], &s);
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
