/* hf_config.c -- config.json of Hugging Face's models and our configuration, both ways. */
#include "hf_config.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* ---- reading ------------------------------------------------------------------------------ */

struct file {
    const char *path;
    json_t *root;
};

static json_t *get(const struct file *f, const char *name)
{
    json_t *value = json_object_get(f->root, name);
    return json_is_null(value) ? NULL : value;
}

static int whole(const struct file *f, const char *name, int *to)
{
    json_t *value = get(f, name);
    if (json_is_array(value)) /* several ends of a text: the first is the one */
        value = json_array_get(value, 0);
    if (!value)
        return 0;
    if (!json_is_integer(value) || llabs(json_integer_value(value)) > INT_MAX)
        return fail("%s: %s: expected a whole number", f->path, name);
    *to = (int)json_integer_value(value);
    return 0;
}

static int number(const struct file *f, const char *name, double *to)
{
    json_t *value = get(f, name);
    if (!value)
        return 0;
    if (!json_is_number(value) || !isfinite(json_number_value(value)))
        return fail("%s: %s: expected a number", f->path, name);
    *to = json_number_value(value);
    return 0;
}

static int on(const struct file *f, const char *name, bool *to)
{
    json_t *value = get(f, name);
    if (!value)
        return 0;
    if (!json_is_boolean(value))
        return fail("%s: %s: expected true or false", f->path, name);
    *to = json_is_true(value);
    return 0;
}

/* A text that has to be one word. */
static int must_be(const struct file *f, const char *name, const char *word)
{
    json_t *value = get(f, name);
    const char *text = json_string_value(value);
    if (!value || (text && !strcmp(text, word)))
        return 0;
    return fail("%s: %s is %s%s%s: only \"%s\" has a form here", f->path, name, text ? "\"" : "",
                text ? text : "no text", text ? "\"" : "", word);
}

/* A switch that has to be off. */
static int must_be_off(const struct file *f, const char *name)
{
    bool value = false;
    if (on(f, name, &value))
        return -1;
    return value ? fail("%s: %s is true: such models have no form here", f->path, name) : 0;
}

static int must_be_absent(const struct file *f, const char *name)
{
    return get(f, name) ? fail("%s: has %s: such models have no form here", f->path, name) : 0;
}

/* Newer versions keep RoPE's settings together. */
static int read_rope(const struct file *f, struct config *c)
{
    struct file inner = {f->path, get(f, "rope_parameters")};
    if (must_be_absent(f, "rope_scaling") || number(f, "rope_theta", &c->rope_theta))
        return -1;
    if (!inner.root)
        return 0;
    return number(&inner, "rope_theta", &c->rope_theta) || must_be(&inner, "rope_type", "default")
               ? -1
               : 0;
}

static int read_common(const struct file *f, struct config *c)
{
    return whole(f, "vocab_size", &c->vocab_size) || whole(f, "hidden_size", &c->hidden_size) ||
                   whole(f, "intermediate_size", &c->intermediate_size) ||
                   whole(f, "num_hidden_layers", &c->num_hidden_layers) ||
                   whole(f, "num_attention_heads", &c->num_attention_heads) ||
                   whole(f, "max_position_embeddings", &c->max_sequence_length) ||
                   whole(f, "bos_token_id", &c->bos_token_id) ||
                   whole(f, "eos_token_id", &c->eos_token_id) ||
                   number(f, "rms_norm_eps", &c->rms_norm_eps) ||
                   number(f, "initializer_range", &c->initializer_range) ||
                   on(f, "tie_word_embeddings", &c->tie_word_embeddings) || read_rope(f, c) ||
                   must_be(f, "hidden_act", "silu") || must_be_absent(f, "quantization_config")
               ? -1
               : 0;
}

static int read_llama(const struct file *f, struct config *c)
{
    c->seq_modeling_block = MIXER_ATTENTION;
    c->pre_conv = false;
    c->hidden_size = 4096, c->intermediate_size = 11008, c->num_hidden_layers = 32;
    c->num_attention_heads = 32, c->tie_word_embeddings = false;
    if (read_common(f, c) || must_be_off(f, "attention_bias") || must_be_off(f, "mlp_bias"))
        return -1;
    int groups = c->num_attention_heads, head = 0;
    if (whole(f, "num_key_value_heads", &groups) || whole(f, "head_dim", &head))
        return -1;
    if (groups != c->num_attention_heads)
        return fail("%s: num_key_value_heads is %d of %d: grouped heads have no form here", f->path,
                    groups, c->num_attention_heads);
    if (head && (int64_t)head * c->num_attention_heads != c->hidden_size)
        return fail("%s: head_dim is %d, which with %d heads does not make hidden_size %d", f->path,
                    head, c->num_attention_heads, c->hidden_size);
    return 0;
}

static int read_ttt(const struct file *f, struct config *c)
{
    bool share = false, gate = false, mlp;
    const char *inner = json_string_value(get(f, "ttt_layer_type"));
    c->hidden_size = 2048, c->intermediate_size = 5504, c->num_hidden_layers = 24;
    c->num_attention_heads = 32, c->tie_word_embeddings = true, c->pre_conv = false;
    if (read_common(f, c) || on(f, "pre_conv", &c->pre_conv) || on(f, "share_qk", &share) ||
        on(f, "use_gate", &gate) || whole(f, "conv_kernel", &c->conv_width) ||
        whole(f, "mini_batch_size", &c->mini_batch_size) ||
        number(f, "ttt_base_lr", &c->ttt_base_lr))
        return -1;
    mlp = inner && !strcmp(inner, "mlp");
    if (inner && !mlp && strcmp(inner, "linear"))
        return fail("%s: ttt_layer_type is \"%s\": expected \"linear\" or \"mlp\"", f->path, inner);
    if (share != gate)
        return fail("%s: share_qk is %s and use_gate is %s: the reference and this suite have both "
                    "or neither",
                    f->path, share ? "true" : "false", gate ? "true" : "false");
    c->seq_modeling_block = share ? mlp ? MIXER_TTT_MLP : MIXER_TTT_LINEAR
                            : mlp ? MIXER_TTT_MLP_BASE
                                  : MIXER_TTT_LINEAR_BASE;
    return 0;
}

int hf_config_read(struct config *c, const char *path)
{
    json_error_t e;
    struct file f = {path, json_load_file(path, JSON_REJECT_DUPLICATES, &e)};
    if (!f.root && e.line < 0)
        return fail("%s: %s", path, e.text);
    if (!f.root)
        return fail("%s, line %d: %s", path, e.line, e.text);
    const char *type = json_string_value(get(&f, "model_type"));
    int status = config_load(c, "125m");
    if (!status && !type)
        status = fail("%s: has no model_type: not the configuration of a Hugging Face model", path);
    else if (!status && !strcmp(type, "llama"))
        status = read_llama(&f, c);
    else if (!status && !strcmp(type, "ttt"))
        status = read_ttt(&f, c);
    else if (!status)
        status = fail("%s: model_type is \"%s\": expected ttt or llama", path, type);
    json_decref(f.root);
    return status || config_check(c, 0) ? fail("%s: %s", path, why()) : 0;
}

/* ---- writing ------------------------------------------------------------------------------ */

static const char *torch_dtype(enum tensor_dtype dtype)
{
    return dtype == TENSOR_BF16 ? "bfloat16" : dtype == TENSOR_F16 ? "float16" : "float32";
}

static json_t *common(const struct config *c, const char *class, const char *type,
                      enum tensor_dtype dtype)
{
    return json_pack(
        "{s:[s], s:s, s:i, s:i, s:s, s:i, s:f, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b, s:s, s:i}",
        "architectures", class, "model_type", type, "bos_token_id", c->bos_token_id, "eos_token_id",
        c->eos_token_id, "hidden_act", "silu", "hidden_size", c->hidden_size, "initializer_range",
        c->initializer_range, "intermediate_size", c->intermediate_size, "max_position_embeddings",
        c->max_sequence_length, "num_attention_heads", c->num_attention_heads, "num_hidden_layers",
        c->num_hidden_layers, "pretraining_tp", 1, "rms_norm_eps", c->rms_norm_eps, "rope_theta",
        c->rope_theta, "tie_word_embeddings", c->tie_word_embeddings, "torch_dtype",
        torch_dtype(dtype), "vocab_size", c->vocab_size);
}

static json_t *of_ttt(const struct config *c)
{
    bool base = mixer_is_base(c->seq_modeling_block);
    return json_pack("{s:i, s:i, s:b, s:i, s:b, s:f, s:s, s:b, s:b}", "conv_kernel", c->conv_width,
                     "mini_batch_size", c->mini_batch_size, "pre_conv", c->pre_conv,
                     "scan_checkpoint_group_size", 0, "share_qk", !base, "ttt_base_lr",
                     c->ttt_base_lr, "ttt_layer_type",
                     mixer_is_mlp(c->seq_modeling_block) ? "mlp" : "linear", "use_cache", false,
                     "use_gate", !base);
}

static json_t *of_llama(const struct config *c)
{
    return json_pack("{s:b, s:f, s:b, s:i, s:n, s:b}", "attention_bias", false, "attention_dropout",
                     0.0, "mlp_bias", false, "num_key_value_heads", c->num_attention_heads,
                     "rope_scaling", "use_cache", true);
}

char *hf_config_text(const struct config *c, enum tensor_dtype dtype)
{
    bool is_ttt = mixer_is_ttt(c->seq_modeling_block);
    json_t *all =
        common(c, is_ttt ? "TTTForCausalLM" : "LlamaForCausalLM", is_ttt ? "ttt" : "llama", dtype);
    json_t *own = is_ttt ? of_ttt(c) : of_llama(c);
    char *text = NULL;
    if (all && own && !json_object_update(all, own)) {
        /* 15 digits are what people wrote; where they are not enough, 17 restore any number. */
        size_t flags = JSON_INDENT(2) | JSON_SORT_KEYS;
        text = json_dumps(all, flags | JSON_REAL_PRECISION(15));
        json_t *again = text ? json_loads(text, 0, NULL) : NULL;
        if (text && !json_equal(all, again)) {
            free(text);
            text = json_dumps(all, flags | JSON_REAL_PRECISION(17));
        }
        json_decref(again);
    }
    json_decref(all);
    json_decref(own);
    if (!text)
        (void)fail("out of memory: a model's configuration");
    return text;
}
