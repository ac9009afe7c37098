/* dataset.h -- find the directory of .npy files that --dataset_path means.

   The reference names it after its tokenizer and options, below --dataset_path:

     tokenizer_name-NAME-val_ratio-0.0005-val_split_seed-2357-add_eos-True-detokenize-False

   where a slash in NAME makes two levels. */
#ifndef DATASET_H
#define DATASET_H

#include "checksum.h"
#include "err.h"
#include "manifest.h"

#include <limits.h>
#include <stdbool.h>

/* The tokenizer whose datasets have their BOS targets masked, and 32000 ids. */
#define DATASET_LLAMA2 "meta-llama/Llama-2-7b-hf"

/* Zero means closed. */
struct dataset {
    char *dir;       /* holds train.npy, validation.npy, test.npy; owned */
    char *tokenizer; /* NAME; "" when the directory is not named so; owned */
    int vocab_size;  /* every id is below it; 0 when nothing tells */
    bool has_manifest;
    struct manifest manifest; /* empty without one; owned */
    struct xxh3 digest;       /* of manifest.jsonl, "" without one */
};

/* path: --dataset_path, or the directory of the .npy files itself. tokenizer: the name wanted;
   with `exactly` no other will do, else a single other dataset is taken, and said to be.
   -1 with why() naming what lies there. */
must_check int dataset_find(struct dataset *d, const char *path, const char *tokenizer,
                            bool exactly);
void dataset_close(struct dataset *d); /* harmless when closed */

/* "DIR/train.npy" into path. split: "train", "validation" or "test". -1 with why() when the file is
   not there, or not as long as the manifest says. */
must_check int dataset_split(const struct dataset *d, const char *split, char path[PATH_MAX]);

#endif
