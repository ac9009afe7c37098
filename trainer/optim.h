/* optim.h -- clip, schedule, step: AdamW as the reference chains it. */
#ifndef OPTIM_H
#define OPTIM_H

#include "config.h"
#include "params.h"

/* Settings, named as the reference's flags. A plain value. */
struct optim_config {
    const char *type; /* "adamw" */
    double init_lr, end_lr, lr;
    int64_t lr_warmup_steps, lr_decay_steps; /* decay_steps includes the warm-up */
    double b1, b2, clip_gradient, weight_decay;
    bool bf16_momentum, multiply_by_parameter_scale;
    int64_t accumulate_gradient_steps;
};

/* clang-format off */
#define OPTIM_DEFAULT { \
    .type = "adamw", .end_lr = 0.001, .lr = 0.01, .lr_warmup_steps = 2000, \
    .lr_decay_steps = 500000, .b1 = 0.9, .b2 = 0.95, .clip_gradient = 1, .weight_decay = 1e-4, \
    .accumulate_gradient_steps = 1}

/* Entries of a flag table, for `struct optim_config o`. */
#define OPTIM_FLAGS(o) \
    {FLAG_CHOICE, 0, "optimizer.type", &(o).type, "adamw|palm", "the optimiser", false}, \
    {FLAG_INT, 0, "optimizer.accumulate_gradient_steps", &(o).accumulate_gradient_steps, "N", \
     "let the optimiser itself average N gradients", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.lr", &(o).lr, "X", \
     "learning rate after the warm-up", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.init_lr", &(o).init_lr, "X", \
     "learning rate of the first update", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.end_lr", &(o).end_lr, "X", \
     "learning rate at the end of the cosine", false}, \
    {FLAG_INT, 0, "optimizer.adamw_optimizer.lr_warmup_steps", &(o).lr_warmup_steps, "N", \
     "updates of linear warm-up", false}, \
    {FLAG_INT, 0, "optimizer.adamw_optimizer.lr_decay_steps", &(o).lr_decay_steps, "N", \
     "updates until end_lr is reached, the warm-up included", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.b1", &(o).b1, "X", \
     "decay of the first moment", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.b2", &(o).b2, "X", \
     "decay of the second moment", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.clip_gradient", &(o).clip_gradient, "X", \
     "largest global norm of the gradient", false}, \
    {FLAG_NUMBER, 0, "optimizer.adamw_optimizer.weight_decay", &(o).weight_decay, "X", \
     "decoupled weight decay, of every parameter", false}, \
    {FLAG_ON, 0, "optimizer.adamw_optimizer.bf16_momentum", &(o).bf16_momentum, "", \
     "store the first moment in bf16", false}, \
    {FLAG_ON, 0, "optimizer.adamw_optimizer.multiply_by_parameter_scale", \
     &(o).multiply_by_parameter_scale, "", "scale updates by the parameter's size", false}
/* clang-format on */

/* Whether this version can do what is asked, with numbers that make sense. -1 with one sentence
   naming the flag. */
must_check int optim_check(const struct optim_config *o);

/* The learning rate of the update that follows `updates` updates, computed in float as the
   reference does: linear from init_lr to lr over the warm-up, then half a cosine to end_lr. The
   reference logs optim_lr(o, step) for the step counted from 1: that of the NEXT update. */
float optim_lr(const struct optim_config *o, int64_t updates);

/* The multiplier on ttt_base_lr in step 1, 2, ...: a linear warm-up from ttt_base_lr_init over
   ttt_base_lr_warmup steps where both are positive, else 1; rounded to bf16 as the reference
   does. Evaluation uses 1. */
float optim_ttt_lr_mult(const struct config *c, int64_t step);

/* Zero means closed. */
struct optim {
    struct optim_config config;
    double *square_sum; /* [1] on the device, owned */
};

must_check int optim_open(struct optim *o, const struct optim_config *config);
void optim_close(struct optim *o);

/* Queue one update of p from p->grad: global norm over all parameters, clip, moments, parameters,
   working copies. updates: how many were done before. */
void optim_step(struct optim *o, struct params *p, int64_t updates);

/* The norm of the whole gradient before clipping, of the last optim_step. Waits for the device. */
double optim_grad_norm(const struct optim *o);

#endif
