/* spikes.c -- steps whose loss stands out above those before it. */
#include "spikes.h"

#include <math.h>
#include <stdlib.h>

int spikes_open(struct spikes *s, double z, int window)
{
    *s = (struct spikes){.z = z, .window = window};
    if (!(z > 0)) {
        *s = (struct spikes){0};
        return 0;
    }
    s->loss = calloc((size_t)window, sizeof *s->loss);
    return s->loss ? 0 : fail("out of memory for the losses of %d steps", window);
}

void spikes_close(struct spikes *s)
{
    free(s->loss);
    *s = (struct spikes){0};
}

static void remember(struct spikes *s, double loss)
{
    s->loss[s->next] = loss;
    s->next = (s->next + 1) % s->window;
    s->count += s->count < s->window;
    s->in_a_row = 0;
}

/* Of losses seen, oldest first. */
static double seen(const struct spikes *s, int i)
{
    return s->loss[(s->next - s->count + i + s->window) % s->window];
}

bool spikes_judge(struct spikes *s, double loss, double *deviations)
{
    double sum = 0, squares = 0;
    *deviations = 0;
    if (!s->loss)
        return false;
    if (s->count == s->window) {
        for (int i = 0; i < s->count; i++)
            sum += seen(s, i);
        double mean = sum / s->count;
        for (int i = 0; i < s->count; i++)
            squares += (seen(s, i) - mean) * (seen(s, i) - mean);
        double deviation = sqrt(squares / s->count);
        *deviations = loss <= mean ? 0 : (loss - mean) / deviation; /* infinite after equal ones */
        if (*deviations > s->z && s->in_a_row < SPIKES_IN_A_ROW) {
            s->in_a_row++;
            return true;
        }
    }
    remember(s, loss);
    return false;
}

json_t *spikes_to_json(const struct spikes *s)
{
    json_t *losses = s->loss ? json_array() : NULL;
    for (int i = 0; losses && i < s->count; i++)
        json_array_append_new(losses, json_real(seen(s, i)));
    return losses ? json_pack("{s:o, s:i}", "losses", losses, "in_a_row", s->in_a_row) : NULL;
}

int spikes_from_json(struct spikes *s, const json_t *from)
{
    json_t *losses;
    int in_a_row;
    if (json_unpack((json_t *)from, "{s:o, s:i}", "losses", &losses, "in_a_row", &in_a_row) ||
        !json_is_array(losses) || in_a_row < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(losses); i++) {
        const json_t *loss = json_array_get(losses, i);
        if (!json_is_real(loss))
            return -1;
        remember(s, json_real_value(loss));
    }
    s->in_a_row = in_a_row;
    return 0;
}
