/* flight.c -- micro-batches on their way to the device, and what it makes of them on its way back.
 */
#include "flight.h"
#include "device.h"

#include <assert.h>
#include <string.h>

/* Bytes of a row's input, target and weight, and of its loss and correct. */
enum { OF_TOKENS = 12, OF_SCORES = 8 };

static size_t rows_of(const struct flight *f)
{
    return (size_t)f->batch * (size_t)f->seq;
}

void flight_take(struct flight *f, int batch, int seq, struct arena *from)
{
    static const char line[] = "tokens";
    f->batch = batch;
    f->seq = seq;
    size_t rows = rows_of(f);
    /* Together, for they travel together. */
    f->arrival = arena_take(from, line, OF_TOKENS * rows);
    int32_t *tokens = arena_take(from, line, OF_TOKENS * rows);
    float *scores = arena_take(from, line, OF_SCORES * rows);
    if (!tokens) /* only counted */
        return;
    f->input = tokens;
    f->target = tokens + rows;
    f->weight = (float *)(tokens + 2 * rows);
    f->loss = scores;
    f->correct = scores + rows;
}

void flight_close(struct flight *f)
{
    for (int i = 0; i < FLIGHT_AHEAD && f->slot[i]; i++)
        device_host_free(f->slot[i]);
    *f = (struct flight){0};
}

/* Each row of tokens weighs the same, however many of its tokens count. */
static void weigh(const struct flight *f, float *weight, const float *masks, double share)
{
    for (int b = 0; b < f->batch; b++) {
        const float *mask = masks + (size_t)b * f->seq;
        double valid = 0;
        for (int i = 0; i < f->seq; i++)
            valid += mask[i];
        double each = share / (f->batch * (valid > 1e-10 ? valid : 1e-10));
        for (int i = 0; i < f->seq; i++)
            weight[(size_t)b * f->seq + i] = mask[i] > 0 ? (float)each : 0;
    }
}

static void copy_ids(int32_t *to, const int32_t *ids, size_t rows, int first, int vocab)
{
    if (!vocab) {
        memcpy(to, ids, rows * sizeof *to);
        return;
    }
    for (size_t i = 0; i < rows; i++)
        to[i] = ids[i] >= first && ids[i] < first + vocab ? ids[i] - first : -1;
}

int flight_send(struct flight *f, const struct tokens *t, double share, int first, int vocab)
{
    assert(f->sent == f->queued && f->sent < FLIGHT_AHEAD);
    size_t rows = rows_of(f);
    if (!f->slot[f->sent])
        f->slot[f->sent] = device_host_alloc((OF_TOKENS + OF_SCORES) * rows);
    int32_t *slot = (int32_t *)f->slot[f->sent];
    if (!slot)
        return fail("out of memory of the host for a micro-batch of %d rows", f->batch);
    copy_ids(slot, t->input, rows, first, vocab);
    copy_ids(slot + rows, t->target, rows, first, vocab);
    weigh(f, (float *)(slot + 2 * rows), t->mask, share);
    device_upload(f->arrival, slot, OF_TOKENS * rows);
    f->sent++;
    return 0;
}

void flight_arrive(struct flight *f)
{
    assert(f->sent == f->queued + 1);
    device_await_uploads();
    device_copy(f->input, f->arrival, OF_TOKENS * rows_of(f));
    device_uploads_follow();
}

void flight_depart(struct flight *f)
{
    size_t rows = rows_of(f);
    device_fetch(f->slot[f->queued++] + OF_TOKENS * rows, f->loss, OF_SCORES * rows);
}

static void add_scores(struct score *score, const char *slot, size_t rows)
{
    const float *weight = (const float *)slot + 2 * rows, *loss = weight + rows;
    const float *correct = loss + rows;
    for (size_t r = 0; r < rows; r++) {
        score->loss += (double)weight[r] * loss[r];
        score->accuracy += (double)weight[r] * correct[r];
    }
}

int flight_collect(struct flight *f, struct score *score)
{
    const char *broken = device_sync();
    int queued = f->queued;
    for (int i = 0; i < queued && !broken; i++)
        add_scores(score, f->slot[i], rows_of(f));
    if (f->sent > queued) { /* it becomes the first of the next */
        char *next = f->slot[queued];
        f->slot[queued] = f->slot[0];
        f->slot[0] = next;
    }
    f->sent -= queued;
    f->queued = 0;
    return broken ? fail("%s", broken) : 0;
}

void flight_forget(struct flight *f)
{
    device_await_uploads();
    (void)device_sync(); /* what is broken is told by the next collection */
    f->sent = f->queued = 0;
}

void flight_rows(const struct flight *f, const float **loss, const float **correct)
{
    *loss = (const float *)(f->slot[0] + OF_TOKENS * rows_of(f));
    *correct = *loss + rows_of(f);
}
