/* run_memory.c -- what memory a run takes, and what it does to fit. */
#include "run_memory.h"
#include "report.h"

#include <limits.h>
#include <math.h>
#include <string.h>

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

/* What the flags ask to be recomputed, in place of what the configuration has. */
static void take_flags(struct run *r)
{
    const struct options *o = r->options;
    if (o->recompute_every && mixer_is_ttt(r->config.seq_modeling_block))
        r->config.remat_mini_batch_group_size = (int)o->recompute_every;
    if (strcmp(o->recompute_blocks, "auto"))
        config_recompute_blocks(&r->config, !strcmp(o->recompute_blocks, "on"));
}

/* Keep the inner state at the root of the mini-batches, near which the kept states and those that
   are recomputed at once take the least. */
static int keep_fewer_states(struct run *r, struct plan *plan)
{
    const struct options *o = r->options;
    int *every = &r->config.remat_mini_batch_group_size, given = *every;
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

/* Keep of each block the input alone. Along mp ranks compute each block together, and may not
   choose each its own. */
static int keep_inputs(struct run *r, struct plan *plan)
{
    if (strcmp(r->options->recompute_blocks, "auto") || r->params.mesh.mp > 1 ||
        config_recomputes_blocks(&r->config))
        return 0;
    say("memory is short: of each block the input alone is kept, and the backward computes the "
        "rest again");
    config_recompute_blocks(&r->config, true);
    return plan_memory(r, plan);
}

/* What is recomputed: as asked for; else as the configuration has it, and where that does not fit
   in memory the more, first what costs least. */
static int choose_recompute(struct run *r, struct plan *plan, size_t free_bytes)
{
    const struct options *o = r->options;
    bool ttt = mixer_is_ttt(r->config.seq_modeling_block);
    take_flags(r);
    if (plan_memory(r, plan))
        return -1;
    if (o->eval_mode || plan_total(plan) <= free_bytes)
        return 0;
    if (ttt && !o->recompute_every && keep_fewer_states(r, plan))
        return -1;
    return plan_total(plan) <= free_bytes ? 0 : keep_inputs(r, plan);
}

/* Add a snapshot for checkpoints if one is wanted and fits as well. */
static bool plan_snapshot(const struct run *r, struct plan *plan, size_t free_bytes)
{
    const struct options *o = r->options;
    struct plan with = *plan;
    if (o->eval_mode || !o->save_in_background)
        return false;
    saver_plan(&with, &r->params, optim_arrays(&o->optim));
    if (plan_total(&with) > free_bytes)
        return false;
    *plan = with;
    return true;
}

/* --micro_batch=auto: the most rows that divide a part of the step and fit on every rank, for all
   take as many steps through the model. One row that does not fit may still do so with more
   recomputation. */
static int choose_micro_batch(struct run *r, struct plan *plan, size_t free_bytes)
{
    const struct options *o = r->options;
    int part = (int)(o->rank_rows / o->accum_steps);
    take_flags(r);
    for (r->micro_batch = part; r->micro_batch > 1; r->micro_batch--) {
        if (part % r->micro_batch || r->micro_batch * o->seq_length > INT_MAX)
            continue;
        if (plan_memory(r, plan))
            return -1;
        if (plan_total(plan) <= free_bytes)
            break;
    }
    double least = r->micro_batch;
    if (team_least(r->team, &least))
        return -1;
    r->micro_batch = (int)least;
    say("--micro_batch=auto: %d of %d rows at once", r->micro_batch, part);
    return r->micro_batch > 1 ? plan_memory(r, plan) : choose_recompute(r, plan, free_bytes);
}

int run_plan(struct run *r, struct plan *plan, size_t free_bytes, bool *in_background)
{
    r->micro_batch = (int)r->options->micro_batch;
    if (r->micro_batch ? choose_recompute(r, plan, free_bytes)
                       : choose_micro_batch(r, plan, free_bytes))
        return -1;
    *in_background = plan_snapshot(r, plan, free_bytes);
    return 0;
}
