/* optim.h -- clip, schedule, step: AdamW and PaLM's Adafactor as the reference chains them.

     adamw   clip; moments with bias correction; decoupled decay times lr; lr: linear warm-up, then
             half a cosine. With multiply_by_parameter_scale: Adafactor on the same schedule.
     palm    clip; Adafactor; decay (weight_decay / 1e-4) lr^2; lr: (lr / 0.01) / sqrt(updates), at
             least lr_warmup_steps under the root.
   accumulate_gradient_steps N lets N steps' gradients make one update, of their mean.

   Beside them, where ema_decay is set, a running average of the parameters: after update u, counted
   from 0, average += (1 - d) (parameters - average) with d = min(ema_decay, (1 + u) / (10 + u)), so
   that the start values are soon forgotten. */
#ifndef OPTIM_H
#define OPTIM_H

#include "config.h"
#include "params.h"
#include "plan.h"

struct optim_adamw {
    double init_lr, end_lr, lr;
    int64_t lr_warmup_steps, lr_decay_steps; /* decay_steps includes the warm-up */
    double b1, b2, clip_gradient, weight_decay;
    bool bf16_momentum, multiply_by_parameter_scale;
};

struct optim_palm {
    double lr;
    int64_t lr_warmup_steps;
    double b1, b2, clip_gradient, weight_decay;
    bool bf16_momentum;
};

/* Settings, named as the reference's flags. A plain value. */
struct optim_config {
    const char *type; /* "adamw" or "palm": which of the two counts */
    int64_t accumulate_gradient_steps;
    double ema_decay; /* 0: no average */
    struct optim_adamw adamw;
    struct optim_palm palm;
};

/* clang-format off */
#define OPTIM_DEFAULT { \
    .type = "adamw", .accumulate_gradient_steps = 1, \
    .adamw = {.end_lr = 1e-5, .lr = 0.01, .lr_warmup_steps = 2000, .lr_decay_steps = 500000, \
              .b1 = 0.9, .b2 = 0.95, .clip_gradient = 1, .weight_decay = 0.1}, \
    .palm = {.lr = 0.01, .lr_warmup_steps = 10000, .b1 = 0.9, .b2 = 0.99, .clip_gradient = 1, \
             .weight_decay = 1e-4}}

/* Entries of a flag table, for `struct optim_config o`. */
#define OPTIM_FLAGS(o) \
    {FLAG_CHOICE, 0, "optimizer.type", &(o).type, "adamw|palm", \
     "the optimiser; palm is Adafactor as PaLM used it", false}, \
    {FLAG_INT, 0, "optimizer.accumulate_gradient_steps", &(o).accumulate_gradient_steps, "N", \
     "update once in N steps, with their mean gradient", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.lr", &(o).adamw.lr, "X", \
     "learning rate after the warm-up", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.init_lr", &(o).adamw.init_lr, "X", \
     "learning rate of the first update", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.end_lr", &(o).adamw.end_lr, "X", \
     "learning rate at the end of the cosine", false}, \
    {FLAG_INT, 0, "optimizer.adamw_optimizer.lr_warmup_steps", &(o).adamw.lr_warmup_steps, "N", \
     "updates of linear warm-up", false}, \
    {FLAG_INT, 0, "optimizer.adamw_optimizer.lr_decay_steps", &(o).adamw.lr_decay_steps, "N", \
     "updates until end_lr is reached, the warm-up included", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.b1", &(o).adamw.b1, "X", \
     "decay of the first moment", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.b2", &(o).adamw.b2, "X", \
     "decay of the second moment", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.clip_gradient", &(o).adamw.clip_gradient, "X", \
     "largest global norm of the gradient", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.weight_decay", &(o).adamw.weight_decay, "X", \
     "decoupled weight decay, of every parameter", false}, \
    {FLAG_ON, 0, "optimizer.adamw_optimizer.bf16_momentum", &(o).adamw.bf16_momentum, "", \
     "round the first moment to bf16", false}, \
    {FLAG_ON, 0, "optimizer.adamw_optimizer.multiply_by_parameter_scale", \
     &(o).adamw.multiply_by_parameter_scale, "", \
     "scale updates by the parameter's size: Adafactor", false}, \
    {FLAG_NUMBER, 0, "optimizer.palm_optimizer.lr", &(o).palm.lr, "X", \
     "100 times the learning rate's product with sqrt(updates)", false}, \
    {FLAG_INT, 0, "optimizer.palm_optimizer.lr_warmup_steps", &(o).palm.lr_warmup_steps, "N", \
     "updates before the learning rate falls", false}, \
    {FLAG_NUMBER, 0, "optimizer.palm_optimizer.b1", &(o).palm.b1, "X", \
     "decay of the first moment", false}, \
    {FLAG_NUMBER, 0, "optimizer.palm_optimizer.b2", &(o).palm.b2, "X", \
     "decay of the second moment: 1 - updates^-X", false}, \
    {FLAG_NUMBER, 0, "optimizer.palm_optimizer.clip_gradient", &(o).palm.clip_gradient, "X", \
     "largest global norm of the gradient", false}, \
    {FLAG_NUMBER, 0, "optimizer.palm_optimizer.weight_decay", &(o).palm.weight_decay, "X", \
     "10^4 of the decay's proportion to the learning rate's square", false}, \
    {FLAG_ON, 0, "optimizer.palm_optimizer.bf16_momentum", &(o).palm.bf16_momentum, "", \
     "round the first moment to bf16", false}
/* clang-format on */

/* Whether the numbers make sense. -1 with one sentence naming the flag. */
must_check int optim_check(const struct optim_config *o);

/* The learning rate of the update that follows `updates` updates, computed in float as the
   reference does. The reference logs optim_lr(o, step) for the step counted from 1: that of the
   NEXT update, and with accumulate_gradient_steps of one far ahead. */
float optim_lr(const struct optim_config *o, int64_t updates);

/* The multiplier on ttt_base_lr in step 1, 2, ...: a linear warm-up from ttt_base_lr_init over
   ttt_base_lr_warmup steps where both are positive, else 1; rounded to bf16 as the reference
   does. Evaluation uses 1. */
float optim_ttt_lr_mult(const struct config *c, int64_t step);

/* Zero means closed. */
struct optim {
    struct optim_config config;
    double *sums;  /* on the device, owned: square sums of the step's gradient, of the gradient that
                      the update takes, and of each parameter */
    double *host;  /* [count], owned: those of parameters, on the host */
    double *found; /* on the host, owned: the first of sums */
};

/* How many arrays of parameters' shape a checkpoint holds beside the parameters: both moments, the
   mean, the average. */
int optim_arrays(const struct optim_config *o);

/* Add to a plan what optim_open will take. */
void optim_plan(struct plan *plan, const struct optim_config *config, const struct params *p);

/* p is allocated for training; where gradients are accumulated it gets its mean, and its average
   where that is wanted. -1 with why(). */
must_check int optim_open(struct optim *o, const struct optim_config *config, struct params *p);
void optim_close(struct optim *o); /* harmless when closed */

/* Measure the gradient of a step: its norm over all parameters, before clipping. optim_measure
   queues that, and optim_norm tells it once device_sync has waited; optim_grad_norm does it all. */
void optim_measure(struct optim *o, const struct params *p);
double optim_norm(const struct optim *o);
double optim_grad_norm(struct optim *o, const struct params *p);

/* The square sum of each parameter over all ranks that hold of it, [p->count] on the host until the
   optimiser is next used. Waits. */
const double *optim_weight_sums(struct optim *o, const struct params *p);

/* Queue what follows a step's gradient, which has been measured: clip, moments, parameters, working
   copies, average; or, inside an accumulation, its share of the mean alone. steps: how many were
   done before. Where the gradient is not finite nothing is changed (but the mean). */
void optim_step(struct optim *o, struct params *p, int64_t steps);

#endif
