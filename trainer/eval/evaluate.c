/* evaluate.c -- how well a model foretells a text, as a whole and by the place in its window. */
#include "evaluate.h"
#include "comm.h"
#include "device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int evaluate_open(struct evaluate *e, int seq)
{
    size_t n = (size_t)seq;
    *e = (struct evaluate){.seq = seq};
    e->loss = calloc(n, sizeof *e->loss);
    e->right = calloc(n, sizeof *e->right);
    e->count = calloc(n, sizeof *e->count);
    if (e->loss && e->right && e->count)
        return 0;
    evaluate_close(e);
    return fail("out of memory for the losses of %d places", seq);
}

void evaluate_close(struct evaluate *e)
{
    free(e->loss);
    free(e->right);
    free(e->count);
    device_free(e->scores);
    free(e->gathered);
    *e = (struct evaluate){0};
}

/* ---- sums --------------------------------------------------------------------------------- */

/* Bytes that target t of a window stands for. */
static uint64_t bytes_at(const struct evaluate_bytes *bytes, const int32_t *input,
                         const int32_t *target, int t)
{
    int32_t id = target[t];
    bool first = bytes->bos >= 0 && input[t] == bytes->bos && bytes->blank[id];
    return bytes->of[id] - (uint64_t)first;
}

static void add_row(struct evaluate *e, const struct batch *b, size_t at, const float *loss,
                    const float *correct, bool whole, const struct evaluate_bytes *bytes)
{
    double row_loss = 0, row_right = 0;
    uint64_t counted = 0;
    for (int t = 0; t < e->seq; t++) {
        size_t i = at + (size_t)t;
        if (!(b->mask[i] > 0))
            continue;
        e->loss[t] += (double)loss[i];
        e->right[t] += (double)correct[i];
        e->count[t]++;
        row_loss += (double)loss[i];
        row_right += (double)correct[i];
        counted++;
        if (bytes->of)
            e->bytes += bytes_at(bytes, b->input + at, b->target + at, t);
    }
    if (!whole)
        return;
    e->rows++;
    if (counted) {
        e->row_loss += row_loss / (double)counted;
        e->row_right += row_right / (double)counted;
    }
}

/* Where a step stands in the text. */
struct step {
    uint64_t first, windows, tail; /* first: of this step */
    int ranks, rows;               /* that share it out, and what each reads */
};

static uint64_t left(const struct step *s)
{
    return s->windows + (s->tail > 0) - s->first;
}

/* Fill a batch with what a rank reads; rows beyond the text do not count. */
static int read_rows(const struct step *s, int rank, const struct data *d, struct batch *b)
{
    for (int r = 0; r < s->rows; r++) {
        uint64_t at = (uint64_t)rank * (uint64_t)s->rows + (uint64_t)r, window = s->first + at;
        bool there = at < left(s);
        int count = !there ? 0 : window < s->windows ? d->seq : (int)s->tail;
        if (data_read_part(d, there ? window : 0, count, b, r))
            return -1;
    }
    return 0;
}

static void add_rows(struct evaluate *e, const struct step *s, int rank, const struct batch *b,
                     const float *loss, const float *correct, const struct evaluate_bytes *bytes)
{
    uint64_t at = (uint64_t)rank * (uint64_t)s->rows;
    for (int r = 0; r < s->rows && at < left(s); r++, at++)
        add_row(e, b, (size_t)r * (size_t)e->seq, loss, correct, s->first + at < s->windows, bytes);
}

/* The scores of all ranks that read different rows, to every one: [ranks][2][rows * seq]. */
static int gather(struct evaluate *e, const struct step *s, const struct model *m)
{
    size_t count = 2 * (size_t)s->rows * (size_t)e->seq, all = count * (size_t)s->ranks;
    if (!e->scores) {
        e->scores = device_alloc(all * sizeof *e->scores);
        e->gathered = malloc(all * sizeof *e->gathered);
    }
    if (!e->scores || !e->gathered)
        return fail("out of memory for the losses of %d ranks", s->ranks);
    comm_wait(comm_all_gather(e->scores, m->flight.loss, count, COMM_F32, COMM_DATA));
    device_get(e->gathered, e->scores, all * sizeof *e->gathered);
    const char *broken = comm_error();
    return broken ? fail("%s", broken) : 0;
}

/* Of all ranks, whose rows are read here once more. */
static int add_all(struct evaluate *e, const struct step *s, const struct data *d, struct batch *b,
                   const struct evaluate_bytes *bytes)
{
    size_t count = (size_t)s->rows * (size_t)e->seq;
    for (int rank = 0; rank < s->ranks; rank++) {
        const float *loss = e->gathered + 2 * (size_t)rank * count;
        if (read_rows(s, rank, d, b))
            return -1;
        add_rows(e, s, rank, b, loss, loss + count, bytes);
    }
    return 0;
}

int evaluate_step(struct evaluate *e, struct model *m, const struct data *d, struct batch *b,
                  uint64_t windows, uint64_t tail, const struct evaluate_bytes *bytes)
{
    const struct mesh *mesh = &m->params->mesh;
    struct step s = {e->next, windows, tail, mesh_data_ranks(mesh), b->rows};
    struct tokens t = {b->input, b->target, b->mask};
    struct score unused = {0};
    const float *loss, *correct;
    if (read_rows(&s, mesh_data_rank(mesh), d, b) || model_score(m, &t, 1, &unused))
        return -1;
    if (s.ranks == 1) {
        model_row_scores(m, &loss, &correct);
        add_rows(e, &s, 0, b, loss, correct, bytes);
    } else if (gather(e, &s, m) || (mesh->rank == 0 && add_all(e, &s, d, b, bytes))) {
        return -1;
    }
    uint64_t read = (uint64_t)s.ranks * (uint64_t)s.rows;
    e->next += read < left(&s) ? read : left(&s);
    return 0;
}

struct evaluate_sum evaluate_sum(const struct evaluate *e, int from, int to)
{
    struct evaluate_sum s = {0};
    double loss = 0, right = 0;
    for (int t = from; t < to; t++) {
        loss += e->loss[t];
        right += e->right[t];
        s.tokens += e->count[t];
    }
    s.loss = loss / (double)s.tokens;
    s.accuracy = right / (double)s.tokens;
    s.perplexity = exp(s.loss);
    bool all = from == 0 && to == e->seq && e->bytes;
    s.bits_per_byte = all ? loss / M_LN2 / (double)e->bytes : NAN;
    return s;
}

struct evaluate_sum evaluate_rows(const struct evaluate *e)
{
    struct evaluate_sum s = evaluate_sum(e, 0, e->seq);
    s.loss = e->row_loss / (double)e->rows;
    s.accuracy = e->row_right / (double)e->rows;
    s.perplexity = exp(s.loss);
    s.bits_per_byte = NAN;
    return s;
}

/* ---- to go on later ------------------------------------------------------------------------ */

json_t *evaluate_to_json(const struct evaluate *e)
{
    json_t *loss = json_array(), *right = json_array(), *count = json_array();
    for (int t = 0; t < e->seq; t++) {
        json_array_append_new(loss, json_real(e->loss[t]));
        json_array_append_new(right, json_real(e->right[t]));
        json_array_append_new(count, json_integer((json_int_t)e->count[t]));
    }
    return json_pack("{s:I, s:o, s:o, s:o, s:f, s:f, s:I, s:I}", "next", (json_int_t)e->next,
                     "loss", loss, "right", right, "count", count, "row_loss", e->row_loss,
                     "row_right", e->row_right, "rows", (json_int_t)e->rows, "bytes",
                     (json_int_t)e->bytes);
}

int evaluate_from_json(struct evaluate *e, const json_t *sums, const char *origin)
{
    json_t *loss, *right, *count;
    json_int_t next, rows, bytes;
    size_t n = (size_t)e->seq;
    if (json_unpack((json_t *)sums, "{s:I, s:o, s:o, s:o, s:F, s:F, s:I, s:I}", "next", &next,
                    "loss", &loss, "right", &right, "count", &count, "row_loss", &e->row_loss,
                    "row_right", &e->row_right, "rows", &rows, "bytes", &bytes) ||
        json_array_size(loss) != n || json_array_size(right) != n || json_array_size(count) != n ||
        next < 0 || rows < 0 || bytes < 0)
        return fail("%s: its sums are not those of windows of %d tokens", origin, e->seq);
    for (size_t t = 0; t < n; t++) {
        e->loss[t] = json_number_value(json_array_get(loss, t));
        e->right[t] = json_number_value(json_array_get(right, t));
        e->count[t] = (uint64_t)json_integer_value(json_array_get(count, t));
    }
    e->next = (uint64_t)next;
    e->rows = (uint64_t)rows;
    e->bytes = (uint64_t)bytes;
    return 0;
}
