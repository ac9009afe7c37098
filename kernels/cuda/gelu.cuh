// gelu.cuh -- the sigmoid, and gelu in its tanh form with two derivatives.
#ifndef GELU_CUH
#define GELU_CUH

#include "real.cuh"

// sigmoid(x), and 1 - sigmoid(x) without the cancellation.
struct sigmoid {
    float s, complement;
};

static __device__ inline sigmoid sigmoid_of(float x)
{
    float e = expf(-fabsf(x)), large = 1 / (1 + e), small = e * large;
    return x >= 0 ? sigmoid{large, small} : sigmoid{small, large};
}

// 0.5 (1 + tanh(a)) = sigmoid(2a), a = sqrt(2/pi) (x + 0.044715 x^3): gelu(x) = x sigmoid(bend(x)).
struct gelu {
    static __device__ inline float bend(float x)
    {
        return 1.59576912f * x * (1 + 0.044715f * x * x);
    }
    static __device__ inline float slope(float x)
    {
        return 1.59576912f * (1 + 3 * 0.044715f * x * x);
    }
    static __device__ inline float value(float x) { return x * sigmoid_of(bend(x)).s; }
    static __device__ inline float first(float x)
    {
        sigmoid v = sigmoid_of(bend(x));
        return v.s * (1 + x * slope(x) * v.complement);
    }
    // s (1 - s) (2 b' + x b'' + x (1 - 2 s) b'^2)
    static __device__ inline float second(float x)
    {
        sigmoid v = sigmoid_of(bend(x));
        float b = slope(x), bb = 6 * 1.59576912f * 0.044715f * x;
        return v.s * v.complement * (2 * b + x * (bb + (v.complement - v.s) * b * b));
    }
};

static __device__ inline float4 gelu4(float4 x)
{
    return make_float4(gelu::value(x.x), gelu::value(x.y), gelu::value(x.z), gelu::value(x.w));
}

static __device__ inline float4 gelu4_first(float4 x)
{
    return make_float4(gelu::first(x.x), gelu::first(x.y), gelu::first(x.z), gelu::first(x.w));
}

static __device__ inline float4 gelu4_second(float4 x)
{
    return make_float4(gelu::second(x.x), gelu::second(x.y), gelu::second(x.z), gelu::second(x.w));
}

#endif
