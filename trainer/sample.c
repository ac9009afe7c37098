/* sample.c -- choose the next token from logits, the same for the same seed. */
#include "sample.h"
#include "random.h"

#include <math.h>
#include <stdlib.h>

struct sample_choice {
    double weight; /* probability, not normalised */
    int32_t id;
};

int sample_check(const struct sample_config *c)
{
    if (!(c->temperature >= 0))
        return fail("--temperature=%g: must not be negative", c->temperature);
    if (c->top_k < 0)
        return fail("--top_k=%lld: must not be negative; 0 keeps every token", (long long)c->top_k);
    if (!(c->top_p > 0 && c->top_p <= 1))
        return fail("--top_p=%g: must be above 0 and at most 1", c->top_p);
    return 0;
}

int sample_open(struct sampler *s, const struct sample_config *c, int vocab)
{
    *s = (struct sampler){.config = *c, .vocab = vocab};
    if (sample_check(c))
        return -1;
    s->choices = calloc((size_t)vocab, sizeof *s->choices);
    return s->choices ? 0 : fail("out of memory for %d tokens to choose from", vocab);
}

void sample_close(struct sampler *s)
{
    free(s->choices);
    *s = (struct sampler){0};
}

static int likely_first(const void *a, const void *b)
{
    const struct sample_choice *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* The largest logit's id, or -1 when one is not a number. */
static int32_t largest(const struct sampler *s, const float *logits)
{
    int32_t best = 0;
    for (int32_t i = 0; i < s->vocab; i++) {
        if (!isfinite(logits[i]))
            return -1;
        if (logits[i] > logits[best])
            best = i;
    }
    return best;
}

/* How many of the sorted choices top_k and top_p leave. */
static int cut(const struct sampler *s)
{
    int count = s->vocab;
    if (s->config.top_k && s->config.top_k < count)
        count = (int)s->config.top_k;
    double all = 0, sum = 0;
    for (int i = 0; i < count; i++)
        all += s->choices[i].weight;
    for (int i = 0; i < count; i++) {
        sum += s->choices[i].weight;
        if (sum >= s->config.top_p * all)
            return i + 1;
    }
    return count;
}

int sample_pick(struct sampler *s, const float *logits, int32_t *id)
{
    int32_t best = largest(s, logits);
    if (best < 0)
        return fail("the model's logits are not finite");
    *id = best;
    if (s->config.temperature == 0)
        return 0;
    for (int32_t i = 0; i < s->vocab; i++)
        s->choices[i] =
            (struct sample_choice){exp(((double)logits[i] - logits[best]) / s->config.temperature),
                                   i};
    int count = s->vocab;
    if (s->config.top_k || s->config.top_p < 1) {
        qsort(s->choices, (size_t)s->vocab, sizeof *s->choices, likely_first);
        count = cut(s);
    }
    double all = 0;
    for (int i = 0; i < count; i++)
        all += s->choices[i].weight;
    double left =
        random_uniform((uint64_t)s->config.seed, random_stream("sample"), s->draws++) * all;
    /* Rounding may leave a little at the end: then it is the last one that has any weight. */
    for (int i = 0; i < count; i++) {
        if (s->choices[i].weight > 0)
            *id = s->choices[i].id;
        left -= s->choices[i].weight;
        if (left < 0)
            return 0;
    }
    return 0;
}
