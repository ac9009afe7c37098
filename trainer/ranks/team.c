/* team.c -- the ranks that run one program together. */
#include "team.h"
#include "checksum.h"
#include "comm.h"
#include "device.h"
#include "file.h"
#include "report.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool team_is_alone(const struct team *t)
{
    return t->ranks.count == 1;
}

bool team_is_first(const struct team *t)
{
    return t->ranks.rank == 0;
}

/* ---- beginning ----------------------------------------------------------------------------- */

void team_find(struct team *t, const char *program_name)
{
    *t = (struct team){.mesh = MESH_ONE};
    program = program_name;
    if (ranks_find(&t->ranks))
        die("%s", why());
    if (team_is_alone(t))
        snprintf(t->name, sizeof t->name, "%s", program_name);
    else
        snprintf(t->name, sizeof t->name, "%s rank %d", program_name, t->ranks.rank);
    program = t->name;
}

void team_speak(struct team *t)
{
    program = t->name;
    if (team_is_first(t))
        return;
    quiet = true;
    if (!freopen("/dev/null", "w", stdout))
        die("/dev/null cannot be opened");
}

void team_shape(struct team *t, const char *mesh_dim, double timeout_s)
{
    if (peers_check_timeout(timeout_s) || mesh_parse(&t->mesh, mesh_dim, t->ranks.count))
        misuse("%s", why());
    t->mesh.rank = t->ranks.rank;
}

int team_meet(struct team *t, double timeout_s)
{
    if (peers_open(&t->peers, &t->ranks, timeout_s))
        return -1;
    device_choose(t->ranks.local, t->ranks.here);
    return 0;
}

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

enum { VALUE_BYTES = 4096 };

/* A flag's value, of a list all that was given. */
static const char *value_of(const struct flag *f, char text[VALUE_BYTES])
{
    if (f->kind != FLAG_LIST)
        return flag_text(f, text, VALUE_BYTES);
    const struct flag_list *list = f->value;
    for (int i = 0, n = 0; i < list->count && n < VALUE_BYTES; i++)
        n += snprintf(text + n, (size_t)(VALUE_BYTES - n), "%s%s", i ? ", " : "", list->items[i]);
    return text;
}

int team_agree(struct team *t, const struct program *p)
{
    size_t most = 2;
    struct xxh3 digest = program_digest();
    if (team_is_alone(t))
        return 0;
    for (const struct flag *f = p->flags; f->kind; f++)
        most++;
    struct peers_claim *claims = calloc(most, sizeof *claims);
    char(*value)[VALUE_BYTES] = calloc(most, sizeof *value);
    if (!claims || !value) {
        free(claims);
        free(value);
        return fail("out of memory");
    }
    int count = 0;
    claims[count++] = (struct peers_claim){"the version", version_text()};
    claims[count++] = (struct peers_claim){"the program's XXH3-128", digest.hex};
    for (const struct flag *f = p->flags; f->kind; f++) {
        if (f->kind == FLAG_GROUP || !strcmp(f->name, "quiet")) /* only rank 0 speaks */
            continue;
        claims[count] = (struct peers_claim){f->name, value_of(f, value[count])};
        count++;
    }
    int status = peers_agree(&t->peers, claims, count);
    free(claims);
    free(value);
    return status;
}

int team_join(struct team *t)
{
    const struct mesh *m = &t->mesh;
    if (team_is_alone(t))
        return 0;
    struct comm_mesh mesh = {.rank = m->rank, .dp = m->dp, .fsdp = m->fsdp, .mp = m->mp};
    const char *trouble = team_is_first(t) ? comm_make_id(mesh.id) : NULL;
    if (trouble)
        return fail("%s", trouble);
    t->peers.alarm = comm_alarm;
    if (peers_share(&t->peers, mesh.id, sizeof mesh.id) || peers_watch(&t->peers))
        return -1;
    trouble = comm_open(&mesh);
    if (trouble)
        return fail("%s", trouble);
    t->sums = device_alloc((TEAM_SUMS + (size_t)mesh_ranks(m)) * sizeof *t->sums);
    if (!t->sums)
        return fail("out of memory on the device");
    say("%d ranks: dp %d, fsdp %d, mp %d, by %s", mesh_ranks(m), m->dp, m->fsdp, m->mp,
        comm_describe());
    return 0;
}

/* ---- ending -------------------------------------------------------------------------------- */

void team_close(struct team *t)
{
    device_free(t->sums);
    t->sums = NULL;
    comm_close();
    peers_close(&t->peers);
}

_Noreturn void team_die(struct team *t)
{
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", why());
    if (!atomic_exchange(&t->peers.told, true))
        warn("%s", sentence);
    peers_fail(&t->peers, sentence);
    _exit(1);
}

/* ---- saying -------------------------------------------------------------------------------- */

int team_sound(struct team *t)
{
    const char *trouble = comm_error();
    if (!trouble)
        trouble = device_sync();
    peers_beat(&t->peers);
    return trouble ? fail("%s", trouble) : 0;
}

int team_sum(struct team *t, double *x, int count)
{
    if (team_is_alone(t))
        return 0;
    device_put(t->sums, x, sizeof *x * (size_t)count);
    comm_wait(comm_all_reduce(t->sums, (size_t)count, COMM_F64, COMM_WORLD));
    device_get(x, t->sums, sizeof *x * (size_t)count);
    return team_sound(t);
}

/* x [count] becomes that of a rank. */
static int take_from(struct team *t, int rank, double *x, int count)
{
    device_put(t->sums, x, sizeof *x * (size_t)count);
    comm_wait(comm_broadcast(t->sums, (size_t)count, COMM_F64, rank, COMM_WORLD));
    device_get(x, t->sums, sizeof *x * (size_t)count);
    return team_sound(t);
}

int team_share(struct team *t, double *x, int count)
{
    return team_is_alone(t) ? 0 : take_from(t, 0, x, count);
}

/* One number of every rank, to be freed by the caller; NULL with why(). */
static double *gather(struct team *t, double mine)
{
    int ranks = t->ranks.count, self = t->ranks.rank;
    double *said = t->sums + TEAM_SUMS, *all = calloc((size_t)ranks, sizeof *all);
    if (!all) {
        fail("out of memory");
        return NULL;
    }
    device_put(said + self, &mine, sizeof mine);
    comm_wait(comm_all_gather(said, said + self, 1, COMM_F64, COMM_WORLD));
    device_get(all, said, sizeof *all * (size_t)ranks);
    if (team_sound(t)) {
        free(all);
        return NULL;
    }
    return all;
}

int team_least(struct team *t, double *x)
{
    if (team_is_alone(t))
        return 0;
    double *all = gather(t, *x);
    if (!all)
        return -1;
    for (int i = 0; i < t->ranks.count; i++)
        *x = all[i] < *x ? all[i] : *x;
    free(all);
    return 0;
}

int team_first_of(struct team *t, bool so, char *text, size_t bytes, int *rank)
{
    *rank = so ? 0 : -1;
    if (team_is_alone(t))
        return 0;
    double words[TEAM_SUMS] = {0}, *all = gather(t, so);
    if (!all)
        return -1;
    *rank = -1;
    for (int i = t->ranks.count - 1; i >= 0; i--)
        if (all[i] > 0)
            *rank = i;
    free(all);
    if (*rank < 0)
        return 0;
    size_t n = bytes < sizeof words ? bytes : sizeof words; /* as much as fits */
    memcpy(words, text, n);
    if (take_from(t, *rank, words, TEAM_SUMS))
        return -1;
    memcpy(text, words, n);
    text[n - 1] = 0;
    return 0;
}

int team_status(struct team *t, int status)
{
    char sentence[TEAM_SUMS * sizeof(double)] = "";
    int rank;
    if (status)
        snprintf(sentence, sizeof sentence, "%s", why());
    if (team_first_of(t, status, sentence, sizeof sentence, &rank))
        return -1;
    if (rank < 0)
        return 0;
    /* Its own rank tells it whole. */
    return rank == t->ranks.rank ? -1 : fail("rank %d: %s", rank, sentence);
}

int team_same(struct team *t, const char *name, const char *text)
{
    struct xxh3 mine = xxh3_of(text, strlen(text));
    double first[TEAM_SUMS] = {0};
    memcpy(first, mine.hex, sizeof mine.hex);
    if (team_share(t, first, TEAM_SUMS))
        return -1;
    bool same = !memcmp(first, mine.hex, sizeof mine.hex);
    return team_status(t, same ? 0 : fail("%s is %s, and on rank 0 it is another", name, text));
}
