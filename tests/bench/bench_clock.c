/* bench_clock.c -- random arrays and the median of several runs; products and memory. */
#include "bench_parts.h"
#include "random.h"

#include <string.h>

/* ---- arrays --------------------------------------------------------------------------------- */

enum { HELD_MOST = 256 };
static void *held[HELD_MOST];
static int holding;

void bench_free(void *p)
{
    for (int i = 0; i < holding; i++)
        if (held[i] == p)
            held[i] = held[--holding];
    device_free(p);
}

void bench_free_all(void)
{
    while (holding)
        device_free(held[--holding]);
}

void *bench_alloc(size_t bytes)
{
    void *p = device_alloc(bytes);
    if (p && holding < HELD_MOST)
        return held[holding++] = p;
    fprintf(stderr, "bench_device: the device has no %.0f MiB left\n", (double)bytes / (1 << 20));
    exit(1);
}

float *bench_floats(size_t count, float spread)
{
    /* A piece, repeated: making gigabytes of random numbers on the host would take longer than
       everything that is timed. */
    enum { PIECE = 1 << 20 };
    static float piece[PIECE];
    float *x = bench_alloc(count * sizeof *x);
    size_t first = count < PIECE ? count : PIECE;
    static uint64_t stream;
    stream++;
    for (size_t i = 0; i < first; i++)
        piece[i] = spread * (float)(2 * random_uniform(11, stream, i) - 1);
    device_put(x, piece, first * sizeof *x);
    for (size_t done = first, n; done < count; done += n) {
        n = count - done < done ? count - done : done;
        device_copy(x + done, x, n * sizeof *x);
    }
    return x;
}

real *bench_reals(size_t count, float spread)
{
    float *x = bench_floats(count, spread);
    real *y = bench_alloc(count * sizeof *y);
    real_from_float(y, x, count);
    if (device_sync())
        exit(1); /* which main would tell with a better sentence if it could go on */
    bench_free(x);
    return y;
}

int32_t bench_id(uint64_t i, int below)
{
    return (int32_t)(random_uniform(13, 0, i) * below);
}

int32_t *bench_ids(size_t count, int below)
{
    int32_t *host = malloc(count * sizeof *host), *ids = bench_alloc(count * sizeof *ids);
    if (!host)
        exit(1);
    for (size_t i = 0; i < count; i++)
        host[i] = bench_id(i, below);
    device_put(ids, host, count * sizeof *ids);
    free(host);
    return ids;
}

/* ---- the clock ------------------------------------------------------------------------------ */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_ms(void (*run)(void *), void *arg)
{
    enum { MOST = 64 };
    double ms[MOST], all = 0;
    int runs = 0;
    for (int i = 0; i < (bench.tiny ? 1 : 2); i++)
        run(arg);
    while (runs < bench.runs_most && runs < MOST && (runs < 3 || all < bench.wanted_ms)) {
        device_clock_start();
        run(arg);
        all += ms[runs++] = device_clock_ms();
    }
    qsort(ms, (size_t)runs, sizeof *ms, ascending);
    return ms[runs / 2];
}

/* ---- products ------------------------------------------------------------------------------- */

struct product {
    const char *what;
    enum transpose t;
    int m, n, k;
    bool wide; /* into float */
    real *a, *b;
    void *c;
};

static void multiply(void *arg)
{
    struct product *p = arg;
    if (p->wide)
        matmul_f32(p->c, p->a, p->b, p->t, p->m, p->n, p->k, 0);
    else
        matmul(p->c, p->a, p->b, p->t, p->m, p->n, p->k, 0);
}

void bench_peak(void)
{
    int rows = bench.batch * bench.seq, chunk = rows / 16;
    struct product list[] = {
        {"125m projection", NN, rows, 768, 768},
        {"125m feed-forward in", NN, rows, 2048, 768},
        {"125m feed-forward out", NN, rows, 768, 2048},
        {"125m its weight gradient", TN, 768, 2048, rows, true},
        {"125m logits, a chunk", NT, chunk, 32000, 768, true},
        {"1b projection", NN, rows, 2048, 2048},
        {"1b feed-forward in", NN, rows, 5504, 2048},
        {"1b its weight gradient", TN, 2048, 5504, rows, true},
        {"a large square", NN, 8192, 8192, 8192},
    };
    printf("\n| product | m x n x k | ms | TFLOP/s |\n|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct product *p = &list[i];
        if (bench.tiny) {
            p->m = p->m > 64 ? 64 : p->m;
            p->n = p->n > 64 ? 64 : p->n;
            p->k = p->k > 64 ? 64 : p->k;
        }
        p->a = bench_reals((size_t)p->m * p->k, 1);
        p->b = bench_reals((size_t)p->k * p->n, 1);
        p->c = bench_alloc((size_t)p->m * p->n * (p->wide ? sizeof(float) : sizeof(real)));
        double ms = bench_ms(multiply, p), rate = 2e3 * p->m * p->n * p->k / ms;
        bench.peak = rate > bench.peak ? rate : bench.peak;
        printf("| %s | %d x %d x %d | %.3f | %.1f |\n", p->what, p->m, p->n, p->k, ms,
               1e-12 * rate);
        fflush(stdout);
        bench_free_all();
    }
}

/* ---- memory --------------------------------------------------------------------------------- */

struct transfer {
    float *to, *from;
    size_t bytes;
};

static void transfer(void *arg)
{
    struct transfer *t = arg;
    device_copy(t->to, t->from, t->bytes);
}

void bench_memory(void)
{
    size_t bytes = bench.tiny ? 1 << 12 : (size_t)1 << 30;
    struct transfer t = {bench_alloc(bytes), bench_floats(bytes / sizeof(float), 1), bytes};
    double ms = bench_ms(transfer, &t);
    bench.bandwidth = 2e3 * (double)bytes / ms;
    printf("\nMemory: a copy of %zu MiB reads and writes %.2f TB/s.\n", bytes >> 20,
           1e-12 * bench.bandwidth);
    fflush(stdout);
    bench_free_all();
}
