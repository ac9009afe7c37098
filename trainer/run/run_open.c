/* run_open.c -- open a run: from flags to everything that a step needs. */
#include "device.h"
#include "file.h"
#include "report.h"
#include "run.h"
#include "run_memory.h"
#include "run_ranks.h"
#include "team_data.h"
#include "version.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- data and model ----------------------------------------------------------------------- */

/* The vocabulary of the checkpoint that --resume_exp_name names; 0 when it names none. */
static int checkpoint_vocab(const struct options *o, int *vocab_size)
{
    struct resume named;
    int status = *o->resume_exp_name ? resume_find(&named, o, NULL) : 0;
    if (*o->resume_exp_name) {
        *vocab_size = status ? 0 : named.state.config.vocab_size;
        resume_close(&named);
    }
    return status;
}

/* The vocabulary is the tokenizer's, as in the reference; --vocab_size asks for more. Where the
   dataset does not tell it, the checkpoint that the run begins from does. */
static int choose_vocab(struct config *c, const struct dataset *d, const struct options *o)
{
    int given = c->vocab_size;
    int64_t wanted = o->vocab_size;
    if (wanted && wanted < d->vocab_size)
        return fail("--vocab_size=%" PRId64 ": the ids of %s go up to %d", wanted, d->dir,
                    d->vocab_size - 1);
    c->vocab_size = wanted ? (int)wanted : d->vocab_size ? d->vocab_size : given;
    if (!c->vocab_size && checkpoint_vocab(o, &c->vocab_size))
        return -1;
    if (!c->vocab_size)
        return fail("%s: nothing tells how many ids its tokenizer has (no %s there); give "
                    "--vocab_size=N",
                    d->dir, MANIFEST_NAME);
    if (given && given != c->vocab_size)
        say("vocab_size is the tokenizer's %d, not the %d of --update_model_config", c->vocab_size,
            given);
    return 0;
}

static int choose_config(struct run *r)
{
    const struct options *o = r->options;
    struct config *c = &r->config;
    if (config_load(c, o->model.load_model_config))
        return -1;
    c->vocab_size = 0;
    if (config_update(c, o->model.update_model_config) || choose_vocab(c, &r->dataset, o))
        return -1;
    c->max_sequence_length = (int)o->seq_length;
    return config_check(c, (int)o->seq_length);
}

static int find_data_and_model(struct run *r)
{
    const struct options *o = r->options;
    if (dataset_find(&r->dataset, o->dataset_path, o->tokenizer_name, o->tokenizer_given) ||
        choose_config(r))
        return -1;
    return params_list_on(&r->params, &r->config, &o->mesh);
}

static int open_split(struct run *r, struct data *d, const char *split)
{
    const struct options *o = r->options;
    char path[PATH_MAX];
    bool llama2 = !strcmp(r->dataset.tokenizer, DATASET_LLAMA2);
    bool mask = !strcmp(o->mask_bos, "on") || (!strcmp(o->mask_bos, "auto") && llama2);
    return dataset_split(&r->dataset, split, path) ||
                   data_open(d, path, (int)o->seq_length, r->config.vocab_size, mask)
               ? -1
               : 0;
}

/* Find the arrays of ids that the run reads. */
static int open_splits(struct run *r)
{
    const struct options *o = r->options;
    uint64_t rows = (uint64_t)o->global_batch_size;
    if ((o->eval_mode || o->eval_every) && open_split(r, &r->validation, "validation"))
        return -1;
    if (o->eval_every && !o->eval_mode && r->validation.windows < rows)
        return fail("%s: %" PRIu64 " rows of --seq_length=%" PRId64
                    " are fewer than one batch; a smaller --global_batch_size, or no --eval_every",
                    r->validation.path, r->validation.windows, o->seq_length);
    if (o->eval_mode)
        return 0;
    if (open_split(r, &r->train, "train"))
        return -1;
    if (r->train.windows < rows)
        return fail("%s: %" PRIu64 " rows of --seq_length=%" PRId64
                    " are fewer than one batch of --global_batch_size=%" PRIu64,
                    r->train.path, r->train.windows, o->seq_length, rows);
    return 0;
}

static int open_data(struct run *r)
{
    const struct options *o = r->options;
    if (batch_open(&r->batch, (int)o->rank_rows, (int)o->seq_length) ||
        (!o->eval_mode && batch_open(&r->next, (int)o->rank_rows, (int)o->seq_length)))
        return -1;
    if (o->eval_mode)
        return 0;
    char tokens[16];
    say("%s: %s tokens, %" PRIu64 " rows of %" PRId64 ", %" PRIu64 " steps an epoch",
        r->dataset.dir, human(tokens, (double)r->train.npy.count), r->train.windows, o->seq_length,
        r->train.windows / (uint64_t)o->global_batch_size);
    return order_open(&r->order, o->order_rule, (uint64_t)o->seed, r->train.windows);
}

static int open_model(struct run *r)
{
    const struct options *o = r->options;
    bool training = !o->eval_mode;
    if (params_alloc(&r->params, training) ||
        model_open(&r->model, &r->config, &r->params, r->micro_batch, (int)o->seq_length, training))
        return -1;
    if (run_curve_bytes(r)) {
        r->curves = calloc(1, run_curve_bytes(r));
        if (!r->curves)
            return fail("out of memory for the TTT statistics");
    }
    if (!training)
        return 0;
    return optim_open(&r->optim, &o->optim, &r->params) ||
                   spikes_open(&r->spikes, o->skip_spikes, (int)o->spike_window)
               ? -1
               : 0;
}

/* Beside the plan: arrays begin at multiples of 256 bytes. */
enum { SPARE_BYTES = 1 << 20 };

/* Tell the plan, refuse a run that does not fit, and take what it needs. */
static int check_memory(struct run *r, bool *in_background)
{
    const struct options *o = r->options;
    struct plan plan;
    size_t free_bytes = device_free_bytes();
    char parameters[16];
    if (run_plan(r, &plan, free_bytes, in_background))
        return -1;
    say("%s: %s, %d layers, %s parameters; memory:", o->model.load_model_config,
        mixer_name(r->config.seq_modeling_block), r->config.num_hidden_layers,
        human(parameters, (double)r->params.total));
    if (!quiet)
        plan_write(&plan, free_bytes, stderr);
    if (plan_check(&plan, free_bytes,
                   o->eval_mode || config_recomputes_blocks(&r->config)
                       ? "a smaller --micro_batch or --seq_length needs less"
                       : "--recompute_blocks=on, or a smaller --micro_batch or --seq_length, needs "
                         "less"))
        return -1;
    if (!device_take(plan_total(&plan) + (size_t)SPARE_BYTES))
        return fail("the device does not give the %.0f MiB that the run needs in one piece, though "
                    "%.0f MiB are free: --micro_batch=auto, or a smaller number, takes less",
                    (double)plan_total(&plan) / (1 << 20), (double)free_bytes / (1 << 20));
    if (!*in_background && o->save_in_background && !o->eval_mode)
        say("a snapshot does not fit as well: training waits while checkpoints are written");
    return 0;
}

/* ---- what the directory tells -------------------------------------------------------------- */

/* Write one of the run directory's texts. */
static int write_text(const struct rundir *dir, const char *name,
                      void (*print)(FILE *to, const struct run *r), const struct run *r)
{
    char path[PATH_MAX], *text = NULL;
    size_t bytes = 0;
    if (rundir_path(dir->path, name, path))
        return -1;
    FILE *to = open_memstream(&text, &bytes);
    if (!to)
        return fail("%s: out of memory", path);
    print(to, r);
    int status = fclose(to) ? fail("%s: out of memory", path) : file_write(path, text, bytes);
    free(text);
    return status;
}

static void print_flags(FILE *to, const struct run *r)
{
    (void)r;
    options_write(to);
}

static void print_config(FILE *to, const struct run *r)
{
    json_t *config = config_to_json(&r->config);
    json_dumpf(config, to, JSON_INDENT(2));
    fprintf(to, "\n");
    json_decref(config);
}

static void print_params(FILE *to, const struct run *r)
{
    params_write(&r->params, to);
}

static void print_version(FILE *to, const struct run *r)
{
    (void)r;
    fprintf(to, "ttt-train %s, %s build\n%s\n", version_text(), TTT_BUILD, device_describe());
}

static int describe(const struct run *r)
{
    return write_text(&r->dir, "flags.txt", print_flags, r) ||
                   write_text(&r->dir, "config.json", print_config, r) ||
                   write_text(&r->dir, "model.txt", print_params, r) ||
                   write_text(&r->dir, "version.txt", print_version, r)
               ? -1
               : 0;
}

/* ---- where it begins ----------------------------------------------------------------------- */

/* --is_rollback_reshuffle: what follows the checkpoint comes in another order than it did. The
   checkpoint notes it, so that a kill before the next one is written changes nothing. */
static int reshuffle(struct run *r, const struct resume *from)
{
    const struct options *o = r->options;
    struct order_place at =
        order_place(&r->order, (uint64_t)r->step, (uint64_t)o->global_batch_size);
    if (order_reshuffle(&r->order, at))
        return -1;
    say("reshuffles the data of epoch %" PRIu64 " after its first %" PRIu64
        " rows; without --is_rollback_reshuffle from now on",
        at.epoch, at.position);
    bool notes = from->in_place && from->whole && from->state.data.windows;
    return notes && run_is_first(r) ? state_note_reshuffles(from->step_dir, &r->order.log) : 0;
}

/* The running average of the parameters, where there is one, begins with them. */
static void begin_average(struct params *p)
{
    if (p->average)
        device_copy(p->average, p->master, sizeof *p->average * p->floats);
}

static int begin(struct run *r, const struct resume *from)
{
    const struct options *o = r->options;
    if (!*from->step_dir) {
        params_init(&r->params, (uint64_t)o->seed, r->config.initializer_range);
        begin_average(&r->params);
        return 0;
    }
    bool whole = from->whole && !o->eval_mode;
    r->step = whole ? from->state.step : 0;
    if (whole) {
        struct state_data now;
        run_place_in_data(r, &now);
        if (resume_check_data(from, &now) || resume_check_optim(from) ||
            state_load_all(&r->params, from->step_dir) ||
            (r->params.average && state_load_average(&r->params, from->step_dir)))
            return -1;
        if (r->spikes.loss && from->state.spikes &&
            spikes_from_json(&r->spikes, from->state.spikes))
            return fail("%s/state.json: \"spikes\" are not losses", from->step_dir);
        order_replay(&r->order, &from->state.data.reshuffles);
        resume_tell_changes(from);
    } else {
        if (state_load_params(&r->params, from->step_dir))
            return -1;
        begin_average(&r->params);
    }
    if (o->is_rollback_reshuffle && !o->eval_mode && reshuffle(r, from))
        return -1;
    say("%s %s, step %" PRId64, whole ? "goes on from" : "takes the parameters of", from->step_dir,
        from->state.step);
    if (!from->in_place || !whole)
        return 0;
    r->saved = r->step;
    if (!run_is_first(r))
        return 0;
    /* When an older checkpoint was asked for, a kill from here on must not lead to the newer. */
    return rundir_point(&r->dir, r->step);
}

static int open_directory(struct run *r)
{
    const struct options *o = r->options;
    char path[PATH_MAX];
    return rundir_path(r->dir.path, "metrics.jsonl", path) ||
                   metrics_open(&r->metrics, path, r->saved) ||
                   metrics_follow(&r->metrics, o->tensorboard ? r->dir.path : NULL,
                                  *o->metrics_textfile ? o->metrics_textfile : NULL, o->exp_name,
                                  r->saved) ||
                   describe(r)
               ? -1
               : 0;
}

static int open_all(struct run *r, struct resume *from)
{
    const struct options *o = r->options;
    if (find_data_and_model(r))
        return -1;
    config_notes(&r->config);
    options_notes(o);
    int (*open_dir)(struct rundir *, const char *, const char *) =
        run_is_first(r) ? rundir_open : rundir_name;
    const struct data *const read[] = {&r->train, &r->validation};
    if (!o->eval_mode && open_dir(&r->dir, o->exp_dir, o->exp_name))
        return -1;
    bool in_background;
    if (open_splits(r) || team_agree_data(r->team, &r->dataset, read, 2) ||
        resume_find(from, o, o->eval_mode ? NULL : &r->dir) || run_agree_begin(r, from->step_dir) ||
        team_join(r->team) || check_memory(r, &in_background) || open_data(r) || open_model(r) ||
        saver_open(&r->saver, in_background, &r->params, &r->dir, &r->metrics) || begin(r, from))
        return -1;
    r->began_s = now_s() - (r->step ? from->state.elapsed_s : 0);
    return o->eval_mode || !run_is_first(r) ? 0 : open_directory(r);
}

int run_open(struct run *r, const struct options *o, struct team *team,
             const volatile sig_atomic_t *stop)
{
    struct resume from = {0};
    *r = (struct run){.options = o, .team = team, .stop = stop};
    int status = open_all(r, &from);
    resume_close(&from);
    if (status)
        run_close(r);
    return status;
}

void run_close(struct run *r)
{
    saver_close(&r->saver);
    metrics_close(&r->metrics);
    rundir_close(&r->dir);
    free(r->curves);
    spikes_close(&r->spikes);
    optim_close(&r->optim);
    model_close(&r->model);
    params_close(&r->params);
    order_close(&r->order);
    batch_close(&r->batch);
    batch_close(&r->next);
    data_close(&r->train);
    data_close(&r->validation);
    dataset_close(&r->dataset);
    *r = (struct run){0};
}

int run_print(const struct options *o)
{
    struct run r = {.options = o};
    struct plan plan;
    size_t free_bytes = device_free_bytes();
    bool in_background;
    int status = find_data_and_model(&r) || open_splits(&r) ||
                         run_plan(&r, &plan, free_bytes, &in_background)
                     ? -1
                     : 0;
    if (!status) {
        options_write(stdout);
        print_config(stdout, &r);
        print_params(stdout, &r);
        plan_write(&plan, free_bytes, stdout);
    }
    run_close(&r);
    return status;
}
