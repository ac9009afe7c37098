// block.h -- the threads of a block, one fiber each: barriers, warps, shared memory.
//
// One block runs at a time, on one processor thread. A CUDA thread runs until it meets a barrier
// or a warp operation; EMULATED_ORDER=forward (the default), reverse or random chooses who is
// next. In the first two a warp runs ahead of the others; reverse also takes the blocks from the
// last. What a GPU would leave undefined is reported
// with the kernel's name, and ends the program with status 70:
//
//   - threads of a block that wait at different barriers, or for a warp that cannot come
//   - a warp operation whose mask names a lane that has returned
//   - a write between or after the arrays of shared memory, or around an allocation
//   - copies and tiles (tensor_core.h) that leave shared memory
//
// Shared memory starts as NaN (all bits set) in every block. Blocks one after the other cannot show
// a race between blocks; a GPU and compute-sanitizer can.
#ifndef BLOCK_H
#define BLOCK_H

#include "queue.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

namespace emulated
{

// What a kernel sees of itself while it runs.
struct self {
    uint3 index;     // threadIdx
    unsigned linear; // its number in the block
};
extern self *running;
extern uint3 block_index;
extern dim3 block_size, grid_size;

// Whether a GPU refuses a launch; that sets the error which cudaGetLastError returns. `function`
// identifies the kernel, as cudaFuncSetAttribute does.
bool refuse(const void *function, dim3 grid, dim3 block, size_t shared_bytes);

// Run body(arg) for every thread of every block of a launch that was not refused. EMULATED_LAUNCHES
// names a file that receives a line for each new combination of
//
//   kernel's address less that of block_index, threads, bytes of dynamic shared memory without gaps
void run(const char *kernel, const void *function, dim3 grid, dim3 block, size_t shared_bytes,
         void (*body)(void *), void *arg);

// Print one sentence about the running kernel and end the program.
[[noreturn]] void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

void block_barrier(const char *file, int line);

// Wait for the lanes of mask; the caller is one of them.
void warp_barrier(uint32_t mask);

// Lanes of the caller's warp that have not returned.
uint32_t warp_live();

// Give 8 bytes to the lanes of mask, take those of lane `source`.
uint64_t warp_exchange(uint32_t mask, uint64_t mine, unsigned source);

// Give `bytes` at mine to the warp, whose last lane to come calls all(records of the 32 lanes), and
// take them back. Every lane of a whole warp takes part.
enum { TOGETHER_BYTES = 64 };
void warp_together(void *mine, size_t bytes, void (*all)(void *records));

// ---- tensor cores (tensor_core.cc) -------------------------------------------------------------

void warp_mma(float c[4], const unsigned a[4], const unsigned b[2]);
void warp_load_tiles(unsigned x[4], const void *row, bool transposed);
void copy_begin(void *to, const void *from); // from NULL: zeros
void copy_commit();
void copy_wait(size_t left);
void copies_ended(); // the running thread returns

// ---- shared memory ---------------------------------------------------------------------------

enum { GAP_BYTES = 256 }; // guarded, after every array

// The launch's dynamic shared memory.
void *dynamic_shared();

// Whether bytes at p are in the running block's shared memory.
bool in_shared(const void *p, size_t bytes);

// Note that GAP_BYTES at p belong to nobody.
void shared_gap(const void *p);

// A __shared__ array of a function: fresh, guarded memory in each block.
struct shared_array {
    char *memory;
    uint64_t block; // serial number of the block that uses it
    void *find(size_t bytes);
};

// ---- launching -------------------------------------------------------------------------------

template <class Kernel, class... Args>
void launch(const char *name, Kernel *kernel, dim3 grid, dim3 block, size_t shared_bytes,
            CUstream_st *stream, Args... args)
{
    if (refuse((const void *)kernel, grid, block, shared_bytes))
        return;
    queue(stream, (const void *)kernel, [=] {
        auto call = [&] { kernel(args...); };
        using Call = decltype(call);
        run(
            name, (const void *)kernel, grid, block, shared_bytes, [](void *p) { (*(Call *)p)(); },
            (void *)&call);
    });
}

template <class T> T exchange(uint32_t mask, T mine, unsigned source)
{
    static_assert(sizeof(T) <= 8, "a shuffle carries at most 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &mine, sizeof mine);
    bits = warp_exchange(mask, bits, source);
    memcpy(&mine, &bits, sizeof mine);
    return mine;
}

} // namespace emulated

#endif
