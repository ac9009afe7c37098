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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const formats[] = {"megatron", "datatrove", "llmc", "nanogpt"};
    char folder[64], path[128], index[128];
    uint8_t idx[128];
    if (bytes < 2)
        return 0;
    struct foreign_plan plan = {.format = formats[data[0] & 3],
                                .eod = 2,
                                .vocab_size = data[0] & 4 ? 70000 : 65536};
    struct foreign f;
    struct tok_doc piece;
    uint32_t sum = 0;
    snprintf(folder, sizeof folder, P_tmpdir "/ttt-fuzz-%ld", (long)getpid());
    snprintf(path, sizeof path, "%s.bin", folder);
    snprintf(index, sizeof index, (data[0] & 3) == 1 ? "%s.bin.index" : "%s.idx", folder);
    if ((data[0] & 3) < 2) {
        size_t n = index_of(idx);
        const uint8_t *file = data[0] & 8 ? data + 1 : fuzz_edited(idx, &n, data + 1, bytes - 1);
        write_file(index, file, data[0] & 8 ? bytes - 1 : n);
        write_file(path, (const uint8_t *)"abcdefgh", 8);
    } else
        write_file(path, data + 1, bytes - 1);
    if (!foreign_open(&f, path, &plan)) {
        while (foreign_piece(&f, &piece) > 0)
            for (size_t i = 0; i < piece.count * f.id_bytes; i++)
                sum += ((const uint8_t *)piece.stored)[i];
        foreign_close(&f);
    }
    unlink(path);
    if ((data[0] & 3) < 2)
        unlink(index);
    return sum == UINT32_MAX;
}
