/* real.h -- how this build stores activations and matrix weights.

   cpu and cuda-fp32 store float. cuda stores bfloat16 (-DTTT_BF16): a struct, so that the compiler
   refuses to mix a stored activation with a float. Arithmetic, statistics, master weights, moments,
   gradients of parameters and the inner state are float in every build. */
#ifndef REAL_H
#define REAL_H

#include <stdint.h>
#include <string.h>

#ifdef TTT_BF16
typedef struct {
    uint16_t bits; /* the upper half of a float */
} real;
#    define REAL_NAME "bf16"
#else
typedef float real;
#    define REAL_NAME "fp32"
#endif

#endif
