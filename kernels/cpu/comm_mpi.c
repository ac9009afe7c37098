/* comm_mpi.c -- collectives over MPI, done when the call returns. */
#include "bf16.h"
#include "comm_mesh.h"
#include "device.h"

#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>

static MPI_Comm lines[COMM_AXES]; /* this rank's line along each axis */
static MPI_Op add_bf16;
static char failure[512]; /* the first, kept; empty while all is well */
static bool is_open;

const char *comm_kind(void)
{
    return "MPI";
}

const char *comm_describe(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    if (MPI_Get_library_version(text, &length))
        return "MPI";
    text[strcspn(text, ",\n")] = 0;
    return text;
}

const char *comm_make_id(unsigned char id[COMM_ID_BYTES])
{
    memset(id, 0, COMM_ID_BYTES);
    return NULL;
}

static bool check(const char *what, int error)
{
    char reason[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (error == MPI_SUCCESS)
        return true;
    MPI_Error_string(error, reason, &length);
    if (!failure[0])
        snprintf(failure, sizeof failure, "MPI: %s: %.400s", what, reason);
    return false;
}

/* ---- bf16, which MPI does not add ---------------------------------------------------------- */

static float widen(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint16_t narrow(float f)
{
    uint32_t bits;
    f = bf16_rounded(f);
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static void sum_bf16(void *from, void *to, int *count, MPI_Datatype *type)
{
    uint16_t *x = from, *y = to;
    (void)type;
    for (int i = 0; i < *count; i++)
        y[i] = narrow(widen(x[i]) + widen(y[i]));
}

/* ---- open and close ------------------------------------------------------------------------ */

static const char *split(const struct comm_mesh *mesh)
{
    static char sentence[512];
    int rank, ranks;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (rank != mesh->rank || ranks != comm_ranks(COMM_WORLD)) {
        snprintf(sentence, sizeof sentence,
                 "MPI says rank %d of %d where the environment says %d of %d: start the program "
                 "with the mpirun of the MPI it was built with (%s)",
                 rank, ranks, mesh->rank, comm_ranks(COMM_WORLD), comm_describe());
        return sentence;
    }
    for (int a = 0; a < COMM_AXES; a++) {
        enum comm_axis axis = (enum comm_axis)a;
        if (!check("split", MPI_Comm_split(MPI_COMM_WORLD, comm_mesh_colour(axis), comm_rank(axis),
                                           &lines[a])))
            return failure;
        MPI_Comm_set_errhandler(lines[a], MPI_ERRORS_RETURN);
    }
    return check("operation", MPI_Op_create(sum_bf16, 1, &add_bf16)) ? NULL : failure;
}

const char *comm_open(const struct comm_mesh *mesh)
{
    int given;
    comm_mesh_set(mesh);
    if (comm_ranks(COMM_WORLD) == 1)
        return NULL;
    if (!check("start", MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given)))
        return failure;
    is_open = true;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    return split(mesh);
}

void comm_close(void)
{
    if (is_open)
        MPI_Finalize();
    is_open = false;
    comm_mesh_set(NULL);
}

/* ---- collectives --------------------------------------------------------------------------- */

static MPI_Datatype datatype(enum comm_type type)
{
    return type == COMM_F32 ? MPI_FLOAT : type == COMM_F64 ? MPI_DOUBLE : MPI_UINT16_T;
}

static MPI_Op sum_of(enum comm_type type)
{
    return type == COMM_BF16 ? add_bf16 : MPI_SUM;
}

/* Whether there is anything to do; counts it. */
static bool begin(enum comm_axis axis, size_t count, enum comm_type type, size_t parts, int times)
{
    if (comm_ranks(axis) == 1 || count == 0 || failure[0])
        return false;
    if (count > INT_MAX) {
        snprintf(failure, sizeof failure, "MPI: %zu values are more than one call can carry",
                 count);
        return false;
    }
    comm_mesh_count(axis, count * parts * comm_type_bytes(type), times);
    return true;
}

uint64_t comm_all_reduce(void *x, size_t count, enum comm_type type, enum comm_axis axis)
{
    if (begin(axis, count, type, 1, 2))
        check("all-reduce", MPI_Allreduce(MPI_IN_PLACE, x, (int)count, datatype(type), sum_of(type),
                                          lines[axis]));
    return 0;
}

static void copy(void *to, const void *from, size_t bytes)
{
    if (to != from)
        device_copy(to, from, bytes);
}

uint64_t comm_all_gather(void *to, const void *from, size_t count, enum comm_type type,
                         enum comm_axis axis)
{
    size_t bytes = count * comm_type_bytes(type);
    copy((char *)to + (size_t)comm_rank(axis) * bytes, from, bytes);
    if (begin(axis, count, type, (size_t)comm_ranks(axis), 1))
        check("all-gather", MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, to, (int)count,
                                          datatype(type), lines[axis]));
    return 0;
}

uint64_t comm_reduce_scatter(void *to, const void *from, size_t count, enum comm_type type,
                             enum comm_axis axis)
{
    size_t ranks = (size_t)comm_ranks(axis), bytes = count * comm_type_bytes(type);
    const char *own = (const char *)from + (size_t)comm_rank(axis) * bytes;
    if (ranks == 1) {
        copy(to, from, bytes);
    } else if (begin(axis, count, type, ranks, 1)) {
        /* MPI's arrays may not overlap. */
        void *sum = to == own ? device_workspace(bytes) : to;
        check("reduce-scatter", MPI_Reduce_scatter_block(from, sum, (int)count, datatype(type),
                                                         sum_of(type), lines[axis]));
        copy(to, sum, bytes);
    }
    return 0;
}

uint64_t comm_broadcast(void *x, size_t count, enum comm_type type, int root, enum comm_axis axis)
{
    if (begin(axis, count, type, 1, 1))
        check("broadcast", MPI_Bcast(x, (int)count, datatype(type), root, lines[axis]));
    return 0;
}

void comm_wait(uint64_t ticket)
{
    (void)ticket;
}

void comm_barrier(enum comm_axis axis)
{
    if (comm_ranks(axis) > 1 && !failure[0])
        check("barrier", MPI_Barrier(lines[axis]));
}

const char *comm_error(void)
{
    return failure[0] ? failure : NULL;
}

/* MPI's failures come back from its calls. */
const char *comm_alarm(void)
{
    return NULL;
}
