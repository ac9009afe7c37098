// cuda/ttt_fold.cu -- the chains' partial gradients of the inner loop's parameters become one.
#include "inner_bwd.cuh"

// Arrays [heads][count], one after the other in a partial.
struct fold_array {
    float *to;
    size_t count;
};

enum { FOLD_ARRAYS = 6 };

struct fold_plan {
    fold_array arrays[FOLD_ARRAYS];
    size_t per_head; // the sum of the counts: what follows are the token weights
};

static __global__ void __launch_bounds__(ROW_THREADS)
    ttt_fold_each(fold_plan plan, float *dtoken_idx, const float *partials, size_t each,
                  const float *token_idx, ttt_shape s)
{
    const size_t per_head = plan.per_head, chains = (size_t)s.batch * s.heads;
    for (size_t i = grid_thread(); i < s.heads * per_head + s.mini_batch; i += grid_threads()) {
        float sum = 0;
        if (i >= s.heads * per_head) {
            size_t t = i - s.heads * per_head;
            for (size_t n = 0; n < chains; n++)
                sum += partials[n * each + per_head + t];
            // nothing passes where the weight is clipped
            dtoken_idx[t] += token_weight(token_idx, (int)t) > 0 ? sum : 0;
            continue;
        }
        size_t head = i / per_head, at = i % per_head;
        for (int b = 0; b < s.batch; b++)
            sum += partials[((size_t)b * s.heads + head) * each + at];
        bool added = false;
        for (int n = 0; n < FOLD_ARRAYS && !added; n++) {
            const fold_array &a = plan.arrays[n];
            added = at < a.count;
            if (added)
                a.to[head * a.count + at] += sum;
            at -= a.count;
        }
    }
}

void fold_partials(const struct ttt_params *d, const float *partials, size_t each,
                   const float *token_idx, const struct ttt_shape *s)
{
    const size_t f = s->head_dim, hidden = d->w2 ? 4 * f : f;
    fold_plan plan = {{{d->w1, f * hidden},
                       {d->b1, hidden},
                       {d->w2, d->w2 ? hidden * f : 0},
                       {d->b2, d->w2 ? f : 0},
                       {d->norm_scale, f},
                       {d->norm_bias, f}},
                      0};
    for (const fold_array &a : plan.arrays)
        plan.per_head += a.count;
    LAUNCH(ttt_fold_each, blocks_for(s->heads * plan.per_head + s->mini_batch, ROW_THREADS),
           ROW_THREADS, 0, device_stream, plan, d->token_idx, partials, each, token_idx, *s);
}
