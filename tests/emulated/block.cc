// block.cc -- run the blocks of a launch: who is next, who waits, who misbehaved.
#include "block.h"
#include "device_memory.h"
#include "fiber.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace emulated
{

enum state { FRESH, READY, AT_BARRIER, IN_WARP, RETURNED };

struct thread : self {
    fiber stack;
    state now;
    const char *file; // of the barrier it waits at
    int line;
    uint32_t mask; // of the warp operation it waits in
    unsigned operations;
};

struct warp {
    uint32_t arrived, live;
    uint64_t slot[2][32]; // two, so that the next exchange does not disturb slow readers
    alignas(16) char together[2][32 * TOGETHER_BYTES];
};

enum order { FORWARD, REVERSE, RANDOM };

self *running;
uint3 block_index;
dim3 block_size, grid_size;

static const char *kernel_name = "no kernel";
static std::vector<thread> threads;
static std::vector<warp> warps;
static unsigned live, at_barrier;
static fiber program;
static void (*body)(void *);
static void *body_arg;

static order chosen_order()
{
    static const order chosen = [] {
        const char *e = getenv("EMULATED_ORDER");
        if (!e || !strcmp(e, "forward"))
            return FORWARD;
        if (!strcmp(e, "reverse"))
            return REVERSE;
        if (!strcmp(e, "random"))
            return RANDOM;
        fault("EMULATED_ORDER=%s is none of forward, reverse, random", e);
    }();
    return chosen;
}

void fault(const char *format, ...)
{
    fflush(stdout);
    fprintf(stderr, "emulated: %s, block (%u,%u,%u)", kernel_name, block_index.x, block_index.y,
            block_index.z);
    if (running)
        fprintf(stderr, ", thread (%u,%u,%u)", running->index.x, running->index.y,
                running->index.z);
    fprintf(stderr, ": ");
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    _exit(70);
}

// ---- who is next -----------------------------------------------------------------------------

static thread &me()
{
    return *static_cast<thread *>(running);
}

static bool can_run(const thread &t)
{
    return t.now == READY || t.now == FRESH;
}

static thread *next_after(unsigned linear)
{
    static uint64_t seed = 88172645463325252u;
    unsigned n = (unsigned)threads.size();
    order o = chosen_order();
    if (o == RANDOM) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        linear = (unsigned)((seed >> 33) % n);
    }
    for (unsigned k = 1; k <= n; k++) {
        thread &t = threads[o == REVERSE ? (linear + n - k) % n : (linear + k) % n];
        if (can_run(t))
            return &t;
    }
    return nullptr;
}

// A lane of the caller's warp, so that a warp runs ahead of the others as far as it can; any thread
// when none can run.
static thread *next_in_warp(unsigned linear)
{
    unsigned first = linear / 32 * 32, n = (unsigned)threads.size() - first;
    n = n < 32 ? n : 32;
    for (unsigned k = 1; k < n && chosen_order() != RANDOM; k++) {
        unsigned lane = chosen_order() == REVERSE ? linear % 32 + n - k : linear % 32 + k;
        if (can_run(threads[first + lane % n]))
            return &threads[first + lane % n];
    }
    return next_after(linear);
}

static void stuck()
{
    int told = 0;
    for (const thread &t : threads) {
        if (t.now == AT_BARRIER && told++ < 8)
            fprintf(stderr, "emulated: thread (%u,%u,%u) waits at the barrier %s:%d\n", t.index.x,
                    t.index.y, t.index.z, t.file, t.line);
        if (t.now == IN_WARP && told++ < 8)
            fprintf(stderr, "emulated: thread (%u,%u,%u) waits for the lanes %08x of its warp\n",
                    t.index.x, t.index.y, t.index.z, t.mask);
    }
    running = nullptr;
    fault("%u threads wait for each other", live);
}

static void entry()
{
    fiber_entered(&program);
    body(body_arg);
    copies_ended();

    thread &t = me();
    t.now = RETURNED;
    live--;
    warps[t.linear / 32].live &= ~(1u << t.linear % 32);
    if (live && at_barrier == live) { // a thread that returns is no longer waited for
        for (thread &u : threads)
            if (u.now == AT_BARRIER)
                u.now = READY;
        at_barrier = 0;
    }
    thread *next = next_after(t.linear);
    if (!next && live)
        stuck();
    if (next && next->now == FRESH) {
        fiber_begin(&next->stack, entry, next->linear);
        next->now = READY;
    }
    running = next;
    fiber_end(&t.stack, next ? &next->stack : &program);
}

static void switch_to(thread *next)
{
    thread &from = me();
    if (next == &from)
        return;
    if (next->now == FRESH) {
        fiber_begin(&next->stack, entry, next->linear);
        next->now = READY;
    }
    running = next;
    fiber_switch(&from.stack, &next->stack);
}

static void wait_for(thread *next)
{
    if (!next)
        stuck();
    switch_to(next);
}

// ---- barriers and warps ----------------------------------------------------------------------

void block_barrier(const char *file, int line)
{
    thread &t = me();
    t.file = file;
    t.line = line;
    if (++at_barrier < live) {
        t.now = AT_BARRIER;
        wait_for(next_after(t.linear));
        return;
    }
    for (thread &u : threads) {
        if (u.now != AT_BARRIER)
            continue;
        if (u.line != line || strcmp(u.file, file))
            fault("a barrier at %s:%d, while thread (%u,%u,%u) waits at %s:%d", file, line,
                  u.index.x, u.index.y, u.index.z, u.file, u.line);
        u.now = READY;
    }
    at_barrier = 0;
}

uint32_t warp_live()
{
    return warps[running->linear / 32].live;
}

void warp_barrier(uint32_t mask)
{
    thread &t = me();
    warp &w = warps[t.linear / 32];
    uint32_t bit = 1u << t.linear % 32;
    unsigned first = t.linear / 32 * 32;
    if (threads.size() - first < 32) // a mask may name lanes that a short last warp never had
        mask &= (1u << (threads.size() - first)) - 1;
    if (!(mask & bit))
        fault("a warp operation whose mask %08x leaves out the caller", mask);
    if (mask & ~w.live)
        fault("a warp operation whose mask %08x names lanes that have returned", mask);
    w.arrived |= bit;
    if ((w.arrived & mask) == mask) {
        w.arrived &= ~mask;
        for (uint32_t rest = mask & ~bit; rest; rest &= rest - 1)
            threads[first + (unsigned)__builtin_ctz(rest)].now = READY;
        return;
    }
    t.now = IN_WARP;
    t.mask = mask;
    wait_for(next_in_warp(t.linear));
}

uint64_t warp_exchange(uint32_t mask, uint64_t mine, unsigned source)
{
    thread &t = me();
    warp &w = warps[t.linear / 32];
    uint64_t *slot = w.slot[t.operations++ % 2];
    slot[t.linear % 32] = mine;
    warp_barrier(mask);
    uint64_t theirs = slot[source % 32];
    if ((mask & w.live) != w.live) // lanes apart count their operations apart
        warp_barrier(mask);
    return theirs;
}

void warp_together(void *mine, size_t bytes, void (*all)(void *records))
{
    thread &t = me();
    warp &w = warps[t.linear / 32];
    if (w.live != ~0u)
        fault("an operation of a whole warp without all of its lanes");
    char *records = w.together[t.operations++ % 2];
    memcpy(records + t.linear % 32 * bytes, mine, bytes);
    if ((w.arrived | 1u << t.linear % 32) == ~0u)
        all(records);
    warp_barrier(~0u);
    memcpy(mine, records + t.linear % 32 * bytes, bytes);
}

// ---- shared memory ---------------------------------------------------------------------------

enum { POISON = 0xFF, STATIC_LIMIT = 48 << 10, DYNAMIC_LIMIT = 227 << 10 };

static uint64_t block_serial;
static char *dynamic_memory;
static size_t dynamic_bytes;
static std::vector<const char *> gaps;                      // of the running block
static size_t static_bytes;                                 // of the running block
static std::vector<std::pair<const char *, size_t>> arrays; // of the running block

void *dynamic_shared()
{
    return dynamic_memory;
}

bool in_shared(const void *p, size_t bytes)
{
    const char *at = (const char *)p;
    if (at >= dynamic_memory && at + bytes <= dynamic_memory + dynamic_bytes) {
        for (const char *gap : gaps)
            if (at < gap + GAP_BYTES && gap < at + bytes)
                return false;
        return true;
    }
    for (const auto &[array, size] : arrays)
        if (at >= array && at + bytes <= array + size)
            return true;
    return false;
}

void shared_gap(const void *p)
{
    for (const char *gap : gaps)
        if (gap == p)
            return;
    gaps.push_back((const char *)p);
}

void *shared_array::find(size_t bytes)
{
    if (!memory)
        memory =
            (char *)aligned_alloc(GAP_BYTES, (bytes + 3 * GAP_BYTES - 1) / GAP_BYTES * GAP_BYTES);
    if (block != block_serial) {
        block = block_serial;
        memset(memory, POISON, bytes + 2 * GAP_BYTES);
        shared_gap(memory);
        shared_gap(memory + GAP_BYTES + bytes);
        arrays.push_back({memory + GAP_BYTES, bytes});
        static_bytes += bytes;
        if (static_bytes > STATIC_LIMIT)
            fault("more than 48 KiB of static shared memory");
    }
    return memory + GAP_BYTES;
}

static void check_gaps()
{
    for (const char *gap : gaps)
        for (int i = 0; i < GAP_BYTES; i++)
            if ((unsigned char)gap[i] != POISON)
                fault("shared memory was written %d bytes after the end of an array (or before "
                      "one)",
                      i);
}

// ---- launching -------------------------------------------------------------------------------

bool refuse(const void *function, dim3 grid, dim3 block, size_t shared_bytes)
{
    uint64_t n = (uint64_t)block.x * block.y * block.z;
    if (n == 0 || n > 1024 || block.z > 64 || !grid.x || !grid.y || !grid.z ||
        grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
        note_error(ERROR_CONFIGURATION);
        return true;
    }
    size_t allowed = function_shared_limit(function);
    if (shared_bytes > (allowed > STATIC_LIMIT ? allowed : (size_t)STATIC_LIMIT) ||
        shared_bytes > DYNAMIC_LIMIT) {
        note_error(ERROR_VALUE);
        return true;
    }
    return false;
}

static void begin_block(uint64_t id, size_t shared_bytes)
{
    unsigned n = (unsigned)threads.size();
    block_index = {(unsigned)(id % grid_size.x), (unsigned)(id / grid_size.x % grid_size.y),
                   (unsigned)(id / grid_size.x / grid_size.y)};
    block_serial++;
    static_bytes = 0;
    gaps.clear();
    arrays.clear();
    dynamic_bytes = shared_bytes;
    memset(dynamic_memory, POISON, shared_bytes + GAP_BYTES);
    shared_gap(dynamic_memory + shared_bytes);
    for (unsigned i = 0; i < n; i++) {
        threads[i].index = {i % block_size.x, i / block_size.x % block_size.y,
                            i / block_size.x / block_size.y};
        threads[i].linear = i;
        threads[i].now = FRESH;
        threads[i].operations = 0;
    }
    for (unsigned i = 0; i < warps.size(); i++) {
        unsigned lanes = n - 32 * i;
        warps[i].arrived = 0;
        warps[i].live = lanes >= 32 ? ~0u : (1u << lanes) - 1;
    }
    live = n;
    at_barrier = 0;
}

// The running launch, whose last block has ended.
static void note_launch(const void *function, size_t shared_bytes)
{
    static const char *path = getenv("EMULATED_LAUNCHES");
    static FILE *file = path ? fopen(path, "w") : nullptr;
    static std::set<std::tuple<const void *, size_t, size_t>> noted;
    if (!file)
        return;
    for (const char *gap : gaps)
        if (gap >= dynamic_memory && gap < dynamic_memory + dynamic_bytes)
            shared_bytes -= GAP_BYTES;
    if (noted.insert({function, threads.size(), shared_bytes}).second)
        fprintf(file, "%td\t%zu\t%zu\n", (const char *)function - (const char *)&block_index,
                threads.size(), shared_bytes);
}

void run(const char *kernel, const void *function, dim3 grid, dim3 block, size_t shared_bytes,
         void (*call)(void *), void *arg)
{
    static size_t capacity;
    kernel_name = kernel;
    body = call;
    body_arg = arg;
    grid_size = grid;
    block_size = block;
    threads.resize(block.x * block.y * block.z);
    warps.resize((threads.size() + 31) / 32);
    if (capacity < shared_bytes + GAP_BYTES) {
        free(dynamic_memory);
        capacity = shared_bytes + GAP_BYTES;
        dynamic_memory =
            (char *)aligned_alloc(GAP_BYTES, (capacity + GAP_BYTES - 1) / GAP_BYTES * GAP_BYTES);
    }
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    for (uint64_t i = 0; i < blocks; i++) {
        begin_block(chosen_order() == REVERSE ? blocks - 1 - i : i, shared_bytes);
        thread *first = &threads[chosen_order() == REVERSE ? threads.size() - 1 : 0];
        fiber_begin(&first->stack, entry, first->linear);
        first->now = READY;
        running = first;
        fiber_switch(&program, &first->stack);
        running = nullptr;
        check_gaps();
    }
    check_allocations();
    note_launch(function, shared_bytes);
    kernel_name = "no kernel";
}

} // namespace emulated
