// cuda/comm.cu -- collectives over NCCL, on a stream of their own. The library is looked for when
// ranks are many, so that a single rank needs none.
#include "comm_mesh.h"
#include "device.h"
#include "launch.cuh"

#include <dlfcn.h>
#include <mutex>
#include <nccl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Events of the last collectives; a ticket older than those is waited for with the oldest of them.
enum { EVENTS = 64 };

// What is called of NCCL.
#define NCCL_CALLS(X)     \
    X(GetVersion)         \
    X(GetErrorString)     \
    X(GetUniqueId)        \
    X(CommInitRankConfig) \
    X(CommSplit)          \
    X(CommGetAsyncError)  \
    X(CommDestroy)        \
    X(AllReduce)          \
    X(AllGather)          \
    X(ReduceScatter)      \
    X(Broadcast)

static struct {
#define MEMBER(name) decltype(&nccl##name) name;
    NCCL_CALLS(MEMBER)
} nccl;

static ncclComm_t lines[COMM_AXES]; // this rank's line along each axis
static cudaStream_t stream;
static cudaEvent_t before, done[EVENTS];
static uint64_t last_ticket;
static float *one;        // what a barrier adds up
static char failure[512]; // the first, kept; empty while all is well

// Two threads never call NCCL at once; comm_alarm looks only while the lines are whole.
static std::mutex calling;
static bool joined;

// ---- what went wrong --------------------------------------------------------------------------

static bool is_well(const char *what, ncclResult_t r)
{
    if (r == ncclSuccess || r == ncclInProgress)
        return true;
    if (!failure[0])
        snprintf(failure, sizeof failure, "NCCL: %.100s: %.300s", what, nccl.GetErrorString(r));
    return false;
}

static bool is_well_cuda(const char *what, cudaError_t e)
{
    if (e && !failure[0])
        snprintf(failure, sizeof failure, "%.100s: %.300s", what, cudaGetErrorString(e));
    return !e;
}

// Calls return before they are done; a rank that never answers is found by those who watch it.
static bool settle(const char *what, ncclComm_t comm, ncclResult_t r)
{
    do {
        if (!is_well(what, r) || !is_well(what, nccl.CommGetAsyncError(comm, &r)))
            return false;
    } while (r == ncclInProgress && !usleep(100));
    return is_well(what, r);
}

const char *comm_error(void)
{
    std::lock_guard<std::mutex> hold(calling);
    for (int a = 0; a < COMM_AXES; a++) {
        ncclResult_t r = ncclSuccess;
        if (lines[a] && is_well("state", nccl.CommGetAsyncError(lines[a], &r)))
            is_well("a collective", r);
    }
    return failure[0] ? failure : NULL;
}

const char *comm_alarm(void)
{
    static char sentence[512];
    const char *trouble = NULL;
    if (!calling.try_lock()) // the other thread hears itself what its call says
        return NULL;
    for (int a = 0; a < COMM_AXES && joined && !trouble; a++) {
        ncclResult_t r = ncclSuccess, asked = ncclSuccess;
        if (lines[a])
            asked = nccl.CommGetAsyncError(lines[a], &r);
        if (asked != ncclSuccess)
            r = asked;
        if (r != ncclSuccess && r != ncclInProgress) {
            snprintf(sentence, sizeof sentence, "NCCL: a collective: %.300s",
                     nccl.GetErrorString(r));
            trouble = sentence;
        }
    }
    calling.unlock();
    return trouble;
}

// ---- open and close -----------------------------------------------------------------------------

static const char *load()
{
#ifdef NCCL_LINKED
#    define FIND(name) nccl.name = nccl##name;
#else
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_GLOBAL);
    if (!library)
        return "several ranks need NCCL, and libnccl.so.2 is not found (LD_LIBRARY_PATH tells "
               "where it lies)";
#    define FIND(name)                                              \
        if (!(*(void **)&nccl.name = dlsym(library, "nccl" #name))) \
            return "libnccl.so.2 lacks nccl" #name ": 2.18 or later is needed";
#endif
    NCCL_CALLS(FIND)
    return NULL;
}

const char *comm_kind(void)
{
    return "NCCL";
}

const char *comm_describe(void)
{
    static char text[64];
    int version = 0;
    if (nccl.GetVersion)
        nccl.GetVersion(&version);
    snprintf(text, sizeof text, "NCCL %d.%d.%d", version / 10000, version / 100 % 100,
             version % 100);
    return text;
}

const char *comm_make_id(unsigned char id[COMM_ID_BYTES])
{
    ncclUniqueId made;
    const char *trouble = load();
    if (trouble)
        return trouble;
    static_assert(sizeof made == COMM_ID_BYTES, "NCCL's id");
    if (!is_well("id", nccl.GetUniqueId(&made)))
        return failure;
    memcpy(id, &made, sizeof made);
    return NULL;
}

static bool join(const struct comm_mesh *mesh)
{
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    memcpy(&id, mesh->id, sizeof id);
    ncclComm_t *world = &lines[COMM_WORLD];
    ncclResult_t r =
        nccl.CommInitRankConfig(world, comm_ranks(COMM_WORLD), id, mesh->rank, &config);
    if (!is_well("start", r) || !settle("start", *world, r))
        return false;
    for (int a = 0; a < COMM_WORLD; a++) {
        enum comm_axis axis = (enum comm_axis)a;
        if (comm_ranks(axis) == 1)
            continue;
        r = nccl.CommSplit(*world, comm_mesh_colour(axis), comm_rank(axis), &lines[a], &config);
        if (!is_well("split", r) || !settle("split", *world, r) ||
            !settle("split", lines[a], ncclSuccess))
            return false;
    }
    return true;
}

const char *comm_open(const struct comm_mesh *mesh)
{
    comm_mesh_set(mesh);
    const char *trouble = load();
    if (trouble)
        return trouble;
    bool well = is_well_cuda("stream", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)) &&
                is_well_cuda("event", cudaEventCreateWithFlags(&before, cudaEventDisableTiming));
    for (int i = 0; i < EVENTS && well; i++)
        well = is_well_cuda("event", cudaEventCreateWithFlags(&done[i], cudaEventDisableTiming));
    one = (float *)device_alloc(sizeof *one);
    if (!one)
        return "out of memory on the device";
    std::lock_guard<std::mutex> hold(calling);
    joined = well && join(mesh);
    return joined ? NULL : failure;
}

void comm_close(void)
{
    if (stream)
        cudaStreamSynchronize(stream);
    std::lock_guard<std::mutex> hold(calling);
    joined = false;
    for (int a = 0; a < COMM_AXES; a++)
        if (lines[a])
            nccl.CommDestroy(lines[a]);
    memset(lines, 0, sizeof lines);
    if (stream) {
        for (int i = 0; i < EVENTS; i++)
            cudaEventDestroy(done[i]);
        cudaEventDestroy(before);
        cudaStreamDestroy(stream);
        device_free(one);
    }
    stream = NULL;
    last_ticket = 0;
    comm_mesh_set(NULL);
}

// ---- collectives --------------------------------------------------------------------------------

static ncclDataType_t datatype(enum comm_type type)
{
    return type == COMM_F32 ? ncclFloat32 : type == COMM_F64 ? ncclFloat64 : ncclBfloat16;
}

// The collective comes after what was queued on the device. False: there is nothing to do.
static bool begin(enum comm_axis axis, size_t count, enum comm_type type, size_t parts, int times)
{
    if (comm_ranks(axis) == 1 || count == 0 || failure[0])
        return false;
    comm_mesh_count(axis, count * parts * comm_type_bytes(type), times);
    return is_well_cuda("collective", cudaEventRecord(before, device_stream)) &&
           is_well_cuda("collective", cudaStreamWaitEvent(stream, before, 0));
}

static uint64_t end(const char *what, enum comm_axis axis, ncclResult_t r)
{
    if (!is_well(what, r) || (r == ncclInProgress && !settle(what, lines[axis], r)))
        return last_ticket;
    last_ticket++;
    is_well_cuda(what, cudaEventRecord(done[last_ticket % EVENTS], stream));
    return last_ticket;
}

static uint64_t copy(void *to, const void *from, size_t bytes)
{
    if (to != from && bytes)
        device_copy(to, from, bytes);
    return last_ticket;
}

uint64_t comm_all_reduce(void *x, size_t count, enum comm_type type, enum comm_axis axis)
{
    if (!begin(axis, count, type, 1, 2))
        return last_ticket;
    std::lock_guard<std::mutex> hold(calling);
    return end("all-reduce", axis,
               nccl.AllReduce(x, x, count, datatype(type), ncclSum, lines[axis], stream));
}

uint64_t comm_all_gather(void *to, const void *from, size_t count, enum comm_type type,
                         enum comm_axis axis)
{
    if (comm_ranks(axis) == 1)
        return copy(to, from, count * comm_type_bytes(type));
    if (!begin(axis, count, type, (size_t)comm_ranks(axis), 1))
        return last_ticket;
    std::lock_guard<std::mutex> hold(calling);
    return end("all-gather", axis,
               nccl.AllGather(from, to, count, datatype(type), lines[axis], stream));
}

uint64_t comm_reduce_scatter(void *to, const void *from, size_t count, enum comm_type type,
                             enum comm_axis axis)
{
    if (comm_ranks(axis) == 1)
        return copy(to, from, count * comm_type_bytes(type));
    if (!begin(axis, count, type, (size_t)comm_ranks(axis), 1))
        return last_ticket;
    std::lock_guard<std::mutex> hold(calling);
    return end("reduce-scatter", axis,
               nccl.ReduceScatter(from, to, count, datatype(type), ncclSum, lines[axis], stream));
}

uint64_t comm_broadcast(void *x, size_t count, enum comm_type type, int root, enum comm_axis axis)
{
    if (!begin(axis, count, type, 1, 1))
        return last_ticket;
    std::lock_guard<std::mutex> hold(calling);
    return end("broadcast", axis,
               nccl.Broadcast(x, x, count, datatype(type), root, lines[axis], stream));
}

void comm_wait(uint64_t ticket)
{
    if (!ticket || failure[0])
        return;
    if (ticket + EVENTS <= last_ticket) // its event tells of a later one by now
        ticket = last_ticket - EVENTS + 1;
    is_well_cuda("wait", cudaStreamWaitEvent(device_stream, done[ticket % EVENTS], 0));
}

void comm_barrier(enum comm_axis axis)
{
    if (comm_ranks(axis) == 1 || failure[0])
        return;
    // Not counted: it carries nothing.
    if (is_well_cuda("barrier", cudaEventRecord(before, device_stream)) &&
        is_well_cuda("barrier", cudaStreamWaitEvent(stream, before, 0))) {
        std::lock_guard<std::mutex> hold(calling);
        end("barrier", axis,
            nccl.AllReduce(one, one, 1, ncclFloat32, ncclSum, lines[axis], stream));
    }
    is_well_cuda("barrier", cudaStreamSynchronize(stream));
}
