/* eval_job.c -- one checkpoint on one text in windows of one length, for ttt-eval. */
#include "eval_job.h"
#include "device.h"
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { TOKENS_AT_ONCE = 16384, BOS = 1 };

static const double NOTE_S = 60;

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
    if (stop)
        _exit(128 + sig);
    stop = sig;
}

void eval_job_catch_signals(void)
{
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
}

/* ---- the state ---------------------------------------------------------------------------- */

/* What makes a job the same as another: everything that its sums depend on. */
static void name_job(char name[512], const struct eval_job *job, const struct trained *model,
                     const struct data *d, uint64_t windows)
{
    struct xxh3 sample = data_sample(d);
    snprintf(name, 512, "%s %s %" PRIu64 " tokens, windows %" PRIu64 " of %d%s%s, bytes by %s",
             model->digest.hex, sample.hex, d->npy.count, windows, d->seq,
             job->drop_last ? ", whole" : "", d->mask_bos ? ", masked" : "",
             job->tokenizer ? job->tokenizer->hash.hex : "none");
}

static json_t *read_state(const char *path)
{
    json_error_t e;
    if (access(path, F_OK))
        return json_object();
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (json_is_object(root))
        return root;
    json_decref(root);
    (void)fail("%s: not a state that ttt-eval has written: %s", path, e.text);
    return NULL;
}

/* Add the job's sums to the file, beside those of other jobs. */
static int note(const char *path, const char *name, const struct evaluate *sums)
{
    json_t *root = read_state(path);
    if (!root)
        return -1;
    int bad = json_object_set_new(root, name, evaluate_to_json(sums));
    char *text = bad ? NULL : json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(root);
    if (!text)
        return fail("%s: out of memory", path);
    int status = file_write_text(path, text);
    free(text);
    return status;
}

static int go_on(const struct eval_job *job, const char *name, struct evaluate *sums)
{
    if (!job->state_path)
        return 0;
    json_t *root = read_state(job->state_path);
    if (!root)
        return -1;
    const json_t *mine = json_object_get(root, name);
    int status = mine ? evaluate_from_json(sums, mine, job->state_path) : 0;
    if (mine && !status)
        say("goes on at window %" PRIu64 " of %s", sums->next, job->state_path);
    json_decref(root);
    return status;
}

/* Of many ranks the first alone looks, and tells the others. */
static int go_on_together(const struct eval_job *job, const char *name, struct evaluate *sums)
{
    int status = team_is_first(job->team) ? go_on(job, name, sums) : 0;
    double next = (double)sums->next;
    if (team_status(job->team, status) || team_share(job->team, &next, 1))
        return -1;
    sums->next = (uint64_t)next;
    return 0;
}

/* ---- sizes -------------------------------------------------------------------------------- */

/* Windows at once on this rank: as many tokens as keep the machine busy, fewer where memory is
   short. */
static int choose_batch(const struct eval_job *job, const struct trained *model, int seq,
                        uint64_t windows)
{
    uint64_t ranks = (uint64_t)mesh_data_ranks(&job->team->mesh);
    int rows = job->batch ? job->batch : TOKENS_AT_ONCE / seq;
    size_t free_bytes = device_free_bytes();
    if ((uint64_t)rows > (windows - 1) / ranks + 1)
        rows = (int)((windows - 1) / ranks + 1);
    for (rows = rows < 1 ? 1 : rows; rows > 1 && !job->batch; rows /= 2) {
        struct plan plan = {0};
        struct params listed = {0};
        int bad = params_list_on(&listed, &model->config, &job->team->mesh) ||
                  model_plan(&plan, &model->config, &listed, rows, seq, false);
        params_close(&listed);
        if (!bad && plan_total(&plan) < free_bytes / 2)
            break;
    }
    return rows;
}

/* The same on every rank: what fits on all. */
static int agree_batch(const struct eval_job *job, const struct trained *model, int seq,
                       uint64_t windows, int *rows)
{
    double chosen = choose_batch(job, model, seq, windows);
    if (team_least(job->team, &chosen))
        return -1;
    *rows = (int)chosen;
    return 0;
}

/* What the job reads: whole windows, and targets behind them. */
static int choose_windows(const struct eval_job *job, const struct data *d, uint64_t *windows,
                          uint64_t *tail)
{
    uint64_t most = job->most_tokens ? job->most_tokens : UINT64_MAX;
    uint64_t seq = (uint64_t)d->seq;
    *windows = d->windows;
    *tail = data_tail(d);
    if (*windows > (most - 1) / seq + 1)
        *windows = (most - 1) / seq + 1;
    if (*windows < d->windows || (*windows && *windows * seq >= most))
        *tail = 0;
    if (job->drop_last) {
        *windows = *windows / job->drop_last * job->drop_last;
        *tail = 0;
    }
    if (*windows || *tail)
        return 0;
    return fail("%s: its %" PRIu64 " tokens are too few for %s of %d", d->path, d->npy.count,
                job->drop_last ? "a batch of windows" : "a target in windows", d->seq);
}

/* ---- bytes -------------------------------------------------------------------------------- */

struct lengths {
    uint16_t *of;
    bool *blank;
};

static int count_bytes(struct lengths *l, const struct tokenizer *t, int vocab, const char *path)
{
    *l = (struct lengths){0};
    if (!t)
        return 0;
    if (t->vocab_size > (uint32_t)vocab)
        return fail("the tokenizer has %" PRIu32
                    " ids, and the model of %s %d: it was trained with "
                    "another tokenizer",
                    t->vocab_size, path, vocab);
    l->of = calloc((size_t)vocab, sizeof *l->of);
    l->blank = calloc((size_t)vocab, sizeof *l->blank);
    if (!l->of || !l->blank)
        return fail("out of memory for %d ids", vocab);
    for (uint32_t id = 0; id < t->vocab_size; id++) {
        size_t bytes;
        const uint8_t *text = tokenizer_bytes(t, id, &bytes);
        l->of[id] = (uint16_t)(bytes < UINT16_MAX ? bytes : UINT16_MAX);
        l->blank[id] = t->dummy_prefix && bytes && text[0] == ' ';
    }
    return 0;
}

/* ---- the job ------------------------------------------------------------------------------ */

/* Whether a signal has asked some rank to stop. */
static int asked_to_stop(const struct eval_job *job, bool *stops)
{
    double signals = stop > 0;
    if (team_sum(job->team, &signals, 1))
        return -1;
    *stops = signals > 0;
    return 0;
}

/* All of it is open. */
static int run(struct eval_job *job, struct evaluate *sums, struct model *m, const struct data *d,
               struct batch *b, uint64_t windows, uint64_t tail, const struct lengths *l,
               const char *name)
{
    struct evaluate_bytes bytes = {l->of, job->tokenizer ? (int32_t)job->tokenizer->bos_id : -1,
                                   l->blank};
    struct progress progress;
    uint64_t all = windows + (tail > 0);
    double noted_s = now_s();
    bool stops = false;
    bool notes = job->state_path && team_is_first(job->team);
    progress_begin(&progress, "evaluate", "tokens", windows * (uint64_t)d->seq + tail);
    while (sums->next < all && !stops) {
        if (evaluate_step(sums, m, d, b, windows, tail, &bytes) || asked_to_stop(job, &stops))
            return -1;
        progress_to(&progress, sums->next < all ? sums->next * (uint64_t)d->seq
                                                : windows * (uint64_t)d->seq + tail);
        bool due = sums->next == all || stops || now_s() - noted_s > NOTE_S;
        if (notes && due) {
            if (note(job->state_path, name, sums))
                return -1;
            noted_s = now_s();
        }
    }
    progress_end(&progress);
    job->stopped = sums->next < all;
    if (!job->stopped)
        return 0;
    return fail("stopped by a signal at window %" PRIu64 " of %" PRIu64 "%s", sums->next, all,
                job->state_path ? "; the same command goes on" : "");
}

static int open_data(const struct eval_job *job, struct data *d, const struct config *c, int seq)
{
    char path[PATH_MAX];
    if (dataset_split(job->set, job->split, path))
        return -1;
    bool llama2 = !strcmp(job->set->tokenizer, DATASET_LLAMA2);
    bool mask = !strcmp(job->mask_bos, "on") || (!strcmp(job->mask_bos, "auto") && llama2);
    return data_open_short(d, path, seq, c->vocab_size, mask);
}

int eval_job_run(struct eval_job *job, struct evaluate *sums, struct trained *model, int seq)
{
    struct data d = {0};
    struct model m = {0};
    struct batch b = {0};
    struct lengths l = {0};
    uint64_t windows, tail;
    char name[512];
    int status = config_check(&model->config, seq) || open_data(job, &d, &model->config, seq) ||
                         choose_windows(job, &d, &windows, &tail) ||
                         count_bytes(&l, job->tokenizer, model->config.vocab_size, model->dir) ||
                         evaluate_open(sums, seq)
                     ? -1
                     : 0;
    if (!status) {
        int rows;
        name_job(name, job, model, &d, windows + (tail > 0));
        status = agree_batch(job, model, seq, windows + (tail > 0), &rows) ||
                         go_on_together(job, name, sums) || batch_open(&b, rows, seq) ||
                         model_open(&m, &model->config, &model->params, rows, seq, false) ||
                         run(job, sums, &m, &d, &b, windows, tail, &l, name)
                     ? -1
                     : 0;
    }
    model_close(&m);
    batch_close(&b);
    free(l.of);
    free(l.blank);
    data_close(&d);
    return status;
}
