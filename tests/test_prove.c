/* test_prove.c -- a dataset's documents against its source's chain: what is whole is proved, and
   what is changed, moved, cut elsewhere or doubled is not. */
#include "check.h"
#include "npy.h"
#include "placing.h"
#include "prove.h"
#include "scratch.h"
#include "tok_block.h"

enum { DOCUMENTS = 60, HELD_OUT = 7, SEED = 2357, LENGTH = 5 };

/* Document d in its place, of ids as wide as dtype says. */
static void write_split(const char *split, const uint64_t *at, uint64_t from, uint64_t to,
                        enum npy_dtype dtype)
{
    struct npy_writer ids, offsets;
    char name[32];
    uint64_t begin = 0;
    snprintf(name, sizeof name, "%s.npy", split);
    CHECK(!npy_writer_open(&ids, scratch(name), dtype, 0));
    snprintf(name, sizeof name, "%s.offsets", split);
    CHECK(!npy_writer_open(&offsets, scratch(name), NPY_U8, 0));
    for (uint64_t place = from; place < to; place++) {
        uint64_t d = at[place];
        CHECK(!npy_writer_put(&offsets, &begin, 1));
        for (uint32_t i = 0; i < LENGTH + d % 3; i++, begin++) {
            uint32_t id = (uint32_t)(100 * d + i);
            CHECK(!npy_writer_put_ids(&ids, &id, 1));
        }
    }
    CHECK(!npy_writer_put(&offsets, &begin, 1));
    CHECK(!npy_writer_seal(&ids) && !npy_writer_commit(&ids));
    CHECK(!npy_writer_seal(&offsets) && !npy_writer_commit(&offsets));
}

static uint64_t chain_of(uint64_t documents)
{
    struct tok_totals t = {0};
    for (uint64_t d = 0; d < documents; d++) {
        uint16_t ids[LENGTH + 2];
        for (uint32_t i = 0; i < LENGTH + d % 3; i++)
            ids[i] = (uint16_t)(100 * d + i);
        tok_totals_add(&t, XXH3_64bits(ids, 2 * (LENGTH + d % 3)));
    }
    return t.chain;
}

/* One bit, u16 or u64 of a file: `n` bytes of it exchanged with those further on. */
static void exchange(const char *path, size_t at, size_t with, size_t n)
{
    uint8_t a[64], b[64];
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0 && pread(fd, a, n, (off_t)at) == (ssize_t)n &&
          pread(fd, b, n, (off_t)with) == (ssize_t)n && memcmp(a, b, n));
    CHECK(pwrite(fd, b, n, (off_t)at) == (ssize_t)n && pwrite(fd, a, n, (off_t)with) == (ssize_t)n);
    close(fd);
}

static void drawn(enum npy_dtype dtype)
{
    struct manifest_file lines[3] = {{0}};
    struct manifest m = {.files = lines, .count = 3};
    struct placing o;
    struct proof p;
    uint64_t at[DOCUMENTS];
    CHECK(!placing_begin(&o, PLACING_NUMPY, SEED, DOCUMENTS));
    for (uint64_t d = 0; d < DOCUMENTS; d++)
        at[placing_of(&o, d)] = d;
    placing_end(&o);
    static const char *const names[] = {"train.npy", "validation.npy", "test.npy"};
    for (int i = 0; i < 3; i++)
        lines[i] = (struct manifest_file){.path = (char *)names[i],
                                          .documents = i ? HELD_OUT : DOCUMENTS - HELD_OUT,
                                          .vocab_size = 60000,
                                          .options = "{}",
                                          .seed = SEED,
                                          .source = {.documents = DOCUMENTS,
                                                     .chain = chain_of(DOCUMENTS)}};
    case_begin(dtype == NPY_U2 ? "drawn splits" : "drawn splits of wider ids");
    const char *train = scratch("train.npy"), *offsets = scratch("train.offsets");
    size_t item = npy_item_bytes(dtype);
    write_split("train", at, HELD_OUT, DOCUMENTS, dtype);
    write_split("test", at, 0, HELD_OUT, dtype);
    CHECK(prove_chain(scratch_dir, &m, &p) == 1);
    exchange(train, 128, 128 + item, item); /* two ids of a document */
    CHECK(prove_chain(scratch_dir, &m, &p) == -1 && strstr(why(), "chain"));
    exchange(train, 128, 128 + item, item);
    CHECK(prove_chain(scratch_dir, &m, &p) == 1);
    exchange(offsets, 128 + 8, 128 + 16, 8); /* where documents begin */
    CHECK(prove_chain(scratch_dir, &m, &p) == -1);
    exchange(offsets, 128 + 8, 128 + 16, 8);
    lines[0].seed = lines[2].seed = SEED + 1;
    CHECK(prove_chain(scratch_dir, &m, &p) == -1);
    lines[0].seed = lines[2].seed = SEED;
    uint64_t kept = at[HELD_OUT];
    at[HELD_OUT] = at[0]; /* a document of test in train too */
    write_split("train", at, HELD_OUT, DOCUMENTS, dtype);
    CHECK(prove_chain(scratch_dir, &m, &p) == -1);
    at[HELD_OUT] = kept;
    write_split("train", at, HELD_OUT, DOCUMENTS, dtype);
    CHECK(prove_chain(scratch_dir, &m, &p) == 1);
    lines[0].options = "{\"best_fit\":{}}";
    CHECK(prove_chain(scratch_dir, &m, &p) == 0);
    m.count = 1;
    CHECK(prove_chain(scratch_dir, &m, &p) == 0);
    case_end("");
}

int main(void)
{
    scratch_make();
    drawn(NPY_U2);
    drawn(NPY_I4);
    return check_finish();
}
