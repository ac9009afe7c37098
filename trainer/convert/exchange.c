/* exchange.c -- a model on its way from one form of checkpoint to another. */
#include "exchange.h"
#include "device.h"
#include "floats.h"
#include "hf.h"
#include "infer.h"
#include "report.h"
#include "rundir.h"
#include "state.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PIECE = 1 << 20 };

/* ---- the numbers themselves ------------------------------------------------------------------ */

/* Walk every parameter in pieces: rounded to a dtype in place, and into a checksum. */
static int round_and_digest(struct exchange *x, enum tensor_dtype dtype)
{
    const struct params *p = &x->params;
    struct xxh3_stream hash;
    char shape[48];
    float *piece = malloc(PIECE * sizeof *piece), *rounded = malloc(PIECE * sizeof *rounded);
    int status = piece && rounded ? 0 : fail("out of memory");
    xxh3_begin(&hash);
    for (int i = 0; i < p->count && !status; i++) {
        const struct param *q = &p->list[i];
        param_shape(q, shape);
        xxh3_add(&hash, q->name, strlen(q->name) + 1);
        xxh3_add(&hash, shape, strlen(shape) + 1);
        for (size_t at = 0; at < q->count && !status; at += PIECE) {
            size_t n = q->count - at < PIECE ? q->count - at : PIECE;
            device_get(piece, param_master(p, i) + at, n * sizeof *piece);
            if (dtype != TENSOR_F32) {
                floats_narrow(rounded, piece, n, dtype);
                for (size_t k = 0; dtype == TENSOR_F16 && k < n && !status; k++)
                    if (fabsf(piece[k]) >= 65520 && isfinite(piece[k]))
                        status = fail("%s holds %g, which is beyond f16: choose bf16", q->name,
                                      (double)piece[k]);
                floats_widen(piece, rounded, n, dtype);
                device_put(param_master(p, i) + at, piece, n * sizeof *piece);
            }
            xxh3_add(&hash, piece, n * sizeof *piece);
        }
    }
    strcpy(x->digest, xxh3_end(&hash).hex);
    free(piece);
    free(rounded);
    return status;
}

static const char *dtype_text(enum tensor_dtype dtype)
{
    return dtype == TENSOR_F32 ? "fp32" : dtype == TENSOR_BF16 ? "bf16" : "f16";
}

static const char *optim_text(const struct reference *r)
{
    static const char *const optims[] = {"parameters alone", "with AdamW's state",
                                         "with Adafactor's state"};
    return optims[r->optim];
}

/* "mixer, layers, tensors, parameters, what of the optimiser, XXH3-128 of the parameters" */
static void tell(const struct exchange *x, const char *path, const char *verb, const char *rest)
{
    say("%s: %s %s, %d layers, %d tensors, %zu parameters, %s, step %" PRId64 "%s; XXH3-128 of the "
        "parameters %s",
        path, verb, mixer_name(x->config.seq_modeling_block), x->config.num_hidden_layers,
        x->params.count, x->params.total, optim_text(&x->has), x->step, rest, x->digest);
}

/* ---- reading: the reference's --------------------------------------------------------------- */

/* The number that the file's name ends with, as streaming_params_5000, else 1. */
static int64_t step_of_name(const char *path)
{
    const char *digits = path + strlen(path);
    while (digits > path && digits[-1] >= '0' && digits[-1] <= '9')
        digits--;
    int64_t step = digits > path && digits[-1] == '_' ? strtoll(digits, NULL, 10) : 0;
    return step > 0 && step < INT32_MAX ? step : 1;
}

static int choose_step(struct exchange *x, const char *path)
{
    const struct reference *r = &x->has;
    int64_t asked = x->options->step;
    x->step = r->has_step ? r->step : asked ? asked : step_of_name(path);
    if (r->has_step && asked && asked != r->step)
        return fail("%s: is of step %" PRId64 ", not of --step=%" PRId64, path, r->step, asked);
    if (x->step < 1)
        return fail("%s: step %" PRId64 ": a checkpoint is of step 1 or later", path, x->step);
    return 0;
}

static int infer(struct exchange *x, const struct flax *f)
{
    int count;
    struct infer_hints hints = {x->options->model, x->options->model_given};
    struct tensor *list = reference_params(&x->has, f, &count);
    int status = list ? infer_model(&x->config, &hints, list, count, f->path) : -1;
    reference_free(list, count);
    return status;
}

static void drop_moments(struct exchange *x)
{
    struct params *p = &x->params;
    device_free(p->m);
    device_free(p->v);
    device_free(p->mean);
    p->m = p->v = p->mean = NULL;
    x->has.optim = REFERENCE_PARAMS_ONLY;
}

static int read_reference(struct exchange *x, const char *path)
{
    struct flax f;
    struct reference *r = &x->has;
    const char *part = x->options->part;
    if (flax_open(&f, path))
        return -1;
    int status = reference_inspect(r, &f) || choose_step(x, path) || infer(x, &f) ||
                         params_list(&x->params, &x->config) || reference_load(r, &x->params, &f)
                     ? -1
                     : 0;
    if (!status && !strcmp(part, "trainstate") && r->optim == REFERENCE_PARAMS_ONLY)
        status = fail("%s: has parameters alone, not --part=trainstate", path);
    if (!status && !strcmp(part, "params"))
        drop_moments(x);
    flax_close(&f);
    return status;
}

/* ---- reading: ours ----------------------------------------------------------------------------
 */

static const char *flag_of(const struct state *s, const char *name)
{
    const char *text = json_string_value(json_object_get(s->flags, name));
    return text ? text : "";
}

static int describe_state(struct exchange *x, const struct state *s, const char *dir)
{
    struct reference *r = &x->has;
    const char *part = x->options->part;
    bool params_only = !strcmp(part, "params") || (!strcmp(part, "auto") && !s->has_moments);
    *r = (struct reference){.accumulate = 1};
    if (params_only)
        return 0;
    if (!s->has_moments)
        return fail("%s: has parameters alone, not --part=trainstate", dir);
    const char *accumulate = flag_of(s, "optimizer.accumulate_gradient_steps");
    bool scale =
        !strcmp(flag_of(s, "optimizer.adamw_optimizer.multiply_by_parameter_scale"), "true");
    bool palm = !strcmp(flag_of(s, "optimizer.type"), "palm");
    r->has_step = true;
    r->step = s->step;
    r->optim = palm || scale ? REFERENCE_ADAFACTOR : REFERENCE_ADAMW;
    r->accumulate = *accumulate ? strtoll(accumulate, NULL, 10) : 1;
    if (r->accumulate < 1)
        return fail("%s: optimizer.accumulate_gradient_steps is \"%s\": expected 1 or more", dir,
                    accumulate);
    return 0;
}

static int read_ttt(struct exchange *x, const char *path)
{
    char dir[PATH_MAX];
    struct state s = {0};
    struct params *p = &x->params;
    int status =
        state_find(dir, path) || state_read(&s, dir) || describe_state(x, &s, dir) ? -1 : 0;
    if (!status) {
        x->config = s.config;
        x->step = s.step;
        status = params_list(p, &x->config) || reference_alloc(&x->has, p) ||
                         (x->has.optim == REFERENCE_PARAMS_ONLY ? state_load_params(p, dir)
                                                                : state_load_all(p, dir))
                     ? -1
                     : 0;
    }
    state_close(&s);
    return status;
}

/* ---- reading: Hugging Face's ------------------------------------------------------------------
 */

static int read_hf(struct exchange *x, const char *path)
{
    struct hf_sum sum;
    x->has = (struct reference){.accumulate = 1};
    x->step = x->options->step ? x->options->step : 1;
    if (!strcmp(x->options->part, "trainstate"))
        return fail("%s: has parameters alone, not --part=trainstate", path);
    if (hf_load(&x->config, &x->params, path, &sum))
        return -1;
    say("%s: %d tensors, %" PRIu64 " bytes of %s in %d file%s", path, sum.tensors, sum.bytes,
        dtype_text(sum.widest), sum.files, sum.files == 1 ? "" : "s");
    return 0;
}

int exchange_read(struct exchange *x, const struct exchange_options *o, enum exchange_form form,
                  const char *path)
{
    static int (*const readers[])(struct exchange *, const char *) = {
        [EXCHANGE_TTT] = read_ttt, [EXCHANGE_REFERENCE] = read_reference, [EXCHANGE_HF] = read_hf};
    *x = (struct exchange){.options = o};
    if (readers[form](x, path) || round_and_digest(x, TENSOR_F32)) {
        exchange_close(x);
        return -1;
    }
    tell(x, path, "read", "");
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

/* What the file tells of the flags that made it, for the way back and for people who resume. */
static json_t *flags_of(const struct reference *r)
{
    json_t *flags = json_object();
    char accumulate[24];
    snprintf(accumulate, sizeof accumulate, "%" PRId64, r->accumulate);
    if (flags && r->optim != REFERENCE_PARAMS_ONLY) {
        bool adafactor = r->optim == REFERENCE_ADAFACTOR;
        json_object_set_new(flags, "optimizer.accumulate_gradient_steps", json_string(accumulate));
        json_object_set_new(flags, "optimizer.type", json_string(adafactor ? "palm" : "adamw"));
    }
    return flags;
}

/* DIR, cut where rundir_open wants its two parts; without that step. */
static int open_dir(struct rundir *dir, const char *path, int64_t step)
{
    char parent[PATH_MAX], name[PATH_MAX], step_dir[PATH_MAX];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    const char *slash = memrchr(path, '/', n);
    size_t above = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof name)
        return fail("%s: the path is too long", path);
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)above : 1, slash ? path : ".");
    snprintf(name, sizeof name, "%.*s", (int)(slash ? n - above - 1 : n), slash ? slash + 1 : path);
    snprintf(step_dir, sizeof step_dir, "%.*s/step_%" PRId64, (int)n, path, step);
    struct stat st;
    if (rundir_open(dir, parent, name))
        return -1;
    if (!stat(step_dir, &st))
        return fail("%s: is there already; remove it, or choose another directory", step_dir);
    return 0;
}

static int write_ttt(struct exchange *x, const char *path)
{
    struct rundir dir = {0};
    struct state s = {.step = x->step,
                      .milestone = true,
                      .config = x->config,
                      .flags = flags_of(&x->has)};
    int status = !s.flags ? fail("out of memory") : open_dir(&dir, path, x->step);
    if (!status && (state_save(&s, &x->params, dir.path) || rundir_point(&dir, x->step)))
        status = -1;
    rundir_close(&dir);
    state_close(&s);
    return status;
}

static int write_reference(struct exchange *x, const char *path)
{
    return reference_save(&x->has, &x->params, path, x->options->dtype);
}

static int write_hf(struct exchange *x, const char *path)
{
    struct hf_sum sum;
    if (!strcmp(x->options->part, "trainstate"))
        return fail("%s: a Hugging Face model is parameters alone, not --part=trainstate", path);
    drop_moments(x);
    if (hf_save(&x->config, &x->params, path, x->options->dtype, x->options->max_bytes, &sum))
        return -1;
    say("%s: %d tensors, %" PRIu64 " bytes of %s in %d file%s", path, sum.tensors, sum.bytes,
        dtype_text(x->options->dtype), sum.files, sum.files == 1 ? "" : "s");
    return 0;
}

int exchange_write(struct exchange *x, enum exchange_form form, const char *path)
{
    static int (*const writers[])(struct exchange *,
                                  const char *) = {[EXCHANGE_TTT] = write_ttt,
                                                   [EXCHANGE_REFERENCE] = write_reference,
                                                   [EXCHANGE_HF] = write_hf};
    enum tensor_dtype dtype = form == EXCHANGE_TTT ? TENSOR_F32 : x->options->dtype;
    char rest[32];
    if ((dtype != TENSOR_F32 && round_and_digest(x, dtype)) || writers[form](x, path))
        return -1;
    snprintf(rest, sizeof rest, ", %s", dtype_text(dtype));
    tell(x, path, "wrote", rest);
    return 0;
}

void exchange_close(struct exchange *x)
{
    params_close(&x->params);
    *x = (struct exchange){0};
}
