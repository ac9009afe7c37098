/* run.c -- a run of training: everything it has open, and what one does with it. */
#include "run.h"
#include "comm.h"
#include "nonfinite.h"
#include "profile.h"
#include "report.h"
#include "run_ranks.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the steps ---------------------------------------------------------------------------- */

/* Fill a batch with this rank's share of a step's windows: those of an order, or `first` and on
   when order is NULL. */
static int read_batch(const struct run *r, struct batch *b, const struct data *d,
                      const uint32_t *order, uint64_t first)
{
    uint64_t skip = (uint64_t)mesh_data_rank(&r->options->mesh) * (uint64_t)b->rows;
    for (int row = 0; row < b->rows; row++)
        if (data_read(d, order ? order[skip + (uint64_t)row] : first + skip + (uint64_t)row, b,
                      row))
            return -1;
    return 0;
}

/* The rows of the step after `done`. */
static int read_step(struct run *r, struct batch *b, int64_t done)
{
    uint64_t rows = (uint64_t)r->options->global_batch_size;
    return read_batch(r, b, &r->train, order_step(&r->order, (uint64_t)done, rows), 0);
}

/* Add up what each rank found in its rows; ranks along mp found the same. The signal that a rank
   has caught becomes that of all. */
static int join_scores(struct run *r, struct score *score)
{
    bool counts = mesh_mp_rank(&r->options->mesh) == 0;
    double x[] = {counts ? score->loss : 0, counts ? score->accuracy : 0, *r->stop > 0,
                  *r->stop == SIGINT, r->saving && !saver_is_ready(&r->saver)};
    if (team_sum(r->team, x, 5))
        return -1;
    if (mesh_ranks(&r->options->mesh) > 1) {
        r->written = x[4] == 0;
        *score = (struct score){x[0], x[1]};
        r->stopped = x[2] > 0 ? (x[3] > 0 ? SIGINT : SIGTERM) : 0;
    }
    return 0;
}

int run_stopped(const struct run *r)
{
    return mesh_ranks(&r->options->mesh) > 1 ? r->stopped : *r->stop;
}

/* Micro-batch i of a batch. */
static struct tokens part_of(const struct run *r, const struct batch *b, int i)
{
    size_t at = (size_t)i * (size_t)r->model.rows;
    return (struct tokens){b->input + at, b->target + at, b->mask + at};
}

static int parts_of(const struct run *r)
{
    return (int)(r->options->rank_rows / r->micro_batch);
}

/* What a micro-batch's mean counts of the step's. */
static double share_of(const struct run *r)
{
    return 1.0 / parts_of(r) / mesh_data_ranks(&r->options->mesh);
}

static bool is_alone(const struct run *r)
{
    return mesh_ranks(&r->options->mesh) == 1;
}

static bool wants_curves(const struct run *r)
{
    int64_t every = r->options->save_milestone_freq;
    return r->curves && every && (r->step + 1) % every == 0;
}

static size_t curve_floats(const struct run *r)
{
    const struct config *c = &r->config;
    return (size_t)c->num_hidden_layers * 4 * (size_t)(r->model.seq / c->mini_batch_size);
}

/* The step's loss or gradient is not finite, as `place` tells: 0 when the update is to be left out,
   -1 when the run ends; why() in both cases. */
static int not_finite(struct run *r, struct metrics_step *m, const char *what, const char *place)
{
    int64_t step = r->step + 1, most = r->options->skip_nonfinite;
    if (r->skipped >= most)
        return fail("step %" PRId64 ": the %s is not a number, first in %s; the last checkpoint is "
                    "untouched: resume it with a lower learning rate, look at the data, or leave "
                    "such updates out with --skip_nonfinite=N",
                    step, what, place);
    r->skipped++;
    r->step = step;
    *m = (struct metrics_step){.step = step, .skipped = true};
    (void)fail("step %" PRId64
               ": the %s is not a number, first in %s; its update is left out, %d of "
               "at most %" PRId64 " in a row",
               step, what, place, r->skipped, most);
    return 0;
}

/* The step's loss stands out: its rows are passed over, and nothing is changed. */
static int leave_out_spike(struct run *r, struct metrics_step *m, double loss, double deviations)
{
    r->step++;
    *m = (struct metrics_step){.step = r->step,
                               .skipped = true,
                               .spike = (float)loss,
                               .deviations = (float)deviations};
    (void)fail("step %" PRId64 ": the loss %.4f is %.1f standard deviations above the mean of the "
               "%d before it; its update is left out",
               r->step, loss, deviations, r->spikes.window);
    return 0;
}

/* Each rank has seen its rows, and of those its heads. */
static int sum_curves(struct run *r)
{
    size_t count = curve_floats(r);
    if (mesh_ranks(&r->options->mesh) == 1)
        return 0;
    for (size_t i = 0; i < count; i++)
        r->curves[i] /= r->options->mesh.mp;
    for (size_t i = 0; i < count; i += TEAM_SUMS)
        if (team_sum(r->team, r->curves + i, count - i < TEAM_SUMS ? (int)(count - i) : TEAM_SUMS))
            return -1;
    return 0;
}

/* The place that the lowest rank tells which has found one, and which rank that is. */
static const char *first_place(struct run *r, char place[NONFINITE_BYTES])
{
    int rank;
    if (team_first_of(r->team, *place, place, NONFINITE_BYTES, &rank))
        return why();
    size_t n = strlen(place);
    if (rank >= 0 && mesh_ranks(&r->options->mesh) > 1)
        snprintf(place + n, NONFINITE_BYTES - n, " of rank %d", rank);
    return place;
}

static int send_part(struct run *r, const struct batch *b, int i)
{
    struct tokens t = part_of(r, b, i);
    return model_send(&r->model, &t, share_of(r));
}

/* Others are to be computed before the micro-batch that was sent ahead. */
static void recall(struct run *r)
{
    if (r->next_sent)
        model_forget(&r->model);
    r->next_sent = false;
}

/* r->batch becomes the rows of the present step. */
static int take_batch(struct run *r)
{
    if (r->next_step != r->step + 1) {
        recall(r);
        return read_step(r, &r->batch, r->step);
    }
    struct batch read = r->next;
    r->next = r->batch;
    r->batch = read;
    r->next_step = 0;
    return 0;
}

/* While the device computes: read the rows of the next step, and let the first of them travel. What
   is wrong with them is told when their turn has come. */
static void read_ahead(struct run *r)
{
    if (r->step + 1 >= r->options->total_steps || *r->stop || read_step(r, &r->next, r->step + 1))
        return;
    r->next_step = r->step + 2;
    r->next_sent = !send_part(r, &r->next, 0);
}

/* Queue forward and backward of all parts. 1 when the step is given up. */
static int queue_parts(struct run *r, float mult, struct score *score)
{
    int parts = parts_of(r), status = 0;
    bool sent = r->next_sent;
    r->next_sent = false;
    for (int i = 0; i < parts && !status; i++) {
        if (*r->stop) {
            model_forget(&r->model);
            return 1;
        }
        if (i || !sent)
            status = send_part(r, &r->batch, i);
        if (!status)
            model_queue(&r->model, mult);
        if (!status && (i + 1) % (FLIGHT_AHEAD - 1) == 0)
            status = model_collect(&r->model, score);
    }
    return status;
}

/* The same with a wait for each: for TTT statistics, and where other ranks join in. place: where
   the loss was first not finite. */
static int run_parts(struct run *r, float mult, struct score *score, double *curves,
                     char place[NONFINITE_BYTES])
{
    int parts = parts_of(r);
    for (int i = 0; i < parts; i++) {
        struct tokens t = part_of(r, &r->batch, i);
        if (is_alone(r) && *r->stop)
            return 1;
        r->model.last = i == parts - 1;
        if (model_train(&r->model, &t, mult, share_of(r), score, curves))
            return -1;
        peers_beat(&r->team->peers);
        if (!isfinite((float)score->loss) && !*place)
            nonfinite_forward(place, &r->model);
    }
    return 0;
}

/* Repeat a step whose loss is not finite, up to the part where it is not. */
static void find_place(struct run *r, char place[NONFINITE_BYTES], float mult)
{
    struct score score = {0};
    recall(r);
    for (int i = 0; i < parts_of(r) && isfinite((float)score.loss); i++) {
        struct tokens t = part_of(r, &r->batch, i);
        if (model_train(&r->model, &t, mult, share_of(r), &score, NULL))
            break;
    }
    nonfinite_forward(place, &r->model);
}

/* Forward, backward and update, from r->batch. The device leaves the update out where the loss or
   the gradient is not finite, so that a rank alone queues all of it and waits once; where spikes
   are looked for it waits for the loss as well. *spike: how far above others a loss lies whose
   update is not to be made, or 0. */
static int compute(struct run *r, float mult, struct score *score, double *norm, double *curves,
                   char place[NONFINITE_BYTES], double *spike)
{
    bool queues = is_alone(r) && !curves;
    model_zero_grad(&r->model);
    int given_up = queues ? queue_parts(r, mult, score) : run_parts(r, mult, score, curves, place);
    if (given_up)
        return given_up;
    if (!queues && join_scores(r, score))
        return -1;
    *norm = NAN;
    *spike = 0;
    if (queues && r->spikes.loss && model_collect(&r->model, score))
        return -1;
    if ((!queues || r->spikes.loss) && !isfinite((float)score->loss)) {
        if (queues)
            find_place(r, place, mult);
        return 0;
    }
    double deviations;
    if (spikes_judge(&r->spikes, (float)score->loss, &deviations)) {
        *spike = deviations;
        return 0;
    }
    if (curves && sum_curves(r))
        return -1;
    profile_stage("update", -1);
    optim_measure(&r->optim, &r->params);
    saver_hold(&r->saver);
    optim_step(&r->optim, &r->params, r->step);
    if (is_alone(r))
        read_ahead(r);
    if (model_collect(&r->model, score))
        return -1;
    *norm = optim_norm(&r->optim);
    if (queues && !isfinite((float)score->loss))
        find_place(r, place, mult);
    return 0;
}

int run_step(struct run *r, struct metrics_step *m)
{
    const struct options *o = r->options;
    double began_s = now_s(), norm;
    int64_t step = r->step + 1;
    struct score score = {0};
    double spike;
    char place[NONFINITE_BYTES] = "";
    double *curves = wants_curves(r) ? r->curves : NULL;
    if (curves) {
        memset(curves, 0, curve_floats(r) * sizeof *curves);
        recall(r);
    }
    if (take_batch(r))
        return -1;
    int given_up =
        compute(r, optim_ttt_lr_mult(&r->config, step), &score, &norm, curves, place, &spike);
    if (given_up)
        return given_up;
    if (spike > 0)
        return leave_out_spike(r, m, score.loss, spike);
    if (!isfinite((float)score.loss))
        return not_finite(r, m, "loss", first_place(r, place));
    if (!isfinite((float)norm))
        return not_finite(r, m, "gradient", first_place(r, nonfinite_gradient(place, &r->params)));
    r->skipped = 0;

    r->step = step;
    double ended_s = now_s();
    *m = (struct metrics_step){
        .step = step,
        .loss = (float)score.loss,
        .grad_norm = (float)norm,
        .learning_rate = optim_lr(&o->optim, step),
        .tokens_per_s = (double)o->global_batch_size * (double)r->model.seq / (ended_s - began_s),
        .elapsed_s = ended_s - r->began_s,
    };
    return 0;
}

int run_evaluate(struct run *r, double *loss, uint64_t *tokens)
{
    const struct options *o = r->options;
    uint64_t rows = (uint64_t)o->global_batch_size, batches = r->validation.windows / rows;
    if (!batches)
        return fail("%s: %" PRIu64 " rows are fewer than one batch of %" PRIu64
                    "; a smaller --global_batch_size or more text is needed",
                    r->validation.path, r->validation.windows, rows);
    if (o->eval_batches && (uint64_t)o->eval_batches < batches)
        batches = (uint64_t)o->eval_batches;
    uint64_t each = rows * (uint64_t)o->seq_length, wanted = (uint64_t)o->eval_tokens;
    if (wanted && (wanted - 1) / each + 1 < batches)
        batches = (wanted - 1) / each + 1;
    int parts = parts_of(r), data_ranks = mesh_data_ranks(&o->mesh);
    struct score score = {0};
    double counted = 0;
    struct progress line;
    *tokens = 0;
    progress_begin(&line, "validated", " rows", batches * rows);
    recall(r);
    for (uint64_t b = 0; b < batches; b++) {
        if (read_batch(r, &r->batch, &r->validation, NULL, b * rows))
            return -1;
        for (int i = 0; i < parts; i++) {
            struct tokens t = part_of(r, &r->batch, i);
            if (model_score(&r->model, &t, 1.0 / ((double)parts * (double)batches) / data_ranks,
                            &score))
                return -1;
            peers_beat(&r->team->peers);
        }
        for (size_t i = 0; i < (size_t)r->batch.rows * (size_t)r->batch.seq; i++)
            counted += r->batch.mask[i] > 0;
        progress_to(&line, (b + 1) * rows);
    }
    progress_end(&line);
    if (mesh_mp_rank(&o->mesh))
        counted = 0;
    if (join_scores(r, &score) || team_sum(r->team, &counted, 1))
        return -1;
    *loss = score.loss;
    *tokens = (uint64_t)counted;
    return 0;
}

/* ---- checkpoints -------------------------------------------------------------------------- */

void run_place_in_data(const struct run *r, struct state_data *d)
{
    const struct options *o = r->options;
    struct order_place at =
        order_place(&r->order, (uint64_t)r->step, (uint64_t)o->global_batch_size);
    *d = (struct state_data){
        .seed = o->seed,
        .windows = r->train.windows,
        .seq_length = (uint64_t)o->seq_length,
        .global_batch_size = (uint64_t)o->global_batch_size,
        .epoch = at.epoch,
        .position = at.position,
        .reshuffles = r->order.log,
        .manifest = r->dataset.digest,
    };
    snprintf(d->order, sizeof d->order, "%s", o->order);
}

bool run_save_is_ready(const struct run *r)
{
    return r->saving &&
           (mesh_ranks(&r->options->mesh) > 1 ? r->written : saver_is_ready(&r->saver));
}

int run_save_begin(struct run *r)
{
    int64_t every = r->options->save_milestone_freq;
    if (run_save_prepare(r))
        return -1;
    struct state s = {
        .step = r->step,
        .milestone = every && r->step % every == 0,
        .elapsed_s = now_s() - r->began_s,
        .config = r->config,
        .spikes = spikes_to_json(&r->spikes),
        .flags = options_to_json(),
    };
    if (!s.flags || (r->spikes.loss && !s.spikes)) {
        state_close(&s);
        return fail("out of memory");
    }
    run_place_in_data(r, &s.data);
    r->saving = r->step;
    saver_begin(&r->saver, &s);
    return 0;
}

int run_save_end(struct run *r)
{
    bool whole;
    int status = saver_end(&r->saver, &whole);
    if (mesh_ranks(&r->options->mesh) > 1)
        status = run_save_join(r, status, &whole);
    if (whole)
        r->saved = r->saving;
    r->saving = 0;
    return status;
}
