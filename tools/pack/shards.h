/* shards.h -- a dataset directory that several programs write at once, each its run of documents.

   Program i of n writes documents from places N * i / n to N * (i + 1) / n - 1 of each split's N
   into SPLIT.npy.shards and SPLIT.offsets.shards, which have their final size from the first, at
   their final offsets: nobody waits for another, and a part written twice has the same bytes. When
   its part is synced it leaves ".shard-I-of-N", which says what it was made of. Whoever finds all n
   marks takes the lock, sums the files, gives them their names, writes the manifest and removes the
   marks; running any shard again does that too, when the one that should have was killed. */
#ifndef SHARDS_H
#define SHARDS_H

#include "packer.h"

/* Bytes on their way to a place in a file. */
struct shards_span {
    int fd; /* plus one */
    uint64_t at;
    uint8_t *held; /* owned */
    size_t bytes;
};

/* Zero means closed. */
struct shards {
    const struct packer_plan *plan; /* borrowed */
    char *dir;                      /* owned */
    int lock;                       /* plus one: shared by all that write parts */
    int index, count;
    enum npy_dtype dtype;
    struct shards_span ids[PACKER_SPLITS], offsets[PACKER_SPLITS];
    uint64_t tokens[PACKER_SPLITS], documents[PACKER_SPLITS], next[PACKER_SPLITS];
};

/* 0: go on; 1: the dataset is whole; 2: this part is done; -1: also when other parts were made of
   something else. */
must_check int shards_open(struct shards *s, const struct packer_plan *plan, int index, int count);
/* Before all of `count` parts are written here: what parts of another number or another make left
   is removed, unless a program is at work there. 1: the dataset is whole and not force; -1 also
   when another dataset stands there and not force. */
must_check int shards_clear(const struct packer_plan *plan, int count, bool force);
void shards_close(struct shards *s); /* harmless when closed */

/* Begin this part of a split of so many tokens and documents in all: it begins with document
   `number`, at token `at`. */
must_check int shards_begin(struct shards *s, int split, uint64_t tokens, uint64_t documents,
                            uint64_t number, uint64_t at);
must_check int shards_put(struct shards *s, int split, const void *stored, size_t count,
                          bool first);
/* The part is whole: sync, mark. */
must_check int shards_done(struct shards *s);
/* 0: parts are missing, *missing of them; 1: the dataset is whole now. */
must_check int shards_finish(struct shards *s, int *missing);

#endif
