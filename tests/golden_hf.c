/* golden_hf.c -- Hugging Face models: bytes both ways, settings, logits, greedy text. */
#include "check.h"
#include "decode.h"
#include "device.h"
#include "floats.h"
#include "hf.h"
#include "hf_config.h"
#include "hf_map.h"
#include "scratch.h"
#include "sha256.h"
#include "tensors.h"

#include <math.h>
#include <stdlib.h>

enum { PROMPT = 10, PATH_BYTES = 1024 };

/* What the goldens' README allows: the references' own spread. */
static const double NEAR_TTT = 2e-5, NEAR_ATTENTION = 4e-5;

/* One case: its folder, what was read of it, and what it has to give. */
struct golden {
    char dir[PATH_BYTES];
    struct config config;
    struct params params;
    struct tensors values;
    double near;
    double worst; /* difference met */
};

static const char *in(const struct golden *g, const char *name)
{
    static char path[PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", g->dir, name);
    return path;
}

/* The values of a tensor that the case has to hold. */
static const void *value(const struct golden *g, const char *name)
{
    const struct tensor *t = tensors_find(&g->values, name);
    if (!t) {
        fprintf(stderr, "%s: no %s\n", g->dir, name);
        exit(1);
    }
    return t->data;
}

static void compare(struct golden *g, const float *got, const float *want, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double apart = fabs((double)got[i] - want[i]);
        if (!(apart <= g->near)) {
            fprintf(stderr, "%s: logit %zu: %g, expected %g\n", g->dir, i, (double)got[i],
                    (double)want[i]);
            CHECK(apart <= g->near);
            return;
        }
        g->worst = apart > g->worst ? apart : g->worst;
    }
}

/* ---- bytes -------------------------------------------------------------------------------- */

/* Every parameter is the one of the JAX side. */
static void check_parameters(struct golden *g)
{
    json_t *root = json_load_file(in(g, "case.json"), 0, NULL);
    const json_t *all = json_object_get(root, "flax_tensors");
    CHECK(json_object_size(all) == (size_t)g->params.count);
    for (int i = 0; i < g->params.count; i++) {
        const struct param *q = &g->params.list[i];
        const char *want =
            json_string_value(json_object_get(json_object_get(all, q->name), "sha256"));
        char got[65];
        sha256(got, param_master(&g->params, i), q->count * sizeof(float));
        if (!want || strcmp(got, want))
            fprintf(stderr, "%s: %s: not the bytes of the reference\n", g->dir, q->name);
        CHECK(want && !strcmp(got, want));
    }
    json_decref(root);
}

static bool same_bytes(const char *a, const char *b)
{
    struct map x, y;
    if (map_open(&x, a) || map_open(&y, b))
        return false;
    bool same = x.bytes == y.bytes && !memcmp(x.data, y.data, x.bytes);
    map_close(&x);
    map_close(&y);
    return same;
}

/* Our config.json says all that theirs says, but who wrote it; true may be left out by `ttt`. */
static void check_config(const struct golden *g, const char *ours_path)
{
    json_t *ours = json_load_file(ours_path, 0, NULL);
    json_t *theirs = json_load_file(in(g, "config.json"), 0, NULL);
    json_object_del(theirs, "transformers_version");
    if (!json_object_get(theirs, "tie_word_embeddings"))
        json_object_set_new(theirs, "tie_word_embeddings", json_true());
    CHECK(theirs && json_equal(ours, theirs));
    json_decref(ours);
    json_decref(theirs);
}

static void check_saved(struct golden *g, enum tensor_dtype dtype, int64_t max_bytes)
{
    const char *dir = scratch("saved");
    char path[PATH_BYTES];
    struct hf_sum wrote, got, none;
    struct config c;
    struct params p = {0};
    CHECK(hf_save(&g->config, &g->params, dir, dtype, max_bytes, &wrote) == 0);
    snprintf(path, sizeof path, "%s/config.json", dir);
    if (dtype == TENSOR_F32)
        check_config(g, path);
    if (dtype == TENSOR_F32 && wrote.files == 1) {
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        CHECK(same_bytes(path, in(g, "model.safetensors")));
    }
    CHECK(hf_save(&g->config, &g->params, dir, dtype, max_bytes, &none) == -1);
    CHECK(strstr(why(), "is there already"));
    CHECK(hf_load(&c, &p, dir, &got) == 0);
    CHECK(got.files == wrote.files && got.tensors == wrote.tensors && got.bytes == wrote.bytes);
    CHECK((max_bytes < 1000000) == (got.files > 1));
    CHECK(got.widest == dtype);
    CHECK(p.total == g->params.total);
    for (int i = 0; i < p.count; i++) {
        float *want = malloc(p.list[i].count * sizeof *want);
        floats_narrow(want, param_master(&g->params, i), p.list[i].count, dtype);
        uint8_t *narrow = malloc(p.list[i].count * sizeof *want);
        memcpy(narrow, want, p.list[i].count * tensor_element_bytes(dtype));
        floats_widen(want, narrow, p.list[i].count, dtype);
        CHECK(!memcmp(want, param_master(&p, i), p.list[i].count * sizeof *want));
        free(narrow);
        free(want);
    }
    params_close(&p);
    nftw(dir, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- what the model says ------------------------------------------------------------------ */

/* Logits of `rows` rows of `length` tokens by the forward. */
static float *forward(struct golden *g, const int32_t *ids, int rows, int length)
{
    int seq = (length + 15) / 16 * 16, vocab = g->config.vocab_size;
    struct model m = {0};
    struct score score = {0};
    int32_t *padded = calloc((size_t)(rows * seq), sizeof *padded);
    float *mask = calloc((size_t)(rows * seq), sizeof *mask);
    float *all = malloc((size_t)rows * seq * vocab * sizeof *all);
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < length; t++) {
            padded[r * seq + t] = ids[r * length + t];
            mask[r * seq + t] = 1;
        }
    struct tokens tokens = {padded, padded, mask};
    CHECK(model_open(&m, &g->config, &g->params, rows, seq, false) == 0);
    CHECK(model_score(&m, &tokens, 1, &score) == 0);
    model_logits(&m, all, 0, rows * seq);
    model_close(&m);
    free(padded);
    free(mask);
    return all;
}

/* The mean over all targets, from logits, in double. */
static double loss_of(const float *logits, const int32_t *ids, int rows, int length, int vocab)
{
    double sum = 0;
    for (int r = 0; r < rows; r++)
        for (int t = 0; t + 1 < length; t++) {
            const float *row = logits + ((size_t)r * length + t) * vocab;
            double total = 0;
            for (int v = 0; v < vocab; v++)
                total += exp((double)row[v]);
            sum += log(total) - row[ids[r * length + t + 1]];
        }
    return sum / (rows * (length - 1));
}

static void check_forward(struct golden *g)
{
    int vocab = g->config.vocab_size;
    const int32_t *ids = value(g, "ids"), *ids45 = value(g, "ids45");
    float *logits = forward(g, ids, 2, 64);
    compare(g, logits, value(g, "logits"), (size_t)2 * 64 * vocab);
    size_t jax = tensors_find(&g->values, "jax_logits")->count;
    compare(g, logits, value(g, "jax_logits"), jax);
    CHECK(fabs(loss_of(logits, ids, 2, 64, vocab) - *(const float *)value(g, "loss")) <= 1e-5);
    free(logits);
    float *odd = forward(g, ids45, 1, 45);
    compare(g, odd, value(g, "logits45"), (size_t)45 * vocab);
    CHECK(fabs(loss_of(odd, ids45, 1, 45, vocab) - *(const float *)value(g, "loss45")) <= 1e-5);
    free(odd);
}

static int largest(const float *x, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

static void check_greedy(struct golden *g)
{
    const int32_t *want = value(g, "gen_ids");
    const float *wanted = value(g, "gen_logits");
    int vocab = g->config.vocab_size, length = (int)tensors_find(&g->values, "gen_ids")->count;
    float *logits = malloc((size_t)vocab * sizeof *logits);
    struct decode d = {0};
    CHECK(decode_open(&d, &g->config, &g->params, 1, length) == 0);
    int32_t id = want[0];
    for (int t = 0; t + 1 < length; t++) {
        CHECK(decode_step(&d, &id, logits) == 0);
        id = want[t + 1];
        if (t + 1 < PROMPT)
            continue;
        compare(g, logits, wanted + (size_t)(t + 1 - PROMPT) * vocab, (size_t)vocab);
        CHECK(largest(logits, vocab) == want[t + 1]);
    }
    decode_close(&d);
    free(logits);
}

/* Both rows side by side, at every position. */
static void check_decode(struct golden *g)
{
    const int32_t *ids = value(g, "ids");
    const float *want = value(g, "logits");
    int vocab = g->config.vocab_size;
    float *logits = malloc((size_t)2 * vocab * sizeof *logits);
    struct decode d = {0};
    CHECK(decode_open(&d, &g->config, &g->params, 2, 64) == 0);
    for (int t = 0; t < 64; t++) {
        int32_t now[] = {ids[t], ids[64 + t]};
        CHECK(decode_step(&d, now, logits) == 0);
        for (int r = 0; r < 2; r++)
            compare(g, logits + r * vocab, want + (size_t)(r * 64 + t) * vocab, (size_t)vocab);
    }
    decode_close(&d);
    free(logits);
}

/* ---- cases -------------------------------------------------------------------------------- */

static void test_case(const char *root, const char *name)
{
    struct golden g = {0};
    struct hf_sum sum;
    char label[64], note[64];
    snprintf(g.dir, sizeof g.dir, "%s/%s", root, name);
    snprintf(label, sizeof label, "%s: bytes and settings", name);
    case_begin(label);
    if (hf_load(&g.config, &g.params, g.dir, &sum) ||
        tensors_open(&g.values, in(&g, "golden.safetensors"))) {
        fprintf(stderr, "%s\n", why());
        CHECK(!"read");
        case_end("");
        return;
    }
    g.near = mixer_is_ttt(g.config.seq_modeling_block) ? NEAR_TTT : NEAR_ATTENTION;
    CHECK(sum.files == 1 && sum.widest == TENSOR_F32 && sum.tensors == g.params.count);
    check_parameters(&g);
    check_saved(&g, TENSOR_F32, 1 << 30);
    check_saved(&g, TENSOR_F32, 30000);
    check_saved(&g, TENSOR_BF16, 1 << 30);
    check_saved(&g, TENSOR_F16, 10000);
    case_end("");

    snprintf(label, sizeof label, "%s: logits, greedy text, decoding", name);
    case_begin(label);
    check_forward(&g);
    check_greedy(&g);
    check_decode(&g);
    snprintf(note, sizeof note, "largest difference of logits %.1e", g.worst);
    tensors_close(&g.values);
    params_close(&g.params);
    case_end(note);
}

/* Models that only PyTorch has. */
static void test_refused(const char *root, const char *name)
{
    char path[PATH_BYTES];
    struct config c;
    snprintf(path, sizeof path, "%s/%s/config.json", root, name);
    case_begin(name);
    CHECK(hf_config_read(&c, path) == -1);
    CHECK(strstr(why(), "share_qk"));
    case_end("is refused");
}

/* What only the reference has. */
static void test_no_form(void)
{
    struct config c;
    struct params p = {0};
    struct hf_map m;
    case_begin("attention behind a convolution");
    CHECK(config_load(&c, "125m-TTT") == 0);
    CHECK(config_update(&c, "dict(seq_modeling_block='self_attention')") == 0);
    CHECK(params_list(&p, &c) == 0);
    CHECK(hf_map_open(&m, &p, &c) == -1);
    CHECK(strstr(why(), "model/h/0/conv/conv_norm/kernel"));
    params_close(&p);
    case_end("has no form there");
}

/* Every 16-bit pattern there and back, and every way of rounding. */
static void test_floats(void)
{
    case_begin("16-bit floats");
    for (int kind = 0; kind < 2; kind++) {
        enum tensor_dtype dtype = kind ? TENSOR_F16 : TENSOR_BF16;
        for (uint32_t i = 0; i < 1 << 16; i++) {
            uint16_t half = (uint16_t)i, back;
            float wide;
            floats_widen(&wide, &half, 1, dtype);
            CHECK(floats_narrow(&back, &wide, 1, dtype) == 2);
            CHECK(isnan(wide) ? (back & 0x7FFF) > (kind ? 0x7C00 : 0x7F80) : back == half);
            /* Half way to the next goes to the even one, a little more or less to the nearer. */
            uint16_t next = (uint16_t)(half + 1);
            float above;
            floats_widen(&above, &next, 1, dtype);
            if (!isfinite(wide) || !isfinite(above) || half == 0x7FFF)
                continue;
            float middle = wide + (above - wide) / 2;
            floats_narrow(&back, &middle, 1, dtype);
            CHECK(back == (half & 1 ? next : half));
            middle = nextafterf(wide + (above - wide) / 2, wide);
            floats_narrow(&back, &middle, 1, dtype);
            CHECK(back == half);
            middle = nextafterf(wide + (above - wide) / 2, above);
            floats_narrow(&back, &middle, 1, dtype);
            CHECK(back == next);
        }
    }
    float large = 65519.996f, beyond = 65520;
    uint16_t half;
    floats_narrow(&half, &large, 1, TENSOR_F16);
    CHECK(half == 0x7BFF);
    floats_narrow(&half, &beyond, 1, TENSOR_F16);
    CHECK(half == 0x7C00);
    case_end("");
}

int main(void)
{
    static const char *const full[] = {
        "linear",        "mlp",         "linear_base_untied", "mlp_base", "linear_base_conv",
        "linear_noconv", "linear_hd64", "mlp_hd64",           "llama",    "llama_untied_hd64"};
    const char *shared = getenv("TTT_SHARED"), *closed = device_open(0);
    char root[PATH_BYTES];
    if (closed) {
        fprintf(stderr, "golden_hf: %s\n", closed);
        return 1;
    }
    scratch_make();
    test_floats();
    test_no_form();
    test_case("tests/golden/hf", "linear_noconv");
    test_case("tests/golden/hf", "llama_untied_hd64");
    test_refused("tests/golden/hf", "mlp_gate_noshare");
    if (shared && *shared) {
        snprintf(root, sizeof root, "%s/golden/hf", shared);
        for (size_t i = 0; i < sizeof full / sizeof *full; i++)
            test_case(root, full[i]);
        test_refused(root, "linear_share_nogate");
    } else {
        case_skip("all cases", "no ../shared/golden, and TTT_SHARED names no other place");
    }
    device_close();
    return check_finish();
}
