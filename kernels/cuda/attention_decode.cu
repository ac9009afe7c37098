// attention_decode.cu -- one token of each sequence against the keys and values kept of those
// before.
#include "attention.cuh"

// A block per sequence and head: rows of threads share the positions, each with its own softmax,
// and the rows' results are joined in order.
template <int F>
static __global__ void __launch_bounds__(inner<F>::THREADS)
    attention_decode_head(real *out, real *k_cache, real *v_cache, const real *q, const real *k,
                          const real *v, const int32_t *positions, int capacity, int heads)
{
    const int position = positions[blockIdx.x / heads];
    if (position < 0)
        return;
    constexpr int ROWS = inner<F>::ROWS;
    SHARED(float, tops, [ROWS]);
    SHARED(float, weights, [ROWS]);
    SHARED(float, sums, [ROWS * F]);
    const place<F> at;
    const size_t number = blockIdx.x, row = (size_t)heads * F, here = number * F + at.column;
    const size_t cache = number / heads * capacity * row + number % heads * F + (size_t)at.column;
    const float4 query = 1 / sqrtf((float)F) * load4(q + here);
    const float4 new_key = load4(k + here), new_value = load4(v + here);
    if (at.row == 0 && at.active) {
        store4(k_cache + cache + position * row, new_key);
        store4(v_cache + cache + position * row, new_value);
    }
    float top = -INFINITY, sum = 0;
    float4 y = four(0);
    for (int first = 0; first <= position; first += ROWS) {
        int t = min(first + at.row, position);
        bool old = t < position;
        float s = at.row_sum(dot4(query, old ? load4(k_cache + cache + t * row) : new_key));
        if (first + at.row <= position) {
            float before = top;
            top = fmaxf(top, s);
            float shrink = expf(before - top), w = expf(s - top);
            sum = sum * shrink + w;
            y = fma4(w, old ? load4(v_cache + cache + t * row) : new_value, shrink * y);
        }
    }
    if (at.active) {
        store4(sums + at.row * F + at.column, y);
        tops[at.row] = top;
        weights[at.row] = sum;
    }
    __syncthreads();
    if (at.row || !at.active)
        return;
    for (int r = 1; r < ROWS; r++)
        top = fmaxf(top, tops[r]);
    sum = 0;
    y = four(0);
    for (int r = 0; r < ROWS && r <= position; r++) {
        float w = expf(tops[r] - top);
        sum = fmaf(w, weights[r], sum);
        y = fma4(w, load4(sums + r * F + at.column), y);
    }
    store4(out + here, 1 / sum * y);
}

template <int F>
static void launch_decode(real *out, real *k_cache, real *v_cache, const real *q, const real *k,
                          const real *v, const int32_t *position, int capacity, int batch,
                          int heads)
{
    LAUNCH((attention_decode_head<F>), blocks_exact((size_t)batch * heads, 1), inner<F>::THREADS, 0,
           device_stream, out, k_cache, v_cache, q, k, v, position, capacity, heads);
}

void attention_decode(real *out, real *k_cache, real *v_cache, const real *q, const real *k,
                      const real *v, const int32_t *position, int capacity, int batch, int heads,
                      int head_dim)
{
    attention_check(batch, capacity, heads, head_dim);
    inner_check_aligned(out, k_cache, v_cache, q, k, v);
    WITH_HEAD_DIM(head_dim, launch_decode, out, k_cache, v_cache, q, k, v, position, capacity,
                  batch, heads);
}
