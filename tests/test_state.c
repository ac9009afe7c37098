/* test_state.c -- checkpoints: saved, read back, cut, flipped, of another model; metrics cut back.
 */
#include "check.h"
#include "device.h"
#include "metrics.h"
#include "report.h"
#include "rundir.h"
#include "scratch.h"
#include "state.h"
#include "tensors.h"

static struct config small_config(const char *changes)
{
    struct config c;
    if (config_load(&c, "125m-TTT") ||
        config_update(&c, "dict(vocab_size=11, hidden_size=16, intermediate_size=8, "
                          "num_hidden_layers=1, num_attention_heads=1, mini_batch_size=4)") ||
        config_update(&c, changes))
        die("%s", why());
    return c;
}

/* Parameters of a model, started from a seed, with moments that differ from them. */
static struct params made_params(const struct config *c, uint64_t seed)
{
    struct params p;
    if (params_list(&p, c) || params_alloc(&p, true))
        die("%s", why());
    params_init(&p, seed, 0.02);
    device_copy(p.m, p.master, p.floats * sizeof *p.m);
    device_copy(p.v, p.m, p.floats * sizeof *p.v);
    float first[2] = {7, -7};
    device_put(p.m, first, sizeof first);
    device_put(p.v, first, sizeof *first);
    return p;
}

static bool same_array(const float *a, const float *b, size_t floats)
{
    float *x = malloc(2 * floats * sizeof *x);
    if (!x)
        die("out of memory");
    device_get(x, a, floats * sizeof *x);
    device_get(x + floats, b, floats * sizeof *x);
    bool same = !memcmp(x, x + floats, floats * sizeof *x);
    free(x);
    return same;
}

static struct state made_state(const struct config *c, int64_t step, bool milestone)
{
    struct state s = {
        .step = step,
        .milestone = milestone,
        .elapsed_s = 1.5,
        .config = *c,
        .data = {.order = "torch2.3",
                 .seed = -3,
                 .windows = 100,
                 .seq_length = 64,
                 .global_batch_size = 4,
                 .epoch = 2,
                 .position = 8},
        .flags = json_pack("{s:s}", "seed", "-3"),
    };
    return s;
}

static void save(const char *dir, const struct config *c, const struct params *p, int64_t step,
                 bool milestone)
{
    struct state s = made_state(c, step, milestone);
    if (state_save(&s, p, dir))
        die("%s", why());
    state_close(&s);
}

static void test_round_trip(const struct config *c)
{
    struct params p = made_params(c, 1), q = made_params(c, 2);
    struct state s;
    char dir[PATH_MAX];
    case_begin("state-round-trip");
    if (make_dirs(scratch("run")))
        die("%s", why());
    save(scratch("run"), c, &p, 12, true);
    CHECK(!state_find(dir, scratch("run/step_12")) && strstr(dir, "step_12"));
    CHECK(state_find(dir, scratch("run")) && strstr(why(), "latest"));
    CHECK(!state_read(&s, scratch("run/step_12")));
    CHECK(s.step == 12 && s.milestone && s.elapsed_s == 1.5 && s.data.seed == -3);
    CHECK(s.has_moments && s.data.windows == 100 && s.data.epoch == 2 && s.data.position == 8);
    CHECK(!strcmp(s.data.order, "torch2.3") && !strcmp(s.data.manifest.hex, ""));
    CHECK(s.config.hidden_size == 16 && s.config.mini_batch_size == 4);
    const char *seed = json_string_value(json_object_get(s.flags, "seed"));
    CHECK(seed && !strcmp(seed, "-3"));
    state_close(&s);

    CHECK(!same_array(p.master, q.master, p.floats));
    CHECK(!state_load_params(&q, scratch("run/step_12")));
    CHECK(same_array(p.master, q.master, p.floats) && !same_array(p.v, q.v, p.floats));
    CHECK(!state_load_all(&q, scratch("run/step_12")));
    CHECK(same_array(p.m, q.m, p.floats) && same_array(p.v, q.v, p.floats));
    CHECK(!same_array(p.m, p.v, p.floats));

    params_init(&p, 5, 0.02);
    save(scratch("run"), c, &p, 12, false); /* the same step again replaces it */
    CHECK(!state_load_params(&q, scratch("run/step_12")));
    CHECK(same_array(p.master, q.master, p.floats));
    params_close(&p);
    params_close(&q);
    case_end("");
}

/* As ttt-convert writes them: no moments, no place in the data. */
static void test_parameters_alone(const struct config *c)
{
    struct params p = made_params(c, 1), q;
    struct state made = made_state(c, 7, true), s;
    case_begin("parameters-alone");
    if (params_list(&q, c) || params_alloc(&q, false))
        die("%s", why());
    made.data = (struct state_data){0};
    device_copy(q.master, p.master, p.floats * sizeof *p.master);
    CHECK(!state_save(&made, &q, scratch("run")));
    state_close(&made);
    CHECK(!state_read(&s, scratch("run/step_7")));
    CHECK(!s.has_moments && !s.data.windows && s.step == 7 && s.milestone);
    state_close(&s);
    CHECK(access(scratch("run/step_7/moments.safetensors"), F_OK));
    params_init(&p, 3, 0.02);
    CHECK(!state_load_params(&p, scratch("run/step_7")));
    CHECK(same_array(p.master, q.master, p.floats));
    CHECK(state_load_all(&p, scratch("run/step_7")) && strstr(why(), "of parameters alone"));
    params_close(&p);
    params_close(&q);
    case_end("");
}

static void test_other_model(const struct config *c)
{
    struct config deeper = small_config("dict(num_hidden_layers=2)");
    struct config base = small_config("dict(seq_modeling_block='ttt_linear_base')");
    struct config wider = small_config("dict(intermediate_size=24)");
    struct params p = made_params(c, 1), two = made_params(&deeper, 1), b = made_params(&base, 1);
    struct params wide = made_params(&wider, 1);
    case_begin("state-of-another-model");
    save(scratch("run"), c, &p, 12, false);
    save(scratch("run"), &deeper, &two, 13, false);
    CHECK(state_load_params(&two, scratch("run/step_12")) && strstr(why(), "tensors missing") &&
          strstr(why(), "model/h/1/") && strstr(why(), "..."));
    CHECK(state_load_params(&p, scratch("run/step_13")) && strstr(why(), "too many") &&
          !strstr(why(), "missing"));
    CHECK(state_load_params(&b, scratch("run/step_12")) && strstr(why(), "wk/kernel") &&
          strstr(why(), "wg/kernel"));
    CHECK(state_load_params(&wide, scratch("run/step_12")) && strstr(why(), "[16, 24]") &&
          strstr(why(), "[16, 8]"));
    params_close(&p);
    params_close(&two);
    params_close(&b);
    params_close(&wide);
    case_end("");
}

/* Every cut of a file of the checkpoint and every `stride`-th flip of it: refused, or read without
   harm. Returns how many flips were accepted. */
static size_t harm(const char *file, struct params *p, size_t stride)
{
    char path[PATH_MAX];
    struct map m;
    snprintf(path, sizeof path, "%s/%s", scratch("run/step_12"), file);
    if (map_open(&m, path))
        die("%s", why());
    size_t bytes = m.bytes, accepted = 0;
    uint8_t *whole = malloc(bytes);
    if (!whole)
        die("out of memory");
    memcpy(whole, m.data, bytes);
    map_close(&m);
    struct state s;
    /* The last byte of state.json is a line's end, which it can do without. */
    for (size_t n = 0; n + 1 < bytes; n += stride) {
        scratch_write(path, whole, n);
        CHECK(state_read(&s, scratch("run/step_12")));
        CHECK(state_load_all(p, scratch("run/step_12")));
    }
    for (size_t bit = 0; bit < bytes * 8; bit += stride) {
        whole[bit / 8] ^= (uint8_t)(1 << bit % 8);
        scratch_write(path, whole, bytes);
        bool sound = !state_read(&s, scratch("run/step_12"));
        if (sound)
            state_close(&s);
        accepted += sound && !state_load_all(p, scratch("run/step_12"));
        whole[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    scratch_write(path, whole, bytes);
    free(whole);
    return accepted;
}

static void test_harm(const struct config *c)
{
    struct params p = made_params(c, 1);
    char note[64];
    save(scratch("run"), c, &p, 12, false);
    case_begin("state.json-cut-and-flipped");
    size_t accepted = harm("state.json", &p, 3);
    snprintf(note, sizeof note, "%zu flips mean another sound state", accepted);
    case_end(note);
    case_begin("params-cut-and-flipped");
    CHECK(harm("params.safetensors", &p, 97) == 0); /* a prime: every bit of a byte is met */
    case_end("");
    case_begin("moments-cut-and-flipped");
    CHECK(harm("moments.safetensors", &p, 307) == 0);
    CHECK(!state_load_all(&p, scratch("run/step_12")));
    case_end("");
    params_close(&p);
}

static bool there(const char *name)
{
    return !access(scratch(name), F_OK);
}

static void test_rundir(const struct config *c)
{
    struct params p = made_params(c, 1);
    struct rundir r, second;
    int64_t step = -1;
    case_begin("rundir");
    CHECK(!rundir_open(&r, scratch_dir, "b/c") && there("b/c"));
    CHECK(rundir_open(&second, scratch_dir, "b/c") && strstr(why(), "another ttt-train"));
    CHECK(!rundir_latest(r.path, &step) && step == 0);
    save(r.path, c, &p, 5, true);
    save(r.path, c, &p, 7, false);
    save(r.path, c, &p, 9, false);
    CHECK(!rundir_point(&r, 9) && !rundir_latest(r.path, &step) && step == 9);
    if (make_dirs(scratch("b/c/step_8")) || make_dirs(scratch("b/c/step_11.part.77")) ||
        make_dirs(scratch("b/c/step_12.old.5")))
        die("%s", why());
    scratch_write(scratch("b/c/step_11.part.77/params.safetensors.part.77"), "x", 1);
    scratch_write(scratch("b/c/latest.part.77"), "x", 1);
    scratch_write(scratch("b/c/my.part.txt"), "x", 1);
    CHECK(!rundir_sweep(&r, 9));
    CHECK(there("b/c/step_5") && !there("b/c/step_7") && there("b/c/step_9"));
    CHECK(there("b/c/step_8")); /* no checkpoint: not ours */
    char dir[PATH_MAX];
    CHECK(!state_find(dir, r.path) && strstr(dir, "step_9"));
    rundir_close(&r);
    CHECK(!rundir_open(&r, scratch_dir, "b/c"));
    CHECK(!there("b/c/step_11.part.77") && !there("b/c/latest.part.77"));
    CHECK(!there("b/c/step_12.old.5") && there("b/c/my.part.txt"));
    static const char *const bad[] = {"",           "step_",     "step_0\n",
                                      "step_07\n",  "step_9x\n", "step_99999999999999999999\n",
                                      "../step_9\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_write(scratch("b/c/latest"), bad[i], strlen(bad[i]));
        CHECK(rundir_latest(r.path, &step) && strstr(why(), "latest"));
    }
    rundir_close(&r);
    params_close(&p);
    case_end("");
}

static void test_metrics(void)
{
    static const char before[] = "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": 2}\n"
                                 "{\"step\": 2, \"val_loss\": 3}\n{\"step\": 3, \"loss\": 2}\n"
                                 "{\"step\": 4, \"lo";
    const struct metrics_step line = {3, 1 / 3.0f, 0.1f, 3e-4f, 1000, 2.5};
    const double curves[4] = {1, 2, 3, 1 / 3.0};
    struct metrics m;
    struct map text;
    case_begin("metrics");
    scratch_write(scratch("m.jsonl"), before, sizeof before - 1);
    CHECK(!metrics_open(&m, scratch("m.jsonl"), 2));
    CHECK(!metrics_put(&m, &line) && !metrics_put_stats(&m, 3, curves, 1, 1, 16) &&
          !metrics_put_validation(&m, 3, 0.5, 640) && !metrics_sync(&m));
    metrics_close(&m);
    static const char after[] =
        "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": 2}\n{\"step\": 2, \"val_loss\": 3}\n"
        "{\"step\": 3, \"loss\": 0.333333343, \"grad_norm\": 0.100000001, "
        "\"learning_rate\": 0.000300000014, \"tokens_per_s\": 1000.0, \"elapsed_s\": 2.500}\n"
        "{\"step\": 3, \"layer\": 0, \"x\": [16], \"ttt_stats\": [[1], [2], [3], [0.333333343]]}\n"
        "{\"step\": 3, \"val_loss\": 0.5, \"val_tokens\": 640}\n";
    if (map_open(&text, scratch("m.jsonl")))
        die("%s", why());
    CHECK(text.bytes == sizeof after - 1 && !memcmp(text.data, after, text.bytes));
    map_close(&text);
    CHECK(!metrics_open(&m, scratch("m.jsonl"), 0)); /* begin anew */
    metrics_close(&m);
    CHECK(!map_open(&text, scratch("m.jsonl")) && text.bytes == 0);
    map_close(&text);
    CHECK(metrics_open(&m, scratch("absent/m.jsonl"), 0));
    case_end("");
}

int main(void)
{
    program = "test_state";
    const char *trouble = device_open(1);
    if (trouble)
        die("%s", trouble);
    scratch_make();
    struct config c = small_config("");
    test_round_trip(&c);
    test_parameters_alone(&c);
    test_other_model(&c);
    test_harm(&c);
    test_rundir(&c);
    test_metrics();
    device_close();
    return check_finish();
}
