/* gate.c -- SwiGLU, the GELU gate, and sums of whole arrays. */
#include "kernels.h"
#include "vec.h"

void add(real *y, const real *x, size_t count)
{
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++)
        y[i] += x[i];
}

void real_from_float(real *y, const float *x, size_t count)
{
    if (y != x)
        memcpy(y, x, count * sizeof *y);
}

void float_from_real(float *y, const real *x, size_t count)
{
    if (y != x)
        memcpy(y, x, count * sizeof *y);
}

void swiglu_fwd(real *y, const real *gate, const real *up, size_t count)
{
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++)
        y[i] = gate[i] * vec_sigmoid(gate[i]).s * up[i];
}

void swiglu_bwd(real *dgate, real *dup, const real *dy, const real *gate, const real *up,
                size_t count)
{
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++) {
        float g = gate[i], u = up[i], d = dy[i];
        struct vec_sigmoid v = vec_sigmoid(g);
        dup[i] = d * g * v.s;
        dgate[i] = d * u * v.s * (1 + g * v.complement);
    }
}

/* The tanh form is a sigmoid: 0.5 (1 + tanh(a)) = sigmoid(2a), a = sqrt(2/pi) (x + 0.044715 x^3).
 */
static const float SLOPE = 1.59576912f, CUBIC = 0.044715f;

static inline __attribute__((always_inline)) struct vec_sigmoid gelu_sigmoid(float x)
{
    return vec_sigmoid(SLOPE * x * (1 + CUBIC * x * x));
}

void gelu_gate_fwd(real *y, const real *gate, const real *z, size_t count)
{
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++)
        y[i] = gate[i] * gelu_sigmoid(gate[i]).s * z[i];
}

void gelu_gate_bwd(real *dgate, real *dz, const real *dy, const real *gate, const real *z,
                   size_t count)
{
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++) {
        float g = gate[i], zi = z[i], d = dy[i];
        struct vec_sigmoid v = gelu_sigmoid(g);
        float slope = SLOPE * (1 + 3 * CUBIC * g * g);
        dz[i] = d * g * v.s;
        dgate[i] = d * zi * v.s * (1 + g * slope * v.complement);
    }
}
