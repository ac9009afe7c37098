/* comm_mesh.h -- places in the mesh and what was sent, for the files that carry it. */
#ifndef COMM_MESH_H
#define COMM_MESH_H

#include "comm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Set, or with NULL forget, who this process is; what was sent begins at nothing. */
void comm_mesh_set(const struct comm_mesh *mesh);

/* Ranks with the same colour form one line along the axis; this rank's. */
int comm_mesh_colour(enum comm_axis axis);

/* Count a collective whose ranks together hold `bytes`, which travel `times` over. */
void comm_mesh_count(enum comm_axis axis, size_t bytes, int times);

size_t comm_type_bytes(enum comm_type type);

#ifdef __cplusplus
}
#endif
#endif
