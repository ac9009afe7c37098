/* optim.c -- clip, schedule, step: AdamW as the reference chains it. */
#include "optim.h"
#include "device.h"
#include "kernels.h"

#include <math.h>
#include <string.h>

static const float ADAM_EPS = 1e-8f;

int optim_check(const struct optim_config *o)
{
    if (strcmp(o->type, "adamw"))
        return fail("--optimizer.type=%s: this version has adamw", o->type);
    if (o->bf16_momentum || o->multiply_by_parameter_scale)
        return fail("--optimizer.adamw_optimizer.bf16_momentum and .multiply_by_parameter_scale "
                    "are not in this version");
    if (o->accumulate_gradient_steps != 1)
        return fail("--optimizer.accumulate_gradient_steps is not in this version: --accum_steps "
                    "accumulates in the trainer");
    if (!(o->lr >= 0) || !(o->init_lr >= 0) || !(o->end_lr >= 0))
        return fail("--optimizer.adamw_optimizer.lr, .init_lr and .end_lr must not be negative");
    if (o->lr_warmup_steps < 0 || o->lr_decay_steps <= o->lr_warmup_steps ||
        o->lr_decay_steps > 1 << 30)
        return fail("--optimizer.adamw_optimizer.lr_decay_steps is %lld, but it counts the "
                    "warm-up's %lld updates and some after them",
                    (long long)o->lr_decay_steps, (long long)o->lr_warmup_steps);
    if (!(o->b1 >= 0 && o->b1 < 1) || !(o->b2 >= 0 && o->b2 < 1))
        return fail("--optimizer.adamw_optimizer.b1 and .b2 must be at least 0 and below 1");
    if (!(o->clip_gradient > 0))
        return fail("--optimizer.adamw_optimizer.clip_gradient must be positive");
    return 0;
}

float optim_lr(const struct optim_config *o, int64_t updates)
{
    float init = (float)(o->init_lr - o->lr), peak = (float)o->lr;
    int64_t warm = o->lr_warmup_steps, after = o->lr_decay_steps - warm;
    if (updates < warm) {
        float left = 1 - (float)updates / (float)warm;
        return init * left + peak;
    }
    int64_t q = updates - warm < after ? updates - warm : after;
    double floor = o->lr == 0 ? 0 : o->end_lr / o->lr;
    float wave = 0.5f * (1 + cosf((float)M_PI * (float)q / (float)after));
    return peak * ((float)(1 - floor) * wave + (float)floor);
}

/* To nearest bf16, ties to even. */
static float bf16_rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits += 0x7fff + (bits >> 16 & 1);
    bits &= 0xffff0000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

float optim_ttt_lr_mult(const struct config *c, int64_t step)
{
    double init = c->ttt_base_lr_init, base = c->ttt_base_lr;
    if (!(init > 0) || c->ttt_base_lr_warmup <= 0)
        return 1;
    double way = (double)(step - 1) / c->ttt_base_lr_warmup;
    return bf16_rounded((float)((init + (way < 1 ? way : 1) * (base - init)) / base));
}

int optim_open(struct optim *o, const struct optim_config *config)
{
    *o = (struct optim){.config = *config};
    o->square_sum = device_alloc(sizeof *o->square_sum);
    return o->square_sum ? 0 : fail("no memory left on the device for the optimiser");
}

void optim_close(struct optim *o)
{
    device_free(o->square_sum);
    *o = (struct optim){0};
}

void optim_step(struct optim *o, struct params *p, int64_t updates)
{
    const struct optim_config *c = &o->config;
    struct adamw a = {
        .lr = optim_lr(c, updates),
        .beta1 = (float)c->b1,
        .beta2 = (float)c->b2,
        .eps = ADAM_EPS,
        .weight_decay = (float)c->weight_decay,
        .correct1 = (float)(1 - pow(c->b1, (double)updates + 1)),
        .correct2 = (float)(1 - pow(c->b2, (double)updates + 1)),
        .clip = (float)c->clip_gradient,
    };
    /* Every parameter decays, so that one call moves them all; the spaces between stay zero. */
    square_sum(o->square_sum, p->grad, p->floats);
    adamw_step(p->master, p->m, p->v, p->grad, o->square_sum, p->floats, &a);
    params_refresh(p);
}

double optim_grad_norm(const struct optim *o)
{
    double sum;
    device_get(&sum, o->square_sum, sizeof sum);
    return sqrt(sum);
}
