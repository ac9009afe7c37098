/* reference.h -- our parameters and moments in the reference's checkpoints, both ways.

   A streaming_params file holds the parameters alone, a streaming_train_state the step, the
   parameters and the state of optax's chain besides: AdamW's or Adafactor's moments, the counts of
   updates, and within optax.MultiSteps the mean of gradients. Which tensors those are follows from
   the model, the step and the kind of optimiser. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include "flax.h"
#include "params.h"

enum reference_optim { REFERENCE_PARAMS_ONLY, REFERENCE_ADAMW, REFERENCE_ADAFACTOR };

/* What a file holds. A plain value. */
struct reference {
    bool has_step; /* step and parameters lie under "step" and "params", as in a train state */
    int64_t step;  /* 0 when not told */
    enum reference_optim optim;
    int64_t accumulate; /* gradients that make one update, optax.MultiSteps when above 1 */
};

/* Learn it from the names and counts in f. -1 with why() when those are none of the reference's. */
must_check int reference_inspect(struct reference *r, const struct flax *f);

/* The parameters of f under our own names (params.h), with shapes and data, in f's order: an array
   that the caller frees by reference_free; NULL with why(). Their number goes to *count. */
struct tensor *reference_params(const struct reference *r, const struct flax *f, int *count);
void reference_free(struct tensor *list, int count);

/* Allocate what r has of p, which is listed and no more: masters, moments, mean. */
must_check int reference_alloc(const struct reference *r, struct params *p);

/* Fill p, listed and no more, from f. Every tensor of f must be one that r and p tell, of its
   shape, F32 or BF16, every count as r.step tells it, and none may lack: all checked before
   anything is allocated. */
must_check int reference_load(const struct reference *r, struct params *p, const struct flax *f);

/* Write p as the reference writes it: the same bytes for the same numbers. dtype: TENSOR_F32, or
   TENSOR_BF16 to nearest even. */
must_check int reference_save(const struct reference *r, const struct params *p, const char *path,
                              enum tensor_dtype dtype);

#endif
