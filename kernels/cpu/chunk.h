/* chunk.h -- sums over many rows, the same bits for every number of threads.

   Rows are cut into chunks by their number alone. Each chunk writes its own partial sums, which are
   then added in order. Two levels also keep the rounding error of long sums small. */
#ifndef CHUNK_H
#define CHUNK_H

#include <stddef.h>

enum { CHUNKS = 64, CHUNK_ROWS_MIN = 16 };

static inline int chunk_rows(int rows)
{
    int even = (rows + CHUNKS - 1) / CHUNKS;
    return even > CHUNK_ROWS_MIN ? even : CHUNK_ROWS_MIN;
}

static inline int chunk_count(int rows)
{
    int size = chunk_rows(rows);
    return (rows + size - 1) / size;
}

/* total[i] += sum over chunks of partial[chunk * stride + i] */
static inline void chunk_sum(float *total, const float *partial, int chunks, size_t stride,
                             int width)
{
#pragma omp parallel for simd schedule(static)
    for (int i = 0; i < width; i++) {
        float sum = 0;
        for (int c = 0; c < chunks; c++)
            sum += partial[c * stride + i];
        total[i] += sum;
    }
}

#endif
