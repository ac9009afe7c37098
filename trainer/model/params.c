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
    *q = (struct param){.decay = true, .split = -1, .whole = 1, .unit = p->units};
    int n = layer < 0 ? snprintf(q->name, sizeof q->name, "%s", path)
                      : snprintf(q->name, sizeof q->name, "model/h/%d/%s", layer, path);
    assert(n > 0 && (size_t)n < sizeof q->name);
    for (; q->axes < PARAM_AXES && shape[q->axes]; q->axes++) {
        q->shape[q->axes] = shape[q->axes];
        q->whole *= (size_t)shape[q->axes];
    }
    q->count = q->whole;
    p->total += q->whole;
    return q;
}

/* mp divides q along an axis. */
static void split(struct params *p, struct param *q, int axis)
{
    q->split = axis;
    q->count = q->whole / (size_t)p->mesh.mp;
}

#define SHAPE(...) ((const int[PARAM_AXES]){__VA_ARGS__})

static void matrix(struct params *p, int layer, const char *path, int axis, const int *shape)
{
    struct param *q = append(p, layer, path, shape);
    q->init = INIT_NORMAL;
    q->matrix = true;
    split(p, q, axis);
}

/* axis: the one that mp divides, or -1. */
static void vector(struct params *p, int layer, const char *path, enum param_init init, int axis,
                   const int *shape)
{
    struct param *q = append(p, layer, path, shape);
    q->init = init;
    if (axis >= 0)
        split(p, q, axis);
}

/* of_heads: the columns are those of the heads, and go with them. */
static void convolution(struct params *p, int layer, const char *kernel, const char *bias,
                        bool of_heads, const struct config *c)
{
    vector(p, layer, kernel, INIT_LECUN, of_heads ? 2 : -1,
           SHAPE(c->conv_width, 1, c->hidden_size));
    vector(p, layer, bias, INIT_ZEROS, of_heads ? 0 : -1, SHAPE(c->hidden_size));
}

#define MIX "seq_modeling_block/"

static void list_ttt(struct params *p, int l, const struct config *c)
{
    int d = c->hidden_size, h = c->num_attention_heads, f = config_head_dim(c);
    bool mlp = mixer_is_mlp(c->seq_modeling_block);
    int inner = mlp ? 4 * f : f;
    if (!mixer_is_base(c->seq_modeling_block)) {
        matrix(p, l, MIX "wg/kernel", 1, SHAPE(d, d));
        convolution(p, l, MIX "conv_q/kernel", MIX "conv_q/bias", true, c);
        convolution(p, l, MIX "conv_k/kernel", MIX "conv_k/bias", true, c);
    }
    vector(p, l, MIX "learnable_token_idx", INIT_ZEROS, -1, SHAPE(c->mini_batch_size));
    vector(p, l, MIX "learnable_ttt_lr/kernel", INIT_NORMAL, 0, SHAPE(h, d, 1));
    vector(p, l, MIX "learnable_ttt_lr/bias", INIT_ZEROS, 0, SHAPE(h, 1));
    vector(p, l, MIX "ttt_norm/scale", INIT_ONES, 0, SHAPE(h, f));
    vector(p, l, MIX "ttt_norm/bias", INIT_ZEROS, 0, SHAPE(h, f));
    vector(p, l, MIX "post_norm/scale", INIT_ONES, 0, SHAPE(d));
    vector(p, l, MIX "post_norm/bias", INIT_ZEROS, 0, SHAPE(d));
    vector(p, l, MIX "ttt_dense_0", INIT_NORMAL, 0, SHAPE(h, f, inner));
    vector(p, l, MIX "ttt_bias_0", INIT_ZEROS, 0, SHAPE(h, 1, inner));
    if (mlp) {
        vector(p, l, MIX "ttt_dense_1", INIT_NORMAL, 0, SHAPE(h, inner, f));
        vector(p, l, MIX "ttt_bias_1", INIT_ZEROS, 0, SHAPE(h, 1, f));
    }
}

static void list_block(struct params *p, int l, const struct config *c)
{
    int d = c->hidden_size, inner = c->intermediate_size;
    enum mixer m = c->seq_modeling_block;
    if (c->pre_conv) {
        vector(p, l, "conv/conv_norm/kernel", INIT_ONES, -1, SHAPE(d));
        convolution(p, l, "conv/conv1/kernel", "conv/conv1/bias", false, c);
    }
    vector(p, l, "seq_norm/kernel", INIT_ONES, -1, SHAPE(d));
    matrix(p, l, MIX "wq/kernel", 1, SHAPE(d, d));
    if (!mixer_is_ttt(m) || mixer_is_base(m))
        matrix(p, l, MIX "wk/kernel", 1, SHAPE(d, d));
    matrix(p, l, MIX "wv/kernel", 1, SHAPE(d, d));
    matrix(p, l, MIX "wo/kernel", 0, SHAPE(d, d));
    if (mixer_is_ttt(m))
        list_ttt(p, l, c);
    vector(p, l, "ffn_norm/kernel", INIT_ONES, -1, SHAPE(d));
    matrix(p, l, "feed_forward/w1/kernel", 1, SHAPE(d, inner));
    matrix(p, l, "feed_forward/w2/kernel", 0, SHAPE(inner, d));
    matrix(p, l, "feed_forward/w3/kernel", 1, SHAPE(d, inner));
}

static size_t aligned(size_t count, size_t to)
{
    return (count + to - 1) / to * to;
}

/* A unit that lies whole in this rank's arrays: parameter by parameter. */
static void place_whole(struct params *p, struct param_unit *u, int first)
{
    size_t work = 0;
    for (int i = first; i < p->count; i++) {
        struct param *q = &p->list[i];
        q->held = q->count;
        q->at = u->floats;
        q->offset = u->offset + q->at;
        u->floats += aligned(q->count, ALIGN_FLOATS);
        if (q->matrix) {
            q->work_at = work;
            work += aligned(q->count, ALIGN_FLOATS);
        }
    }
    u->matrices = work;
    u->vectors = u->floats - work;
}

/* Lay the vectors, or the matrices, of a unit end to end from `begin` on; the size with spaces. */
static size_t place(struct params *p, int first, bool matrices, size_t begin, size_t align)
{
    size_t size = 0;
    for (int i = first; i < p->count; i++) {
        struct param *q = &p->list[i];
        if (q->matrix != matrices)
            continue;
        q->at = begin + size;
        q->work_at = matrices ? size : 0;
        size += aligned(q->count, ALIGN_FLOATS);
    }
    return aligned(size, align);
}

/* What of q lies in a stretch of its unit, and where in this rank's arrays. */
static void hold(struct param *q, size_t begin, size_t end, size_t offset)
{
    size_t from = q->at > begin ? q->at : begin;
    size_t to = q->at + q->count < end ? q->at + q->count : end;
    q->held = to > from ? to - from : 0;
    q->first = q->held ? from - q->at : 0;
    q->offset = q->held ? offset + (from - begin) : offset;
}

static void place_shared(struct params *p, struct param_unit *u, int first)
{
    size_t ranks = (size_t)p->mesh.fsdp, rank = (size_t)mesh_fsdp_rank(&p->mesh);
    u->vectors = place(p, first, false, 0, ranks * ALIGN_FLOATS);
    u->matrices = place(p, first, true, u->vectors, ranks * ALIGN_FLOATS);
    u->floats = (u->vectors + u->matrices) / ranks;
    for (int i = first; i < p->count; i++) {
        struct param *q = &p->list[i];
        size_t begin = q->matrix ? u->vectors : 0, of = q->matrix ? u->matrices : u->vectors;
        begin += of / ranks * rank;
        hold(q, begin, begin + of / ranks, u->offset + (q->matrix ? u->vectors / ranks : 0));
    }
}

/* What was listed from `first` on makes the next unit. */
static void end_unit(struct params *p, int first)
{
    struct param_unit *u = &p->unit[p->units++];
    *u = (struct param_unit){.offset = p->floats, .work_offset = p->work_reals};
    if (p->mesh.fsdp == 1)
        place_whole(p, u, first);
    else
        place_shared(p, u, first);
    p->floats += u->floats;
    if (sizeof(real) != sizeof(float))
        p->work_reals += u->matrices / (size_t)p->mesh.fsdp;
}

static int check_mesh(const struct config *c, const struct mesh *mesh)
{
    const struct {
        const char *name;
        int size;
    } split_sizes[] = {{"num_attention_heads", c->num_attention_heads},
                       {"intermediate_size", c->intermediate_size},
                       {"vocab_size", c->vocab_size}};
    for (size_t i = 0; i < sizeof split_sizes / sizeof *split_sizes; i++)
        if (split_sizes[i].size % mesh->mp)
            return fail("--mesh_dim: %d ranks along mp do not divide the model's %s=%d", mesh->mp,
                        split_sizes[i].name, split_sizes[i].size);
    return 0;
}

int params_list_on(struct params *p, const struct config *c, const struct mesh *mesh)
{
    enum { OF_A_BLOCK = 32, OF_THE_REST = 3 };
    *p = (struct params){.mesh = *mesh};
    size_t most = (size_t)c->num_hidden_layers * OF_A_BLOCK + OF_THE_REST;
    if (check_mesh(c, mesh))
        return -1;
    p->list = calloc(most, sizeof *p->list);
    p->unit = calloc((size_t)c->num_hidden_layers + 2, sizeof *p->unit);
    if (!p->list || !p->unit) {
        params_close(p);
        return fail("out of memory for the names of parameters");
    }
    matrix(p, -1, "model/wte/embedding", 0, SHAPE(c->vocab_size, c->hidden_size));
    end_unit(p, 0);
    for (int l = 0; l < c->num_hidden_layers; l++) {
        int first = p->count;
        list_block(p, l, c);
        end_unit(p, first);
    }
    int first = p->count;
    vector(p, -1, "model/ln_f/kernel", INIT_ONES, -1, SHAPE(c->hidden_size));
    if (!c->tie_word_embeddings)
        matrix(p, -1, "lm_head/kernel", 1, SHAPE(c->hidden_size, c->vocab_size));
    end_unit(p, first);
    assert((size_t)p->count <= most);
    return 0;
}

int params_list(struct params *p, const struct config *c)
{
    return params_list_on(p, c, &MESH_ONE);
}

size_t param_run(const struct param *q, const struct mesh *mesh, size_t i, size_t *whole)
{
    if (q->split < 0 || mesh->mp == 1) {
        *whole = i;
        return q->count - i;
    }
    size_t row = 1; /* of the whole: what one step along the axes before `split` passes over */
    for (int a = q->split; a < q->axes; a++)
        row *= (size_t)q->shape[a];
    size_t part = row / (size_t)mesh->mp;
    *whole = i / part * row + (size_t)mesh_mp_rank(mesh) * part + i % part;
    return part - i % part;
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
    for (int u = 0; whole && p->mesh.fsdp == 1 && u < p->units; u++) {
        p->unit[u].master = p->master + p->unit[u].offset;
        p->unit[u].grad = training ? p->grad + p->unit[u].offset : NULL;
        p->unit[u].work = work_bytes ? p->work + p->unit[u].work_offset : NULL;
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
    device_free(p->average);
    device_free(p->work);
    free(p->list);
    free(p->unit);
    *p = (struct params){0};
}

void params_refresh(struct params *p)
{
    size_t ranks = (size_t)p->mesh.fsdp;
    if (!p->work)
        return;
    for (int i = 0; ranks == 1 && i < p->count; i++)
        if (p->list[i].matrix)
            real_from_float(p->unit[p->list[i].unit].work + p->list[i].work_at, param_master(p, i),
                            p->list[i].count);
    for (int u = 0; ranks > 1 && u < p->units; u++)
        if (p->unit[u].matrices)
            real_from_float(p->work + p->unit[u].work_offset,
                            p->master + p->unit[u].offset + p->unit[u].vectors / ranks,
                            p->unit[u].matrices / ranks);
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
        for (size_t done = 0, n; done < q->held; done += n) {
            size_t in_chunk = 0, whole;
            n = q->held - done < CHUNK ? q->held - done : CHUNK;
            for (size_t run; in_chunk < n; in_chunk += run) {
                run = param_run(q, &p->mesh, q->first + done + in_chunk, &whole);
                run = run < n - in_chunk ? run : n - in_chunk;
                fill(chunk + in_chunk, q, whole, run, seed, range);
            }
            device_put(p->master + q->offset + done, chunk, n * sizeof *chunk);
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
                q->whole * (size_t)(in_block ? layers : 1));
    }
    fprintf(to, "  %-56s %-12s %12zu\n", "parameters in all", "", p->total);
}
