/* decode.c -- the model one token at a time, with its memory of the text. */
#include "decode.h"
#include "comm.h"
#include "device.h"
#include "kernels.h"
#include "mixer_parts.h"
#include "model_block.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Read together: by default, and where somebody may interrupt and does not want to wait long. */
enum { READ_TOKENS = 1 << 12, READ_TOKENS_WATCHED = 1 << 9, PICK_IDS = 1 << 18 };

/* ---- memory ------------------------------------------------------------------------------- */

static bool is_alone(const struct decode *d)
{
    return mesh_ranks(&d->params->mesh) == 1;
}

/* One token of `count` sequences, of this rank's heads; ttt_lr_mult is 1 outside training. */
static struct ttt_shape shape_of(const struct decode *d, int count)
{
    struct ttt_shape s = mixer_ttt_shape(&d->config, count, 1, 1);
    s.heads /= d->params->mesh.mp;
    return s;
}

/* Floats of one rank's logits. */
static size_t part_floats(const struct decode *d)
{
    return (size_t)d->own * (size_t)d->vocab;
}

static size_t history_bytes(const struct decode *d)
{
    return sizeof(real) * (size_t)d->own * (CONV_WIDTH - 1) * d->config.hidden_size;
}

static void take_all(struct decode *d, struct arena *from)
{
    static const char line[] = "activations";
    const struct config *c = &d->config;
    const struct mesh *mesh = &d->params->mesh;
    struct ttt_shape s = shape_of(d, d->own);
    size_t batch = (size_t)d->own, inner = batch * (size_t)(c->intermediate_size / mesh->mp);
    d->input = arena_take(from, line, 2 * sizeof *d->input * batch);
    d->picked = arena_take(from, line, sizeof *d->picked * batch);
    d->draws = arena_take(from, line, sizeof *d->draws * batch);
    d->x = arena_take(from, line, sizeof(real) * batch * c->hidden_size);
    d->h = arena_take(from, line, sizeof(real) * batch * c->hidden_size);
    d->w1_out = arena_take(from, line, sizeof(real) * inner);
    d->w3_out = arena_take(from, line, sizeof(real) * inner);
    d->rms = arena_take(from, line, sizeof *d->rms * batch);
    d->all_logits =
        arena_take(from, line, sizeof *d->logits * part_floats(d) * (size_t)mesh_ranks(mesh));
    if (d->all_logits) /* not only counted */
        d->logits = d->all_logits + part_floats(d) * (size_t)mesh->rank;
    mixer_take_acts(&d->mixer, c, &s, false, false, from);
    for (int l = 0; l < c->num_hidden_layers; l++) {
        struct decode_memory *m = &d->memory[l];
        m->history = c->pre_conv ? arena_take(from, "memory", history_bytes(d)) : NULL;
        mixer_take_memory(&m->mixer, c, &s, d->capacity, from);
    }
}

int decode_open(struct decode *d, const struct config *c, struct params *p, int batch,
                int64_t capacity)
{
    int data_ranks = mesh_data_ranks(&p->mesh);
    *d = (struct decode){.config = *c, .params = p, .batch = batch, .read_tokens = READ_TOKENS};
    assert(p->mesh.fsdp == 1);
    if (config_check(c, 0))
        return -1;
    if (batch < 1)
        return fail("%d sequences cannot be decoded", batch);
    if (!mixer_is_ttt(c->seq_modeling_block)) {
        if (capacity < 1 || capacity > 1 << 28)
            return fail("attention cannot remember %lld tokens", (long long)capacity);
        d->capacity = (int)capacity;
    }
    d->own = (batch - 1) / data_ranks + 1;
    d->first = mesh_data_rank(&p->mesh) * d->own;
    d->vocab = c->vocab_size / p->mesh.mp;
    d->wte = params_find(p, "model/wte/embedding");
    d->ln_f = params_find(p, "model/ln_f/kernel");
    d->lm_head = params_find(p, "lm_head/kernel");
    d->ids = calloc((size_t)c->num_hidden_layers, sizeof *d->ids);
    d->memory = calloc((size_t)c->num_hidden_layers, sizeof *d->memory);
    d->position = calloc((size_t)batch, sizeof *d->position);
    d->host = device_host_alloc(2 * sizeof *d->host * (size_t)d->own);
    d->chosen = device_host_alloc(sizeof *d->chosen * (size_t)d->own);
    d->draw = device_host_alloc(sizeof *d->draw * (size_t)d->own);
    if (!is_alone(d))
        d->gathered = malloc(sizeof *d->gathered * part_floats(d) * (size_t)mesh_ranks(&p->mesh));
    if (!d->ids || !d->memory || !d->position || !d->host || !d->chosen || !d->draw ||
        (!is_alone(d) && !d->gathered)) {
        decode_close(d);
        return fail("out of memory for %d layers and %d sequences", c->num_hidden_layers, batch);
    }
    for (int l = 0; l < c->num_hidden_layers; l++)
        block_find(&d->ids[l], p, c, l);

    struct arena counted = {0}, taken = {0};
    size_t picking = decode_picks(d) ? pick_workspace_bytes(d->own, d->vocab) : 0;
    take_all(d, &counted);
    if (!picking || counted.used + picking <= device_free_bytes())
        d->arrays = taken.base = device_alloc(counted.used);
    if (!taken.base) {
        decode_close(d);
        return fail("decoding %d sequences needs %.0f MiB, which the device does not have: decode "
                    "fewer at a time",
                    batch, (double)(counted.used + picking) / (1 << 20));
    }
    device_reserve(picking);
    take_all(d, &taken);
    decode_begin(d);
    return 0;
}

void decode_close(struct decode *d)
{
    device_free(d->arrays);
    free(d->ids);
    free(d->memory);
    free(d->position);
    free(d->gathered);
    device_host_free(d->host);
    device_host_free(d->chosen);
    device_host_free(d->draw);
    for (int i = 0; i < 3; i++)
        device_forget(&d->recording[i]);
    *d = (struct decode){0};
}

/* Layer l of this rank's sequences first..first+s->batch-1: anew, or after the tokens that `read`
   is of. */
static void begin_layer(struct decode *d, int l, int first, const struct block_acts *read,
                        const struct ttt_shape *s)
{
    struct decode_memory *m = &d->memory[l];
    struct ttt_shape full = *s; /* the block's own convolution has the whole width on every rank */
    full.heads = d->config.num_attention_heads;
    if (m->history)
        history_begin(m->history, first, read ? read->conv_in : NULL, &full);
    mixer_begin(&m->mixer, first, read ? &read->mixer : NULL, &d->ids[l].mixer, d->params,
                &d->config, s);
}

void decode_begin(struct decode *d)
{
    struct ttt_shape s = shape_of(d, d->own);
    memset(d->position, 0, sizeof *d->position * (size_t)d->batch);
    for (int l = 0; l < d->config.num_hidden_layers; l++)
        begin_layer(d, l, 0, NULL, &s);
}

/* ---- a token ------------------------------------------------------------------------------ */

/* h = rms(x) */
static void rms(struct decode *d, int gain)
{
    rmsnorm_fwd(d->h, d->rms, d->x, param_master(d->params, gain), d->own, d->config.hidden_size,
                (float)d->config.rms_norm_eps);
}

/* x goes on to where a part of it is added, and the parts of the ranks along mp are added up. */
static void pass_on(struct decode *d)
{
    if (mesh_mp_rank(&d->params->mesh))
        device_zero(d->x, sizeof *d->x * (size_t)d->own * d->config.hidden_size);
}

static void add_up(struct decode *d)
{
    if (d->params->mesh.mp > 1)
        comm_wait(
            comm_all_reduce(d->x, (size_t)d->own * d->config.hidden_size, COMM_REAL, COMM_MP));
}

static void block_step(struct decode *d, int l, const struct ttt_shape *s)
{
    const struct params *p = d->params;
    const struct block_ids *w = &d->ids[l];
    struct decode_memory *m = &d->memory[l];
    const int32_t *place = d->input + d->own;
    int batch = d->own, width = d->config.hidden_size, mp = p->mesh.mp;
    int inner = d->config.intermediate_size / mp;

    if (m->history) {
        rms(d, w->conv_norm);
        conv_step(d->x, m->history, d->h, param_master(p, w->conv_kernel),
                  param_master(p, w->conv_bias), d->x, place, batch, width);
    }
    rms(d, w->seq_norm);
    mixer_step(&d->mixer, &m->mixer, d->h, place, &w->mixer, p, &d->config, s);
    pass_on(d);
    matmul(d->x, d->mixer.y, param_work(p, w->wo), NN, batch, width, width / mp, 1);
    add_up(d);
    rms(d, w->ffn_norm);
    matmul(d->w1_out, d->h, param_work(p, w->w1), NN, batch, inner, width, 0);
    matmul(d->w3_out, d->h, param_work(p, w->w3), NN, batch, inner, width, 0);
    swiglu_fwd(d->w1_out, d->w1_out, d->w3_out, (size_t)batch * inner);
    pass_on(d);
    matmul(d->x, d->w1_out, param_work(p, w->w2), NN, batch, width, inner, 1);
    add_up(d);
}

/* What is wanted after a token. */
enum head { NOTHING, LOGITS, CHOICE };

/* Every operation of a token. */
static void queue_step(struct decode *d, enum head head)
{
    const struct params *p = d->params;
    int batch = d->own, width = d->config.hidden_size, vocab = d->vocab;
    struct ttt_shape s = shape_of(d, batch);
    device_send(d->input, d->host, 2 * sizeof *d->input * (size_t)batch);
    embedding_fwd(d->x, param_work(p, d->wte), d->input, batch, width);
    add_up(d);
    for (int l = 0; l < d->config.num_hidden_layers; l++)
        block_step(d, l, &s);
    if (head == NOTHING)
        return;
    rms(d, d->ln_f);
    if (d->lm_head < 0)
        matmul_f32(d->logits, d->h, param_work(p, d->wte), NT, batch, vocab, width, 0);
    else
        matmul_f32(d->logits, d->h, param_work(p, d->lm_head), NN, batch, vocab, width, 0);
    if (head == LOGITS)
        return;
    device_send(d->draws, d->draw, sizeof *d->draws * (size_t)batch);
    pick(d->picked, d->logits, d->draws, &d->rule, batch, d->choices, vocab);
    device_fetch(d->chosen, d->picked, sizeof *d->chosen * (size_t)batch);
}

/* An id as this rank's part of the embedding has it, or -1. */
static int32_t own_id(const struct decode *d, int32_t id)
{
    int32_t first = d->vocab * mesh_mp_rank(&d->params->mesh);
    return id >= first && id < first + d->vocab ? id - first : -1;
}

/* The next token of every sequence whose id is not negative. */
static int step(struct decode *d, const int32_t *ids, enum head head)
{
    int32_t *id = d->host, *place = id + d->own;
    int mini_batch = d->config.mini_batch_size;
    for (int b = 0; b < d->batch; b++)
        if (ids[b] >= 0 && d->capacity && d->position[b] >= d->capacity)
            return fail("token %lld is one more than attention was given memory for",
                        (long long)d->position[b] + 1);
    for (int i = 0; i < d->own; i++) {
        int b = d->first + i;
        bool rests = b >= d->batch || ids[b] < 0;
        id[i] = rests ? 0 : own_id(d, ids[b]);
        /* Of TTT only the place in the mini-batch matters, and it fits whatever the length. */
        place[i] = rests         ? -1
                   : d->capacity ? (int32_t)d->position[b]
                                 : (int32_t)(d->position[b] % mini_batch);
    }
    /* Ids and places are in arrays, so that every token has the same ops; those of other ranks are
       not recorded. */
    if (!is_alone(d)) {
        queue_step(d, head);
    } else if (!device_replay(&d->recording[head], 0)) {
        queue_step(d, head);
        device_replay_end(&d->recording[head]);
    }
    for (int b = 0; b < d->batch; b++)
        d->position[b] += ids[b] >= 0;
    const char *broken = device_sync();
    return broken ? fail("%s", broken) : 0;
}

/* The logits of all ranks' sequences come to this host; with one rank they wait on the device. */
static int gather_logits(struct decode *d)
{
    if (is_alone(d))
        return 0;
    comm_wait(comm_all_gather(d->all_logits, d->logits, part_floats(d), COMM_F32, COMM_WORLD));
    device_get(d->gathered, d->all_logits,
               sizeof *d->gathered * part_floats(d) * (size_t)mesh_ranks(&d->params->mesh));
    const char *broken = comm_error();
    return broken ? fail("%s", broken) : 0;
}

/* Those of sequence b, to [vocab_size]: of each rank along mp its ids. */
static void take_logits(const struct decode *d, int b, float *to)
{
    size_t vocab = (size_t)d->vocab, row = (size_t)(b % d->own) * vocab;
    int mp = d->params->mesh.mp;
    if (is_alone(d))
        device_get(to, d->logits + row, sizeof *to * vocab);
    for (int m = 0; m < mp && !is_alone(d); m++)
        memcpy(to + (size_t)m * vocab,
               d->gathered + (size_t)(b / d->own * mp + m) * part_floats(d) + row,
               sizeof *to * vocab);
}

int decode_step(struct decode *d, const int32_t *ids, float *logits)
{
    if (step(d, ids, logits ? LOGITS : NOTHING) || (logits && gather_logits(d)))
        return -1;
    if (logits)
        decode_logits(d, logits);
    return 0;
}

bool decode_picks(const struct decode *d)
{
    return has_pick() && is_alone(d) && d->config.vocab_size <= PICK_IDS;
}

void decode_rule(struct decode *d, const struct pick_rule *rule, int choices)
{
    d->rule = *rule;
    d->choices = choices;
    device_forget(&d->recording[CHOICE]); /* which has the rule before */
}

int decode_pick(struct decode *d, const int32_t *ids, const double *draw, int32_t *chosen)
{
    assert(decode_picks(d));
    memcpy(d->draw, draw, sizeof *draw * (size_t)d->batch);
    if (step(d, ids, CHOICE))
        return -1;
    memcpy(chosen, d->chosen, sizeof *chosen * (size_t)d->batch);
    return 0;
}

void decode_logits(const struct decode *d, float *logits)
{
    size_t vocab = (size_t)d->config.vocab_size;
    if (is_alone(d))
        device_get(logits, d->logits, sizeof *logits * part_floats(d));
    for (int b = 0; !is_alone(d) && b < d->batch; b++)
        take_logits(d, b, logits + (size_t)b * vocab);
}

/* ---- prompts ------------------------------------------------------------------------------ */

/* How a prompt is read: one token at a time to the end of a mini-batch, then whole mini-batches
   together, and the rest one at a time, of which there is some. */
struct share {
    int64_t lead, whole, rest;
};

/* Tokens that can be read together: whole mini-batches of more tokens than a convolution's past. */
static int64_t piece_of(const struct decode *d)
{
    int64_t mini_batch = d->config.mini_batch_size;
    return d->capacity ? 1 : (CONV_WIDTH - 1 + mini_batch - 1) / mini_batch * mini_batch;
}

/* Attention reads together what a sequence begins with. */
static struct share share_of(const struct decode *d, int b, int64_t count)
{
    int64_t piece = piece_of(d), into = d->position[b] % d->config.mini_batch_size;
    int64_t lead = into && !d->capacity ? d->config.mini_batch_size - into : 0;
    int64_t whole = count > lead ? (count - lead - 1) / piece * piece : 0;
    if (whole == 0 || (d->capacity && d->position[b]))
        return (struct share){0, 0, count};
    return (struct share){lead, whole, count - lead - whole};
}

static int check_prompts(const struct decode *d, const struct decode_prompt *prompts)
{
    for (int b = 0; b < d->batch; b++) {
        if (d->capacity && d->position[b] + prompts[b].count > d->capacity)
            return fail("a prompt of %lld tokens is more than the %lld that attention was given "
                        "memory for",
                        (long long)prompts[b].count, (long long)d->capacity - d->position[b]);
        if (prompts[b].count < 0)
            return fail("a prompt of %lld tokens cannot be read", (long long)prompts[b].count);
    }
    return 0;
}

static bool interrupted(const struct decode *d)
{
    return d->interrupt && *d->interrupt;
}

/* Sequences of this rank that are being read together. */
struct reading {
    struct decode *d;
    int first;
    bool goes_on; /* the one sequence, from what is remembered of it */
    bool stopped; /* between two blocks, which only sequences that begin can be */
};

static bool find_past(void *arg, int l, struct block_acts *a, const struct ttt_shape *s)
{
    struct reading *r = arg;
    const struct decode_memory *m = &r->d->memory[l];
    size_t width = (size_t)r->d->config.hidden_size;
    a->past =
        r->goes_on && m->history ? m->history + (size_t)r->first * (CONV_WIDTH - 1) * width : NULL;
    mixer_go_on(&a->mixer, r->goes_on ? &m->mixer : NULL, r->first, &r->d->config, s);
    r->stopped = !r->goes_on && interrupted(r->d);
    return !r->stopped;
}

static void keep_block(void *arg, int l, const struct block_acts *a, const struct ttt_shape *s)
{
    const struct reading *r = arg;
    begin_layer(r->d, l, r->first, a, s);
}

/* `seq` tokens of each of this rank's sequences first..first+batch-1, from place `at` of their
   prompts on. Stopped on the way, they begin again. */
static int read_group(struct decode *d, struct model *m, const struct decode_prompt *prompts,
                      int first, int batch, int64_t at, int seq)
{
    struct reading r = {d, first, d->position[d->first + first] > 0, false};
    int32_t *ids = malloc(sizeof *ids * (size_t)batch * (size_t)seq);
    if (!ids)
        return fail("out of memory for %d tokens of a prompt", seq);
    for (int b = 0; b < batch; b++)
        for (int i = 0; i < seq; i++)
            ids[(size_t)b * (size_t)seq + (size_t)i] = own_id(d, prompts[first + b].ids[at + i]);
    int status = model_read(m, ids, batch, seq, &(struct model_reader){find_past, keep_block, &r});
    free(ids);
    struct ttt_shape s = shape_of(d, batch);
    for (int l = 0; r.stopped && l < d->config.num_hidden_layers; l++)
        begin_layer(d, l, first, NULL, &s);
    for (int b = first; b < first + batch && !r.stopped; b++)
        d->position[d->first + b] += seq;
    return status;
}

static int64_t together(const struct decode *d)
{
    return d->interrupt && d->read_tokens > READ_TOKENS_WATCHED ? READ_TOKENS_WATCHED
                                                                : d->read_tokens;
}

/* Tokens that are read at once of a prompt that has so many. */
static int64_t most_at_once(const struct decode *d, int64_t whole)
{
    int64_t piece = piece_of(d), most = (together(d) + piece - 1) / piece * piece;
    return d->capacity || whole < most ? whole : most;
}

/* How many of this rank's sequences from `first` on begin with as many tokens to be read together,
   and all of them at once. */
static int alike(const struct decode *d, const struct share *shares, int first, int own, int most)
{
    int count = 1;
    int64_t whole = shares[first].whole;
    while (most_at_once(d, whole) == whole && count < most && first + count < own &&
           shares[first + count].whole == whole && !d->position[d->first + first] &&
           !d->position[d->first + first + count])
        count++;
    return count;
}

/* What this rank's prompts have in whole mini-batches. */
static int read_whole(struct decode *d, const struct decode_prompt *prompts,
                      const struct share *shares, int own)
{
    struct model m;
    int64_t most = 0;
    int status = 0;
    for (int b = 0; b < own; b++)
        most = most_at_once(d, shares[b].whole) > most ? most_at_once(d, shares[b].whole) : most;
    if (!most)
        return 0;
    int group = together(d) / most < 1 ? 1 : (int)(together(d) / most);
    group = group < own ? group : own;
    if (model_open_reader(&m, &d->config, d->params, group, (int)most))
        return -1;
    for (int first = 0, count; first < own && !status; first += count) {
        int64_t whole = shares[first].whole, at = 0;
        count = alike(d, shares, first, own, group);
        for (int64_t n; at < whole && !status && !interrupted(d); at += n) {
            n = whole - at < most ? whole - at : most;
            status = read_group(d, &m, prompts, first, count, shares[first].lead + at, (int)n);
        }
    }
    model_close(&m);
    return status;
}

/* Of every rank's sequences; each tells the others' places for itself. */
static int read_together(struct decode *d, const struct decode_prompt *prompts,
                         const struct share *shares)
{
    int own = d->batch - d->first < d->own ? d->batch - d->first : d->own;
    int status = own > 0 ? read_whole(d, prompts + d->first, shares + d->first, own) : 0;
    for (int b = 0; b < d->batch; b++)
        if (b < d->first || b >= d->first + own)
            d->position[b] += shares[b].whole;
    return status;
}

/* What is read one token at a time, before whole mini-batches or after them, so that all end with
   the same step. */
static int read_singly(struct decode *d, const struct decode_prompt *prompts,
                       const struct share *shares, bool lead, bool head)
{
    int64_t steps = 0;
    for (int b = 0; b < d->batch; b++) {
        int64_t count = lead ? shares[b].lead : shares[b].rest;
        steps = count > steps ? count : steps;
    }
    int32_t *now = malloc(sizeof *now * (size_t)d->batch);
    if (!now)
        return fail("out of memory for %d sequences", d->batch);
    int status = 0;
    for (int64_t left = steps; left > 0 && !status && !interrupted(d); left--) {
        for (int b = 0; b < d->batch; b++) {
            int64_t count = lead ? shares[b].lead : shares[b].rest;
            int64_t end = lead ? count : prompts[b].count;
            now[b] = left <= count ? prompts[b].ids[end - left] : -1;
        }
        status = step(d, now, head && left == 1 ? LOGITS : NOTHING);
    }
    free(now);
    return status;
}

int decode_read(struct decode *d, const struct decode_prompt *prompts, float *logits)
{
    size_t vocab = (size_t)d->config.vocab_size;
    assert(d->batch > 0);
    if (check_prompts(d, prompts))
        return -1;
    struct share *shares = calloc((size_t)d->batch, sizeof *shares);
    if (!shares)
        return fail("out of memory for %d prompts", d->batch);
    for (int b = 0; b < d->batch; b++)
        shares[b] = share_of(d, b, prompts[b].count);
    int status =
        read_singly(d, prompts, shares, true, false) || read_together(d, prompts, shares) ||
                read_singly(d, prompts, shares, false, logits) || (logits && gather_logits(d))
            ? -1
            : 0;
    free(shares);
    for (int b = 0; b < d->batch && logits && !status; b++)
        if (prompts[b].count)
            take_logits(d, b, logits + (size_t)b * vocab);
    return status;
}
