/* foreign.c -- documents of token files that other programs wrote. */
#include "foreign.h"
#include "ids.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PIECE_IDS = 8192, LLMC_HEADER_BYTES = 1024, GUESSED_BOS = 1 };

/* path with its suffix `old`, if it has it, replaced by `now`; owned by the caller. */
static char *with_suffix(const char *path, const char *old, const char *now)
{
    size_t n = strlen(path), k = strlen(old);
    if (n >= k && !strcmp(path + n - k, old))
        n -= k;
    char *other;
    if (asprintf(&other, "%.*s%s", (int)n, path, now) < 0)
        abort(); /* a few hundred bytes: nothing sensible can go on */
    return other;
}

static int open_other(struct map *m, const char *path, const char *old, const char *now)
{
    char *other = with_suffix(path, old, now);
    int status = map_open(m, other);
    free(other);
    return status;
}

/* The map's ids from byte `from` on. */
static int flat(struct foreign *f, size_t from, size_t item)
{
    if ((f->map.bytes - from) % item)
        return fail("%s: %zu bytes do not make ids of %zu", f->path, f->map.bytes - from, item);
    f->item = item;
    f->ids = f->map.data + from;
    f->tokens = (f->map.bytes - from) / item;
    return 0;
}

/* Ends ascend from `from` and the last is the number of ids. */
static int listed_check(const struct foreign *f, uint64_t from)
{
    for (uint64_t i = 0; i < f->listed; i++) {
        uint64_t end = le64(f->list + 8 * i);
        if (end < from || end > f->tokens)
            return fail("%s: document %" PRIu64 " ends at token %" PRIu64 ", the one before at "
                        "%" PRIu64 ", and there are %" PRIu64,
                        f->path, i, end, from, f->tokens);
        from = end;
    }
    return from == f->tokens ? 0
                             : fail("%s: its documents end at token %" PRIu64 " of %" PRIu64,
                                    f->path, from, f->tokens);
}

static int open_npy(struct foreign *f)
{
    struct stat st;
    char *path = with_suffix(f->path, ".npy", ".offsets");
    bool listed = !stat(path, &st);
    struct npy offsets = {0};
    int status = npy_open(&f->array, f->path);
    if (!status && (f->array.dims != 1 || (f->array.dtype != NPY_U2 && f->array.dtype != NPY_I4 &&
                                           f->array.dtype != NPY_U4)))
        status = fail("%s: not a flat array of uint16, int32 or uint32", f->path);
    if (!status && listed)
        status = npy_open(&offsets, path);
    if (!status && listed &&
        (offsets.dims != 1 || offsets.dtype != NPY_U8 || offsets.count == 0 || le64(offsets.data)))
        status = fail("%s: offsets are uint64 from 0 on, one more than documents", path);
    free(path);
    f->item = npy_item_bytes(f->array.dtype);
    f->ids = f->array.data;
    f->tokens = f->array.count;
    f->ends = listed ? ENDS_LISTED : ENDS_BEFORE;
    f->index = offsets.map;
    f->list = offsets.data + 8;
    f->listed = listed && !status ? offsets.count - 1 : 0;
    f->eod = f->eod == UINT32_MAX ? GUESSED_BOS : f->eod;
    return status ? -1 : listed ? listed_check(f, 0) : 0;
}

static int open_datatrove(struct foreign *f)
{
    if (map_open(&f->map, f->path) || open_other(&f->index, f->path, "", ".index"))
        return -1;
    /* Ids are u16 where the vocabulary allows it; the metadata may be missing. */
    if (flat(f, 0, f->vocab_size <= 65536 ? 2 : 4))
        return -1;
    if (f->index.bytes % 8)
        return fail("%s.index: %zu bytes are no u64 ends", f->path, f->index.bytes);
    f->list = f->index.data;
    f->listed = f->index.bytes / 8;
    return listed_check(f, 0);
}

static int open_llmc(struct foreign *f)
{
    if (map_open(&f->map, f->path))
        return -1;
    if (f->map.bytes < LLMC_HEADER_BYTES)
        return fail("%s: shorter than the header of an llm.c file", f->path);
    uint32_t magic = le32(f->map.data), version = le32(f->map.data + 4);
    uint32_t tokens = le32(f->map.data + 8);
    bool narrow = magic == 20240520 && version == 1, wide = magic == 20240801 && version == 7;
    if (!narrow && !wide)
        return fail("%s: magic %u, version %u: expected llm.c's 20240520, 1 or 20240801, 7",
                    f->path, magic, version);
    if (flat(f, LLMC_HEADER_BYTES, narrow ? 2 : 4))
        return -1;
    f->ends = ENDS_BEFORE;
    return tokens == f->tokens ? 0
                               : fail("%s: its header says %u ids, but %" PRIu64 " follow", f->path,
                                      tokens, f->tokens);
}

/* Documents are runs of sequences, which lie one after another in the .bin file. */
static int megatron_check(const struct foreign *f)
{
    uint64_t before = 0, end = 0;
    for (uint64_t s = 0; s < f->sequences; s++) {
        uint64_t length = le32(f->lengths + 4 * s), at = le64(f->places + 8 * s);
        if (length > INT32_MAX || at % f->item || at / f->item > f->tokens ||
            length > f->tokens - at / f->item)
            return fail("%s: sequence %" PRIu64 " of %" PRIu64 " ids at byte %" PRIu64
                        " lies outside the .bin file",
                        f->path, s, length, at);
        if (at / f->item != end)
            return fail("%s: sequence %" PRIu64 " begins at byte %" PRIu64 ", the one before ends "
                        "at %" PRIu64,
                        f->path, s, at, end * f->item);
        end += length;
    }
    if (end != f->tokens)
        return fail("%s: its sequences end with id %" PRIu64 " of %" PRIu64, f->path, end,
                    f->tokens);
    for (uint64_t d = 0; d < f->listed; d++) {
        uint64_t first = le64(f->list + 8 * d);
        if (first < before || first > f->sequences || (d == 0 && first))
            return fail("%s: the document table of the index is not in order", f->path);
        before = first;
    }
    return before == f->sequences ? 0
                                  : fail("%s: the document table does not end with the last "
                                         "sequence",
                                         f->path);
}

static int open_megatron(struct foreign *f)
{
    if (open_other(&f->map, f->path, ".bin", ".bin") ||
        open_other(&f->index, f->path, ".bin", ".idx"))
        return -1;
    const uint8_t *h = f->index.data;
    if (f->index.bytes < 34 || memcmp(h, "MMIDIDX\0\0", 9) || le64(h + 9) != 1)
        return fail("%s: its .idx is not Megatron's index of version 1", f->path);
    if (h[17] != 8 && h[17] != 4)
        return fail("%s: ids of type %u: expected 8, uint16, or 4, int32", f->path, h[17]);
    uint64_t s = le64(h + 18), d = le64(h + 26), room = f->index.bytes - 34;
    /* A byte a sequence, its mode, may follow. */
    if (s > room / 12 || d == 0 || d > room / 8 ||
        (s * 12 + d * 8 != room && s * 13 + d * 8 != room))
        return fail("%s: an index of %" PRIu64 " sequences and %" PRIu64 " document marks does not "
                    "fit %zu bytes",
                    f->path, s, d, f->index.bytes);
    f->sequences = s;
    f->lengths = h + 34;
    f->places = f->lengths + 4 * s;
    f->list = f->places + 8 * s;
    f->listed = d;
    f->ends = ENDS_MEGATRON;
    return flat(f, 0, h[17] == 8 ? 2 : 4) ? -1 : megatron_check(f);
}

static int open_nanogpt(struct foreign *f)
{
    f->ends = ENDS_AFTER;
    return map_open(&f->map, f->path) ? -1 : flat(f, 0, 2);
}

/* The columns that a shard of MosaicML streaming tells of: one, of bytes. */
static int mds_columns(const struct foreign *f, const uint8_t *text, size_t bytes)
{
    json_t *all = json_loadb((const char *)text, bytes, JSON_REJECT_DUPLICATES, NULL);
    const json_t *encodings = json_object_get(all, "column_encodings");
    const char *encoding = json_string_value(json_array_get(encodings, 0));
    bool good = json_array_size(encodings) == 1 && encoding && !strcmp(encoding, "bytes");
    json_decref(all);
    return good ? 0
                : fail("%s: expected an MDS shard with one column, of the encoding bytes: the ids "
                       "of a document",
                       f->path);
}

/* Samples follow each other, each with its number of bytes before them. */
static int open_mds(struct foreign *f)
{
    if (map_open(&f->map, f->path))
        return -1;
    uint64_t n = f->map.bytes < 8 ? 0 : le32(f->map.data), head = 4 + 4 * (n + 1);
    if (f->map.bytes < 8 || head > f->map.bytes)
        return fail("%s: an index of %" PRIu64 " samples does not fit %zu bytes", f->path, n,
                    f->map.bytes);
    f->item = f->vocab_size <= 65536 ? 2 : 4;
    f->list = f->map.data + 4;
    f->listed = n;
    f->ends = ENDS_MDS;
    uint64_t at = le32(f->list);
    if (at < head || at > f->map.bytes)
        return fail("%s: its first sample begins at byte %" PRIu64 " of %zu", f->path, at,
                    f->map.bytes);
    if (mds_columns(f, f->map.data + head, at - head))
        return -1;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t end = le32(f->list + 4 * (i + 1));
        if (end < at + 4 || end > f->map.bytes || le32(f->map.data + at) != end - at - 4 ||
            (end - at - 4) % f->item)
            return fail("%s: sample %" PRIu64 ", bytes %" PRIu64 " to %" PRIu64 ", does not hold "
                        "ids of %zu bytes",
                        f->path, i, at, end, f->item);
        at = end;
    }
    return at == f->map.bytes
               ? 0
               : fail("%s: its samples end at byte %" PRIu64 " of %zu", f->path, at, f->map.bytes);
}

int foreign_open(struct foreign *f, const char *path, const struct foreign_plan *plan)
{
    *f = (struct foreign){.path = path, .vocab_size = plan->vocab_size};
    f->id_bytes = plan->vocab_size <= 65536 ? 2 : 4;
    f->eod = plan->eod < 0 ? UINT32_MAX : (uint32_t)plan->eod;
    int status = !strcmp(plan->format, "npy")         ? open_npy(f)
                 : !strcmp(plan->format, "megatron")  ? open_megatron(f)
                 : !strcmp(plan->format, "nanogpt")   ? open_nanogpt(f)
                 : !strcmp(plan->format, "llmc")      ? open_llmc(f)
                 : !strcmp(plan->format, "datatrove") ? open_datatrove(f)
                 : !strcmp(plan->format, "mds")       ? open_mds(f)
                                                      : fail("no format %s", plan->format);
    if (status)
        foreign_close(f);
    return status;
}

void foreign_close(struct foreign *f)
{
    npy_close(&f->array);
    map_close(&f->map);
    map_close(&f->index);
    *f = (struct foreign){0};
}

static uint32_t id_at(const struct foreign *f, uint64_t i)
{
    return f->item == 2 ? le16(f->ids + 2 * i) : le32(f->ids + 4 * i);
}

/* Begin the next document, or sequence of one: false at the end. *last: it ends the document. */
static bool begin(struct foreign *f, bool *last)
{
    *last = true;
    if (f->ends == ENDS_LISTED) {
        if (f->number == f->listed)
            return false;
        f->end = le64(f->list + 8 * f->number);
    } else if (f->ends == ENDS_MDS) {
        if (f->number == f->listed)
            return false;
        uint32_t from = le32(f->list + 4 * f->number);
        f->ids = f->map.data + from + 4;
        f->at = 0;
        f->end = le32(f->map.data + from) / f->item;
    } else if (f->ends == ENDS_MEGATRON) {
        /* Here `number` counts sequences; documents without any are passed over. */
        if (f->number == f->sequences)
            return false;
        f->at = le64(f->places + 8 * f->number) / f->item;
        f->end = f->at + le32(f->lengths + 4 * f->number);
        while (f->listed && le64(f->list) <= f->number) {
            f->list += 8;
            f->listed--;
        }
        *last = f->listed && le64(f->list) == f->number + 1;
    } else {
        if (f->at == f->tokens)
            return false;
        f->end = f->at + (f->ends == ENDS_BEFORE);
        while (f->end < f->tokens && id_at(f, f->end) != f->eod)
            f->end++;
        f->end += f->ends == ENDS_AFTER && f->end < f->tokens;
    }
    f->number++;
    return true;
}

int foreign_piece(struct foreign *f, struct tok_doc *piece)
{
    static const uint32_t none;
    bool fresh = !f->inside, last = true;
    if (f->at == f->end) {
        if (!begin(f, &last))
            return 0;
    } else
        last = f->ends != ENDS_MEGATRON || (f->listed && le64(f->list) == f->number);
    size_t most = f->item == f->id_bytes ? (size_t)(f->end - f->at) : PIECE_IDS;
    size_t n = f->end - f->at < most ? (size_t)(f->end - f->at) : most;
    const uint8_t *from = f->ids + f->at * f->item;
    if (n && ids_most(from, n, f->item) >= f->vocab_size) {
        uint64_t bad = f->at + ids_find(from, n, f->item, f->vocab_size);
        return fail("%s: token %" PRIu64 " is %u, which is not below the vocabulary of %u", f->path,
                    bad, id_at(f, bad), f->vocab_size);
    }
    *piece = (struct tok_doc){.count = n, .first = fresh, .stored = n ? (const void *)from : &none};
    if (f->item != f->id_bytes) { /* u32 of a small vocabulary; or u16 of one said to be large */
        static uint32_t wide[PIECE_IDS];
        ids_widen(wide, from, n, f->item);
        for (size_t i = 0; f->id_bytes == 2 && i < n; i++)
            f->narrow[i] = (uint16_t)wide[i];
        piece->stored = f->id_bytes == 2 ? (void *)f->narrow : (void *)wide;
    }
    f->at += n;
    piece->last = last && f->at == f->end;
    f->inside = !piece->last;
    return 1;
}
