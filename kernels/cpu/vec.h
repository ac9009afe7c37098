/* vec.h -- exp, sigmoid and gelu that a loop can do for many elements at once.

   Plain arithmetic without branches or calls, so `omp simd` loops over them become vector code.
   Relative error of exp below 1.5e-7. */
#ifndef VEC_H
#define VEC_H

#include <stdint.h>
#include <string.h>

/* e^x = 2^n e^r with |r| <= ln 2 / 2; outside -87..87 the result stays at the edge, NaN stays NaN.
   The edge keeps the sign of x, so that it is no constant: from one the compiler works out all that
   follows as well, in vectors beside, and gelu's derivative took twice the time. */
static inline __attribute__((always_inline)) float vec_exp(float x)
{
    float size = __builtin_fabsf(x);
    size = size > 87.0f ? 87.0f : size;
    x = __builtin_copysignf(size, x);
    /* Adding 1.5 * 2^23 rounds to an integer, which then sits in the low bits. */
    float shifted = x * 1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    /* ln 2 in two parts: the first has zeros below, so n times it is exact. */
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (int32_t)((uint32_t)(bits - 0x4b400000 + 127) << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* e^-x and 1 / (1 + e^-x). The complement 1 - sigmoid is the product of the two, which keeps its
   relative precision where a subtraction would lose it. */
struct vec_sigmoid {
    float s, complement;
};

static inline __attribute__((always_inline)) struct vec_sigmoid vec_sigmoid(float x)
{
    float e = vec_exp(-x);
    float s = 1 / (1 + e);
    return (struct vec_sigmoid){s, e * s};
}

/* gelu in its tanh form is x times a sigmoid, for 0.5 (1 + tanh(a)) = sigmoid(2a): here with
   u = 2 sqrt(2/pi) (x + 0.044715 x^3). Value and derivatives share it. */
static const float GELU_SLOPE = 1.59576912f, GELU_CUBIC = 0.044715f;

static inline __attribute__((always_inline)) struct vec_sigmoid gelu_sigmoid(float x)
{
    return vec_sigmoid(GELU_SLOPE * x * (1 + GELU_CUBIC * x * x));
}

static inline __attribute__((always_inline)) float vec_gelu(float x)
{
    return x * gelu_sigmoid(x).s;
}

/* du / dx */
static inline __attribute__((always_inline)) float gelu_slope(float x)
{
    return GELU_SLOPE * (1 + 3 * GELU_CUBIC * x * x);
}

/* gelu'(x), given gelu_sigmoid(x) */
static inline __attribute__((always_inline)) float gelu_first(float x, struct vec_sigmoid v)
{
    return v.s * (1 + x * gelu_slope(x) * v.complement);
}

/* gelu''(x) = s (1 - s) (2 u' + x u'' + x (1 - 2 s) u'^2) */
static inline __attribute__((always_inline)) float gelu_second(float x, struct vec_sigmoid v)
{
    float slope = gelu_slope(x), bend = 6 * GELU_SLOPE * GELU_CUBIC * x;
    return v.s * v.complement * (2 * slope + x * (bend + (v.complement - v.s) * slope * slope));
}

#endif
