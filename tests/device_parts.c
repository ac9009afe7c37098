/* device_parts.c -- operations on rows whose columns are on several ranks: together they are what
   the operation on whole rows is. All ranks are played here, one after the other. */
#include "compare.h"

enum { ROWS = 7, RANKS = 3, PART = 20, WIDTH = RANKS * PART };

/* bf16 has eight bits. */
static const double TOLERANCE = sizeof(real) == 2 ? 2e-2 : 2e-6;

/* On the device until lot_free; whatever is there where host is NULL. */
static float *on_device(const float *host, size_t count)
{
    return host ? put_floats(host, count) : lot_alloc(count * sizeof(float));
}

static void read_stored(float *host, const real *p, size_t count)
{
    memcpy(host, get_reals(p, count), count * sizeof *host);
}

static double error(const float *got, const float *want, size_t count)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        double e = fabs((double)got[i] - want[i]) / (1 + fabs((double)want[i]));
        if (!(e <= worst) && !isnan(worst)) /* the first NaN stays */
            worst = e;
    }
    return worst;
}

/* Columns of rank k of x [rows][WIDTH]. */
static void columns(float *to, const float *x, int rows, int k)
{
    for (int r = 0; r < rows; r++)
        memcpy(to + r * PART, x + r * WIDTH + k * PART, PART * sizeof *to);
}

static void fill(float *x, size_t count, unsigned seed, float scale)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = scale * ((float)(seed >> 8) / (1 << 23) - 1);
    }
}

static void test_layernorm(void)
{
    static float x[ROWS * WIDTH], dy[ROWS * WIDTH], scale[WIDTH], bias[WIDTH];
    static float want[ROWS * WIDTH], dwant[ROWS * WIDTH], part[ROWS * PART], got[ROWS * PART];
    static float dscale[WIDTH], dbias[WIDTH], some[PART], sums[2 * ROWS], all[2 * ROWS];
    fill(x, ROWS * WIDTH, 1, 2);
    fill(dy, ROWS * WIDTH, 2, 1);
    fill(scale, WIDTH, 3, 1);
    fill(bias, WIDTH, 4, 1);
    for (int i = 0; i < ROWS * WIDTH; i++)
        x[i] += 3; /* a mean that is far from zero */

    real *X = put_reals(x, ROWS * WIDTH), *Y = put_reals(x, ROWS * WIDTH),
         *DY = put_reals(dy, ROWS * WIDTH);
    float *S = on_device(scale, WIDTH), *B = on_device(bias, WIDTH);
    float *mean = on_device(NULL, ROWS), *inv = on_device(NULL, ROWS);
    float *DS = on_device(NULL, WIDTH), *DB = on_device(NULL, WIDTH);
    layernorm_fwd(Y, mean, inv, X, S, B, ROWS, WIDTH, 1e-6f);
    read_stored(want, Y, ROWS * WIDTH);
    layernorm_bwd(DY, DS, DB, DY, X, mean, inv, S, ROWS, WIDTH);
    read_stored(dwant, DY, ROWS * WIDTH);
    device_get(dscale, DS, sizeof dscale);
    device_get(dbias, DB, sizeof dbias);

    float *moments = on_device(NULL, RANKS * ROWS * 2), *SUMS = on_device(NULL, 2 * ROWS);
    float *s[RANKS], *b[RANKS], *m[RANKS], *v[RANKS];
    real *px[RANKS], *pdy[RANKS], *py = put_reals(part, ROWS * PART);
    for (int k = 0; k < RANKS; k++) {
        columns(part, x, ROWS, k);
        px[k] = put_reals(part, ROWS * PART);
        columns(part, dy, ROWS, k);
        pdy[k] = put_reals(part, ROWS * PART);
        s[k] = on_device(scale + k * PART, PART);
        b[k] = on_device(bias + k * PART, PART);
        m[k] = on_device(NULL, ROWS);
        v[k] = on_device(NULL, ROWS);
        layernorm_part_moments(moments + k * 2 * ROWS, px[k], ROWS, PART);
    }
    memset(all, 0, sizeof all);
    for (int k = 0; k < RANKS; k++) {
        layernorm_part_fwd(py, m[k], v[k], px[k], moments, s[k], b[k], ROWS, PART, RANKS, 1e-6f);
        read_stored(got, py, ROWS * PART);
        columns(part, want, ROWS, k);
        CHECK(error(got, part, ROWS * PART) <= TOLERANCE);
        layernorm_part_sums(SUMS, pdy[k], px[k], m[k], v[k], s[k], ROWS, PART);
        device_get(sums, SUMS, sizeof sums);
        for (int i = 0; i < 2 * ROWS; i++)
            all[i] += sums[i];
    }
    device_put(SUMS, all, sizeof all);
    for (int k = 0; k < RANKS; k++) {
        float *ds = on_device(NULL, PART), *db = on_device(NULL, PART);
        layernorm_part_bwd(pdy[k], ds, db, pdy[k], px[k], m[k], v[k], s[k], SUMS, ROWS, PART,
                           RANKS);
        read_stored(got, pdy[k], ROWS * PART);
        columns(part, dwant, ROWS, k);
        CHECK(error(got, part, ROWS * PART) <= TOLERANCE);
        device_get(some, ds, sizeof some);
        CHECK(error(some, dscale + k * PART, PART) <= TOLERANCE);
        device_get(some, db, sizeof some);
        CHECK(error(some, dbias + k * PART, PART) <= TOLERANCE);
    }
}

static void test_entropy(void)
{
    static float logits[ROWS * WIDTH], part[ROWS * PART], got[ROWS * PART];
    static float want[ROWS * WIDTH], loss[ROWS], correct[ROWS], l[ROWS], c[ROWS], w[ROWS];
    int32_t target[ROWS], local[RANKS][ROWS];
    fill(logits, ROWS * WIDTH, 5, 4);
    for (int r = 0; r < ROWS; r++) {
        target[r] = r * 11 % WIDTH;
        w[r] = r == 2 ? 0 : 0.1f * (float)(r + 1);
    }
    logits[3 * WIDTH + target[3]] = 9; /* the greatest */
    logits[4 * WIDTH + target[4]] = 9; /* as great as a later one */
    logits[4 * WIDTH + WIDTH - 1] = 9;
    logits[5 * WIDTH + target[5]] = logits[5 * WIDTH] = 9; /* as great as the first */
    logits[6 * WIDTH + target[6]] = 90;                    /* and one that is almost certain */

    float *L = on_device(logits, ROWS * WIDTH), *W = on_device(w, ROWS);
    float *loss_d = on_device(NULL, ROWS), *correct_d = on_device(NULL, ROWS);
    real *D = put_reals(logits, ROWS * WIDTH);
    int32_t *T = put_ints(target, ROWS);
    cross_entropy(loss_d, correct_d, D, L, T, W, ROWS, WIDTH);
    device_get(loss, loss_d, sizeof loss);
    device_get(correct, correct_d, sizeof correct);
    read_stored(want, D, ROWS * WIDTH);
    CHECK(correct[3] == 1 && correct[4] == 1 && correct[5] == 0 && correct[6] == 1);

    float *sums = on_device(NULL, RANKS * ROWS * 4), *parts[RANKS];
    for (int k = 0; k < RANKS; k++) {
        columns(part, logits, ROWS, k);
        parts[k] = on_device(part, ROWS * PART);
        for (int r = 0; r < ROWS; r++)
            local[k][r] = target[r] / PART == k ? target[r] % PART : -1;
        device_put(T, local[k], sizeof local[k]);
        cross_entropy_sums(sums + k * 4 * ROWS, parts[k], T, ROWS, PART);
    }
    for (int k = 0; k < RANKS; k++) {
        real *d = put_reals(part, ROWS * PART);
        device_put(T, local[k], sizeof local[k]);
        cross_entropy_part(loss_d, correct_d, d, parts[k], sums, T, W, ROWS, PART, RANKS);
        device_get(l, loss_d, sizeof l);
        device_get(c, correct_d, sizeof c);
        read_stored(got, d, ROWS * PART);
        columns(part, want, ROWS, k);
        CHECK(error(l, loss, ROWS) <= 2e-6 && !memcmp(c, correct, sizeof c));
        CHECK(error(got, part, ROWS * PART) <= TOLERANCE);
    }
}

/* Ids of other ranks make rows of zeros, and add nothing. */
static void test_embedding(void)
{
    static float table[5 * PART], x[4 * PART], d[5 * PART];
    const int32_t ids[4] = {3, -1, 0, 3};
    fill(table, 5 * PART, 6, 1);
    real *t = put_reals(table, 5 * PART), *out = put_reals(x, 4 * PART);
    float *dt = on_device(NULL, 5 * PART);
    int32_t *i = put_ints(ids, 4);
    embedding_fwd(out, t, i, 4, PART);
    read_stored(x, out, 4 * PART);
    CHECK(error(x, table + 3 * PART, PART) <= TOLERANCE);
    for (int c = 0; c < PART; c++)
        CHECK(x[PART + c] == 0);
    embedding_bwd(dt, out, i, 4, PART, 5);
    device_get(d, dt, sizeof d);
    for (int c = 0; c < PART; c++)
        CHECK(d[c] == x[2 * PART + c] && d[3 * PART + c] == 2 * x[c] && d[PART + c] == 0 &&
              d[2 * PART + c] == 0 && d[4 * PART + c] == 0);
}

int main(void)
{
    const char *broken = device_open(0);
    if (broken) {
        printf("%s\n", broken);
        return 1;
    }
    case_begin("layernorm-in-parts");
    test_layernorm();
    lot_free();
    case_end("");
    case_begin("cross-entropy-in-parts");
    test_entropy();
    lot_free();
    case_end("");
    case_begin("embedding-of-ids-elsewhere");
    test_embedding();
    CHECK(!device_sync());
    lot_free();
    case_end("");
    return check_finish();
}
