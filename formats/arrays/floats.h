/* floats.h -- floats of 16 and 32 bits, from one to the other. */
#ifndef FLOATS_H
#define FLOATS_H

#include "tensors.h"

/* Whether a dtype is F32, BF16 or F16. */
bool floats_is(enum tensor_dtype dtype);

/* count floats from elements of F32, BF16 or F16, which may lie unaligned. Exact. */
void floats_widen(float *to, const void *from, size_t count, enum tensor_dtype dtype);

/* count elements to nearest even into `to`, which may be the floats themselves; a NaN stays one.
   Returns the bytes. A number beyond F16's 65504 becomes infinite. */
size_t floats_narrow(void *to, const float *from, size_t count, enum tensor_dtype dtype);

#endif
