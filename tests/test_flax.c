/* test_flax.c -- checkpoints of the reference: read, written back, cut, flipped, forged. */
#include "check.h"
#include "flax.h"
#include "harm.h"
#include "infer.h"
#include "reference.h"
#include "report.h"
#include "scratch.h"

#include <inttypes.h>

#define GOLDEN "tests/golden/reference/"

static const char ADAMW[] = GOLDEN "linear_adamw.streaming_train_state";
static const char MULTI[] = GOLDEN "mlp_base_multisteps.streaming_train_state";
static const char ADAFACTOR[] = GOLDEN "linear_base_adafactor.streaming_train_state";
static const char PARAMS[] = GOLDEN "attention.streaming_params_7";

/* A checkpoint read to its end. */
struct loaded {
    struct reference kind;
    struct config config;
    struct params params;
};

static int infer(struct config *c, const struct reference *r, const struct flax *f,
                 const char *update)
{
    int count;
    struct config_flags flags = {"125m-TTT", update};
    struct infer_hints hints = {&flags, false};
    struct tensor *list = reference_params(r, f, &count);
    int status = list ? infer_model(c, &hints, list, count, f->path) : -1;
    reference_free(list, count);
    return status;
}

static int load(struct loaded *l, const char *path, const char *update)
{
    struct flax f;
    *l = (struct loaded){.kind = {0}};
    if (flax_open(&f, path))
        return -1;
    int status = reference_inspect(&l->kind, &f) || infer(&l->config, &l->kind, &f, update) ||
                         params_list(&l->params, &l->config) ||
                         reference_load(&l->kind, &l->params, &f)
                     ? -1
                     : 0;
    flax_close(&f);
    if (status)
        params_close(&l->params);
    return status;
}

/* ---- good files ------------------------------------------------------------------------------ */

static void test_round_trip(const char *name, const char *path, const char *update,
                            enum tensor_dtype dtype)
{
    struct loaded l;
    size_t bytes, back_bytes;
    case_begin(name);
    CHECK(!load(&l, path, update));
    CHECK(!reference_save(&l.kind, &l.params, scratch("back"), dtype));
    char *data = slurp(path, &bytes), *back = slurp(scratch("back"), &back_bytes);
    CHECK(bytes == back_bytes && !memcmp(data, back, bytes));
    free(data);
    free(back);
    params_close(&l.params);
    case_end("");
}

static void test_what_is_told(void)
{
    struct loaded l;
    case_begin("model-and-optimiser-inferred");
    CHECK(!load(&l, ADAMW, ""));
    CHECK(l.kind.step == 5 && l.kind.optim == REFERENCE_ADAMW && l.kind.accumulate == 1);
    CHECK(l.config.seq_modeling_block == MIXER_TTT_LINEAR && l.config.pre_conv);
    CHECK(l.config.vocab_size == 11 && l.config.hidden_size == 16 && l.config.tie_word_embeddings);
    CHECK(l.config.intermediate_size == 8 && l.config.mini_batch_size == 4);
    CHECK(l.config.ttt_base_lr == 1 && l.params.total == 2245 && !l.params.mean);
    params_close(&l.params);
    CHECK(!load(&l, MULTI, "dict(ttt_base_lr=0.1)"));
    CHECK(l.kind.step == 7 && l.kind.accumulate == 3 && l.params.mean);
    CHECK(l.config.seq_modeling_block == MIXER_TTT_MLP_BASE && !l.config.pre_conv);
    CHECK(l.config.ttt_base_lr == 0.1);
    params_close(&l.params);
    CHECK(!load(&l, ADAFACTOR, ""));
    CHECK(l.kind.optim == REFERENCE_ADAFACTOR && l.config.num_attention_heads == 2);
    CHECK(l.config.mini_batch_size == 1);
    params_close(&l.params);
    CHECK(!load(&l, PARAMS, "dict(num_attention_heads=1)"));
    CHECK(l.kind.optim == REFERENCE_PARAMS_ONLY && !l.kind.has_step && !l.params.m);
    CHECK(l.config.num_hidden_layers == 11 && !l.config.tie_word_embeddings);
    params_close(&l.params);
    case_end("");
}

static void test_hints(void)
{
    struct loaded l;
    case_begin("flags-that-say-otherwise");
    CHECK(load(&l, PARAMS, "") && strstr(why(), "num_attention_heads=N"));
    CHECK(load(&l, PARAMS, "dict(num_attention_heads=3)") && strstr(why(), "does not divide"));
    CHECK(load(&l, ADAMW, "dict(num_hidden_layers=2)") && strstr(why(), "num_hidden_layers is 1"));
    CHECK(load(&l, ADAMW, "dict(num_attention_heads=2)") && strstr(why(), "num_attention_heads"));
    CHECK(load(&l, ADAMW, "dict(mini_batch_size=16)") && strstr(why(), "mini_batch_size is 4"));
    CHECK(load(&l, ADAMW, "dict(seq_modeling_block='ttt_mlp')") && strstr(why(), "ttt_linear"));
    CHECK(load(&l, ADAMW, "dict(pre_conv=False)") && strstr(why(), "pre_conv"));
    case_end("");
}

/* ---- harm ------------------------------------------------------------------------------------ */

static int judge_load(const char *path)
{
    struct loaded l;
    int status = load(&l, path, "");
    if (!status)
        params_close(&l.params);
    return status;
}

/* Whether the byte lies in an array's floats, any of which may be meant. */
static bool is_float_of(const struct flax *f, size_t at)
{
    for (int i = 0; i < f->count; i++) {
        size_t begin = (size_t)((const uint8_t *)f->list[i].data - f->map.data);
        if (at >= begin && at < begin + f->list[i].bytes)
            return f->list[i].dtype != TENSOR_I32;
    }
    return false;
}

static void test_cut(void)
{
    enum { STRIDE = 5 };
    size_t bytes;
    int missed = 0;
    case_begin("cut-anywhere");
    char *good = slurp(ADAMW, &bytes);
    const char *path = scratch("cut");
    scratch_write(path, good, bytes);
    for (size_t n = bytes; n-- > 0;) {
        if (n % STRIDE && n > 500)
            continue;
        if (truncate(path, (off_t)n))
            perror(path);
        missed += !refused(judge_load, path, "cut", n);
    }
    CHECK(!missed);
    free(good);
    case_end("");
}

static void test_flips(void)
{
    size_t bytes, structural = 0;
    struct flax f;
    int missed = 0;
    case_begin("bits-flipped-in-all-but-floats"); /* every one of them at first, then one a byte */
    char *good = slurp(ADAMW, &bytes);
    if (flax_open(&f, ADAMW))
        die("%s", why());
    const char *path = scratch("flip");
    scratch_write(path, good, bytes);
    int fd = open(path, O_WRONLY);
    for (size_t at = 0; at < bytes; at++) {
        if (is_float_of(&f, at))
            continue;
        for (int bit = 0; bit < 8; bit++) {
            if (at > 1500 && bit != (int)(at % 8))
                continue;
            structural++;
            char c = (char)(good[at] ^ 1 << bit);
            missed += pwrite(fd, &c, 1, (off_t)at) != 1 || !refused(judge_load, path, "flip", at);
            missed += pwrite(fd, good + at, 1, (off_t)at) != 1;
        }
    }
    close(fd);
    CHECK(structural > 5000 && !missed);
    CHECK(!judge_load(path));
    flax_close(&f);
    free(good);
    char note[32];
    snprintf(note, sizeof note, "%zu bits", structural);
    case_end(note);
}

/* ---- forged files ---------------------------------------------------------------------------- */

static bool forged(const char *bytes, size_t count, const char *words)
{
    struct flax f;
    scratch_write(scratch("forged"), bytes, count);
    if (!flax_open(&f, scratch("forged"))) {
        flax_close(&f);
        return false;
    }
    if (strstr(why(), words))
        return true;
    fprintf(stderr, "\"%s\", not \"%s\"\n", why(), words);
    return false;
}

#define FORGED(text, words) CHECK(forged(text, sizeof text - 1, words))

static void test_forged(void)
{
    case_begin("lengths-that-lie");
    FORGED("", "empty");
    FORGED("\x93\x91\xa1x\xc4\x00", "a pair");
    FORGED("\xdd\xff\xff\xff\xff", "a pair");
    FORGED("\x92\xdd\xff\xff\xff\xff", "the key of an array");
    FORGED("\x92\xdf\xff\xff\xff\xff", "the key of an array");
    FORGED("\x92\x90\xc4\x00", "not empty");
    FORGED("\x92\x91\xdb\xff\xff\xff\xff", "a text of a key");
    FORGED("\x92\x91\xa1\n\xc4\x00", "control characters");
    FORGED("\x92\x91\xa1x\xc6\xff\xff\xff\xff", "an array's bytes");
    FORGED("\x92\x91\xa1x\xc4\x01\x83", "in chunks");
    FORGED("\x92\x91\xa1x\xc4\x05\xc9\xff\xff\xff\xff", "as flax writes it");
    FORGED("\x92\x91\xa1x\xc4\x07\xc9\xff\xff\xff\xff\x01\x93", "as flax writes it");
    FORGED("\x92\x91\xa1x\xc4\x03\xd4\x02\x93", "as flax writes it");
    FORGED("\x92\x91\xa1x\xc4\x03\xd4\x01\x93", "the shape of an array");
    FORGED("\x92\x91\xa1x\xc4\x03\xd4\x01\x92", "three parts");
    /* [2^63, 2] and more floats than bytes. */
    FORGED("\x92\x91\xa1x\xc4\x1a\xc7\x17\x01\x93\x92\xcf\x80\0\0\0\0\0\0\0\x02\xa7"
           "float32\xc4\x01z",
           "memory can hold");
    FORGED("\x92\x91\xa1x\xc4\x12\xc7\x0f\x01\x93\x91\x02\xa7"
           "float32\xc4\x01z!",
           "as many elements");
    FORGED("\x92\x91\xa1x\xc4\x12\xc7\x0f\x01\x93\x91\x02\xa7"
           "float64\xc4\x01z!",
           "float32, bfloat16 or int32");
    case_end("");
}

/* Copy ADAMW to path without tensor `lost`, with one called `extra`, and tensor `twice` twice. */
static void copy_changed(const char *path, int lost, const char *extra, int twice)
{
    struct flax f;
    struct flax_writer w;
    if (flax_open(&f, ADAMW) || flax_create(&w, path))
        die("%s", why());
    for (int i = 0; i < f.count; i++) {
        for (int times = (i != lost) + (i == twice); times > 0; times--)
            if (flax_begin(&w, &f.list[i]) || flax_put(&w, f.list[i].data, f.list[i].bytes))
                die("%s", why());
    }
    if (extra) {
        struct tensor t = {.name = extra, .dtype = TENSOR_F32, .dims = 1, .shape = {1}};
        if (flax_begin(&w, &t) || flax_put(&w, "abcd", 4))
            die("%s", why());
    }
    if (flax_commit(&w))
        die("%s", why());
    flax_close(&f);
}

static void test_other_tensors(void)
{
    struct loaded l;
    case_begin("tensors-missing-too-many-twice");
    copy_changed(scratch("other"), -1, NULL, -1);
    CHECK(!judge_load(scratch("other")));
    copy_changed(scratch("other"), 3, "params\nparams\nmodel\nh\n0\nnovel", -1);
    CHECK(load(&l, scratch("other"), "") &&
          strstr(why(), "1 tensors missing (params/params/model"));
    CHECK(strstr(why(), "1 too many (params/params/model/h/0/novel)"));
    copy_changed(scratch("other"), 0, NULL, -1);
    CHECK(load(&l, scratch("other"), "") && strstr(why(), "without a step"));
    copy_changed(scratch("other"), -1, NULL, 4);
    CHECK(load(&l, scratch("other"), "") && strstr(why(), "second array of the same name"));
    copy_changed(scratch("other"), -1, "opt_state\n1\n0\nmu\nparams\nmodel\nh\n77777\nnovel", -1);
    CHECK(load(&l, scratch("other"), "") && strstr(why(), "h/77777/novel"));
    copy_changed(scratch("other"), -1, "params\nparams\nmodel\nh\n77777\nnovel", -1);
    CHECK(load(&l, scratch("other"), "") && strstr(why(), "layers up to 77778"));
    case_end("");
}

static void test_writer_limits(void)
{
    struct flax_writer w;
    char name[2000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    case_begin("writer-limits");
    if (flax_create(&w, scratch("limits")))
        die("%s", why());
    struct tensor large = {.name = "x", .dtype = TENSOR_F32, .dims = 2, .shape = {1 << 20, 257}};
    CHECK(flax_begin(&w, &large) && strstr(why(), "above 1 GiB"));
    struct tensor beyond = {.name = "x", .dims = 2, .shape = {INT64_MAX, INT64_MAX}};
    beyond.dtype = TENSOR_F32;
    CHECK(flax_begin(&w, &beyond) && strstr(why(), "above 1 GiB"));
    struct tensor longer = {.name = name, .dtype = TENSOR_F32};
    CHECK(flax_begin(&w, &longer) && strstr(why(), "too long"));
    flax_abandon(&w);
    CHECK(access(scratch("limits"), F_OK));
    case_end("");
}

int main(void)
{
    quiet = true;
    scratch_make();
    test_round_trip("there-and-back-adamw", ADAMW, "", TENSOR_F32);
    test_round_trip("there-and-back-multisteps", MULTI, "", TENSOR_F32);
    test_round_trip("there-and-back-adafactor-bf16", ADAFACTOR, "", TENSOR_BF16);
    test_round_trip("there-and-back-params-bf16", PARAMS, "dict(num_attention_heads=1)",
                    TENSOR_BF16);
    test_what_is_told();
    test_hints();
    test_cut();
    test_flips();
    test_forged();
    test_other_tensors();
    test_writer_limits();
    return check_finish();
}
