// tensor_core.cc -- products of fragments, tiles from shared memory and delayed copies, as
// kernels/cuda/mma.cuh describes them.
#include "block.h"

#include <cstdlib>
#include <deque>

namespace emulated
{

static float value(unsigned pair, int half)
{
    unsigned bits = half ? pair & 0xffff0000u : pair << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

// ---- products ----------------------------------------------------------------------------------

struct mma_record {
    unsigned a[4], b[2];
    float c[4];
};

// The fragments of 32 lanes as matrices, the product, and back. Most of the emulation's time is
// here: it is optimised, and its own indices need no watching.
__attribute__((optimize("O3"), no_sanitize("bounds", "alignment"))) static void
mma_all(void *records)
{
    mma_record *lane = (mma_record *)records;
    float a[16][16], b[16][8], c[16][8];
    for (int l = 0; l < 32; l++) {
        int g = l / 4, t = l % 4;
        for (int half = 0; half < 2; half++) {
            for (int i = 0; i < 4; i++)
                a[g + i % 2 * 8][2 * t + i / 2 * 8 + half] = value(lane[l].a[i], half);
            for (int i = 0; i < 2; i++)
                b[2 * t + i * 8 + half][g] = value(lane[l].b[i], half);
            for (int i = 0; i < 2; i++)
                c[g + i * 8][2 * t + half] = lane[l].c[2 * i + half];
        }
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++)
                c[i][j] += a[i][k] * b[k][j];
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++)
            lane[l].c[i] = c[l / 4 + i / 2 * 8][2 * (l % 4) + i % 2];
}

void warp_mma(float c[4], const unsigned a[4], const unsigned b[2])
{
    mma_record mine;
    memcpy(mine.a, a, sizeof mine.a);
    memcpy(mine.b, b, sizeof mine.b);
    memcpy(mine.c, c, sizeof mine.c);
    warp_together(&mine, sizeof mine, mma_all);
    memcpy(c, mine.c, sizeof mine.c);
}

// ---- tiles -------------------------------------------------------------------------------------

enum { ROW_BYTES = 16 };

struct tile_record {
    const void *row;
    bool transposed;
    unsigned x[4];
};

static void check_shared(const char *what, const void *p)
{
    if ((uintptr_t)p % ROW_BYTES)
        fault("%s at an address that is no multiple of 16", what);
    if (!in_shared(p, ROW_BYTES))
        fault("%s outside the block's shared memory", what);
}

static void load_all(void *records)
{
    tile_record *lane = (tile_record *)records;
    uint16_t tile[4][8][8];
    for (int l = 0; l < 32; l++) {
        if (lane[l].transposed != lane[0].transposed)
            fault("lanes of a warp that load tiles differently");
        memcpy(tile[l / 8][l % 8], lane[l].row, ROW_BYTES);
    }
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            int g = l / 4, t = 2 * (l % 4);
            lane[l].x[i] = lane[l].transposed ? tile[i][t][g] | (unsigned)tile[i][t + 1][g] << 16
                                              : tile[i][g][t] | (unsigned)tile[i][g][t + 1] << 16;
        }
}

void warp_load_tiles(unsigned x[4], const void *row, bool transposed)
{
    check_shared("a row of a tile", row);
    tile_record mine = {row, transposed, {}};
    warp_together(&mine, sizeof mine, load_all);
    memcpy(x, mine.x, sizeof mine.x);
}

// ---- copies ------------------------------------------------------------------------------------

struct copy {
    void *to;
    const void *from; // NULL: zeros
};

// Of one thread: copies in order; how many of them each committed group has.
struct copies {
    std::deque<copy> todo;
    std::deque<size_t> groups;
    size_t open; // of the group that is not committed
};

static copies of_thread[1024];

void copy_begin(void *to, const void *from)
{
    check_shared("a copy to an address", to);
    if ((uintptr_t)from % ROW_BYTES)
        fault("a copy from an address that is no multiple of 16");
    memset(to, 0xFF, ROW_BYTES);
    copies &mine = of_thread[running->linear];
    mine.todo.push_back({to, from});
    mine.open++;
}

void copy_commit()
{
    copies &mine = of_thread[running->linear];
    mine.groups.push_back(mine.open);
    mine.open = 0;
}

void copy_wait(size_t left)
{
    copies &mine = of_thread[running->linear];
    while (mine.groups.size() > left) {
        for (size_t n = mine.groups.front(); n; n--) {
            const copy &next = mine.todo.front();
            if (next.from)
                memcpy(next.to, next.from, ROW_BYTES);
            else
                memset(next.to, 0, ROW_BYTES);
            mine.todo.pop_front();
        }
        mine.groups.pop_front();
    }
}

void copies_ended()
{
    if (!of_thread[running->linear].todo.empty())
        fault("a thread that ends while its copies are under way");
    of_thread[running->linear].groups.clear();
}

} // namespace emulated
