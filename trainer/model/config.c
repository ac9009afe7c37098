/* config.c -- what a model is: its sizes and settings, under the reference's own keys. */
#include "config.h"
#include "device.h"
#include "kernels.h"
#include "pydict.h"
#include "report.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* ---- the keys ----------------------------------------------------------------------------- */

enum kind { INT, NUMBER, ON, TEXT, MIXER };

struct key {
    const char *name;
    enum kind kind;
    size_t offset;
};

/* clang-format off */
#define KEY(kind, member) {#member, kind, offsetof(struct config, member)}
/* clang-format on */

static const struct key keys[] = {
    KEY(INT, vocab_size),
    KEY(INT, hidden_size),
    KEY(INT, intermediate_size),
    KEY(INT, num_hidden_layers),
    KEY(INT, num_attention_heads),
    KEY(INT, max_sequence_length),
    KEY(NUMBER, initializer_range),
    KEY(NUMBER, rms_norm_eps),
    KEY(NUMBER, rope_theta),
    KEY(ON, tie_word_embeddings),
    KEY(MIXER, seq_modeling_block),
    KEY(ON, pre_conv),
    KEY(INT, conv_width),
    KEY(INT, mini_batch_size),
    KEY(NUMBER, ttt_base_lr),
    KEY(NUMBER, ttt_base_lr_init),
    KEY(INT, ttt_base_lr_warmup),
    KEY(INT, remat_mini_batch_group_size),
    KEY(ON, use_cache),
    KEY(ON, scan_attention),
    KEY(ON, scan_mlp),
    KEY(INT, bos_token_id),
    KEY(INT, eos_token_id),
    KEY(NUMBER, resid_pdrop),
    KEY(NUMBER, embd_pdrop),
    KEY(NUMBER, attn_pdrop),
    KEY(NUMBER, fcm_min_ratio),
    KEY(NUMBER, fcm_max_ratio),
    KEY(TEXT, remat_block),
    KEY(TEXT, remat_attention),
    KEY(TEXT, remat_mlp),
    KEY(TEXT, remat_conv),
    KEY(INT, scan_query_chunk_size),
    KEY(INT, scan_key_chunk_size),
    KEY(INT, scan_mlp_chunk_size),
    KEY(TEXT, use_rotary_emb),
    KEY(TEXT, attn_implementation),
};
enum { KEYS = sizeof keys / sizeof *keys, TEXT_BYTES = sizeof((struct config *)0)->remat_block };

/* What a configuration file of the transformers library says besides; it changes no model. */
static const char *const foreign[] = {"architectures",        "auto_map",    "model_type",
                                      "transformers_version", "torch_dtype", "pad_token_id",
                                      "_name_or_path"};

static const char *const mixer_names[MIXERS] = {"self_attention", "ttt_linear", "ttt_mlp",
                                                "ttt_linear_base", "ttt_mlp_base"};

const char *mixer_name(enum mixer m)
{
    return mixer_names[m];
}

/* ---- JSON --------------------------------------------------------------------------------- */

static int wrong_type(const char *origin, const char *name, const char *expected)
{
    return fail("%s: %s: expected %s", origin, name, expected);
}

static int set_mixer(enum mixer *to, const json_t *value, const char *origin, const char *name)
{
    const char *text = json_string_value(value);
    for (int m = 0; text && m < MIXERS; m++) {
        if (!strcmp(text, mixer_names[m])) {
            *to = (enum mixer)m;
            return 0;
        }
    }
    const char *near = text ? nearest(text, mixer_names, MIXERS) : NULL;
    if (near)
        return fail("%s: %s: '%s' is not known; did you mean '%s'?", origin, name, text, near);
    return wrong_type(origin, name,
                      "self_attention, ttt_linear, ttt_mlp, ttt_linear_base or ttt_mlp_base");
}

static int set_key(struct config *c, const struct key *k, const json_t *value, const char *origin)
{
    char *to = (char *)c + k->offset;
    switch (k->kind) {
    case INT:
        if (!json_is_integer(value) || json_integer_value(value) < INT_MIN ||
            json_integer_value(value) > INT_MAX)
            return wrong_type(origin, k->name, "a whole number");
        *(int *)to = (int)json_integer_value(value);
        return 0;
    case NUMBER:
        if (!json_is_number(value) || !isfinite(json_number_value(value)))
            return wrong_type(origin, k->name, "a number");
        *(double *)to = json_number_value(value);
        return 0;
    case ON:
        if (!json_is_boolean(value))
            return wrong_type(origin, k->name, "True or False");
        *(bool *)to = json_is_true(value);
        return 0;
    case TEXT:
        if (!json_is_string(value) || json_string_length(value) >= TEXT_BYTES)
            return wrong_type(origin, k->name, "a string of at most 31 bytes");
        strcpy(to, json_string_value(value));
        return 0;
    case MIXER:
        return set_mixer((enum mixer *)to, value, origin, k->name);
    }
    return 0;
}

static int unknown(const char *name, const char *origin)
{
    const char *names[KEYS];
    for (int i = 0; i < KEYS; i++)
        names[i] = keys[i].name;
    const char *near = nearest(name, names, KEYS);
    if (near)
        return fail("%s: no such key: %s; did you mean %s?", origin, name, near);
    return fail("%s: no such key: %s", origin, name);
}

static bool is_foreign(const char *name)
{
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (!strcmp(name, foreign[i]))
            return true;
    return false;
}

int config_from_json(struct config *c, const json_t *object, const char *origin)
{
    if (!json_is_object(object))
        return fail("%s: expected an object of model settings", origin);
    struct config changed = *c;
    const char *name;
    const json_t *value;
    for (void *i = json_object_iter((json_t *)object); i;
         i = json_object_iter_next((json_t *)object, i)) {
        name = json_object_iter_key(i);
        value = json_object_iter_value(i);
        int k = 0;
        while (k < KEYS && strcmp(name, keys[k].name))
            k++;
        if (k == KEYS && !is_foreign(name))
            return unknown(name, origin);
        if (k < KEYS && !json_is_null(value) && set_key(&changed, &keys[k], value, origin))
            return -1;
    }
    *c = changed;
    return 0;
}

json_t *config_to_json(const struct config *c)
{
    json_t *object = json_object();
    for (int k = 0; object && k < KEYS; k++) {
        const char *from = (const char *)c + keys[k].offset;
        json_t *value = NULL;
        switch (keys[k].kind) {
        case INT:
            value = json_integer(*(const int *)from);
            break;
        case NUMBER:
            value = json_real(*(const double *)from);
            break;
        case ON:
            value = json_boolean(*(const bool *)from);
            break;
        case TEXT:
            value = json_string(from);
            break;
        case MIXER:
            value = json_string(mixer_name(*(const enum mixer *)from));
            break;
        }
        if (json_object_set_new(object, keys[k].name, value)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* ---- by name ------------------------------------------------------------------------------ */

/* What the reference's model has when a key is not given. */
static const struct config defaults = {
    .vocab_size = 32000,
    .hidden_size = 4096,
    .intermediate_size = 11008,
    .num_hidden_layers = 32,
    .num_attention_heads = 32,
    .max_sequence_length = 2048,
    .initializer_range = 0.02,
    .rms_norm_eps = 1e-6,
    .rope_theta = 10000,
    .seq_modeling_block = MIXER_ATTENTION,
    .conv_width = 4,
    .mini_batch_size = 16,
    .ttt_base_lr = 1,
    .ttt_base_lr_init = -1,
    .ttt_base_lr_warmup = -1,
    .remat_mini_batch_group_size = 4,
    .use_cache = true,
    .bos_token_id = 1,
    .eos_token_id = 2,
    .scan_query_chunk_size = 1024,
    .scan_key_chunk_size = 1024,
    .scan_mlp_chunk_size = 1024,
};

static const struct size {
    const char *name;
    int layers, width, heads, intermediate;
} sizes[] = {
    {"125m", 12, 768, 12, 2048},
    {"350m", 24, 1024, 16, 2736},
    {"760m", 24, 1536, 16, 4096},
    {"1b", 24, 2048, 32, 5504},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

static int load_json(struct config *c, const char *path)
{
    json_error_t e;
    json_t *object = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (!object && e.line < 0)
        return fail("%s: %s", path, e.text);
    if (!object)
        return fail("%s, line %d: %s", path, e.line, e.text);
    int rc = config_from_json(c, object, path);
    json_decref(object);
    return rc;
}

int config_load(struct config *c, const char *name)
{
    *c = defaults;
    if (!strncmp(name, "json::", 6))
        return load_json(c, name + 6);
    for (int i = 0; i < SIZES; i++) {
        size_t n = strlen(sizes[i].name);
        if (strncmp(name, sizes[i].name, n) || (name[n] && strcmp(name + n, "-TTT")))
            continue;
        bool ttt = name[n];
        c->num_hidden_layers = sizes[i].layers;
        c->hidden_size = sizes[i].width;
        c->num_attention_heads = sizes[i].heads;
        c->intermediate_size = sizes[i].intermediate;
        c->tie_word_embeddings = true;
        c->seq_modeling_block = ttt ? MIXER_TTT_LINEAR : MIXER_ATTENTION;
        c->pre_conv = ttt;
        return 0;
    }
    return fail("no model is called '%s': expected 125m, 350m, 760m or 1b, each also with -TTT, "
                "or json::PATH",
                name);
}

int config_update(struct config *c, const char *dict)
{
    if (!*dict)
        return 0;
    json_t *object = pydict_parse(dict);
    int rc = object ? config_from_json(c, object, "update_model_config") : -1;
    json_decref(object);
    return rc;
}

int config_from_flags(struct config *c, const struct config_flags *f)
{
    if (config_load(c, f->load_model_config))
        return -1;
    return config_update(c, f->update_model_config);
}

/* ---- what goes together ------------------------------------------------------------------- */

static int check_int(const char *name, int value, int from, int to)
{
    if (value < from || value > to)
        return fail("%s is %d: expected %d to %d", name, value, from, to);
    return 0;
}

static int check_sizes(const struct config *c)
{
    if (check_int("vocab_size", c->vocab_size, 1, 1 << 24) ||
        check_int("hidden_size", c->hidden_size, 1, 1 << 16) ||
        check_int("intermediate_size", c->intermediate_size, 1, 1 << 18) ||
        check_int("num_hidden_layers", c->num_hidden_layers, 1, 1024) ||
        check_int("num_attention_heads", c->num_attention_heads, 1, 4096))
        return -1;
    if (c->hidden_size % c->num_attention_heads)
        return fail("num_attention_heads is %d, which does not divide hidden_size %d",
                    c->num_attention_heads, c->hidden_size);
    int f = config_head_dim(c);
    if (f != 16 && f != 32 && f != 64 && f != 96)
        return fail("hidden_size %d and %d heads make heads of %d: expected 16, 32, 64 or 96",
                    c->hidden_size, c->num_attention_heads, f);
    if (!(c->rms_norm_eps > 0) || !(c->rope_theta > 0) || !(c->initializer_range >= 0))
        return fail("rms_norm_eps and rope_theta must be positive, and initializer_range not "
                    "negative");
    return 0;
}

static int check_unwanted(const struct config *c)
{
    if (c->resid_pdrop != 0 || c->embd_pdrop != 0 || c->attn_pdrop != 0)
        return fail("resid_pdrop, embd_pdrop and attn_pdrop must be 0: this trainer has no "
                    "dropout");
    if (c->fcm_min_ratio != 0 || c->fcm_max_ratio != 0)
        return fail("fcm_min_ratio and fcm_max_ratio must be 0: this trainer does not mask keys");
    bool convolves = c->pre_conv ||
                     (mixer_is_ttt(c->seq_modeling_block) && !mixer_is_base(c->seq_modeling_block));
    if (convolves && c->conv_width != 4)
        return fail("conv_width is %d: this version convolves 4 tokens only", c->conv_width);
    return 0;
}

static int check_seq(const struct config *c, int seq)
{
    int k = c->mini_batch_size, most = ttt_mini_batch_most();
    if (k > most)
        return fail("mini_batch_size is %d: expected at most %d%s", k, most,
                    strcmp(device_kind(), "cpu") ? " on a GPU; --device=cpu takes more" : "");
    if (check_int("mini_batch_size", k, 1, most) ||
        check_int("remat_mini_batch_group_size", c->remat_mini_batch_group_size, 1, 1 << 20))
        return -1;
    if (seq % k == 0)
        return 0;
    if (seq < k)
        return fail("seq_length is %d, less than mini_batch_size %d: the nearest that fits is %d",
                    seq, k, k);
    return fail("seq_length is %d, which mini_batch_size %d does not divide: the nearest that fit "
                "are %d and %d",
                seq, k, seq / k * k, (seq / k + 1) * k);
}

int config_check(const struct config *c, int seq)
{
    if (check_sizes(c) || check_unwanted(c))
        return -1;
    if (seq < 0 || seq > 1 << 28)
        return fail("seq_length is %d: expected a positive number", seq);
    return mixer_is_ttt(c->seq_modeling_block) ? check_seq(c, seq) : 0;
}

bool config_recomputes_blocks(const struct config *c)
{
    return *c->remat_block && strcmp(c->remat_block, "everything_saveable");
}

void config_recompute_blocks(struct config *c, bool wanted)
{
    if (wanted != config_recomputes_blocks(c))
        snprintf(c->remat_block, sizeof c->remat_block, "%s", wanted ? "nothing_saveable" : "");
}

static void note_policy(const char *key, const char *policy)
{
    if (*policy)
        say("%s='%s': without effect, activations are kept", key, policy);
}

static void note_chunk(const char *key, int size, int usual)
{
    if (size != usual)
        say("%s=%d: without effect, it only trades memory", key, size);
}

void config_notes(const struct config *c)
{
    if (config_recomputes_blocks(c))
        say("remat_block='%s': of each block the input alone is kept, and the backward computes "
            "the "
            "rest again, unless --recompute_blocks says otherwise",
            c->remat_block);
    else
        note_policy("remat_block", c->remat_block);
    note_policy("remat_attention", c->remat_attention);
    note_policy("remat_mlp", c->remat_mlp);
    note_policy("remat_conv", c->remat_conv);
    if (c->scan_attention)
        say("scan_attention=True: without effect, attention always works in blocks");
    if (c->scan_mlp)
        say("scan_mlp=True: without effect, activations are kept");
    note_chunk("scan_query_chunk_size", c->scan_query_chunk_size, defaults.scan_query_chunk_size);
    note_chunk("scan_key_chunk_size", c->scan_key_chunk_size, defaults.scan_key_chunk_size);
    note_chunk("scan_mlp_chunk_size", c->scan_mlp_chunk_size, defaults.scan_mlp_chunk_size);
    if (mixer_is_ttt(c->seq_modeling_block) &&
        c->remat_mini_batch_group_size != defaults.remat_mini_batch_group_size)
        say("remat_mini_batch_group_size=%d: the inner state is kept before so many mini-batches, "
            "unless --recompute_every says otherwise",
            c->remat_mini_batch_group_size);
}

double config_train_flops(const struct config *c, int seq)
{
    double d = c->hidden_size, heads = c->num_attention_heads, f = config_head_dim(c);
    double k = c->mini_batch_size;
    double mixer;
    if (!mixer_is_ttt(c->seq_modeling_block))
        mixer = 2 * d * (seq + 1.0);
    else if (mixer_is_mlp(c->seq_modeling_block))
        mixer = heads * (56 * f * f + 20 * k * f) + 2 * heads * d;
    else
        mixer = heads * (6 * f * f + 4 * k * f) + 2 * heads * d;
    double block = 2 * (4 * d * d + 3 * d * c->intermediate_size) + mixer;
    /* The backward of a product is two products of its size. */
    return 3 * (c->num_hidden_layers * block + 2 * d * c->vocab_size);
}
