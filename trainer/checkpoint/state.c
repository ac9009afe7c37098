/* state.c -- a checkpoint: one directory that holds everything a run needs to go on. */
#include "state.h"
#include "arrays.h"
#include "device.h"
#include "file.h"
#include "pieces.h"
#include "report.h"
#include "rundir.h"
#include "version.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT = 1 };

static const char PARAMS[] = "params.safetensors", MOMENTS[] = "moments.safetensors";
static const char STATE[] = "state.json";

/* ---- writing ------------------------------------------------------------------------------ */

static json_t *file_to_json(const char *path, const struct xxh3 *digest)
{
    struct stat st;
    return stat(path, &st)
               ? NULL
               : json_pack("{s:I, s:s}", "bytes", (json_int_t)st.st_size, "xxh3", digest->hex);
}

/* "reshuffles" of "data": [[epoch, after], ...]. */
static json_t *log_to_json(const struct order_log *log)
{
    json_t *all = json_array();
    for (int i = 0; i < log->count; i++)
        json_array_append_new(all, json_pack("[I, I]", (json_int_t)log->list[i].epoch,
                                             (json_int_t)log->list[i].after));
    return all;
}

static json_t *to_json(const struct state *s)
{
    const struct state_data *d = &s->data;
    json_t *data =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:s}", "order", d->order, "seed",
                  (json_int_t)d->seed, "windows", (json_int_t)d->windows, "seq_length",
                  (json_int_t)d->seq_length, "global_batch_size", (json_int_t)d->global_batch_size,
                  "epoch", (json_int_t)d->epoch, "position", (json_int_t)d->position, "reshuffles",
                  log_to_json(&d->reshuffles), "manifest", d->manifest.hex);
    if (!d->windows) {
        json_decref(data);
        data = json_null();
    }
    return json_pack("{s:i, s:s, s:I, s:b, s:f, s:o, s:o, s:O, s:O*}", "format", (int)FORMAT,
                     "version", version_text(), "step", (json_int_t)s->step, "milestone",
                     (int)s->milestone, "elapsed_s", s->elapsed_s, "data", data, "config",
                     config_to_json(&s->config), "flags", s->flags, "spikes", s->spikes);
}

static int write_json(const char *path, const json_t *root)
{
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    if (!text)
        return fail("%s: out of memory", path);
    int status = file_write_text(path, text);
    free(text);
    return status;
}

/* state.json of a directory, of many ranks or of none; the reference to `files` is taken over. */
static int put_state(const struct state *s, const char *dir, json_t *files, int ranks)
{
    char path[PATH_MAX];
    json_t *root = to_json(s);
    int status = rundir_path(dir, STATE, path);
    if (!status && (!root || json_object_set(root, "files", files) ||
                    (ranks && json_object_set_new(root, "ranks", json_integer(ranks)))))
        status = fail("%s: out of memory", path);
    if (!status)
        status = write_json(path, root);
    json_decref(root);
    json_decref(files);
    return status;
}

/* Write one file of arrays, and add it to `files`. */
static int put_arrays(json_t *files, const char *dir, const char *name, const struct params *p,
                      const struct arrays_family *family, int families)
{
    char path[PATH_MAX];
    struct xxh3 digest;
    if (rundir_path(dir, name, path) || arrays_save(path, p, family, families, &digest))
        return -1;
    return json_object_set_new(files, name, file_to_json(path, &digest))
               ? fail("%s: out of memory", path)
               : 0;
}

/* The running average is a checkpoint of parameters alone inside of the other. */
static int average_dir(const char *dir, char path[PATH_MAX], bool make)
{
    if (rundir_path(dir, STATE_AVERAGE, path))
        return -1;
    return make && mkdir(path, 0777) ? fail("%s: %s", path, strerror(errno)) : 0;
}

static int fill_average(const struct state *s, const struct params *p, const char *dir)
{
    char path[PATH_MAX];
    const struct arrays_family averages = {"", p->average};
    if (average_dir(dir, path, true))
        return -1;
    json_t *files = json_object();
    if (!put_arrays(files, path, PARAMS, p, &averages, 1))
        return put_state(s, path, files, 0);
    json_decref(files);
    return -1;
}

/* Fill a directory; its name is not yet the checkpoint's. */
static int fill(const struct state *s, const struct params *p, const char *dir)
{
    const struct arrays_family masters = {"", p->master};
    const struct arrays_family moments[] = {{"mu/", p->m}, {"nu/", p->v}, {"mean/", p->mean}};
    if (mkdir(dir, 0777))
        return fail("%s: %s", dir, strerror(errno));
    json_t *files = json_object();
    if (!put_arrays(files, dir, PARAMS, p, &masters, 1) &&
        (!p->m || !put_arrays(files, dir, MOMENTS, p, moments, p->mean ? 3 : 2)) &&
        (!p->average || !fill_average(s, p, dir)))
        return put_state(s, dir, files, 0);
    json_decref(files);
    return -1;
}

/* Give the whole directory its name, in place of an older one if there is one. */
static int publish(const char *part, const char *path)
{
    char old[PATH_MAX];
    if (snprintf(old, sizeof old, "%s.old.%ld", path, (long)getpid()) >= (int)sizeof old)
        return fail("%s: the path is too long", path);
    bool replaces = !rename(path, old);
    if (!replaces && errno != ENOENT)
        return fail("%s: cannot be replaced: %s", path, strerror(errno));
    if (rename(part, path)) {
        fail("%s: %s", path, strerror(errno));
        if (replaces)
            (void)!rename(old, path);
        return -1;
    }
    return sync_parent(path) || (replaces && rundir_remove(old)) ? -1 : 0;
}

/* ---- writing by many ranks ----------------------------------------------------------------- */

enum { RANK_NAME_BYTES = 64 };

/* "params-00003-of-00008.safetensors" */
static char *rank_name(char name[RANK_NAME_BYTES], const char *whole, int rank, int ranks)
{
    snprintf(name, RANK_NAME_BYTES, "%.*s-%05d-of-%05d.safetensors", (int)strcspn(whole, "."),
             whole, rank, ranks);
    return name;
}

/* Where a checkpoint lies until all ranks have written their files. */
static int part_dir(char path[PATH_MAX], const char *run_dir, int64_t step)
{
    char name[64];
    snprintf(name, sizeof name, "step_%" PRId64 ".part.ranks", step);
    return rundir_path(run_dir, name, path);
}

int state_begin_ranks(const char *run_dir, int64_t step, bool has_average)
{
    char part[PATH_MAX], average[PATH_MAX];
    if (part_dir(part, run_dir, step) || rundir_remove(part))
        return -1;
    if (mkdir(part, 0777))
        return fail("%s: %s", part, strerror(errno));
    return has_average ? average_dir(part, average, true) : 0;
}

static int save_file(struct state_file *file, const char *dir, const char *whole,
                     const struct params *p, const struct arrays_family *family, int families)
{
    char path[PATH_MAX], name[RANK_NAME_BYTES];
    struct stat st;
    rank_name(name, whole, p->mesh.rank, mesh_ranks(&p->mesh));
    if (rundir_path(dir, name, path) || pieces_save(path, p, family, families, &file->digest))
        return -1;
    if (stat(path, &st))
        return fail("%s: %s", path, strerror(errno));
    file->bytes = (uint64_t)st.st_size;
    return 0;
}

int state_save_rank(struct state_files *files, const struct params *p, const char *run_dir,
                    int64_t step)
{
    char part[PATH_MAX], average[PATH_MAX];
    const struct arrays_family masters = {"", p->master}, averages = {"", p->average};
    const struct arrays_family moments[] = {{"mu/", p->m}, {"nu/", p->v}, {"mean/", p->mean}};
    *files = (struct state_files){0};
    if (part_dir(part, run_dir, step) || average_dir(part, average, false) ||
        save_file(&files->params, part, PARAMS, p, &masters, 1) ||
        save_file(&files->moments, part, MOMENTS, p, moments, p->mean ? 3 : 2))
        return -1;
    return p->average ? save_file(&files->average, average, PARAMS, p, &averages, 1) : 0;
}

/* Rank r's file under the name of its kind. */
static void name_file(json_t *files, const char *whole, int r, int ranks,
                      const struct state_file *of)
{
    char name[RANK_NAME_BYTES];
    json_object_set_new(files, rank_name(name, whole, r, ranks),
                        json_pack("{s:I, s:s}", "bytes", (json_int_t)of->bytes, "xxh3",
                                  of->digest.hex));
}

int state_end_ranks(const struct state *s, const char *run_dir, const struct state_files *files,
                    int ranks)
{
    char part[PATH_MAX], path[PATH_MAX], average[PATH_MAX], name[32];
    json_t *all = json_object(), *averages = json_object();
    for (int r = 0; r < ranks; r++) {
        name_file(all, PARAMS, r, ranks, &files[r].params);
        name_file(all, MOMENTS, r, ranks, &files[r].moments);
        name_file(averages, PARAMS, r, ranks, &files[r].average);
    }
    snprintf(name, sizeof name, "step_%" PRId64, s->step);
    int status = part_dir(part, run_dir, s->step) || rundir_path(run_dir, name, path) ||
                         average_dir(part, average, false)
                     ? -1
                     : 0;
    if (!status && files->average.bytes)
        status = put_state(s, average, json_incref(averages), ranks);
    if (!status)
        status = put_state(s, part, json_incref(all), ranks) || publish(part, path) ? -1 : 0;
    json_decref(all);
    json_decref(averages);
    return status;
}

int state_save(const struct state *s, const struct params *p, const char *run_dir)
{
    char path[PATH_MAX], part[PATH_MAX], name[32];
    snprintf(name, sizeof name, "step_%" PRId64, s->step);
    if (rundir_path(run_dir, name, path))
        return -1;
    if (snprintf(part, sizeof part, "%s.part.%ld", path, (long)getpid()) >= (int)sizeof part)
        return fail("%s: the path is too long", path);
    if (!fill(s, p, part) && !publish(part, path))
        return 0;
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", why());
    if (rundir_remove(part))
        return fail("%s; and %s", sentence, why());
    return fail("%s", sentence);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* A file that state.json names, and its hash. */
static int read_file(const json_t *root, const char *step_dir, const char *name,
                     struct xxh3 *digest)
{
    char path[PATH_MAX];
    json_int_t bytes;
    const char *hex;
    struct stat st;
    if (rundir_path(step_dir, name, path))
        return -1;
    if (json_unpack((json_t *)root, "{s:{s:{s:I, s:s}}}", "files", name, "bytes", &bytes, "xxh3",
                    &hex) ||
        strlen(hex) != 32)
        return fail("%s/%s: does not tell the length and hash of %s", step_dir, STATE, name);
    if (stat(path, &st))
        return fail("%s: %s", path, strerror(errno));
    if (st.st_size != bytes)
        return fail("%s: %lld bytes, but %s says %lld; the checkpoint is not whole", path,
                    (long long)st.st_size, STATE, (long long)bytes);
    memcpy(digest->hex, hex, sizeof digest->hex);
    return 0;
}

/* The object in step_dir/state.json; the caller's reference, or NULL with why(). */
static json_t *open_json(const char *step_dir)
{
    char path[PATH_MAX];
    struct map m;
    if (rundir_path(step_dir, STATE, path) || map_open(&m, path))
        return NULL;
    json_error_t error;
    json_t *root = json_loadb((const char *)m.data, m.bytes, JSON_REJECT_DUPLICATES, &error);
    map_close(&m);
    json_int_t format = json_integer_value(json_object_get(root, "format"));
    if (root && format == FORMAT)
        return root;
    if (!root)
        fail("%s: line %d: %s", path, error.line, error.text);
    else
        fail("%s: not a checkpoint of format %d, which this version reads", path, (int)FORMAT);
    json_decref(root);
    return NULL;
}

/* Checkpoints of older versions have no log: empty. */
static int read_log(struct order_log *log, const json_t *all, uint64_t windows)
{
    json_int_t epoch, after, last = 1;
    if (!all)
        return 0;
    if (!json_is_array(all) || json_array_size(all) > ORDER_RESHUFFLES)
        return -1;
    for (size_t i = 0; i < json_array_size(all); i++) {
        if (json_unpack(json_array_get(all, i), "[I, I!]", &epoch, &after) || epoch < last ||
            after < 0 || (uint64_t)after >= windows)
            return -1;
        log->list[log->count++] = (struct order_reshuffle){(uint64_t)epoch, (uint64_t)after};
        last = epoch;
    }
    return 0;
}

static int read_data(struct state_data *d, const json_t *root, const char *step_dir)
{
    const char *order, *manifest;
    json_int_t seed, windows, seq, batch, epoch, position;
    if (json_is_null(json_object_get(root, "data")))
        return 0;
    if (json_unpack((json_t *)json_object_get(root, "data"),
                    "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "order", &order, "seed", &seed,
                    "windows", &windows, "seq_length", &seq, "global_batch_size", &batch, "epoch",
                    &epoch, "position", &position, "manifest", &manifest) ||
        strlen(order) >= sizeof d->order || strlen(manifest) >= sizeof d->manifest.hex ||
        windows < 1 || seq < 1 || batch < 1 || epoch < 1 || position < 0 || position > windows)
        return fail("%s/%s: \"data\" does not tell a place in a dataset", step_dir, STATE);
    *d = (struct state_data){.seed = seed,
                             .windows = (uint64_t)windows,
                             .seq_length = (uint64_t)seq,
                             .global_batch_size = (uint64_t)batch,
                             .epoch = (uint64_t)epoch,
                             .position = (uint64_t)position};
    strcpy(d->order, order);
    strcpy(d->manifest.hex, manifest);
    const json_t *log = json_object_get(json_object_get(root, "data"), "reshuffles");
    if (read_log(&d->reshuffles, log, d->windows))
        return fail("%s/%s: \"reshuffles\" are not up to %d pairs of an epoch and a place in it",
                    step_dir, STATE, (int)ORDER_RESHUFFLES);
    return 0;
}

/* How many ranks wrote it; 0: one, in whole arrays. */
static int ranks_of(const json_t *root)
{
    json_int_t ranks = json_integer_value(json_object_get(root, "ranks"));
    return ranks > 0 && ranks <= 99999 ? (int)ranks : 0;
}

static const char *file_name(char name[RANK_NAME_BYTES], const char *whole, int rank, int ranks)
{
    return ranks ? rank_name(name, whole, rank, ranks) : whole;
}

static int read_members(struct state *s, json_t *root, const char *step_dir)
{
    char path[PATH_MAX];
    struct xxh3 unused;
    json_t *config, *flags;
    json_int_t step;
    int milestone;
    if (rundir_path(step_dir, STATE, path))
        return -1;
    if (json_unpack(root, "{s:I, s:b, s:F, s:o, s:o}", "step", &step, "milestone", &milestone,
                    "elapsed_s", &s->elapsed_s, "config", &config, "flags", &flags) ||
        step < 1 || !json_is_object(flags))
        return fail("%s: a member is missing or of the wrong kind", path);
    s->step = step;
    s->milestone = milestone;
    s->flags = json_incref(flags);
    s->spikes = json_incref(json_object_get(root, "spikes"));
    if (config_load(&s->config, "125m") || config_from_json(&s->config, config, path))
        return -1;
    char name[RANK_NAME_BYTES];
    int ranks = ranks_of(root);
    s->has_moments =
        json_object_get(json_object_get(root, "files"), file_name(name, MOMENTS, 0, ranks));
    if (read_data(&s->data, root, step_dir))
        return -1;
    for (int r = 0; r < ranks || r == 0; r++)
        if (read_file(root, step_dir, file_name(name, PARAMS, r, ranks),
                      r ? &unused : &s->params) ||
            (s->has_moments &&
             read_file(root, step_dir, file_name(name, MOMENTS, r, ranks), &unused)))
            return -1;
    return 0;
}

int state_read(struct state *s, const char *step_dir)
{
    *s = (struct state){0};
    json_t *root = open_json(step_dir);
    if (!root)
        return -1;
    int status = read_members(s, root, step_dir);
    json_decref(root);
    if (status)
        state_close(s);
    return status;
}

int state_note_reshuffles(const char *step_dir, const struct order_log *log)
{
    char path[PATH_MAX];
    json_t *root = open_json(step_dir);
    if (!root)
        return -1;
    int status =
        rundir_path(step_dir, STATE, path) ||
                json_object_set_new(json_object_get(root, "data"), "reshuffles", log_to_json(log))
            ? fail("%s/%s: has no \"data\" to note reshuffles in", step_dir, STATE)
            : write_json(path, root);
    json_decref(root);
    return status;
}

void state_close(struct state *s)
{
    json_decref(s->spikes);
    json_decref(s->flags);
    *s = (struct state){0};
}

/* The files of all ranks that wrote it, to this rank of whatever mesh. */
static int load_pieces(struct params *p, const json_t *root, const char *step_dir,
                       const char *whole, const struct arrays_family *family, int families)
{
    char name[RANK_NAME_BYTES];
    int ranks = ranks_of(root), files = ranks ? ranks : 1, status = 0;
    char(*path)[PATH_MAX] = calloc((size_t)files, sizeof *path);
    const char **each = calloc((size_t)files, sizeof *each);
    struct xxh3 *digest = calloc((size_t)files, sizeof *digest);
    if (!path || !each || !digest)
        status = fail("%s: out of memory", step_dir);
    for (int r = 0; r < files && !status; r++) {
        const char *file = file_name(name, whole, r, ranks);
        each[r] = path[r];
        status = read_file(root, step_dir, file, &digest[r]) || rundir_path(step_dir, file, path[r])
                     ? -1
                     : 0;
    }
    if (!status)
        status = pieces_load(each, digest, files, p, family, families);
    free(digest);
    free(each);
    free(path);
    return status;
}

static int load(struct params *p, const char *step_dir, const char *whole,
                const struct arrays_family *family, int families)
{
    char path[PATH_MAX], name[RANK_NAME_BYTES];
    struct xxh3 digest;
    json_t *root = open_json(step_dir);
    if (!root)
        return -1;
    int ranks = ranks_of(root);
    if (!json_object_get(json_object_get(root, "files"), file_name(name, whole, 0, ranks))) {
        json_decref(root);
        return fail("%s/%s: does not name %s: this checkpoint is of parameters alone, which "
                    "--load_part=trainstate_params begins a run with",
                    step_dir, STATE, whole);
    }
    int status;
    if (ranks || mesh_ranks(&p->mesh) > 1)
        status = load_pieces(p, root, step_dir, whole, family, families);
    else
        status = read_file(root, step_dir, whole, &digest) || rundir_path(step_dir, whole, path) ||
                         arrays_load(path, p, family, families, &digest)
                     ? -1
                     : 0;
    json_decref(root);
    return status;
}

int state_load_params(struct params *p, const char *step_dir)
{
    const struct arrays_family masters = {"", p->master};
    if (load(p, step_dir, PARAMS, &masters, 1))
        return -1;
    params_refresh(p);
    return 0;
}

int state_load_all(struct params *p, const char *step_dir)
{
    const struct arrays_family moments[] = {{"mu/", p->m}, {"nu/", p->v}, {"mean/", p->mean}};
    int families = p->mean ? 3 : 2;
    return state_load_params(p, step_dir) || load(p, step_dir, MOMENTS, moments, families) ? -1 : 0;
}

int state_load_average(struct params *p, const char *step_dir)
{
    char path[PATH_MAX];
    const struct arrays_family averages = {"", p->average};
    if (average_dir(step_dir, path, false))
        return -1;
    if (!access(path, F_OK))
        return load(p, path, PARAMS, &averages, 1);
    say("%s: has no running average: it begins with the parameters", step_dir);
    device_copy(p->average, p->master, p->floats * sizeof *p->average);
    return 0;
}

/* RUN/average: the directory of the run into `run`. */
static bool is_average_of(char run[PATH_MAX], const char *path)
{
    size_t end = strlen(path), n = strlen(STATE_AVERAGE);
    while (end && path[end - 1] == '/')
        end--;
    bool is = end > n && end < PATH_MAX && path[end - n - 1] == '/' &&
              !memcmp(path + end - n, STATE_AVERAGE, n);
    snprintf(run, PATH_MAX, "%.*s", is ? (int)(end - n - 1) : 0, path);
    return is;
}

int state_find(char step_dir[PATH_MAX], const char *path)
{
    char json[PATH_MAX], name[32], run[PATH_MAX], newest[PATH_MAX];
    int64_t step;
    if (rundir_path(path, STATE, json))
        return -1;
    if (!access(json, F_OK)) {
        if (snprintf(step_dir, PATH_MAX, "%s", path) >= PATH_MAX)
            return fail("%s: the path is too long", path);
        return 0;
    }
    if (is_average_of(run, path)) {
        if (state_find(newest, run) || average_dir(newest, step_dir, false))
            return -1;
        return access(step_dir, F_OK)
                   ? fail("%s: has no running average, which --ema_decay keeps", newest)
                   : 0;
    }
    if (rundir_latest(path, &step))
        return -1;
    if (!step)
        return fail("%s: neither a checkpoint (no %s) nor a run with one (no latest)", path, STATE);
    snprintf(name, sizeof name, "step_%" PRId64, step);
    return rundir_path(path, name, step_dir);
}
