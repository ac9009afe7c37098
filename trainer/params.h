/* params.h -- the one list of parameters: allocation, start values, optimiser, checkpoints and
   counts all walk it.

   Names are the paths of the reference's tree without "params/params/", such as
   "model/h/0/seq_modeling_block/wq/kernel". Masters, gradients and both moments are one array of
   floats each, on the device, all with the same offsets; the few floats between two parameters
   are zero and stay zero. Where `real` is float the working copies are the masters themselves. */
#ifndef PARAMS_H
#define PARAMS_H

#include "config.h"
#include "real.h"

#include <stddef.h>
#include <stdio.h>

enum { PARAM_AXES = 4, PARAM_NAME_BYTES = 80 };

enum param_init {
    INIT_ZEROS,
    INIT_ONES,
    INIT_NORMAL, /* standard deviation initializer_range */
    INIT_LECUN,  /* normal cut at two deviations, rescaled to deviation sqrt(1 / conv_width) */
};

/* Which axis tensor parallelism divides; the other matrix axis is divided among data ranks. */
enum param_split { SPLIT_NONE, SPLIT_ROWS, SPLIT_COLUMNS };

struct param {
    char name[PARAM_NAME_BYTES];
    int axes;
    int shape[PARAM_AXES];
    size_t count;       /* product of shape */
    size_t offset;      /* floats from the start of each array; a multiple of 64 */
    size_t work_offset; /* reals from the start of the working copies; matrices only */
    enum param_init init;
    enum param_split split;
    bool decay;  /* weight decay applies: to every parameter, as in the reference */
    bool matrix; /* a factor of matmul or the embedding: has a working copy in `real` */
};

/* Parameters that are moved at once, neighbours in the list: unit 0 is the embedding, 1 + l block
   l, the last one the rest. */
struct param_unit {
    size_t offset, floats; /* of its parameters in each array, spaces included */
};

/* Zero means closed. */
struct params {
    struct param *list; /* [count], owned, in the model's order */
    int count;
    struct param_unit *unit; /* [units], owned */
    int units;
    size_t total;        /* parameters */
    size_t floats;       /* in each array, with the spaces */
    size_t work_reals;   /* working copies; 0 where real is float */
    float *master;       /* [floats] on the device, owned, as are the next five */
    float *grad, *m, *v; /* [floats]; NULL unless training */
    float *mean;         /* [floats], of gradients not yet applied; optim.h allocates it, or NULL */
    real *work;          /* [work_reals], or NULL where real is float */
    bool on_host;        /* a snapshot: the arrays are plain memory of the host */
};

/* Make the list of a model; no device needed. config_check has passed or is about to: sizes only
   have to be positive. Every block's names are known here. -1 with why() when memory is short. */
must_check int params_list(struct params *p, const struct config *c);

/* Allocate the arrays on the device, zeroed; gradients and moments only when training. -1 with
   why() saying how much was wanted. */
must_check int params_alloc(struct params *p, bool training);

void params_close(struct params *p); /* harmless when closed */

/* Start values from a seed: each parameter's numbers depend on the seed, its name and the place
   in it alone, so they are the same on every machine and mesh. Moments and mean are zeroed and
   working copies refreshed. range: config's initializer_range. */
void params_init(struct params *p, uint64_t seed, double range);

/* After the masters changed: bring the working copies up to date. Nothing where real is float. */
void params_refresh(struct params *p);

/* The index of a name, or -1. */
int params_find(const struct params *p, const char *name);

/* "768x2048" into buf, at least 48 bytes; returns buf. */
char *param_shape(const struct param *p, char *buf);

/* A table for people: name, shape, count; layers that look alike are told once. */
void params_write(const struct params *p, FILE *to);

/* ---- the arrays of parameter i ------------------------------------------------------------ */

static inline float *param_master(const struct params *p, int i)
{
    return p->master + p->list[i].offset;
}

static inline float *param_grad(const struct params *p, int i)
{
    return p->grad + p->list[i].offset;
}

/* The matrix as ops take it. */
static inline const real *param_work(const struct params *p, int i)
{
    return p->work ? p->work + p->list[i].work_offset
                   : (const real *)(p->master + p->list[i].offset);
}

#endif
