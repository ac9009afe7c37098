/* evaluate.h -- how well a model foretells a text, as a whole and by the place in its window.

   The text is read in windows of seq tokens, each from an empty memory, as training reads it; the
   last one may be shorter. Sums are doubles, taken in the text's order: they do not depend on how
   many windows are read at once, beyond what the model's own rounding does.

   The ranks of a mesh that read different rows share the windows of a step out; rank 0 alone has
   the sums, of all, which so do not depend on the mesh either. */
#ifndef EVALUATE_H
#define EVALUATE_H

#include "data.h"
#include "model.h"

#include <jansson.h>

/* Zero means closed. */
struct evaluate {
    int seq;
    uint64_t next;        /* window to be read */
    double *loss, *right; /* [seq] sums over targets that count at that place; owned, as is count */
    uint64_t *count;      /* [seq] */
    double row_loss, row_right; /* sums over whole windows of their means, as the reference has */
    uint64_t rows;
    uint64_t bytes; /* of text that the targets stand for */
    float *scores; /* [ranks][2][batch][seq] on the device, owned: losses, then rights, of the ranks
                      that read different rows; NULL where one does, as is gathered */
    float *gathered; /* the same on the host, owned */
};

must_check int evaluate_open(struct evaluate *e, int seq);
void evaluate_close(struct evaluate *e); /* harmless when closed */

/* Bytes of text for each id of a vocabulary, and what there is to know of a document's first. */
struct evaluate_bytes {
    const uint16_t *of; /* [vocab] or NULL, and then no bytes are counted */
    int32_t bos;        /* after it the dummy blank is no text; -1: none */
    const bool *blank;  /* [vocab]: the id begins with a blank */
};

/* Read the next windows, up to `windows` of them in all, as many at once as the batch has rows on
   every rank; the model is of this seq and so many rows. tail: targets of one more behind the last;
   0: none. -1 with why(). */
must_check int evaluate_step(struct evaluate *e, struct model *m, const struct data *d,
                             struct batch *b, uint64_t windows, uint64_t tail,
                             const struct evaluate_bytes *bytes);

/* ---- results ------------------------------------------------------------------------------ */

struct evaluate_sum {
    uint64_t tokens; /* that counted */
    double loss;     /* nats a token */
    double accuracy;
    double perplexity;    /* exp(loss) */
    double bits_per_byte; /* NaN where bytes are not known */
};

/* Of all places, or of those from..to-1. */
struct evaluate_sum evaluate_sum(const struct evaluate *e, int from, int to);

/* Of whole windows, each weighing the same. */
struct evaluate_sum evaluate_rows(const struct evaluate *e);

/* ---- to go on later ------------------------------------------------------------------------ */

/* All sums exactly; the caller's reference. */
json_t *evaluate_to_json(const struct evaluate *e);
/* Of the same seq, into an open one. -1 with why() naming origin. */
must_check int evaluate_from_json(struct evaluate *e, const json_t *sums, const char *origin);

#endif
