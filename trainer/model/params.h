/* params.h -- the one list of parameters: allocation, start values, optimiser, checkpoints and
   counts all walk it.

   Names are the paths of the reference's tree without "params/params/", such as
   "model/h/0/seq_modeling_block/wq/kernel". Masters, gradients and both moments are one array of
   floats each, on the device, all with the same offsets; the few floats between two parameters
   are zero and stay zero. Where `real` is float the working copies are the masters themselves.

   On a mesh (mesh.h) a parameter of which `split` names an axis is divided along it among the ranks
   of mp: its part. Parts are shared out among the ranks of fsdp unit by unit: of all vectors and of
   all matrices of a unit, end to end, each rank's arrays hold an equal stretch. Whole units, as ops
   take them, are then gathered elsewhere while they are needed (shard.h). */
#ifndef PARAMS_H
#define PARAMS_H

#include "config.h"
#include "mesh.h"
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

struct param {
    char name[PARAM_NAME_BYTES];
    int axes;
    int shape[PARAM_AXES]; /* of the whole parameter */
    int split;             /* the axis that mp divides, or -1 */
    size_t whole;          /* product of shape */
    size_t count;          /* floats of this rank's part; all of them without mp */
    size_t first, held;    /* of the part, floats first..first+held-1 lie in this rank's arrays */
    size_t offset;         /* there, floats from the start of each array; a multiple of 64 where the
                              whole part is held */
    int unit;
    size_t at;      /* floats from the start of its unit, when that is whole */
    size_t work_at; /* reals from the start of the unit's working copies; matrices only */
    enum param_init init;
    bool decay;  /* weight decay applies: to every parameter, as in the reference */
    bool matrix; /* a factor of matmul or the embedding: has a working copy in `real` */
};

/* Parameters that are moved at once, neighbours in the list: unit 0 is the embedding, 1 + l block
   l, the last one the rest. */
struct param_unit {
    size_t offset, floats;    /* of what this rank's arrays hold, spaces included */
    size_t work_offset;       /* and of its working copies */
    size_t vectors, matrices; /* floats of either when whole, with fsdp vectors first */
    float *master, *grad; /* the whole unit on the device, as ops take it; not matrices' masters */
    real *work;           /* where their working copies are others; NULL while not gathered */
};

/* Zero means closed. */
struct params {
    struct mesh mesh;
    struct param *list; /* [count], owned, in the model's order */
    int count;
    struct param_unit *unit; /* [units], owned */
    int units;
    size_t total;        /* parameters of the whole model */
    size_t floats;       /* in each array, with the spaces */
    size_t work_reals;   /* working copies; 0 where real is float */
    float *master;       /* [floats] on the device, owned, as are the next six */
    float *grad, *m, *v; /* [floats]; NULL unless training */
    float *mean;         /* [floats], of gradients not yet applied; optim.h allocates it, or NULL */
    float *average;      /* [floats], running, of the masters; optim.h allocates it, or NULL */
    real *work;          /* [work_reals], or NULL where real is float */
    bool on_host;        /* a snapshot: the arrays are plain memory of the host */
};

/* Make the list of a model; no device needed. config_check has passed or is about to: sizes only
   have to be positive. Every block's names are known here. -1 with why() when memory is short. */
must_check int params_list(struct params *p, const struct config *c);

/* The same for a rank of a mesh. -1 with why() too when its mp does not divide the model. */
must_check int params_list_on(struct params *p, const struct config *c, const struct mesh *mesh);

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

/* Floats of a part that lie together in the whole parameter, from place i of the part on; the first
   one's place there to *whole. */
size_t param_run(const struct param *q, const struct mesh *mesh, size_t i, size_t *whole);

/* The index of a name, or -1. */
int params_find(const struct params *p, const char *name);

/* "768x2048" into buf, at least 48 bytes; returns buf. */
char *param_shape(const struct param *p, char *buf);

/* A table for people: name, shape, count; layers that look alike are told once. */
void params_write(const struct params *p, FILE *to);

/* ---- the arrays of parameter i, while its unit is whole ------------------------------------ */

static inline float *param_master(const struct params *p, int i)
{
    return p->unit[p->list[i].unit].master + p->list[i].at;
}

static inline float *param_grad(const struct params *p, int i)
{
    return p->unit[p->list[i].unit].grad + p->list[i].at;
}

/* The matrix as ops take it. */
static inline const real *param_work(const struct params *p, int i)
{
    const struct param *q = &p->list[i];
    return p->work_reals ? p->unit[q->unit].work + q->work_at : (const real *)param_master(p, i);
}

#endif
