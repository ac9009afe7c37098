// nccl.cc -- stands in for NCCL: processes of one machine meet in shared memory. Every rank has to
// call the same operation with the same count, type and root, on a stream of its own that has been
// told to wait for the device's; what is queued is done when that stream is waited for, and no
// sooner. With EMULATED_NCCL_FAILS=N in the environment a rank's N-th collective never ends, and
// that it failed is told only to who asks.
#include "nccl.h"

#include "device_memory.h"
#include "queue.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

using emulated::fault;

extern cudaStream_t device_stream;

enum { CHUNK_BYTES = 64 << 10, MOST_RANKS = 16 };

// What a rank says that it does.
struct call {
    int op, type, root;
    size_t count;
};

struct meeting {
    std::atomic<uint32_t> arrived, turn;
    call said[MOST_RANKS];
    int colour[MOST_RANKS], key[MOST_RANKS];
    char data[MOST_RANKS][CHUNK_BYTES];
};

struct ncclComm {
    std::string name;
    int rank, ranks, splits;
    meeting *at;
};

static void everyone(ncclComm *c)
{
    uint32_t turn = c->at->turn;
    if (c->at->arrived.fetch_add(1) + 1 == (uint32_t)c->ranks) {
        c->at->arrived = 0;
        c->at->turn++;
        return;
    }
    while (c->at->turn == turn)
        usleep(20);
}

static ncclComm *meet(const std::string &name, int rank, int ranks)
{
    if (ranks > MOST_RANKS)
        fault("NCCL: %d ranks are more than the emulation has room for", ranks);
    int fd = shm_open(name.c_str(), O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(meeting)))
        fault("NCCL: no shared memory");
    void *p = mmap(nullptr, sizeof(meeting), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        fault("NCCL: no shared memory");
    ncclComm *c = new ncclComm{name, rank, ranks, 0, (meeting *)p};
    everyone(c);
    if (rank == 0)
        shm_unlink(name.c_str());
    return c;
}

ncclResult_t ncclGetVersion(int *version)
{
    *version = 0;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t r)
{
    return r == ncclSuccess       ? "no error"
           : r == ncclRemoteError ? "a remote process does not answer"
                                  : "invalid argument";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "/ttt-nccl-%ld", (long)getpid());
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    if (config->blocking != 0)
        fault("NCCL: a communicator that blocks cannot be given up");
    *comm = meet(id.internal, rank, ranks);
    return ncclInProgress;
}

ncclResult_t ncclCommSplit(ncclComm_t c, int colour, int key, ncclComm_t *made,
                           ncclConfig_t *config)
{
    if (config->blocking != 0)
        fault("NCCL: a communicator that blocks cannot be given up");
    c->at->colour[c->rank] = colour;
    c->at->key[c->rank] = key;
    everyone(c);
    int ranks = 0, rank = 0;
    for (int i = 0; i < c->ranks; i++)
        if (c->at->colour[i] == colour) {
            ranks++;
            rank += c->at->key[i] < key;
        }
    everyone(c);
    *made = meet(c->name + "-" + std::to_string(++c->splits) + "-" + std::to_string(colour), rank,
                 ranks);
    return ncclInProgress;
}

static std::atomic<bool> failed;

static void fail_when_asked()
{
    static const char *when = getenv("EMULATED_NCCL_FAILS");
    static int calls;
    if (!when || ++calls != atoi(when))
        return;
    for (failed = true;;)
        pause();
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t *r)
{
    *r = failed ? ncclRemoteError : ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t c)
{
    munmap(c->at, sizeof(meeting));
    delete c;
    return ncclSuccess;
}

// ---- collectives --------------------------------------------------------------------------------

static size_t type_bytes(ncclDataType_t type)
{
    return type == ncclFloat32 ? 4 : type == ncclFloat64 ? 8 : 2;
}

static float widen(uint16_t x)
{
    return __uint_as_float((unsigned)x << 16);
}

static uint16_t narrow(float f)
{
    unsigned bits = __float_as_uint(f);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// to[i] += from[i]
static void add(void *to, const void *from, size_t count, ncclDataType_t type)
{
    for (size_t i = 0; i < count; i++)
        if (type == ncclFloat32)
            ((float *)to)[i] += ((const float *)from)[i];
        else if (type == ncclFloat64)
            ((double *)to)[i] += ((const double *)from)[i];
        else
            ((uint16_t *)to)[i] =
                narrow(widen(((uint16_t *)to)[i]) + widen(((const uint16_t *)from)[i]));
}

// All ranks' arrays, [ranks][count], as each may take of them what it needs.
static std::vector<char> exchange(ncclComm *c, const call &what, const void *from, size_t bytes)
{
    std::vector<char> all((size_t)c->ranks * bytes);
    c->at->said[c->rank] = what;
    for (size_t at = 0; at < bytes; at += CHUNK_BYTES) {
        size_t n = bytes - at < CHUNK_BYTES ? bytes - at : (size_t)CHUNK_BYTES;
        memcpy(c->at->data[c->rank], (const char *)from + at, n);
        everyone(c);
        for (int k = 0; k < c->ranks; k++) {
            const call &said = c->at->said[k];
            if (said.op != what.op || said.type != what.type || said.root != what.root ||
                said.count != what.count)
                fault("NCCL: rank %d calls operation %d of %zu values where rank %d calls %d of "
                      "%zu",
                      k, said.op, said.count, c->rank, what.op, what.count);
            memcpy(&all[(size_t)k * bytes + at], c->at->data[k], n);
        }
        everyone(c);
    }
    return all;
}

enum { REDUCE, GATHER, SCATTER, BROADCAST };

static ncclResult_t queue(ncclComm *c, int op, const void *from, void *to, size_t count,
                          ncclDataType_t type, int root, cudaStream_t stream)
{
    size_t size = type_bytes(type), ranks = (size_t)c->ranks;
    emulated::check_stream(stream, device_stream);
    emulated::queue(stream, (const void *)ncclGetVersion, [=] {
        size_t given = op == SCATTER ? count * ranks : count;
        fail_when_asked();
        std::vector<char> all = exchange(c, call{op, type, root, count}, from, given * size);
        size_t skip = op == SCATTER ? (size_t)c->rank * count * size : 0;
        if (op == GATHER) {
            memcpy(to, all.data(), all.size());
        } else if (op == BROADCAST) {
            memcpy(to, &all[(size_t)root * count * size], count * size);
        } else {
            std::vector<char> sum(all.begin() + (long)skip,
                                  all.begin() + (long)(skip + count * size));
            for (size_t k = 1; k < ranks; k++)
                add(sum.data(), &all[k * given * size + skip], count, type);
            memcpy(to, sum.data(), sum.size());
        }
    });
    return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t comm, cudaStream_t stream)
{
    return queue(comm, REDUCE, from, to, count, type, 0, stream);
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    return queue(comm, GATHER, from, to, count, type, 0, stream);
}

ncclResult_t ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type,
                               ncclRedOp_t, ncclComm_t comm, cudaStream_t stream)
{
    return queue(comm, SCATTER, from, to, count, type, 0, stream);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    return queue(comm, BROADCAST, from, to, count, type, root, stream);
}
