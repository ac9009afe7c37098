/* fuzz_tok.c -- .tok streams: read in order, by number, from a map, by lengths, and repaired. */
#include "fuzz.h"
#include "tok.h"
#include "tok_repair.h"

/* A stream of small blocks, some documents spread over several; plain and deflated. */
static uint8_t *stream(bool compress, size_t *bytes)
{
    struct tok_meta m = {
        .vocab_size = 300, .add_bos = true, .bos_id = 1, .block_ids = 32, .options = "{\"a\":1}"};
    struct tok_writer w;
    char path[64];
    uint32_t ids[100];
    memset(m.tokenizer.hex, '7', 32);
    snprintf(path, sizeof path, P_tmpdir "/ttt-fuzz-%ld", (long)getpid());
    if (tok_writer_open(&w, path, &m, compress))
        abort();
    for (uint32_t d = 0; d < 12; d++) {
        for (uint32_t i = 0; i < 100; i++)
            ids[i] = d + i / 9;
        if (tok_writer_put(&w, ids, d % 5 == 4 ? 100 : d * 3))
            abort();
    }
    if (tok_writer_commit(&w))
        abort();
    uint8_t *copy = fuzz_kept(path, bytes);
    unlink(path);
    return copy;
}

static void by_number(const char *path)
{
    struct tok_reader r;
    struct tok_doc doc;
    if (tok_reader_open(&r, path))
        return;
    if (!tok_reader_index(&r))
        for (uint64_t n = 0; n < r.totals.documents && n < 20; n++)
            if (tok_reader_seek(&r, n) || tok_reader_next(&r, &doc) != 1)
                break;
    tok_reader_close(&r);
}

static volatile uint32_t looked_at;

/* From a map, the first blocks proved and the others not. */
static void mapped(const char *path, unsigned proved)
{
    struct tok_reader r;
    struct tok_doc doc;
    uint32_t sum = 0;
    if (tok_reader_open(&r, path))
        return;
    if (!tok_reader_index(&r) && !tok_reader_map(&r, 0, proved))
        while (tok_reader_piece(&r, &doc) > 0)
            for (size_t i = 0; i < doc.count * tok_id_bytes(&r.meta); i++)
                sum += ((const uint8_t *)doc.stored)[i];
    tok_reader_close(&r);
    looked_at = sum;
}

/* Lengths and places alone: every piece lies in the block that was passed. */
static void skimmed(const char *path, unsigned proved)
{
    struct tok_reader r;
    struct tok_doc doc;
    if (tok_reader_open(&r, path))
        return;
    if (!tok_reader_index(&r) && !tok_reader_skim(&r, 0, proved))
        while (tok_reader_piece(&r, &doc) > 0)
            if (!r.deflated && doc.at + doc.count * tok_id_bytes(&r.meta) > r.offset)
                abort();
    tok_reader_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t *good[2];
    static size_t sizes[2];
    struct tok_reader r;
    struct tok_repair repaired;
    struct tok_doc doc;
    uint32_t sum = 0;
    for (int c = 0; c < 2 && !good[c]; c++)
        good[c] = stream(c, &sizes[c]);
    if (bytes == 0)
        return 0;
    size_t n = sizes[data[0] & 1];
    const uint8_t *file = fuzz_edited(good[data[0] & 1], &n, data + 1, bytes - 1);
    const char *path = fuzz_file(file, n);
    if (!tok_reader_open(&r, path)) {
        r.stored_only = data[0] & 2;
        while ((r.stored_only ? tok_reader_piece(&r, &doc) : tok_reader_next(&r, &doc)) > 0)
            for (size_t i = 0; doc.ids && i < doc.count; i++)
                sum += doc.ids[i];
        tok_reader_close(&r);
    }
    by_number(path);
    mapped(path, data[0] >> 4);
    skimmed(path, data[0] >> 4);
    /* Seldom with an output, whose buffers of some megabytes cost ten times the rest. */
    if (!tok_repair(&repaired, path, data[0] >> 4 == 15 ? "/dev/null" : NULL))
        tok_repair_close(&repaired);
    return sum == UINT32_MAX;
}
