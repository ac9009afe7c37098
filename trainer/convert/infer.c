/* infer.c -- which model a checkpoint of elsewhere is of, from names and shapes. */
#include "infer.h"
#include "report.h"

#include <math.h>
#include <stdio.h>

#define BLOCK "model/h/0/"
#define MIX   BLOCK "seq_modeling_block/"

enum { LONGEST_AXIS = 1 << 24 };

struct source {
    const struct tensor *list; /* [count] */
    int count;
    const char *path;
};

static const struct tensor *find(const struct source *s, const char *name)
{
    for (int i = 0; i < s->count; i++)
        if (!strcmp(s->list[i].name, name))
            return &s->list[i];
    return NULL;
}

/* The length of an axis of a tensor that has to be there. */
static int axis(const struct source *s, const char *name, int at, int *length)
{
    const struct tensor *t = find(s, name);
    if (!t)
        return fail("%s: no tensor %s: not a model of the reference's", s->path, name);
    if (at >= t->dims || t->shape[at] < 1 || t->shape[at] > LONGEST_AXIS)
        return fail("%s: tensor %s: its axis %d does not tell a size", s->path, name, at);
    *length = (int)t->shape[at];
    return 0;
}

static int find_layers(const struct source *s, int *layers)
{
    *layers = 0;
    for (int i = 0; i < s->count; i++) {
        int l;
        if (sscanf(s->list[i].name, "model/h/%7d/", &l) == 1 && l >= *layers)
            *layers = l + 1;
    }
    /* A gap will show as missing tensors; a number beyond all sense would be a long list of them.
     */
    if (*layers < 1 || *layers > s->count)
        return fail("%s: layers up to %d among %d tensors: not a model of the reference's", s->path,
                    *layers, s->count);
    return 0;
}

/* ---- what tensors tell --------------------------------------------------------------------- */

static enum mixer find_mixer(const struct source *s)
{
    if (!find(s, MIX "ttt_dense_0"))
        return MIXER_ATTENTION;
    bool base = find(s, MIX "wk/kernel"), mlp = find(s, MIX "ttt_dense_1");
    if (base)
        return mlp ? MIXER_TTT_MLP_BASE : MIXER_TTT_LINEAR_BASE;
    return mlp ? MIXER_TTT_MLP : MIXER_TTT_LINEAR;
}

static int learn(struct config *c, const struct source *s)
{
    if (axis(s, "model/wte/embedding", 0, &c->vocab_size) ||
        axis(s, "model/wte/embedding", 1, &c->hidden_size) ||
        find_layers(s, &c->num_hidden_layers) ||
        axis(s, BLOCK "feed_forward/w1/kernel", 1, &c->intermediate_size))
        return -1;
    c->seq_modeling_block = find_mixer(s);
    c->tie_word_embeddings = !find(s, "lm_head/kernel");
    c->pre_conv = find(s, BLOCK "conv/conv1/kernel");
    if (c->pre_conv && axis(s, BLOCK "conv/conv1/kernel", 0, &c->conv_width))
        return -1;
    if (!mixer_is_ttt(c->seq_modeling_block))
        return 0;
    if (!mixer_is_base(c->seq_modeling_block) && axis(s, MIX "conv_q/kernel", 0, &c->conv_width))
        return -1;
    return axis(s, MIX "learnable_token_idx", 0, &c->mini_batch_size) ||
                   axis(s, MIX "ttt_norm/scale", 0, &c->num_attention_heads)
               ? -1
               : 0;
}

/* ---- what hints tell ----------------------------------------------------------------------- */

/* The published model of these sizes, for what the tensors do not tell; false: none is. */
static bool load_by_size(struct config *c, const struct source *s)
{
    static const char *const names[] = {"125m", "350m", "760m", "1b"};
    struct config seen = {0};
    if (axis(s, "model/wte/embedding", 1, &seen.hidden_size) ||
        find_layers(s, &seen.num_hidden_layers) ||
        axis(s, BLOCK "feed_forward/w1/kernel", 1, &seen.intermediate_size))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!config_load(c, names[i]) && c->hidden_size == seen.hidden_size &&
            c->num_hidden_layers == seen.num_hidden_layers &&
            c->intermediate_size == seen.intermediate_size)
            return true;
    return false;
}

/* What a flag says against what a tensor says. */
static int agree(const char *key, int flag, int tensor, const char *path)
{
    if (flag == tensor)
        return 0;
    return fail("%s: %s is %d by its tensors, but %d by --update_model_config", path, key, tensor,
                flag);
}

#define AGREE(key) agree(#key, c->key, told->key, path)

static int check_hints(const struct config *c, const struct config *told, const char *path)
{
    bool heads_told = mixer_is_ttt(told->seq_modeling_block);
    if (c->seq_modeling_block != told->seq_modeling_block)
        return fail("%s: seq_modeling_block is %s by its tensors, but %s by --update_model_config",
                    path, mixer_name(told->seq_modeling_block), mixer_name(c->seq_modeling_block));
    return AGREE(vocab_size) || AGREE(hidden_size) || AGREE(num_hidden_layers) ||
                   AGREE(intermediate_size) || AGREE(tie_word_embeddings) || AGREE(pre_conv) ||
                   AGREE(conv_width) ||
                   (heads_told && (AGREE(num_attention_heads) || AGREE(mini_batch_size)))
               ? -1
               : 0;
}

int infer_model(struct config *c, const struct infer_hints *hints, const struct tensor *list,
                int count, const char *path)
{
    struct source s = {list, count, path};
    struct config told;
    bool by_size = !hints->model_given && load_by_size(&told, &s);
    if (!by_size && config_load(&told, hints->flags->load_model_config))
        return -1;
    /* Values that no flag can give show whether one did. */
    double base_lr = told.ttt_base_lr;
    if (!by_size && !hints->model_given)
        told.num_attention_heads = 0;
    told.ttt_base_lr = NAN;
    if (learn(&told, &s))
        return -1;
    *c = told;
    if (config_update(c, hints->flags->update_model_config) || check_hints(c, &told, path))
        return -1;
    if (c->num_attention_heads < 1)
        return fail("%s: the number of heads of an attention model is not in it: give "
                    "--load_model_config or --update_model_config=\"dict(num_attention_heads=N)\"",
                    path);
    if (c->hidden_size % c->num_attention_heads)
        return fail("%s: num_attention_heads is %d, which does not divide hidden_size %d", path,
                    c->num_attention_heads, c->hidden_size);
    if (isnan(c->ttt_base_lr)) {
        c->ttt_base_lr = base_lr;
        if (mixer_is_ttt(c->seq_modeling_block))
            say("%s: does not tell ttt_base_lr, which is taken to be %g; otherwise give "
                "--update_model_config=\"dict(ttt_base_lr=X)\"",
                path, base_lr);
    }
    return 0;
}
