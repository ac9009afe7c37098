/* manifest.h -- manifest.jsonl: what stands beside it, line by line; there once all of it is whole.

   One JSON object a line, members in this order, no blanks:
     number, of        this line's number from 1, and how many lines there are
     path              of the file, relative to the manifest's folder
     bytes, tokens, documents
     dtype             "uint16", "int32", "uint64"
     vocab_size        every id is below it
     tokenizer         XXH3-128 of the tokenizer's file
     tokenizer_name
     options           an object: how the ids came about, the .tok stream's options included
     seed              of the split; null when the splits were given
     source            {"name", "documents", "tokens", "chain"}: the .tok stream; chain is its
                       trailer's, 16 hexadecimal digits
     xxh3, crc32c      of the whole file, in hexadecimal
     version           of the program that wrote it
     blocks            {"bytes", "crc32c"}: bytes of a block, and the CRC32C of each, eight digits
                       a block (blocks.h); older manifests lack it
     check             CRC32C of the line's bytes before this member's comma, 8 digits
   A line cut, changed or missing is thereby found by the reader itself. */
#ifndef MANIFEST_H
#define MANIFEST_H

#include "blocks.h"
#include "err.h"

#include <stddef.h>
#include <stdint.h>

#define MANIFEST_NAME "manifest.jsonl"

struct manifest_source {
    const char *name; /* the file's name without its folder */
    uint64_t documents, tokens, chain;
};

/* One file. Strings are the manifest's once manifest_add has copied them. */
struct manifest_file {
    const char *path, *dtype;
    uint64_t bytes, tokens, documents;
    uint32_t vocab_size;
    struct xxh3 tokenizer;
    const char *tokenizer_name;
    const char *options; /* a JSON object */
    int64_t seed;        /* -1: the splits were given */
    struct manifest_source source;
    struct xxh3 xxh3;
    uint32_t crc32c;
    uint64_t block_bytes;
    const char *blocks; /* blocks_text of the file; NULL where they are not known */
    const char *version;
};

struct manifest {
    struct manifest_file *files; /* [count], owned */
    size_t count;
};

/* Every line is there, unharmed, with every member of its kind. why() names path and line. */
must_check int manifest_read(struct manifest *m, const char *path);
/* Atomically; `number`, `of` and `check` are computed. */
must_check int manifest_write(const struct manifest *m, const char *path);
/* One more file, its strings copied. */
must_check int manifest_add(struct manifest *m, const struct manifest_file *file);
/* The same with the checksums of data [file->bytes]. */
must_check int manifest_add_sums(struct manifest *m, const struct manifest_file *file,
                                 const void *data);
const struct manifest_file *manifest_find(const struct manifest *m, const char *path);
void manifest_free(struct manifest *m); /* harmless when empty or freed */

#endif
