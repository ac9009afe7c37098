/* ordered.h -- the documents of a feed in another order: straight from its files where gather.h
   can, else through memory and temporary files. */
#ifndef ORDERED_H
#define ORDERED_H

#include "feed.h"
#include "gather.h"

/* Zero means closed. Totals are of all documents, whatever places are asked for. */
struct ordered {
    struct reorder_plan plan;
    uint64_t documents, tokens;
    uint64_t before_tokens, head_tokens; /* as reorder has them */
    bool gathered;
    struct gather g;
    struct reorder o;
};

/* Read all of the feed. Of `parts` programs that do so this is number `part`: each proves its share
   of the blocks where that is enough. A program that shares its memory with others sorts in
   plan->memory / share. -1: o is closed. */
must_check int ordered_open(struct ordered *o, const struct reorder_plan *plan, struct feed *f,
                            int part, int parts, int share);
void ordered_close(struct ordered *o); /* harmless when closed */
must_check int ordered_next(struct ordered *o, struct reorder_piece *piece); /* as reorder_next */

#endif
