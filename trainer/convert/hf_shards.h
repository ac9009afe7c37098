/* hf_shards.h -- the weights of a Hugging Face model, in one file or in several. */
#ifndef HF_SHARDS_H
#define HF_SHARDS_H

#include "hf_map.h"
#include "tensors.h"

#define HF_WEIGHTS "model.safetensors"
#define HF_INDEX   "model.safetensors.index.json"

/* ---- reading ------------------------------------------------------------------------------ */

/* Zero means closed. Names and data live until it is closed. */
struct hf_shards {
    const char *dir; /* borrowed */
    int files;
    struct tensors *file; /* [files], owned */
    int count;
    struct tensor *list; /* [count], of all files, sorted by name; owned */
};

/* Open DIR/model.safetensors, or else the files that the index names: every tensor must lie in the
   file that the index says, and no other in any. -1 with why(). */
must_check int hf_shards_open(struct hf_shards *s, const char *dir);
void hf_shards_close(struct hf_shards *s); /* harmless when closed */

/* The tensor of a name, or NULL. */
const struct tensor *hf_shards_find(const struct hf_shards *s, const char *name);

/* ---- writing ------------------------------------------------------------------------------ */

/* A file to write: the map's entries in the order of their names. */
struct hf_cut {
    char name[64];
    int count;
    int *index; /* [count], into the map; in the cuts' own array */
};

/* Zero means closed. */
struct hf_cuts {
    int count;
    struct hf_cut *list; /* [count], owned */
    int *index;          /* of all, owned */
};

/* Cut a model's tensors, in its order, into files of at most max_bytes each; a larger tensor has a
   file of its own. */
must_check int hf_cuts_open(struct hf_cuts *c, const struct hf_map *m, size_t element_bytes,
                            int64_t max_bytes);
void hf_cuts_close(struct hf_cuts *c); /* harmless when closed */

/* The text of the index, the caller's; NULL with why(). */
char *hf_cuts_index(const struct hf_cuts *c, const struct hf_map *m, uint64_t total_bytes);

#endif
