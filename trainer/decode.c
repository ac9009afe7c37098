/* decode.c -- the model one token at a time, with its memory of the text. */
#include "decode.h"
#include "device.h"
#include "kernels.h"

#include <stdlib.h>

/* ---- memory ------------------------------------------------------------------------------- */

/* One token of every sequence; ttt_lr_mult is 1 outside training. */
static struct ttt_shape shape_of(const struct decode *d)
{
    return mixer_ttt_shape(&d->config, d->batch, 1, 1);
}

static size_t history_bytes(const struct decode *d)
{
    return sizeof(real) * (size_t)d->batch * (CONV_WIDTH - 1) * d->config.hidden_size;
}

static void take_all(struct decode *d, struct arena *from)
{
    static const char line[] = "activations";
    const struct config *c = &d->config;
    struct ttt_shape s = shape_of(d);
    size_t batch = (size_t)d->batch, inner = batch * c->intermediate_size;
    d->input = arena_take(from, line, sizeof *d->input * batch);
    d->x = arena_take(from, line, sizeof(real) * batch * c->hidden_size);
    d->h = arena_take(from, line, sizeof(real) * batch * c->hidden_size);
    d->w1_out = arena_take(from, line, sizeof(real) * inner);
    d->w3_out = arena_take(from, line, sizeof(real) * inner);
    d->rms = arena_take(from, line, sizeof *d->rms * batch);
    d->logits = arena_take(from, line, sizeof *d->logits * batch * c->vocab_size);
    mixer_take_acts(&d->mixer, c, &s, false, from);
    for (int l = 0; l < c->num_hidden_layers; l++) {
        struct decode_memory *m = &d->memory[l];
        m->history = c->pre_conv ? arena_take(from, "memory", history_bytes(d)) : NULL;
        mixer_take_memory(&m->mixer, c, &s, d->capacity, from);
    }
}

int decode_open(struct decode *d, const struct config *c, struct params *p, int batch,
                int64_t capacity)
{
    *d = (struct decode){.config = *c, .params = p, .batch = batch};
    if (config_check(c, 0))
        return -1;
    if (batch < 1)
        return fail("%d sequences cannot be decoded", batch);
    if (!mixer_is_ttt(c->seq_modeling_block)) {
        if (capacity < 1 || capacity > 1 << 28)
            return fail("attention cannot remember %lld tokens", (long long)capacity);
        d->capacity = (int)capacity;
    }
    d->wte = params_find(p, "model/wte/embedding");
    d->ln_f = params_find(p, "model/ln_f/kernel");
    d->lm_head = params_find(p, "lm_head/kernel");
    d->ids = calloc((size_t)c->num_hidden_layers, sizeof *d->ids);
    d->memory = calloc((size_t)c->num_hidden_layers, sizeof *d->memory);
    if (!d->ids || !d->memory) {
        decode_close(d);
        return fail("out of memory for %d layers", c->num_hidden_layers);
    }
    for (int l = 0; l < c->num_hidden_layers; l++)
        model_find_block(&d->ids[l], p, c, l);

    struct arena counted = {0}, taken = {0};
    take_all(d, &counted);
    d->arrays = taken.base = device_alloc(counted.used);
    if (!taken.base) {
        decode_close(d);
        return fail("decoding %d sequences needs %.0f MiB, which the device does not have", batch,
                    (double)counted.used / (1 << 20));
    }
    take_all(d, &taken);
    decode_begin(d);
    return 0;
}

void decode_close(struct decode *d)
{
    device_free(d->arrays);
    free(d->ids);
    free(d->memory);
    *d = (struct decode){0};
}

void decode_begin(struct decode *d)
{
    struct ttt_shape s = shape_of(d);
    d->position = 0;
    for (int l = 0; l < d->config.num_hidden_layers; l++) {
        if (d->memory[l].history)
            device_zero(d->memory[l].history, history_bytes(d));
        mixer_begin(&d->memory[l].mixer, &d->ids[l].mixer, d->params, &d->config, &s);
    }
}

/* ---- a token ------------------------------------------------------------------------------ */

/* h = rms(x) */
static void rms(struct decode *d, int gain)
{
    rmsnorm_fwd(d->h, d->rms, d->x, param_master(d->params, gain), d->batch, d->config.hidden_size,
                (float)d->config.rms_norm_eps);
}

static void block_step(struct decode *d, int l, const struct ttt_shape *s)
{
    const struct params *p = d->params;
    const struct block_ids *w = &d->ids[l];
    struct decode_memory *m = &d->memory[l];
    int batch = d->batch, width = d->config.hidden_size, inner = d->config.intermediate_size;

    if (m->history) {
        rms(d, w->conv_norm);
        conv_step(d->x, m->history, d->h, param_master(p, w->conv_kernel),
                  param_master(p, w->conv_bias), d->x, batch, width);
    }
    rms(d, w->seq_norm);
    mixer_step(&d->mixer, &m->mixer, d->h, d->position, &w->mixer, p, &d->config, s);
    matmul(d->x, d->mixer.y, param_work(p, w->wo), NN, batch, width, width, 1);
    rms(d, w->ffn_norm);
    matmul(d->w1_out, d->h, param_work(p, w->w1), NN, batch, inner, width, 0);
    matmul(d->w3_out, d->h, param_work(p, w->w3), NN, batch, inner, width, 0);
    swiglu_fwd(d->w1_out, d->w1_out, d->w3_out, (size_t)batch * inner);
    matmul(d->x, d->w1_out, param_work(p, w->w2), NN, batch, width, inner, 1);
}

int decode_step(struct decode *d, const int32_t *ids, float *logits)
{
    const struct params *p = d->params;
    int batch = d->batch, width = d->config.hidden_size, vocab = d->config.vocab_size;
    struct ttt_shape s = shape_of(d);

    if (d->capacity && d->position >= d->capacity)
        return fail("token %lld is one more than attention was given memory for",
                    (long long)d->position + 1);
    device_put(d->input, ids, sizeof *ids * (size_t)batch);
    embedding_fwd(d->x, param_work(p, d->wte), d->input, batch, width);
    for (int l = 0; l < d->config.num_hidden_layers; l++)
        block_step(d, l, &s);
    d->position++;
    if (logits) {
        rms(d, d->ln_f);
        if (d->lm_head < 0)
            matmul_f32(d->logits, d->h, param_work(p, d->wte), NT, batch, vocab, width, 0);
        else
            matmul_f32(d->logits, d->h, param_work(p, d->lm_head), NN, batch, vocab, width, 0);
        device_get(logits, d->logits, sizeof *logits * (size_t)batch * vocab);
    }
    const char *broken = device_sync();
    return broken ? fail("%s", broken) : 0;
}
