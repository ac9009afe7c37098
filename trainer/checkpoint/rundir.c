/* rundir.c -- the directory of a run, EXP_DIR/EXP_NAME: its checkpoints, and which is the newest.
 */
#include "rundir.h"
#include "file.h"
#include "state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int rundir_path(const char *run_dir, const char *name, char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s/%s", run_dir, name) >= PATH_MAX)
        return fail("%s/%s: the path is too long", run_dir, name);
    return 0;
}

static int remove_entry(const char *dir, int dir_fd, const char *name)
{
    char path[PATH_MAX];
    if (!unlinkat(dir_fd, name, 0))
        return 0;
    if (errno != EISDIR || strcmp(name, STATE_AVERAGE))
        return fail("%s/%s: %s", dir, name, strerror(errno));
    return rundir_path(dir, name, path) || rundir_remove(path) ? -1 : 0;
}

int rundir_remove(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : fail("%s: %s", dir, strerror(errno));
    int status = 0;
    for (struct dirent *e; !status && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            status = remove_entry(dir, dirfd(d), e->d_name);
    closedir(d);
    if (!status && rmdir(dir))
        status = fail("%s: %s", dir, strerror(errno));
    return status;
}

/* N of "step_N", written without leading zeros; 0 for other names. *rest is what follows N. */
static int64_t step_of(const char *name, const char **rest)
{
    char *end;
    if (strncmp(name, "step_", 5) || name[5] < '1' || name[5] > '9')
        return 0;
    errno = 0;
    int64_t step = strtoll(name + 5, &end, 10);
    *rest = end;
    return errno ? 0 : step;
}

/* Call `visit` for each "step_N..." in a run's directory. */
static int each_step(const char *dir,
                     int (*visit)(const char *path, int64_t step, const char *rest, void *arg),
                     void *arg)
{
    DIR *d = opendir(dir);
    if (!d)
        return fail("%s: %s", dir, strerror(errno));
    int status = 0;
    for (struct dirent *e; !status && (e = readdir(d));) {
        char path[PATH_MAX];
        const char *rest = "";
        int64_t step = step_of(e->d_name, &rest);
        if (step)
            status = rundir_path(dir, e->d_name, path) ? -1 : visit(path, step, rest, arg);
    }
    closedir(d);
    return status;
}

static int remove_step_leftover(const char *path, int64_t step, const char *rest, void *arg)
{
    (void)step, (void)arg;
    return !strncmp(rest, ".part.", 6) || !strncmp(rest, ".old.", 5) ? rundir_remove(path) : 0;
}

/* What a killed run was writing: only the one that holds the lock may. */
static int remove_leftovers(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return fail("%s: %s", dir, strerror(errno));
    int status = 0;
    for (struct dirent *e; !status && (e = readdir(d));) {
        const char *part = strstr(e->d_name, ".part."), *rest;
        if (part && part[6 + strspn(part + 6, "0123456789")] == 0 && !step_of(e->d_name, &rest) &&
            unlinkat(dirfd(d), e->d_name, 0))
            status = fail("%s/%s: %s", dir, e->d_name, strerror(errno));
    }
    closedir(d);
    return status ? -1 : each_step(dir, remove_step_leftover, NULL);
}

int rundir_name(struct rundir *r, const char *exp_dir, const char *exp_name)
{
    *r = (struct rundir){.lock_fd = -1};
    return rundir_path(exp_dir, exp_name, r->path);
}

int rundir_open(struct rundir *r, const char *exp_dir, const char *exp_name)
{
    if (rundir_name(r, exp_dir, exp_name) || make_dirs(r->path))
        return -1;
    r->lock_fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->lock_fd < 0)
        return fail("%s: %s", r->path, strerror(errno));
    /* Some network file systems have no locks; the run can do without. */
    if (flock(r->lock_fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        fail("%s: another ttt-train or ttt-convert is writing here; wait for it, or name another "
             "directory",
             r->path);
    else if (!remove_leftovers(r->path))
        return 0;
    rundir_close(r);
    return -1;
}

void rundir_close(struct rundir *r)
{
    if (*r->path && r->lock_fd >= 0)
        close(r->lock_fd);
    *r = (struct rundir){0};
}

int rundir_latest(const char *run_dir, int64_t *step)
{
    char path[PATH_MAX], name[64] = "";
    *step = 0;
    if (rundir_path(run_dir, "latest", path))
        return -1;
    FILE *f = fopen(path, "r");
    if (!f)
        return errno == ENOENT ? 0 : fail("%s: %s", path, strerror(errno));
    char *got = fgets(name, sizeof name, f);
    fclose(f);
    name[strcspn(name, "\n")] = 0;
    const char *rest = "";
    *step = got ? step_of(name, &rest) : 0;
    if (!*step || *rest)
        return fail("%s: holds \"%s\"; expected the name of a checkpoint beside it, such as "
                    "step_100",
                    path, name);
    return 0;
}

int rundir_point(const struct rundir *r, int64_t step)
{
    char path[PATH_MAX], text[32];
    snprintf(text, sizeof text, "step_%" PRId64, step);
    return rundir_path(r->path, "latest", path) || file_write_text(path, text) ? -1 : 0;
}

static int remove_rolling(const char *path, int64_t step, const char *rest, void *keep)
{
    struct state s;
    if (*rest || step == *(const int64_t *)keep)
        return 0;
    if (state_read(&s, path)) /* whatever this is, it is not ours to remove */
        return 0;
    bool milestone = s.milestone;
    state_close(&s);
    if (milestone)
        return 0;
    /* Under a name that says so: what a kill leaves of it is a leftover for the next start. */
    char old[PATH_MAX];
    if (snprintf(old, sizeof old, "%s.old.%ld", path, (long)getpid()) >= (int)sizeof old)
        return fail("%s: the path is too long", path);
    return rename(path, old) ? fail("%s: %s", path, strerror(errno)) : rundir_remove(old);
}

int rundir_sweep(const struct rundir *r, int64_t step)
{
    return each_step(r->path, remove_rolling, &step);
}
