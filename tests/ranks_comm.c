/* ranks_comm.c -- the collectives: every one along every axis, and what they count. Alone, or as
   one of several ranks started by tests/cli/mesh.sh, with the mesh as its argument. With 1,1,1 the
   library is opened for the one rank too, which programs do without. */
#include "check.h"
#include "comm.h"
#include "device.h"
#include "report.h"
#include "team.h"

#include <stdlib.h>
#include <string.h>

enum { COUNT = 1000 };

static struct mesh mesh;

/* A value that tells rank and place, exact in float and in sums. */
static float value(int rank, size_t i)
{
    return (float)(rank + 1) * 64 + (float)(i % 61);
}

/* World rank of place k along an axis, for this rank's line. */
static int rank_at(enum comm_axis axis, int k)
{
    int dp = mesh_dp_rank(&mesh), fsdp = mesh_fsdp_rank(&mesh), mp = mesh_mp_rank(&mesh);
    switch (axis) {
    case COMM_DP:
        dp = k;
        break;
    case COMM_FSDP:
        fsdp = k;
        break;
    case COMM_MP:
        mp = k;
        break;
    case COMM_DATA:
        dp = k / mesh.fsdp;
        fsdp = k % mesh.fsdp;
        break;
    default:
        return k;
    }
    return (dp * mesh.fsdp + fsdp) * mesh.mp + mp;
}

static void fill(float *host, float *device, int rank, size_t count)
{
    for (size_t i = 0; i < count; i++)
        host[i] = value(rank, i);
    device_put(device, host, count * sizeof *host);
}

static void test_reduce(enum comm_axis axis, float *host, float *device)
{
    fill(host, device, mesh.rank, COUNT);
    comm_wait(comm_all_reduce(device, COUNT, COMM_F32, axis));
    device_get(host, device, COUNT * sizeof *host);
    bool right = true;
    for (size_t i = 0; i < COUNT; i++) {
        float sum = 0;
        for (int k = 0; k < comm_ranks(axis); k++)
            sum += value(rank_at(axis, k), i);
        right &= host[i] == sum;
    }
    CHECK(right);
}

static void test_gather(enum comm_axis axis, float *host, float *device, bool in_place)
{
    size_t ranks = (size_t)comm_ranks(axis), own = (size_t)comm_rank(axis) * COUNT;
    float *from = in_place ? device + own : device + ranks * COUNT;
    fill(host, from, mesh.rank, COUNT);
    comm_wait(comm_all_gather(device, from, COUNT, COMM_F32, axis));
    device_get(host, device, ranks * COUNT * sizeof *host);
    bool right = true;
    for (size_t k = 0; k < ranks; k++)
        for (size_t i = 0; i < COUNT; i++)
            right &= host[k * COUNT + i] == value(rank_at(axis, (int)k), i);
    CHECK(right);
}

static void test_scatter(enum comm_axis axis, float *host, float *device, bool in_place)
{
    size_t ranks = (size_t)comm_ranks(axis), own = (size_t)comm_rank(axis) * COUNT;
    float *to = in_place ? device + own : device + ranks * COUNT;
    fill(host, device, mesh.rank, ranks * COUNT);
    comm_wait(comm_reduce_scatter(to, device, COUNT, COMM_F32, axis));
    device_get(host, to, COUNT * sizeof *host);
    bool right = true;
    for (size_t i = 0; i < COUNT; i++) {
        float sum = 0;
        for (int k = 0; k < comm_ranks(axis); k++)
            sum += value(rank_at(axis, k), own + i);
        right &= host[i] == sum;
    }
    CHECK(right);
}

static void test_broadcast(enum comm_axis axis, float *host, float *device)
{
    int root = comm_ranks(axis) - 1;
    fill(host, device, mesh.rank, COUNT);
    comm_wait(comm_broadcast(device, COUNT, COMM_F32, root, axis));
    device_get(host, device, COUNT * sizeof *host);
    CHECK(host[0] == value(rank_at(axis, root), 0) &&
          host[COUNT - 1] == value(rank_at(axis, root), COUNT - 1));
}

/* Powers of two and small sums of them are exact in bf16; so are doubles, of course. */
static void test_types(enum comm_axis axis, void *device)
{
    uint16_t halves[3] = {0x3f80, 0x4000, 0xc080}; /* 1, 2, -4 */
    double wide[2] = {1e-300, 1.0 + 0x1p-52};
    int ranks = comm_ranks(axis);
    device_put(device, halves, sizeof halves);
    comm_wait(comm_all_reduce(device, 3, COMM_BF16, axis));
    device_get(halves, device, sizeof halves);
    float first;
    uint32_t bits = (uint32_t)halves[0] << 16;
    memcpy(&first, &bits, sizeof first);
    CHECK(first == (float)ranks && (halves[2] & 0x8000));
    device_put(device, wide, sizeof wide);
    comm_wait(comm_all_reduce(device, 2, COMM_F64, axis));
    device_get(wide, device, sizeof wide);
    CHECK(wide[0] > 0 && wide[1] == (1.0 + 0x1p-52) * ranks);
}

static void test_axis(enum comm_axis axis, float *host, float *device)
{
    size_t ranks = (size_t)comm_ranks(axis), bytes = COUNT * sizeof(float);
    struct comm_traffic before = comm_traffic_of(axis);
    test_reduce(axis, host, device);
    test_gather(axis, host, device, true);
    test_gather(axis, host, device, false);
    test_scatter(axis, host, device, true);
    test_scatter(axis, host, device, false);
    test_broadcast(axis, host, device);
    comm_barrier(axis);
    struct comm_traffic after = comm_traffic_of(axis);
    CHECK(after.calls - before.calls == (ranks > 1 ? 6 : 0));
    CHECK(after.bytes - before.bytes == 2 * (bytes * (ranks - 1) / ranks) +
                                            4 * bytes * (ranks - 1) + bytes * (ranks - 1) / ranks);
    test_types(axis, device);
}

static int open_alone(void)
{
    struct comm_mesh alone = {.dp = 1, .fsdp = 1, .mp = 1};
    const char *trouble = comm_make_id(alone.id);
    if (!trouble)
        trouble = comm_open(&alone);
    return trouble ? fail("%s", trouble) : 0;
}

int main(int argc, char **argv)
{
    struct team team;
    team_find(&team, "ranks_comm");
    team_shape(&team, argc > 1 ? argv[1] : "1,1,1", 30);
    if (team_meet(&team, 30))
        die("%s", why());
    mesh = team.mesh;
    const char *trouble = device_open(1);
    if (trouble)
        die("%s", trouble);
    case_begin("collectives");
    if (team_join(&team) || (argc > 1 && team_is_alone(&team) && open_alone()))
        team_die(&team);
    size_t room = (size_t)(team.ranks.count + 1) * COUNT;
    float *host = calloc(room, sizeof *host), *device = device_alloc(room * sizeof *device);
    for (int axis = 0; host && device && axis < COMM_AXES; axis++)
        test_axis((enum comm_axis)axis, host, device);
    CHECK(!comm_error() && !device_sync());
    case_end("");
    free(host);
    device_free(device);
    team_close(&team);
    device_close();
    return check_finish();
}
