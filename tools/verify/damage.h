/* damage.h -- where a file of a dataset is damaged, and which documents that costs. */
#ifndef DAMAGE_H
#define DAMAGE_H

#include "manifest.h"

/* Adds to why(), which says that the file at `path` is not what its line says: the first bad block
   and its bytes, how many are bad, and, of an array of ids with its offsets beside, how many
   documents lie in them. The file has `bytes` bytes; `b` are its blocks, or of no byte where it was
   not read. Always -1. */
int damage_place(const char *path, uint64_t bytes, const struct blocks *b,
                 const struct manifest_file *line);

#endif
