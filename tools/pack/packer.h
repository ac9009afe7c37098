/* packer.h -- a dataset directory being written: what the reference's reader finds, and proof.

       OUT/tokenizer_name-NAME-val_ratio-R-val_split_seed-S-add_eos-True-detokenize-False/
           train.npy validation.npy test.npy           ids, flat, as the reference writes them
           train.offsets validation.offsets test.offsets
                        an .npy of <u8[documents + 1]: where each document begins in its .npy, and
                        at last the number of ids
           manifest.jsonl                              written last: all of it is there
   and with another format that format's files (sink.h) instead of the arrays, in a folder whose
   name ends in "-FORMAT". A slash in NAME makes two levels. Files wait under temporary names until
   commit; ".packing" stands in the directory while one program works there, and after one that was
   killed there. */
#ifndef PACKER_H
#define PACKER_H

#include "manifest.h"
#include "sink.h"
#include "tok.h"

enum { PACKER_TRAIN, PACKER_VALIDATION, PACKER_TEST, PACKER_SPLITS };

extern const char *const packer_split_name[PACKER_SPLITS]; /* "train", ... */

/* What decides the directory's name and the bytes in it. Borrowed texts. */
struct packer_plan {
    const char *out, *tokenizer_name;
    double val_ratio;
    int64_t split_seed;
    bool given; /* the splits were given, not drawn */
    enum sink_format format;
    const char *dtype;         /* "auto", "u16", "u32" or "i32" */
    int64_t best_fit;          /* the row's length; 0: documents stand end to end */
    bool truncate;             /* best-fit: what is longer than a row is cut */
    const char *tokenizer_pkl; /* a file to copy in, or "" */
    const char *tmp;           /* see scratch_file.h */
    struct tok_meta meta;      /* of the streams */
    struct manifest_source source[PACKER_SPLITS]; /* names borrowed; zero but for the name
                                                      until a pipe has been read */
    bool source_known[PACKER_SPLITS];
};

struct packer {
    const struct packer_plan *plan; /* borrowed */
    char *dir;                      /* owned */
    int lock;
    struct sink split[PACKER_SPLITS];
    bool force;
    bool unclean; /* a killed run's files may stand there, or some of ours */
};

/* The directory's path, owned by the caller; NULL with why(). */
char *packer_path(const struct packer_plan *plan);

/* What the manifest says of a split's files but for their bytes; options are borrowed. */
struct manifest_file packer_line(const struct packer_plan *plan, int split, const char *options);
/* The options that all lines have, owned by the caller; NULL without memory. */
char *packer_options(const struct packer_plan *plan);
/* Does a whole dataset of these sources and options stand in dir? */
bool packer_stands(const struct packer_plan *plan, const char *dir);

/* Remove what killed runs left: NAME.part.PID. Whoever calls holds the directory's lock. */
must_check int packer_remove_parts(const char *dir);

/* Likewise what programs left that wrote parts of it (shards.h). */
must_check int packer_remove_shards(const char *dir);

/* Make the directory and take it. 1: a whole dataset of the same sources and options stands there
   already and not force (said only where all sources are known); 0: go on; -1, also when something
   else stands there and not force, or another program works there. */
must_check int packer_open(struct packer *d, const struct packer_plan *plan, bool force);

/* Begin a split of so many ids and documents; 0, 0 when they are not known. */
must_check int packer_begin(struct packer *d, int split, uint64_t tokens, uint64_t documents);
/* The next ids belong to a new document. */
must_check int packer_document(struct packer *d, int split);
/* Ids as the streams store them. */
must_check int packer_put(struct packer *d, int split, const void *stored, size_t count);

/* All files to their names, then the manifest. 1: a whole, equal dataset stood there and was left
   alone. Closes d, also on failure. */
must_check int packer_commit(struct packer *d);
void packer_abandon(struct packer *d); /* harmless when closed */

#endif
