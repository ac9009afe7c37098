/* sink.h -- one split of a dataset being written, in one of the formats that trainers read.

     npy        SPLIT.npy, SPLIT.offsets         docs/formats.md
     megatron   SPLIT.bin, SPLIT.idx             Megatron's indexed dataset: a document a sequence
     nanogpt    SPLIT.bin                        u16 alone
     llmc       SPLIT_000000.bin, ...            llm.c: 256 i32 of header, then ids
     datatrove  SPLIT.ds and .index, .metadata
     mds        SPLIT/shard.00000.mds, ...       MosaicML streaming: a document a sample

   Files wait under temporary names until commit; of llmc and mds all but the last get theirs as
   they are full, and lose them when the sink is abandoned. */
#ifndef SINK_H
#define SINK_H

#include "manifest.h"
#include "npy.h"
#include "scratch_file.h"

enum sink_format {
    SINK_NPY,
    SINK_MEGATRON,
    SINK_NANOGPT,
    SINK_LLMC,
    SINK_DATATROVE,
    SINK_MDS,
    SINK_FORMATS
};

extern const char *const sink_format_name[SINK_FORMATS];

/* How ids are written. -1 with why() when the format has no such type, or not every id below
   vocab_size fits and it was not asked for. dtype is "auto", "u16", "u32" or "i32". */
must_check int sink_dtype(enum npy_dtype *dtype, enum sink_format format, const char *name,
                          uint32_t vocab_size);

struct sink_plan {
    enum sink_format format;
    enum npy_dtype dtype;
    const char *dir, *split;    /* borrowed */
    size_t id_bytes;            /* of ids as they are put */
    uint64_t tokens, documents; /* 0, 0 when not known; then megatron, llmc and npy cost a second
                                   look at the file */
    const char *tmp;            /* see scratch_file.h */
};

/* A file that is whole. */
struct sink_file {
    char *path; /* owned: relative to dir */
    const char *dtype;
    uint64_t bytes, tokens, documents;
    struct xxh3 xxh3;
    uint32_t crc32c;
    uint64_t block_bytes;
    char *blocks; /* owned: blocks_text */
    bool named;   /* it has its name already */
};

/* Zero means closed. Totals may be read; the rest is private. */
struct sink {
    struct sink_plan plan;
    uint64_t documents, tokens;
    /* ---- */
    struct npy_writer ids, index, notes;
    struct scratch_file lengths; /* megatron: u64 a document */
    uint64_t *held;              /* [held_count], owned: lengths not yet there */
    size_t held_count;
    uint64_t began, shard_tokens, shard_documents; /* of the document; of this file */
    uint8_t *samples;                              /* mds: owned */
    size_t sample_bytes, sample_room;
    uint32_t *ends; /* mds: owned, [ends_room] */
    size_t ends_room;
    struct sink_file *files; /* [file_count], owned */
    size_t file_count;
};

must_check int sink_open(struct sink *s, const struct sink_plan *plan);
/* The next ids belong to a new document. */
must_check int sink_document(struct sink *s);
/* Ids as plan.id_bytes says; one that does not fit the dtype is refused. */
must_check int sink_put(struct sink *s, const void *stored, size_t count);
/* All bytes are written and synced as far as can be without names; files tell of them. */
must_check int sink_seal(struct sink *s);
/* After seal: the last files get their names. The sink stays open for its list of files. */
must_check int sink_commit(struct sink *s);
/* Removes what is not committed; what it named too, when it was not. Harmless when closed. */
void sink_close(struct sink *s);

/* ---- for sink_*.c ------------------------------------------------------------------------- */

/* dir/SPLIT and the suffix, in a buffer that the next call but three overwrites. */
const char *sink_path(const struct sink *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A sealed writer's file for the list. */
must_check int sink_file_add(struct sink *s, const struct npy_writer *w, const char *dtype,
                             uint64_t tokens, uint64_t documents, bool named);
/* Seal, name and list a file that is full. */
must_check int sink_file_name(struct sink *s, struct npy_writer *w, const char *dtype,
                              uint64_t tokens, uint64_t documents);
must_check int sink_mds_open(struct sink *s);
must_check int sink_mds_document(struct sink *s); /* also at the end: the one before is whole */
must_check int sink_mds_put(struct sink *s, const void *ids, size_t bytes);
must_check int sink_mds_seal(struct sink *s);

#endif
