/* shard.c -- parameters and gradients between the ranks of a mesh, beside the computing. */
#include "shard.h"
#include "comm.h"

/* Gradients are sent in pieces of about this size: large enough for the wires, small enough that
   most of them travel while the backward goes on. */
static const size_t BUCKET_BYTES = (size_t)16 << 20;

int shard_open(struct shard *e, struct params *p)
{
    *e = (struct shard){.params = p};
    return 0;
}

void shard_close(struct shard *e)
{
    *e = (struct shard){0};
}

static void send(struct shard *e)
{
    if (e->end > e->begin)
        e->ticket =
            comm_all_reduce(e->params->grad + e->begin, e->end - e->begin, COMM_F32, COMM_DP);
    e->begin = e->end = 0;
}

void shard_gradients(struct shard *e, int unit, bool last)
{
    const struct param_unit *u = &e->params->unit[unit];
    if (!last || comm_ranks(COMM_DP) == 1 || !u->floats)
        return;
    /* The backward comes down the list, so that pieces join; what does not touch goes alone. */
    if (e->end > e->begin && u->offset + u->floats != e->begin)
        send(e);
    if (e->end == e->begin)
        e->end = u->offset + u->floats;
    e->begin = u->offset;
    if ((e->end - e->begin) * sizeof(float) >= BUCKET_BYTES)
        send(e);
}

void shard_end(struct shard *e, bool last)
{
    if (!last)
        return;
    send(e);
    comm_wait(e->ticket);
}
