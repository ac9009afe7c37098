/* convert.c -- ttt-convert: checkpoints of others to ours and back. */
#include "device.h"
#include "file.h"
#include "flags.h"
#include "infer.h"
#include "reference.h"
#include "report.h"
#include "rundir.h"
#include "state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *from_kind = "", *to_kind = "", *dtype = "fp32", *part = "auto";
static int64_t step_flag;
static struct config_flags model = CONFIG_FLAGS_DEFAULT;

static struct flag table[] = {
    {FLAG_GROUP, .name = "what to convert"},
    {FLAG_CHOICE, .name = "from", .value = &from_kind, .operand = "reference|ttt",
     .help = "what the first operand is"},
    {FLAG_CHOICE, .name = "to", .value = &to_kind, .operand = "reference|ttt",
     .help = "what the second operand becomes"},
    {FLAG_CHOICE, .name = "part", .value = &part, .operand = "auto|trainstate|params",
     .help = "with the optimiser's state or the parameters alone; auto: with it where it is"},
    {FLAG_CHOICE, .name = "dtype", .value = &dtype, .operand = "fp32|bf16",
     .help = "of the reference's file that is written; ours are fp32"},
    {FLAG_INT, .name = "step", .value = &step_flag, .operand = "N",
     .help = "the step of a file that does not tell it, as streaming_params;\n"
             "0: the number that its name ends with, else 1"},

    {FLAG_GROUP, .name = "what the reference's files do not tell of a model"},
    CONFIG_FLAGS(model),
    {FLAG_ON, 'q', "quiet", &quiet, .help = "tell only of trouble"},
    {0},
};

static const struct program program_table = {
    "ttt-convert",
    "FROM TO",
    "Convert checkpoints: those that the JAX trainer streams (streaming_train_state,\n"
    "streaming_params; fp32 or bf16) to the directory of a run that ttt-train resumes and\n"
    "ttt-generate speaks from, and back. Every tensor has to be there, of its shape, and no\n"
    "other. There and back gives the same bytes.",
    "  ttt-convert --from=reference exp/streaming_train_state --to=ttt runs/converted\n"
    "  ttt-train ... --exp_dir=runs --resume_exp_name=converted\n"
    "  ttt-convert --from=ttt runs/small/step_300 --to=reference streaming_params --part=params\n",
    table,
};

/* ---- the reference's to ours ---------------------------------------------------------------- */

/* The number that the file's name ends with, as streaming_params_5000, else 1. */
static int64_t step_of_name(const char *path)
{
    const char *digits = path + strlen(path);
    while (digits > path && digits[-1] >= '0' && digits[-1] <= '9')
        digits--;
    int64_t step = digits > path && digits[-1] == '_' ? strtoll(digits, NULL, 10) : 0;
    return step > 0 && step < INT32_MAX ? step : 1;
}

static int choose_step(const struct reference *r, const char *path, int64_t *step)
{
    *step = r->has_step ? r->step : step_flag ? step_flag : step_of_name(path);
    if (r->has_step && step_flag && step_flag != r->step)
        return fail("%s: is of step %" PRId64 ", not of --step=%" PRId64, path, r->step, step_flag);
    if (*step < 1)
        return fail("%s: step %" PRId64 ": a checkpoint is of step 1 or later", path, *step);
    return 0;
}

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

/* DIR, cut where rundir_open wants its two parts. */
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
    if (!stat(step_dir, &st))
        return fail("%s: is there already; remove it, or choose another directory", step_dir);
    return rundir_open(dir, parent, name);
}

static int write_dir(const struct reference *r, const struct params *p, const struct config *c,
                     int64_t step, const char *path)
{
    struct rundir dir = {0};
    struct state s = {.step = step, .milestone = true, .config = *c, .flags = flags_of(r)};
    int status = !s.flags ? fail("out of memory") : open_dir(&dir, path, step);
    if (!status && (state_save(&s, p, dir.path) || rundir_point(&dir, step)))
        status = -1;
    rundir_close(&dir);
    state_close(&s);
    return status;
}

static const char *describe(const struct reference *r)
{
    static const char *const optims[] = {"parameters alone", "with AdamW's state",
                                         "with Adafactor's state"};
    return optims[r->optim];
}

static int infer(struct config *c, const struct reference *r, const struct flax *f)
{
    int count;
    struct infer_hints hints = {&model, flag_find(&program_table, "load_model_config")->given};
    struct tensor *list = reference_params(r, f, &count);
    int status = list ? infer_model(c, &hints, list, count, f->path) : -1;
    reference_free(list, count);
    return status;
}

static void drop_moments(struct reference *r, struct params *p)
{
    device_free(p->m);
    device_free(p->v);
    device_free(p->mean);
    p->m = p->v = p->mean = NULL;
    r->optim = REFERENCE_PARAMS_ONLY;
}

static int from_reference(const char *path, const char *dir)
{
    struct flax f;
    struct reference r;
    struct config c;
    struct params p = {0};
    int64_t step;
    if (flax_open(&f, path))
        return -1;
    int status = reference_inspect(&r, &f) || choose_step(&r, path, &step) || infer(&c, &r, &f) ||
                         params_list(&p, &c) || reference_load(&r, &p, &f)
                     ? -1
                     : 0;
    if (!status && !strcmp(part, "trainstate") && r.optim == REFERENCE_PARAMS_ONLY)
        status = fail("%s: has parameters alone, not --part=trainstate", path);
    if (!status && !strcmp(part, "params"))
        drop_moments(&r, &p);
    if (!status && !write_dir(&r, &p, &c, step, dir))
        say("%s: %s, %d layers, %d tensors, %zu parameters, %s; step %" PRId64 " in %s", path,
            mixer_name(c.seq_modeling_block), c.num_hidden_layers, f.count, p.total, describe(&r),
            step, dir);
    else
        status = -1;
    params_close(&p);
    flax_close(&f);
    return status;
}

/* ---- ours to the reference's ----------------------------------------------------------------- */

static const char *flag_of(const struct state *s, const char *name)
{
    const char *text = json_string_value(json_object_get(s->flags, name));
    return text ? text : "";
}

static int describe_state(struct reference *r, const struct state *s, const char *dir)
{
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

static int to_reference(const char *path, const char *file)
{
    char step_dir[PATH_MAX];
    struct state s = {0};
    struct reference r;
    struct params p = {0};
    int status = state_find(step_dir, path) || state_read(&s, step_dir) ||
                         describe_state(&r, &s, step_dir) || params_list(&p, &s.config) ||
                         reference_alloc(&r, &p)
                     ? -1
                     : 0;
    if (!status)
        status = r.optim == REFERENCE_PARAMS_ONLY ? state_load_params(&p, step_dir)
                                                  : state_load_all(&p, step_dir);
    if (!status)
        status = reference_save(&r, &p, file, strcmp(dtype, "bf16") ? TENSOR_F32 : TENSOR_BF16);
    if (!status)
        say("%s: %s, %d layers, %zu parameters, %s, step %" PRId64 "; %s in %s", step_dir,
            mixer_name(s.config.seq_modeling_block), s.config.num_hidden_layers, p.total,
            describe(&r), s.step, dtype, file);
    params_close(&p);
    state_close(&s);
    return status;
}

int main(int argc, char **argv)
{
    int count;
    char **operand = flags_parse(argc, argv, &program_table, &count);
    if (count != 2)
        misuse("expected two operands, what to read and what to write, not %d", count);
    if (!*from_kind || !*to_kind || !strcmp(from_kind, to_kind))
        misuse("expected --from=reference --to=ttt or --from=ttt --to=reference");
    if (step_flag < 0 || step_flag > INT32_MAX)
        misuse("--step=%lld: expected 1 to 2147483647", (long long)step_flag);
    writer_clean_on_signals();
    bool back = !strcmp(from_kind, "ttt");
    if (back ? to_reference(operand[0], operand[1]) : from_reference(operand[0], operand[1]))
        die("%s", why());
    return finish(0);
}
