/* run_memory.c -- what memory a run takes, and what it does to fit. */
#include "run_memory.h"
#include "report.h"

#include <limits.h>
#include <math.h>

size_t run_curve_bytes(const struct run *r)
{
    const struct options *o = r->options;
    const struct config *c = &r->config;
    bool wanted = !o->eval_mode && o->save_milestone_freq && mixer_is_ttt(c->seq_modeling_block);
    return wanted ? (size_t)c->num_hidden_layers * 4 *
                        (size_t)(o->seq_length / c->mini_batch_size) * sizeof *r->curves
                  : 0;
}

/* All that the run will take but a snapshot for checkpoints; its splits are open. */
static int plan_memory(struct run *r, struct plan *plan)
{
    const struct options *o = r->options;
    bool training = !o->eval_mode;
    *plan = (struct plan){0};
    if (model_plan(plan, &r->config, &r->params, r->micro_batch, (int)o->seq_length, training))
        return -1;
    plan_add_host(plan, "batch",
                  (size_t)(training ? 2 : 1) * batch_bytes((int)o->rank_rows, (int)o->seq_length));
    if (!training)
        return 0;
    optim_plan(plan, &o->optim, &r->params);
    plan_add_host(plan, "order of the data", order_bytes(r->train.windows));
    plan_add_host(plan, "TTT statistics", run_curve_bytes(r));
    return 0;
}

/* How often the inner state is kept: as asked for; else as the configuration has it, and where that
   does not fit in memory, at the root of the mini-batches, near which the kept states and those
   that are recomputed at once take the least. */
static int choose_recompute(struct run *r, struct plan *plan, size_t free_bytes)
{
    const struct options *o = r->options;
    int *every = &r->config.remat_mini_batch_group_size, given = *every;
    bool ttt = mixer_is_ttt(r->config.seq_modeling_block);
    if (o->recompute_every && ttt)
        *every = (int)o->recompute_every;
    if (plan_memory(r, plan))
        return -1;
    if (o->recompute_every || !ttt || o->eval_mode || plan_total(plan) <= free_bytes)
        return 0;
    size_t most = plan_total(plan);
    *every = (int)ceil(sqrt((double)(o->seq_length / r->config.mini_batch_size)));
    if (plan_memory(r, plan))
        return -1;
    if (plan_total(plan) < most) {
        say("memory is short: the inner state is kept before every %dth mini-batch, not every %dth",
            *every, given);
        return 0;
    }
    *every = given;
    return plan_memory(r, plan);
}

/* Add a snapshot for checkpoints if one is wanted and fits as well. */
static bool plan_snapshot(const struct run *r, struct plan *plan, size_t free_bytes)
{
    const struct options *o = r->options;
    struct plan with = *plan;
    if (o->eval_mode || !o->save_in_background)
        return false;
    saver_plan(&with, &r->params, o->optim.accumulate_gradient_steps > 1);
    if (plan_total(&with) > free_bytes)
        return false;
    *plan = with;
    return true;
}

/* --micro_batch=auto: the most rows that divide a part of the step and fit. One row that does not
   fit may still do so with more recomputation. */
static int choose_micro_batch(struct run *r, struct plan *plan, size_t free_bytes)
{
    const struct options *o = r->options;
    int part = (int)(o->rank_rows / o->accum_steps);
    if (o->recompute_every && mixer_is_ttt(r->config.seq_modeling_block))
        r->config.remat_mini_batch_group_size = (int)o->recompute_every;
    for (r->micro_batch = part; r->micro_batch > 1; r->micro_batch--) {
        if (part % r->micro_batch || r->micro_batch * o->seq_length > INT_MAX)
            continue;
        if (plan_memory(r, plan))
            return -1;
        if (plan_total(plan) <= free_bytes)
            break;
    }
    say("--micro_batch=auto: %d of %d rows at once", r->micro_batch, part);
    return r->micro_batch > 1 ? 0 : choose_recompute(r, plan, free_bytes);
}

int run_plan(struct run *r, struct plan *plan, size_t free_bytes, bool *with_snapshot)
{
    r->micro_batch = (int)r->options->micro_batch;
    if (r->micro_batch ? choose_recompute(r, plan, free_bytes)
                       : choose_micro_batch(r, plan, free_bytes))
        return -1;
    *with_snapshot = plan_snapshot(r, plan, free_bytes);
    return 0;
}
