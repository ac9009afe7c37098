/* thin.c -- products of a few rows, where reading the matrix is all the work. */
#include "thin.h"
#include "tile.h"

#include <omp.h>
#include <stddef.h>

/* Columns whose sums stay in the first cache, and rows of b that are read side by side: several
   streams hide the latency of memory. */
enum { COLUMNS = 1024, STREAMS = 8 };

/* c [m][n] += a [m][k] times `streams` rows of b [][n], at the columns of one vector */
INLINE void add_vector(float *c, const float *a, const float *b, int n, int k, const int m,
                       const int streams)
{
    vector sum[THIN_ROWS];
    for (int i = 0; i < m; i++)
        sum[i] = *(vector *)(c + (size_t)i * n);
    for (int s = 0; s < streams; s++)
        for (int i = 0; i < m; i++)
            sum[i] += a[(size_t)i * k + s] * *(const vector *)(b + (size_t)s * n);
    for (int i = 0; i < m; i++)
        *(vector *)(c + (size_t)i * n) = sum[i];
}

/* The same for many columns. */
INLINE void add_streams(float *c, const float *a, const float *b, int n, int k, int columns,
                        const int m, const int streams)
{
    int j = 0;
    for (; j + LANES <= columns; j += LANES)
        add_vector(c + j, a, b + j, n, k, m, streams);
    for (; j < columns; j++)
        for (int s = 0; s < streams; s++)
            for (int i = 0; i < m; i++)
                c[(size_t)i * n + j] += a[(size_t)i * k + s] * b[(size_t)s * n + j];
}

/* Some columns of c [m][n] = a b + beta c. */
INLINE void columns_product(float *c, const float *a, const float *b, int n, int k, int columns,
                            float beta, const int m)
{
    if (beta == 0)
        for (int i = 0; i < m; i++)
            memset(c + (size_t)i * n, 0, sizeof *c * columns);
    const int streams = m < 3 ? STREAMS : STREAMS / 2; /* what registers hold */
    int l = 0;
    for (; l + streams <= k; l += streams)
        add_streams(c, a + l, b + (size_t)l * n, n, k, columns, m, streams);
    for (; l < k; l++)
        add_streams(c, a + l, b + (size_t)l * n, n, k, columns, m, 1);
}

/* With the number of rows known to the compiler, their sums stay in registers. */
static void columns_any(float *c, const float *a, const float *b, int m, int n, int k, int columns,
                        float beta)
{
    switch (m) {
    case 1:
        columns_product(c, a, b, n, k, columns, beta, 1);
        break;
    case 2:
        columns_product(c, a, b, n, k, columns, beta, 2);
        break;
    case 3:
        columns_product(c, a, b, n, k, columns, beta, 3);
        break;
    default:
        assert(m == THIN_ROWS);
        columns_product(c, a, b, n, k, columns, beta, THIN_ROWS);
    }
}

/* sum[s] = a . row s of b, for rows that are `apart` */
static void dot_streams(float sum[STREAMS], const float *a, const float *b, size_t apart, int k)
{
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3, s4, s5, s6, s7)
    for (int l = 0; l < k; l++) {
        s0 += a[l] * b[l];
        s1 += a[l] * b[apart + l];
        s2 += a[l] * b[2 * apart + l];
        s3 += a[l] * b[3 * apart + l];
        s4 += a[l] * b[4 * apart + l];
        s5 += a[l] * b[5 * apart + l];
        s6 += a[l] * b[6 * apart + l];
        s7 += a[l] * b[7 * apart + l];
    }
    const float sums[STREAMS] = {s0, s1, s2, s3, s4, s5, s6, s7};
    memcpy(sum, sums, sizeof sums);
}

static float dot(const float *a, const float *b, int k)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int l = 0; l < k; l++)
        sum += a[l] * b[l];
    return sum;
}

/* Columns j..j+count of c [m][n] = a b^T: rows of b [n][k]. */
static void rows_product(float *c, const float *a, const float *b, int m, int n, int k, int j,
                         int count, float beta)
{
    for (int i = 0; i < m; i++) {
        const float *x = a + (size_t)i * k, *row = b + (size_t)j * k;
        float *y = c + (size_t)i * n + j, sum[STREAMS];
        if (count == STREAMS)
            dot_streams(sum, x, row, k, k);
        else
            for (int s = 0; s < count; s++)
                sum[s] = dot(x, row + (size_t)s * k, k);
        for (int s = 0; s < count; s++)
            y[s] = beta == 0 ? sum[s] : y[s] + sum[s];
    }
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Threads share the columns of c; each is summed by one of them. */
void thin_product(float *c, const float *a, const float *b, bool transpose_b, int m, int n, int k,
                  float beta)
{
    /* Below this a thread is sooner done alone than another is woken. */
    const double SMALL = 1 << 17;
    int threads = (double)n * k < SMALL ? 1 : omp_get_max_threads();
    if (transpose_b) {
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int j = 0; j < n; j += STREAMS)
            rows_product(c, a, b, m, n, k, j, least(STREAMS, n - j), beta);
        return;
    }
    /* Even shares for the threads, in whole cache lines. */
    enum { LINE = 16 };
    int share = ((n + threads - 1) / threads + LINE - 1) / LINE * LINE;
    share = least(share, COLUMNS);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int j = 0; j < n; j += share)
        columns_any(c + j, a, b + j, m, n, k, least(share, n - j), beta);
}
