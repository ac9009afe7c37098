/* resume.c -- from which checkpoint a run begins, and whether it may go on with it. */
#include "resume.h"
#include "report.h"

#include <inttypes.h>
#include <string.h>

static int begin_from(struct resume *r, const char *run_dir, int64_t step)
{
    char name[32];
    snprintf(name, sizeof name, "step_%" PRId64, step);
    if (step ? rundir_path(run_dir, name, r->step_dir) : state_find(r->step_dir, run_dir))
        return -1;
    if (state_read(&r->state, r->step_dir))
        return -1;
    if (step && r->state.step != step)
        return fail("%s: holds step %" PRId64, r->step_dir, r->state.step);
    return 0;
}

int resume_find(struct resume *r, const struct options *o, const struct rundir *dir)
{
    *r = (struct resume){0};
    int64_t latest = 0;
    if (dir && rundir_latest(dir->path, &latest))
        return -1;
    bool from_named = *o->resume_exp_name, automatic = !strcmp(o->resume, "auto");
    bool same = dir && !strcmp(o->resume_exp_name, o->exp_name);
    bool all = !strcmp(o->load_part, "trainstate");

    if (latest && automatic) {
        r->whole = r->in_place = true;
        return begin_from(r, dir->path, same ? o->step_to_resume : 0);
    }
    if (latest && !(from_named && same && all))
        return fail("%s: holds a run at step %" PRId64 "; --resume_exp_name=%s (or --resume=auto) "
                    "goes on with it, another --exp_name begins anew",
                    dir->path, latest, o->exp_name);
    if (!from_named || (same && automatic))
        return 0;
    char from[PATH_MAX];
    if (rundir_path(o->exp_dir, o->resume_exp_name, from))
        return -1;
    r->whole = all;
    r->in_place = same;
    return begin_from(r, from, o->step_to_resume);
}

void resume_close(struct resume *r)
{
    state_close(&r->state);
    *r = (struct resume){0};
}

int resume_check_data(const struct resume *r, const struct state_data *now)
{
    static const char remedy[] =
        "; --load_part=trainstate_params begins a new run with its parameters";
    const struct state_data *was = &r->state.data;
    const char *dir = r->step_dir;
    if (!was->windows) {
        say("%s: does not tell its place in the data; takes it that the data were these, in this "
            "order, since step 1",
            dir);
        return 0;
    }
    if (was->seq_length != now->seq_length)
        return fail("%s: was trained with --seq_length=%" PRIu64 "%s", dir, was->seq_length,
                    remedy);
    if (was->global_batch_size != now->global_batch_size)
        return fail("%s: was trained with --global_batch_size=%" PRIu64 "%s", dir,
                    was->global_batch_size, remedy);
    if (was->windows != now->windows ||
        (*was->manifest.hex && *now->manifest.hex && strcmp(was->manifest.hex, now->manifest.hex)))
        return fail("%s: was trained on other data (%" PRIu64 " rows, here are %" PRIu64 ")%s", dir,
                    was->windows, now->windows, remedy);
    if (was->seed != now->seed || strcmp(was->order, now->order))
        return fail("%s: its data were ordered by --seed=%" PRId64 " --order=%s%s", dir, was->seed,
                    was->order, remedy);
    if (was->epoch != now->epoch || was->position != now->position)
        return fail("%s: its place in the data, epoch %" PRIu64 " row %" PRIu64
                    ", is not that of its step",
                    dir, was->epoch, was->position);
    return 0;
}

int resume_check_optim(const struct resume *r)
{
    static const char *const names[] = {"optimizer.type", "optimizer.accumulate_gradient_steps",
                                        "optimizer.adamw_optimizer.multiply_by_parameter_scale"};
    json_t *now = options_to_json();
    int status = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && !status; i++) {
        const char *is = json_string_value(json_object_get(now, names[i]));
        const char *was = json_string_value(json_object_get(r->state.flags, names[i]));
        if (was && is && strcmp(was, is))
            status = fail("%s: its moments are those of --%s=%s; --load_part=trainstate_params "
                          "begins a new run with its parameters",
                          r->step_dir, names[i], was);
    }
    json_decref(now);
    return status;
}

/* Flags that name the place or the manner of a run, not what it computes. */
static bool is_of_no_account(const char *name)
{
    static const char *const names[] = {"dataset_path",
                                        "recompute_every",
                                        "recompute_blocks",
                                        "dataset_name",
                                        "exp_dir",
                                        "exp_name",
                                        "resume",
                                        "resume_exp_name",
                                        "resume_step",
                                        "load_part",
                                        "device",
                                        "flagfile",
                                        "print_config",
                                        "quiet",
                                        "is_rollback_reshuffle",
                                        "save_in_background",
                                        "mesh_dim",
                                        "loader_workers",
                                        "dtype"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

void resume_tell_changes(const struct resume *r)
{
    json_t *now = options_to_json(), *text;
    const char *name;
    json_object_foreach(now, name, text)
    {
        const char *is = json_string_value(text);
        const char *was = json_string_value(json_object_get(r->state.flags, name));
        if (was && is && strcmp(was, is) && !is_of_no_account(name))
            say("goes on with --%s=%s; the checkpoint was made with %s", name, is,
                *was ? was : "none");
    }
    json_decref(now);
}
