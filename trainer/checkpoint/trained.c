/* trained.c -- the model of a checkpoint, for use. */
#include "trained.h"
#include "report.h"
#include "state.h"

#include <inttypes.h>

static int open_parts(struct trained *t, const char *path, const struct mesh *mesh)
{
    struct state s;
    if (state_find(t->dir, path) || state_read(&s, t->dir))
        return -1;
    t->config = s.config;
    t->step = s.step;
    t->digest = s.params;
    state_close(&s);
    if (config_check(&t->config, 0))
        return fail("%s: %s", t->dir, why());
    return params_list_on(&t->params, &t->config, mesh) || params_alloc(&t->params, false) ||
                   state_load_params(&t->params, t->dir)
               ? -1
               : 0;
}

int trained_open(struct trained *t, const char *path, const struct mesh *mesh)
{
    char count[16];
    *t = (struct trained){0};
    if (open_parts(t, path, mesh)) {
        trained_close(t);
        return -1;
    }
    say("%s: %s, %s parameters, step %" PRId64, t->dir, mixer_name(t->config.seq_modeling_block),
        human(count, (double)t->params.total), t->step);
    return 0;
}

void trained_close(struct trained *t)
{
    params_close(&t->params);
    *t = (struct trained){0};
}
