/* prove.h -- is one file whole, and does it hold what it should? */
#ifndef PROVE_H
#define PROVE_H

#include "manifest.h"
#include "npy.h"

#include <stdbool.h>

/* What was proved, in a few words with tabs between them, for the line on stdout. */
struct proof {
    char note[256];
};

/* A .tok stream ("-": standard input): every checksum, every id, order, totals. tokenizer: the
   XXH3-128 it should have been made with, or NULL. */
must_check int prove_tok(const char *path, const struct xxh3 *tokenizer, struct proof *p);

/* Where a damaged .tok file is bad, what that costs, and to `out`, when that is not NULL, a new
   file with what is good. Says all of it on stdout, a line a damage. -1: nothing could be saved. */
must_check int prove_repair(const char *path, const char *out);

/* The dataset `dir` holds the documents of these streams, each once and in the order that the
   manifest's seed gives: a hash over all, and every document compared up to 100000 of them, evenly
   chosen beyond. When the hash says that something is lost all are compared: the first bad one, its
   bytes, and how many. */
must_check int prove_origin(const char *dir, const struct manifest *m, const char *const *sources,
                            int count, struct proof *p);

/* The documents of the dataset `dir`, put back into the order of their source by the manifest's
   seed, give the chain of hashes that the source had: each is there, once, whole and in its place,
   and the splits share none. Holds 12 bytes a document. 1: proved; 0: rows and other programs'
   files cannot be put back, nothing is said; -1. */
must_check int prove_chain(const char *dir, const struct manifest *m, struct proof *p);

/* Documents of an array or stream, evenly chosen, decoded and tokenized again: the same ids. */
must_check int prove_deep(const char *path, const char *model, struct proof *p);

/* What is known of an array of this name, type and size among those that the reference's authors
   published: a few words, or NULL. */
const char *prove_published(const char *name, const struct npy *a);

/* The header of an .npy of ids, and its size; no id is read. */
must_check int prove_header(const char *path, struct proof *p);

/* An .npy of ids: header, size, every id below vocab_size (0: not known). With `line` also what
   the manifest says of it: bytes, checksums, dtype, count. */
must_check int prove_ids(const char *path, uint32_t vocab_size, const struct manifest_file *line,
                         struct proof *p);

/* The offsets beside an .npy: sums, one start a document, none before the last, and the end. */
must_check int prove_offsets(const char *path, const struct manifest_file *line, struct proof *p);

/* The same of offsets alone: they are held against the .npy beside them. */
must_check int prove_offsets_alone(const char *path, struct proof *p);

/* A file of ids of another program's format (foreign.h): what the manifest says of its bytes, every
   number of its index, every id, and how many ids and, where the file tells, documents. */
must_check int prove_foreign(const char *path, const char *format, const struct manifest_file *line,
                             struct proof *p);

/* Any file whose bytes are all that is known. */
must_check int prove_sums(const char *path, const struct manifest_file *line, struct proof *p);

/* A safetensors file: header, sizes, no float32 is NaN; and, when xxh3 is not NULL, the bytes and
   hash that `who` ("state.json") says it has. */
must_check int prove_tensors(const char *path, const char *who, uint64_t bytes,
                             const struct xxh3 *xxh3, struct proof *p);

#endif
