/* test_params.c -- models by name and by key, their parameters, their schedule, their samples. */
#include "check.h"
#include "config.h"
#include "device.h"
#include "optim.h"
#include "params.h"
#include "plan.h"
#include "random.h"
#include "sample.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- counts -------------------------------------------------------------------------------- */

static size_t count_of(const char *name, const char *update)
{
    struct config c;
    struct params p;
    if (config_load(&c, name) || config_update(&c, update) || params_list(&p, &c)) {
        fprintf(stderr, "%s %s: %s\n", name, update, why());
        return 0;
    }
    size_t total = p.total;
    params_close(&p);
    return total;
}

static void test_counts(void)
{
    static const struct {
        const char *plain, *ttt;
        size_t attention, linear, mlp, linear_base, linear_base_plain, mlp_base, mlp_base_plain;
    } want[] = {
        {"125m", "125m-TTT", 109529856, 110424144, 114589776, 110331984, 110276688, 114497616,
         114442320},
        {"350m", "350m-TTT", 335201280, 337684224, 348792576, 337438464, 337291008, 348546816,
         348399360},
        {"760m", "760m-TTT", 728704512, 733608192, 758528256, 733239552, 733018368, 758159616,
         757938432},
        {"1b", "1b-TTT", 1279887360, 1285639296, 1307856000, 1285147776, 1284852864, 1307364480,
         1307069568},
    };
#define BLOCK(name) "dict(seq_modeling_block='" name "')"
#define PLAIN(name) "dict(seq_modeling_block='" name "', pre_conv=False)"
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        char name[48];
        snprintf(name, sizeof name, "parameters of %s, every block", want[i].plain);
        case_begin(name);
        CHECK(count_of(want[i].plain, "") == want[i].attention);
        CHECK(count_of(want[i].ttt, "") == want[i].linear);
        CHECK(count_of(want[i].ttt, BLOCK("ttt_mlp")) == want[i].mlp);
        CHECK(count_of(want[i].ttt, BLOCK("ttt_linear_base")) == want[i].linear_base);
        CHECK(count_of(want[i].ttt, PLAIN("ttt_linear_base")) == want[i].linear_base_plain);
        CHECK(count_of(want[i].ttt, BLOCK("ttt_mlp_base")) == want[i].mlp_base);
        CHECK(count_of(want[i].ttt, PLAIN("ttt_mlp_base")) == want[i].mlp_base_plain);
        case_end("");
    }
}

/* ---- configuration ------------------------------------------------------------------------- */

/* The update fails, with a sentence that has `part` in it, and leaves the configuration alone. */
static void refused(const char *update, const char *part)
{
    struct config c, before;
    CHECK(config_load(&c, "125m-TTT") == 0);
    before = c;
    int rc = config_update(&c, update);
    CHECK(rc == -1);
    CHECK(!memcmp(&c, &before, sizeof c));
    if (rc == 0 || strstr(why(), part))
        return;
    fprintf(stderr, "%s: said \"%s\", without \"%s\"\n", update, why(), part);
    CHECK(!"the sentence says what is wrong");
}

static void test_update(void)
{
    struct config c;
    case_begin("update_model_config");
    CHECK(config_load(&c, "125m-TTT") == 0);
    CHECK(config_update(&c, "dict(seq_modeling_block='ttt_linear_base', ttt_base_lr=1, "
                            "rms_norm_eps=1e-5, pre_conv=False, hidden_size=1_024, "
                            "attn_implementation=None, remat_block=\"nothing_saveable\",)") == 0);
    CHECK(c.seq_modeling_block == MIXER_TTT_LINEAR_BASE && c.ttt_base_lr == 1);
    CHECK(c.rms_norm_eps == 1e-5 && !c.pre_conv && c.hidden_size == 1024);
    CHECK(!strcmp(c.remat_block, "nothing_saveable"));
    CHECK(config_update(&c, "") == 0 && config_update(&c, " dict( ) ") == 0);
    refused("dict(hiden_size=3)", "did you mean hidden_size");
    refused("dict(xyzzy=3)", "no such key");
    refused("dict(hidden_size=3.5)", "a whole number");
    refused("dict(hidden_size=99999999999)", "a whole number");
    refused("dict(hidden_size='3')", "a whole number");
    refused("dict(hidden_size=True)", "a whole number");
    refused("dict(pre_conv=1)", "True or False");
    refused("dict(pre_conv=true)", "True, False or None");
    refused("dict(ttt_base_lr=nan)", "a number");
    refused("dict(ttt_base_lr=1e999)", "a number");
    refused("dict(ttt_base_lr=0x10)", "a number");
    refused("dict(ttt_base_lr=--1)", "a number");
    refused("dict(seq_modeling_block='ttt_liner')", "did you mean 'ttt_linear'");
    refused("dict(hidden_size=768, vocab_size=8, hidden_size=8)", "twice");
    refused("dict(vocab_size=8, hidden_size=2.5)", "hidden_size");
    refused("dict(vocab_size=8", "',' or ')'");
    refused("dict(vocab_size=8) and more", "nothing after");
    refused("dict(vocab_size 8)", "'='");
    refused("dict(remat_mlp='unclosed)", "closing quote");
    refused("dict(remat_mlp='a text that is much too long for a key')", "31 bytes");
    refused("vocab_size=8", "expected dict(");
    case_end("");
}

static void unfit(const char *name, const char *update, int seq, const char *part)
{
    struct config c;
    CHECK(config_load(&c, name) == 0 && config_update(&c, update) == 0);
    int rc = config_check(&c, seq);
    CHECK(rc == -1);
    if (rc == 0 || strstr(why(), part))
        return;
    fprintf(stderr, "%s, %s: said \"%s\", without \"%s\"\n", name, update, why(), part);
    CHECK(!"the sentence says what is wrong");
}

static void test_check(void)
{
    struct config c;
    case_begin("configurations that cannot run");
    CHECK(config_load(&c, "760m-TTT") == 0 && config_check(&c, 2048) == 0);
    CHECK(config_check(&c, 0) == 0);
    unfit("125m-TTT", "", 500, "496 and 512");
    unfit("125m-TTT", "", 7, "16");
    unfit("125m-TTT", "dict(num_attention_heads=7)", 512, "divide");
    unfit("125m-TTT", "dict(num_attention_heads=6)", 512, "heads of 128");
    unfit("125m-TTT", "dict(num_attention_heads=0)", 512, "num_attention_heads");
    unfit("125m-TTT", "dict(hidden_size=-768)", 512, "hidden_size");
    unfit("125m-TTT", "dict(vocab_size=0)", 512, "vocab_size");
    unfit("125m-TTT", "dict(mini_batch_size=0)", 512, "mini_batch_size");
    unfit("125m-TTT", "dict(mini_batch_size=4096)", 4096,
          "mini_batch_size is 4096: expected at most");
    unfit("125m-TTT", "dict(conv_width=3)", 512, "conv_width");
    unfit("125m-TTT", "dict(resid_pdrop=0.1)", 512, "dropout");
    unfit("125m-TTT", "dict(fcm_max_ratio=0.1)", 512, "fcm");
    CHECK(config_load(&c, "1.3b") == -1 && strstr(why(), "1b"));
    CHECK(config_load(&c, "json::/nowhere/at/all.json") == -1 && strstr(why(), "/nowhere/at/all"));
    case_end("");
}

static void test_json(void)
{
    struct config c, back;
    case_begin("to JSON and back");
    CHECK(config_load(&c, "350m-TTT") == 0);
    CHECK(config_update(&c, "dict(rms_norm_eps=1.25e-7, remat_conv='x', scan_mlp=True)") == 0);
    CHECK(config_load(&back, "125m") == 0);
    json_t *object = config_to_json(&c);
    CHECK(config_from_json(&back, object, "itself") == 0);
    CHECK(!memcmp(&c, &back, sizeof c));
    json_object_set_new(object, "vocab_sise", json_integer(3));
    CHECK(config_from_json(&back, object, "itself") == -1 && strstr(why(), "vocab_size"));
    json_decref(object);
    case_end("");
}

/* ---- start values -------------------------------------------------------------------------- */

static void read_param(const struct params *p, const char *name, float **value, size_t *count)
{
    int i = params_find(p, name);
    *count = i < 0 ? 0 : p->list[i].count;
    *value = calloc(*count + 1, sizeof **value);
    if (i >= 0)
        device_get(*value, param_master(p, i), sizeof **value * *count);
}

static void moments(const struct params *p, const char *name, double *mean, double *deviation,
                    double *largest)
{
    float *x;
    size_t count;
    read_param(p, name, &x, &count);
    CHECK(count);
    double sum = 0, squares = 0;
    *largest = 0;
    for (size_t i = 0; i < count; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
        *largest = fabs(x[i]) > *largest ? fabs(x[i]) : *largest;
    }
    *mean = sum / (double)count;
    *deviation = sqrt(squares / (double)count);
    free(x);
}

static void test_start(void)
{
    static const char small[] = "dict(num_hidden_layers=1, vocab_size=1000)";
    static const char large[] = "dict(num_hidden_layers=2, vocab_size=1001)";
    static const char wv[] = "model/h/0/seq_modeling_block/wv/kernel";
    struct config c;
    struct params p, q;
    double mean, deviation, most;
    case_begin("start values");
    CHECK(config_load(&c, "125m-TTT") == 0 && config_update(&c, small) == 0);
    CHECK(params_list(&p, &c) == 0 && params_alloc(&p, false) == 0);
    CHECK(config_update(&c, large) == 0);
    CHECK(params_list(&q, &c) == 0 && params_alloc(&q, false) == 0);
    params_init(&p, 7, 0.02);
    params_init(&q, 7, 0.02);
    moments(&p, "model/wte/embedding", &mean, &deviation, &most);
    CHECK(fabs(mean) < 1e-4 && fabs(deviation - 0.02) < 1e-4 && most > 0.08 && most < 0.14);
    moments(&p, "model/h/0/conv/conv1/kernel", &mean, &deviation, &most);
    CHECK(fabs(mean) < 0.04 && fabs(deviation - 0.5) < 0.02 && most <= 1.1370);
    moments(&p, "model/h/0/seq_modeling_block/ttt_norm/scale", &mean, &deviation, &most);
    CHECK(mean == 1 && deviation == 1);
    moments(&p, "model/h/0/seq_modeling_block/post_norm/bias", &mean, &deviation, &most);
    CHECK(most == 0);

    /* The same numbers in another model; others under another name or seed. */
    float *a, *b, *other;
    size_t n, m, k;
    read_param(&p, wv, &a, &n);
    read_param(&q, wv, &b, &m);
    read_param(&p, "model/h/0/seq_modeling_block/wq/kernel", &other, &k);
    CHECK(n == m && n == k && !memcmp(a, b, n * sizeof *a) && memcmp(a, other, n * sizeof *a));
    free(b);
    params_init(&q, 8, 0.02);
    read_param(&q, wv, &b, &m);
    CHECK(memcmp(a, b, n * sizeof *a));
    free(a);
    free(b);
    free(other);
    params_close(&p);
    params_close(&q);
    case_end("");
}

static void test_random(void)
{
    /* The generator's published known answers. */
    static const struct {
        uint32_t counter[4];
        uint64_t key;
        uint32_t out[4];
    } known[] = {
        {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, ~0ull, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         0x299f31d0a4093822,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    case_begin("random numbers by counter");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        random_philox(out, known[i].counter, known[i].key);
        CHECK(!memcmp(out, known[i].out, sizeof out));
    }
    float whole[100], part[31];
    random_normal(whole, 100, 3, 4, 0, 1);
    random_normal(part, 31, 3, 4, 57, 1);
    CHECK(!memcmp(part, whole + 57, sizeof part));
    random_cut_normal(whole, 100, 3, 4, 0, 1);
    random_cut_normal(part, 31, 3, 4, 57, 1);
    CHECK(!memcmp(part, whole + 57, sizeof part));
    case_end("");
}

/* ---- schedule ------------------------------------------------------------------------------ */

/* In float the warm-up is a difference of numbers as large as the peak: one step of those. */
static bool near(double a, double b)
{
    return fabs(a - b) <= 0x1p-31;
}

static void test_schedule(void)
{
    struct optim_config o = OPTIM_DEFAULT;
    struct config c;
    case_begin("learning rates");
    o.adamw.lr = 3e-3;
    o.adamw.lr_warmup_steps = 480;
    o.adamw.lr_decay_steps = 4800;
    CHECK(optim_check(&o) == 0);
    CHECK(optim_lr(&o, 0) == 0 && near(optim_lr(&o, 1), 6.25e-6));
    CHECK(near(optim_lr(&o, 479), 2.99375e-3) && near(optim_lr(&o, 480), 3e-3));
    CHECK(near(optim_lr(&o, 2640), 1.505e-3) && near(optim_lr(&o, 4800), 1e-5));
    CHECK(optim_lr(&o, 1 << 20) == optim_lr(&o, 4800));
    CHECK(config_load(&c, "125m-TTT") == 0 && optim_ttt_lr_mult(&c, 1) == 1);
    CHECK(config_update(&c, "dict(ttt_base_lr=0.1, ttt_base_lr_init=0.01, "
                            "ttt_base_lr_warmup=480)") == 0);
    CHECK(optim_ttt_lr_mult(&c, 1) == 0.10009765625f && optim_ttt_lr_mult(&c, 2) == .10205078125f);
    CHECK(optim_ttt_lr_mult(&c, 241) == .55078125f && optim_ttt_lr_mult(&c, 480) == 1);
    o.adamw.lr_decay_steps = 480;
    CHECK(optim_check(&o) == -1);
    o.type = "palm";
    o.palm.lr_warmup_steps = 4;
    CHECK(optim_check(&o) == 0);
    CHECK(near(optim_lr(&o, 0), 0.5) && near(optim_lr(&o, 4), 0.5) && near(optim_lr(&o, 16), 0.25));
    o.palm.lr_warmup_steps = 0;
    CHECK(optim_check(&o) == -1 && strstr(why(), "palm_optimizer.lr_warmup_steps"));
    o.palm.lr_warmup_steps = 1;
    o.accumulate_gradient_steps = 0;
    CHECK(optim_check(&o) == -1 && strstr(why(), "accumulate_gradient_steps"));
    case_end("");
}

/* The rates that the reference's own program logged, to the last bit. The flags of its runs are
   those of the folder's README. */
static void test_logged_rates(const char *shared, const char *run, int64_t steps)
{
    struct optim_config o = OPTIM_DEFAULT;
    char path[4096], line[1 << 16];
    int64_t seen = 0;
    o.adamw.lr = 3e-3;
    o.adamw.lr_warmup_steps = 10;
    o.adamw.lr_decay_steps = steps;
    snprintf(path, sizeof path, "%s/golden/run/%s/run.jsonl", shared, run);
    case_begin(path + strlen(shared) + 1);
    FILE *f = fopen(path, "r");
    CHECK(f);
    while (f && fgets(line, sizeof line, f)) {
        json_t *object = json_loads(line, 0, NULL);
        const json_t *rate = json_object_get(object, "Learning Rate");
        int64_t step = json_integer_value(json_object_get(object, "step"));
        if (rate) {
            CHECK(step == ++seen);
            CHECK((double)optim_lr(&o, step) == json_real_value(rate));
        }
        json_decref(object);
    }
    CHECK(seen == steps);
    if (f)
        fclose(f);
    case_end("");
}

static void test_all_logged_rates(void)
{
    const char *shared = getenv("TTT_SHARED");
    if (!shared || !*shared) {
        case_skip("logged rates", "TTT_SHARED names no folder with the full reference outputs");
        return;
    }
    test_logged_rates(shared, "linear", 60);
    test_logged_rates(shared, "mlp", 60);
    test_logged_rates(shared, "attention", 60);
    test_logged_rates(shared, "llama2", 40);
}

/* ---- samples ------------------------------------------------------------------------------- */

/* How often each of 4 ids comes in 4000 draws. */
static void draw(const struct sample_config *c, uint64_t seed, const float logits[4], int often[4])
{
    struct sampler s;
    struct sample_text t;
    CHECK(sample_open(&s, c, 4) == 0 && sample_begin(&s, &t, seed) == 0);
    sample_note(&t, 1);
    memset(often, 0, 4 * sizeof *often);
    for (int i = 0; i < 4000; i++) {
        int32_t id = 0;
        CHECK(sample_pick(&s, &t, logits, &id) == 0 && id >= 0 && id < 4);
        often[id]++;
    }
    sample_end(&t);
    sample_close(&s);
}

static void test_samples(void)
{
    /* Probabilities 0.1, 0.5, 0.1, 0.3. */
    const float logits[4] = {-2.302585f, -0.6931472f, -2.302585f, -1.203973f};
    int often[4], again[4];
    case_begin("the choice of the next token");
    draw(&(struct sample_config){.top_p = 1}, 0, logits, often);
    CHECK(often[1] == 4000);
    draw(&(struct sample_config){.temperature = 1, .top_p = 1}, 0, logits, often);
    CHECK(abs(often[0] - 400) < 80 && abs(often[1] - 2000) < 130 && abs(often[3] - 1200) < 120);
    draw(&(struct sample_config){.temperature = 1, .top_p = 1}, 0, logits, again);
    CHECK(!memcmp(often, again, sizeof often));
    draw(&(struct sample_config){.temperature = 1, .top_p = 1}, 1, logits, again);
    CHECK(memcmp(often, again, sizeof often));
    draw(&(struct sample_config){.temperature = 1, .top_p = 1, .top_k = 2}, 0, logits, often);
    CHECK(!often[0] && !often[2] && abs(often[1] - 2500) < 130);
    /* Of two alike the lower id counts as the likelier. */
    draw(&(struct sample_config){.temperature = 1, .top_p = 1, .top_k = 3}, 0, logits, often);
    CHECK(often[0] && !often[2]);
    draw(&(struct sample_config){.temperature = 1, .top_p = 0.4}, 0, logits, often);
    CHECK(often[1] == 4000);
    draw(&(struct sample_config){.temperature = 1, .top_p = 0.85}, 0, logits, often);
    CHECK(often[0] && often[1] && !often[2] && often[3]);
    draw(&(struct sample_config){.temperature = 0.5, .top_p = 1}, 0, logits, often);
    CHECK(abs(often[1] - 4000 * 25 / 36) < 130); /* squares: 1, 25, 1, 9 */

    draw(&(struct sample_config){.temperature = 1, .top_p = 1, .min_p = 0.5}, 0, logits, often);
    CHECK(!often[0] && often[1] && !often[2] && often[3]);
    draw(&(struct sample_config){.temperature = 1, .top_p = 1, .min_p = 1}, 0, logits, often);
    CHECK(often[1] == 4000);
    /* Id 1 has come: exp(2 * -0.69) is 0.25, of 0.75 in all; and halved were it positive. */
    draw(&(struct sample_config){.temperature = 1, .top_p = 1, .repetition_penalty = 2}, 0, logits,
         often);
    CHECK(abs(often[1] - 4000 / 3) < 130);
    draw(&(struct sample_config){.top_p = 1, .repetition_penalty = 2}, 0,
         (const float[4]){1.5f, 2.9f, 1, 1}, often);
    CHECK(often[0] == 4000);

    struct sampler s;
    int32_t id;
    const float broken[4] = {0, NAN, 0, 0};
    CHECK(sample_open(&s, &(struct sample_config){.temperature = 1, .top_p = 1}, 4) == 0);
    CHECK(sample_pick(&s, &(struct sample_text){0}, broken, &id) == -1);
    CHECK(sample_take(&s, &(struct sample_text){0}, -1) == -1);
    sample_close(&s);
    CHECK(sample_check(&(struct sample_config){.temperature = -1, .top_p = 1}) == -1);
    CHECK(sample_check(&(struct sample_config){.temperature = 1, .top_p = 0}) == -1);
    case_end("");
}

static void test_plan(void)
{
    struct plan p = {0};
    case_begin("a plan of memory");
    plan_add(&p, "one", 100);
    plan_add(&p, "two", 50);
    plan_add(&p, "one", 7);
    CHECK(p.lines == 2 && plan_total(&p) == 157);
    struct plan more = p;
    plan_add_host(&more, "three", 40); /* the host's memory is the device's in this build */
    CHECK(plan_total(&more) == 197);
    CHECK(plan_check(&p, 157, "less") == 0);
    CHECK(plan_check(&p, 156, "a smaller --micro_batch") == -1 && strstr(why(), "--micro_batch"));
    case_end("");
}

int main(void)
{
    const char *closed = device_open(1);
    if (closed) {
        fprintf(stderr, "test_params: %s\n", closed);
        return 1;
    }
    test_counts();
    test_update();
    test_check();
    test_json();
    test_random();
    test_start();
    test_schedule();
    test_all_logged_rates();
    test_samples();
    test_plan();
    device_close();
    return check_finish();
}
