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
    enum { COLUMNS = 64 };
#pragma omp parallel for schedule(static)
    for (int first = 0; first < width; first += COLUMNS) {
        int n = width - first < COLUMNS ? width - first : COLUMNS;
        float sum[COLUMNS] = {0};
        for (int c = 0; c < chunks; c++) {
            const float *from = partial + c * stride + first;
#pragma omp simd
            for (int i = 0; i < n; i++)
                sum[i] += from[i];
        }
        for (int i = 0; i < n; i++)
            total[first + i] += sum[i];
    }
}

#endif
