/* golden_model.c -- whole models against the reference: logits, gradients, statistics, training.

   golden_model DIR [CASE...]: every NAME.json with its NAME.safetensors in DIR. */
#include "check.h"
#include "device.h"
#include "file.h"
#include "model.h"
#include "optim.h"
#include "tensors.h"

#include <glob.h>
#include <math.h>
#include <stdlib.h>

/* ---- tolerances: what float32 leaves, twice the reference's own distance from exact ---------- */

static const double LOGITS = 2e-6;    /* largest difference */
static const double HIDDEN = 3e-6;    /* relative L2 */
static const double LOSS = 1e-6;      /* difference, of one batch */
static const double GRAD = 1e-5;      /* relative L2 of each tensor, */
static const double GRAD_ZERO = 1e-7; /* or of the largest tensor's norm: gradients nearly zero */
static const double STATS = 1e-6;     /* relative, each of the four curves by its norm */
static const double STEP_LOSS = 5e-6; /* difference, of each training step */
static const double STEP_NORM = 1e-5; /* relative */
static const double AFTER = 2e-5;     /* relative L2 of each tensor after the last step */

/* ---- one case ----------------------------------------------------------------------------- */

struct golden {
    const char *name;
    json_t *json;
    struct tensors file;
    struct config config;
    struct optim_config optim;
    struct params params;
    int batch, seq, accum_steps;
    char note[512];
};

static void note(struct golden *g, const char *what, double worst)
{
    size_t used = strlen(g->note);
    snprintf(g->note + used, sizeof g->note - used, "%s%s %.1e", used ? ", " : "", what, worst);
}

/* Fail the case unless error is within limit: not a number is not. */
static void within(const struct golden *g, const char *what, double error, double limit)
{
    if (error <= limit)
        return;
    fprintf(stderr, "%s: %s: error %.3e, expected at most %.1e\n", g->name, what, error, limit);
    check_failures_here++;
}

/* The larger, and not a number if either is not. */
static double worse(double a, double b)
{
    return a <= b ? b : b <= a ? a : NAN;
}

static const struct tensor *want(struct golden *g, const char *name, enum tensor_dtype dtype)
{
    const struct tensor *t = tensors_find(&g->file, name);
    if (t && t->dtype == dtype)
        return t;
    fprintf(stderr, "%s: no %s of type %s in the file\n", g->name, name, tensor_dtype_name(dtype));
    check_failures_here++;
    return NULL;
}

/* A copy of [count] floats, or NULL with the case failed. */
static float *want_floats(struct golden *g, const char *name, size_t count)
{
    const struct tensor *t = want(g, name, TENSOR_F32);
    if (t && t->count != count) {
        fprintf(stderr, "%s: %s has %zu numbers, expected %zu\n", g->name, name, t->count, count);
        check_failures_here++;
    }
    if (!t || t->count != count)
        return NULL;
    float *copy = malloc(t->bytes);
    memcpy(copy, t->data, t->bytes);
    return copy;
}

static double largest(const float *a, const float *b, size_t count)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++)
        worst = worse(worst, fabs((double)a[i] - b[i]));
    return worst;
}

static double norm(const float *a, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)a[i] * a[i];
    return sqrt(sum);
}

static double distance(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum);
}

static double near_number(struct golden *g, const char *name, size_t i, double got, double scale)
{
    const struct tensor *t = want(g, name, TENSOR_F32);
    float wanted = NAN;
    if (t && i < t->count)
        memcpy(&wanted, (const char *)t->data + i * sizeof wanted, sizeof wanted);
    return fabs(got - wanted) / (scale == 0 ? fabs(wanted) : scale);
}

/* ---- parameters --------------------------------------------------------------------------- */

static int load_params(struct golden *g)
{
    struct params *p = &g->params;
    char name[PARAM_NAME_BYTES + 8];
    int in_file = 0;
    for (int i = 0; i < g->file.count; i++)
        in_file += !strncmp(g->file.list[i].name, "param/", 6);
    CHECK(in_file == p->count);
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        snprintf(name, sizeof name, "param/%s", q->name);
        float *value = want_floats(g, name, q->count);
        if (!value)
            return -1;
        const struct tensor *t = tensors_find(&g->file, name);
        CHECK(t->dims == q->axes);
        for (int a = 0; a < q->axes && a < t->dims; a++)
            CHECK(t->shape[a] == q->shape[a]);
        device_put(param_master(p, i), value, sizeof *value * q->count);
        free(value);
    }
    device_zero(p->m, sizeof *p->m * p->floats);
    device_zero(p->v, sizeof *p->v * p->floats);
    params_refresh(p);
    return 0;
}

/* Every parameter's array in `from` beside PREFIX/name: the worst relative L2. Tensors whose
   difference is below `small` of the largest norm count as equal. */
static double near_params(struct golden *g, const char *prefix, const float *from, double limit,
                          double small)
{
    struct params *p = &g->params;
    char name[PARAM_NAME_BYTES + 8];
    double worst = 0, most = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < p->count; i++) {
            size_t count = p->list[i].count;
            snprintf(name, sizeof name, "%s/%s", prefix, p->list[i].name);
            float *wanted = want_floats(g, name, count);
            if (!wanted)
                return NAN;
            float *got = malloc(sizeof *got * count);
            device_get(got, from + p->list[i].offset, sizeof *got * count);
            double length = norm(wanted, count), apart = distance(got, wanted, count);
            if (pass == 0) {
                most = worse(most, length);
            } else if (!(apart <= small * most)) {
                within(g, name, apart / length, limit);
                worst = worse(worst, apart / length);
            }
            free(got);
            free(wanted);
        }
    }
    return worst;
}

/* ---- the parts of a case ------------------------------------------------------------------ */

static void check_hidden(struct golden *g, struct model *m)
{
    size_t count = (size_t)m->rows * g->config.hidden_size;
    float *got = malloc(sizeof *got * count);
    double worst = 0;
    for (int l = 0; l <= g->config.num_hidden_layers; l++) {
        char name[32];
        snprintf(name, sizeof name, "hidden/%d", l);
        float *wanted = want_floats(g, name, count);
        if (wanted) {
            model_hidden(m, got, l);
            double error = distance(got, wanted, count) / norm(wanted, count);
            within(g, name, error, HIDDEN);
            worst = worse(worst, error);
        }
        free(wanted);
    }
    free(got);
    note(g, "hidden", worst);
}

static void check_logits(struct golden *g, struct model *m)
{
    size_t count = (size_t)m->rows * g->config.vocab_size;
    float *got = malloc(sizeof *got * count), *wanted = want_floats(g, "logits", count);
    if (wanted) {
        model_logits(m, got, 0, m->rows);
        double error = largest(got, wanted, count);
        within(g, "logits", error, LOGITS);
        note(g, "logits", error);
    }
    free(wanted);
    free(got);
}

static void check_stats(struct golden *g, const double *curves, int minis)
{
    double worst = 0;
    for (int i = 0; i < 4 * g->config.num_hidden_layers; i++) {
        char name[48];
        snprintf(name, sizeof name, "ttt_stats/%d/%d", i / 4, i % 4);
        float *wanted = want_floats(g, name, (size_t)minis);
        if (!wanted)
            continue;
        double apart = 0;
        for (int c = 0; c < minis; c++) {
            double d = curves[i * minis + c] - wanted[c];
            apart += d * d;
        }
        double error = sqrt(apart) / norm(wanted, (size_t)minis);
        within(g, name, error, STATS);
        worst = worse(worst, error);
        free(wanted);
    }
    note(g, "stats", worst);
}

/* Forward and backward of the one batch. */
static void check_batch(struct golden *g)
{
    struct model m;
    size_t rows = (size_t)g->batch * g->seq;
    int minis = g->seq / g->config.mini_batch_size;
    const struct tensor *input = want(g, "input_ids", TENSOR_I32);
    const struct tensor *target = want(g, "target_ids", TENSOR_I32);
    const struct tensor *mask = want(g, "loss_masks", TENSOR_F32);
    if (!input || !target || !mask || input->count != rows || target->count != rows ||
        mask->count != rows || load_params(g))
        return;
    if (model_open(&m, &g->config, &g->params, g->batch, g->seq, true)) {
        within(g, why(), 1, 0);
        return;
    }
    double *curves = calloc((size_t)(4 * minis * g->config.num_hidden_layers), sizeof *curves);
    struct score score = {0}, again = {0};
    struct tokens t = {input->data, target->data, mask->data};
    model_zero_grad(&m);
    CHECK(model_train(&m, &t, 1, 1, &score, curves) == 0);
    check_hidden(g, &m);
    check_logits(g, &m);
    double loss = near_number(g, "loss", 0, score.loss, 1);
    within(g, "loss", loss, LOSS);
    note(g, "loss", loss);
    within(g, "accuracy", near_number(g, "accuracy", 0, score.accuracy, 1), LOSS);
    note(g, "gradient", near_params(g, "grad", g->params.grad, GRAD, GRAD_ZERO));
    check_stats(g, curves, minis);
    CHECK(model_score(&m, &t, 1, &again) == 0);
    CHECK(again.loss == score.loss && again.accuracy == score.accuracy);
    free(curves);
    model_close(&m);
}

static int train_step(struct golden *g, struct model *m, const int32_t *ids, float mult,
                      struct score *score)
{
    size_t rows = (size_t)m->rows, row_ids = (size_t)g->seq + 1;
    int32_t *input = malloc(sizeof *input * rows), *target = malloc(sizeof *target * rows);
    float *mask = malloc(sizeof *mask * rows);
    int rc = 0;
    model_zero_grad(m);
    for (int micro = 0; micro < g->accum_steps && !rc; micro++) {
        for (int b = 0; b < m->batch; b++) {
            const int32_t *row = ids + ((size_t)micro * m->batch + b) * row_ids;
            size_t at = (size_t)b * g->seq;
            memcpy(input + at, row, sizeof *row * g->seq);
            memcpy(target + at, row + 1, sizeof *row * g->seq);
            for (int i = 0; i < g->seq; i++)
                mask[at + i] = target[at + i] != 1;
        }
        struct tokens t = {input, target, mask};
        rc = model_train(m, &t, mult, 1.0 / g->accum_steps, score, NULL);
    }
    free(mask);
    free(target);
    free(input);
    return rc;
}

static void check_training(struct golden *g)
{
    const struct tensor *ids = want(g, "train/ids", TENSOR_I32);
    int steps = (int)json_integer_value(json_object_get(g->json, "steps"));
    size_t step_ids = (size_t)g->batch * ((size_t)g->seq + 1);
    struct model m = {0};
    struct optim o = {0};
    if (!ids || ids->count != (size_t)steps * step_ids || load_params(g))
        return;
    if (model_open(&m, &g->config, &g->params, g->batch / g->accum_steps, g->seq, true) ||
        optim_open(&o, &g->optim)) {
        within(g, why(), 1, 0);
        return;
    }
    double loss = 0, length = 0;
    for (int s = 0; s < steps; s++) {
        struct score score = {0};
        size_t i = (size_t)s;
        float mult = optim_ttt_lr_mult(&g->config, s + 1);
        CHECK(train_step(g, &m, (const int32_t *)ids->data + i * step_ids, mult, &score) == 0);
        optim_step(&o, &g->params, s);
        loss = worse(loss, near_number(g, "train/loss", i, score.loss, 1));
        length = worse(length, near_number(g, "train/grad_norm", i, optim_grad_norm(&o), 0));
        within(g, "train/logged_lr",
               near_number(g, "train/logged_lr", i, optim_lr(&g->optim, s + 1), 1), 0);
        within(g, "train/ttt_lr_mult", near_number(g, "train/ttt_lr_mult", i, mult, 1), 0);
    }
    within(g, "train/loss", loss, STEP_LOSS);
    within(g, "train/grad_norm", length, STEP_NORM);
    note(g, "steps' loss", loss);
    note(g, "norm", length);
    note(g, "after", near_params(g, "after", g->params.master, AFTER, 0));
    optim_close(&o);
    model_close(&m);
}

/* ---- reading a case ----------------------------------------------------------------------- */

/* The optimiser's settings through the same table the trainer parses. -1 with why(). */
static int read_optim(struct golden *g)
{
    struct flag flags[] = {OPTIM_FLAGS(g->optim), {0}};
    const struct program table = {.flags = flags};
    json_t *from = json_object_get(g->json, "optimizer"), *value;
    const char *type = json_string_value(json_object_get(from, "type")), *key;
    char name[96], path[32], text[64];
    if (!type || flag_set(flag_find(&table, "optimizer.type"), type))
        return fail("no optimiser of a known type");
    snprintf(path, sizeof path, "%s_optimizer", type);
    value = json_object_get(from, "accumulate_gradient_steps");
    if (value)
        g->optim.accumulate_gradient_steps = json_integer_value(value);
    if (optim_check(&(struct optim_config)OPTIM_DEFAULT) || strcmp(type, "adamw"))
        return optim_check(&g->optim);
    json_object_foreach(json_object_get(from, path), key, value)
    {
        snprintf(name, sizeof name, "optimizer.%s.%s", path, key);
        snprintf(text, sizeof text, "%.17g", json_number_value(value));
        if (json_is_boolean(value))
            snprintf(text, sizeof text, "%d", json_is_true(value));
        struct flag *f = flag_find(&table, name);
        if (!f)
            return fail("no flag --%s", name);
        if (flag_set(f, text))
            return -1;
    }
    return optim_check(&g->optim);
}

/* What this build cannot run is skipped with its reason; what is broken fails. */
static void run(const char *dir, const char *name)
{
    char path[4096];
    json_error_t e;
    struct golden g = {.name = name, .optim = OPTIM_DEFAULT};
    snprintf(path, sizeof path, "%s/%s.json", dir, name);
    g.json = json_load_file(path, 0, &e);
    snprintf(path, sizeof path, "%s/%s.safetensors", dir, name);
    case_begin(name);
    if (!g.json || tensors_open(&g.file, path)) {
        within(&g, g.json ? why() : e.text, 1, 0);
        case_end("");
        json_decref(g.json);
        return;
    }
    const struct tensor *ids = want(&g, "input_ids", TENSOR_I32);
    const char *dtype = json_string_value(json_object_get(g.json, "dtype"));
    g.batch = ids && ids->dims == 2 ? (int)ids->shape[0] : 0;
    g.seq = ids && ids->dims == 2 ? (int)ids->shape[1] : 0;
    g.accum_steps = (int)json_integer_value(json_object_get(g.json, "accum_steps"));
    json_t *model = json_object_get(g.json, "model");
    if (!dtype || strcmp(dtype, REAL_NAME)) {
        snprintf(path, sizeof path, "%s case, and this build stores %s", dtype, REAL_NAME);
        case_skip(name, path);
    } else if (config_load(&g.config, "125m") || config_from_json(&g.config, model, path) ||
               config_check(&g.config, g.seq) || read_optim(&g)) {
        case_skip(name, why());
    } else if (g.accum_steps < 1 || g.batch % g.accum_steps || params_list(&g.params, &g.config) ||
               params_alloc(&g.params, true)) {
        within(&g, why(), 1, 0);
        case_end("");
    } else {
        check_batch(&g);
        check_training(&g);
        case_end(g.note);
    }
    params_close(&g.params);
    tensors_close(&g.file);
    json_decref(g.json);
}

static int picked(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(names[i], name))
            return 1;
    return count == 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: golden_model DIR [CASE...]\n");
        return 2;
    }
    const char *closed = device_open(0);
    if (closed) {
        fprintf(stderr, "golden_model: %s\n", closed);
        return 1;
    }
    printf("%s\n", device_describe());
    char pattern[4096];
    glob_t files;
    snprintf(pattern, sizeof pattern, "%s/*.json", argv[1]);
    if (glob(pattern, 0, NULL, &files) == 0) {
        for (size_t i = 0; i < files.gl_pathc; i++) {
            char *name = strrchr(files.gl_pathv[i], '/') + 1;
            name[strlen(name) - strlen(".json")] = 0;
            if (picked(name, argc - 2, argv + 2))
                run(argv[1], name);
        }
        globfree(&files);
    }
    device_close();
    return check_finish();
}
