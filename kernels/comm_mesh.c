/* comm_mesh.c -- places in the mesh, and what was sent along its axes. */
#include "comm_mesh.h"

#include <string.h>

static struct comm_mesh mesh = {0, 1, 1, 1, {0}};
static struct comm_traffic sent[COMM_AXES];

void comm_mesh_set(const struct comm_mesh *m)
{
    mesh = m ? *m : (struct comm_mesh){.dp = 1, .fsdp = 1, .mp = 1};
    memset(sent, 0, sizeof sent);
}

int comm_ranks(enum comm_axis axis)
{
    switch (axis) {
    case COMM_DP:
        return mesh.dp;
    case COMM_FSDP:
        return mesh.fsdp;
    case COMM_MP:
        return mesh.mp;
    case COMM_DATA:
        return mesh.dp * mesh.fsdp;
    default:
        return mesh.dp * mesh.fsdp * mesh.mp;
    }
}

int comm_rank(enum comm_axis axis)
{
    switch (axis) {
    case COMM_DP:
        return mesh.rank / mesh.mp / mesh.fsdp;
    case COMM_FSDP:
        return mesh.rank / mesh.mp % mesh.fsdp;
    case COMM_MP:
        return mesh.rank % mesh.mp;
    case COMM_DATA:
        return mesh.rank / mesh.mp;
    default:
        return mesh.rank;
    }
}

int comm_mesh_colour(enum comm_axis axis)
{
    switch (axis) {
    case COMM_DP:
        return comm_rank(COMM_FSDP) * mesh.mp + comm_rank(COMM_MP);
    case COMM_FSDP:
        return comm_rank(COMM_DP) * mesh.mp + comm_rank(COMM_MP);
    case COMM_MP:
        return comm_rank(COMM_DATA);
    case COMM_DATA:
        return comm_rank(COMM_MP);
    default:
        return 0;
    }
}

void comm_mesh_count(enum comm_axis axis, size_t bytes, int times)
{
    uint64_t ranks = (uint64_t)comm_ranks(axis);
    sent[axis].calls++;
    sent[axis].bytes += (uint64_t)times * (bytes * (ranks - 1) / ranks);
}

struct comm_traffic comm_traffic_of(enum comm_axis axis)
{
    return sent[axis];
}

size_t comm_type_bytes(enum comm_type type)
{
    return type == COMM_F32 ? 4 : type == COMM_F64 ? 8 : 2;
}
