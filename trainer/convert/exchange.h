/* exchange.h -- a model on its way from one form of checkpoint to another. */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include "config.h"
#include "params.h"
#include "reference.h"

enum exchange_form {
    EXCHANGE_TTT,       /* ours: a run's directory, or one step_N of it */
    EXCHANGE_REFERENCE, /* a file that the JAX trainer streams */
    EXCHANGE_HF,        /* the directory of a Hugging Face model: parameters alone */
};

/* What the flags ask. A plain value. */
struct exchange_options {
    const struct config_flags *model; /* what a reference's file does not tell */
    bool model_given;
    const char *part;        /* "auto", "trainstate" or "params" */
    enum tensor_dtype dtype; /* of what is written, but for ours, which is fp32 */
    int64_t step;            /* of a file that does not tell it; 0: not given */
    int64_t max_bytes;       /* of tensors in a file of Hugging Face's */
};

/* Zero means closed. */
struct exchange {
    const struct exchange_options *options;
    struct config config;
    struct params params;
    struct reference has; /* step and optimiser */
    int64_t step;
    char digest[33]; /* XXH3-128 of names, shapes and numbers: the same in whatever form */
};

/* Read a checkpoint whole and say what it is. Every tensor has to be there, of its shape, and no
   other. -1 with why(). */
must_check int exchange_read(struct exchange *x, const struct exchange_options *o,
                             enum exchange_form form, const char *path);

/* Write it, rounded to the dtype, and say so. -1 with why(), and nothing under the final name. */
must_check int exchange_write(struct exchange *x, enum exchange_form form, const char *path);

void exchange_close(struct exchange *x); /* harmless when closed */

#endif
