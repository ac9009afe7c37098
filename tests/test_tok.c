/* test_tok.c -- .tok: round trips, blocks moved, and every cut and every flipped bit of a small
   file answered by a sentence that names it. */
#include "harm.h"
#include "tok.h"
#include "tok_block.h"

/* ---- documents to play with --------------------------------------------------------------- */

enum { DOCS = 12, ROOM = 4096 };
static const size_t lengths[DOCS] = {5, 0, 0, 40, 16, 16, 1, 200, 0, 7, 33, 2};
static uint32_t ids[ROOM];

static struct tok_meta meta_of(uint32_t vocab_size, uint32_t block_ids)
{
    struct tok_meta m = {
        .vocab_size = vocab_size,
        .tokenizer = {"00112233445566778899aabbccddeeff"},
        .add_bos = true,
        .add_eos = true,
        .bos_id = 1,
        .eos_id = 2,
        .block_ids = block_ids,
        .options = "{\"program\":\"test\"}",
    };
    return m;
}

/* Ids of document d: runs, so that they deflate. */
static const uint32_t *doc_ids(int d)
{
    return ids + 11 * d;
}

static void ids_fill(uint32_t vocab_size)
{
    for (uint32_t i = 0; i < ROOM; i++)
        ids[i] = vocab_size - 1 - i / 8 % vocab_size;
}

static int write_docs(const char *path, const struct tok_meta *m, bool compress)
{
    struct tok_writer w;
    if (tok_writer_open(&w, path, m, compress))
        return -1;
    for (int d = 0; d < DOCS; d++)
        if (tok_writer_put(&w, doc_ids(d), lengths[d])) {
            tok_writer_abandon(&w);
            return -1;
        }
    return tok_writer_commit(&w);
}

static bool is_doc(const struct tok_doc *doc, int d)
{
    return doc->number == (uint64_t)d && doc->count == lengths[d] &&
           !memcmp(doc->ids, doc_ids(d), 4 * doc->count);
}

/* Front to back: 0 when all documents are there and right, -1 with why(), 1 when one is wrong. */
static int read_docs(const char *path)
{
    struct tok_reader r;
    struct tok_doc doc;
    int status, wrong = 0, d = 0;
    if (tok_reader_open(&r, path))
        return -1;
    while ((status = tok_reader_next(&r, &doc)) > 0) {
        wrong |= d >= DOCS || !is_doc(&doc, d);
        d++;
    }
    wrong |= status == 0 && (d != DOCS || r.totals.documents != DOCS);
    tok_reader_close(&r);
    return wrong ? 1 : status;
}

/* By number, the last first: 0 or -1 as read_docs; documents handed out must be right. */
static int seek_docs(const char *path)
{
    struct tok_reader r;
    struct tok_doc doc;
    int status = 0, wrong = 0;
    if (tok_reader_open(&r, path))
        return -1;
    if (tok_reader_index(&r))
        status = -1;
    for (int d = DOCS - 1; !status && d >= 0; d--) {
        if (tok_reader_seek(&r, (uint64_t)d) || tok_reader_next(&r, &doc) != 1)
            status = -1;
        else
            wrong |= !is_doc(&doc, d);
    }
    tok_reader_close(&r);
    return wrong ? 1 : status;
}

/* ---- .tok --------------------------------------------------------------------------------- */

static void tok_round_trip(void)
{
    static const struct {
        uint32_t vocab_size, block_ids;
        bool compress;
    } cases[] = {{300, 0, false},   {300, 0, true},    {300, 16, false},
                 {300, 1, false},   {65536, 64, true}, {65537, 64, false},
                 {65537, 64, true}, {1, 7, true},      {2000000, 64, true}};
    case_begin("tok: round trips, front to back and by number");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const char *path = scratch("round.tok");
        struct tok_meta m = meta_of(cases[c].vocab_size, cases[c].block_ids);
        m.add_bos = m.add_eos = m.vocab_size > 2;
        ids_fill(m.vocab_size);
        CHECK(!write_docs(path, &m, cases[c].compress));
        CHECK(read_docs(path) == 0);
        CHECK(seek_docs(path) == 0);
    }
    case_end("9 shapes");
}

static void tok_append(void)
{
    case_begin("tok: bytes do not depend on how a document is cut into appends");
    size_t whole_bytes, part_bytes;
    struct tok_meta m = meta_of(300, 64);
    struct tok_writer w;
    ids_fill(300);
    const char *whole = scratch("whole.tok"), *parts = scratch("parts.tok");
    CHECK(!write_docs(whole, &m, true));
    CHECK(!tok_writer_open(&w, parts, &m, true));
    for (int d = 0; d < DOCS; d++) {
        CHECK(!tok_writer_begin(&w));
        for (size_t at = 0; at < lengths[d]; at += 3)
            CHECK(
                !tok_writer_append(&w, doc_ids(d) + at, lengths[d] - at < 3 ? lengths[d] - at : 3));
        CHECK(!tok_writer_end(&w));
    }
    CHECK(!tok_writer_commit(&w));
    char *a = slurp(whole, &whole_bytes), *b = slurp(parts, &part_bytes);
    CHECK(whole_bytes == part_bytes && !memcmp(a, b, whole_bytes));
    free(a);
    free(b);
    case_end("");
}

static void tok_empty(void)
{
    case_begin("tok: a stream without documents");
    struct tok_meta m = meta_of(300, 0);
    struct tok_writer w;
    struct tok_reader r;
    struct tok_doc doc;
    const char *path = scratch("empty.tok");
    CHECK(!tok_writer_open(&w, path, &m, false) && !tok_writer_commit(&w));
    CHECK(!tok_reader_open(&r, path));
    CHECK(tok_reader_next(&r, &doc) == 0 && tok_reader_next(&r, &doc) == 0);
    CHECK(!tok_reader_index(&r) && r.totals.documents == 0);
    CHECK(tok_reader_seek(&r, 0) == -1);
    tok_reader_close(&r);
    case_end("");
}

static void tok_bad_ids(void)
{
    case_begin("tok: ids at the vocabulary's end are refused by writer and reader");
    struct tok_meta m = meta_of(300, 64);
    struct tok_writer w;
    uint32_t bad = 300;
    const char *path = scratch("ids.tok");
    CHECK(!tok_writer_open(&w, path, &m, false));
    CHECK(tok_writer_put(&w, &bad, 1) == -1 && strstr(why(), "id 300"));
    tok_writer_abandon(&w);
    CHECK(bytes_of(path) == 0);
    /* A header that promises a smaller vocabulary, its checksum right. */
    ids_fill(300);
    CHECK(!write_docs(path, &m, false));
    uint8_t *header;
    size_t bytes;
    m.vocab_size = 299;
    CHECK(!tok_header_encode(&m, &header, &bytes));
    int fd = open(path, O_WRONLY);
    CHECK(pwrite(fd, header, bytes, 0) == (ssize_t)bytes);
    close(fd);
    free(header);
    CHECK(read_docs(path) == -1 && strstr(why(), "block 0") && strstr(why(), "299"));
    m.vocab_size = 0;
    CHECK(tok_writer_open(&w, path, &m, false) == -1);
    m = meta_of(2, 0);
    CHECK(tok_writer_open(&w, path, &m, false) == -1 && strstr(why(), "eos_id"));
    m = meta_of(300, 0);
    strcpy(m.options, "[]");
    CHECK(tok_writer_open(&w, path, &m, false) == -1 && strstr(why(), "options"));
    case_end("");
}

/* Read all that is there, whatever it is. */
static int drain(const char *path)
{
    struct tok_reader r;
    struct tok_doc doc;
    int status;
    if (tok_reader_open(&r, path))
        return -1;
    while ((status = tok_reader_next(&r, &doc)) > 0)
        ;
    tok_reader_close(&r);
    return status;
}

/* By number, as far as the index promises documents (and no further than a thousand). */
static int seek_drain(const char *path)
{
    struct tok_reader r;
    struct tok_doc doc;
    int status = 0;
    if (tok_reader_open(&r, path))
        return -1;
    if (tok_reader_index(&r))
        status = -1;
    for (uint64_t n = 0; !status && n < r.totals.documents && n < 1000; n++)
        if (tok_reader_seek(&r, n) || tok_reader_next(&r, &doc) != 1)
            status = -1;
    tok_reader_close(&r);
    return status;
}

/* Blocks of the same size, exchanged as whole frames: each is sound for itself. */
static void tok_blocks_moved(void)
{
    case_begin("tok: blocks exchanged, dropped and repeated");
    struct tok_meta m = meta_of(300, 16);
    struct tok_writer w;
    ids_fill(300);
    const char *path = scratch("moved.tok");
    CHECK(!tok_writer_open(&w, path, &m, false));
    for (int d = 0; d < 6; d++)
        CHECK(!tok_writer_put(&w, ids + d, 16));
    CHECK(!tok_writer_commit(&w));
    size_t bytes, head = 64 + 24, block = TOK_FRAME_BYTES + 40;
    char *good = slurp(path, &bytes), *bad = malloc(bytes + block);
    memcpy(bad, good, bytes);
    memcpy(bad + head, good + head + block, block);
    memcpy(bad + head + block, good + head, block);
    scratch_write(path, bad, bytes);
    CHECK(drain(path) == -1 && strstr(why(), "out of order"));
    memcpy(bad, good, head);
    memcpy(bad + head, good + head + block, bytes - head - block);
    scratch_write(path, bad, bytes - block);
    CHECK(drain(path) == -1 && strstr(why(), "missing"));
    memcpy(bad, good, head + block);
    memcpy(bad + head + block, good + head, bytes - head);
    scratch_write(path, bad, bytes + block);
    CHECK(drain(path) == -1 && strstr(why(), "out of order"));
    free(good);
    free(bad);
    case_end("");
}

static void tok_joined(void)
{
    case_begin("tok: two files joined are refused");
    struct tok_meta m = meta_of(300, 64);
    ids_fill(300);
    const char *path = scratch("joined.tok");
    CHECK(!write_docs(path, &m, false));
    size_t bytes;
    char *one = slurp(path, &bytes), *two = malloc(2 * bytes);
    memcpy(two, one, bytes);
    memcpy(two + bytes, one, bytes);
    scratch_write(path, two, 2 * bytes);
    CHECK(read_docs(path) == -1 && strstr(why(), "follow the trailer"));
    free(one);
    free(two);
    case_end("");
}

/* A damaged file may still hand out documents by number, but never a wrong one. */
static int seek_never_wrong(const char *path)
{
    if (seek_docs(path) == 1)
        return 1;
    return fail("%s: refused, or right", path);
}

static void tok_harmed(bool compress)
{
    char note[64];
    case_begin(compress ? "tok: every flip and cut, deflated" : "tok: every flip and cut");
    struct tok_meta m = meta_of(300, 64);
    ids_fill(300);
    const char *path = scratch("harmed.tok");
    CHECK(!write_docs(path, &m, compress));
    size_t bytes = bytes_of(path);
    harm(read_docs, path, SIZE_MAX);
    snprintf(note, sizeof note, "%zu flips, %zu cuts", 8 * bytes, bytes);
    case_end(note);
    case_begin(compress ? "tok: by number, harmed, deflated" : "tok: by number, harmed");
    int wrong = 0, fd = open(path, O_WRONLY);
    char *good = slurp(path, &bytes);
    for (size_t at = 0; at < bytes; at++)
        for (int bit = 0; bit < 8; bit++) {
            char c = (char)(good[at] ^ 1 << bit);
            wrong += pwrite(fd, &c, 1, (off_t)at) != 1 || seek_never_wrong(path) == 1;
            wrong += pwrite(fd, good + at, 1, (off_t)at) != 1;
        }
    close(fd);
    CHECK(wrong == 0);
    free(good);
    case_end(note);
}

/* Put v for the `width` bytes at `at` and make every checksum over them right again. */
static void forge(uint8_t *file, size_t bytes, const size_t *frames, int count, size_t at,
                  uint64_t v, size_t width)
{
    memcpy(file + at, &v, width);
    size_t header = frames[0];
    uint64_t sum = 0;
    if (at < header) {
        memcpy(file + 56, &sum, 8);
        sum = tok_hash(file, header);
        memcpy(file + 56, &sum, 8);
    }
    for (int f = 0; f < count; f++) {
        size_t end = f + 1 < count ? frames[f + 1] : bytes;
        if (at < frames[f] || at >= end)
            continue;
        if (at >= frames[f] + 64) {
            sum = tok_hash(file + frames[f] + 64, end - frames[f] - 64);
            memcpy(file + frames[f] + 48, &sum, 8);
        }
        sum = tok_hash(file + frames[f], 56);
        memcpy(file + frames[f] + 56, &sum, 8);
    }
}

/* Fields that lie, under checksums that are right: refused, or no wrong document. */
static void tok_forged(bool compress)
{
    static const uint64_t lies[] = {0,
                                    1,
                                    2,
                                    3,
                                    7,
                                    63,
                                    64,
                                    65,
                                    255,
                                    65535,
                                    0x7fffffff,
                                    0x80000000,
                                    0xfffffff8,
                                    UINT32_MAX,
                                    INT64_MAX,
                                    UINT64_MAX,
                                    UINT64_MAX - 7};
    char note[64];
    case_begin(compress ? "tok: lies under right checksums, deflated"
                        : "tok: lies under right checksums");
    struct tok_meta m = meta_of(300, 64);
    ids_fill(300);
    const char *path = scratch("forged.tok");
    CHECK(!write_docs(path, &m, compress));
    size_t bytes, frames[64];
    uint8_t *good = (uint8_t *)slurp(path, &bytes), *bad = malloc(bytes);
    int count = 0, tried = 0, wrong = 0, fd = open(path, O_WRONLY);
    for (size_t at = 0; at + 8 <= bytes; at += 8)
        if (!memcmp(good + at, "TBLK", 4) || !memcmp(good + at, "TIDX", 4) ||
            !memcmp(good + at, "TTT.END", 7))
            frames[count++] = at;
    CHECK(count > 4 && count < 64);
    for (size_t at = 8; at + 8 <= bytes; at += 4)
        for (size_t width = 4; width <= 8; width += 4)
            for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
                memcpy(bad, good, bytes);
                forge(bad, bytes, frames, count, at, lies[i], width);
                if (!memcmp(bad, good, bytes))
                    continue;
                CHECK(pwrite(fd, bad, bytes, 0) == (ssize_t)bytes);
                int status = drain(path);
                wrong += status > 0 || (status == -1 && strncmp(why(), path, strlen(path)));
                wrong += seek_drain(path) > 0;
                tried++;
            }
    close(fd);
    CHECK(wrong == 0);
    free(good);
    free(bad);
    snprintf(note, sizeof note, "%d files", tried);
    case_end(note);
}

int main(void)
{
    scratch_make();
    tok_round_trip();
    tok_append();
    tok_empty();
    tok_bad_ids();
    tok_blocks_moved();
    tok_joined();
    tok_harmed(false);
    tok_harmed(true);
    tok_forged(false);
    tok_forged(true);
    return check_finish();
}
