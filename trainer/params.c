/* params.c -- the one list of parameters, its arrays and their start values. */
#include "params.h"
#include "device.h"
#include "err.h"
#include "kernels.h"
#include "random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN_FLOATS = 64, CHUNK = 1 << 20 };

/* ---- the list ----------------------------------------------------------------------------- */

/* Starts as INIT_ZEROS, not split, no matrix; axes end at the first 0. */
static struct param *append(struct params *p, int layer, const char *path, const int *shape)
{
    struct param *q = &p->list[p->count++];
    *q = (struct param){.decay = true, .count = 1};
    int n = layer < 0 ? snprintf(q->name, sizeof q->name, "%s", path)
                      : snprintf(q->name, sizeof q->name, "model/h/%d/%s", layer, path);
    assert(n > 0 && (size_t)n < sizeof q->name);
    for (; q->axes < PARAM_AXES && shape[q->axes]; q->axes++) {
        q->shape[q->axes] = shape[q->axes];
        q->count *= (size_t)shape[q->axes];
    }
    q->offset = p->floats;
    p->total += q->count;
    p->floats += (q->count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return q;
}

#define SHAPE(...) ((const int[PARAM_AXES]){__VA_ARGS__})

static void matrix(struct params *p, int layer, const char *path, enum param_split split,
                   const int *shape)
{
    struct param *q = append(p, layer, path, shape);
    q->init = INIT_NORMAL;
    q->split = split;
    q->matrix = true;
    if (sizeof(real) != sizeof(float)) {
        q->work_offset = p->work_reals;
        p->work_reals += (q->count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    }
}

static void vector(struct params *p, int layer, const char *path, enum param_init init,
                   const int *shape)
{
    append(p, layer, path, shape)->init = init;
}

static void convolution(struct params *p, int layer, const char *kernel, const char *bias,
                        const struct config *c)
{
    vector(p, layer, kernel, INIT_LECUN, SHAPE(c->conv_width, 1, c->hidden_size));
    vector(p, layer, bias, INIT_ZEROS, SHAPE(c->hidden_size));
}

#define MIX "seq_modeling_block/"

static void list_ttt(struct params *p, int l, const struct config *c)
{
    int d = c->hidden_size, h = c->num_attention_heads, f = config_head_dim(c);
    bool mlp = mixer_is_mlp(c->seq_modeling_block);
    int inner = mlp ? 4 * f : f;
    if (!mixer_is_base(c->seq_modeling_block)) {
        matrix(p, l, MIX "wg/kernel", SPLIT_COLUMNS, SHAPE(d, d));
        convolution(p, l, MIX "conv_q/kernel", MIX "conv_q/bias", c);
        convolution(p, l, MIX "conv_k/kernel", MIX "conv_k/bias", c);
    }
    vector(p, l, MIX "learnable_token_idx", INIT_ZEROS, SHAPE(c->mini_batch_size));
    vector(p, l, MIX "learnable_ttt_lr/kernel", INIT_NORMAL, SHAPE(h, d, 1));
    vector(p, l, MIX "learnable_ttt_lr/bias", INIT_ZEROS, SHAPE(h, 1));
    vector(p, l, MIX "ttt_norm/scale", INIT_ONES, SHAPE(h, f));
    vector(p, l, MIX "ttt_norm/bias", INIT_ZEROS, SHAPE(h, f));
    vector(p, l, MIX "post_norm/scale", INIT_ONES, SHAPE(d));
    vector(p, l, MIX "post_norm/bias", INIT_ZEROS, SHAPE(d));
    vector(p, l, MIX "ttt_dense_0", INIT_NORMAL, SHAPE(h, f, inner));
    vector(p, l, MIX "ttt_bias_0", INIT_ZEROS, SHAPE(h, 1, inner));
    if (mlp) {
        vector(p, l, MIX "ttt_dense_1", INIT_NORMAL, SHAPE(h, inner, f));
        vector(p, l, MIX "ttt_bias_1", INIT_ZEROS, SHAPE(h, 1, f));
    }
}

static void list_block(struct params *p, int l, const struct config *c)
{
    int d = c->hidden_size, inner = c->intermediate_size;
    enum mixer m = c->seq_modeling_block;
    if (c->pre_conv) {
        vector(p, l, "conv/conv_norm/kernel", INIT_ONES, SHAPE(d));
        convolution(p, l, "conv/conv1/kernel", "conv/conv1/bias", c);
    }
    vector(p, l, "seq_norm/kernel", INIT_ONES, SHAPE(d));
    matrix(p, l, MIX "wq/kernel", SPLIT_COLUMNS, SHAPE(d, d));
    if (!mixer_is_ttt(m) || mixer_is_base(m))
        matrix(p, l, MIX "wk/kernel", SPLIT_COLUMNS, SHAPE(d, d));
    matrix(p, l, MIX "wv/kernel", SPLIT_COLUMNS, SHAPE(d, d));
    matrix(p, l, MIX "wo/kernel", SPLIT_ROWS, SHAPE(d, d));
    if (mixer_is_ttt(m))
        list_ttt(p, l, c);
    vector(p, l, "ffn_norm/kernel", INIT_ONES, SHAPE(d));
    matrix(p, l, "feed_forward/w1/kernel", SPLIT_COLUMNS, SHAPE(d, inner));
    matrix(p, l, "feed_forward/w2/kernel", SPLIT_ROWS, SHAPE(inner, d));
    matrix(p, l, "feed_forward/w3/kernel", SPLIT_COLUMNS, SHAPE(d, inner));
}

/* What was listed since the last unit makes the next one. */
static void end_unit(struct params *p)
{
    size_t before = p->units ? p->unit[p->units - 1].offset + p->unit[p->units - 1].floats : 0;
    p->unit[p->units++] = (struct param_unit){before, p->floats - before};
}

int params_list(struct params *p, const struct config *c)
{
    enum { OF_A_BLOCK = 32, OF_THE_REST = 3 };
    *p = (struct params){0};
    size_t most = (size_t)c->num_hidden_layers * OF_A_BLOCK + OF_THE_REST;
    p->list = calloc(most, sizeof *p->list);
    p->unit = calloc((size_t)c->num_hidden_layers + 2, sizeof *p->unit);
    if (!p->list || !p->unit) {
        params_close(p);
        return fail("out of memory for the names of parameters");
    }
    matrix(p, -1, "model/wte/embedding", SPLIT_ROWS, SHAPE(c->vocab_size, c->hidden_size));
    end_unit(p);
    for (int l = 0; l < c->num_hidden_layers; l++) {
        list_block(p, l, c);
        end_unit(p);
    }
    vector(p, -1, "model/ln_f/kernel", INIT_ONES, SHAPE(c->hidden_size));
    if (!c->tie_word_embeddings)
        matrix(p, -1, "lm_head/kernel", SPLIT_COLUMNS, SHAPE(c->hidden_size, c->vocab_size));
    end_unit(p);
    assert((size_t)p->count <= most);
    return 0;
}

int params_find(const struct params *p, const char *name)
{
    for (int i = 0; i < p->count; i++)
        if (!strcmp(p->list[i].name, name))
            return i;
    return -1;
}

/* ---- the arrays --------------------------------------------------------------------------- */

int params_alloc(struct params *p, bool training)
{
    size_t bytes = p->floats * sizeof(float), work_bytes = p->work_reals * sizeof(real);
    p->master = device_alloc(bytes);
    bool whole = p->master;
    if (work_bytes)
        whole = (p->work = device_alloc(work_bytes)) && whole;
    if (training) {
        p->grad = device_alloc(bytes);
        p->m = device_alloc(bytes);
        p->v = device_alloc(bytes);
        whole = p->grad && p->m && p->v && whole;
    }
    if (whole)
        return 0;
    return fail("%zu parameters need %.0f MiB on the device, which it does not have", p->total,
                ((training ? 4.0 : 1.0) * (double)bytes + (double)work_bytes) / (1 << 20));
}

void params_close(struct params *p)
{
    device_free(p->master);
    device_free(p->grad);
    device_free(p->m);
    device_free(p->v);
    device_free(p->mean);
    device_free(p->work);
    free(p->list);
    free(p->unit);
    *p = (struct params){0};
}

void params_refresh(struct params *p)
{
    if (!p->work)
        return;
    for (int i = 0; i < p->count; i++)
        if (p->list[i].matrix)
            real_from_float(p->work + p->list[i].work_offset, param_master(p, i), p->list[i].count);
}

/* ---- start values ------------------------------------------------------------------------- */

static void fill(float *to, const struct param *q, uint64_t first, size_t count, uint64_t seed,
                 double range)
{
    /* A normal cut at two deviations has this deviation itself. */
    const double CUT_DEVIATION = 0.87962566103423978;
    uint64_t stream = random_stream(q->name);
    switch (q->init) {
    case INIT_ZEROS:
    case INIT_ONES:
        for (size_t i = 0; i < count; i++)
            to[i] = q->init == INIT_ONES;
        return;
    case INIT_NORMAL:
        random_normal(to, count, seed, stream, first, (float)range);
        return;
    case INIT_LECUN:
        random_cut_normal(to, count, seed, stream, first,
                          (float)(1 / sqrt(q->shape[0]) / CUT_DEVIATION));
        return;
    }
}

void params_init(struct params *p, uint64_t seed, double range)
{
    static float chunk[CHUNK];
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        for (size_t at = 0; at < q->count; at += CHUNK) {
            size_t n = q->count - at < CHUNK ? q->count - at : CHUNK;
            fill(chunk, q, at, n, seed, range);
            device_put(param_master(p, i) + at, chunk, n * sizeof *chunk);
        }
    }
    if (p->m) {
        device_zero(p->m, p->floats * sizeof *p->m);
        device_zero(p->v, p->floats * sizeof *p->v);
    }
    if (p->mean)
        device_zero(p->mean, p->floats * sizeof *p->mean);
    params_refresh(p);
}

/* ---- for people --------------------------------------------------------------------------- */

char *param_shape(const struct param *p, char *buf)
{
    char *at = buf;
    for (int a = 0; a < p->axes; a++)
        at += sprintf(at, "%s%d", a ? "x" : "", p->shape[a]);
    return buf;
}

void params_write(const struct params *p, FILE *to)
{
    char shape[48];
    int layers = 0;
    for (int i = 0; i < p->count; i++) {
        int l;
        if (sscanf(p->list[i].name, "model/h/%d/", &l) == 1 && l + 1 > layers)
            layers = l + 1;
    }
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        int l = 0, cut = 0;
        bool in_block = sscanf(q->name, "model/h/%d/%n", &l, &cut) == 1;
        if (l > 0)
            continue;
        char name[PARAM_NAME_BYTES + 16];
        if (in_block && layers > 1)
            snprintf(name, sizeof name, "model/h/0..%d/%s", layers - 1, q->name + cut);
        else
            snprintf(name, sizeof name, "%s", q->name);
        fprintf(to, "  %-56s %-12s %12zu\n", name, param_shape(q, shape),
                q->count * (size_t)(in_block ? layers : 1));
    }
    fprintf(to, "  %-56s %-12s %12zu\n", "parameters in all", "", p->total);
}
