/* sample.c -- choose the next token from logits, the same for the same seed. */
#include "sample.h"
#include "random.h"

#include <math.h>
#include <stdlib.h>

struct sample_choice {
    double weight; /* probability, not normalised; the likeliest has 1 */
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
    if (!(c->min_p >= 0 && c->min_p <= 1))
        return fail("--min_p=%g: expected 0 to 1", c->min_p);
    if (!(c->repetition_penalty >= 0))
        return fail("--repetition_penalty=%g: must be positive; 1 is none", c->repetition_penalty);
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

/* ---- a text ------------------------------------------------------------------------------- */

bool sample_penalises(const struct sampler *s)
{
    return s->config.repetition_penalty != 0 && s->config.repetition_penalty != 1;
}

int sample_begin(const struct sampler *s, struct sample_text *t, uint64_t seed)
{
    *t = (struct sample_text){.seed = seed};
    if (sample_penalises(s) && !(t->seen = calloc((size_t)s->vocab / 64 + 1, sizeof *t->seen)))
        return fail("out of memory for the ids of a text");
    return 0;
}

void sample_end(struct sample_text *t)
{
    free(t->seen);
    *t = (struct sample_text){0};
}

void sample_note(struct sample_text *t, uint32_t id)
{
    if (t->seen)
        t->seen[id / 64] |= (uint64_t)1 << id % 64;
}

static double logit(const struct sampler *s, const struct sample_text *t, const float *logits,
                    int32_t id)
{
    double x = logits[id], penalty = s->config.repetition_penalty;
    if (!t->seen || !(t->seen[id / 64] >> id % 64 & 1))
        return x;
    return x > 0 ? x / penalty : x * penalty;
}

/* ---- the choice --------------------------------------------------------------------------- */

static int likely_first(const void *a, const void *b)
{
    const struct sample_choice *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* The largest logit's id, or -1 when one is not a number. */
static int32_t largest(const struct sampler *s, const struct sample_text *t, const float *logits)
{
    int32_t best = 0;
    for (int32_t i = 0; i < s->vocab; i++) {
        if (!isfinite(logits[i]))
            return -1;
        if (logit(s, t, logits, i) > logit(s, t, logits, best))
            best = i;
    }
    return best;
}

static double sum(const struct sample_choice *choices, int count)
{
    double all = 0;
    for (int i = 0; i < count; i++)
        all += choices[i].weight;
    return all;
}

/* Leave out those so unlikely that all of them together cannot be among the first top_p. */
static int drop_tail(const struct sampler *s, double all)
{
    double least = (1 - s->config.top_p) * all / s->vocab;
    int kept = 0;
    for (int i = 0; i < s->vocab; i++)
        if (s->choices[i].weight >= least)
            s->choices[kept++] = s->choices[i];
    return kept;
}

/* Sort the choices and say how many of them top_k, top_p and min_p leave. */
static int cut(const struct sampler *s)
{
    const struct sample_config *c = &s->config;
    int count = s->vocab, left = 0;
    double all = sum(s->choices, count), reached = 0;
    if (!c->top_k && c->top_p < 1)
        count = drop_tail(s, all);
    qsort(s->choices, (size_t)count, sizeof *s->choices, likely_first);
    if (c->top_k && c->top_k < count) {
        count = (int)c->top_k;
        all = sum(s->choices, count);
    }
    while (left < count && s->choices[left].weight >= c->min_p) {
        reached += s->choices[left++].weight;
        if (c->top_p < 1 && reached >= c->top_p * all)
            break;
    }
    return left;
}

static int not_finite(void)
{
    return fail("the model's logits are not finite");
}

double sample_draw(const struct sample_text *t)
{
    return random_uniform(t->seed, random_stream("sample"), t->draws);
}

int sample_take(const struct sampler *s, struct sample_text *t, int32_t id)
{
    if (id < 0)
        return not_finite();
    t->draws += s->config.temperature > 0;
    return 0;
}

int sample_pick(struct sampler *s, struct sample_text *t, const float *logits, int32_t *id)
{
    const struct sample_config *c = &s->config;
    int32_t best = largest(s, t, logits);
    if (best < 0)
        return not_finite();
    *id = best;
    if (c->temperature == 0)
        return 0;
    double most = logit(s, t, logits, best);
    for (int32_t i = 0; i < s->vocab; i++)
        s->choices[i] =
            (struct sample_choice){exp((logit(s, t, logits, i) - most) / c->temperature), i};
    int count = c->top_k || c->top_p < 1 || c->min_p > 0 ? cut(s) : s->vocab;
    double left = sample_draw(t) * sum(s->choices, count);
    t->draws++;
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
