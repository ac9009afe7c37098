/* golden_model.c -- whole models against the reference: logits, gradients, statistics, training.

   golden_model DIR [CASE...]: every NAME.json with its NAME.safetensors in DIR. A build that stores
   bf16 runs the fp32 cases that have a NAME_bf16 beside them, and may be half as far again from
   fp32 as the reference's own bf16 is. */
#include "check.h"
#include "device.h"
#include "golden_case.h"

#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- tolerances: what float32 leaves, twice the reference's own distance from exact ---------- */

static const double LOGITS = 2e-6;    /* largest difference */
static const double HIDDEN = 3e-6;    /* relative L2 */
static const double LOSS = 1e-6;      /* difference, of one batch */
static const double GRAD = 1e-5;      /* relative L2 of each tensor, */
static const double GRAD_ZERO = 1e-7; /* or of the largest tensor's norm: gradients nearly zero */
static const double STATS = 1e-6;     /* relative L2 of each curve */
static const double STEP_LOSS = 5e-6; /* difference, of each training step */
static const double STEP_NORM = 1e-5; /* relative */
static const double AFTER = 2e-5;     /* relative L2 of each tensor after the last step */
/* Of the peak: these rates were logged operation by operation. The compiled program's, which round
   a product and a sum once, are compared exactly in test_params. */
static const double RATE = 0x1p-23;
/* A moment as near to the middle of two bf16 as float32's rounding may go to either: a few in a
   thousand do, by 2^-8 of themselves. A rule of rounding that is not the reference's gives 6e-4. */
static const double AFTER_BF16 = 1e-4;
static const double OF_TWIN = 1.5; /* of the reference's bf16, for rounding in another order */

static const bool BF16 = sizeof(real) != sizeof(float);

/* ---- one case ----------------------------------------------------------------------------- */

static void failed(const struct golden *g, const char *sentence)
{
    fprintf(stderr, "%s: %s\n", g->name, sentence);
    check_failures_here++;
}

/* A copy of the numbers, which the file need not align; or NULL with the case failed. */
static void *copy_of(struct golden *g, const struct tensors *from, const char *name,
                     enum tensor_dtype dtype, size_t count)
{
    const struct tensor *t = tensors_find(from, name);
    if (!t || t->dtype != dtype || t->count != count) {
        fprintf(stderr, "%s: expected %s of %zu %s in the file\n", g->name, name, count,
                tensor_dtype_name(dtype));
        check_failures_here++;
        return NULL;
    }
    void *copy = malloc(t->bytes);
    memcpy(copy, t->data, t->bytes);
    return copy;
}

static float *copy_floats(struct golden *g, const struct tensors *from, const char *name,
                          size_t count)
{
    return copy_of(g, from, name, TENSOR_F32, count);
}

/* ---- errors ------------------------------------------------------------------------------- */

static double largest(const float *a, const float *b, size_t count)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (isnan(d))
            return d;
        worst = fmax(worst, d);
    }
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

static double relative(const float *a, const float *b, size_t count)
{
    return distance(a, b, count) / norm(b, count);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : !(x <= y);
}

/* Without the one element in a hundred that is farthest off. */
static double relative_of_most(const float *a, const float *b, size_t count)
{
    double *d = malloc(sizeof *d * count), sum = 0;
    for (size_t i = 0; i < count; i++)
        d[i] = fabs((double)a[i] - b[i]);
    qsort(d, count, sizeof *d, by_size);
    for (size_t i = 0; i < count - (count + 99) / 100; i++)
        sum += d[i] * d[i];
    free(d);
    return sqrt(sum) / norm(b, count);
}

/* The worst of many comparisons of one kind, ours and the twin's. */
struct worst {
    double (*measure)(const float *, const float *, size_t);
    double error, twin_error;
    char name[PARAM_NAME_BYTES + 8];
};

/* Not a number is the worst of all, and stays. */
static void worsen(double *worst, double error)
{
    if (!isnan(*worst) && !(error <= *worst))
        *worst = error;
}

/* `got` [count] beside the file's `name`; errors that `floor` (in the norm's unit) covers are 0. */
static void compare(struct golden *g, struct worst *w, const char *name, const float *got,
                    size_t count, double floor)
{
    float *wanted = copy_floats(g, &g->file, name, count);
    if (!wanted)
        return;
    if (!(distance(got, wanted, count) <= floor)) {
        double before = w->error;
        worsen(&w->error, w->measure(got, wanted, count));
        if (!(w->error <= before))
            snprintf(w->name, sizeof w->name, "%s", name);
    }
    float *twin = BF16 ? copy_floats(g, &g->twin, name, count) : NULL;
    if (twin)
        worsen(&w->twin_error, w->measure(twin, wanted, count));
    free(twin);
    free(wanted);
}

/* The verdict on all of them; limit is that of fp32. */
static void conclude(struct golden *g, const struct worst *w, const char *what, double limit)
{
    limit = BF16 ? OF_TWIN * w->twin_error : limit;
    if (!(w->error <= limit)) {
        fprintf(stderr, "%s: %s: error %.3e, expected at most %.1e\n", g->name, w->name, w->error,
                limit);
        check_failures_here++;
    }
    size_t used = strlen(g->note);
    snprintf(g->note + used, sizeof g->note - used, "%s%s %.1e", used ? ", " : "", what, w->error);
}

/* One number: element i of `name`. In bf16 a loss is a matter of luck, but never farther off than
   twice the largest error of a logit. */
static void number(struct golden *g, const char *name, size_t i, double got, double limit,
                   double *worst)
{
    const struct tensor *t = tensors_find(&g->file, name);
    float wanted = NAN;
    if (t && t->dtype == TENSOR_F32 && i < t->count)
        memcpy(&wanted, (const char *)t->data + i * sizeof wanted, sizeof wanted);
    double error = fabs(got - wanted);
    worsen(worst, error);
    if (error <= limit)
        return;
    fprintf(stderr, "%s: %s[%zu]: %.9g, expected %.9g within %.1e\n", g->name, name, i, got, wanted,
            limit);
    check_failures_here++;
}

static void add_note(struct golden *g, const char *what, double worst)
{
    size_t used = strlen(g->note);
    snprintf(g->note + used, sizeof g->note - used, ", %s %.1e", what, worst);
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
        float *value = copy_floats(g, &g->file, name, q->count);
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

/* Every parameter's array in `from` beside PREFIX/name; what is below `small` of the largest
   tensor's norm counts as equal. */
static void check_params(struct golden *g, const char *prefix, const float *from, double limit,
                         double small, double (*measure)(const float *, const float *, size_t),
                         const char *what)
{
    struct params *p = &g->params;
    struct worst w = {.measure = measure};
    char name[PARAM_NAME_BYTES + 8];
    double most = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < p->count; i++) {
            size_t count = p->list[i].count;
            float *got = malloc(sizeof *got * count);
            device_get(got, from + p->list[i].offset, sizeof *got * count);
            snprintf(name, sizeof name, "%s/%s", prefix, p->list[i].name);
            if (pass == 0)
                worsen(&most, norm(got, count));
            else
                compare(g, &w, name, got, count, small * most);
            free(got);
        }
    }
    conclude(g, &w, what, limit);
}

/* ---- the parts of a case ------------------------------------------------------------------ */

static void check_hidden(struct golden *g, struct model *m)
{
    struct worst w = {.measure = relative};
    size_t count = (size_t)m->rows * g->config.hidden_size;
    float *got = malloc(sizeof *got * count);
    for (int l = 0; l <= g->config.num_hidden_layers; l++) {
        char name[32];
        snprintf(name, sizeof name, "hidden/%d", l);
        model_hidden(m, got, l);
        compare(g, &w, name, got, count, 0);
    }
    free(got);
    conclude(g, &w, "hidden", HIDDEN);
}

/* Returns how far off a loss may be: see number(). */
static double check_logits(struct golden *g, struct model *m)
{
    struct worst w = {.measure = largest};
    size_t count = (size_t)m->rows * g->config.vocab_size;
    float *got = malloc(sizeof *got * count);
    model_logits(m, got, 0, m->rows);
    compare(g, &w, "logits", got, count, 0);
    free(got);
    conclude(g, &w, "logits", LOGITS);
    return BF16 ? 2 * OF_TWIN * w.twin_error : 0;
}

static void check_stats(struct golden *g, const double *curves, int minis)
{
    struct worst w = {.measure = relative};
    float *got = malloc(sizeof *got * (size_t)minis);
    for (int i = 0; i < 4 * g->config.num_hidden_layers; i++) {
        char name[48];
        snprintf(name, sizeof name, "ttt_stats/%d/%d", i / 4, i % 4);
        for (int c = 0; c < minis; c++)
            got[c] = (float)curves[i * minis + c];
        compare(g, &w, name, got, (size_t)minis, 0);
    }
    free(got);
    conclude(g, &w, "stats", STATS);
}

/* Forward and backward of the one batch. Returns how far off a loss may be in bf16. */
static double check_batch(struct golden *g)
{
    struct model m;
    size_t rows = (size_t)g->batch * g->seq;
    int minis = g->seq / g->config.mini_batch_size;
    int32_t *input = copy_of(g, &g->file, "input_ids", TENSOR_I32, rows);
    int32_t *target = copy_of(g, &g->file, "target_ids", TENSOR_I32, rows);
    float *mask = copy_floats(g, &g->file, "loss_masks", rows);
    if (!input || !target || !mask || load_params(g))
        return 0;
    if (model_open(&m, &g->config, &g->params, g->batch, g->seq, true)) {
        failed(g, why());
        return 0;
    }
    double *curves = calloc((size_t)(4 * minis * g->config.num_hidden_layers), sizeof *curves);
    struct score score = {0}, again = {0};
    struct tokens t = {input, target, mask};
    double loss = 0, accuracy = 0;
    model_zero_grad(&m);
    CHECK(model_train(&m, &t, 1, 1, &score, curves) == 0);
    check_hidden(g, &m);
    double slack = check_logits(g, &m);
    number(g, "loss", 0, score.loss, BF16 ? slack : LOSS, &loss);
    add_note(g, "loss", loss);
    if (!BF16)
        number(g, "accuracy", 0, score.accuracy, LOSS, &accuracy);
    check_params(g, "grad", g->params.grad, GRAD, GRAD_ZERO, relative, "gradient");
    if (mixer_is_ttt(g->config.seq_modeling_block))
        check_stats(g, curves, minis);
    CHECK(model_score(&m, &t, 1, &again) == 0);
    CHECK(again.loss == score.loss && again.accuracy == score.accuracy);
    free(curves);
    free(mask);
    free(target);
    free(input);
    model_close(&m);
    return slack;
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

/* With blocks recomputed, which check_batch is without: no number may change by it. */
static void check_training(struct golden *g, double slack)
{
    config_recompute_blocks(&g->config, true);
    int steps = (int)json_integer_value(json_object_get(g->json, "steps"));
    size_t step_ids = (size_t)g->batch * ((size_t)g->seq + 1);
    int32_t *ids = copy_of(g, &g->file, "train/ids", TENSOR_I32, (size_t)steps * step_ids);
    struct model m = {0};
    struct optim o = {0};
    if (!ids || load_params(g))
        return;
    if (model_open(&m, &g->config, &g->params, g->batch / g->accum_steps, g->seq, true) ||
        optim_open(&o, &g->optim, &g->params)) {
        failed(g, why());
        return;
    }
    double loss = 0, exact = 0, length = 0;
    double peak = strcmp(g->optim.type, "palm") ? g->optim.adamw.lr : 0; /* palm: exact */
    float *norms = malloc(sizeof *norms * (size_t)steps);
    for (int s = 0; s < steps; s++) {
        struct score score = {0};
        size_t i = (size_t)s;
        float mult = optim_ttt_lr_mult(&g->config, s + 1);
        CHECK(train_step(g, &m, ids + i * step_ids, mult, &score) == 0);
        norms[s] = (float)optim_grad_norm(&o, &g->params);
        optim_step(&o, &g->params, s);
        number(g, "train/loss", i, score.loss, BF16 ? slack : STEP_LOSS, &loss);
        number(g, "train/logged_lr", i, optim_lr(&g->optim, s + 1), RATE * peak, &exact);
        number(g, "train/ttt_lr_mult", i, mult, 0, &exact);
        if (!BF16)
            number(g, "train/grad_norm", i, norms[s], STEP_NORM * norms[s], &length);
    }
    add_note(g, "steps' loss", loss);
    struct worst w = {.measure = relative};
    compare(g, &w, "train/grad_norm", norms, (size_t)steps, 0);
    conclude(g, &w, "norm", STEP_NORM);
    free(norms);
    free(ids);
    bool narrow =
        !strcmp(g->optim.type, "palm") ? g->optim.palm.bf16_momentum : g->optim.adamw.bf16_momentum;
    if (narrow)
        check_params(g, "after", g->params.master, AFTER, 0, relative_of_most, "most after");
    check_params(g, "after", g->params.master, narrow ? AFTER_BF16 : AFTER, 0, relative, "after");
    optim_close(&o);
    model_close(&m);
}

/* Whether this build has all the case asks for; -1 with why(). */
static int fits(struct golden *g, const char *dir)
{
    char path[4096];
    const char *dtype = json_string_value(json_object_get(g->json, "dtype"));
    if (!dtype || strcmp(dtype, "fp32"))
        return fail("a %s case, which a bf16 build compares with the fp32 case of its name",
                    dtype ? dtype : "nameless");
    if (golden_configure(g))
        return -1;
    snprintf(path, sizeof path, "%s/%s_bf16.safetensors", dir, g->name);
    if (BF16 && access(path, R_OK))
        return fail("no %s_bf16 beside it, and this build stores bf16", g->name);
    return BF16 ? tensors_open(&g->twin, path) : 0;
}

/* What this build cannot run is skipped with its reason; what is broken fails. */
static void run(const char *dir, const char *name)
{
    struct golden g = {.name = name, .optim = OPTIM_DEFAULT};
    case_begin(name);
    if (golden_open(&g, dir)) {
        failed(&g, why());
        case_end("");
    } else if (fits(&g, dir)) {
        case_skip(name, why());
    } else if (params_list(&g.params, &g.config) || params_alloc(&g.params, true)) {
        failed(&g, why());
        case_end("");
    } else {
        check_training(&g, check_batch(&g));
        case_end(g.note);
    }
    golden_close(&g);
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
