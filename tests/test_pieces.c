/* test_pieces.c -- parameters on every mesh: each float is held as often as it should be, begins as
   on one rank, and goes to a checkpoint and from there to any other mesh bit by bit. */
#include "check.h"
#include "config.h"
#include "device.h"
#include "pieces.h"
#include "scratch.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MESHES = 8, MOST_RANKS = 8 };

static const struct mesh meshes[MESHES] = {{1, 1, 1, 0}, {2, 1, 1, 0}, {1, 2, 1, 0}, {1, 1, 2, 0},
                                           {2, 2, 1, 0}, {1, 2, 2, 0}, {2, 2, 2, 0}, {1, 3, 1, 0}};

static struct config config;

/* The parameters of a rank, with start values. */
static struct params open_rank(const struct mesh *mesh, int rank)
{
    struct params p;
    struct mesh m = *mesh;
    m.rank = rank;
    if (params_list_on(&p, &config, &m) || params_alloc(&p, true)) {
        printf("%s\n", why());
        exit(1);
    }
    params_init(&p, 7, 0.02);
    return p;
}

/* Whether what a rank holds of every parameter is what the whole one holds there. */
static bool agrees(const struct params *p, const float *base, const struct params *whole,
                   const float *whole_base)
{
    bool same = true;
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        for (size_t j = 0; j < q->held; j++) {
            size_t at;
            param_run(q, &p->mesh, q->first + j, &at);
            same &= base[q->offset + j] == whole_base[whole->list[i].offset + at];
        }
    }
    return same;
}

static void test_start(const struct mesh *mesh, const struct params *whole)
{
    size_t held = 0, floats = 0, total = 0;
    for (int r = 0; r < mesh_ranks(mesh); r++) {
        struct params p = open_rank(mesh, r);
        CHECK(agrees(&p, p.master, whole, whole->master));
        for (int i = 0; i < p.count; i++)
            held += p.list[i].split >= 0 || mesh_mp_rank(&p.mesh) == 0 ? p.list[i].held : 0;
        floats += p.floats;
        params_close(&p);
    }
    for (int i = 0; i < whole->count; i++)
        total += whole->list[i].whole;
    CHECK(held == total * (size_t)mesh->dp);
    /* What fsdp shares out is stored once, but for the spaces and what mp does not divide. */
    CHECK(floats <=
          whole->floats * (size_t)(mesh->dp * mesh->mp) + (size_t)mesh_ranks(mesh) * 1024);
    CHECK(mesh->mp > 1 || floats < whole->floats * (size_t)mesh->dp * 11 / 10 + 4096);
}

static char path[MOST_RANKS][PATH_MAX];
static const char *paths[MOST_RANKS]; /* the same */
static struct xxh3 digests[MOST_RANKS];

static void save_all(const struct mesh *mesh)
{
    for (int r = 0; r < mesh_ranks(mesh); r++) {
        struct params p = open_rank(mesh, r);
        const struct arrays_family family[] = {{"", p.master}, {"mu/", p.m}};
        for (size_t i = 0; i < p.floats; i++)
            p.m[i] = 3 * p.master[i];
        char name[64];
        snprintf(name, sizeof name, "rank-%d.safetensors", r);
        snprintf(path[r], sizeof path[r], "%s", scratch(name));
        paths[r] = path[r];
        CHECK(pieces_save(paths[r], &p, family, 2, &digests[r]) == 0);
        params_close(&p);
    }
}

static void load_all(const struct mesh *mesh, int files, const struct params *whole)
{
    for (int r = 0; r < mesh_ranks(mesh); r++) {
        struct params p = open_rank(mesh, r);
        device_zero(p.master, p.floats * sizeof *p.master);
        const struct arrays_family family[] = {{"", p.master}, {"mu/", p.m}};
        bool loaded = !pieces_load(paths, digests, files, &p, family, 2);
        if (!loaded)
            printf("     | %s\n", why());
        CHECK(loaded && agrees(&p, p.master, whole, whole->master) &&
              agrees(&p, p.m, whole, whole->m));
        params_close(&p);
    }
}

static void test_round_trips(const struct params *whole)
{
    for (int a = 0; a < MESHES; a++) {
        save_all(&meshes[a]);
        for (int b = 0; b < MESHES; b++)
            load_all(&meshes[b], mesh_ranks(&meshes[a]), whole);
    }
}

/* Files that are not the checkpoint's. */
static void test_refusals(void)
{
    struct mesh two = {1, 2, 1, 0};
    save_all(&two);
    struct params p = open_rank(&MESH_ONE, 0);
    const struct arrays_family family[] = {{"", p.master}, {"mu/", p.m}};
    CHECK(pieces_load(paths, digests, 1, &p, family, 2) && strstr(why(), "of the"));
    const char *twice[] = {paths[0], paths[0]};
    const struct xxh3 same[] = {digests[0], digests[0]};
    CHECK(pieces_load(twice, same, 2, &p, family, 2) && strstr(why(), "of the"));
    CHECK(pieces_load(paths, digests, 2, &p, family, 1) &&
          strstr(why(), "not one of this model's"));
    const struct xxh3 swapped[] = {digests[1], digests[0]};
    CHECK(pieces_load(paths, swapped, 2, &p, family, 2) && strstr(why(), "not those that were"));
    params_close(&p);
}

int main(void)
{
    scratch_make();
    const char *closed = device_open(1);
    if (closed || config_load(&config, "125m-TTT") ||
        config_update(&config, "dict(num_hidden_layers=2, hidden_size=64, num_attention_heads=4, "
                               "intermediate_size=96, vocab_size=50, tie_word_embeddings=False, "
                               "seq_modeling_block='ttt_mlp')")) {
        printf("%s\n", closed ? closed : why());
        return 1;
    }
    struct params whole = open_rank(&MESH_ONE, 0);
    for (size_t i = 0; i < whole.floats; i++)
        whole.m[i] = 3 * whole.master[i];
    case_begin("start-values-on-every-mesh");
    for (int m = 0; m < MESHES; m++)
        test_start(&meshes[m], &whole);
    case_end("");
    case_begin("checkpoints-from-every-mesh-to-every-mesh");
    test_round_trips(&whole);
    case_end("");
    case_begin("files-that-are-not-a-checkpoint");
    test_refusals();
    case_end("");
    case_begin("mp-that-does-not-divide");
    struct params p;
    CHECK(params_list_on(&p, &config, &(struct mesh){1, 1, 3, 0}) &&
          strstr(why(), "num_attention_heads=4"));
    case_end("");
    params_close(&whole);
    device_close();
    return check_finish();
}
