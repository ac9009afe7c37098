/* device_queue.c -- what is queued beside the ops and instead of them: uploads, fetches,
   recordings, memory taken at once. */
#include "numbers.h"

enum { N = 1000 };

/* Whether all N floats on the device are x. */
static bool all_are(const float *device, float x)
{
    const float *got = get_floats(device, N);
    for (int i = 0; i < N; i++)
        if (got[i] != x)
            return false;
    return true;
}

static void fill(float *host, float x)
{
    for (int i = 0; i < N; i++)
        host[i] = x;
}

static void test_host_memory(void)
{
    float *host = device_host_alloc(sizeof *host * N), *back = device_host_alloc(sizeof *back * N);
    float *there = lot_alloc(sizeof *there * N);
    CHECK(host && back && host[0] == 0 && host[N - 1] == 0);
    fill(host, 3);
    device_send(there, host, sizeof *host * N);
    device_fetch(back, there, sizeof *back * N);
    CHECK(device_sync() == NULL);
    CHECK(back[0] == 3 && back[N - 1] == 3 && all_are(there, 3));
    device_host_free(back);
    device_host_free(host);
    device_host_free(NULL);
}

/* Batches through one array: each upload starts after the copy before it, and each copy after its
   upload. Nothing waits until the end. */
static void test_uploads(void)
{
    enum { BATCHES = 5 };
    float *host[BATCHES], *arrival = lot_alloc(sizeof *arrival * N), *kept[BATCHES];
    for (int i = 0; i < BATCHES; i++) {
        host[i] = device_host_alloc(sizeof **host * N);
        kept[i] = lot_alloc(sizeof **kept * N);
        fill(host[i], (float)i + 1);
    }
    for (int i = 0; i < BATCHES; i++) {
        device_upload(arrival, host[i], sizeof **host * N);
        device_await_uploads();
        device_copy(kept[i], arrival, sizeof **kept * N);
        device_uploads_follow();
    }
    CHECK(device_sync() == NULL);
    for (int i = 0; i < BATCHES; i++)
        CHECK(all_are(kept[i], (float)i + 1));
    for (int i = 0; i < BATCHES; i++)
        device_host_free(host[i]);
}

/* y = 2 y + w, queued from a recording wherever the device has them; w comes from the host. */
struct doubling {
    struct device_recording recording;
    real *y, *copy, *w_real;
    float *w, *host;
};

static void queue(struct doubling *d, uint64_t key, size_t count)
{
    if (device_replay(&d->recording, key))
        return;
    device_send(d->w, d->host, sizeof *d->w * N);
    real_from_float(d->w_real, d->w, N);
    device_copy(d->copy, d->y, sizeof *d->y * N);
    add(d->y, d->copy, count);
    add(d->y, d->w_real, count);
    device_replay_end(&d->recording);
}

static void test_recording(void)
{
    struct doubling d = {.y = lot_alloc(sizeof *d.y * N),
                         .copy = lot_alloc(sizeof *d.y * N),
                         .w_real = lot_alloc(sizeof *d.y * N),
                         .w = lot_alloc(sizeof *d.w * N),
                         .host = device_host_alloc(sizeof *d.host * N)};
    struct device_replay_counts before = device_replays();
    float want[2] = {0};
    for (int i = 0; i < 12; i++) {
        /* The host's array is read when the ops run; runs 4 to 7 leave the last four alone. */
        fill(d.host, (float)(i % 3));
        queue(&d, i / 4, i / 4 == 1 ? N - 4 : N);
        CHECK(device_sync() == NULL);
        want[0] = 2 * want[0] + (float)(i % 3);
        if (i / 4 != 1)
            want[1] = 2 * want[1] + (float)(i % 3);
        if (i == 3 || i == 7) { /* so that bf16 holds the sums */
            device_zero(d.y, sizeof *d.y * N);
            want[0] = want[1] = 0;
        }
        const float *got = get_reals(d.y, N);
        CHECK(got[0] == want[0] && got[N - 5] == want[0] && got[N - 1] == want[1]);
    }
    struct device_replay_counts after = device_replays();
    if (strcmp(device_kind(), "cpu") == 0)
        CHECK(after.queued == 0 && after.made == 0);
    else
        CHECK(after.made - before.made == 1 && after.changed - before.changed == 2 &&
              after.queued - before.queued == 11);
    device_forget(&d.recording);
    CHECK(!d.recording.graph && d.recording.runs == 0);
    device_host_free(d.host);
}

/* A workspace that has moved since is not written to where it was. */
static void test_workspace_moves(void)
{
    enum { LONG = 1 << 18 };
    struct device_recording r = {0};
    const float *host;
    float *x = random_floats(&host, N, 0, 1), *far = lot_alloc(sizeof *far * LONG);
    double *sum = lot_alloc(2 * sizeof *sum), got, want = 0;
    for (int i = 0; i < N; i++)
        want += (double)host[i] * host[i];
    for (int i = 0; i < 6; i++) {
        device_zero(sum, sizeof *sum);
        if (!device_replay(&r, 0)) {
            square_sum(sum, x, N);
            device_replay_end(&r);
        }
        device_get(&got, sum, sizeof got);
        CHECK(fabs(got - want) <= 1e-12 * want);
        if (i == 2)
            device_reserve((size_t)64 << 20);
        square_sum(sum + 1, far, LONG);
    }
    CHECK(device_sync() == NULL);
    device_forget(&r);
}

static void test_clock(void)
{
    float *x = lot_alloc(sizeof *x * N);
    device_clock_start();
    for (int i = 0; i < 100; i++)
        mean_add(x, x, 1, N);
    double ms = device_clock_ms();
    CHECK(ms > 0 && ms < 60e3);
}

/* fp32 products with short operands: asked for, right to their 10 bits, and not there unasked. */
static void test_tf32(void)
{
    enum { M = 64, K = 96 };
    const float *a, *b;
    real *da = random_reals(&a, M * K), *db = random_reals(&b, K * M);
    float *exact = lot_alloc(sizeof *exact * M * M), *rounded = lot_alloc(sizeof *exact * M * M);
    double *want = lot_malloc(sizeof *want * M * M);
    for (int i = 0; i < M * M; i++)
        for (int k = 0; k < K; k++)
            want[i] += (double)a[i / M * K + k] * b[k * M + i % M];
    matmul_f32(exact, da, db, NN, M, M, K, 0);
    device_allow_tf32(true);
    matmul_f32(rounded, da, db, NN, M, M, K, 0);
    device_allow_tf32(false);
    near_floats("without", exact, want, M * M);
    CHECK(relative_l2(get_floats(rounded, M * M), want, M * M) <= 1e-3);
    matmul_f32(rounded, da, db, NN, M, M, K, 0);
    CHECK(same_bits(rounded, exact, sizeof *exact * M * M));
}

static double *put_double(double x)
{
    double *d = lot_alloc(sizeof *d);
    device_put(d, &x, sizeof x);
    return d;
}

/* A sum stays while all is finite, and a spoilt one changes nothing. */
static void test_spoil(void)
{
    const float *host;
    float *x = random_floats(&host, N, 0, 1);
    float *spoilt = put_floats((float[]){2.5f, 1}, 2);
    spoil_unless_finite(spoilt, x, N);
    CHECK(get_floats(spoilt, 2)[0] == 2.5f);
    for (int i = 0; i < 2; i++) {
        device_put(x + (i ? N - 1 : 0), (float[]){i ? -INFINITY : NAN}, sizeof *x);
        device_put(spoilt, (float[]){2.5f}, sizeof *spoilt);
        spoil_unless_finite(spoilt, x, N);
        const float *got = get_floats(spoilt, 2);
        CHECK(isnan(got[0]) && got[1] == 1);
    }
    double *sum = put_double(0);
    square_sum(sum, spoilt, 2);
    static const struct adamw a = {.lr = 1,
                                   .beta1 = 0.9f,
                                   .beta2 = 0.9f,
                                   .eps = 1e-8f,
                                   .correct1 = 1,
                                   .correct2 = 1,
                                   .clip = 1};
    static const struct adafactor f = {.lr = 1, .beta1 = 0.9f, .decay = 0.5f, .clip = 1};
    float *array[3], *before[3];
    for (int i = 0; i < 3; i++) {
        array[i] = random_floats(&host, N, 0, 1);
        before[i] = put_floats(host, N);
    }
    double *infinite = put_double(INFINITY), *one = put_double(1);
    adamw_step(array[0], array[1], array[2], x, sum, N, &a);
    adamw_step(array[0], array[1], array[2], x, infinite, N, &a);
    adafactor_step(array[0], array[1], array[2], x, sum, one, N, &f);
    for (int i = 0; i < 3; i++)
        CHECK(same_bits(array[i], before[i], sizeof *x * N));
}

/* Of the ops between them, in their order, however often a mark is used. */
static void test_marks(void)
{
    float *x = lot_alloc(sizeof *x * N), *y = lot_alloc(sizeof *y * N);
    double all_ms = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++) {
            device_mark(i ? i : DEVICE_MARKS - 1);
            mean_add(x, y, i, N);
        }
        CHECK(device_sync() == NULL);
        all_ms = device_marked_ms(DEVICE_MARKS - 1, 3);
        double parts_ms =
            device_marked_ms(DEVICE_MARKS - 1, 1) + device_marked_ms(1, 2) + device_marked_ms(2, 3);
        CHECK(all_ms > 0 && all_ms < 10e3);
        CHECK(fabs(parts_ms - all_ms) <= 1e-3 * all_ms);
    }
}

static void test_peak(void)
{
    size_t before = device_peak_bytes();
    void *a = lot_alloc(before + 4096);
    CHECK(a);
    if (strcmp(device_kind(), "cpu"))
        CHECK(before > 0 && device_peak_bytes() >= before + 4096);
    else
        CHECK(before == 0 && device_peak_bytes() == 0);
    CHECK(device_matmul_gflops() > 0);
    CHECK(!strcmp(device_matmul_kind(), REAL_NAME));
}

/* Last, for it stays taken. */
static void test_take(void)
{
    enum { BYTES = 1 << 20 };
    size_t before = device_free_bytes();
    CHECK(device_take(BYTES));
    CHECK(device_free_bytes() <= before + (before >> 4)); /* what is taken is still free */
    void *a = device_alloc(BYTES / 2 - 1), *b = device_alloc(100), *c = device_alloc(BYTES);
    CHECK(a && b && c && (uintptr_t)a % 256 == 0 && (uintptr_t)b % 256 == 0);
    device_zero(a, BYTES / 2 - 1);
    device_free(a);
    device_free(b);
    device_free(c);
    float *x = lot_alloc(sizeof *x * N);
    CHECK(all_are(x, 0));
    CHECK(device_sync() == NULL);
}

static const struct {
    const char *name;
    void (*test)(void);
} tests[] = {
    {"memory of the host", test_host_memory},
    {"uploads beside the ops", test_uploads},
    {"a recording", test_recording},
    {"a recording whose workspace moves", test_workspace_moves},
    {"the clock", test_clock},
    {"products with short operands", test_tf32},
    {"an update that is left out", test_spoil},
    {"marks", test_marks},
    {"memory at its most", test_peak},
    {"memory taken at once", test_take},
};

int main(void)
{
    const char *broken = device_open(0);
    if (broken) {
        fprintf(stderr, "device_queue: %s\n", broken);
        return 1;
    }
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        case_begin(tests[i].name);
        worst_begin();
        tests[i].test();
        lot_free();
        case_end("");
    }
    device_close();
    return check_finish();
}
