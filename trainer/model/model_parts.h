/* model_parts.h -- what the blocks and the whole model share. */
#ifndef MODEL_PARTS_H
#define MODEL_PARTS_H

#include "comm.h"
#include "kernels.h"
#include "model.h"

/* The sizes of a mixer: the heads are those of this rank. */
static inline struct ttt_shape model_shape(const struct model *m, float ttt_lr_mult)
{
    struct ttt_shape s = mixer_ttt_shape(&m->config, m->batch, m->seq, ttt_lr_mult);
    s.heads /= m->params->mesh.mp;
    return s;
}

/* Add up what the ranks along mp have of [rows][width]. */
static inline void model_add_up(real *x, const struct model *m)
{
    size_t count = (size_t)m->rows * m->config.hidden_size;
    if (m->params->mesh.mp > 1)
        comm_wait(comm_all_reduce(x, count, COMM_REAL, COMM_MP));
}

/* y = rms(x) */
static inline void model_rms_fwd(real *y, float *inv_rms, const real *x, int gain,
                                 const struct model *m)
{
    rmsnorm_fwd(y, inv_rms, x, param_master(m->params, gain), m->rows, m->config.hidden_size,
                (float)m->config.rms_norm_eps);
}

/* dx += the gradient through a norm. */
static inline void model_rms_bwd(struct model *m, const real *dy, const real *x,
                                 const float *inv_rms, int gain)
{
    rmsnorm_bwd(m->dx, param_grad(m->params, gain), dy, x, inv_rms, param_master(m->params, gain),
                m->rows, m->config.hidden_size);
}

#endif
