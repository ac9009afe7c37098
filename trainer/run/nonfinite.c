/* nonfinite.c -- where numbers first stopped being numbers. */
#include "nonfinite.h"
#include "device.h"

#include <math.h>
#include <stdlib.h>

/* The first value that is not finite, or -1. */
static int64_t first_bad(const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return (int64_t)i;
    return -1;
}

/* The same of an array on the device; on the host's want of memory nothing is found. */
static int64_t first_bad_there(const float *device, size_t count)
{
    enum { CHUNK = 1 << 20 };
    float *x = malloc(CHUNK * sizeof *x);
    int64_t bad = -1;
    for (size_t at = 0; x && bad < 0 && at < count; at += CHUNK) {
        size_t n = count - at < CHUNK ? count - at : CHUNK;
        device_get(x, device + at, n * sizeof *x);
        int64_t here = first_bad(x, n);
        bad = here < 0 ? -1 : (int64_t)at + here;
    }
    free(x);
    return bad;
}

static bool bad_parameter(char *place, const struct params *p)
{
    for (int i = 0; i < p->count; i++) {
        int64_t at = first_bad_there(p->master + p->list[i].offset, p->list[i].held);
        if (at >= 0) {
            snprintf(place, NONFINITE_BYTES, "the parameter %s, value %lld", p->list[i].name,
                     (long long)at);
            return true;
        }
    }
    return false;
}

char *nonfinite_forward(char place[NONFINITE_BYTES], struct model *m)
{
    int layers = m->config.num_hidden_layers, width = m->config.hidden_size;
    size_t count = (size_t)m->rows * (size_t)width;
    if (bad_parameter(place, m->params))
        return place;
    snprintf(place, NONFINITE_BYTES, "the logits or the loss itself");
    float *hidden = malloc(count * sizeof *hidden);
    for (int l = 0; hidden && l <= layers; l++) {
        model_hidden(m, hidden, l);
        int64_t at = first_bad(hidden, count);
        if (at < 0)
            continue;
        long long row = at / width / m->seq, token = at / width % m->seq;
        if (l == 0)
            snprintf(place, NONFINITE_BYTES, "the embedding, row %lld, token %lld", row, token);
        else
            snprintf(place, NONFINITE_BYTES, "the output of layer %d, row %lld, token %lld", l - 1,
                     row, token);
        break;
    }
    free(hidden);
    return place;
}

char *nonfinite_gradient(char place[NONFINITE_BYTES], const struct params *p)
{
    /* The backward goes through the list from its end. */
    for (int i = p->count - 1; i >= 0; i--) {
        int64_t at = first_bad_there(p->grad + p->list[i].offset, p->list[i].held);
        if (at >= 0) {
            snprintf(place, NONFINITE_BYTES, "the gradient of %s, value %lld", p->list[i].name,
                     (long long)at);
            return place;
        }
    }
    snprintf(place, NONFINITE_BYTES, "the sum of squares over all gradients");
    return place;
}
