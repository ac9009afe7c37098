// inner_linear.cuh -- what a block does with a mini-batch of the linear inner model: W [F] rows of
// F in shared memory, inner<F>::STRIDE apart, and b.
#ifndef INNER_LINEAR_CUH
#define INNER_LINEAR_CUH

#include "products.cuh"

// z = A W + b, tiles; W_STRIDE from row to row of W.
template <int F, int W_STRIDE>
static __device__ inline void linear_rows(float *z, const float *a, const float *w, const float *b,
                                          int tokens)
{
    constexpr int STRIDE = inner<F>::STRIDE;
    rows_times<F, F, W_STRIDE, 2>(a, STRIDE, w, tokens, [&](int i, int column, float4 y) {
        store4(z + i * STRIDE + column, y + load4(b + column));
    });
}

// The gradients G of a mini-batch, without outputs: for replay and statistics. A barrier lies
// before and after.
template <int F>
static __device__ inline void gradient_rows(float *g, const float *x, const float *w,
                                            const float *b, const real *v, size_t row, float4 scale,
                                            float4 bias, float eps, int tokens, const place<F> &at)
{
    constexpr int STRIDE = inner<F>::STRIDE;
    linear_rows<F, STRIDE>(g, x, w, b, tokens);
    __syncthreads();
    for (int first = 0; first < tokens; first += inner<F>::ROWS) {
        int i = min(first + at.row, tokens - 1);
        bool mine = at.active && first + at.row < tokens;
        const size_t here = i * STRIDE + at.column;
        gradient d = inner_gradient<F>(load4_mine(mine, g + here), load4(x + here),
                                       load4(v + i * row + at.column), scale, bias, eps, at);
        if (mine)
            store4(g + here, d.g);
    }
}

// W -= (s X)^T G; b -= sum_j s_j G_j. minus_s holds -s.
template <int F>
static __device__ inline void state_update(float *w, float *b, const float *x, const float *g,
                                           const float *minus_s, int tokens)
{
    constexpr int STRIDE = inner<F>::STRIDE;
    matrix_add<F, F, STRIDE, STRIDE>(w, w, tokens, outer{x, STRIDE, g, STRIDE, minus_s});
    for (int c = threadIdx.x; c < F; c += blockDim.x) {
        float sum = b[c];
        for (int j = 0; j < tokens; j++)
            sum = fmaf(minus_s[j], g[j * STRIDE + c], sum);
        b[c] = sum;
    }
}

#endif
