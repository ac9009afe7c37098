/* test_foreign.c -- other programs' files: every cut and every flipped bit of their indices is
   refused, or changes no more than where documents end. */
#include "check.h"
#include "foreign.h"
#include "scratch.h"

#include <sys/stat.h>

enum { DOCUMENTS = 6 };

static const uint32_t lengths[DOCUMENTS] = {3, 0, 5, 1, 7, 4};

static void put(uint8_t **to, const void *from, size_t bytes)
{
    memcpy(*to, from, bytes);
    *to += bytes;
}

/* The file with the numbers; *ids_path with the ids, where those are another. */
static size_t make(const char *format, uint8_t *out, const char **path, const char **ids_path)
{
    uint8_t *at = out;
    uint16_t ids[64];
    uint64_t sum = 0, places[DOCUMENTS], ends[DOCUMENTS], table[DOCUMENTS + 1] = {0};
    for (int d = 0; d < DOCUMENTS; d++) {
        places[d] = 2 * sum;
        for (uint32_t i = 0; i < lengths[d]; i++, sum++)
            ids[sum] = (uint16_t)(10 * (d + 1) + (int)i);
        ends[d] = sum;
        table[d + 1] = (uint64_t)d + 1;
    }
    *ids_path = NULL;
    if (!strcmp(format, "mds")) {
        static const char columns[] = "{\"column_encodings\":[\"bytes\"]}";
        uint32_t n = DOCUMENTS, base = 4 + 4 * (DOCUMENTS + 1) + sizeof columns - 1;
        put(&at, &n, 4);
        for (uint32_t d = 0, end = base; d <= DOCUMENTS; d++) {
            put(&at, &end, 4);
            end += d < DOCUMENTS ? 4 + 2 * lengths[d] : 0;
        }
        put(&at, columns, sizeof columns - 1);
        for (int d = 0; d < DOCUMENTS; d++) {
            uint32_t bytes = 2 * lengths[d];
            put(&at, &bytes, 4);
            put(&at, (const uint8_t *)ids + places[d], bytes);
        }
        *path = scratch("x.mds");
        return (size_t)(at - out);
    }
    *ids_path = scratch("x.bin");
    scratch_write(*ids_path, ids, 2 * sum);
    if (!strcmp(format, "datatrove")) {
        put(&at, ends, sizeof ends);
        *path = scratch("x.bin.index");
        return (size_t)(at - out);
    }
    const uint64_t version = 1, counts[] = {DOCUMENTS, DOCUMENTS + 1};
    put(&at, "MMIDIDX\0\0", 9);
    put(&at, &version, 8);
    *at++ = 8;
    put(&at, counts, sizeof counts);
    put(&at, lengths, sizeof lengths);
    put(&at, places, sizeof places);
    put(&at, table, sizeof table);
    *path = scratch("x.idx");
    return (size_t)(at - out);
}

/* -1: refused; else how many ids there were, summed into *sum, and documents. */
static long take(const char *path, const char *format, uint64_t *sum, uint64_t *documents)
{
    struct foreign_plan plan = {.format = format, .eod = -1, .vocab_size = 1000};
    struct foreign f;
    struct tok_doc piece;
    long ids = 0;
    int status;
    *sum = *documents = 0;
    if (foreign_open(&f, path, &plan))
        return -1;
    while ((status = foreign_piece(&f, &piece)) > 0) {
        for (size_t i = 0; i < piece.count; i++)
            *sum += le16((const uint8_t *)piece.stored + 2 * i);
        ids += (long)piece.count;
        *documents += piece.last;
    }
    foreign_close(&f);
    return status < 0 ? -1 : ids;
}

static void harm(const char *format)
{
    uint8_t good[512], bad[512];
    const char *path, *ids;
    uint64_t sum, documents, want;
    char note[96];
    case_begin(format);
    size_t bytes = make(format, good, &path, &ids), accepted = 0;
    const char *named = ids ? ids : path;
    scratch_write(path, good, bytes);
    CHECK(take(named, format, &want, &documents) == 20 && documents == DOCUMENTS);
    for (size_t n = 0; n < bytes; n++) {
        scratch_write(path, good, n);
        CHECK(take(named, format, &sum, &documents) == -1);
        CHECK(strstr(why(), named) != NULL);
    }
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        memcpy(bad, good, bytes);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        scratch_write(path, bad, bytes);
        long n = take(named, format, &sum, &documents);
        /* Without checksums a number may become another sound one, and an id another id. */
        bool an_id = !ids && bit / 8 >= bytes - 64;
        CHECK(n == -1 || (n == 20 && (sum == want || an_id)));
        accepted += n >= 0;
    }
    snprintf(note, sizeof note, "%zu cuts, %zu flips, %zu of which move an end or name another id",
             bytes, 8 * bytes, accepted);
    case_end(note);
}

int main(void)
{
    scratch_make();
    harm("megatron");
    harm("datatrove");
    harm("mds");
    return check_finish();
}
