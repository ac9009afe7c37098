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

void gelu_gate_fwd(real *y, const real *gate, const real *z, size_t count)
{
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++)
        y[i] = vec_gelu(gate[i]) * z[i];
}

void gelu_gate_bwd(real *dgate, real *dz, const real *dy, const real *gate, const real *z,
                   size_t count)
{
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++) {
        float g = gate[i], zi = z[i], d = dy[i];
        struct vec_sigmoid v = gelu_sigmoid(g);
        dz[i] = d * g * v.s;
        dgate[i] = d * zi * gelu_first(g, v);
    }
}
