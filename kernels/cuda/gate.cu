// cuda/gate.cu -- SwiGLU, the GELU gate, and whole arrays: one thread takes four values, or one.
#include "kernels.h"

#include "gelu.cuh"
#include "launch.cuh"
#include "real.cuh"

enum { THREADS = 256 };

// ---- whole arrays -------------------------------------------------------------------------------

template <int N>
static __global__ void __launch_bounds__(THREADS) add_each(real *y, const real *x, size_t count)
{
    for (size_t i = N * grid_thread(); i < count; i += N * grid_threads()) {
        pack<N> a = load<N>(y + i), b = load<N>(x + i);
        for (int j = 0; j < N; j++)
            a.v[j] += b.v[j];
        store(y + i, a);
    }
}

void add(real *y, const real *x, size_t count)
{
    if (in_fours(count, y, x))
        LAUNCH((add_each<4>), blocks_for(count, 4 * THREADS), THREADS, 0, device_stream, y, x,
               count);
    else
        LAUNCH((add_each<1>), blocks_for(count, THREADS), THREADS, 0, device_stream, y, x, count);
}

template <int N, class To, class From>
static __global__ void __launch_bounds__(THREADS) convert_each(To *y, const From *x, size_t count)
{
    for (size_t i = N * grid_thread(); i < count; i += N * grid_threads())
        store(y + i, load<N>(x + i));
}

template <class To, class From> static void convert(To *y, const From *x, size_t count)
{
    if ((const void *)y == (const void *)x)
        return;
    if (in_fours(count, y, x))
        LAUNCH((convert_each<4, To, From>), blocks_for(count, 4 * THREADS), THREADS, 0,
               device_stream, y, x, count);
    else
        LAUNCH((convert_each<1, To, From>), blocks_for(count, THREADS), THREADS, 0, device_stream,
               y, x, count);
}

void real_from_float(real *y, const float *x, size_t count)
{
    convert(y, x, count);
}

void float_from_real(float *y, const real *x, size_t count)
{
    convert(y, x, count);
}

// ---- gates --------------------------------------------------------------------------------------

// Both gates, this and gelu, are value(x) = x sigmoid(bend(x)).
struct silu {
    static __device__ inline float bend(float x) { return x; }
    static __device__ inline float slope(float) { return 1; }
};

template <int N, class Gate>
static __global__ void __launch_bounds__(THREADS)
    gate_fwd_each(real *y, const real *gate, const real *z, size_t count)
{
    for (size_t i = N * grid_thread(); i < count; i += N * grid_threads()) {
        pack<N> g = load<N>(gate + i), a = load<N>(z + i);
        for (int j = 0; j < N; j++)
            a.v[j] *= g.v[j] * sigmoid_of(Gate::bend(g.v[j])).s;
        store(y + i, a);
    }
}

template <int N, class Gate>
static __global__ void __launch_bounds__(THREADS)
    gate_bwd_each(real *dgate, real *dz, const real *dy, const real *gate, const real *z,
                  size_t count)
{
    for (size_t i = N * grid_thread(); i < count; i += N * grid_threads()) {
        pack<N> g = load<N>(gate + i), a = load<N>(z + i), d = load<N>(dy + i), dg;
        for (int j = 0; j < N; j++) {
            float x = g.v[j];
            sigmoid v = sigmoid_of(Gate::bend(x));
            dg.v[j] = d.v[j] * a.v[j] * v.s * (1 + x * Gate::slope(x) * v.complement);
            d.v[j] *= x * v.s;
        }
        store(dz + i, d);
        store(dgate + i, dg);
    }
}

template <class Gate> static void gate_fwd(real *y, const real *gate, const real *z, size_t count)
{
    if (in_fours(count, y, gate, z))
        LAUNCH((gate_fwd_each<4, Gate>), blocks_for(count, 4 * THREADS), THREADS, 0, device_stream,
               y, gate, z, count);
    else
        LAUNCH((gate_fwd_each<1, Gate>), blocks_for(count, THREADS), THREADS, 0, device_stream, y,
               gate, z, count);
}

template <class Gate>
static void gate_bwd(real *dgate, real *dz, const real *dy, const real *gate, const real *z,
                     size_t count)
{
    if (in_fours(count, dgate, dz, dy, gate, z))
        LAUNCH((gate_bwd_each<4, Gate>), blocks_for(count, 4 * THREADS), THREADS, 0, device_stream,
               dgate, dz, dy, gate, z, count);
    else
        LAUNCH((gate_bwd_each<1, Gate>), blocks_for(count, THREADS), THREADS, 0, device_stream,
               dgate, dz, dy, gate, z, count);
}

void swiglu_fwd(real *y, const real *gate, const real *up, size_t count)
{
    gate_fwd<silu>(y, gate, up, count);
}

void swiglu_bwd(real *dgate, real *dup, const real *dy, const real *gate, const real *up,
                size_t count)
{
    gate_bwd<silu>(dgate, dup, dy, gate, up, count);
}

void gelu_gate_fwd(real *y, const real *gate, const real *z, size_t count)
{
    gate_fwd<gelu>(y, gate, z, count);
}

void gelu_gate_bwd(real *dgate, real *dz, const real *dy, const real *gate, const real *z,
                   size_t count)
{
    gate_bwd<gelu>(dgate, dz, dy, gate, z, count);
}
