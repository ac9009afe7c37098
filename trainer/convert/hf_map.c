/* hf_map.c -- under which name and in which layout Hugging Face's models keep a parameter. */
#include "hf_map.h"

#include <stdio.h>
#include <stdlib.h>

struct rule {
    const char *ours, *theirs;
    enum hf_layout layout;
};

static const struct rule outside[] = {
    {"model/wte/embedding", "model.embed_tokens.weight", HF_SAME},
    {"model/ln_f/kernel", "model.norm.weight", HF_SAME},
    {"lm_head/kernel", "lm_head.weight", HF_TURNED},
    {0},
};

/* Of a block, in both families. */
static const struct rule feed_forward[] = {
    {"feed_forward/w1/kernel", "mlp.gate_proj.weight", HF_TURNED},
    {"feed_forward/w2/kernel", "mlp.down_proj.weight", HF_TURNED},
    {"feed_forward/w3/kernel", "mlp.up_proj.weight", HF_TURNED},
    {0},
};

#define MIX "seq_modeling_block/"
#define SEQ "seq_modeling_block."

static const struct rule ttt[] = {
    {"seq_norm/kernel", "seq_norm.weight", HF_SAME},
    {"ffn_norm/kernel", "ffn_norm.weight", HF_SAME},
    {"conv/conv_norm/kernel", "conv.norm.weight", HF_SAME},
    {"conv/conv1/kernel", "conv.conv.weight", HF_TURNED},
    {"conv/conv1/bias", "conv.conv.bias", HF_SAME},
    {MIX "wq/kernel", SEQ "q_proj.weight", HF_TURNED},
    {MIX "wk/kernel", SEQ "k_proj.weight", HF_TURNED},
    {MIX "wv/kernel", SEQ "v_proj.weight", HF_TURNED},
    {MIX "wo/kernel", SEQ "o_proj.weight", HF_TURNED},
    {MIX "wg/kernel", SEQ "g_proj.weight", HF_TURNED},
    {MIX "conv_q/kernel", SEQ "conv_q.weight", HF_TURNED},
    {MIX "conv_q/bias", SEQ "conv_q.bias", HF_SAME},
    {MIX "conv_k/kernel", SEQ "conv_k.weight", HF_TURNED},
    {MIX "conv_k/bias", SEQ "conv_k.bias", HF_SAME},
    {MIX "learnable_token_idx", SEQ "learnable_token_idx", HF_SAME},
    {MIX "learnable_ttt_lr/kernel", SEQ "learnable_ttt_lr_weight", HF_LIFTED},
    {MIX "learnable_ttt_lr/bias", SEQ "learnable_ttt_lr_bias", HF_SAME},
    {MIX "ttt_norm/scale", SEQ "ttt_norm_weight", HF_SAME},
    {MIX "ttt_norm/bias", SEQ "ttt_norm_bias", HF_SAME},
    {MIX "post_norm/scale", SEQ "post_norm.weight", HF_SAME},
    {MIX "post_norm/bias", SEQ "post_norm.bias", HF_SAME},
    {MIX "ttt_dense_0", SEQ "W1", HF_SAME},
    {MIX "ttt_bias_0", SEQ "b1", HF_SAME},
    {MIX "ttt_dense_1", SEQ "W2", HF_SAME},
    {MIX "ttt_bias_1", SEQ "b2", HF_SAME},
    {0},
};

/* Within TTT the inner model's own weights lie in the order of the pairs, so that only attention
   can have them half a head apart. */
static const struct rule llama[] = {
    {"seq_norm/kernel", "input_layernorm.weight", HF_SAME},
    {"ffn_norm/kernel", "post_attention_layernorm.weight", HF_SAME},
    {MIX "wq/kernel", "self_attn.q_proj.weight", HF_HALVED},
    {MIX "wk/kernel", "self_attn.k_proj.weight", HF_HALVED},
    {MIX "wv/kernel", "self_attn.v_proj.weight", HF_TURNED},
    {MIX "wo/kernel", "self_attn.o_proj.weight", HF_TURNED},
    {0},
};

static const struct rule *find(const struct rule *rules, const char *name)
{
    while (rules->ours && strcmp(rules->ours, name))
        rules++;
    return rules->ours ? rules : NULL;
}

static int fill(struct hf_entry *e, const struct param *q, const struct config *c)
{
    int layer = 0, cut = 0;
    bool in_block = sscanf(q->name, "model/h/%d/%n", &layer, &cut) == 1;
    const char *rest = q->name + cut;
    const struct rule *r = in_block ? find(feed_forward, rest) : find(outside, rest);
    if (!r && in_block)
        r = find(mixer_is_ttt(c->seq_modeling_block) ? ttt : llama, rest);
    if (!r)
        return fail("self_attention with pre_conv has no form among Hugging Face's models: no "
                    "tensor there is %s",
                    q->name);
    if (in_block)
        snprintf(e->name, sizeof e->name, "model.layers.%d.%s", layer, r->theirs);
    else
        snprintf(e->name, sizeof e->name, "%s", r->theirs);
    e->layout = r->layout;
    e->rows = q->shape[0];
    e->cols = q->shape[q->axes - 1];
    e->head = config_head_dim(c);
    e->tensor =
        (struct tensor){.name = e->name, .dtype = TENSOR_F32, .dims = q->axes, .count = q->count};
    for (int a = 0; a < q->axes; a++) {
        bool turned = r->layout == HF_TURNED || r->layout == HF_HALVED;
        bool lifted = r->layout == HF_LIFTED && a > 0;
        int from = turned ? q->axes - 1 - a : lifted ? q->axes - a : a;
        e->tensor.shape[a] = q->shape[from];
    }
    return 0;
}

int hf_map_open(struct hf_map *m, const struct params *p, const struct config *c)
{
    *m = (struct hf_map){.count = p->count};
    m->list = calloc((size_t)p->count, sizeof *m->list);
    if (!m->list)
        return fail("out of memory: the names of %d tensors", p->count);
    for (int i = 0; i < p->count; i++) {
        if (fill(&m->list[i], &p->list[i], c)) {
            hf_map_close(m);
            return -1;
        }
    }
    return 0;
}

void hf_map_close(struct hf_map *m)
{
    free(m->list);
    *m = (struct hf_map){0};
}

/* ---- places ------------------------------------------------------------------------------- */

/* Which row there our column is. */
static size_t row_of(const struct hf_entry *e, int column)
{
    if (e->layout != HF_HALVED)
        return (size_t)column;
    int first = column / e->head * e->head, at = column - first;
    return (size_t)(first + at / 2 + at % 2 * (e->head / 2));
}

static bool keeps_places(const struct hf_entry *e)
{
    return e->layout == HF_SAME || e->layout == HF_LIFTED;
}

void hf_map_put(const struct hf_entry *e, float *theirs, const float *ours)
{
    size_t rows = (size_t)e->rows, cols = (size_t)e->cols;
    if (keeps_places(e))
        memcpy(theirs, ours, e->tensor.count * sizeof *ours);
    else
        for (size_t c = 0; c < cols; c++)
            for (size_t r = 0, to = row_of(e, (int)c) * rows; r < rows; r++)
                theirs[to + r] = ours[r * cols + c];
}

void hf_map_take(const struct hf_entry *e, float *ours, const float *theirs)
{
    size_t rows = (size_t)e->rows, cols = (size_t)e->cols;
    if (keeps_places(e))
        memcpy(ours, theirs, e->tensor.count * sizeof *ours);
    else
        for (size_t c = 0; c < cols; c++)
            for (size_t r = 0, from = row_of(e, (int)c) * rows; r < rows; r++)
                ours[r * cols + c] = theirs[from + r];
}
