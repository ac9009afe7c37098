/* shard.c -- parameters and gradients between the ranks of a mesh, beside the computing. */
#include "shard.h"
#include "comm.h"
#include "device.h"

/* Gradients are summed over dp in pieces of about this size: large enough for the wires, small
   enough that most of them travel while the backward goes on. */
static const size_t BUCKET_BYTES = (size_t)16 << 20;

static bool is_shared(const struct params *p)
{
    return p->mesh.fsdp > 1;
}

/* ---- memory ------------------------------------------------------------------------------- */

/* Room for a whole unit as large as two may be. */
static void take(struct shard_place *to, const struct param_unit *a, const struct param_unit *b,
                 bool training, struct arena *from)
{
    static const char gathered[] = "gathered parameters";
    size_t vectors = a->vectors > b->vectors ? a->vectors : b->vectors;
    size_t matrices = a->matrices > b->matrices ? a->matrices : b->matrices;
    bool wide = sizeof(real) == sizeof(float);
    to->master = arena_take(from, gathered, sizeof(float) * (vectors + (wide ? matrices : 0)));
    to->work = wide ? NULL : arena_take(from, gathered, sizeof(real) * matrices);
    to->grad = training ? arena_take(from, "gradients of whole blocks",
                                     sizeof(float) * (vectors + matrices))
                        : NULL;
    to->unit = -1;
}

static void take_all(struct shard *s, const struct params *p, bool training, struct arena *from)
{
    const struct param_unit *first = &p->unit[0], *last = &p->unit[p->units - 1];
    take(&s->outer[0], first, first, training, from);
    take(&s->outer[1], last, last, training, from);
    for (int i = 0; i < SHARD_PLACES; i++) /* blocks are alike */
        take(&s->place[i], &p->unit[1], &p->unit[p->units - 2], training, from);
}

void shard_plan(struct plan *plan, const struct params *p, bool training)
{
    struct arena counted = {.plan = plan};
    struct shard s;
    if (is_shared(p))
        take_all(&s, p, training, &counted);
}

int shard_open(struct shard *s, struct params *p, bool training)
{
    struct arena counted = {0}, taken = {0};
    *s = (struct shard){.params = p, .training = training};
    if (!is_shared(p))
        return 0;
    take_all(s, p, training, &counted);
    s->memory = taken.base = device_alloc(counted.used);
    if (!taken.base)
        return fail("gathered parameters need %.0f MiB, which the device does not have",
                    (double)counted.used / (1 << 20));
    take_all(s, p, training, &taken);
    return 0;
}

void shard_close(struct shard *s)
{
    device_free(s->memory);
    *s = (struct shard){0};
}

/* ---- parameters --------------------------------------------------------------------------- */

/* Begin to make a unit whole in a place. */
static void gather(struct shard *s, struct shard_place *to, int unit)
{
    struct params *p = s->params;
    struct param_unit *u = &p->unit[unit];
    size_t ranks = (size_t)p->mesh.fsdp, vectors = u->vectors / ranks;
    const float *own = p->master + u->offset;
    to->unit = unit;
    comm_all_gather(to->master, own, vectors, COMM_F32, COMM_FSDP);
    if (to->work)
        to->gathered = comm_all_gather(to->work, p->work + u->work_offset, u->matrices / ranks,
                                       COMM_REAL, COMM_FSDP);
    else
        to->gathered = comm_all_gather(to->master + u->vectors, own + vectors, u->matrices / ranks,
                                       COMM_F32, COMM_FSDP);
    u->master = to->master;
    u->work = to->work;
}

static struct shard_place *place_of(struct shard *s, int l)
{
    return &s->place[l % SHARD_PLACES];
}

/* Block l's parameters are there, and those of `next`, if there is such a block, on their way. */
static void need(struct shard *s, int l, int next)
{
    int blocks = s->params->units - 2;
    if (place_of(s, l)->unit != 1 + l)
        gather(s, place_of(s, l), 1 + l);
    if (next >= 0 && next < blocks && place_of(s, next)->unit != 1 + next)
        gather(s, place_of(s, next), 1 + next);
    comm_wait(place_of(s, l)->gathered);
}

/* ---- gradients ---------------------------------------------------------------------------- */

/* A whole unit's gradients begin as zero, but for what this rank's arrays hold already: so that
   the sum over ranks adds to it. */
static void begin_gradients(struct shard *s, struct shard_place *at, int unit)
{
    struct params *p = s->params;
    struct param_unit *u = &p->unit[unit];
    size_t ranks = (size_t)p->mesh.fsdp, rank = (size_t)mesh_fsdp_rank(&p->mesh);
    size_t vectors = u->vectors / ranks, matrices = u->matrices / ranks;
    const float *own = p->grad + u->offset;
    comm_wait(at->reduced);
    device_zero(at->grad, sizeof *at->grad * (u->vectors + u->matrices));
    if (vectors)
        device_copy(at->grad + rank * vectors, own, sizeof *own * vectors);
    if (matrices)
        device_copy(at->grad + u->vectors + rank * matrices, own + vectors, sizeof *own * matrices);
    u->grad = at->grad;
}

static void reduce(struct shard *s, struct shard_place *at, int unit)
{
    struct params *p = s->params;
    struct param_unit *u = &p->unit[unit];
    size_t ranks = (size_t)p->mesh.fsdp, vectors = u->vectors / ranks;
    float *own = p->grad + u->offset;
    comm_reduce_scatter(own, at->grad, vectors, COMM_F32, COMM_FSDP);
    at->reduced = comm_reduce_scatter(own + vectors, at->grad + u->vectors, u->matrices / ranks,
                                      COMM_F32, COMM_FSDP);
    s->ticket = at->reduced;
}

static void send(struct shard *s)
{
    if (s->end > s->begin)
        s->ticket =
            comm_all_reduce(s->params->grad + s->begin, s->end - s->begin, COMM_F32, COMM_DP);
    s->begin = s->end = 0;
}

/* The backward comes down the list, so that pieces join; what does not touch goes alone. */
static void add_piece(struct shard *s, const struct param_unit *u)
{
    if (s->end > s->begin && u->offset + u->floats != s->begin)
        send(s);
    if (s->end == s->begin)
        s->end = u->offset + u->floats;
    s->begin = u->offset;
    if ((s->end - s->begin) * sizeof(float) >= BUCKET_BYTES)
        send(s);
}

/* ---- a micro-batch ------------------------------------------------------------------------ */

void shard_begin(struct shard *s, bool backward)
{
    int last = s->params->units - 1;
    if (!is_shared(s->params))
        return;
    for (int i = 0; i < SHARD_PLACES; i++) /* parameters may have changed */
        s->place[i].unit = -1;
    gather(s, &s->outer[0], 0);
    gather(s, &s->outer[1], last);
    if (backward) {
        begin_gradients(s, &s->outer[0], 0);
        begin_gradients(s, &s->outer[1], last);
    }
    comm_wait(s->outer[1].gathered);
}

void shard_forward(struct shard *s, int l)
{
    if (is_shared(s->params))
        need(s, l, l + 1);
}

void shard_backward(struct shard *s, int l)
{
    if (!is_shared(s->params))
        return;
    need(s, l, l - 1);
    begin_gradients(s, place_of(s, l), 1 + l);
}

void shard_gradients(struct shard *s, int unit, bool last)
{
    int blocks = s->params->units - 2;
    struct shard_place *at = unit == 0       ? &s->outer[0]
                             : unit > blocks ? &s->outer[1]
                                             : place_of(s, unit - 1);
    if (is_shared(s->params))
        reduce(s, at, unit);
    if (last && s->params->mesh.dp > 1)
        add_piece(s, &s->params->unit[unit]);
}

void shard_end(struct shard *s, bool last)
{
    if (last)
        send(s);
    comm_wait(s->ticket);
}
