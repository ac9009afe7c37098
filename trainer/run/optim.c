/* optim.c -- clip, schedule, step: AdamW and PaLM's Adafactor as the reference chains them. */
#include "optim.h"
#include "comm.h"
#include "device.h"
#include "kernels.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float ADAM_EPS = 1e-8f;

/* Places in struct optim's sums. */
enum { SUM_STEP, SUM_MEAN, SUM_PARAMS };

static bool is_palm(const struct optim_config *o)
{
    return !strcmp(o->type, "palm");
}

/* ---- settings ----------------------------------------------------------------------------- */

static int check_shared(const char *type, double b1, double clip, double decay)
{
    if (!(b1 >= 0 && b1 < 1))
        return fail("--optimizer.%s_optimizer.b1 is %g: expected at least 0 and below 1", type, b1);
    if (!(clip > 0))
        return fail("--optimizer.%s_optimizer.clip_gradient is %g: expected more than 0", type,
                    clip);
    if (!(decay >= 0))
        return fail("--optimizer.%s_optimizer.weight_decay is %g: must not be negative", type,
                    decay);
    return 0;
}

static int check_adamw(const struct optim_adamw *a)
{
    if (!(a->lr >= 0) || !(a->init_lr >= 0) || !(a->end_lr >= 0))
        return fail("--optimizer.adamw_optimizer.lr, .init_lr and .end_lr must not be negative");
    if (a->lr_warmup_steps < 0 || a->lr_decay_steps <= a->lr_warmup_steps ||
        a->lr_decay_steps > 1 << 30)
        return fail("--optimizer.adamw_optimizer.lr_decay_steps is %lld, but it counts the "
                    "warm-up's %lld updates and some after them",
                    (long long)a->lr_decay_steps, (long long)a->lr_warmup_steps);
    if (!(a->b2 >= 0 && a->b2 < 1))
        return fail("--optimizer.adamw_optimizer.b2 is %g: expected at least 0 and below 1", a->b2);
    return check_shared("adamw", a->b1, a->clip_gradient, a->weight_decay);
}

static int check_palm(const struct optim_palm *a)
{
    if (!(a->lr >= 0))
        return fail("--optimizer.palm_optimizer.lr must not be negative");
    if (a->lr_warmup_steps < 1 || a->lr_warmup_steps > 1 << 30)
        return fail("--optimizer.palm_optimizer.lr_warmup_steps is %lld: expected 1 or more, for "
                    "the learning rate is divided by its root",
                    (long long)a->lr_warmup_steps);
    if (!(a->b2 > 0))
        return fail("--optimizer.palm_optimizer.b2 is %g: expected more than 0", a->b2);
    return check_shared("palm", a->b1, a->clip_gradient, a->weight_decay);
}

int optim_check(const struct optim_config *o)
{
    if (strcmp(o->type, "adamw") && !is_palm(o))
        return fail("--optimizer.type=%s: expected adamw or palm", o->type);
    if (o->accumulate_gradient_steps < 1 || o->accumulate_gradient_steps > 1 << 20)
        return fail("--optimizer.accumulate_gradient_steps is %lld: expected 1 or more",
                    (long long)o->accumulate_gradient_steps);
    if (!(o->ema_decay >= 0 && o->ema_decay < 1))
        return fail("--ema_decay is %g: expected at least 0, which is no average, and below 1",
                    o->ema_decay);
    return is_palm(o) ? check_palm(&o->palm) : check_adamw(&o->adamw);
}

/* ---- schedules ---------------------------------------------------------------------------- */

/* Linear from init_lr to lr over the warm-up, then half a cosine to end_lr. The logged rates are
   the reference's to the last bit: its compiler, XLA, turns divisions by constants into products
   with their reciprocals and contracts a product and a sum into one rounding, so the same is
   spelt out here. */
static float cosine_lr(const struct optim_adamw *o, int64_t updates)
{
    float peak = (float)o->lr;
    int64_t warm = o->lr_warmup_steps, after = o->lr_decay_steps - warm;
    if (updates < warm) {
        float left = fmaf(-(float)updates, 1.0f / (float)warm, 1);
        return fmaf((float)(o->init_lr - o->lr), left, peak);
    }
    int64_t q = updates - warm < after ? updates - warm : after;
    double floor = o->lr == 0 ? 0 : o->end_lr / o->lr;
    float wave = 0.5f * (1 + cosf((float)q * ((float)M_PI * (1.0f / (float)after))));
    return peak * fmaf((float)(1 - floor), wave, (float)floor);
}

/* Level over the warm-up, then falling with the root of the updates. */
static float root_lr(const struct optim_palm *o, int64_t updates)
{
    int64_t under = updates > o->lr_warmup_steps ? updates : o->lr_warmup_steps;
    return (float)(o->lr / 0.01) / sqrtf((float)under);
}

float optim_lr(const struct optim_config *o, int64_t updates)
{
    return is_palm(o) ? root_lr(&o->palm, updates) : cosine_lr(&o->adamw, updates);
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

/* ---- updates ------------------------------------------------------------------------------ */

static size_t mean_bytes(const struct optim_config *c, const struct params *p)
{
    return c->accumulate_gradient_steps > 1 ? sizeof *p->mean * p->floats : 0;
}

static size_t average_bytes(const struct optim_config *c, const struct params *p)
{
    return c->ema_decay > 0 ? sizeof *p->average * p->floats : 0;
}

int optim_arrays(const struct optim_config *o)
{
    return 2 + (o->accumulate_gradient_steps > 1) + (o->ema_decay > 0);
}

void optim_plan(struct plan *plan, const struct optim_config *config, const struct params *p)
{
    plan_add(plan, "mean gradient", mean_bytes(config, p));
    plan_add(plan, "running average", average_bytes(config, p));
}

int optim_open(struct optim *o, const struct optim_config *config, struct params *p)
{
    size_t bytes = mean_bytes(config, p), average = average_bytes(config, p);
    *o = (struct optim){.config = *config};
    o->sums = device_alloc((SUM_PARAMS + (size_t)p->count) * sizeof *o->sums);
    o->host = calloc((size_t)p->count, sizeof *o->host);
    o->found = device_host_alloc(sizeof *o->found);
    if (bytes && !p->mean)
        p->mean = device_alloc(bytes);
    if (average && !p->average)
        p->average = device_alloc(average);
    if (o->sums && o->host && o->found && (p->mean || !bytes) && (p->average || !average))
        return 0;
    optim_close(o);
    return fail("the optimiser needs %.0f MiB on the device, which it does not have",
                (double)(bytes + average) / (1 << 20));
}

void optim_close(struct optim *o)
{
    device_free(o->sums);
    free(o->host);
    device_host_free(o->found);
    *o = (struct optim){0};
}

/* Every parameter decays, so that one call moves them all; the spaces between stay zero. */
static void step_adamw(struct optim *o, struct params *p, const float *grad, const double *sum,
                       int64_t updates)
{
    const struct optim_adamw *c = &o->config.adamw;
    struct adamw a = {
        .lr = optim_lr(&o->config, updates),
        .beta1 = (float)c->b1,
        .beta2 = (float)c->b2,
        .eps = ADAM_EPS,
        .weight_decay = (float)c->weight_decay,
        .correct1 = (float)(1 - pow(c->b1, (double)updates + 1)),
        .correct2 = (float)(1 - pow(c->b2, (double)updates + 1)),
        .clip = (float)c->clip_gradient,
        .bf16_momentum = c->bf16_momentum,
    };
    adamw_step(p->master, p->m, p->v, grad, sum, p->floats, &a);
}

static bool is_alone(const struct params *p)
{
    return p->mesh.fsdp == 1 && p->mesh.mp == 1;
}

/* Whether this rank's share of a parameter is to be counted in a sum over all: what mp does not
   divide is on each of its ranks. */
static bool counts(const struct params *p, int i)
{
    return p->list[i].held && (p->list[i].split >= 0 || mesh_mp_rank(&p->mesh) == 0);
}

/* Sums over the ranks that hold different floats, [count] on the device. */
static void add_over_ranks(double *sums, size_t count)
{
    comm_all_reduce(sums, count, COMM_F64, COMM_FSDP);
    comm_wait(comm_all_reduce(sums, count, COMM_F64, COMM_MP));
}

/* Square sums of all parameters, one by one, over all ranks that hold of them. */
static void sum_params(struct optim *o, const struct params *p)
{
    double *sums = o->sums + SUM_PARAMS;
    for (int i = 0; i < p->count; i++)
        if (is_alone(p) || counts(p, i))
            square_sum(sums + i, p->master + p->list[i].offset, p->list[i].held);
        else
            device_zero(sums + i, sizeof *sums);
    if (!is_alone(p))
        add_over_ranks(sums, (size_t)p->count);
}

const double *optim_weight_sums(struct optim *o, const struct params *p)
{
    sum_params(o, p);
    device_get(o->host, o->sums + SUM_PARAMS, sizeof *o->host * (size_t)p->count);
    return o->host;
}

/* adafactor_step divides by the floats it is given, which on a mesh are not all that the sum is
   over: scaled to make up for that. */
static void sum_params_scaled(struct optim *o, const struct params *p)
{
    double *sums = o->sums + SUM_PARAMS;
    sum_params(o, p);
    if (is_alone(p))
        return;
    device_get(o->host, sums, sizeof *sums * (size_t)p->count);
    for (int i = 0; i < p->count; i++)
        o->host[i] *= (double)p->list[i].held / (double)p->list[i].whole;
    device_put(sums, o->host, sizeof *sums * (size_t)p->count);
}

/* Parameter by parameter, for each steps by its own size. */
static void step_adafactor(struct optim *o, struct params *p, const float *grad, const double *sum,
                           int64_t updates)
{
    const struct optim_config *c = &o->config;
    bool palm = is_palm(c);
    float lr = optim_lr(c, updates);
    struct adafactor a = {
        .lr = lr,
        .beta1 = (float)(palm ? c->palm.b1 : c->adamw.b1),
        .decay = 1 - powf((float)updates + 1, -(float)(palm ? c->palm.b2 : c->adamw.b2)),
        .weight_decay = palm ? (float)(c->palm.weight_decay / 1e-4) * lr * lr
                             : lr * (float)c->adamw.weight_decay,
        .clip = (float)(palm ? c->palm.clip_gradient : c->adamw.clip_gradient),
        .bf16_momentum = palm ? c->palm.bf16_momentum : c->adamw.bf16_momentum,
    };
    sum_params_scaled(o, p);
    for (int i = 0; i < p->count; i++) {
        size_t at = p->list[i].offset, count = p->list[i].held;
        if (count)
            adafactor_step(p->master + at, p->m + at, p->v + at, grad + at, sum,
                           o->sums + SUM_PARAMS + i, count, &a);
    }
}

static void update(struct optim *o, struct params *p, const float *grad, const double *sum,
                   int64_t updates)
{
    if (is_palm(&o->config) || o->config.adamw.multiply_by_parameter_scale)
        step_adafactor(o, p, grad, sum, updates);
    else
        step_adamw(o, p, grad, sum, updates);
    params_refresh(p);
    if (!p->average)
        return;
    double decay = ((double)updates + 1) / ((double)updates + 10);
    decay = decay < o->config.ema_decay ? decay : o->config.ema_decay;
    average_step(p->average, p->master, sum, (float)(1 - decay), p->floats);
}

/* The square sum of a gradient over all parameters, wherever they are. */
static void sum_gradient(struct optim *o, double *sum, const float *grad, const struct params *p)
{
    double *sums = o->sums + SUM_PARAMS, twice = 0;
    square_sum(sum, grad, p->floats);
    if (is_alone(p))
        return;
    if (mesh_mp_rank(&p->mesh)) {
        double all;
        for (int i = 0; i < p->count; i++)
            if (p->list[i].split < 0 && p->list[i].held)
                square_sum(sums + i, grad + p->list[i].offset, p->list[i].held);
        device_get(o->host, sums, sizeof *sums * (size_t)p->count);
        for (int i = 0; i < p->count; i++)
            twice += p->list[i].split < 0 && p->list[i].held ? o->host[i] : 0;
        device_get(&all, sum, sizeof all);
        all -= twice;
        device_put(sum, &all, sizeof all);
    }
    add_over_ranks(sum, 1);
}

void optim_step(struct optim *o, struct params *p, int64_t steps)
{
    int64_t every = o->config.accumulate_gradient_steps;
    if (every == 1) {
        update(o, p, p->grad, o->sums + SUM_STEP, steps);
        return;
    }
    assert(p->mean);
    mean_add(p->mean, p->grad, (int)(steps % every), p->floats);
    if (steps % every < every - 1)
        return;
    sum_gradient(o, o->sums + SUM_MEAN, p->mean, p);
    update(o, p, p->mean, o->sums + SUM_MEAN, steps / every);
    device_zero(p->mean, sizeof *p->mean * p->floats);
}

void optim_measure(struct optim *o, const struct params *p)
{
    sum_gradient(o, o->sums + SUM_STEP, p->grad, p);
    device_fetch(o->found, o->sums + SUM_STEP, sizeof *o->found);
}

double optim_norm(const struct optim *o)
{
    return sqrt(*o->found);
}

double optim_grad_norm(struct optim *o, const struct params *p)
{
    optim_measure(o, p);
    const char *broken = device_sync(); /* which the next score tells */
    return broken ? NAN : optim_norm(o);
}
