/* damage.c -- where a file of a dataset is damaged, and which documents that costs. */
#include "damage.h"
#include "npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Bytes of the file that are not what they were, a block or a cut each. */
struct bad {
    uint64_t from, to;
};

/* Documents of the array at `path` with ids among the bad bytes. -1: its offsets do not tell. */
static int64_t documents_lost(const char *path, const struct manifest_file *line,
                              const struct bad *bad, size_t count)
{
    const char *dot = strrchr(path, '.');
    size_t item = !strcmp(line->dtype, "uint16") ? 2 : 4, k = 0;
    struct npy offsets;
    char *beside;
    int64_t lost = -1;
    if (!dot || strcmp(dot, ".npy") ||
        asprintf(&beside, "%.*s.offsets", (int)(dot - path), path) < 0)
        return -1;
    if (npy_open(&offsets, beside))
        goto out;
    if (offsets.dtype == NPY_U8 && offsets.count == line->documents + 1 &&
        le64(offsets.data + 8 * line->documents) == line->tokens) {
        lost = 0;
        for (uint64_t i = 0; i < line->documents; i++) {
            uint64_t from = NPY_HEADER_BYTES + item * le64(offsets.data + 8 * i);
            uint64_t to = NPY_HEADER_BYTES + item * le64(offsets.data + 8 * i + 8);
            while (k < count && bad[k].to <= from)
                k++;
            lost += k < count && bad[k].from < to && from < to;
        }
    }
    npy_close(&offsets);
out:
    free(beside);
    return lost;
}

int damage_place(const char *path, uint64_t bytes, const struct blocks *b,
                 const struct manifest_file *line)
{
    char said[1024], lost[64] = "";
    struct bad *bad = calloc(b->count + 1, sizeof *bad);
    size_t count = 0;
    if (!bad)
        return -1;
    snprintf(said, sizeof said, "%s", why());
    if (bytes < line->bytes)
        bad[count++] = (struct bad){bytes, line->bytes};
    for (size_t i = 0; line->blocks && i < b->count; i++) {
        uint64_t from = i * b->block_bytes, to = from + b->block_bytes;
        if (!blocks_same(b, line->blocks, i))
            bad[count++] = (struct bad){from, to < bytes ? to : bytes};
    }
    int64_t documents = documents_lost(path, line, bad, count);
    if (documents >= 0)
        snprintf(lost, sizeof lost, "; %" PRId64 " of %" PRIu64 " documents are lost", documents,
                 line->documents);
    if (count && bytes < line->bytes)
        fail("%s; it ends at byte %" PRIu64 "%s", said, bytes, lost);
    else if (count)
        fail("%s; first bad: block %" PRIu64 ", bytes %" PRIu64 " to %" PRIu64 "; %zu of %zu "
             "blocks are bad%s",
             said, bad[0].from / b->block_bytes, bad[0].from, bad[0].to, count, b->count, lost);
    else /* offsets that cannot be read are not what is wrong here */
        fail("%s", said);
    free(bad);
    return -1;
}
