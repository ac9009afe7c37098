/* prove.h -- is one file whole, and does it hold what it should? */
#ifndef PROVE_H
#define PROVE_H

#include "manifest.h"

#include <stdbool.h>

/* What was proved, in a few words with tabs between them, for the line on stdout. */
struct proof {
    char note[256];
};

/* A .tok stream ("-": standard input): every checksum, every id, order, totals. tokenizer: the
   XXH3-128 it should have been made with, or NULL. */
must_check int prove_tok(const char *path, const struct xxh3 *tokenizer, struct proof *p);

/* An .npy of ids: header, size, every id below vocab_size (0: not known). With `line` also what
   the manifest says of it: bytes, checksums, dtype, count. */
must_check int prove_ids(const char *path, uint32_t vocab_size, const struct manifest_file *line,
                         struct proof *p);

/* The offsets beside an .npy: sums, one start a document, none before the last, and the end. */
must_check int prove_offsets(const char *path, const struct manifest_file *line, struct proof *p);

/* Any file whose bytes are all that is known. */
must_check int prove_sums(const char *path, const struct manifest_file *line, struct proof *p);

/* A safetensors file: header, sizes, no float32 is NaN; and, when xxh3 is not NULL, the bytes and
   hash that `who` ("state.json") says it has. */
must_check int prove_tensors(const char *path, const char *who, uint64_t bytes,
                             const struct xxh3 *xxh3, struct proof *p);

#endif
