/* fuzz_foreign.c -- token files of other programs: their indices and headers. */
#include "foreign.h"
#include "fuzz.h"

static void write_file(const char *path, const uint8_t *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f))
        abort();
}

/* Megatron's index of two documents, three sequences, four ids. */
static size_t index_of(uint8_t idx[128])
{
    const uint64_t counts[] = {3, 3}, places[] = {0, 4, 4}, table[] = {0, 2, 3};
    const uint32_t lengths[] = {2, 0, 2};
    memset(idx, 0, 128);
    memcpy(idx, "MMIDIDX", 7);
    idx[9] = 1;
    idx[17] = 8;
    memcpy(idx + 18, counts, 16);
    memcpy(idx + 34, lengths, 12);
    memcpy(idx + 46, places, 24);
    memcpy(idx + 70, table, 24);
    return 94;
}

/* A shard of MosaicML streaming: two samples, of two ids and of none. */
static size_t shard_of(uint8_t shard[128])
{
    static const char columns[] = "{\"column_encodings\":[\"bytes\"]}";
    const uint32_t base = 4 + 4 * 3 + sizeof columns - 1;
    const uint32_t head[] = {2, base, base + 8, base + 12}, sizes[] = {4, 0x00020001, 0};
    memcpy(shard, head, sizeof head);
    memcpy(shard + sizeof head, columns, sizeof columns - 1);
    memcpy(shard + base, sizes, sizeof sizes);
    return base + sizeof sizes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const formats[] = {"megatron", "datatrove", "llmc", "nanogpt", "mds"};
    char folder[64], path[128], index[128];
    uint8_t good[128];
    if (bytes < 2)
        return 0;
    int kind = (data[0] & 7) % 5;
    bool indexed = kind < 2, edited = !(data[0] & 8) && (indexed || kind == 4);
    struct foreign_plan plan = {.format = formats[kind],
                                .eod = 2,
                                .vocab_size = data[0] & 16 ? 70000 : 65536};
    struct foreign f;
    struct tok_doc piece;
    uint32_t sum = 0;
    snprintf(folder, sizeof folder, P_tmpdir "/ttt-fuzz-%ld", (long)getpid());
    snprintf(path, sizeof path, "%s.bin", folder);
    snprintf(index, sizeof index, kind == 1 ? "%s.bin.index" : "%s.idx", folder);
    size_t n = indexed ? index_of(good) : shard_of(good);
    const uint8_t *file = edited ? fuzz_edited(good, &n, data + 1, bytes - 1) : data + 1;
    write_file(indexed ? index : path, file, edited ? n : bytes - 1);
    if (indexed)
        write_file(path, (const uint8_t *)"abcdefgh", 8);
    if (!foreign_open(&f, path, &plan)) {
        while (foreign_piece(&f, &piece) > 0)
            for (size_t i = 0; i < piece.count * f.id_bytes; i++)
                sum += ((const uint8_t *)piece.stored)[i];
        foreign_close(&f);
    }
    unlink(path);
    if (indexed)
        unlink(index);
    return sum == UINT32_MAX;
}
