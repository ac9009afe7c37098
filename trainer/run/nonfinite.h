/* nonfinite.h -- where numbers first stopped being numbers. */
#ifndef NONFINITE_H
#define NONFINITE_H

#include "model.h"

enum { NONFINITE_BYTES = PARAM_NAME_BYTES + 64 };

/* After a forward whose loss is not finite: the first parameter that holds a value that is not,
   else the first part of the model whose output does, as "the output of layer 3, row 0,
   token 17". Into place, which is returned. The model was opened for training. */
char *nonfinite_forward(char place[NONFINITE_BYTES], struct model *m);

/* After a backward that followed a finite loss: the first gradient on the backward's way. */
char *nonfinite_gradient(char place[NONFINITE_BYTES], const struct params *p);

#endif
