/* run_ranks.c -- what the ranks of a run do together. */
#include "run_ranks.h"
#include "comm.h"
#include "device.h"

#include <stdlib.h>
#include <string.h>

bool run_is_first(const struct run *r)
{
    return team_is_first(r->team);
}

/* ---- agreeing ------------------------------------------------------------------------------ */

int run_agree_begin(struct run *r, const char *step_dir)
{
    const struct peers_claim claim = {"the checkpoint to begin from", step_dir};
    return peers_agree(&r->team->peers, &claim, 1);
}

/* ---- checkpoints --------------------------------------------------------------------------- */

int run_save_prepare(struct run *r)
{
    if (team_is_alone(r->team))
        return 0;
    int status = run_is_first(r) ? state_begin_ranks(r->dir.path, r->step, r->params.average) : 0;
    return team_status(r->team, status);
}

/* What every rank has written, on every rank. files [ranks] */
static int gather_files(struct run *r, struct state_files *files)
{
    int ranks = mesh_ranks(&r->options->mesh), self = r->options->mesh.rank;
    size_t doubles = (sizeof *files + sizeof(double) - 1) / sizeof(double);
    double *there = device_alloc((size_t)ranks * doubles * sizeof *there);
    double *all = calloc((size_t)ranks * doubles, sizeof *all);
    int status = there && all ? 0 : fail("out of memory");
    if (!status) {
        memcpy(all, &r->saver.files, sizeof *files);
        device_put(there + (size_t)self * doubles, all, doubles * sizeof *all);
        comm_wait(
            comm_all_gather(there, there + (size_t)self * doubles, doubles, COMM_F64, COMM_WORLD));
        device_get(all, there, (size_t)ranks * doubles * sizeof *all);
        for (int k = 0; k < ranks; k++)
            memcpy(&files[k], all + (size_t)k * doubles, sizeof *files);
        status = team_sound(r->team);
    }
    free(all);
    device_free(there);
    return status;
}

int run_save_join(struct run *r, int status, bool *whole)
{
    *whole = false;
    struct state_files *files = calloc((size_t)mesh_ranks(&r->options->mesh), sizeof *files);
    if (!status && !files)
        status = fail("out of memory");
    if (team_status(r->team, status) || gather_files(r, files)) {
        free(files);
        return -1;
    }
    status = run_is_first(r) ? saver_publish(&r->saver, files) : 0;
    free(files);
    status = team_status(r->team, status);
    *whole = !status;
    return status;
}
