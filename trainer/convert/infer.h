/* infer.h -- which model a checkpoint of elsewhere is of, from names and shapes. */
#ifndef INFER_H
#define INFER_H

#include "config.h"
#include "tensors.h"

/* What the tensors do not tell: the user's flags, and whether the first was given at all. */
struct infer_hints {
    const struct config_flags *flags;
    bool model_given;
};

/* Fill c from tensors under the names of params.h: sizes, block, convolution, mini-batch, tied
   head; of a TTT model the heads too. The rest comes from the hints, without which an attention
   model is known by its size alone, and a TTT model's base learning rate is taken to be the
   default, which say() tells. -1 with why() when a tensor that tells something is missing or
   absurd, when a hint says otherwise, or is needed. That every tensor is there is for the caller to
   check. */
must_check int infer_model(struct config *c, const struct infer_hints *hints,
                           const struct tensor *list, int count, const char *path);

#endif
