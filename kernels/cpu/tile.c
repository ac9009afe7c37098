/* tile.c -- products and transposes of tiles.

   Compiled once, for any strides: with constant ones, inlined into every caller, they were no
   faster and took five times as long to compile. */
#include "tile.h"

/* c[rows][vectors] (+)= a b: element (i, k) of a is at a[i * a_row + k * a_step]. */
INLINE void product_block(float *c, int c_row, const float *a, int a_row, int a_step,
                          const float *b, int b_row, int depth, bool to_add, const int rows,
                          const int vectors)
{
    vector sum[BLOCK_VECTORS * BLOCK_ROWS][BLOCK_VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            sum[i][j] = to_add ? *(const vector *)(c + i * c_row + j * LANES) : (vector){0};
    for (int k = 0; k < depth; k++) {
        vector bk[BLOCK_VECTORS];
        for (int j = 0; j < vectors; j++)
            bk[j] = *(const vector *)(b + k * b_row + j * LANES);
        for (int i = 0; i < rows; i++) {
            float x = a[i * a_row + k * a_step];
            for (int j = 0; j < vectors; j++)
                sum[i][j] += x * bk[j];
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            *(vector *)(c + i * c_row + j * LANES) = sum[i][j];
}

void product_area(float *c, int c_row, const float *a, int a_row, int a_step, const float *b,
                  int b_row, int m, int n, int depth, bool to_add)
{
    enum { COLUMNS = BLOCK_VECTORS * LANES, TALL = BLOCK_VECTORS * BLOCK_ROWS };
    int j = 0;
    for (; j + COLUMNS <= n; j += COLUMNS)
        for (int i = 0; i < m; i += BLOCK_ROWS)
            product_block(c + i * c_row + j, c_row, a + i * a_row, a_row, a_step, b + j, b_row,
                          depth, to_add, BLOCK_ROWS, BLOCK_VECTORS);
    for (; j < n; j += LANES)
        for (int i = 0; i < m; i += TALL)
            product_block(c + i * c_row + j, c_row, a + i * a_row, a_row, a_step, b + j, b_row,
                          depth, to_add, TALL, 1);
}

/* Two vectors dealt together: the first halves, and the second halves. */
#if defined __clang__
#    define DEAL(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int lane_numbers __attribute__((vector_size(4 * LANES)));
#    define DEAL(a, b, ...) __builtin_shuffle(a, b, (lane_numbers){__VA_ARGS__})
#endif
#if defined __AVX512F__
#    define DEAL_LOW(a, b)  DEAL(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#    define DEAL_HIGH(a, b) DEAL(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif defined __AVX__
#    define DEAL_LOW(a, b)  DEAL(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#    define DEAL_HIGH(a, b) DEAL(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#    define DEAL_LOW(a, b)  DEAL(a, b, 0, 4, 1, 5)
#    define DEAL_HIGH(a, b) DEAL(a, b, 2, 6, 3, 7)
#endif

/* Dealing row i with row i + LANES/2, log2(LANES) times, transposes a square of vectors. */
void transpose(float *to, const float *from, int rows, int columns)
{
    for (int i = 0; i < rows; i += LANES)
        for (int j = 0; j < columns; j += LANES) {
            vector x[LANES], y[LANES];
            for (int l = 0; l < LANES; l++)
                x[l] = *(const vector *)(from + (i + l) * columns + j);
            for (int size = 1; size < LANES; size *= 2) {
                for (int l = 0; l < LANES / 2; l++) {
                    y[2 * l] = DEAL_LOW(x[l], x[l + LANES / 2]);
                    y[2 * l + 1] = DEAL_HIGH(x[l], x[l + LANES / 2]);
                }
                for (int l = 0; l < LANES; l++)
                    x[l] = y[l];
            }
            for (int l = 0; l < LANES; l++)
                *(vector *)(to + (j + l) * rows + i) = x[l];
        }
}
