/* test_formats.c -- .npy, manifest and offsets: round trips, headers, and every cut and every
   flipped bit of a small file answered by a sentence that names it. */
#include "harm.h"
#include "npy.h"
#include "prove.h"

enum { ROOM = 4096 };
static uint32_t ids[ROOM];

static void ids_fill(uint32_t vocab_size)
{
    for (uint32_t i = 0; i < ROOM; i++)
        ids[i] = vocab_size - 1 - i / 8 % vocab_size;
}

/* ---- .npy --------------------------------------------------------------------------------- */

static void npy_header_bytes(void)
{
    static const struct {
        enum npy_dtype dtype;
        uint64_t count;
        const char *text;
    } cases[] = {
        {NPY_U2, 0, "{'descr': '<u2', 'fortran_order': False, 'shape': (0,), }"},
        {NPY_U2, 383509963636,
         "{'descr': '<u2', 'fortran_order': False, 'shape': (383509963636,), }"},
        {NPY_I4, 7, "{'descr': '<i4', 'fortran_order': False, 'shape': (7,), }"},
    };
    case_begin("npy: headers as numpy writes them");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint8_t want[128], got[NPY_HEADER_BYTES];
        memset(want, ' ', sizeof want);
        memcpy(want, "\x93NUMPY\1\0\x76\0", 10);
        memcpy(want + 10, cases[c].text, strlen(cases[c].text));
        want[127] = '\n';
        npy_header(got, cases[c].dtype, cases[c].count);
        CHECK(!memcmp(want, got, sizeof want));
    }
    /* And as it really wrote one. */
    size_t bytes;
    uint8_t got[NPY_HEADER_BYTES];
    char *golden = slurp("tests/golden/shuffle/perm-seed42-n257.npy", &bytes);
    npy_header(got, NPY_I8, 257);
    CHECK(bytes == 128 + 8 * 257 && !memcmp(golden, got, sizeof got));
    free(golden);
    case_end("");
}

static void npy_round_trip(void)
{
    case_begin("npy: written, sealed and read, the count known or not");
    for (int wide = 0; wide < 2; wide++)
        for (int known = 0; known < 2; known++) {
            const char *path = scratch("a.npy");
            struct npy_writer w;
            struct npy a;
            ids_fill(60000);
            remove(path);
            CHECK(!npy_writer_open(&w, path, wide ? NPY_I4 : NPY_U2, known ? 4000 : 0));
            CHECK(!npy_writer_put_ids(&w, ids, 1000) && !npy_writer_put_ids(&w, ids + 1000, 3000));
            CHECK(bytes_of(path) == 0); /* nothing under the final name yet */
            CHECK(!npy_writer_seal(&w) && !npy_writer_commit(&w));
            CHECK(!npy_open(&a, path) && a.count == 4000 && a.dims == 1);
            for (uint64_t i = 0; i < a.count; i++)
                if (npy_int(&a, i) != ids[i]) {
                    CHECK(!"an id differs");
                    break;
                }
            CHECK(w.bytes == a.map.bytes);
            CHECK(!strcmp(w.xxh3.hex, xxh3_of(a.map.data, a.map.bytes).hex));
            CHECK(w.crc32c == crc32c(0, a.map.data, a.map.bytes));
            npy_close(&a);
        }
    struct npy_writer w;
    uint32_t big = 65536;
    CHECK(!npy_writer_open(&w, scratch("b.npy"), NPY_U2, 1));
    CHECK(npy_writer_put_ids(&w, &big, 1) == -1 && strstr(why(), "65536"));
    npy_writer_abandon(&w);
    CHECK(bytes_of(scratch("b.npy")) == 0);
    case_end("");
}

/* A file of version `version` with this dictionary and so many bytes of data. */
static int npy_try(struct npy *a, int version, const char *text, size_t data)
{
    char file[512] = "\x93NUMPY", *p = file + 6;
    const char *path = scratch("try.npy");
    size_t n = strlen(text);
    *p++ = (char)version;
    *p++ = 0;
    *p++ = (char)n;
    *p++ = 0;
    if (version > 1) {
        *p++ = 0;
        *p++ = 0;
    }
    memcpy(p, text, n);
    scratch_write(path, file, (size_t)(p - file) + n + data);
    return npy_open(a, path);
}

static void npy_headers(void)
{
    static const struct {
        int version;
        const char *text;
        size_t data;
        const char *refusal; /* NULL: read */
    } cases[] = {
        {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }\n", 6, NULL},
        {2, "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }   \n", 6, NULL},
        {1, "{\"shape\":(2,3),\"descr\":\"<f4\",\"fortran_order\":False}\n", 24, NULL},
        {1, "{'descr': '|u1', 'fortran_order': True, 'shape': (3,), }\n", 3, NULL},
        {1, "{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n", 8, NULL},
        {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (3L,), }\n", 12, NULL},
        {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (2, 0, 5), }\n", 0, NULL},
        {1, "{'descr': '<u2', 'fortran_order': True, 'shape': (3, 2), }\n", 12, "Fortran"},
        {1, "{'descr': '>u2', 'fortran_order': False, 'shape': (3,), }\n", 6, ">u2"},
        {1, "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }\n", 24, "|O"},
        {1, "{'descr': '', 'fortran_order': False, 'shape': (3,), }\n", 6, "type ''"},
        {1, "{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (3,), }\n", 6,
         "structured"},
        {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }\n", 5, "cut short"},
        {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }\n", 7, "expected"},
        {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (3), }\n", 6, "tuple"},
        {1, "{'descr': '<u2', 'fortran_order': False, }\n", 6, "lacks"},
        {1, "{'descr': '<u2', 'descr': '<u2', 'shape': (3,), }\n", 6, "twice"},
        {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), 'x': 1}\n", 6, "unknown"},
        {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }", 6, "newline"},
        {1, "{'descr': '<u8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n", 0,
         "64 bits"},
        {1, "{'descr': '<u8', 'fortran_order': False, 'shape': (2305843009213693952,), }\n", 0,
         "expected"},
        {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }\n", 2,
         "at most 8"},
        {3, "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }\n", 6, "version"},
        {1, "", 0, "dictionary"},
        {1, "{'descr", 0, "dictionary"},
    };
    case_begin("npy: headers read and refused");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct npy a;
        int status = npy_try(&a, cases[c].version, cases[c].text, cases[c].data);
        bool good = cases[c].refusal ? status == -1 && strstr(why(), cases[c].refusal) : !status;
        if (!good)
            fprintf(stderr, "header %zu: status %d, %s\n", c, status, status ? why() : "read");
        CHECK(good);
        npy_close(&a);
    }
    case_end("25 headers");
}

static int read_npy(const char *path)
{
    struct npy a;
    if (npy_open(&a, path))
        return -1;
    npy_close(&a);
    return 0;
}

static void npy_harmed(void)
{
    case_begin("npy: every flip of the header and every cut");
    const char *path = scratch("harmed.npy");
    struct npy_writer w;
    ids_fill(300);
    CHECK(!npy_writer_open(&w, path, NPY_U2, 100) && !npy_writer_put_ids(&w, ids, 100) &&
          !npy_writer_seal(&w) && !npy_writer_commit(&w));
    harm(read_npy, path, NPY_HEADER_BYTES);
    case_end("1024 flips, 328 cuts");
}

/* ---- blocks ------------------------------------------------------------------------------- */

/* In pieces of any size, and when there are so many that two become one. */
static void blocks_of_any_size(void)
{
    enum { BYTES = 3 * BLOCK_BYTES_LEAST + 12345, PIECE = 700001 };
    struct blocks pieces = {0}, whole = {0};
    char *data = malloc(BYTES);
    case_begin("blocks: in pieces and at once, doubled, and what may be said of them");
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    for (size_t at = 0; at < BYTES; at += PIECE)
        blocks_add(&pieces, data + at, BYTES - at < PIECE ? BYTES - at : PIECE);
    CHECK(!strcmp(blocks_sums(&whole, data, BYTES).hex, xxh3_of(data, BYTES).hex));
    char *a = blocks_text(&pieces), *b = blocks_text(&whole);
    CHECK(whole.count == 4 && strlen(a) == 32 && !strcmp(a, b));
    CHECK(blocks_crc32c(&pieces) == crc32c(0, data, BYTES));
    CHECK(pieces.crc[3] == crc32c(0, data + 3 * BLOCK_BYTES_LEAST, 12345));
    CHECK(blocks_text_good(a, BLOCK_BYTES_LEAST, BYTES) && blocks_text_good("", 0, 0));
    CHECK(!blocks_text_good(a, 2 * BLOCK_BYTES_LEAST, BYTES) && !blocks_text_good(a + 8, 1, BYTES));
    CHECK(!blocks_text_good(a, BLOCK_BYTES_LEAST, 3 * BLOCK_BYTES_LEAST));
    CHECK(blocks_same(&whole, a, 2) && !blocks_same(&whole, a + 8, 2));
    free(a);
    free(b);
    /* As if 4096 blocks, all like the first, had been added: the next byte makes them 2048. */
    uint32_t first = whole.crc[0], two = crc32c_combine(first, first, BLOCK_BYTES_LEAST);
    for (size_t i = 0; i < BLOCKS_MAX; i++)
        whole.crc[i] = first;
    whole.count = BLOCKS_MAX;
    whole.bytes = (uint64_t)BLOCKS_MAX * BLOCK_BYTES_LEAST;
    uint32_t before = blocks_crc32c(&whole);
    blocks_add(&whole, data, 1);
    CHECK(whole.count == BLOCKS_MAX / 2 + 1 && whole.block_bytes == 2 * BLOCK_BYTES_LEAST);
    CHECK(whole.crc[0] == two && whole.crc[BLOCKS_MAX / 2 - 1] == two);
    CHECK(blocks_crc32c(&whole) == crc32c_combine(before, crc32c(0, data, 1), 1));
    a = blocks_text(&whole);
    CHECK(blocks_text_good(a, 2 * BLOCK_BYTES_LEAST, whole.bytes));
    free(a);
    blocks_free(&pieces);
    blocks_free(&whole);
    free(data);
    case_end("");
}

/* ---- manifest, and what it guards --------------------------------------------------------- */

static struct manifest_file line;

static int read_ids(const char *path)
{
    struct proof p;
    return prove_ids(path, 0, &line, &p);
}

static int read_offsets(const char *path)
{
    struct proof p;
    return prove_offsets(path, &line, &p);
}

static int read_manifest(const char *path)
{
    struct manifest m;
    if (manifest_read(&m, path))
        return -1;
    bool same = m.count == 2;
    for (size_t i = 0; same && i < 2; i++) {
        const struct manifest_file *f = &m.files[i];
        same = !strcmp(f->path, i ? "train.offsets" : "train.npy") &&
               !strcmp(f->dtype, line.dtype) && f->bytes == line.bytes + i &&
               f->tokens == line.tokens && f->documents == line.documents &&
               f->vocab_size == line.vocab_size && !strcmp(f->tokenizer.hex, line.tokenizer.hex) &&
               !strcmp(f->tokenizer_name, line.tokenizer_name) &&
               !strcmp(f->options, line.options) && f->seed == (i ? -1 : 2357) &&
               !strcmp(f->source.name, line.source.name) &&
               f->source.documents == line.source.documents &&
               f->source.tokens == line.source.tokens && f->source.chain == line.source.chain &&
               !strcmp(f->xxh3.hex, line.xxh3.hex) && f->crc32c == line.crc32c &&
               (i ? !f->blocks : !strcmp(f->blocks, "01234567") && f->block_bytes == 1 << 20) &&
               !strcmp(f->version, line.version);
    }
    manifest_free(&m);
    return same ? 0 : 1;
}

/* Offsets 0 3 5 5 12 and the array of 12 ids; `line` becomes what the manifest says of a file. */
static void line_for(const char *path, const struct npy_writer *w)
{
    line = (struct manifest_file){
        .path = path,
        .dtype = npy_dtype_name(w->dtype),
        .bytes = w->bytes,
        .tokens = 12,
        .documents = 4,
        .vocab_size = 300,
        .tokenizer = {"00112233445566778899aabbccddeeff"},
        .tokenizer_name = "meta-llama/Llama-2-7b-hf",
        .options = "{\"a\":true}",
        .seed = 2357,
        .source = {"bücher \"x\".tok", 5, 13, 0x8000000000000001u},
        .xxh3 = w->xxh3,
        .crc32c = w->crc32c,
        .version = "1",
    };
}

static void manifest_guards(void)
{
    const uint64_t starts[] = {0, 3, 5, 5, 12};
    const char *npy = scratch("train.npy"), *offsets = scratch("train.offsets");
    const char *manifest = scratch("manifest.jsonl");
    struct npy_writer a, o;
    struct manifest m = {0};
    ids_fill(300);
    case_begin("ids under a manifest: every flip and cut");
    CHECK(!npy_writer_open(&a, npy, NPY_U2, 12) && !npy_writer_put_ids(&a, ids, 12) &&
          !npy_writer_seal(&a) && !npy_writer_commit(&a));
    line_for("train.npy", &a);
    harm(read_ids, npy, SIZE_MAX);
    case_end("1216 flips, 152 cuts");

    case_begin("manifest: round trip, every flip and cut");
    struct manifest_file second = line; /* as older programs wrote it: without blocks */
    line.blocks = "01234567";
    line.block_bytes = BLOCK_BYTES_LEAST;
    CHECK(!manifest_add(&m, &line));
    second.path = "train.offsets";
    second.seed = -1;
    second.bytes++;
    CHECK(!manifest_add(&m, &second) && !manifest_write(&m, manifest));
    CHECK(read_manifest(manifest) == 0);
    harm(read_manifest, manifest, SIZE_MAX);
    manifest_free(&m);
    case_end("");

    case_begin("offsets under a manifest: every flip and cut");
    CHECK(!npy_writer_open(&o, offsets, NPY_U8, 0) && !npy_writer_put(&o, starts, 5) &&
          !npy_writer_seal(&o) && !npy_writer_commit(&o));
    line_for("train.offsets", &o);
    harm(read_offsets, offsets, SIZE_MAX);
    case_end("1344 flips, 168 cuts");
}

/* Wrong in meaning, though every checksum is right. */
static void meaning_checked(void)
{
    static const uint64_t bad[][5] = {{1, 3, 5, 5, 12},
                                      {0, 5, 3, 5, 12},
                                      {0, 3, 5, 5, 11},
                                      {0, 3, 5, 13, 12}};
    case_begin("offsets and ids that are whole but wrong");
    const char *path = scratch("wrong.offsets");
    struct npy_writer w;
    for (size_t c = 0; c < sizeof bad / sizeof *bad; c++) {
        CHECK(!npy_writer_open(&w, path, NPY_U8, 5) && !npy_writer_put(&w, bad[c], 5) &&
              !npy_writer_seal(&w) && !npy_writer_commit(&w));
        line_for("wrong.offsets", &w);
        CHECK(refused(read_offsets, path, "offsets", c));
    }
    ids_fill(301);
    const char *npy = scratch("wrong.npy");
    CHECK(!npy_writer_open(&w, npy, NPY_U2, 12) && !npy_writer_put_ids(&w, ids, 12) &&
          !npy_writer_seal(&w) && !npy_writer_commit(&w));
    line_for("wrong.npy", &w);
    CHECK(refused(read_ids, npy, "id", 300) && strstr(why(), "token 0 is 300"));
    case_end("");
}

int main(void)
{
    scratch_make();
    npy_header_bytes();
    npy_round_trip();
    npy_headers();
    npy_harmed();
    blocks_of_any_size();
    manifest_guards();
    meaning_checked();
    return check_finish();
}
