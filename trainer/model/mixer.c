/* mixer.c -- the sequence mixer of a block: attention or TTT. */
#include "mixer.h"
#include "ttt_inner.h"

#include <assert.h>

static bool is_ttt(const struct config *c)
{
    return mixer_is_ttt(c->seq_modeling_block);
}

void mixer_find(struct mixer_ids *ids, const struct params *p, const struct config *c, int l)
{
    if (is_ttt(c))
        mixer_ttt_find(&ids->ttt, p, l);
    else
        mixer_attention_find(&ids->attention, p, l);
}

void mixer_take_acts(struct mixer_acts *a, const struct config *c, const struct ttt_shape *s,
                     bool training, bool reading, struct arena *from)
{
    if (is_ttt(c))
        mixer_ttt_take_acts(&a->ttt, c, s, training, reading, from);
    else
        mixer_attention_take_acts(&a->attention, s, from);
    a->y = is_ttt(c) ? a->ttt.y : a->attention.y;
}

void mixer_take_scratch(struct mixer_scratch *t, const struct config *c, const struct ttt_shape *s,
                        struct arena *from)
{
    if (is_ttt(c))
        mixer_ttt_take_scratch(&t->ttt, c, s, from);
    else
        mixer_attention_take_scratch(&t->attention, s, from);
}

size_t mixer_workspace_bytes(const struct config *c, const struct ttt_shape *s)
{
    /* Attention works in a few tiles. */
    return is_ttt(c) ? ttt_inner_bwd_workspace_bytes(mixer_is_mlp(c->seq_modeling_block), s) : 0;
}

void mixer_fwd(struct mixer_acts *a, const real *h, const struct mixer_ids *ids,
               const struct params *p, const struct config *c, const struct ttt_shape *s,
               float *curves)
{
    if (is_ttt(c))
        mixer_ttt_fwd(&a->ttt, h, &ids->ttt, p, c, s, curves);
    else
        mixer_attention_fwd(&a->attention, h, &ids->attention, p, c, s);
}

void mixer_go_on(struct mixer_acts *a, const struct mixer_memory *m, int b, const struct config *c,
                 const struct ttt_shape *s)
{
    assert(is_ttt(c) || !m);
    if (is_ttt(c))
        mixer_ttt_go_on(&a->ttt, m ? &m->ttt : NULL, b, mixer_is_mlp(c->seq_modeling_block), s);
}

void mixer_bwd(real *dh, real *dy, const real *h, struct mixer_acts *a, struct mixer_scratch *t,
               const struct mixer_ids *ids, struct params *p, const struct config *c,
               const struct ttt_shape *s)
{
    if (is_ttt(c))
        mixer_ttt_bwd(dh, dy, h, &a->ttt, &t->ttt, &ids->ttt, p, c, s);
    else
        mixer_attention_bwd(dh, dy, h, &a->attention, &t->attention, &ids->attention, p, c, s);
}

void mixer_take_memory(struct mixer_memory *m, const struct config *c, const struct ttt_shape *s,
                       int capacity, struct arena *from)
{
    if (is_ttt(c))
        mixer_ttt_take_memory(&m->ttt, c, s, from);
    else
        mixer_attention_take_memory(&m->attention, s, capacity, from);
}

void mixer_begin(struct mixer_memory *m, int first, const struct mixer_acts *read,
                 const struct mixer_ids *ids, const struct params *p, const struct config *c,
                 const struct ttt_shape *s)
{
    if (is_ttt(c))
        mixer_ttt_begin(&m->ttt, first, read ? &read->ttt : NULL, &ids->ttt, p, s);
    else if (read)
        mixer_attention_begin(&m->attention, first, &read->attention, s);
}

void mixer_step(struct mixer_acts *a, struct mixer_memory *m, const real *h,
                const int32_t *position, const struct mixer_ids *ids, const struct params *p,
                const struct config *c, const struct ttt_shape *s)
{
    if (is_ttt(c))
        mixer_ttt_step(&a->ttt, &m->ttt, h, position, &ids->ttt, p, c, s);
    else
        mixer_attention_step(&a->attention, &m->attention, h, position, &ids->attention, p, c, s);
}
