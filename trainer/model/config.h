/* config.h -- what a model is: its sizes and settings, under the reference's own keys. */
#ifndef CONFIG_H
#define CONFIG_H

#include "err.h"
#include "flags.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The sequence modelling block. */
enum mixer {
    MIXER_ATTENTION,       /* self_attention */
    MIXER_TTT_LINEAR,      /* ttt_linear: shared wq, convolutions, gate */
    MIXER_TTT_MLP,         /* ttt_mlp */
    MIXER_TTT_LINEAR_BASE, /* ttt_linear_base: own wk, no convolutions, no gate */
    MIXER_TTT_MLP_BASE,    /* ttt_mlp_base */
    MIXERS
};

const char *mixer_name(enum mixer m);
static inline bool mixer_is_ttt(enum mixer m)
{
    return m != MIXER_ATTENTION;
}
static inline bool mixer_is_mlp(enum mixer m)
{
    return m == MIXER_TTT_MLP || m == MIXER_TTT_MLP_BASE;
}
static inline bool mixer_is_base(enum mixer m)
{
    return m == MIXER_TTT_LINEAR_BASE || m == MIXER_TTT_MLP_BASE;
}

/* Every member is named as its key. A plain value: copy it freely. */
struct config {
    int vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
    int max_sequence_length;
    double initializer_range, rms_norm_eps, rope_theta;
    bool tie_word_embeddings;
    enum mixer seq_modeling_block;
    bool pre_conv;
    int conv_width;
    int mini_batch_size;
    double ttt_base_lr, ttt_base_lr_init;
    int ttt_base_lr_warmup;
    int remat_mini_batch_group_size; /* inner state is kept before every so many mini-batches */
    char remat_block[32];            /* the policy of jax.checkpoint: config_recomputes_blocks */

    /* Accepted for the reference's sake; config_notes tells what becomes of them. */
    bool use_cache, scan_attention, scan_mlp;
    int bos_token_id, eos_token_id;
    double resid_pdrop, embd_pdrop, attn_pdrop, fcm_min_ratio, fcm_max_ratio;
    char remat_attention[32], remat_mlp[32], remat_conv[32];
    int scan_query_chunk_size, scan_key_chunk_size, scan_mlp_chunk_size;
    char use_rotary_emb[32], attn_implementation[32];
};

/* A model by name (125m, 350m, 760m, 1b and each with -TTT) or from a file: "json::PATH". Keys the
   file leaves out have the reference's defaults. -1 with why() for an unknown name or key. */
must_check int config_load(struct config *c, const char *name);

/* Change keys by a Python call, "dict(seq_modeling_block='ttt_linear', ttt_base_lr=1.0)": numbers,
   'strings', True, False, None. "" changes nothing. On failure returns -1 with why() (an unknown
   key with the nearest one) and leaves c as it was. */
must_check int config_update(struct config *c, const char *dict);

/* The members of a JSON object over what c already holds; null leaves a key alone. `origin` is
   the file named in why(). On failure c is as it was. */
must_check int config_from_json(struct config *c, const json_t *object, const char *origin);

/* Every key; the caller's reference. */
json_t *config_to_json(const struct config *c);

/* Whether this model can be built and run with rows of seq tokens: sizes that fit each other. seq
   0: rows are not meant, as in decoding. -1 with one sentence. */
must_check int config_check(const struct config *c, int seq);

/* Whether the backward computes blocks again of which the forward keeps the input alone: as
   remat_block says, by any policy but that of keeping everything. A matter of memory, not of
   numbers. */
bool config_recomputes_blocks(const struct config *c);
void config_recompute_blocks(struct config *c, bool wanted);

/* Say (report.h) in one line each which given keys are mapped or are without effect here. */
void config_notes(const struct config *c);

static inline int config_head_dim(const struct config *c)
{
    return c->hidden_size / c->num_attention_heads;
}

/* Multiply-adds, times two, that the model's mathematics asks of one trained token (forward and
   backward, nothing recomputed, embedding look-up free). For reports of speed. */
double config_train_flops(const struct config *c, int seq);

/* ---- flags -------------------------------------------------------------------------------- */

/* The flags from which programs build a model, for the table of any of them. */
struct config_flags {
    const char *load_model_config;
    const char *update_model_config;
};

/* clang-format off */
#define CONFIG_FLAGS_DEFAULT {"125m-TTT", ""}

/* Entries of a flag table, for `struct config_flags f`. */
#define CONFIG_FLAGS(f) \
    {FLAG_TEXT, 0, "load_model_config", &(f).load_model_config, "NAME", \
     "the model: 125m, 350m, 760m, 1b, each also with -TTT, or json::PATH", false}, \
    {FLAG_TEXT, 0, "update_model_config", &(f).update_model_config, "DICT", \
     "changes to it: \"dict(seq_modeling_block='ttt_linear', ttt_base_lr=1.0)\"", false}
/* clang-format on */

/* config_load, then config_update. */
must_check int config_from_flags(struct config *c, const struct config_flags *f);

#endif
