/* ordered.c -- the documents of a feed in another order, from the files or through buckets. */
#include "ordered.h"
#include "report.h"

/* All documents into the reorderer. */
static int take_all(struct reorder *o, struct feed *f)
{
    struct tok_doc piece;
    struct progress p;
    int status;
    progress_begin(&p, "read", "B", f->bytes);
    while ((status = feed_piece(f, &piece)) > 0) {
        if (reorder_put(o, piece.stored, piece.count, piece.last))
            return -1;
        progress_to(&p, feed_offset(f));
    }
    progress_end(&p);
    return status < 0 ? -1 : reorder_turn(o);
}

static int sort(struct ordered *o, struct reorder_plan plan, struct feed *f, int share)
{
    plan.memory /= share;
    if (reorder_open(&o->o, &plan) || take_all(&o->o, f))
        return -1;
    o->documents = o->o.documents;
    o->tokens = o->o.tokens;
    o->before_tokens = o->o.before_tokens;
    o->head_tokens = o->o.head_tokens;
    return 0;
}

int ordered_open(struct ordered *o, const struct reorder_plan *plan, struct feed *f, int part,
                 int parts, int share)
{
    *o = (struct ordered){.plan = *plan};
    int status = 0;
    if (o->plan.to == 0)
        o->plan.to = plan->documents;
    if (f->known && !f->plan.format)
        status = gather_open(&o->g, &o->plan, f->paths, f->count, part, parts, share);
    o->gathered = status > 0;
    if (o->gathered) {
        o->documents = plan->documents;
        o->tokens = plan->tokens;
        o->before_tokens = o->g.before_tokens;
        o->head_tokens = o->g.head_tokens;
        return 0;
    }
    if (!status)
        status = sort(o, *plan, f, share);
    if (status)
        ordered_close(o);
    return status;
}

void ordered_close(struct ordered *o)
{
    gather_close(&o->g);
    reorder_close(&o->o);
    *o = (struct ordered){0};
}

int ordered_next(struct ordered *o, struct reorder_piece *piece)
{
    return o->gathered ? gather_next(&o->g, piece) : reorder_next(&o->o, piece);
}
