/* test_order.c -- numpy's order and our own: goldens, splits, exact permutations.

   test_order [DIR]: DIR holds permutation.tsv, perm-*.npy and split.tsv, all from numpy and the
   reference's own split; without it tests/golden/shuffle is read. */
#include "check.h"
#include "npy.h"
#include "pcg.h"
#include "permute.h"
#include "sha256.h"

#include <stdlib.h>

/* A decimal number of any size into 32-bit words, the lowest first. Returns how many. */
static size_t words_of(const char *decimal, uint32_t words[8])
{
    size_t count = 1;
    memset(words, 0, 8 * sizeof *words);
    for (; *decimal; decimal++) {
        uint64_t carry = (uint64_t)(*decimal - '0');
        for (size_t i = 0; i < 8; i++) {
            carry += (uint64_t)words[i] * 10;
            words[i] = (uint32_t)carry;
            carry >>= 32;
            if (words[i] && i + 1 > count)
                count = i + 1;
        }
    }
    return count;
}

static FILE *table(const char *dir, const char *name)
{
    char path[4096], header[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (f && fgets(header, sizeof header, f))
        return f;
    perror(path);
    exit(1);
}

static void permutations(const char *dir)
{
    char name[256], seed[128], sha[65], got[65], path[8192];
    unsigned long long n, held;
    FILE *f = table(dir, "permutation.tsv");
    while (fscanf(f, "%255s %127s %llu %llu %64s", name, seed, &n, &held, sha) == 5) {
        case_begin(name);
        struct pcg g;
        struct npy a;
        uint32_t words[8];
        uint64_t *order = malloc(n * sizeof *order);
        size_t count = words_of(seed, words);
        pcg_seed_words(&g, words, count);
        pcg_permutation(&g, order, n);
        sha256(got, order, n * sizeof *order);
        CHECK(!strcmp(got, sha));
        snprintf(path, sizeof path, "%s/%s", dir, name);
        CHECK(!npy_open(&a, path) && a.dtype == NPY_I8 && a.count == held);
        for (uint64_t i = 0; i < a.count; i++)
            if ((uint64_t)npy_int(&a, i) != order[i]) {
                CHECK(!"an entry differs");
                break;
            }
        if (count <= 2) { /* seeds of 64 bits come through the usual door */
            pcg_seed(&g, strtoull(seed, NULL, 10));
            uint64_t *again = malloc(n * sizeof *again);
            pcg_permutation(&g, again, n);
            CHECK(!memcmp(order, again, n * sizeof *order));
            free(again);
        }
        npy_close(&a);
        free(order);
        case_end("");
    }
    fclose(f);
}

static void splits(const char *dir)
{
    char status[16], test[65], train[65], got[65], name[64], field[6][24];
    unsigned long long n;
    double ratio;
    FILE *f = table(dir, "split.tsv");
    while (fscanf(f, "%llu %lf %15s %23s %23s %23s %23s %23s %23s %64s %64s", &n, &ratio, status,
                  field[0], field[1], field[2], field[3], field[4], field[5], test, train) == 11) {
        snprintf(name, sizeof name, "split of %llu by %g", n, ratio);
        case_begin(name);
        uint64_t rows;
        int refused = pcg_split(&rows, ratio, n);
        CHECK(refused == (strcmp(status, "ok") ? -1 : 0));
        if (!refused) {
            struct pcg g;
            uint64_t *order = malloc(n * sizeof *order);
            pcg_seed(&g, 2357);
            pcg_permutation(&g, order, n);
            CHECK(rows == strtoull(field[0], NULL, 10));
            CHECK(n - rows == strtoull(field[1], NULL, 10));
            sha256(got, order, rows * sizeof *order);
            CHECK(!strcmp(got, test));
            sha256(got, order + rows, (n - rows) * sizeof *order);
            CHECK(!strcmp(got, train));
            free(order);
        }
        case_end("");
    }
    fclose(f);
}

/* Every place of the order is taken once. */
static void permute_is_exact(void)
{
    case_begin("order ttt is a permutation");
    static const uint64_t sizes[] = {1,   2,   3,    4,    5,    6,     7,     8,     9,     10,
                                     15,  16,  17,   63,   64,   65,    99,    100,   101,   255,
                                     256, 257, 1000, 4095, 4096, 65535, 65536, 65537, 250000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            struct permute p;
            uint64_t n = sizes[s], twice = 0, strays = 0;
            permute_begin(&p, seed, n);
            uint8_t *taken = calloc(n, 1);
            for (uint64_t i = 0; i < n; i++) {
                uint64_t at = permute_at(&p, i);
                CHECK(at < n);
                twice += at < n && taken[at]++;
                strays += permute_find(&p, at) != i;
            }
            CHECK(twice == 0 && strays == 0); /* and permute_find is its inverse */
            free(taken);
        }
    case_end("29 sizes up to 250000, three seeds");
}

/* The bytes of shuffled files depend on these numbers: they never change. */
static void permute_is_fixed(void)
{
    case_begin("order ttt is what docs/formats.md says");
    struct permute p;
    char got[65];
    uint64_t order[1000];
    permute_begin(&p, 2357, 1000);
    for (uint64_t i = 0; i < 1000; i++)
        order[i] = permute_at(&p, i);
    sha256(got, order, sizeof order);
    CHECK(!strcmp(got, "44839e5e4f609d1d9ba46f84d937ae6f740d99a774b4636aeb89e354004c4e04"));
    permute_begin(&p, 1, UINT64_C(1) << 40);
    CHECK(permute_at(&p, 12345) == 160074693691);
    if (!case_end(""))
        fprintf(stderr, "sha256 %s, far %llu\n", got, (unsigned long long)permute_at(&p, 12345));
}

/* Each of the n! orders equally often over seeds: chi-square against its 99.9 % point. */
static void permute_is_even(void)
{
    static const struct {
        int n, orders;
        double limit;
    } cases[] = {{2, 2, 10.8}, {3, 6, 20.5}, {4, 24, 49.7}, {5, 120, 172.8}, {6, 720, 840.1}};
    case_begin("order ttt is even over seeds");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int n = cases[c].n, draws = 200 * cases[c].orders, seen = 0;
        int *count = calloc(46656, sizeof *count);
        double chi = 0;
        for (int seed = 0; seed < draws; seed++) {
            struct permute p;
            permute_begin(&p, (uint64_t)seed, (uint64_t)n);
            int code = 0;
            for (int i = 0; i < n; i++)
                code = code * n + (int)permute_at(&p, (uint64_t)i);
            count[code]++;
        }
        for (int i = 0; i < 46656; i++)
            if (count[i]) {
                seen++;
                chi += (count[i] - 200.0) * (count[i] - 200.0) / 200;
            }
        CHECK(seen == cases[c].orders);
        CHECK(chi <= cases[c].limit);
        free(count);
    }
    case_end("n = 2 to 6");
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "tests/golden/shuffle";
    permutations(dir);
    splits(dir);
    permute_is_exact();
    permute_is_fixed();
    permute_is_even();
    return check_finish();
}
