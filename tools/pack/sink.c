/* sink.c -- one split of a dataset being written, in one of the formats that trainers read. */
#include "sink.h"
#include "ids.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *const sink_format_name[SINK_FORMATS] = {"npy",  "megatron",  "nanogpt",
                                                    "llmc", "datatrove", "mds"};

enum {
    HELD = 4096,
    PART_IDS = 8192,
    LLMC_TOKENS_MAX = INT32_MAX, /* its header counts in 31 bits */
    MEGATRON_U16_BELOW = 65500,
};

/* ---- types -------------------------------------------------------------------------------- */

/* Bit d: the format has ids of npy_dtype d. */
static const unsigned types[SINK_FORMATS] = {
    [SINK_NPY] = 1u << NPY_U2 | 1u << NPY_I4 | 1u << NPY_U4,
    [SINK_MEGATRON] = 1u << NPY_U2 | 1u << NPY_I4,
    [SINK_NANOGPT] = 1u << NPY_U2,
    [SINK_LLMC] = 1u << NPY_U2 | 1u << NPY_U4,
    [SINK_DATATROVE] = 1u << NPY_U2 | 1u << NPY_U4,
    [SINK_MDS] = 1u << NPY_U2 | 1u << NPY_U4,
};

int sink_dtype(enum npy_dtype *dtype, enum sink_format format, const char *name,
               uint32_t vocab_size)
{
    bool automatic = !strcmp(name, "auto");
    if (automatic) {
        /* Each format's own writer draws the line there. */
        uint32_t narrow_below = format == SINK_NPY        ? 65536
                                : format == SINK_MEGATRON ? MEGATRON_U16_BELOW
                                                          : 65537;
        *dtype = vocab_size < narrow_below      ? NPY_U2
                 : types[format] & 1u << NPY_I4 ? NPY_I4
                 : types[format] & 1u << NPY_U4 ? NPY_U4
                                                : NPY_U2;
    } else
        *dtype = !strcmp(name, "u16") ? NPY_U2 : !strcmp(name, "u32") ? NPY_U4 : NPY_I4;
    if (!(types[format] & 1u << *dtype))
        return fail("--dtype=%s: the format %s has no such ids", name, sink_format_name[format]);
    if (*dtype == NPY_U2 && vocab_size > 65536 && automatic)
        return fail("--format=%s has ids of 16 bits, but the vocabulary is %u: --dtype=u16 writes "
                    "it if every id fits",
                    sink_format_name[format], vocab_size);
    return 0;
}

/* ---- files -------------------------------------------------------------------------------- */

const char *sink_path(const struct sink *s, const char *fmt, ...)
{
    static char *held[4];
    static int next;
    char **path = &held[next++ % 4], suffix[64];
    va_list args;
    va_start(args, fmt);
    vsnprintf(suffix, sizeof suffix, fmt, args);
    va_end(args);
    free(*path);
    if (asprintf(path, "%s/%s%s", s->plan.dir, s->plan.split, suffix) < 0)
        abort(); /* a few hundred bytes: nothing sensible can go on */
    return *path;
}

int sink_file_add(struct sink *s, const struct npy_writer *w, const char *dtype, uint64_t tokens,
                  uint64_t documents, bool named)
{
    struct sink_file *grown = realloc(s->files, (s->file_count + 1) * sizeof *grown);
    char *path = strdup(w->file.path + strlen(s->plan.dir) + 1), *blocks = blocks_text(&w->blocks);
    if (grown)
        s->files = grown;
    if (!grown || !path || !blocks) {
        free(path);
        free(blocks);
        return fail("no memory for a list of %zu files", s->file_count + 1);
    }
    s->files[s->file_count++] = (struct sink_file){.path = path,
                                                   .dtype = dtype,
                                                   .bytes = w->bytes,
                                                   .tokens = tokens,
                                                   .documents = documents,
                                                   .xxh3 = w->xxh3,
                                                   .crc32c = w->crc32c,
                                                   .block_bytes = w->blocks.block_bytes,
                                                   .blocks = blocks,
                                                   .named = named};
    return 0;
}

int sink_file_name(struct sink *s, struct npy_writer *w, const char *dtype, uint64_t tokens,
                   uint64_t documents)
{
    return npy_writer_seal(w) || sink_file_add(s, w, dtype, tokens, documents, true) ||
                   npy_writer_commit(w)
               ? -1
               : 0;
}

static int seal_add(struct sink *s, struct npy_writer *w, const char *dtype)
{
    return npy_writer_seal(w) || sink_file_add(s, w, dtype, s->tokens, s->documents, false) ? -1
                                                                                            : 0;
}

/* ---- llm.c -------------------------------------------------------------------------------- */

static void llmc_header(int32_t head[256], enum npy_dtype dtype, uint64_t tokens)
{
    memset(head, 0, 256 * sizeof *head);
    head[0] = dtype == NPY_U2 ? 20240520 : 20240801;
    head[1] = dtype == NPY_U2 ? 1 : 7;
    head[2] = (int32_t)tokens;
}

/* The tokens of the file that begins after so many. */
static uint64_t llmc_tokens(const struct sink *s)
{
    uint64_t left = s->plan.tokens > s->tokens ? s->plan.tokens - s->tokens : 0;
    return left < LLMC_TOKENS_MAX ? left : LLMC_TOKENS_MAX;
}

static int llmc_begin(struct sink *s)
{
    int32_t head[256];
    const char *path = sink_path(s, "_%06zu.bin", s->file_count);
    llmc_header(head, s->plan.dtype, llmc_tokens(s));
    s->shard_tokens = 0;
    if (npy_writer_open_raw(&s->ids, path, s->plan.dtype))
        return -1;
    return npy_writer_put(&s->ids, head, sizeof head / npy_item_bytes(s->plan.dtype));
}

/* When the count in the header is not what came, it is mended and the file summed again. */
static int llmc_seal(struct sink *s, bool named)
{
    int32_t head[256];
    struct npy_writer *w = &s->ids;
    const char *dtype = npy_dtype_name(s->plan.dtype);
    bool right =
        llmc_tokens(&(struct sink){.plan = s->plan, .tokens = s->tokens - s->shard_tokens}) ==
        s->shard_tokens;
    llmc_header(head, s->plan.dtype, s->shard_tokens);
    if (!right && writer_patch(&w->file, 0, head, sizeof head))
        return -1;
    if (npy_writer_seal(w) || (!right && npy_writer_sum_again(w)))
        return -1;
    if (sink_file_add(s, w, dtype, s->shard_tokens, 0, named))
        return -1;
    return named ? npy_writer_commit(w) : 0;
}

/* ---- Megatron ----------------------------------------------------------------------------- */

static int lengths_flush(struct sink *s)
{
    size_t n = s->held_count;
    s->held_count = 0;
    return scratch_file_add(&s->lengths, s->held, n * sizeof *s->held);
}

static int length_add(struct sink *s, uint64_t length)
{
    if (length > INT32_MAX)
        return fail("document %" PRIu64 " has %" PRIu64 " ids: Megatron's index counts to %d",
                    s->documents - 1, length, INT32_MAX);
    s->held[s->held_count++] = length;
    return s->held_count == HELD ? lengths_flush(s) : 0;
}

/* Lengths (pass 0), byte offsets (1) or sequence numbers (2), in a pass over the lengths. */
static int idx_array(struct sink *s, int pass)
{
    uint64_t at = 0, item = npy_item_bytes(s->plan.dtype), lengths[HELD];
    for (uint64_t d = 0, n; d < s->documents; d += n) {
        n = s->documents - d < HELD ? s->documents - d : HELD;
        if (scratch_file_read(&s->lengths, lengths, n * sizeof *lengths, d * sizeof *lengths))
            return -1;
        for (uint64_t i = 0; i < n; i++) {
            uint32_t length = (uint32_t)lengths[i];
            uint64_t v = pass == 1 ? at : d + i;
            if (npy_writer_put(&s->index, pass ? (void *)&v : (void *)&length, pass ? 8 : 4))
                return -1;
            at += lengths[i] * item;
        }
    }
    return 0;
}

static int idx_write(struct sink *s)
{
    uint8_t head[34] = "MMIDIDX";
    uint64_t version = 1, documents = s->documents, starts = documents + 1;
    memcpy(head + 9, &version, 8);
    head[17] = s->plan.dtype == NPY_U2 ? 8 : 4;
    memcpy(head + 18, &documents, 8);
    memcpy(head + 26, &starts, 8);
    if (lengths_flush(s) || npy_writer_open_raw(&s->index, sink_path(s, ".idx"), NPY_U1) ||
        npy_writer_put(&s->index, head, sizeof head))
        return -1;
    for (int pass = 0; pass < 3; pass++)
        if (idx_array(s, pass))
            return -1;
    return npy_writer_put(&s->index, &documents, 8);
}

/* ---- datatrove ---------------------------------------------------------------------------- */

static int datatrove_notes(struct sink *s)
{
    char text[128];
    int n = snprintf(text, sizeof text, "unknown|%zu\n%" PRIu64 "\n%" PRIu64 " T\n",
                     npy_item_bytes(s->plan.dtype), s->tokens, s->tokens);
    if (npy_writer_open_raw(&s->notes, sink_path(s, ".ds.metadata"), NPY_U1))
        return -1;
    return npy_writer_put(&s->notes, text, (size_t)n);
}

/* ---- all of them -------------------------------------------------------------------------- */

static int open(struct sink *s)
{
    const struct sink_plan *p = &s->plan;
    switch (p->format) {
    case SINK_NPY:
        return npy_writer_open(&s->ids, sink_path(s, ".npy"), p->dtype, p->tokens) ||
                       npy_writer_open(&s->index, sink_path(s, ".offsets"), NPY_U8,
                                       p->documents + 1)
                   ? -1
                   : 0;
    case SINK_MEGATRON:
        s->held = malloc(HELD * sizeof *s->held);
        if (!s->held)
            return fail("out of memory");
        return npy_writer_open_raw(&s->ids, sink_path(s, ".bin"), p->dtype) ||
                       scratch_file_open(&s->lengths, p->tmp, sink_path(s, "%s", ""))
                   ? -1
                   : 0;
    case SINK_NANOGPT:
        return npy_writer_open_raw(&s->ids, sink_path(s, ".bin"), p->dtype);
    case SINK_LLMC:
        return llmc_begin(s);
    case SINK_DATATROVE:
        return npy_writer_open_raw(&s->ids, sink_path(s, ".ds"), p->dtype) ||
                       npy_writer_open_raw(&s->index, sink_path(s, ".ds.index"), NPY_U8)
                   ? -1
                   : 0;
    default:
        return sink_mds_open(s);
    }
}

int sink_open(struct sink *s, const struct sink_plan *plan)
{
    *s = (struct sink){.plan = *plan};
    if (!open(s))
        return 0;
    sink_close(s);
    return -1;
}

/* The document before the next one, or before the end, is whole. */
static int document_end(struct sink *s)
{
    if (s->documents == 0)
        return 0;
    switch (s->plan.format) {
    case SINK_MEGATRON:
        return length_add(s, s->tokens - s->began);
    case SINK_DATATROVE:
        return npy_writer_put(&s->index, &s->tokens, 1);
    case SINK_MDS:
        return sink_mds_document(s);
    default:
        return 0;
    }
}

int sink_document(struct sink *s)
{
    if (document_end(s))
        return -1;
    s->began = s->tokens;
    s->documents++;
    return s->plan.format == SINK_NPY ? npy_writer_put(&s->index, &s->tokens, 1) : 0;
}

/* Items of the format's own width. */
static int put(struct sink *s, const void *items, size_t count)
{
    size_t item = npy_item_bytes(s->plan.dtype);
    if (s->plan.format == SINK_MDS) {
        s->tokens += count;
        return sink_mds_put(s, items, count * item);
    }
    while (count) {
        size_t n = count;
        if (s->plan.format == SINK_LLMC) {
            if (s->shard_tokens == LLMC_TOKENS_MAX && (llmc_seal(s, true) || llmc_begin(s)))
                return -1;
            n = n < LLMC_TOKENS_MAX - s->shard_tokens ? n : LLMC_TOKENS_MAX - s->shard_tokens;
        }
        if (npy_writer_put(&s->ids, items, n))
            return -1;
        s->tokens += n;
        s->shard_tokens += n;
        items = (const uint8_t *)items + n * item;
        count -= n;
    }
    return 0;
}

int sink_put(struct sink *s, const void *stored, size_t count)
{
    size_t item = npy_item_bytes(s->plan.dtype), from = s->plan.id_bytes;
    uint64_t bound = s->plan.dtype == NPY_U2   ? UINT64_C(1) << 16
                     : s->plan.dtype == NPY_I4 ? UINT64_C(1) << 31
                                               : UINT64_C(1) << 32;
    if (from == 4 && ids_most(stored, count, 4) >= bound) {
        size_t i = ids_find(stored, count, 4, bound);
        return fail("%s: id %u of document %" PRIu64 " does not fit %s: --dtype names a wider type",
                    sink_path(s, "%s", ""), le32((const uint8_t *)stored + 4 * i), s->documents - 1,
                    npy_dtype_name(s->plan.dtype));
    }
    if (from == item)
        return put(s, stored, count);
    uint32_t wide[PART_IDS];
    uint16_t narrow[PART_IDS];
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < PART_IDS ? count - at : PART_IDS;
        ids_widen(wide, (const uint8_t *)stored + at * from, n, from);
        for (size_t i = 0; item == 2 && i < n; i++)
            narrow[i] = (uint16_t)wide[i];
        if (put(s, item == 2 ? (void *)narrow : (void *)wide, n))
            return -1;
    }
    return 0;
}

int sink_seal(struct sink *s)
{
    const char *dtype = npy_dtype_name(s->plan.dtype);
    if (document_end(s))
        return -1;
    switch (s->plan.format) {
    case SINK_NPY:
        return npy_writer_put(&s->index, &s->tokens, 1) || seal_add(s, &s->ids, dtype) ||
                       seal_add(s, &s->index, "uint64")
                   ? -1
                   : 0;
    case SINK_MEGATRON:
        return idx_write(s) || seal_add(s, &s->ids, dtype) || seal_add(s, &s->index, "megatron")
                   ? -1
                   : 0;
    case SINK_NANOGPT:
        return seal_add(s, &s->ids, dtype);
    case SINK_LLMC:
        return llmc_seal(s, false);
    case SINK_DATATROVE:
        return datatrove_notes(s) || seal_add(s, &s->ids, dtype) ||
                       seal_add(s, &s->index, "datatrove") || seal_add(s, &s->notes, "text")
                   ? -1
                   : 0;
    default:
        return sink_mds_seal(s);
    }
}

int sink_commit(struct sink *s)
{
    struct npy_writer *last[] = {&s->ids, &s->index, &s->notes};
    for (int i = 0; i < 3; i++)
        if (last[i]->file.path && npy_writer_commit(last[i]))
            return -1;
    for (size_t i = 0; i < s->file_count; i++)
        s->files[i].named = false; /* they stay */
    return 0;
}

void sink_close(struct sink *s)
{
    npy_writer_abandon(&s->ids);
    npy_writer_abandon(&s->index);
    npy_writer_abandon(&s->notes);
    scratch_file_close(&s->lengths);
    for (size_t i = 0; i < s->file_count; i++) {
        char *path;
        if (s->files[i].named && asprintf(&path, "%s/%s", s->plan.dir, s->files[i].path) > 0) {
            unlink(path);
            free(path);
        }
        free(s->files[i].path);
        free(s->files[i].blocks);
    }
    if (s->plan.format == SINK_MDS && s->plan.dir)
        rmdir(sink_path(s, "%s", "")); /* which fails, rightly, where files stayed */
    free(s->files);
    free(s->held);
    free(s->samples);
    free(s->ends);
    *s = (struct sink){0};
}
