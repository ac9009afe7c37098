/* run_ranks.c -- what the ranks of a run do together. */
#include "run_ranks.h"
#include "checksum.h"
#include "comm.h"
#include "device.h"
#include "file.h"
#include "report.h"
#include "version.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is_alone(const struct run *r)
{
    return mesh_ranks(&r->options->mesh) == 1;
}

bool run_is_first(const struct run *r)
{
    return r->options->mesh.rank == 0;
}

/* ---- agreeing ------------------------------------------------------------------------------ */

/* The program's own bytes, for versions alone do not tell one build from another. */
static struct xxh3 program_digest(void)
{
    struct xxh3 digest = {""};
    struct map m;
    if (!map_open(&m, "/proc/self/exe")) {
        digest = xxh3_of(m.data, m.bytes);
        map_close(&m);
    }
    return digest;
}

int run_agree_program(struct peers *peers)
{
    if (peers->ranks.count == 1)
        return 0;
    json_t *flags = options_to_json(), *text;
    const char *name;
    struct xxh3 digest = program_digest();
    size_t most = json_object_size(flags) + 2;
    struct peers_claim *claims = calloc(most, sizeof *claims);
    if (!flags || !claims) {
        json_decref(flags);
        free(claims);
        return fail("out of memory");
    }
    int count = 0;
    claims[count++] = (struct peers_claim){"the version", version_text()};
    claims[count++] = (struct peers_claim){"the program's XXH3-128", digest.hex};
    json_object_foreach(flags, name, text)
    {
        if (strcmp(name, "quiet")) /* only rank 0 speaks */
            claims[count++] = (struct peers_claim){name, json_string_value(text)};
    }
    int status = peers_agree(peers, claims, count);
    free(claims);
    json_decref(flags);
    return status;
}

int run_agree_data(struct run *r)
{
    char train[32], validation[32];
    snprintf(train, sizeof train, "%" PRIu64, r->train.windows);
    snprintf(validation, sizeof validation, "%" PRIu64, r->validation.windows);
    const struct peers_claim claims[] = {
        {"the dataset's directory", r->dataset.dir},
        {"the XXH3-128 of the dataset's manifest.jsonl", r->dataset.digest.hex},
        {"the number of rows in train.npy", train},
        {"the number of rows in validation.npy", validation},
    };
    return peers_agree(r->peers, claims, (int)(sizeof claims / sizeof *claims));
}

int run_agree_begin(struct run *r, const char *step_dir)
{
    const struct peers_claim claim = {"the checkpoint to begin from", step_dir};
    return peers_agree(r->peers, &claim, 1);
}

/* ---- joining ------------------------------------------------------------------------------- */

int run_join(struct run *r)
{
    const struct mesh *m = &r->options->mesh;
    if (is_alone(r))
        return 0;
    struct comm_mesh mesh = {.rank = m->rank, .dp = m->dp, .fsdp = m->fsdp, .mp = m->mp};
    const char *trouble = run_is_first(r) ? comm_make_id(mesh.id) : NULL;
    if (trouble)
        return fail("%s", trouble);
    if (peers_share(r->peers, mesh.id, sizeof mesh.id) || peers_watch(r->peers))
        return -1;
    trouble = comm_open(&mesh);
    if (trouble)
        return fail("%s", trouble);
    r->sums = device_alloc((RUN_SUMS + (size_t)mesh_ranks(m)) * sizeof *r->sums);
    if (!r->sums)
        return fail("out of memory on the device");
    say("%d ranks: dp %d, fsdp %d, mp %d, by %s", mesh_ranks(m), m->dp, m->fsdp, m->mp,
        comm_describe());
    return 0;
}

void run_part(struct run *r)
{
    device_free(r->sums);
    r->sums = NULL;
}

/* ---- saying -------------------------------------------------------------------------------- */

/* What broke, if something did. */
static int broken(struct run *r)
{
    const char *trouble = comm_error();
    if (!trouble)
        trouble = device_sync();
    peers_beat(r->peers);
    return trouble ? fail("%s", trouble) : 0;
}

int run_sum(struct run *r, double *x, int count)
{
    if (is_alone(r))
        return 0;
    device_put(r->sums, x, sizeof *x * (size_t)count);
    comm_wait(comm_all_reduce(r->sums, (size_t)count, COMM_F64, COMM_WORLD));
    device_get(x, r->sums, sizeof *x * (size_t)count);
    return broken(r);
}

int run_first_of(struct run *r, bool so, char *text, size_t bytes, int *rank)
{
    int ranks = mesh_ranks(&r->options->mesh), self = r->options->mesh.rank;
    *rank = so ? 0 : -1;
    if (is_alone(r))
        return 0;
    double *said = r->sums + RUN_SUMS, mine = so, words[RUN_SUMS] = {0};
    double *all = calloc((size_t)ranks, sizeof *all);
    if (!all)
        return fail("out of memory");
    device_put(said + self, &mine, sizeof mine);
    comm_wait(comm_all_gather(said, said + self, 1, COMM_F64, COMM_WORLD));
    device_get(all, said, sizeof *all * (size_t)ranks);
    *rank = -1;
    for (int i = ranks - 1; i >= 0; i--)
        if (all[i] > 0)
            *rank = i;
    free(all);
    if (*rank >= 0) { /* as much as fits */
        size_t n = bytes < sizeof words ? bytes : sizeof words;
        memcpy(words, text, n);
        device_put(r->sums, words, sizeof words);
        comm_wait(comm_broadcast(r->sums, RUN_SUMS, COMM_F64, *rank, COMM_WORLD));
        device_get(words, r->sums, sizeof words);
        memcpy(text, words, n);
        text[n - 1] = 0;
    }
    return broken(r);
}

/* ---- checkpoints --------------------------------------------------------------------------- */

/* The sentence of the lowest rank that failed becomes that of all. */
static int share_failure(struct run *r, int status)
{
    char sentence[RUN_SUMS * sizeof(double)] = "";
    int rank;
    if (status)
        snprintf(sentence, sizeof sentence, "%s", why());
    if (run_first_of(r, status, sentence, sizeof sentence, &rank))
        return -1;
    if (rank < 0)
        return 0;
    /* Its own rank tells it whole. */
    return rank == r->options->mesh.rank ? -1 : fail("rank %d: %s", rank, sentence);
}

int run_save_prepare(struct run *r)
{
    if (is_alone(r))
        return 0;
    int status = run_is_first(r) ? state_begin_ranks(r->dir.path, r->step) : 0;
    return share_failure(r, status);
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
        status = broken(r);
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
    if (share_failure(r, status) || gather_files(r, files)) {
        free(files);
        return -1;
    }
    status = run_is_first(r) ? saver_publish(&r->saver, files) : 0;
    free(files);
    status = share_failure(r, status);
    *whole = !status;
    return status;
}
